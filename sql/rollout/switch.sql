-- The rollout's steps after the copy: the foreign keys, the switch, the way back, and what puts everything away.
-- Runs as the schema's owner. Defines functions only.

create table rollout.statements (
    step text not null,
    place integer not null,
    statement text not null,
    constraint statements_pkey primary key (step, place)
);
comment on table rollout.statements is
'What a step runs beside moving tables, taken from a database that had v1 and all fixes: foreign keys, triggers on auth.users, grants.';
comment on column rollout.statements.step is 'link, before_switch (what needs no lock of clients'' tables), users, switch, back_users or back.';

create function rollout.run_statements(of_step text) returns void
language plpgsql
set search_path = ''
as $$
declare
    found pg_catalog.record;
begin
    for found in select statement from rollout.statements where statements.step = of_step order by place loop
        execute found.statement;
    end loop;
end;
$$;
comment on function rollout.run_statements(text) is 'Runs the statements of a step in their order.';
revoke all on function rollout.run_statements(text) from public;

create function rollout.catalog_now(of_schema text) returns text
language plpgsql
stable
set search_path = ''
as $$
begin
    return (
        select md5(string_agg(found.definition, E'\n' order by found.definition))
        from (
            select pg_class.oid, pg_class.relname
            from pg_catalog.pg_class
            where relnamespace = of_schema::pg_catalog.regnamespace
                and relname in ('profiles', 'scenarios', 'sessions', 'messages', 'logs')
        ) as ours
        cross join lateral (
            select concat_ws(
                ' ', relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
                attacl, pg_get_expr(adbin, adrelid)
            ) as definition
            from pg_catalog.pg_attribute
            left join pg_catalog.pg_attrdef on adrelid = attrelid and adnum = attnum
            where attrelid = ours.oid
                and attnum > 0
                and not attisdropped
            union all
            select concat_ws(' ', relname, conname, pg_get_constraintdef(pg_constraint.oid))
            from pg_catalog.pg_constraint
            where conrelid = ours.oid
                or confrelid = ours.oid
            union all
            select pg_get_indexdef(indexrelid)
            from pg_catalog.pg_index
            where indrelid = ours.oid
            union all
            select concat_ws(' ', pg_get_triggerdef(pg_trigger.oid), tgenabled)
            from pg_catalog.pg_trigger
            where tgrelid = ours.oid
                and not tgisinternal
                and tgname not like 'rollout\_%'
            union all
            select concat_ws(
                ' ', relname, polname, polcmd, polpermissive, polroles::pg_catalog.text, pg_get_expr(polqual, polrelid),
                pg_get_expr(polwithcheck, polrelid)
            )
            from pg_catalog.pg_policy
            where polrelid = ours.oid
            union all
            select concat_ws(' ', relname, relacl::pg_catalog.text, relrowsecurity, relforcerowsecurity, relreplident)
            from pg_catalog.pg_class
            where pg_class.oid = ours.oid
            union all
            select format('%s published by %s', relname, prpubid)
            from pg_catalog.pg_publication_rel
            where prrelid = ours.oid
        ) as found
    );
end;
$$;
comment on function rollout.catalog_now(text) is 'A sum of all that the catalog says of v1''s five tables.';
revoke all on function rollout.catalog_now(text) from public;

-- --- Watching -------------------------------------------------------------------------------------------------------

