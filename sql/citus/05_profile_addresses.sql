-- private.profile_addresses
-- What changes: which address is whose stands in a table of its own, on the coordinator. Its key says that nobody has another's.
-- Why: a unique key of a distributed table has to contain the learner, so it cannot compare two learners. Sign-up and change of
-- address come through auth.users, which is on the coordinator as well, and write profile and address in one transaction.
-- Locks: profiles, SHARE, while the addresses are copied.
-- Clients: nothing; an address that is taken is refused as before, by its name.

set local lock_timeout = '5s';
lock table public.profiles in share mode;

create table private.profile_addresses (
    email extensions.citext not null,
    user_id uuid not null,
    constraint profile_addresses_pkey primary key (user_id),
    constraint profiles_email_unique_of_all unique (email)
);
alter table private.profile_addresses owner to workbook_owner;
comment on table private.profile_addresses is
'Which address is whose, of all living learners. On the coordinator: profiles, being distributed, cannot hold it unique.';
comment on column private.profile_addresses.email is 'As profiles has it.';
comment on column private.profile_addresses.user_id is 'The profile.';
revoke all on private.profile_addresses from public, anon, authenticated, service_role;

insert into private.profile_addresses (email, user_id)
select email, id
from public.profiles
where email is not null;

-- Both are written where v2 writes the profile, first the address, so that one that is taken stops the profile too.
select private.rewrite(
    'private.set_profile_address(uuid, text, boolean)',
    'insert into public.profiles (id, email, week_reset_date)',
    'insert into private.profile_addresses (email, user_id)
            values (wanted, set_profile_address.user_id)
            on conflict on constraint profile_addresses_pkey do update
            set email = excluded.email;
            insert into public.profiles (id, email, week_reset_date)',
    'from public.profiles
                        join auth.users on users.id = profiles.id
                        where lower(profiles.email::pg_catalog.text) = lower(wanted)',
    'from private.profile_addresses as taken
                        join auth.users on users.id = taken.user_id
                        where lower(taken.email::pg_catalog.text) = lower(wanted)'
);
select private.rewrite(
    'private.retire_account(uuid, text)',
    'update public.profiles',
    'delete from private.profile_addresses as taken where taken.user_id = retire_account.user_id;
    update public.profiles'
);
