-- The cluster
-- What changes: the API's roles and the owner may log in, and what a client sets with SET LOCAL goes to the workers as well.
-- Why: the coordinator opens a connection to a worker as whoever sends the statement, and the policies there ask for the claims.
-- Let nobody but the nodes reach a worker as one of these roles: pg_hba.conf.
-- Locks: nothing.
-- Clients: the claims come with SET LOCAL. set_config() stays on the coordinator, and then a learner sees no rows.

alter role anon login;
alter role authenticated login;
alter role service_role login;
alter role workbook_owner login;

do $$
begin
    execute format('alter database %I set citus.enable_unsafe_triggers = on', current_database());
end;
$$;
