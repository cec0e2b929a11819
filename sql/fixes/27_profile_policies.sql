-- 27 · RLS allows INSERT on profiles despite automatic creation
-- Locks: profiles, ACCESS EXCLUSIVE, while its ids are compared with those of auth.users. Reads and writes wait.
-- Repairs: nothing that is there; an auth user with an address who deleted their profile under v1 gets a new one, as nobody
-- could make it after this.
-- Clients: a learner neither makes nor deletes a profile (42501): the sign-up and the erasure do.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- By what they allow, whatever they are called. Whoever may delete the profile starts again with fresh counts, and takes all
-- sessions with it.
select
    private.drop_policies('public.profiles', 'insert', 'authenticated', 'auth.uid() = id'),
    private.drop_policies('public.profiles', 'delete', 'authenticated', 'auth.uid() = id'),
    private.require_no_other_policy('public.profiles', '{insert,delete}', '{}');
revoke insert, delete on public.profiles from anon, authenticated;
insert into public.profiles (id, email, week_reset_date)
select users.id, users.email, private.next_week_reset(now())
from auth.users
where users.email ~ '\S'
    and users.deleted_at is null
    and not exists (select from public.profiles where profiles.id = users.id);

comment on table public.profiles is
'One row for each learner, made by the sign-up trigger and by nobody else (issue 27).';

commit;
