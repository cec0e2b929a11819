-- The claims
-- What changes: what a client sets with SET LOCAL goes to the workers as well. The conversion's tool goes.
-- Why: a policy on a worker asks for the claims. Until here it was off: what an administrator sets must not reach the workers.
-- Locks: nothing.
-- Clients: the claims come with SET LOCAL, sent alone: what stands in one string with it goes to the workers too. set_config() stays on
-- the coordinator, and then a learner sees no rows, and writes none. The role comes with set_config(): a worker's connection is the
-- role's own already, and SET LOCAL ROLE there stops the owner's functions.

do $$
begin
    execute format('alter database %I set citus.propagate_set_commands = ''local''', current_database());
end;
$$;
drop function private.rewrite(regprocedure, text[]);
