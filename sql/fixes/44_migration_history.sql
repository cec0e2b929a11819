-- 44 · No migration versioning strategy
-- Locks: nothing that a query touches.
-- Repairs: nothing.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- Where the Supabase CLI records what it has applied; made here only where the fixes were applied by hand so far.
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text primary key, statements text[], name text);
comment on table supabase_migrations.schema_migrations is
'What is applied to this database. Migrations are files, one transaction each, applied in the order of their versions, and never '
'changed once applied. The Supabase CLI commits a file and records it after that: where it was cut off between the two, '
'supabase migration repair --status applied records the file. Whoever applies one by hand holds pg_advisory_xact_lock('
'hashtextextended(''supabase_migrations'', 0)), and records it in the same transaction. The key refuses a second one with its '
'version (issue 44).';
comment on column supabase_migrations.schema_migrations.version is
'The fourteen digits that the CLI goes by, or the number of a fix that was applied by hand.';
comment on column supabase_migrations.schema_migrations.statements is 'What was run.';
comment on column supabase_migrations.schema_migrations.name is 'The name of its file, after the version.';
revoke all on schema supabase_migrations from public, anon, authenticated, service_role;

commit;
