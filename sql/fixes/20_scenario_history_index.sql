-- 20 · Missing scenario history index
-- Locks: sessions, ACCESS EXCLUSIVE, while two indexes are built and one is dropped. Reads and writes wait.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

create index sessions_user_id_scenario_id_completed_at_idx
    on public.sessions (user_id, scenario_id, completed_at desc)
    where is_completed;
comment on index public.sessions_user_id_scenario_id_completed_at_idx is
'A learner''s completions of one scenario, newest first (issue 20).';

create index sessions_user_id_scenario_id_is_completed_idx on public.sessions (user_id, scenario_id, is_completed);
comment on index public.sessions_user_id_scenario_id_is_completed_idx is
'All of a learner''s sessions of one scenario, or of all; also what a deleted profile''s foreign key looks up (issue 20).';

-- Whoever looked up a learner's sessions here finds them in the new index, or in the two partial ones.
select private.drop_index('public.sessions', 'btree (user_id, is_completed)', 'idx_sessions_user_lookup');

commit;
