-- private.erase_account()
-- What changes: which before-images to erase is asked in two steps, a log is found by its learner, and the moment is a value.
-- Why: a table of the coordinator does not join a distributed one row by row. A log's session is always of the log's learner, as the
-- foreign key says. A change of distributed rows takes no COALESCE on what the clock says.
-- Locks: nothing.
-- Clients: nothing.

select private.rewrite(
    'private.erase_rows(regclass, name[], text, uuid, uuid[], text)',
    'using learner, sessions', 'using learner, sessions, now()'
);
select private.rewrite(
    'private.erase_account(uuid)',
    'touched bigint;',
    'touched bigint;
    noted pg_catalog.uuid[] := array(
        select (before ->> ''session_id'')::pg_catalog.uuid from private.repairs where table_name = ''messages''
    );
    known pg_catalog.text[];
    profiles_found bigint := (select count(*) from public.profiles where profiles.id = learner);',
    'elsif not exists (select from public.profiles where profiles.id = learner)', 'elsif profiles_found = 0',
    'window_end := now();',
    'window_end := now();
    known := array(select sessions.id::pg_catalog.text from public.sessions where sessions.id = any (noted));',
    'or not exists (select from public.sessions where sessions.id::pg_catalog.text = before ->> ''session_id'')',
    'or before ->> ''session_id'' <> all (known)',
    'or logs.session_id = any ($2)', 'and $2 is not null',
    'coalesce(messages.deleted_at, now())', 'coalesce(messages.deleted_at, $3)',
    'coalesce(archived.deleted_at, now())', 'coalesce(archived.deleted_at, $3)'
);
