-- 03 · No protection against messages in completed sessions
-- Locks: messages, SHARE ROW EXCLUSIVE, for a moment: no row is read. Writes wait, reads do not.
-- Repairs: nothing. Messages that came too late under v1 are what the learner wrote, and stay.
-- Clients: a completed session refuses every message (PT409), a reply by the backend too, and is never opened again.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- Runs as the owner, because a client may not be allowed to lock the session. For a client it therefore looks at
-- their own sessions only: another user's is left to the policy, which refuses it without a word about its state.
create function private.require_open_session() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    session_is_completed boolean;
begin
    -- The lock makes a completion wait for this message, and this message for a completion.
    -- FOR SHARE would let two writers in, who then deadlock in the counter's update.
    select sessions.is_completed
    into session_is_completed
    from public.sessions
    where sessions.id = new.session_id
        and (tg_argv[0] = 'server' or sessions.user_id = private.calling_user())
    for no key update;

    if session_is_completed then
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
'Refuses a message for a completed session, also when the completion is under way (issue 3).';
revoke all on function private.require_open_session() from public, anon, authenticated, service_role;

-- Triggers fire in the order of their names. This one is to be the last: it judges the row that will be stored.
create trigger zz_messages_open_session
before insert on public.messages
for each row when (not row_security_active('public.messages'::regclass)) execute function private.require_open_session('server');
comment on trigger zz_messages_open_session on public.messages is
'A completed session takes no more messages (issue 3).';
create trigger zz_messages_open_session_for_client
before insert on public.messages
for each row when (row_security_active('public.messages'::regclass)) execute function private.require_open_session('client');
comment on trigger zz_messages_open_session_for_client on public.messages is
'A completed session takes no more messages, and a stranger''s says nothing about itself (issue 3).';

-- Restated from 01: completion is terminal.
create or replace function private.set_session_completion() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'UPDATE' and old.is_completed and not new.is_completed then
        raise exception using
            errcode = 'PT409',
            message = 'a completed session cannot be opened again',
            detail = format('session %s', old.id),
            hint = 'Start a new session.';
    elsif new.is_completed and (tg_op = 'INSERT' or not old.is_completed) then
        -- The clock, not now(): a completion that waited for a message must not lie before it. A client's own
        -- moment was taken before the wait, so only an import may bring one.
        new.completed_at := case
            when new.completed_at is null or tg_argv[0] = 'client' then clock_timestamp()
            else new.completed_at
        end;
    end if;

    new.duration_seconds := private.duration_in_seconds(new.started_at, new.completed_at);
    return new;
end;
$$;
comment on function private.set_session_completion() is
'Keeps completed_at and duration_seconds in step with is_completed (issue 1), and makes completion final (issue 3).';

commit;
