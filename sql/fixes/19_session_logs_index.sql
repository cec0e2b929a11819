-- 19 · Missing session log index
-- Locks: logs, SHARE, while the index is built. Writes wait, reads do not; online, use CREATE INDEX CONCURRENTLY.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

create index logs_session_id_created_at_idx on public.logs (session_id, created_at desc) where session_id is not null;
comment on index public.logs_session_id_created_at_idx is
'The logs of one session, newest first; also what a deleted session''s foreign key looks up (issue 19).';

commit;
