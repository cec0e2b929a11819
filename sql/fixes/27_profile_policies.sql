-- 27 · RLS allows INSERT on profiles despite automatic creation
-- Locks: profiles, ACCESS EXCLUSIVE, while its ids are compared with those of auth.users. Reads and writes wait.
-- Repairs: nothing that is there; an auth user who deleted their profile under v1 gets a new one, as nobody could make
-- it after this.

begin;

set local lock_timeout = '5s';

-- By its real name, and without IF EXISTS: a policy that is not there must be an error, not a notice.
drop policy profiles_insert_own_authenticated on public.profiles;
-- Whoever may delete the profile starts again with fresh counts, and takes all sessions with it.
drop policy profiles_delete_own_authenticated on public.profiles;
revoke insert, delete on public.profiles from anon, authenticated;
insert into public.profiles (id, email, week_reset_date)
select users.id, coalesce(users.email, ''), private.next_week_reset(now())
from auth.users
where not exists (select from public.profiles where profiles.id = users.id);

comment on table public.profiles is
'One row for each learner, made by the sign-up trigger and by nobody else (issue 27).';

commit;
