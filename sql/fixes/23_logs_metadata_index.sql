-- 23 · Missing GIN index for JSONB logs metadata
-- Locks: logs, SHARE, while the index is built. Writes wait, reads do not; online, use CREATE INDEX CONCURRENTLY.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- jsonb_path_ops knows one question, "does it contain this": a smaller index than jsonb_ops, which also knows keys.
create index logs_metadata_idx on public.logs using gin (metadata jsonb_path_ops);
comment on index public.logs_metadata_idx is
'Logs by what their metadata contain, such as an error code: metadata @> ''{"code": "E42"}'' (issue 23).';

commit;
