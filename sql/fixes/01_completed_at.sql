-- 01 · Missing automatic completed_at timestamp
-- Locks: sessions, ACCESS EXCLUSIVE, while its rows are repaired and checked once. Reads and writes wait.
-- Repairs: completed sessions without completed_at take their last activity; open sessions lose completed_at
-- and duration; durations that do not belong to their two moments are computed again.
-- Clients: a completion takes the server's time, whatever a client sends; completed_at without is_completed is refused (23514).

begin;

-- A fix has as long as its rows take: the platform cancels a statement after two minutes otherwise. But one that cannot get
-- its lock soon gives up: a waiting ACCESS EXCLUSIVE blocks every reader behind it. And where row-level security is forced upon
-- the owner, a row that is hidden is an error.
set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.sessions in access exclusive mode;

-- Who a client is, by its token. auth.uid() says the same, but casts to types without a schema: inside a function that runs as the
-- owner, a client's temporary type would come first, and its checks would run as the owner.
create function private.calling_user() returns uuid
language plpgsql
stable
set search_path = ''
as $$
begin
    return coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::pg_catalog.jsonb ->> 'sub'
    )::pg_catalog.uuid;
end;
$$;
comment on function private.calling_user() is
'The user whose token the caller has, for functions that run as the owner; policies use auth.uid() (issues 3 and 26).';
revoke all on function private.calling_user() from public, anon, authenticated, service_role;

-- A moment may be infinite, or so far off that an integer cannot count the seconds. In plpgsql, because the planner
-- may compute a constant cast in SQL before the CASE around it has a say (PostgreSQL 18 does).
create function private.duration_in_seconds(started_at timestamptz, completed_at timestamptz) returns integer
language plpgsql
immutable
parallel safe
set search_path = ''
as $$
begin
    if isfinite(started_at)
        and isfinite(completed_at)
        and abs(extract(epoch from completed_at) - extract(epoch from started_at)) < 2147483647
    then
        return extract(epoch from completed_at - started_at)::integer;
    end if;
    return null;
end;
$$;
comment on function private.duration_in_seconds(timestamptz, timestamptz) is
'Seconds from the start of a session to its completion; null where there is no such number (issue 1).';
revoke all on function private.duration_in_seconds(timestamptz, timestamptz) from public, anon, authenticated, service_role;

with wrong as (
    select sessions.*
    from public.sessions
    where (is_completed and completed_at is null)
        or (not is_completed and (completed_at is not null or duration_seconds is not null))
        or (is_completed and duration_seconds is distinct from private.duration_in_seconds(started_at, completed_at))
)
insert into private.repairs (issue, table_name, row_id, before)
select 1, 'sessions', wrong.id, to_jsonb(wrong)
from wrong;

update public.sessions
set completed_at = case
        when is_completed then coalesce(completed_at, greatest(last_activity_at, started_at))
    end,
    duration_seconds = case
        when is_completed then private.duration_in_seconds(
            started_at, coalesce(completed_at, greatest(last_activity_at, started_at))
        )
    end
where id in (
    select row_id::uuid
    from private.repairs
    where issue = 1
        and table_name = 'sessions'
);

create function private.set_session_completion() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_op = 'UPDATE' and old.is_completed and not new.is_completed then
        -- Opened again: the moment of completion is no longer true.
        new.completed_at := null;
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
'Keeps completed_at and duration_seconds in step with is_completed, on insert as well as on update (issue 1).';
revoke all on function private.set_session_completion() from public, anon, authenticated, service_role;

-- By what they call, whatever they are called.
select private.drop_triggers('public.sessions', 'public.calculate_session_duration()');
select private.require_plain_function('public.calculate_session_duration()');
drop function public.calculate_session_duration();

-- A client is whom the policies bind, whatever the role's name. The condition is evaluated as whoever sent the statement: the
-- function runs as the owner and could not tell any more.
create trigger sessions_completion
before insert or update on public.sessions
for each row when (not row_security_active('public.sessions'::regclass)) execute function private.set_session_completion('server');
comment on trigger sessions_completion on public.sessions is
'Sets completed_at and duration_seconds, so that nobody has to (issue 1).';
create trigger sessions_completion_by_client
before insert or update on public.sessions
for each row when (row_security_active('public.sessions'::regclass)) execute function private.set_session_completion('client');
comment on trigger sessions_completion_by_client on public.sessions is
'Sets completed_at and duration_seconds by the server''s clock, whatever the client says (issue 1).';

alter table public.sessions
    add constraint sessions_completion_consistent check (is_completed = (completed_at is not null));
comment on constraint sessions_completion_consistent on public.sessions is
'A session is completed exactly when it has a moment of completion (issue 1).';

comment on column public.sessions.is_completed is
'True once the scenario is done. It never goes back; after it no message enters, but for a reply that began before and a retry (issues 1 and 3).';

commit;
