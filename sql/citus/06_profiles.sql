-- public.profiles
-- What changes: distributed by id, which is the learner. The address is unique in private.profile_addresses.
-- Why: a completed session raises its learner's count, in the same transaction and so on the same node.
-- Locks: profiles, sessions and logs, while the rows go to the workers.
-- Clients: an address that is written past Auth is refused as before (23001), now also where it is the right one. An import writes
-- auth.users, and the profile follows.

set local lock_timeout = '5s';
alter table public.sessions drop constraint sessions_user_id_fkey;
alter table public.logs drop constraint logs_user_id_fkey;
alter table public.profiles drop constraint profiles_email_unique;

-- A trigger on a shard cannot look into auth.users. Whoever writes an address there is the owner, by the functions of the sign-up.
create or replace function private.keep_profile_email() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    if new.email is null or (tg_op = 'UPDATE' and new.email::pg_catalog.text = old.email::pg_catalog.text) then
        return new;
    elsif not pg_has_role(current_user, (select relowner from pg_catalog.pg_class where pg_class.oid = tg_relid), 'usage') then
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
'Refuses an address that did not come from auth.users: on a shard, one that somebody else than the owner writes (issue 42).';

-- Shards ask who is calling once a query: a sub-select would not go to them.
drop policy profiles_select_own on public.profiles;
create policy profiles_select_own on public.profiles for select to authenticated
using (id = auth.uid() and deleted_at is null);
comment on policy profiles_select_own on public.profiles is
'A learner reads their own profile while the account lives (issues 35 and 51).';

select create_distributed_table('public.profiles', 'id', colocate_with => 'none');
