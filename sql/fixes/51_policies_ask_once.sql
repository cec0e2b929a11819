-- 51 · B5 · Every policy asks who is calling once a row
-- Locks: sessions, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- The last of v1's policies. The sub-select becomes an InitPlan: evaluated once, before the first row.
select
    private.drop_policies('public.sessions', 'select', 'authenticated', 'auth.uid() = user_id'),
    private.require_no_other_policy(
        'public.sessions', '{select,insert,update,delete}', '{sessions_insert_own,sessions_update_own,sessions_delete_own}'
    );
create policy sessions_select_own on public.sessions
    for select to authenticated using (user_id = (select auth.uid()));
comment on policy sessions_select_own on public.sessions is
'A learner reads their own sessions (B5).';

commit;
