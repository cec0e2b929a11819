-- 31 · Bulk update risk in weekly reset
-- Locks: profiles, SHARE, while an index is built. Writes wait, reads do not; online, use CREATE INDEX CONCURRENTLY.
-- Repairs: nothing.
-- Clients: one call of reset_weekly_limits() starts 1000 weeks and leaves the rest, in silence: call it until it returns 0.
-- Advisors: run_weekly_reset() has no search_path of its own, since a procedure that commits takes no SET. It names schemas.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- Finds a batch without reading all profiles for each. Whatever starts a new week writes it: a reset, or the first completion
-- after it. Other completions do not touch it.
create index profiles_week_reset_date_idx on public.profiles (week_reset_date);
comment on index public.profiles_week_reset_date_idx is
'The profiles whose week is over (issue 31).';

create function private.reset_weeks(
    batch_size integer,
    out affected bigint, out window_start timestamptz, out window_end timestamptz, out remaining bigint, out undone text
)
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
begin
    if batch_size is null or batch_size < 1 then
        raise exception using
            errcode = 'invalid_parameter_value',
            message = 'batch_size has to be 1 or more',
            hint = 'Leave it out for the default.';
    end if;

    window_end := now();
    -- A learner who completes a session just now holds their profile, and starts the new week by that: skip them.
    with batch as (
        select
            profiles.id,
            profiles.week_reset_date
        from public.profiles
        where profiles.week_reset_date <= now()
        order by profiles.week_reset_date
        limit batch_size
        for no key update skip locked
    ),
    reset as (
        update public.profiles
        set current_week_completion_count = 0,
            week_reset_date = private.next_week_reset(now())
        from batch
        where profiles.id = batch.id
    )
    select count(*), min(batch.week_reset_date)
    into affected, window_start
    from batch;

    if affected < batch_size then
        select count(*)
        into remaining
        from public.profiles
        where profiles.week_reset_date <= window_end;
        if remaining > 0 then
            undone := format('%s profiles are held by somebody', remaining);
        end if;
    end if;
end;
$$;
comment on function private.reset_weeks(integer) is
'Starts a new week for one batch of profiles, without waiting for any; what remains is counted once no full batch is left (issue 31).';
revoke all on function private.reset_weeks(integer) from public, anon, authenticated, service_role;

-- Restated from 02 with an argument, so under another signature: the old one has to go. What roles of the team's own may do
-- comes along, here and wherever a job is made anew.
create temporary table held on commit drop as
select proacl as acl from pg_proc where oid = 'public.reset_weekly_limits()'::regprocedure;
select private.require_plain_function('public.reset_weekly_limits()');
drop function public.reset_weekly_limits();
create function public.reset_weekly_limits(batch_size integer default 1000) returns integer
language plpgsql
security definer
set search_path = ''
as $$
declare
    reset_count integer;
begin
    select affected
    into reset_count
    from private.reset_weeks(batch_size);

    insert into public.logs (level, event_type, metadata)
    values ('info', 'weekly_limit_reset', jsonb_build_object('reset_users', reset_count));
    return reset_count;
end;
$$;
comment on function public.reset_weekly_limits(integer) is
'Starts a new week for one batch of the profiles whose week is over, and returns how many; call it until it is 0 (issue 31).';
revoke all on function public.reset_weekly_limits(integer) from public, anon, authenticated;
select private.grant_again('function', 'public.reset_weekly_limits(integer)', acl) from held;
drop table held;

-- What a scheduler calls. A procedure that commits may neither be SECURITY DEFINER nor have a SET clause, so it runs as
-- its caller, and names every schema.
create procedure private.run_weekly_reset(batch_size integer default 1000)
language plpgsql
as $$
declare
    reset_count integer;
begin
    loop
        reset_count := public.reset_weekly_limits(batch_size);
        commit;
        exit when reset_count = 0;
    end loop;
end;
$$;
comment on procedure private.run_weekly_reset(integer) is  -- noqa: LT01
'Starts the new week for everybody, in batches that are committed one by one (issue 31).';
revoke all on procedure private.run_weekly_reset(integer) from public, anon, authenticated, service_role;

commit;
