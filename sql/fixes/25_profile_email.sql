-- 25 · No email validation in profile creation
-- Locks: nothing that a query touches; the function is replaced.
-- Repairs: nothing; issue 42 repairs the addresses that are empty or blank already.
-- Clients: a sign-up without an address is refused (23514); by phone or anonymously it has no profile, in silence, until
-- one comes.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- Run again after 42, which restates the function, this would take that back.
do $$
begin
    if to_regprocedure('private.sync_profile_email()') is not null then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = 'fix 42 is applied already, so fix 25 comes too late',
            hint = 'Record it: supabase migration repair --status applied, with its version.';
    end if;
end;
$$;

-- Restated from 02: it refuses a user without an address.
create or replace function private.create_profile_for_new_user() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    -- \S is anything but white space: a tab is as empty as nothing.
    if new.email is null or new.email !~ '\S' then
        if new.is_anonymous or new.phone ~ '\S' then
            -- Auth knows them otherwise. They get no profile, and start no session, until they have an address.
            return new;
        end if;
        raise exception using
            errcode = 'check_violation',
            message = 'a new user needs an email address',
            detail = format('user %s', new.id),
            hint = 'Sign up with an address, by phone or anonymously.';
    end if;

    insert into public.profiles (id, email, week_reset_date)
    values (new.id, new.email, private.next_week_reset(now()));
    return new;
end;
$$;
comment on function private.create_profile_for_new_user() is
'Gives each new auth user a profile whose week ends on Monday 00:00 UTC (issue 2), and refuses a user without an address (25).';

commit;
