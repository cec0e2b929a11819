-- What triggers on shards call
-- What changes: these functions are on the workers too.
-- Why: a trigger's own function goes along with its table; what that one calls, PostgreSQL does not know of.
-- Locks: nothing.
-- Clients: nothing.

select create_distributed_function('private.calling_user()');
select create_distributed_function('private.refuse_closed(uuid)');
select create_distributed_function('private.require_account(uuid)');
select create_distributed_function('private.week_start(timestamptz)');
select create_distributed_function('private.next_week_reset(timestamptz)');
select create_distributed_function('private.duration_in_seconds(timestamptz, timestamptz)');
