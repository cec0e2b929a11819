-- 04 · Streaming versus immutability contradiction
-- Locks: sessions, SHARE ROW EXCLUSIVE, for a moment, because the new table refers to it. Writes wait, reads do not.
-- Repairs: nothing. Under v1 every message is whole.
-- Clients: no client calls delete_expired_sessions() any more; the backend streams into message_chunks.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- The fragments of a reply live here until the reply is whole; messages only ever holds whole ones.
create table public.message_chunks (
    message_id uuid not null,
    seq integer not null,
    session_id uuid not null,
    user_id uuid not null,
    chat_type text not null,
    content text not null,
    created_at timestamptz not null default clock_timestamp(),
    constraint message_chunks_pkey primary key (message_id, seq),
    constraint message_chunks_session_id_fkey foreign key (session_id) references public.sessions (id) on delete cascade,
    constraint message_chunks_seq_not_negative check (seq >= 0),
    constraint message_chunks_chat_type_known check (chat_type in ('main', 'helper'))
);
comment on table public.message_chunks is
'Fragments of replies that are still streaming; finalize_message() turns them into one message (issue 4).';
comment on column public.message_chunks.message_id is 'The id that the finished message will have.';
comment on column public.message_chunks.seq is 'The place of the fragment in its message, counted from 1 (or 0) without gaps.';
comment on column public.message_chunks.session_id is 'The session that the reply belongs to.';
comment on column public.message_chunks.user_id is 'The learner, always taken from the session.';
comment on column public.message_chunks.chat_type is 'main or helper, the same for all fragments of a message.';
comment on column public.message_chunks.content is 'The fragment''s text.';
comment on column public.message_chunks.created_at is 'When the fragment was written.';

create index message_chunks_user_id_session_id_idx on public.message_chunks (user_id, session_id);
create index message_chunks_session_id_idx on public.message_chunks (session_id);

alter table public.message_chunks enable row level security;
-- The platform's defaults open every new table to everyone; the service role alone writes here.
revoke all on public.message_chunks from anon, authenticated;
grant select on public.message_chunks to authenticated;

create policy message_chunks_select_own on public.message_chunks
    for select to authenticated using (user_id = (select auth.uid()));
comment on policy message_chunks_select_own on public.message_chunks is
'A learner watches their own replies grow; only the service role writes them (issue 4).';

