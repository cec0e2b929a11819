-- Issue 2 as proposed: the next boundary in one step, and the same at sign-up.

create or replace function public.reset_weekly_limits() returns integer
language plpgsql
security definer
as $$
declare
    reset_count integer;
begin
    update profiles
    set current_week_completion_count = 0,
        week_reset_date = date_trunc('week', NOW() AT TIME ZONE 'UTC') + INTERVAL '7 days'
    where week_reset_date <= now();
    get diagnostics reset_count = row_count;

    insert into logs (level, event_type, metadata)
    values ('info', 'weekly_limit_reset', jsonb_build_object('reset_users', reset_count));
    return reset_count;
end;
$$;

create or replace function public.create_profile_for_new_user() returns trigger
language plpgsql
security definer
as $$
begin
    insert into public.profiles (id, email, week_reset_date)
    values (new.id, new.email, date_trunc('week', NOW() AT TIME ZONE 'UTC') + INTERVAL '7 days');
    return new;
end;
$$;
