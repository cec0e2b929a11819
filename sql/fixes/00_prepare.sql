-- 00 · Prepare: a private schema, a place for every row that a fix repairs, and row-level security wherever v1 had it
-- Locks: nothing that exists, unless row-level security is off on one of v1's tables: then that table, ACCESS EXCLUSIVE, for a
-- moment.
-- Repairs: nothing; it makes the table that the repairs are recorded in.

begin;

set local statement_timeout = 0;
set local row_security = off;
set local lock_timeout = '5s';

-- The name is a common one. A schema that is there stays as it is, grants too, and each object in it is closed by itself.
do $$
declare
    relations constant text[] := array[
        'addresses_to_forget', 'completion_drift', 'job_result', 'logs', 'logs_default', 'repairs', 'timestamp_rules_broken'
    ];
    functions constant text[] := array[
        'admit_message()', 'admit_or_refuse(messages,boolean,boolean)', 'blanks(regclass,name[])', 'calling_user()',
        'check_message_chunk()', 'close_sessions()', 'count_completion()', 'count_message(messages,boolean)',
        'count_waiting()', 'create_log_partition(timestamp with time zone,boolean)', 'create_profile_for_new_user()',
        'delete_sessions(uuid[],timestamp with time zone)', 'dependants(regclass,name,boolean)',
        'drop_foreign_key(regclass,text,text)', 'drop_index(regclass,text,name)', 'drop_old_logs()',
        'drop_policies(regclass,text,regrole,text)', 'drop_triggers(regclass,regprocedure)',
        'duration_in_seconds(timestamp with time zone,timestamp with time zone)', 'ensure_log_partitions()',
        'erase_account(uuid)', 'erase_rows(regclass,name[],text,uuid,uuid[],text)', 'expire_sessions()',
        'find_constraint(regclass,text)', 'forget_addresses()', 'forget_in_logs(text[])',
        'grant_again(text,text,aclitem[],text)', 'hold_account()', 'increment_message_count()', 'is_called_by_client()',
        'keep_chunk()', 'keep_message()', 'keep_profile_email()', 'keep_session_user()', 'lock_reply(uuid)',
        'log_partitions()', 'move_old_messages(integer,integer)', 'name_constraint(regclass,text,name)',
        'next_week_reset(timestamp with time zone)', 'not_referred_to(regclass,text,text)', 'policy_rule(text)',
        'refuse_client()', 'refuse_closed(uuid)', 'refuse_truncate()', 'require_account(uuid)',
        'require_no_dependants(regclass,name,boolean)', 'require_no_other_policy(regclass,text[],name[])',
        'require_open_session()', 'require_plain_function(regprocedure)', 'require_plain_view(regclass,boolean)',
        'reset_weeks(integer)', 'retire_account(uuid,text)', 'retire_profile()', 'run_job(text,text,text)',
        'run_weekly_reset(integer)', 'set_profile_address(uuid,text,boolean)', 'set_session_completion()',
        'sync_profile_email()', 'update_updated_at_column()', 'week_start(timestamp with time zone)', 'write_counts()'
    ];
    taken text;
begin
    if to_regnamespace('private') is null then
        create schema private;
        revoke all on schema private from public;
        comment on schema private is
        'Internal functions and tables of the Maraum schema. The API does not expose it, and no API role may use it.';
        return;
    end if;

    select string_agg(found.identity, ', ' order by found.identity)
    into taken
    from (
        select 'pg_class'::regclass as class, oid as id
        from pg_class
        where relnamespace = 'private'::regnamespace
            and relname = any (relations)
        union all
        select 'pg_type'::regclass, oid
        from pg_type
        where typnamespace = 'private'::regnamespace
            and typname = any (relations)
            and typrelid = 0
        union all
        select 'pg_proc'::regclass, oid
        from pg_proc
        where pronamespace = 'private'::regnamespace
            and format('%s(%s)', proname, array_to_string(proargtypes::regtype[], ',')) = any (functions)
    ) as object
    cross join pg_identify_object(object.class, object.id, 0) as found;
    if taken is not null then
        raise exception using
            errcode = 'duplicate_object',
            message = format('the schema private holds what the fixes need the names of: %s', taken),
            hint = 'Rename these, or move them to another schema, and apply the fix again.';
    elsif not has_schema_privilege('private', 'create') then
        raise exception using
            errcode = 'insufficient_privilege',
            message = format(
                'the schema private belongs to %s, and the fixes may not create in it',
                (select nspowner::regrole from pg_namespace where nspname = 'private')
            ),
            hint = format('Run as that role: grant usage, create on schema private to %I.', current_user);
    end if;
