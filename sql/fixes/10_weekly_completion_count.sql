-- 10 · Weekly completion count can drift
-- Locks: sessions and profiles, SHARE ROW EXCLUSIVE, while this week's completions are counted once. Writes wait, reads do not.
-- Repairs: profiles whose weekly count is not the number of their completions since Monday 00:00 UTC.
-- Clients: whoever adds a completion to current_week_completion_count counts it twice from here on, in silence.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.sessions, public.profiles in share row exclusive mode;

create function private.week_start(at timestamptz) returns timestamptz
language sql
immutable
strict
parallel safe
set search_path = ''
as $$
    select date_trunc('week', at at time zone 'UTC') at time zone 'UTC';
$$;
comment on function private.week_start(timestamptz) is
'The Monday 00:00 UTC on which the given moment''s week began (issue 10).';
revoke all on function private.week_start(timestamptz) from public, anon, authenticated, service_role;

create view private.completion_drift with (security_invoker = true) as
select
    profiles.id as user_id,
    profiles.completed_scenario_count,
    count(sessions.id) filter (where sessions.is_completed) as completed_sessions,
    profiles.current_week_completion_count,
    count(sessions.id) filter (
        where sessions.completed_at >= private.week_start(now())
            and profiles.week_reset_date > now()
    ) as completed_this_week
from public.profiles
left join public.sessions on sessions.user_id = profiles.id
group by profiles.id
having profiles.completed_scenario_count <> count(sessions.id) filter (where sessions.is_completed)
    or (
        profiles.week_reset_date > now()
        and profiles.current_week_completion_count
        <> count(sessions.id) filter (where sessions.completed_at >= private.week_start(now()))
    );
revoke all on private.completion_drift from public, anon, authenticated, service_role;
comment on view private.completion_drift is
'Profiles whose counts differ from their sessions. Higher counts are due to sessions deleted since; lower ones are a defect (issues 9 and 10).';

insert into private.repairs (issue, table_name, row_id, before)
select 10, 'profiles', profiles.id, to_jsonb(profiles)
from public.profiles
join private.completion_drift as drift on drift.user_id = profiles.id
where profiles.current_week_completion_count <> drift.completed_this_week;

update public.profiles
set current_week_completion_count = drift.completed_this_week
from private.completion_drift as drift
where drift.user_id = profiles.id
    and profiles.current_week_completion_count <> drift.completed_this_week;

-- Restated from 09: the week counts too. A week that is over is started anew here, so that a weekly job that did not
-- run never makes a completion count into the old one.
create or replace function private.count_completion() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.profiles
    set completed_scenario_count = completed_scenario_count + 1,
        current_week_completion_count
        = case when week_reset_date <= now() then 0 else current_week_completion_count end
        + (new.completed_at >= private.week_start(now()))::integer,
        week_reset_date = case when week_reset_date <= now() then private.next_week_reset(now()) else week_reset_date end
    where id = new.user_id;
    return null;
end;
$$;
comment on function private.count_completion() is
'Counts a completion in its learner''s profile, once: for ever (issue 9), and in the week it falls into (issue 10).';

select private.name_constraint(
    'public.profiles', 'CHECK ((current_week_completion_count >= 0))', 'profiles_current_week_completion_count_check'
);
comment on column public.profiles.current_week_completion_count is
'Sessions completed in the week that ends at week_reset_date; the weekly limit is held against it (issue 10).';
comment on column private.completion_drift.user_id is
'The learner.';
comment on column private.completion_drift.completed_scenario_count is
'What the profile says.';
comment on column private.completion_drift.completed_sessions is
'What the sessions say.';
comment on column private.completion_drift.current_week_completion_count is
'What the profile says of this week.';
comment on column private.completion_drift.completed_this_week is
'What the sessions say of this week.';

commit;
