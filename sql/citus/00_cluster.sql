-- The cluster
-- What changes: the API's roles and the owner may log in. A new role, shard_client, holds on whole tables what a learner may do to some
-- columns, and learners are members of it on the workers only.
-- Why: the coordinator opens a connection to a worker as whoever sends the statement. It asks for privileges on columns itself; to shards
-- it hands on those on tables only. So the columns are guarded where statements arrive, and the rows where they lie.
-- Let nobody but the nodes reach a worker as one of these roles: pg_hba.conf.
-- Locks: nothing.
-- Clients: nothing. When a worker joins, call private.admit_learners_on_workers() again: until then it refuses learners.

alter role anon login;
alter role authenticated login;
alter role service_role login;
alter role workbook_owner login;

do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = 'shard_client') then
        create role shard_client;
        comment on role shard_client is 'Learners on workers: what the coordinator has let through, a shard takes.';
    end if;
    execute format('alter database %I set citus.enable_unsafe_triggers = on', current_database());
end;
$$;
grant usage on schema public to shard_client;
grant insert, update on public.sessions to shard_client;
grant insert on public.messages to shard_client;

create function private.admit_learners_on_workers() returns void
language plpgsql
set search_path = 'public'
as $$
begin
    -- A worker hands a grant on to all nodes, and on the coordinator learners must not be members: it would open all columns to them.
    perform run_command_on_workers(
        'do $do$ begin perform set_config(''citus.enable_ddl_propagation'', ''off'', true);'
        'grant shard_client to authenticated; end $do$'
    );
    if pg_has_role('authenticated', 'shard_client', 'member') then
        raise exception using
            errcode = 'invalid_grant_operation',
            message = 'learners are members of shard_client on the coordinator, where every column would be theirs',
            hint = 'set citus.enable_ddl_propagation to off; revoke shard_client from authenticated;';
    end if;
end;
$$;
comment on function private.admit_learners_on_workers() is
'Lets each worker take what the coordinator has let through. To be called again when a worker joins.';
revoke all on function private.admit_learners_on_workers() from public;
select private.admit_learners_on_workers();
