-- Rollout: what old clients ask, while v1's tables are in use
-- Makes the schema compat_v1 over v1, so that old clients may move to it before the switch and notice nothing at the switch.
-- When: before the switch, as the owner of the schema, in a transaction of whoever runs it. compat_over_v2.sql takes its place.
-- Locks: profiles, scenarios, sessions, messages and logs, ACCESS SHARE, for a moment. Nothing waits.
-- Repairs: nothing.
-- Clients: nothing changes for who stays in public. In compat_v1 a job is the backend's (42501), and a view is not emptied
-- (42809).

create schema compat_v1;
comment on schema compat_v1 is
'What v1 looked like, for old clients: PostgREST exposes it first for them. It goes when the last of them is gone.';
grant usage on schema compat_v1 to anon, authenticated, service_role;

-- The tables and their policies decide, as whoever asks: a view adds nothing and takes nothing away. Plain columns, so PostgreSQL
-- writes through them by itself, ON CONFLICT included.
create view compat_v1.profiles with (security_invoker = true) as
select
    id,
    email,
    completed_scenario_count,
    current_week_completion_count,
    week_reset_date,
    created_at,
    updated_at
from public.profiles;
comment on view compat_v1.profiles is 'profiles as v1 had them.';

create view compat_v1.scenarios with (security_invoker = true) as
select
    id,
    title,
    emoji,
    initial_message_main,
    initial_message_helper,
    is_active,
    created_at
from public.scenarios;
comment on view compat_v1.scenarios is 'scenarios as v1 had them.';

create view compat_v1.sessions with (security_invoker = true) as
select
    id,
    user_id,
    scenario_id,
    is_completed,
    started_at,
    last_activity_at,
    completed_at,
    message_count_main,
    message_count_helper,
    duration_seconds,
    created_at,
    updated_at
from public.sessions;
comment on view compat_v1.sessions is 'sessions as v1 had them.';

create view compat_v1.messages with (security_invoker = true) as
select
    id,
    session_id,
    role,
    chat_type,
    content,
    timestamp,
    created_at
from public.messages;
comment on view compat_v1.messages is 'messages as v1 had them.';

create view compat_v1.logs with (security_invoker = true) as
select
    id,
    level,
    event_type,
    user_id,
    session_id,
    metadata,
    created_at
from public.logs;
comment on view compat_v1.logs is 'logs as v1 had them.';

grant select, insert, update, delete on
    compat_v1.profiles, compat_v1.scenarios, compat_v1.sessions, compat_v1.messages, compat_v1.logs
to anon, authenticated, service_role;

-- v1's jobs name their tables without a schema, so here they are told where those are. They run as the owner: nobody's temporary
-- table may come first.
create function compat_v1.delete_expired_sessions() returns integer
language sql
set search_path = public, pg_temp
as $$
    select public.delete_expired_sessions();
$$;
comment on function compat_v1.delete_expired_sessions() is
'Job of v1: deletes sessions left open for over 7 days, and returns how many.';

create function compat_v1.delete_old_logs() returns integer
language sql
set search_path = public, pg_temp
as $$
    select public.delete_old_logs();
$$;
comment on function compat_v1.delete_old_logs() is
'Job of v1: deletes logs over 30 days old, and returns how many.';

create function compat_v1.reset_weekly_limits() returns integer
language sql
set search_path = public, pg_temp
as $$
    select public.reset_weekly_limits();
$$;
comment on function compat_v1.reset_weekly_limits() is
'Job of v1: starts a new week for each profile whose week is over, and returns how many.';

-- v1 lets everybody run its jobs. What is new does not repeat that.
revoke all on function
    compat_v1.delete_expired_sessions(), compat_v1.delete_old_logs(), compat_v1.reset_weekly_limits()
from public, anon, authenticated;
grant execute on function
    compat_v1.delete_expired_sessions(), compat_v1.delete_old_logs(), compat_v1.reset_weekly_limits()
to service_role;
