-- public.event_types
-- What changes: a reference table, the same rows on every node.
-- Why: each log refers to one, there are few, and they change with a release only.
-- Locks: event_types, while the rows go to the workers; logs, while its foreign key is taken off.
-- Clients: nothing.

set local lock_timeout = '5s';
alter table public.logs drop constraint logs_event_type_fkey;
select create_reference_table('public.event_types');