end;
$$;

create table private.repairs (
    issue smallint not null,
    table_name text not null,
    row_id text not null,
    before jsonb not null,
    repaired_at timestamptz not null default now(),
    constraint repairs_pkey primary key (issue, table_name, row_id)
);
comment on table private.repairs is
'Each row that a fix had to change or remove, as it was before. It may hold personal data, so erasure reaches it. Nothing reads it '
'but people: once nobody wants a repair undone, empty it with delete from private.repairs.';
comment on column private.repairs.issue is 'The number of the fix that repaired the row.';
comment on column private.repairs.table_name is 'The table in public that the row stood in.';
comment on column private.repairs.row_id is 'The primary key of the row, as text.';
comment on column private.repairs.before is 'The whole row as the fix found it.';
comment on column private.repairs.repaired_at is 'When the fix ran.';
revoke all on private.repairs from public, anon, authenticated, service_role;

-- One row is repaired by several fixes: erasure and support look it up by table and key.
create index repairs_table_name_row_id_idx on private.repairs (table_name, row_id);

-- Switched off for development, say. The fixes rely on it, and write no policy that would have been in force without.
do $$
declare
    unguarded regclass;
begin
    for unguarded in
        select oid
        from pg_class
        where oid in (
                'public.profiles'::regclass, 'public.scenarios'::regclass, 'public.sessions'::regclass,
                'public.messages'::regclass, 'public.logs'::regclass
            )
            and not relrowsecurity
        order by relname
    loop
        execute format('alter table %s enable row level security', unguarded);
        raise notice 'row-level security was off on %, and is on now', unguarded;
    end loop;
end;
$$;

-- --- What the fixes find v1's objects by, whatever these are called. The last fix takes it away again. ---------------

create function private.drop_triggers(on_table regclass, calling regprocedure) returns void
language plpgsql
set search_path = ''
as $$
declare
    found pg_catalog.record;
begin
    for found in
        select tgname
        from pg_catalog.pg_trigger
        where tgrelid = on_table
            and tgfoid = calling
            and not tgisinternal
    loop
        execute format('drop trigger %I on %s', found.tgname, on_table);
    end loop;
end;
$$;

create function private.find_constraint(on_table regclass, definition text) returns name
language plpgsql
stable
set search_path = ''
as $$
begin
    -- The first one: a second of the same text is somebody's own.
    return (
        select conname
        from pg_catalog.pg_constraint
        where conrelid = on_table
            and pg_get_constraintdef(oid) like definition
        order by conname
        limit 1
    );
end;
$$;

create function private.name_constraint(on_table regclass, definition text, usual_name name) returns void
language plpgsql
set search_path = ''
as $$
declare
    found constant pg_catalog.name := private.find_constraint(on_table, definition);
begin
    if found <> usual_name then
        execute format('alter table %s rename constraint %I to %I', on_table, found, usual_name);
    end if;
end;
$$;

create function private.drop_foreign_key(on_table regclass, on_columns text, definition text) returns void
language plpgsql
set search_path = ''
as $$
declare
    found pg_catalog.record;
begin
    select conname, pg_get_constraintdef(oid) as says
    into found
    from pg_catalog.pg_constraint
    where conrelid = on_table
        and contype = 'f'
        and pg_get_constraintdef(oid) like format('FOREIGN KEY (%s) REFERENCES %%', on_columns)
    order by pg_get_constraintdef(oid) <> definition, conname
    limit 1;

    if found.says <> definition then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = format('you have changed the foreign key %s, which the fix replaces: %s', found.conname, found.says),
            hint = format('Make it what it was, and apply the fix again: %s.', definition);
    end if;
    execute format('alter table %s drop constraint %I', on_table, found.conname);
end;
$$;