create function rollout.watch(of_table text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform set_config('lock_timeout', '30ms', true);
    if of_table = 'users' then
        create or replace trigger rollout_note after update of email, deleted_at on auth.users
        for each row when (new.email is distinct from old.email or new.deleted_at is distinct from old.deleted_at)
        execute function rollout.note_user();
        create or replace trigger rollout_note_ends after insert or delete on auth.users
        for each row execute function rollout.note_user();
    else
        execute format(
            'create or replace trigger rollout_note after insert or update or delete on public.%1$I '
            'for each row execute function rollout.note(%1$L)', of_table
        );
        execute format(
            'create or replace trigger rollout_note_truncate after truncate on public.%1$I '
            'for each statement execute function rollout.note(%1$L)', of_table
        );
    end if;
end;
$$;
comment on function rollout.watch(text) is 'Has a table''s changes noted from here on; whoever was writing has committed by then.';
revoke all on function rollout.watch(text) from public;

-- --- Foreign keys ---------------------------------------------------------------------------------------------------

create function rollout.link() returns void
language plpgsql
set search_path = ''
as $$
begin
    if exists (select from rollout.progress where not progress.is_copied) then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = 'not every table is copied',
            hint = 'Run the step copy.';
    elsif (select phase from rollout.state) = 'started' then
        perform rollout.run_statements('link');
        update rollout.state set phase = 'linked';
    end if;
end;
$$;
comment on function rollout.link() is 'Makes v2''s foreign keys, which reads the ghosts through once; no client knows these tables.';
revoke all on function rollout.link() from public;

-- --- The switch -----------------------------------------------------------------------------------------------------

-- In the order in which the app goes from one to the next. A view comes before its table.
create function rollout.lock_tables() returns void
language plpgsql
set search_path = ''
as $$
declare
    our pg_catalog.text;
    began constant pg_catalog.timestamptz := clock_timestamp();
begin
    perform set_config('lock_timeout', '30ms', true);
    foreach our in array array['logs', 'messages', 'sessions', 'profiles', 'scenarios'] loop
        if to_regclass('compat_v1.' || our) is not null then
            execute format('lock table only compat_v1.%I in access exclusive mode', our);
        end if;
        execute format('lock table public.%I in access exclusive mode', our);
        if clock_timestamp() > began + interval '60 milliseconds' then
            -- Others wait behind what is held already.
            raise exception using
                errcode = 'lock_not_available',
                message = 'the locks took too long';
        end if;
    end loop;
end;
$$;
comment on function rollout.lock_tables() is 'Locks what clients use, for a moment, or gives up soon: then nobody has waited long.';
revoke all on function rollout.lock_tables() from public;

create function rollout.move(from_schema text, to_schema text) returns void
language plpgsql
set search_path = ''
as $$
declare
    moved pg_catalog.record;
begin
    for moved in
        select format('%s %s', kind, identity) as object
        from (
            select case relkind when 'v' then 'view' else 'table' end as kind, pg_class.oid::pg_catalog.regclass::pg_catalog.text as identity
            from pg_catalog.pg_class
            where relnamespace = from_schema::pg_catalog.regnamespace
                and relkind in ('r', 'p', 'v')
            union all
            select 'function', pg_proc.oid::pg_catalog.regprocedure::pg_catalog.text
            from pg_catalog.pg_proc
            where pronamespace = from_schema::pg_catalog.regnamespace
            union all
            select 'type', pg_type.oid::pg_catalog.regtype::pg_catalog.text
            from pg_catalog.pg_type
            where typnamespace = from_schema::pg_catalog.regnamespace
                and typtype = 'e'
            union all
            select 'statistics', format('%I.%I', from_schema, stxname)
            from pg_catalog.pg_statistic_ext
            where stxnamespace = from_schema::pg_catalog.regnamespace
        ) as found
    loop
        execute format('alter %s set schema %I', moved.object, to_schema);
    end loop;
end;
$$;
comment on function rollout.move(text, text) is 'Moves all tables, views, functions, enums and statistics of a schema to another one; no row is touched.';
revoke all on function rollout.move(text, text) from public;

create function rollout.move_named(objects text[], to_schema text) returns void
language plpgsql
set search_path = ''
as $$
declare
    moved pg_catalog.text;
begin
    foreach moved in array objects loop
        execute format('alter %s set schema %I', moved, to_schema);
    end loop;
end;
$$;
comment on function rollout.move_named(text[], text) is 'Moves objects, each given as its kind and name, to a schema.';
revoke all on function rollout.move_named(text[], text) from public;

create function rollout.set_triggers(in_schema text, are_on boolean) returns void
language plpgsql
set search_path = ''
as $$
declare
    found pg_catalog.record;
begin
    for found in
        select distinct relname
        from pg_catalog.pg_class
        join pg_catalog.pg_trigger on tgrelid = pg_class.oid and not tgisinternal
        where relnamespace = in_schema::pg_catalog.regnamespace
            and relkind in ('r', 'p')
            and not relispartition
            and (in_schema <> 'public' or relname = any (rollout.our_tables()))
    loop
        execute format('alter table %I.%I %s trigger user', in_schema, found.relname, case when are_on then 'enable' else 'disable' end);
    end loop;
    -- Some were off, or always on, before.
    for found in
        select value ->> 'on_table' as on_table, value ->> 'trigger' as trigger, value ->> 'state' as state
        from rollout.state
        cross join lateral jsonb_array_elements(before -> 'unusual_triggers') as value
        where are_on
    loop
        if exists (
            select from pg_catalog.pg_trigger
            where tgrelid = to_regclass(format('%I.%I', in_schema, found.on_table)) and tgname = found.trigger
        ) then
            execute format(
                'alter table %I.%I %s trigger %I', in_schema, found.on_table,
                case found.state when 'D' then 'disable' when 'A' then 'enable always' when 'R' then 'enable replica' end, found.trigger
            );
        end if;
    end loop;
end;
$$;
comment on function rollout.set_triggers(text, boolean) is 'Switches the triggers of a schema''s tables on or off; those of foreign keys stay on.';
revoke all on function rollout.set_triggers(text, boolean) from public;

create function rollout.our_tables() returns name[]
language sql
stable
set search_path = ''
as $$
    select array['profiles', 'scenarios', 'sessions', 'messages', 'messages_archive', 'message_chunks', 'logs', 'event_types']::name[];
$$;
comment on function rollout.our_tables() is 'The tables that v1 and v2 have in public.';
revoke all on function rollout.our_tables() from public;

create function rollout.follow_sequences(from_schema text, to_schema text) returns void
language plpgsql
set search_path = ''
as $$
declare
    found pg_catalog.record;
begin
    for found in
        select source.relname, pg_sequences.last_value
        from pg_catalog.pg_class as source
        join pg_catalog.pg_sequences on schemaname = from_schema and sequencename = source.relname
        where source.relnamespace = from_schema::pg_catalog.regnamespace
            and source.relkind = 'S'
            and pg_sequences.last_value is not null
            and to_regclass(format('%I.%I', to_schema, source.relname)) is not null
    loop
        perform setval(format('%I.%I', to_schema, found.relname)::pg_catalog.regclass, found.last_value);
    end loop;
end;
$$;
comment on function rollout.follow_sequences(text, text) is 'Has the sequences of one schema go on where those of another one are.';
revoke all on function rollout.follow_sequences(text, text) from public;

create function rollout.switch() returns void
language plpgsql
set search_path = ''
as $$
begin
    if (select phase from rollout.state) <> 'linked' then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = format('the rollout is %s', (select phase from rollout.state)),
            hint = 'The step copy comes first, and the switch once.';
    elsif (select catalog from rollout.state) <> rollout.catalog_now('public') then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = 'somebody has changed the definition of one of v1''s tables since the start',
            hint = 'Take that back, or abort and start again.';
    end if;

    perform rollout.prepare();
    -- Nobody but VACUUM holds these, and nobody waits behind this.
    perform set_config('lock_timeout', '3s', true);
    lock table rollout_new.logs, rollout_new.messages, rollout_new.sessions, rollout_new.profiles, rollout_new.scenarios
        in access exclusive mode;
    perform rollout.run_statements('before_switch');
    perform set_config('lock_timeout', '30ms', true);
    -- A sign-up goes from auth.users to profiles, so it comes first.
    alter function public.create_profile_for_new_user() set schema private;
    perform rollout.run_statements('users');
    perform rollout.lock_tables();

    while exists (select from rollout.dirty) loop
        perform rollout.apply_notes(10000);
    end loop;
    if rollout.keep_week() then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = 'another week has begun',
            hint = 'Run the step copy, and the switch again.';
    elsif exists (select from rollout.progress where not is_copied) then
        -- As when somebody else holds a lock: the runner copies what there is to copy, and comes back.
        raise exception using
            errcode = 'lock_not_available',
            message = 'a table was emptied a moment ago, and is copied again';
    end if;

    perform rollout.follow_sequences('public', 'rollout_new');
    perform setval(pg_get_serial_sequence('rollout_new.scenarios', 'id'), greatest(max(id), 1), max(id) is not null)
    from public.scenarios;
    perform rollout.set_triggers('public', false);
    perform rollout.move_named(
        (select array(select jsonb_array_elements_text(before -> 'v1_objects')) from rollout.state), 'rollout_old'
    );
    perform rollout.move('rollout_new', 'public');
    perform rollout.set_triggers('public', true);
    perform rollout.run_statements('switch');
    drop schema compat_v1 cascade;
    alter schema rollout_compat rename to compat_v1;
    update rollout.state
    set phase = 'switched',
        switched_at = now();
    notify pgrst, 'reload schema';
end;
$$;
comment on function rollout.switch() is
'In one transaction: the last changes, and v2''s tables take the names of v1''s, which then lie in rollout_old.';
revoke all on function rollout.switch() from public;

-- --- The way back ---------------------------------------------------------------------------------------------------

-- What a column of v1 says in terms of v2.
create function rollout.as_v1(of_table text, of_column text, type oid) returns text
language plpgsql
stable
set search_path = ''
as $$
begin
    return case
        when of_table = 'messages' and of_column in ('timestamp', 'created_at') then 'v2.sent_at'
        when of_table = 'messages' and of_column = 'role' then
            'case when v2.role::text = ''user'' then ''user'' when v2.chat_type::text = ''main'' then ''scenario'' else ''helper'' end'
        when of_table = 'sessions' and of_column = 'created_at' then 'v2.started_at'
        -- A log of somebody whom v1 cannot hold outlives them.
        when of_table = 'logs' and of_column = 'user_id' then
            '(select profiles.id from public.profiles where profiles.id = v2.user_id and profiles.deleted_at is null)'
        when of_table = 'logs' and of_column = 'session_id' then
            '(select sessions.id from public.sessions join public.profiles on profiles.id = sessions.user_id '
            'where sessions.id = v2.session_id and profiles.deleted_at is null)'
        else format('v2.%I::%s', of_column, format_type(type, null))
    end;
end;
$$;
comment on function rollout.as_v1(text, text, oid) is 'A column of v1 in terms of v2''s row v2.';
revoke all on function rollout.as_v1(text, text, oid) from public;

create function rollout.carry_back(of_table text, ids text[], source text, is_wanted text default 'true') returns void
language plpgsql
set search_path = ''
as $$
declare
    target constant pg_catalog.regclass := format('rollout_old.%I', of_table);
    names pg_catalog.text;
    written pg_catalog.text;
    renewed pg_catalog.text;
begin
    select
        string_agg(quote_ident(attname), ', ' order by attnum),
        string_agg(rollout.as_v1(of_table, attname, atttypid), ', ' order by attnum),
        -- What v2 does not know stays what it was.
        string_agg(format('%1$I = excluded.%1$I', attname), ', ' order by attnum)
        filter (
            where attname <> 'id'
                and attidentity <> 'a'
                and not (of_table in ('sessions', 'messages') and attname = 'created_at')
        )
    into names, written, renewed
    from pg_catalog.pg_attribute
    where attrelid = target
        and attnum > 0
        and not attisdropped
        and attgenerated = '';
    execute format(
        'insert into rollout_old.%1$I (%2$s) overriding system value select %3$s from %4$s as v2 '
        'where v2.id = any ($1::%5$s[]) and %6$s on conflict (id) do update set %7$s',
        of_table, names, written, source, case of_table when 'scenarios' then 'integer' else 'uuid' end, is_wanted, renewed
    )
    using ids;
end;
$$;
comment on function rollout.carry_back(text, text[], text, text) is 'Writes the rows of these keys from v2 into v1''s table.';
revoke all on function rollout.carry_back(text, text[], text, text) from public;

create function rollout.keep(of_table text, ids text[], source text, id_column text, is_kept text, reason text, what text default 'to_jsonb(v2)')
returns void
language plpgsql
set search_path = ''
as $$
begin
    execute format(
        'insert into rollout_kept.rows (table_name, key, row, reason) '
        'select %1$L, v2.%2$I::text, %3$s, %4$L from %5$s as v2 where v2.%2$I = any ($1::%7$s[]) and %6$s '
        'on conflict (table_name, key) do update set row = excluded.row, reason = excluded.reason',
        of_table, id_column, what, reason, source, is_kept,
        case of_table when 'scenarios' then 'integer' when 'event_types' then 'text' else 'uuid' end
    )
    using ids;
end;
$$;
comment on function rollout.keep(text, text[], text, text, text, text, text) is 'Keeps rows that v1 has no place for.';
revoke all on function rollout.keep(text, text[], text, text, text, text, text) from public;

create function rollout.prepare_back() returns void
language plpgsql
set search_path = ''
as $$
declare
    opened pg_catalog.record;
begin
    if (select phase from rollout.state) <> 'switched' then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = format('the rollout is %s, so there is no way to go back', (select phase from rollout.state)),
            hint = 'Before the switch, abort it.';
    end if;
    if to_regnamespace('rollout_kept') is null then
        create schema rollout_kept;
        revoke all on schema rollout_kept from public;
        comment on schema rollout_kept is
        'What v2 held and v1 has no place for, from a way back. It may hold personal data: drop it once nobody misses anything.';
        create table rollout_kept.rows (
            table_name text not null,
            key text not null,
            row jsonb not null,
            reason text not null,
            kept_at timestamptz not null default now(),
            constraint rows_pkey primary key (table_name, key)
        );
        comment on table rollout_kept.rows is 'Rows, or what of a row v1 has no column for, as v2 had them.';
        -- A team's default privileges may have opened both.
        for opened in
            select distinct grantee::pg_catalog.regrole as role
            from (
                select nspacl as acl from pg_catalog.pg_namespace where nspname = 'rollout_kept'
                union all
                select relacl from pg_catalog.pg_class where pg_class.oid = 'rollout_kept.rows'::pg_catalog.regclass
            ) as made
            cross join lateral aclexplode(made.acl)
            where grantee <> 0
                and grantee <> (select pg_roles.oid from pg_catalog.pg_roles where rolname = current_user)
        loop
            execute format('revoke all on schema rollout_kept from %s', opened.role);
            execute format('revoke all on rollout_kept.rows from %s', opened.role);
        end loop;
        revoke all on rollout_kept.rows from public;
    end if;
    -- A month that v2's job has dropped left no notes.
    delete from rollout_old.logs as v1
    where v1.created_at < now() - interval '30 days'
        and not exists (select from public.logs as v2 where v2.id = v1.id);
end;
$$;
comment on function rollout.prepare_back() is 'Makes the place for what v1 cannot hold.';
revoke all on function rollout.prepare_back() from public;

create function rollout.apply_notes_back(up_to integer) returns integer
language plpgsql
set search_path = ''
set random_page_cost = 1.1
as $$
declare
    of_table pg_catalog.text;
    ids pg_catalog.text[];
    held pg_catalog.text;
    source pg_catalog.text;
    how_many integer;
begin
    create temporary table if not exists noted (table_name text not null, key text) on commit delete rows;
    delete from pg_temp.noted;
    with taken as (
        delete from rollout.dirty
        where id in (select id from rollout.dirty order by id limit up_to)
        returning table_name, key
    )
    insert into pg_temp.noted
    select distinct table_name, key from taken;
    get diagnostics how_many = row_count;

    for of_table in select distinct table_name from pg_temp.noted where key is null loop
        if to_regclass(format('rollout_old.%I', of_table)) is not null then
            execute format('delete from rollout_old.%I', of_table);
            execute format('insert into rollout.dirty (table_name, key) select %1$L, id::text from public.%1$I', of_table);
        end if;
    end loop;

    -- Whom v1 cannot hold goes with all that is theirs, and whom it does not have yet, or no more, comes with all of it.
    ids := array(
        select v2.id::pg_catalog.text
        from public.profiles as v2
        where v2.id = any (
                array(
                    select key::pg_catalog.uuid from pg_temp.noted where table_name = 'profiles' and key is not null
                    union
                    select sessions.user_id
                    from public.sessions
                    where sessions.id = any (
                            array(select key::pg_catalog.uuid from pg_temp.noted where table_name = 'sessions' and key is not null)
                        )
                    union
                    select logs.user_id
                    from public.logs
                    where logs.id = any (
                            array(select key::pg_catalog.uuid from pg_temp.noted where table_name = 'logs' and key is not null)
                        )
                        and not exists (select from rollout_old.profiles as v1 where v1.id = logs.user_id)
                )
            )
            and (v2.deleted_at is not null or not exists (select from rollout_old.profiles as v1 where v1.id = v2.id))
    );
    insert into pg_temp.noted
    select 'profiles', unnest(ids);
    insert into pg_temp.noted
    select 'sessions', sessions.id::pg_catalog.text
    from public.sessions
    where sessions.user_id = any (ids::pg_catalog.uuid[])
    union all
    select 'messages', messages.id::pg_catalog.text
    from public.messages
    where messages.user_id = any (ids::pg_catalog.uuid[])
    union all
    select 'messages', archived.id::pg_catalog.text
    from public.messages_archive as archived
    where archived.user_id = any (ids::pg_catalog.uuid[])
    union all
    select 'logs', logs.id::pg_catalog.text
    from public.logs
    where logs.user_id = any (ids::pg_catalog.uuid[])
    union all
    select 'logs', logs.id::pg_catalog.text
    from public.sessions
    join public.logs on logs.session_id = sessions.id
    where sessions.user_id = any (ids::pg_catalog.uuid[]);

    -- Gone in v2, from the last table to the first.
    foreach of_table in array array['logs', 'messages', 'sessions', 'profiles'] loop
        ids := array(select distinct key from pg_temp.noted where table_name = of_table and key is not null);
        continue when ids = '{}';
        execute format(
            'delete from rollout_old.%1$I as v1 where v1.id = any ($1::uuid[]) '
            'and not exists (select from %2$s as v2 where v2.id = v1.id and %3$s)',
            of_table, rollout.source_of(of_table), rollout.is_held_by_v1(of_table)
        )
        using ids;
    end loop;
    foreach of_table in array array['scenarios', 'profiles', 'sessions', 'messages', 'logs', 'event_types', 'message_chunks'] loop
        ids := array(select distinct key from pg_temp.noted where table_name = of_table and key is not null);
        continue when ids = '{}';
        held := rollout.is_held_by_v1(of_table);
        source := rollout.source_of(of_table);
        delete from rollout_kept.rows
        where rows.table_name = of_table
            and rows.key = any (ids);
        case of_table
            when 'sessions' then
                perform rollout.carry_back('sessions', ids, source, held || ' and v2.is_completed');
                perform rollout.carry_back('sessions', ids, source, held || ' and not v2.is_completed');
            when 'event_types', 'message_chunks' then
                null;
            else
                perform rollout.carry_back(of_table, ids, source, held);
        end case;
        perform rollout.keep(
            of_table, ids, source,
            case of_table when 'event_types' then 'code' when 'message_chunks' then 'message_id' else 'id' end,
            format('not (%s)', held), 'v1 has no place for the row'
        );
        case of_table
            when 'scenarios' then
                perform rollout.keep(
                    'scenarios', ids, source, 'id', 'true', 'v1 has no column for it',
                    'jsonb_build_object(''code'', v2.code, ''sort_order'', v2.sort_order, ''updated_at'', v2.updated_at)'
                );
            when 'messages' then
                perform rollout.keep(
                    'messages', ids, source, 'id', 'v2.client_message_id is not null and ' || held,
                    'v1 has no column for it', 'jsonb_build_object(''client_message_id'', v2.client_message_id)'
                );
            when 'logs' then
                perform rollout.keep(
                    'logs', ids, source, 'id', 'v2.message is not null and ' || held, 'v1 has no column for it',
                    'jsonb_build_object(''message'', v2.message)'
                );
            else null;
        end case;
    end loop;
    -- Their sessions are another scenario's by now.
    ids := array(select key from pg_temp.noted where table_name = 'scenarios' and key is not null);
    delete from rollout_old.scenarios as v1
    where v1.id = any (ids::integer[])
        and not exists (select from public.scenarios as v2 where v2.id = v1.id);
    return how_many;
end;
$$;
comment on function rollout.apply_notes_back(integer) is 'Carries what the oldest notes name from v2 into v1''s tables, and returns how many rows.';
revoke all on function rollout.apply_notes_back(integer) from public;

create function rollout.source_of(of_table text) returns text
language sql
stable
set search_path = ''
as $$
    select case of_table
        when 'messages' then
            '(select id, session_id, user_id, role, chat_type, content, sent_at, deleted_at, deleted_reason, client_message_id '
            'from public.messages union all '
            'select id, session_id, user_id, role, chat_type, content, sent_at, deleted_at, deleted_reason, client_message_id '
            'from public.messages_archive)'
        when 'message_chunks' then
            '(select message_id, min(session_id::text) as session_id, min(chat_type) as chat_type, '
            'string_agg(content, '''' order by seq) as content from public.message_chunks group by message_id)'
        else format('public.%I', of_table)
    end;
$$;
comment on function rollout.source_of(text) is 'Where v2 keeps the rows of one of v1''s tables: an archived message is a message.';
revoke all on function rollout.source_of(text) from public;

create function rollout.is_held_by_v1(of_table text) returns text
language sql
stable
set search_path = ''
as $$
    select case of_table
        when 'profiles' then 'v2.deleted_at is null and exists (select from auth.users where users.id = v2.id)'
        when 'sessions' then 'exists (select from public.profiles where profiles.id = v2.user_id and profiles.deleted_at is null)'
        when 'messages' then
            'v2.deleted_at is null '
            'and exists (select from public.profiles where profiles.id = v2.user_id and profiles.deleted_at is null)'
        when 'logs' then
            (select format('v2.event_type = any (%L)', array(select jsonb_array_elements_text(before -> 'event_types'))) from rollout.state)
        when 'event_types' then
            (select format('v2.code = any (%L)', array(select jsonb_array_elements_text(before -> 'event_types'))) from rollout.state)
        when 'message_chunks' then 'false'
        else 'true'
    end;
$$;
comment on function rollout.is_held_by_v1(text) is 'A condition on a row v2: v1 has a place for it.';
revoke all on function rollout.is_held_by_v1(text) from public;

create function rollout.go_back() returns void
language plpgsql
set search_path = ''
as $$
begin
    perform rollout.prepare_back();
    perform set_config('lock_timeout', '30ms', true);
    lock table rollout_old.logs, rollout_old.messages, rollout_old.sessions, rollout_old.profiles, rollout_old.scenarios
        in access exclusive mode;
    perform rollout.run_statements('back_users');
    perform rollout.lock_tables();
    lock table public.messages_archive, public.message_chunks, public.event_types in access exclusive mode;
    while exists (select from rollout.dirty) loop
        perform rollout.apply_notes_back(10000);
    end loop;

    drop schema compat_v1 cascade;
    perform rollout.set_triggers('public', false);
    perform rollout.follow_sequences('public', 'rollout_old');
    perform rollout.move_named((select array(select jsonb_array_elements_text(before -> 'v2_objects')) from rollout.state), 'rollout_new');
    perform rollout.move('rollout_old', 'public');
    perform rollout.set_triggers('public', true);
    perform rollout.run_statements('back');
    if to_regclass('rollout_kept.repairs') is null then
        alter table private.repairs set schema rollout_kept;
    else
        -- An earlier way back has left some. A row that was repaired both times is kept as it was the second time.
        insert into rollout_kept.repairs (issue, table_name, row_id, before, repaired_at)
        select issue, table_name, row_id, before, repaired_at
        from private.repairs
        on conflict (issue, table_name, row_id) do update set
            before = excluded.before,
            repaired_at = excluded.repaired_at;
        drop table private.repairs;
    end if;
    update rollout.state set phase = 'returned';
    notify pgrst, 'reload schema';
end;
$$;
comment on function rollout.go_back() is
'In one transaction: v2''s last changes, and v1''s tables take their names again; what v1 cannot hold lies in rollout_kept.';
revoke all on function rollout.go_back() from public;

-- --- Erasure --------------------------------------------------------------------------------------------------------

create function rollout.forget() returns trigger
language plpgsql
security definer
set search_path = ''
as $$
begin
    if tg_argv[0] = 'logs' then
        update rollout_old.logs
        set metadata = new.metadata
        where id = new.id;
    else
        delete from rollout_old.profiles where id = new.id;
    end if;
    return null;
end;
$$;
comment on function rollout.forget() is
'What v2 erases is erased in v1''s tables as well, as long as they are there: a deleted account with all its rows, a log''s metadata.';
revoke all on function rollout.forget() from public;

-- --- Putting things away --------------------------------------------------------------------------------------------

create function rollout.unwatch(of_table text) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform set_config('lock_timeout', '30ms', true);
    if of_table = 'users' then
        -- With their function, because nobody but Auth may drop a trigger on its table.
        drop function if exists rollout.note_user() cascade;
    else
        execute format('drop trigger if exists rollout_note on public.%I', of_table);
        execute format('drop trigger if exists rollout_note_truncate on public.%I', of_table);
        execute format('drop trigger if exists rollout_forget on public.%I', of_table);
    end if;
end;
$$;
comment on function rollout.unwatch(text) is 'Has a table''s changes noted no more.';
revoke all on function rollout.unwatch(text) from public;

create function rollout.clear() returns void
language plpgsql
set search_path = ''
as $$
declare
    before constant pg_catalog.jsonb := (select state.before from rollout.state);
    ours pg_catalog.text;
begin
    perform set_config('lock_timeout', '2s', true);
    -- A connection may begin again. What hangs on these goes along.
    drop table if exists
        pg_temp.noted, pg_temp.users, pg_temp.repairs, pg_temp.addresses_to_forget, pg_temp.wanted,
        pg_temp.scenarios, pg_temp.sessions, pg_temp.profiles, pg_temp.messages, pg_temp.logs
    cascade;
    drop schema if exists compat_v1, rollout_compat, rollout_new, rollout_old cascade;
    if before -> 'schemas' ? 'private' then
        for ours in select jsonb_array_elements_text(before -> 'private_objects') loop
            if split_part(ours, ' ', 1) in ('table', 'view', 'type')
                and to_regtype(split_part(ours, ' ', 2)) is not null
                or to_regprocedure(substr(ours, 10)) is not null
            then
                execute format('drop %s cascade', ours);
            end if;
        end loop;
    else
        drop schema private cascade;
    end if;
    foreach ours in array array['citext', 'pgcrypto'] loop
        if not before -> 'extensions' ? ours then
            begin
                execute format('drop extension if exists %I', ours);
            exception
                when dependent_objects_still_exist then
                    raise notice 'the extension % stays, because something has come to use it', ours;
            end;
        end if;
    end loop;
    if not before -> 'schemas' ? 'extensions' then
        drop schema if exists extensions;
    end if;
    drop schema rollout cascade;
end;
$$;
comment on function rollout.clear() is 'Drops all that the rollout has made, itself at last; what was there before stays.';
revoke all on function rollout.clear() from public;

create function rollout.drop_v1() returns void
language plpgsql
set search_path = ''
as $$
begin
    -- The foreign key on auth.users goes with profiles: sign-ins wait for this, so it waits for nobody.
    perform set_config('lock_timeout', '30ms', true);
    drop schema rollout_old, rollout_new cascade;
    drop schema rollout cascade;
end;
$$;
comment on function rollout.drop_v1() is 'Drops v1''s tables and the rollout''s own objects.';
revoke all on function rollout.drop_v1() from public;

create function rollout.without_place(out table_name text, out rows bigint) returns setof record
language plpgsql
set search_path = ''
as $$
declare
    of_table pg_catalog.text;
begin
    foreach of_table in array array['profiles', 'logs', 'event_types', 'messages'] loop
        table_name := of_table;
        execute format(
            'select count(*) from %s as v2 where v2.%s::text in (select key from rollout.dirty where table_name = %L) and not (%s)',
            rollout.source_of(of_table), case of_table when 'event_types' then 'code' else 'id' end, of_table, rollout.is_held_by_v1(of_table)
        ) into rows;
        if rows > 0 then
            return next;
        end if;
    end loop;
    select 'message_chunks', count(*) into table_name, rows from public.message_chunks;
    if rows > 0 then
        return next;
    end if;
end;
$$;
comment on function rollout.without_place() is 'How many rows written since the switch v1 has no place for, by table.';
revoke all on function rollout.without_place() from public;
