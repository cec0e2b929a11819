-- public.messages
-- What changes: distributed by user_id, which the client sends and the policy checks. The keys are (user_id, id) and
-- (user_id, session_id, client_message_id).
-- Why: a message lies where its session lies. Which shard a row goes to is decided before any trigger runs.
-- Locks: messages, while the rows go to the workers.
-- Clients: send user_id with each message; without it the message is refused (22004). ON CONFLICT names the key with user_id first.
-- Several messages in one statement are counted one by one.

set local lock_timeout = '5s';
drop trigger zz_messages_open_session on public.messages;
drop trigger zz_messages_open_session_for_client on public.messages;
-- One update a message: what the end of a statement writes at once, a shard's statement would not see.
drop trigger messages_count on public.messages;
drop function private.count_waiting();
drop function private.write_counts();
drop function private.admit_or_refuse(public.messages, boolean, boolean);
drop function private.count_message(public.messages, boolean);

alter table public.messages drop constraint messages_pkey;
alter table public.messages add constraint messages_pkey primary key (user_id, id);
comment on constraint messages_pkey on public.messages is 'With the learner first, as a distributed key has to have them.';
alter table public.messages drop constraint messages_client_message_id_unique;
alter table public.messages
add constraint messages_client_message_id_unique unique (user_id, session_id, client_message_id);
comment on constraint messages_client_message_id_unique on public.messages is
'A retry is the same message: an app names these three columns in ON CONFLICT (issue 46).';

grant insert (user_id) on public.messages to authenticated;

drop policy messages_select_own on public.messages;
create policy messages_select_own on public.messages for select to authenticated
using (user_id = auth.uid() and deleted_at is null);
comment on policy messages_select_own on public.messages is
'A learner reads their own messages but for hidden ones (issues 18, 35 and 51).';
drop policy messages_insert_own on public.messages;
create policy messages_insert_own on public.messages for insert to authenticated
with check (user_id = auth.uid() and role = 'user');
comment on policy messages_insert_own on public.messages is
'A learner says whose message it is, and it is their own; they speak for themselves only (issues 18 and 49).';

-- The rules and their answers are those of v2, in v2's order. Each look names the learner, so that it stays on the shard's node.
create or replace function private.admit_message() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_variable
declare
    is_client constant boolean := tg_argv[0] = 'client';
    main constant pg_catalog.int4 := case new.chat_type when 'main' then 1 when 'helper' then 0 end;
    learner constant pg_catalog.uuid := new.user_id;
    session pg_catalog.record;
    fragments pg_catalog.text;
    is_retry boolean;
    moment pg_catalog.timestamptz;
begin
    if is_client and learner is distinct from private.calling_user() then
        -- Somebody else's: the policy refuses that, without a word about it.
        return new;
    end if;
    -- The lock makes a completion wait for this message, and this message for a completion. What comes after it, in statements of
    -- their own, sees what whoever held it has done.
    select sessions.is_completed, sessions.closed_at, sessions.last_message_at
    into session
    from public.sessions
    where sessions.user_id = learner
        and sessions.id = new.session_id
    for no key update;
    if not found and is_client then
        raise exception using
            errcode = 'insufficient_privilege',
            message = 'a learner writes into sessions of their own',
            detail = format('session %s', new.session_id),
            hint = 'Sign in as the learner whose session it is.';
    elsif not found then
        raise exception using
            errcode = 'foreign_key_violation',
            message = 'there is no such session',
            detail = format('session %s of user %s', new.session_id, learner),
            hint = 'Create the session before its messages, and send user_id with them.';
    end if;
    -- A reply under the id of fragments is what finalize_message() lands: all of them, and nothing else.
    select string_agg(chunk.content, '' order by chunk.seq)
    into fragments
    from public.message_chunks as chunk
    where chunk.user_id = learner
        and chunk.message_id = new.id;
    -- Of what is stored under one of its two keys: whether it is the same message. Null where nothing is.
    select bool_and(
        stored.session_id = new.session_id
        and stored.role = new.role
        and stored.chat_type = new.chat_type
        and stored.content = new.content
    )
    into is_retry
    from public.messages as stored
    where stored.user_id = learner
        and (stored.id = new.id or (stored.session_id = new.session_id and stored.client_message_id = new.client_message_id));
    if fragments is not null and (is_client or fragments <> new.content) then
        raise exception using
            errcode = 'PT409',
            message = 'a reply is streaming under this id',
            detail = format('message %s', new.id),
            hint = 'Send the message under an id of its own, or without one.';
    elsif session.closed_at is not null then
        perform private.refuse_closed(learner);
    elsif not is_retry then
        raise exception using
            errcode = 'PT409',
            message = 'another message is stored under this id',
            detail = format('message %s', coalesce(new.client_message_id, new.id)),
            hint = 'Send it under an id of its own; only a retry of the same message may say the same id.';
    elsif session.is_completed and fragments is null and is_retry is null then
        raise exception using
            errcode = 'PT409',
            message = 'the session is completed and takes no more messages',
            detail = format('session %s', new.session_id),
            hint = 'Start a new session.';
    elsif main is null then
        raise exception using
            errcode = 'check_violation',
            message = format('no counter counts messages of the chat type %s', new.chat_type),
            hint = 'Add a counter for the new chat type before the first message of it.';
    elsif is_retry then
        -- ON CONFLICT will skip the row, so it does not count.
        return new;
    end if;
    moment := clock_timestamp();
    if new.role = 'user' and moment - session.last_message_at between interval '0' and interval '499.999 milliseconds' then
        raise exception using
            errcode = 'PT429',
            message = 'a learner''s messages come too fast',
            detail = format('session %s', new.session_id),
            hint = 'Send one message at a time, half a second apart; none of this request was stored.';
    end if;
    update public.sessions
    set message_count_main = message_count_main + main,
        message_count_helper = message_count_helper + 1 - main,
        last_activity_at = now(),
        last_message_at = case when new.role = 'user' then moment else last_message_at end
    where sessions.user_id = learner
        and sessions.id = new.session_id;
    return new;
end;
$$;
comment on function private.admit_message() is
'Lets a message into a session that takes it, and counts it: issues 3, 4, 11, 22, 35, 43 and 46, on the node of its learner.';
select create_distributed_table('public.messages', 'user_id', colocate_with => 'public.sessions');
create trigger zz_messages_open_session before insert on public.messages
for each row when (not row_security_active('public.messages'::regclass)) execute function private.admit_message('server');
comment on trigger zz_messages_open_session on public.messages is 'Admits what the server writes, on each shard.';
create trigger zz_messages_open_session_for_client before insert on public.messages
for each row when (row_security_active('public.messages'::regclass)) execute function private.admit_message('client');
comment on trigger zz_messages_open_session_for_client on public.messages is 'Admits what a learner writes, on each shard.';
alter table public.messages
add constraint messages_session_id_user_id_fkey
foreign key (session_id, user_id) references public.sessions (id, user_id) on update restrict on delete cascade;