create function private.dependants(on_table regclass, on_column name, of_its_type boolean) returns text
language plpgsql
stable
set search_path = ''
as $$
begin
    -- Whatever a column cannot be dropped without, and whatever goes with it in silence; but not its own default and NOT NULL.
    -- A new type is no matter to a privilege, to statistics, and to an index or key of the bare column.
    return (
        select string_agg(distinct described.what, ', ' order by described.what)
        from (
            select
                coalesce(
                    (
                        select format('%s %s', case when views.relkind = 'm' then 'materialized view' else 'view' end, views.oid::pg_catalog.regclass)
                        from pg_catalog.pg_rewrite
                        join pg_catalog.pg_class as views on views.oid = pg_rewrite.ev_class
                        where pg_rewrite.oid = pg_depend.objid
                            and pg_depend.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                    ),
                    (
                        select format('column %s of %s', generated.attname, on_table)
                        from pg_catalog.pg_attrdef
                        join pg_catalog.pg_attribute as generated on generated.attrelid = adrelid and generated.attnum = adnum
                        where pg_attrdef.oid = pg_depend.objid
                            and pg_depend.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
                    ),
                    pg_describe_object(pg_depend.classid, pg_depend.objid, pg_depend.objsubid)
                    || coalesce(' ' || pg_get_constraintdef(pg_constraint.oid), '')
                ) as what
            from pg_catalog.pg_depend
            join pg_catalog.pg_attribute on attrelid = on_table and attname = on_column and attnum = refobjsubid
            left join pg_catalog.pg_attrdef as own
                on own.oid = pg_depend.objid and own.adrelid = attrelid and own.adnum = attnum
                    and pg_depend.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
            left join pg_catalog.pg_constraint
                on pg_constraint.oid = pg_depend.objid
                    and pg_depend.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
            where refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                and refobjid = on_table
                and own.oid is null
                and pg_constraint.contype is distinct from 'n'
                and not (
                    of_its_type
                    and (
                        coalesce(pg_constraint.contype in ('p', 'u'), false)
                        or pg_depend.classid = 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass
                        or exists (
                            select
                            from pg_catalog.pg_index
                            where indexrelid = pg_depend.objid
                                and pg_depend.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                                and indpred is null
                                and indexprs is null
                        )
                    )
                )
            union all
            select format('privileges of %s on the column', string_agg(distinct pg_get_userbyid(grantee), ' and '))
            from pg_catalog.pg_attribute
            cross join lateral aclexplode(attacl)
            where attrelid = on_table
                and attname = on_column
                and not of_its_type
            having count(*) > 0
        ) as described
    );
end;
$$;

create function private.require_no_dependants(on_table regclass, on_column name, of_its_type boolean default false) returns void
language plpgsql
set search_path = ''
as $$
declare
    found constant pg_catalog.text := private.dependants(on_table, on_column, of_its_type);
begin
    if found is not null then
        raise exception using
            errcode = 'dependent_objects_still_exist',
            message = format(
                'what you have added needs the column %s of %s as it is: %s',
                on_column, (select relname from pg_catalog.pg_class where pg_class.oid = on_table), found
            ),
            hint = coalesce(
                (
                    select 'Run this first: ' || string_agg(format('drop policy %I on %s;', polname, on_table), ' ' order by polname)
                    from pg_catalog.pg_policy
                    where polrelid = on_table
                        and exists (
                            select
                            from pg_catalog.pg_depend
                            join pg_catalog.pg_attribute on attrelid = on_table and attname = on_column and attnum = refobjsubid
                            where classid = 'pg_catalog.pg_policy'::pg_catalog.regclass
                                and objid = pg_policy.oid
                                and refobjid = on_table
                        )
                ),
                'Drop it, apply the fix again, and make it anew in terms of what the fix puts in the column''s place.'
            );
    end if;
end;
$$;

-- Of several with one definition it takes the one with v1's name.
create function private.drop_index(on_table regclass, definition text, usual_name name) returns void
language plpgsql
set search_path = ''
as $$
declare
    found pg_catalog.record;
