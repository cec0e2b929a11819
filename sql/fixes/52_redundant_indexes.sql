-- 52 · B6 · Indexes that are missing, and indexes that are double
-- Locks: logs, ACCESS EXCLUSIVE, for a moment: no row is read. Reads and writes wait.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local lock_timeout = '5s';

-- Issues 19 and 41 have given the two foreign keys their indexes, 20 and 21 have dropped what became double there.
-- idx_logs_level_created begins with the same column and answers whatever this one does.
select private.drop_index('public.logs', 'btree (level)', 'idx_logs_level');

commit;
