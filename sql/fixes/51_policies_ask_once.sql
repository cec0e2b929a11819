-- 51 · B5 · Every policy asks who is calling once a row
-- Locks: sessions, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing.

begin;

set local lock_timeout = '5s';

-- The last of v1's policies. The sub-select becomes an InitPlan: evaluated once, before the first row.
drop policy sessions_select_own_authenticated on public.sessions;
create policy sessions_select_own on public.sessions
    for select to authenticated using (user_id = (select auth.uid()));
comment on policy sessions_select_own on public.sessions is
'A learner reads their own sessions (B5).';

commit;
