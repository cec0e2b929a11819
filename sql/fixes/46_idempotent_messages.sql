-- 46 · No idempotency key for message writes
-- Locks: messages and messages_archive, ACCESS EXCLUSIVE, while an index over messages is built. Reads and writes wait.
-- Repairs: nothing.

begin;

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
-- session was completed, so a retry may come after that: it writes nothing.
create or replace function private.require_open_session() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    session pg_catalog.record;
    is_client constant boolean := private.is_bound_by_policies();
    facts pg_catalog.record;
begin
    -- The lock makes a completion wait for this message, and this message for a completion.
    -- FOR SHARE would let two writers in, who then deadlock in the counter's update.
    select sessions.user_id, sessions.is_completed
    into session
    from public.sessions
    where sessions.id = new.session_id
        and case when is_client then sessions.user_id = private.calling_user() else true end
    for no key update;

    if not found and not is_client then
        raise exception using
            errcode = 'foreign_key_violation',
            message = 'there is no such session',
            detail = format('session %s', new.session_id),
            hint = 'Create the session before its messages.';
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
        session.is_completed
        and exists (
            select
            from public.messages
            where messages.session_id = new.session_id
                and messages.client_message_id = new.client_message_id
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
    elsif session.is_completed and not facts.is_streaming and not facts.is_retry then
        raise exception using
            errcode = 'PT409',
            message = 'the session is completed and takes no more messages',
            detail = format('session %s', new.session_id),
            hint = 'Start a new session.';
    elsif facts.is_deleted then
        perform private.require_account(session.user_id);
    end if;

    -- Null for a client who names somebody else's session: the policy refuses that.
    new.user_id := session.user_id;
    return new;
end;
$$;
comment on function private.require_open_session() is
'Refuses a message for a completed session (issue 3), except a reply that began before (4) and a retry (46), or for a deleted '
'account (35), and sets its user (18).';

-- Restated from 35 with the column.
create or replace function private.move_old_messages(
    cutoff_months integer, batch_size integer, out affected bigint, out window_start timestamptz, out window_end timestamptz
)
language plpgsql
set search_path = ''
set timezone = 'UTC'
as $$
begin
    if cutoff_months is null or cutoff_months < 1 or batch_size is null or batch_size < 1 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'cutoff_months and batch_size have to be 1 or more',
            hint = 'Leave them out for the defaults.';
    end if;

    window_end := now() - make_interval(months => cutoff_months);
    -- One statement: a message is in exactly one of the two tables, whatever happens and whoever looks.
    with batch as (
        select messages.id
        from public.messages
        join public.sessions on sessions.id = messages.session_id
        where messages.sent_at < window_end
            -- An id that somebody has used again stays here, and does not hold up the rest.
            and not exists (select from public.messages_archive as archived where archived.id = messages.id)
        limit batch_size
        -- First the session, as whoever deletes one does.
        for key share of sessions skip locked
        for update of messages skip locked
    ),
    moved as (
        delete from public.messages
        using batch
        where messages.id = batch.id
        returning messages.*
    ),
    archived as (
        insert into public.messages_archive (
            id, session_id, user_id, role, chat_type, content, client_message_id, sent_at, deleted_at, deleted_reason
        )
        select id, session_id, user_id, role, chat_type, content, client_message_id, sent_at, deleted_at, deleted_reason
        from moved
        returning sent_at
    )
    select count(*), min(archived.sent_at)
    into affected, window_start
    from archived;
end;
$$;

commit;
