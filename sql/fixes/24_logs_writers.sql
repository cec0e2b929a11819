-- 24 · Unclear logs RLS policy
-- Locks: logs, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- Without the privilege no policy is asked, so no later policy can let a client in by mistake.
revoke insert, update, delete on public.logs from anon, authenticated;

-- Restrictive: it holds whatever other policies say. A permissive "false" would be outvoted by the next "true".
create policy logs_insert_none on public.logs
    as restrictive for insert to anon, authenticated with check (false);
comment on policy logs_insert_none on public.logs is
'No client writes logs. The service role does: it has BYPASSRLS, so no policy is asked (issue 24).';
comment on table public.logs is
'What happened, for support and for alarms. Written by the service role and by jobs only; a learner reads their own (issue 24).';

commit;
