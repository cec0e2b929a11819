-- public.message_chunks
-- What changes: distributed by user_id, which the backend sends; the key is (user_id, message_id, seq). The session's lock stands in
-- for the advisory lock of a reply, and finalize_message() may be told whose reply it is.
-- Why: an advisory lock is one node's, and the two who need it are on two. The session's row is one row wherever it lies.
-- Locks: message_chunks, while the rows go to the workers.
-- Clients: send user_id with each fragment (22004 without). finalize_message(message_id) still works, and asks all shards whose
-- reply it is; finalize_message(message_id, user_id) asks one.

set local lock_timeout = '5s';
alter table public.message_chunks drop constraint message_chunks_pkey;
alter table public.message_chunks add constraint message_chunks_pkey primary key (user_id, message_id, seq);
comment on constraint message_chunks_pkey on public.message_chunks is
'With the learner first, as a distributed key has to have them.';
drop policy message_chunks_select_own on public.message_chunks;
create policy message_chunks_select_own on public.message_chunks for select to authenticated
using (user_id = auth.uid());
comment on policy message_chunks_select_own on public.message_chunks is 'A learner reads their own replies while they stream (issue 51).';

select private.rewrite(
    'private.check_message_chunk()',
    'perform private.lock_reply(new.message_id);',
    -- The lock comes first here, for each fragment: finalize_message() takes the same one.
    'perform from public.sessions
    where sessions.user_id = new.user_id and sessions.id = new.session_id for no key update;',
    'where chunk.message_id = new.message_id', 'where chunk.user_id = new.user_id and chunk.message_id = new.message_id',
    'where sessions.id = new.session_id', 'where sessions.user_id = new.user_id and sessions.id = new.session_id',
    'elsif exists (select from public.messages where messages.id = new.message_id)
        or exists (select from public.messages_archive where messages_archive.id = new.message_id)
    then',
    'end if;
    perform from public.messages where messages.user_id = new.user_id and messages.id = new.message_id
    union all
    select from public.messages_archive as archived where archived.user_id = new.user_id and archived.id = new.message_id;
    if found then'
);

drop trigger message_chunks_check on public.message_chunks;
select create_distributed_table('public.message_chunks', 'user_id', colocate_with => 'public.sessions');
create trigger message_chunks_check before insert on public.message_chunks
for each row when (not row_security_active('public.message_chunks'::regclass)) execute function private.check_message_chunk();
comment on trigger message_chunks_check on public.message_chunks is 'Keeps the fragments of a message together and out of completed sessions (issue 4).';
alter table public.message_chunks
add constraint message_chunks_session_id_user_id_fkey
foreign key (session_id, user_id) references public.sessions (id, user_id) on update restrict on delete cascade;

-- As whoever calls it: a transaction may not write a row as the backend and go on with it as the owner. A learner who came to call it
-- could do no more with it than by hand.
drop function public.finalize_message(uuid);
create function public.finalize_message(message_id uuid, user_id uuid default null) returns uuid
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
declare
    learner pg_catalog.uuid := user_id;
    reply pg_catalog.record;
begin
    if learner is null then
        -- In all shards, as nobody said in which.
        select chunk.user_id into learner from public.message_chunks as chunk where chunk.message_id = message_id limit 1;
        if not found then
            select stored.user_id into learner from public.messages as stored where stored.id = message_id limit 1;
        end if;
        if not found then
            select stored.user_id into learner from public.messages_archive as stored where stored.id = message_id limit 1;
        end if;
    end if;
    select chunk.session_id into reply
    from public.message_chunks as chunk
    where chunk.user_id = learner and chunk.message_id = message_id
    limit 1;
    perform from public.sessions
    where sessions.user_id = learner and sessions.id = reply.session_id
    for no key update;
    select
        (array_agg(chunk.session_id))[1] as session_id,
        min(chunk.chat_type) as chat_type,
        string_agg(chunk.content, '' order by chunk.seq) as content,
        min(chunk.created_at) as began_at,
        max(chunk.seq)::bigint - least(min(chunk.seq), 1) + 1 - count(*) as missing
    into reply
    from public.message_chunks as chunk
    where chunk.user_id = learner and chunk.message_id = message_id;
    if reply.session_id is null then
        perform from public.messages as stored where stored.user_id = learner and stored.id = message_id
        union all
        select from public.messages_archive as stored where stored.user_id = learner and stored.id = message_id;
        if found then
            return message_id;
        end if;
        raise exception using
            errcode = 'PT404',
            message = 'there is nothing to finalize under this message id',
            detail = format('message %s', message_id),
            hint = 'Write the fragments into message_chunks first.';
    elsif reply.missing > 0 then
        raise exception using
            errcode = 'PT409',
            message = format('fragments are missing from the message: %s', reply.missing),
            detail = format('message %s', message_id),
            hint = 'Write the missing fragments, then finalize again; those that arrived are kept.';
    elsif char_length(reply.content) > 8000 then
        raise exception using
            errcode = 'PT413',
            message = format('the message has %s characters, and 8000 are allowed', char_length(reply.content)),
            detail = format('message %s', message_id),
            hint = 'Stream a shorter reply under a new message_id; the fragments are kept.';
    end if;
    insert into public.messages (user_id, id, session_id, role, chat_type, content, sent_at)
    values (learner, message_id, reply.session_id, 'assistant', reply.chat_type, reply.content, reply.began_at);
    delete from public.message_chunks as chunk
    where chunk.user_id = learner and chunk.message_id = message_id;
    return message_id;
end;
$$;
alter function public.finalize_message(uuid, uuid) owner to workbook_owner;
comment on function public.finalize_message(uuid, uuid) is
'Makes one message of a reply''s fragments, and returns its id; twice is the same as once (issue 4).';
revoke all on function public.finalize_message(uuid, uuid) from public, anon, authenticated;
grant execute on function public.finalize_message(uuid, uuid) to service_role;
