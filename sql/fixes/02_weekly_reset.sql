-- 02 · Misaligned weekly reset logic
-- Locks: profiles, SHARE ROW EXCLUSIVE, while its rows are realigned. Writes wait, reads do not.
-- Repairs: every week_reset_date that is not the coming Monday 00:00 UTC; a reset that was missed is made up for.
-- A sign-up that is under way meanwhile still gets the old kind of date, which its first reset aligns.
-- Clients: a week ends on Monday 00:00 UTC, not seven days after the sign-up. No client calls reset_weekly_limits() any more.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';
lock table public.profiles in share row exclusive mode;

-- In plain timestamps from end to end: no TimeZone setting and no change to summer time can shift the result.
create function private.next_week_reset(at timestamptz) returns timestamptz
language sql
immutable
strict
parallel safe
set search_path = ''
as $$
    select (date_trunc('week', at at time zone 'UTC') + interval '7 days') at time zone 'UTC';
$$;
comment on function private.next_week_reset(timestamptz) is
'The first Monday 00:00 UTC after the given moment: when the weekly limit starts anew (issue 2).';
revoke all on function private.next_week_reset(timestamptz) from public, anon, authenticated, service_role;

with wrong as (
    select profiles.*
    from public.profiles
    where week_reset_date is distinct from private.next_week_reset(now())
)
insert into private.repairs (issue, table_name, row_id, before)
select 2, 'profiles', wrong.id, to_jsonb(wrong)
from wrong;

update public.profiles
set current_week_completion_count = case
        when week_reset_date <= now() then 0
        else current_week_completion_count
    end,
    week_reset_date = private.next_week_reset(now())
where week_reset_date is distinct from private.next_week_reset(now());

-- The trigger on auth.users follows its function: a project's owner may not drop a trigger there.
alter function public.create_profile_for_new_user() set schema private;

create or replace function private.create_profile_for_new_user() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    insert into public.profiles (id, email, week_reset_date)
    values (new.id, new.email, private.next_week_reset(now()));
    return new;
end;
$$;
comment on function private.create_profile_for_new_user() is
'Gives each new auth user a profile whose week ends on Monday 00:00 UTC, as everybody''s does (issue 2).';
revoke all on function private.create_profile_for_new_user() from public, anon, authenticated, service_role;

select private.require_plain_function('public.reset_weekly_limits()');
create or replace function public.reset_weekly_limits() returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    reset_count integer;
begin
    update public.profiles
    set current_week_completion_count = 0,
        week_reset_date = private.next_week_reset(now())
    where week_reset_date <= now();
    get diagnostics reset_count = row_count;

    insert into public.logs (level, event_type, metadata)
    values ('info', 'weekly_limit_reset', jsonb_build_object('reset_users', reset_count));
    return reset_count;
end;
$$;
comment on function public.reset_weekly_limits() is
'Starts a new week for each profile whose week is over. One run makes up for any number of missed ones (issue 2).';
revoke all on function public.reset_weekly_limits() from public, anon, authenticated;

commit;
