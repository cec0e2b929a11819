-- 48 · B2 · A learner may set their own weekly count
-- Locks: profiles, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing; issue 10 has set the counts to the truth, and private.completion_drift shows what was changed since.
-- Clients: a learner writes no column of a profile (42501).

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- Counts, dates and the address: no column of a profile is the learner's to write.
drop policy profiles_update_own on public.profiles;
select private.require_no_other_policy('public.profiles', '{update}', '{}');
revoke update on public.profiles from anon, authenticated;

commit;