begin
    select
        indexrelid::pg_catalog.regclass as name,
        indexrelid as oid,
        indisreplident,
        -- Of a partitioned table, the order of each partition.
        indisclustered
        or exists (
            select
            from pg_catalog.pg_inherits
            join pg_catalog.pg_index as part on part.indexrelid = pg_inherits.inhrelid
            where pg_inherits.inhparent = pg_index.indexrelid
                and part.indisclustered
        ) as indisclustered
    into found
    from pg_catalog.pg_index
    join pg_catalog.pg_class on pg_class.oid = indexrelid
    where indrelid = on_table
        and not indisunique
        and pg_get_indexdef(indexrelid) like '% USING ' || definition
    order by relname <> usual_name, relname
    limit 1;

    if found.indisreplident or found.indisclustered then
        raise exception using
            errcode = 'dependent_objects_still_exist',
            message = format(
                'the index %s is what you have chosen as %s of %s, and the fix drops it',
                found.name, case when found.indisreplident then 'replica identity' else 'cluster order' end, on_table
            ),
            hint = case
                when found.indisreplident then format('Run: alter table %s replica identity default;', on_table)
                else 'Run: ' || (
                    select string_agg(format('alter table %s set without cluster;', ordered.indrelid::pg_catalog.regclass), ' ')
                    from pg_catalog.pg_index as ordered
                    where ordered.indisclustered
                        and (
                            ordered.indexrelid = found.oid
                            or ordered.indexrelid in (select inhrelid from pg_catalog.pg_inherits where inhparent = found.oid)
                        )
                )
            end;
    elsif found.name is not null then
        execute format('drop index %s', found.name);
    end if;
end;
$$;

-- Before a function is made anew: what calls it by more than its name, and settings of its own.
create function private.require_plain_function(which regprocedure) returns void
language plpgsql
set search_path = ''
as $$
declare
    own constant pg_catalog.text := (
        select string_agg(found.what, ', ' order by found.what)
        from (
            select
                coalesce(
                    (
                        select format('view %s', pg_rewrite.ev_class::pg_catalog.regclass)
                        from pg_catalog.pg_rewrite
                        where pg_rewrite.oid = objid
                            and classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                    ),
                    pg_describe_object(classid, objid, objsubid)
                ) as what
            from pg_catalog.pg_depend
            where refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                and refobjid = which
                -- The platform's trigger goes with its function wherever that goes.
                and not (
                    classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass
                    and objid in (select oid from pg_catalog.pg_trigger where tgrelid = 'auth.users'::pg_catalog.regclass)
                )
            union all
            select format('setting %s', setting)
            from pg_catalog.pg_proc
            cross join lateral unnest(proconfig) as setting
            where pg_proc.oid = which
                and setting not like 'search_path=%'
        ) as found
    );
begin
    if own is not null then
        raise exception using
            errcode = 'dependent_objects_still_exist',
            message = format('the fix makes %s anew, and would lose what you have added: %s', which, own),
            hint = 'Take it away, apply the fix again, and make it anew.';
    end if;
end;
$$;

-- Before a view is made anew. One that is replaced keeps all but its options.
create function private.require_plain_view(which regclass, is_replaced boolean default false) returns void
language plpgsql
set search_path = ''
as $$
declare
    own constant pg_catalog.text := (
        select string_agg(found.what, ', ' order by found.what)
        from (
            select distinct
                coalesce(
                    (
                        select format('view %s', pg_rewrite.ev_class::pg_catalog.regclass)
                        from pg_catalog.pg_rewrite
                        where pg_rewrite.oid = objid
                            and classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
                    ),
                    pg_describe_object(classid, objid, objsubid)
                ) as what
            from pg_catalog.pg_depend
            where refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
                and refobjid = which
                and not is_replaced
                and deptype <> 'i'
                and objid not in (select oid from pg_catalog.pg_rewrite where ev_class = which)
            union all
            select format(
                'privileges of %s on the column %s',
                (select string_agg(distinct pg_get_userbyid(grantee), ' and ') from aclexplode(attacl)), attname
            )
            from pg_catalog.pg_attribute
            where attrelid = which
                and attacl is not null
                and not is_replaced
            union all
            select format('option %s', option)
            from pg_catalog.pg_class
            cross join lateral unnest(reloptions) as option
            where pg_class.oid = which
                and option <> 'security_invoker=true'
        ) as found
    );
begin
    if own is not null then
        raise exception using
            errcode = 'dependent_objects_still_exist',
            message = format('the fix makes the view %s anew, and would lose what you have added: %s', which, own),
            hint = 'Take it away, apply the fix again, and make it anew.';
    end if;
end;
$$;

-- A policy's rule in one spelling: without white space and brackets, auth.uid() bare, both sides of = and AND in order.
create function private.policy_rule(rule text) returns text
language plpgsql
immutable
set search_path = ''
as $$
declare
    bare pg_catalog.text := regexp_replace(rule, '\( *SELECT auth\.uid\(\)( AS uid)? *\)', 'auth.uid()', 'gi');
    parts pg_catalog.text[];
