-- public.scenarios
-- What changes: a reference table, the same rows on every node.
-- Why: each session refers to one, there are few, and they change with a release only.
-- Locks: scenarios, while the rows go to the workers; sessions, while its foreign key is taken off.
-- Clients: nothing. A new scenario is written to all nodes at once, and fails where one of them is away.

set local lock_timeout = '5s';
alter table public.sessions drop constraint sessions_scenario_id_fkey;
select create_reference_table('public.scenarios');
