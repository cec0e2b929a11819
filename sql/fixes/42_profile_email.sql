-- 42 · Duplicate source of truth for email
-- Locks: profiles, ACCESS EXCLUSIVE, while its rows are compared with auth.users and rewritten; auth.users, SHARE ROW EXCLUSIVE.
-- Reads and writes of profiles wait, sign-ups too.
-- Repairs: addresses that differ from auth.users take those of auth.users; what is then blank, or the same as an older
-- profile's but for upper and lower case, becomes <id>@duplicate.invalid.
-- Clients: an address is found whatever its case, in silence, and stands in one profile only. It is changed in auth.users:
-- profiles refuses another one (23001).

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

create function private.sync_profile_email() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.deleted_at is not null then
        -- Deleted softly: the address that goes is the one from before.
        if old.deleted_at is null then
            perform private.retire_account(new.id, old.email);
        end if;
    else
        perform private.set_profile_address(new.id, new.email, new.is_sso_user);
    end if;
    return null;
end;
$$;
comment on function private.sync_profile_email() is
'Carries a changed address from auth.users into its profile, and a soft deletion (issue 42).';
revoke all on function private.sync_profile_email() from public, anon, authenticated, service_role;

-- First auth.users, then profiles: a sign-up goes the same way. Whoever changes an address from here on waits.
create trigger users_sync_profile_email
after update of email, deleted_at on auth.users
for each row when (new.email is distinct from old.email or new.deleted_at is distinct from old.deleted_at)
execute function private.sync_profile_email();

lock table public.profiles in access exclusive mode;

select private.drop_index('public.profiles', 'btree (email)', 'idx_profiles_email');
alter table public.profiles drop constraint profiles_email_while_living;
select private.require_no_dependants('public.profiles', 'email', of_its_type => true);

-- What each living profile should say: the address of its auth user, if that is one; of several that differ in case
-- only, the oldest profile keeps it.
create temporary table wanted on commit drop as
select
    living.id,
    case
        when living.address !~ '\S' or living.address ilike '%@duplicate.invalid' then null
        when row_number() over (partition by lower(living.address) order by living.created_at, living.id) = 1 then living.address
    end as email
from (
    select
        profiles.id,
        profiles.created_at,
        coalesce(case when users.email ~ '\S' then users.email end, profiles.email) as address
    from public.profiles
    left join auth.users on users.id = profiles.id
    where profiles.deleted_at is null
) as living;

insert into private.repairs (issue, table_name, row_id, before)
select 42, 'profiles', profiles.id, to_jsonb(profiles)
from public.profiles
join wanted on wanted.id = profiles.id
where profiles.email is distinct from coalesce(wanted.email, format('%s@duplicate.invalid', wanted.id));

update public.profiles
set email = coalesce(wanted.email, format('%s@duplicate.invalid', wanted.id))
from wanted
where wanted.id = profiles.id
    and profiles.email is distinct from coalesce(wanted.email, format('%s@duplicate.invalid', wanted.id));
drop table wanted;

-- citext compares without regard to case. Its operators live in extensions: under a search_path without that schema,
-- email = 'A@b.c' silently compares as text. The index is right wherever it is asked from.
alter table public.profiles alter column email type extensions.citext;
alter table public.profiles
    add constraint profiles_email_while_living check ((email is null) = (deleted_at is not null)),
    add constraint profiles_email_unique unique (email),
    add constraint profiles_email_not_blank check (email::text ~ '\S');
comment on constraint profiles_email_while_living on public.profiles is
'A living profile has an address, a deleted one has none (issue 35).';
comment on constraint profiles_email_unique on public.profiles is
'One living profile an address; deleted ones have none (issue 42).';
comment on constraint profiles_email_not_blank on public.profiles is
'An address is never empty or blank (issues 25 and 42).';
comment on column public.profiles.email is
'The address of the auth user, kept in step by triggers on auth.users; null once the account is deleted (issue 42).';

create function private.set_profile_address(user_id uuid, email text, is_sso_user boolean) returns void
language plpgsql
set search_path = ''
as $$
#variable_conflict use_variable
declare
    placeholder constant pg_catalog.text := format('%s@duplicate.invalid', user_id);
    wanted pg_catalog.text := case when email ~ '\S' then email else placeholder end;
