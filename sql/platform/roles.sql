-- The Supabase stand-in, part 1: what belongs to the whole server.
-- Makes the four API roles and the schema owner, which is no superuser, as on Supabase.
-- Locks nothing. Refuses to run on a real Supabase server, and changes no role that is already there.

do $$
declare
    stand_in constant text := 'Schema workbook: stand-in for a Supabase role';
    wanted record;
begin
    if exists (select from pg_catalog.pg_roles where rolname in ('supabase_admin', 'supabase_auth_admin')) then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = 'this is a Supabase server, and the stand-in would shadow its own roles and schemas',
            hint = 'Point DATABASE_URL at a disposable PostgreSQL server.';
    end if;

    -- One at a time: two workbooks may prepare the same server at once.
    perform pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('schema workbook roles', 0));

    for wanted in
        select *
        from (values
            ('anon',           'nologin',           false),
            ('authenticated',  'nologin',           false),
            ('service_role',   'nologin bypassrls', true),
            ('authenticator',  'nologin noinherit', false),
            ('workbook_owner', 'nologin',           false)
        ) as role (name, options, bypasses_rls)
    loop
        if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
            execute format('create role %I %s', wanted.name, wanted.options);
            execute format('comment on role %I is %L', wanted.name, stand_in);
        elsif exists (
            select
            from pg_catalog.pg_roles
            where rolname = wanted.name
                and (rolsuper or rolbypassrls is distinct from wanted.bypasses_rls)
        ) then
            raise exception using
                errcode = 'object_not_in_prerequisite_state',
                message = format('the role %I exists on this server with other rights than the workbook needs', wanted.name),
                hint = 'Point DATABASE_URL at a disposable PostgreSQL server.';
        end if;
    end loop;

    grant anon, authenticated, service_role to authenticator;
end;
$$;