begin
    bare := regexp_replace(replace(bare, 'public.', ''), '\(\s*SELECT\s+1\s', '(SELECT ', 'g');
    bare := regexp_replace(bare, '[\s()]', '', 'g');
    parts := regexp_match(bare, '^(EXISTSSELECTFROMsessions)(\w*?)WHERE(.+)$');
    if parts is not null then
        bare := parts[3];
        if parts[2] <> '' then
            bare := regexp_replace(bare, '\m' || parts[2] || '\.', 'sessions.', 'g');
        end if;
    end if;
    select string_agg(sorted.term, 'AND' order by sorted.term)
    into bare
    from regexp_split_to_table(bare, 'AND') as conjunct
    cross join lateral (
        select string_agg(side, '=' order by side) as term
        from regexp_split_to_table(conjunct, '=') as side
    ) as sorted;
    return coalesce(parts[1] || 'WHERE', '') || bare;
end;
$$;

create function private.drop_policies(on_table regclass, command text, for_role regrole, rule text) returns void
language plpgsql
set search_path = ''
as $$
declare
    found pg_catalog.record;
begin
    for found in
        select polname
        from pg_catalog.pg_policy
        where polrelid = on_table
            and polcmd = case command when 'select' then 'r' when 'insert' then 'a' when 'update' then 'w' when 'delete' then 'd' end
            and polpermissive
            and polroles = array[for_role::pg_catalog.oid]
            and private.policy_rule(coalesce(pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)))
            = private.policy_rule(rule)
    loop
        execute format('drop policy %I on %s', found.polname, on_table);
    end loop;
end;
$$;

-- Policies add up: one more that is permissive lets in whom ours keep out. One for a role that is no client does not.
create function private.require_no_other_policy(on_table regclass, commands text[], ours name[]) returns void
language plpgsql
set search_path = ''
as $$
declare
    other pg_catalog.record;
begin
    select
        string_agg(format('%I', polname), ', ' order by polname) as names,
        string_agg(format('drop policy %I on %s;', polname, on_table), ' ' order by polname) as statements
    into other
    from pg_catalog.pg_policy
    where polrelid = on_table
        and polpermissive
        and polname <> all (ours)
        and (
            polcmd = '*'
            or case polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' end = any (commands)
        )
        and exists (
            select
            from unnest(polroles) as applies_to
            left join pg_catalog.pg_roles on pg_roles.oid = applies_to
            where applies_to = 0
                or not rolbypassrls
                and exists (
                    select
                    from unnest(array['anon', 'authenticated']) as client
                    where pg_has_role(client, applies_to, 'usage')
                        or pg_has_role(applies_to, client, 'usage')
                )
        );

    if other.names is not null then
        raise exception using
            errcode = 'object_not_in_prerequisite_state',
            message = format('on %s the policy of this fix would not stand alone: %s', on_table, other.names),
            hint = format('Policies add up, so run this first: %s', other.statements);
    end if;
end;
$$;

-- What roles of the team's own may do with an object that is made anew.
create function private.grant_again(kind text, object text, acl aclitem[], columns text default '') returns void
language plpgsql
set search_path = ''
as $$
declare
    held pg_catalog.record;
begin
    for held in
        select
            privilege_type, is_grantable, rolname
        from aclexplode(acl)
        join pg_catalog.pg_roles on pg_roles.oid = grantee
        where rolname not in ('anon', 'authenticated', 'service_role', current_user)
    loop
        execute format(
            'grant %s %s on %s %s to %I%s',
            held.privilege_type, columns, kind, object, held.rolname,
            case when held.is_grantable then ' with grant option' else '' end
        );
    end loop;
end;
$$;

do $$
declare
    tool regprocedure;
begin
    for tool in select oid from pg_proc where pronamespace = 'private'::regnamespace and proname in (
        'drop_triggers', 'find_constraint', 'name_constraint', 'drop_foreign_key', 'dependants', 'require_no_dependants', 'drop_index', 'policy_rule', 'drop_policies',
        'require_no_other_policy', 'require_plain_function', 'require_plain_view', 'grant_again'
    ) loop
        execute format('revoke all on function %s from public, anon, authenticated, service_role', tool);
        execute format('comment on function %s is %L', tool, 'For the fixes, until the last one is applied.');
    end loop;
end;
$$;

commit;