begin
    if email ilike '%@duplicate.invalid' then
        raise exception using
            errcode = 'check_violation',
            message = 'an address at duplicate.invalid is a placeholder, and nobody''s',
            hint = 'Take an address that receives mail.';
    elsif wanted = placeholder and not exists (select from public.profiles where profiles.id = set_profile_address.user_id) then
        -- Still nobody whom one could write to.
        return;
    end if;

    for attempt in 1..2 loop
        begin
            -- A profile that is there already is of somebody who was deleted, and made again under the old id.
            insert into public.profiles (id, email, week_reset_date)
            values (user_id, wanted, private.next_week_reset(now()))
            on conflict (id) do update
            set email = excluded.email,
                deleted_at = null;
            return;
        exception
            when unique_violation then
                -- Single sign-on may bring an address that somebody has; a profile has an address of its own.
                if not (
                    is_sso_user
                    or exists (
                        select
                        from public.profiles
                        join auth.users on users.id = profiles.id
                        where lower(profiles.email::pg_catalog.text) = lower(wanted)
                            and users.is_sso_user
                    )
                ) then
                    raise exception using
                        errcode = 'unique_violation',
                        constraint = 'profiles_email_unique',
                        message = 'another account has this address',
                        hint = 'Sign in to that account, or take another address.';
                end if;
                if wanted = placeholder then
                    raise;
                end if;
                wanted := placeholder;
        end;
    end loop;
end;
$$;
comment on function private.set_profile_address(uuid, text, boolean) is
'Gives a user''s profile an address, and a user who has none yet a profile. One that is blank, or that single sign-on has brought in '
'twice, becomes <id>@duplicate.invalid (issue 42).';
revoke all on function private.set_profile_address(uuid, text, boolean) from public, anon, authenticated, service_role;

-- Restated from 25: of users without an address, those that Auth lets in by another way wait for a profile until they have one.
create or replace function private.create_profile_for_new_user() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if new.deleted_at is not null then
        -- A row that comes back from a backup, of somebody who is gone.
        return new;
    -- \S is anything but white space: a tab is as empty as nothing.
    elsif new.email ~ '\S' then
        perform private.set_profile_address(new.id, new.email, new.is_sso_user);
    elsif not (new.is_anonymous or coalesce(new.phone ~ '\S', false)) then
        raise exception using
            errcode = 'check_violation',
            message = 'a new user needs an email address',
            detail = format('user %s', new.id),
            hint = 'Sign up with an address, by phone or anonymously.';
    end if;
    return new;
end;
$$;
comment on function private.create_profile_for_new_user() is
'Gives each new auth user with an address a profile (issues 2 and 42), and refuses one who has none and no other way in (25).';

-- One source of truth: auth.users. What Auth says there comes in through the triggers on it.
create function private.keep_profile_email() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
declare
    source pg_catalog.record;
begin
    if new.email is null or (tg_op = 'UPDATE' and new.email::pg_catalog.text = old.email::pg_catalog.text) then
        return new;
    end if;

    select users.email, users.is_sso_user, users.deleted_at
    into source
    from auth.users
    where users.id = new.id;

    -- A new profile may come before its user does, as in a restore. One that is there takes what its user has, or the placeholder
    -- where that is nothing, or somebody else's too.
    if (found or tg_op = 'UPDATE')
        and (
            source.deleted_at is not null
            or lower(new.email::pg_catalog.text) is distinct from lower(source.email)
            and not (
                new.email::pg_catalog.text = format('%s@duplicate.invalid', new.id)
                and (
                    source.email !~ '\S'
                    or source.email is null
                    or source.is_sso_user
                    or exists (
                        select
                        from public.profiles
                        where lower(profiles.email::pg_catalog.text) = lower(source.email)
                            and profiles.id <> new.id
                    )
                )
            )
        )
    then
        raise exception using
            errcode = 'restrict_violation',
            message = 'an address is changed in auth.users, and comes here by itself',
            detail = format('user %s', new.id),
            hint = 'Change it through Auth.';
    end if;
    return new;
end;
$$;
comment on function private.keep_profile_email() is
'Keeps a profile''s address what auth.users says, whoever asks (issue 42).';
revoke all on function private.keep_profile_email() from public, anon, authenticated, service_role;

create trigger profiles_keep_email
before insert or update of email on public.profiles
for each row execute function private.keep_profile_email();
comment on trigger profiles_keep_email on public.profiles is
'A profile''s address is that of its auth user (issue 42).';

commit;
