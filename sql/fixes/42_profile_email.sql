-- 42 · Duplicate source of truth for email
-- Locks: profiles, ACCESS EXCLUSIVE, while its rows are compared with auth.users and rewritten; auth.users, SHARE ROW EXCLUSIVE.
-- Reads and writes of profiles wait, sign-ups too.
-- Repairs: addresses that differ from auth.users take those of auth.users; what is then blank, or the same as an older
-- profile's but for upper and lower case, becomes <id>@duplicate.invalid.

begin;

set local lock_timeout = '5s';

create function private.sync_profile_email() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    update public.profiles
    set email = new.email
    where id = new.id
        and deleted_at is null;
    return null;
end;
$$;
comment on function private.sync_profile_email() is
'Carries a changed address from auth.users into its living profile (issue 42).';
revoke all on function private.sync_profile_email() from public;

-- First auth.users, then profiles: a sign-up goes the same way. Whoever changes an address from here on waits.
create trigger users_sync_profile_email
after update of email on auth.users
for each row when (new.email is distinct from old.email) execute function private.sync_profile_email();

lock table public.profiles in access exclusive mode;

drop index public.idx_profiles_email;

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

-- citext compares without regard to case. Its operators live in extensions: under a search_path without that schema,
-- email = 'A@b.c' silently compares as text. The index is right wherever it is asked from.
alter table public.profiles
    alter column email type extensions.citext,
    add constraint profiles_email_unique unique (email),
    add constraint profiles_email_not_blank check (email::text ~ '\S');
comment on constraint profiles_email_unique on public.profiles is
'One living profile an address; deleted ones have none (issue 42).';
comment on constraint profiles_email_not_blank on public.profiles is
'An address is never empty or blank (issues 25 and 42).';
comment on column public.profiles.email is
'The address of the auth user, kept in step by triggers on auth.users; null once the account is deleted (issue 42).';

commit;
