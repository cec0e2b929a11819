-- 20 · Missing scenario history index
-- Locks: sessions, ACCESS EXCLUSIVE, while an index is built and one is dropped. Reads and writes wait.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- Not of the completed ones alone: the open ones are one a learner at most, and so the index serves all sessions of a scenario too.
create index sessions_user_id_scenario_id_completed_at_idx on public.sessions (user_id, scenario_id, completed_at desc);
comment on index public.sessions_user_id_scenario_id_completed_at_idx is
'A learner''s sessions of one scenario, the newest completion first, or of all (issue 20).';

-- Whoever looked up a learner's sessions here finds them in the new index, or in the two partial ones.
select private.drop_index('public.sessions', 'btree (user_id, is_completed)', 'idx_sessions_user_lookup');

commit;