-- Whoever writes to a reply holds its lock until their transaction ends, so its fragments stand still for everybody
-- else. A statement sees what was committed before the lock was granted, which a snapshot from earlier would not show.
create function private.lock_reply(message_id uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception using
            errcode = 'feature_not_supported',
            message = 'a reply cannot be streamed at this isolation level',
            detail = current_setting('transaction_isolation'),
            hint = 'Use READ COMMITTED, the default.';
    end if;

    perform pg_advisory_xact_lock(hashtextextended(lock_reply.message_id::pg_catalog.text, 0));
end;
$$;
comment on function private.lock_reply(uuid) is
'Lets one transaction at a time write to a streamed reply (issue 4).';
revoke all on function private.lock_reply(uuid) from public, anon, authenticated, service_role;

create function private.check_message_chunk() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    earlier public.message_chunks;
    session public.sessions;
begin
    perform private.lock_reply(new.message_id);

    select chunk.*
    into earlier
    from public.message_chunks as chunk
    where chunk.message_id = new.message_id
    limit 1;

    if found then
        if (earlier.session_id, earlier.chat_type) is distinct from (new.session_id, new.chat_type) then
            raise exception using
                errcode = 'check_violation',
                message = 'all fragments of a message belong to one session and one chat',
                detail = format('message %s', new.message_id),
                hint = 'Stream each reply under a message_id of its own.';
        end if;

        new.user_id := earlier.user_id;
        return new;
    end if;

    -- The reply begins: it waits for a completion that is under way, and a completion waits for it.
    select sessions.*
    into session
    from public.sessions
    where sessions.id = new.session_id
    for no key update;

    if not found then
        raise exception using
            errcode = 'foreign_key_violation',
            message = 'there is no such session',
            detail = format('session %s', new.session_id),
            hint = 'Create the session before its replies.';
    elsif exists (select from public.messages where messages.id = new.message_id) then
        raise exception using
            errcode = 'PT409',
            message = 'the message is finalized and takes no more fragments',
            detail = format('message %s', new.message_id),
            hint = 'Stream the next reply under a new message_id.';
    elsif session.is_completed then
        raise exception using
            errcode = 'PT409',
            message = 'the session is completed and takes no more replies',
            detail = format('session %s', new.session_id),
            hint = 'Start a new session.';
    end if;

    new.user_id := session.user_id;
    return new;
end;
$$;
comment on function private.check_message_chunk() is
'Lets a reply go on that began before its session was completed, and no other; sets user_id (issue 4).';
revoke all on function private.check_message_chunk() from public, anon, authenticated, service_role;

-- Whom the policies bind they refuse, and this must not answer first: it would tell whose session is there, and in what state.
create trigger message_chunks_check
before insert on public.message_chunks
for each row when (not row_security_active('public.message_chunks'::regclass)) execute function private.check_message_chunk();
comment on trigger message_chunks_check on public.message_chunks is
'Keeps the fragments of a message together and out of completed sessions (issue 4).';

-- Restated from 03: a reply that began to stream in time still lands, its fragments prove it. They can be read by
-- the learner, and nobody but finalize_message() may land a text under the reply's id.
create or replace function private.require_open_session() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    session_is_completed boolean;
    is_streaming constant boolean := exists (
        select
        from public.message_chunks
        where message_chunks.message_id = new.id
    );
    -- Only finalize_message() lands a reply under the id of its fragments.
    is_finalizing constant boolean := tg_argv[0] = 'server'
        and coalesce(current_setting('maraum.finalizing', true) = new.id::pg_catalog.text, false);
begin
    if is_streaming and not is_finalizing then
        raise exception using
            errcode = 'PT409',
            message = 'a reply is streaming under this id',
            detail = format('message %s', new.id),
            hint = 'Send the message under an id of its own, or without one.';
    end if;

    -- The lock makes a completion wait for this message, and this message for a completion.
    -- FOR SHARE would let two writers in, who then deadlock in the counter's update.
    select sessions.is_completed
    into session_is_completed
    from public.sessions
    where sessions.id = new.session_id
        and (tg_argv[0] = 'server' or sessions.user_id = private.calling_user())
    for no key update;

    if session_is_completed and not is_streaming then
        raise exception using
            errcode = 'PT409',
            message = 'the session is completed and takes no more messages',
            detail = format('session %s', new.session_id),
            hint = 'Start a new session.';
    end if;
    return new;
end;
$$;
comment on function private.require_open_session() is
'Refuses a message for a completed session (issue 3), except a reply that began to stream before (issue 4).';

-- Restated from v1 with qualified names: a trigger runs under the search_path of the function that fires it,
-- and finalize_message() has an empty one.
create or replace function public.increment_message_count() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if new.chat_type = 'main' then
        update public.sessions
        set message_count_main = message_count_main + 1,
            last_activity_at = now()
        where id = new.session_id;
    elsif new.chat_type = 'helper' then
        update public.sessions
        set message_count_helper = message_count_helper + 1,
            last_activity_at = now()
        where id = new.session_id;
    end if;
    return new;
end;
$$;
comment on function public.increment_message_count() is
'Counts a message in its session. A streamed reply counts once, when it is whole (issue 4).';

-- A second lock behind the privilege: a dump that is restored brings the platform's default grants back. The outermost role
-- counts, since in here everybody is the owner. Who may do what the service role or the owner may is no client, whatever else
-- the role is a member of.
create function private.is_called_by_client() returns boolean
language plpgsql
set search_path = ''
as $$
declare
    caller constant pg_catalog.name := coalesce(nullif(current_setting('role'), 'none'), session_user);
begin
    return (pg_has_role(caller, 'anon', 'usage') or pg_has_role(caller, 'authenticated', 'usage'))
        and not pg_has_role(caller, 'service_role', 'usage')
        and not pg_has_role(caller, current_user, 'usage')
        and not exists (select from pg_catalog.pg_roles where rolname = caller and rolbypassrls);
end;
$$;
comment on function private.is_called_by_client() is
'Whether the outermost role is a client''s, also inside a function of the owner''s (issue 4).';
revoke all on function private.is_called_by_client() from public, anon, authenticated, service_role;

create function private.refuse_client() returns void
language plpgsql
set search_path = ''
as $$
begin
    if private.is_called_by_client() then
        raise exception using
            errcode = 'insufficient_privilege',
            message = 'this function is for the server, and not for its clients',
            detail = format('role %s', coalesce(nullif(current_setting('role'), 'none'), session_user::pg_catalog.text)),
            hint = 'Call it from the backend, as the service role.';
    end if;
end;
$$;
comment on function private.refuse_client() is
'Raises where a client calls, also one who has been granted EXECUTE (issues 4 and 47).';
revoke all on function private.refuse_client() from public, anon, authenticated, service_role;

create function public.finalize_message(message_id uuid) returns uuid
language plpgsql
security definer
set search_path = ''
as $$
declare
    reply pg_catalog.record;
begin
    perform private.refuse_client();
    perform private.lock_reply(finalize_message.message_id);

    select
        (array_agg(chunk.session_id))[1] as session_id,
        min(chunk.chat_type) as chat_type,
        string_agg(chunk.content, '' order by chunk.seq) as content,
        min(chunk.created_at) as began_at,
        max(chunk.seq)::bigint - least(min(chunk.seq), 1) + 1 - count(*) as missing
    into reply
    from public.message_chunks as chunk
    where chunk.message_id = finalize_message.message_id;

    if reply.session_id is null
        and exists (select from public.messages where messages.id = finalize_message.message_id)
    then
        return finalize_message.message_id;
    elsif reply.session_id is null then
        raise exception using
            errcode = 'PT404',
            message = 'there is nothing to finalize under this message id',
            detail = format('message %s', finalize_message.message_id),
            hint = 'Write the fragments into message_chunks first.';
    elsif reply.missing > 0 then
        raise exception using
            errcode = 'PT409',
            message = format('fragments are missing from the message: %s', reply.missing),
            detail = format('message %s', finalize_message.message_id),
            hint = 'Write the missing fragments, then finalize again; those that arrived are kept.';
    elsif char_length(reply.content) > 8000 then
        raise exception using
            errcode = 'PT413',
            message = format('the message has %s characters, and 8000 are allowed', char_length(reply.content)),
            detail = format('message %s', finalize_message.message_id),
            hint = 'Stream a shorter reply under a new message_id; the fragments are kept.';
    end if;

    perform set_config('maraum.finalizing', finalize_message.message_id::pg_catalog.text, true);
    insert into public.messages (id, session_id, role, chat_type, content, timestamp, created_at)
    values (
        finalize_message.message_id,
        reply.session_id,
        case reply.chat_type when 'main' then 'scenario' else 'helper' end,
        reply.chat_type,
        reply.content,
        reply.began_at,
        reply.began_at
    );
    delete from public.message_chunks as chunk
    where chunk.message_id = finalize_message.message_id;

    return finalize_message.message_id;
end;
$$;
comment on function public.finalize_message(uuid) is
'Turns the fragments of a streamed reply into one message, in one transaction; a second call changes nothing (issue 4).';
revoke all on function public.finalize_message(uuid) from public, anon, authenticated;

-- Restated from v1: fragments of replies that nobody finalized go after a day.
select private.require_plain_function('public.delete_expired_sessions()');
create or replace function public.delete_expired_sessions() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    deleted_count integer;
    orphan_count integer;
begin
    delete from public.sessions
    where not is_completed
        and last_activity_at < now() - interval '7 days'
        and not exists (
            select
            from public.message_chunks
            where message_chunks.session_id = sessions.id
                and message_chunks.created_at >= now() - interval '1 day'
        );
    get diagnostics deleted_count = row_count;

    -- Whole replies only: the beginning of one that still streams may be old.
    delete from public.message_chunks
    where message_id in (
        select message_id
        from public.message_chunks
        group by message_id
        having max(created_at) < now() - interval '1 day'
    );
    get diagnostics orphan_count = row_count;

    insert into public.logs (level, event_type, metadata)
    values (
        'info',
        'session_expiration_cleanup',
        jsonb_build_object('deleted_sessions', deleted_count, 'orphan_chunks', orphan_count)
    );
    return deleted_count;
end;
$$;
comment on function public.delete_expired_sessions() is
'Deletes sessions left open for over 7 days, and replies that nobody went on with for over a day (issue 4).';
revoke all on function public.delete_expired_sessions() from public, anon, authenticated;

commit;
