-- 46 · No idempotency key for message writes
-- Locks: messages and messages_archive, ACCESS EXCLUSIVE, while an index over messages is built. Reads and writes wait.
-- Repairs: nothing.
-- Clients: an id that is sent again with another text is refused (PT409); with the same text it writes nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

alter table public.messages
    add column client_message_id uuid,
    -- Not partial: PostgREST names the columns in ON CONFLICT, and no predicate. Nulls never conflict.
    add constraint messages_client_message_id_unique unique (session_id, client_message_id);
comment on column public.messages.client_message_id is
'An id that the client makes before its first try, so that a retry finds the message there (issue 46).';
comment on constraint messages_client_message_id_unique on public.messages is
'A message arrives once, however often it is sent (issue 46).';

alter table public.messages_archive add column client_message_id uuid;
comment on column public.messages_archive.client_message_id is 'As in messages.';

-- Restated from 35: it runs before ON CONFLICT has a say, so a retry passes here too. Its message was stored before the
-- session was completed, so a retry may come after that: it writes nothing. A key under which something else is stored
-- is a mistake of the sender's, which ON CONFLICT would hide.
create or replace function private.require_open_session() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
#variable_conflict use_variable
declare
    session pg_catalog.record;
    is_client constant boolean := tg_argv[0] = 'client';
    facts pg_catalog.record;
begin
    -- The lock makes a completion wait for this message, and this message for a completion.
    -- FOR SHARE would let two writers in, who then deadlock in the counter's update.
    select sessions.user_id, sessions.is_completed
    into session
    from public.sessions
    where sessions.id = new.session_id
        and (not is_client or sessions.user_id = private.calling_user())
    for no key update;

    if not found and not is_client then
        raise exception using
            errcode = 'foreign_key_violation',
            message = 'there is no such session',
            detail = format('session %s', new.session_id),
            hint = 'Create the session before its messages.';
    elsif not found then
        -- Somebody else's or none, and in whatever state: the answer is the policy's, which a view of the owner's does not ask.
        raise exception using
            errcode = 'insufficient_privilege',
            message = 'a learner writes into sessions of their own',
            detail = format('session %s', new.session_id),
            hint = 'Sign in as the learner whose session it is.';
    end if;

    -- Asked when the session is locked, in a statement of its own, so that the work of whoever held the lock is seen.
    select
        exists (
            select
            from public.message_chunks
            where message_chunks.message_id = new.id
        ) as is_streaming,
        exists (
            select
            from public.profiles
            where profiles.id = session.user_id
                and profiles.deleted_at is not null
        ) as is_deleted,
        -- Of what is stored under one of its two keys: whether it is the same message. Null where nothing is.
        (
            select bool_and(
                (stored.session_id, stored.role, stored.chat_type, stored.content)
                = (new.session_id, new.role, new.chat_type, new.content)
            )
            from public.messages as stored
            where stored.id = new.id
                or (stored.session_id = new.session_id and stored.client_message_id = new.client_message_id)
        ) as is_retry
    into facts;

    -- Only finalize_message() lands a reply under the id of its fragments.
    if facts.is_streaming
        and (is_client or current_setting('maraum.finalizing', true) is distinct from new.id::pg_catalog.text)
    then
        raise exception using
            errcode = 'PT409',
            message = 'a reply is streaming under this id',
            detail = format('message %s', new.id),
            hint = 'Send the message under an id of its own, or without one.';
    elsif facts.is_deleted then
        perform private.require_account(session.user_id);
    elsif not facts.is_retry then
        raise exception using
            errcode = 'PT409',
            message = 'another message is stored under this id',
            detail = format('message %s', coalesce(new.client_message_id, new.id)),
            hint = 'Send it under an id of its own; only a retry of the same message may say the same id.';
    elsif session.is_completed and not facts.is_streaming and facts.is_retry is null then
        raise exception using
            errcode = 'PT409',
            message = 'the session is completed and takes no more messages',
            detail = format('session %s', new.session_id),
            hint = 'Start a new session.';
    end if;

    new.user_id := session.user_id;
    return new;
end;
$$;
comment on function private.require_open_session() is
'Refuses a message for a completed session (issue 3), except a reply that began before (4) and a retry (46), or for a deleted '
'account (35), and sets its user (18).';

-- Restated from 35: a fragment that is sent again, too.
create or replace function private.check_message_chunk() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    earlier public.message_chunks;
    session public.sessions;
begin
    perform private.lock_reply(new.message_id);

    -- Its own place first, then any other of the reply.
    select chunk.*
    into earlier
    from public.message_chunks as chunk
    where chunk.message_id = new.message_id
    order by chunk.seq = new.seq desc
    limit 1;

    if found then
        if (earlier.session_id, earlier.chat_type) is distinct from (new.session_id, new.chat_type) then
            raise exception using
                errcode = 'check_violation',
                message = 'all fragments of a message belong to one session and one chat',
                detail = format('message %s', new.message_id),
                hint = 'Stream each reply under a message_id of its own.';
        elsif earlier.seq = new.seq and earlier.content <> new.content then
            raise exception using
                errcode = 'PT409',
                message = 'another fragment is stored in this place',
                detail = format('message %s, fragment %s', new.message_id, new.seq),
                hint = 'Send it under the next number; only a retry of the same fragment may say the same one.';
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
    elsif exists (select from public.messages where messages.id = new.message_id)
        or exists (select from public.messages_archive where messages_archive.id = new.message_id)
    then
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
    perform private.require_account(session.user_id);

    new.user_id := session.user_id;
    return new;
end;
$$;
comment on function private.check_message_chunk() is
'Lets a reply go on that began before its session was completed, and no other (issue 4), nor one for a deleted account (35), nor '
'another text in a place that is taken (46); sets user_id.';

commit;
