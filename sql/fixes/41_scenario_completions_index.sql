-- 41 · Missing scenario ID index
-- Locks: sessions, SHARE, while the index is built. Writes wait, reads do not; online, use CREATE INDEX CONCURRENTLY.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

create index sessions_scenario_id_is_completed_idx on public.sessions (scenario_id, is_completed);
comment on index public.sessions_scenario_id_is_completed_idx is
'How often a scenario was played and completed; also what a deleted scenario''s foreign key looks up (issue 41).';

commit;
