-- Issue 25 as proposed: the sign-up function of issue 2 with the review's test.

create or replace function public.create_profile_for_new_user() returns trigger
language plpgsql
security definer
as $$
begin
    IF NEW.email IS NULL OR NEW.email = '' THEN
        RAISE EXCEPTION 'Email cannot be empty';
    END IF;

    insert into public.profiles (id, email, week_reset_date)
    values (new.id, new.email, date_trunc('week', NOW() AT TIME ZONE 'UTC') + INTERVAL '7 days');
    return new;
end;
$$;
