-- What the audit reads of a database's catalog; no row of any table is looked at.
-- Before each query stands its name. To see what they answer: psql --single-transaction --file sql/audit.sql

-- schemas: those to look into, all but PostgreSQL's own and those of the platform, whose tables are nobody's findings
select set_config('audit.schemas', array(
    select oid
    from pg_catalog.pg_namespace
    where nspname !~ '^pg_'
        and nspname not in (
            'information_schema', 'auth', 'cron', 'extensions', 'graphql', 'graphql_public', 'net', 'pgbouncer', 'pgsodium',
            'realtime', 'storage', 'supabase_functions', 'supabase_migrations', 'vault', '_analytics', '_realtime'
        )
)::text, true);

-- tables: views and foreign tables too; those of extensions are nobody's findings
select
    pg_class.oid::bigint,
    pg_namespace.nspname::text,
    pg_class.relname::text,
    pg_class.relkind::text,
    format('%I.%I', pg_namespace.nspname, pg_class.relname),
    obj_description(pg_class.oid, 'pg_class'),
    pg_class.relrowsecurity,
    coalesce(
        (
            select bool_or(
                lower(option) in (
                    'security_invoker=true', 'security_invoker=on', 'security_invoker=yes', 'security_invoker=1',
                    'security_invoker=t', 'security_invoker=y'
                )
            )
            from unnest(pg_class.reloptions) as option
        ),
        false
    ),
    coalesce((select min(pg_inherits.inhparent::bigint) from pg_catalog.pg_inherits where pg_inherits.inhrelid = pg_class.oid), 0),
    pg_class.relispartition,
    case when pg_class.relkind = 'v' then pg_relation_is_updatable(pg_class.oid, true) <> 0 else pg_class.relkind in ('r', 'p') end
from pg_catalog.pg_class
join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
where pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
    and pg_class.relnamespace = any(current_setting('audit.schemas')::oid[])
    and not exists (
        select
        from pg_catalog.pg_depend
        where pg_depend.classid = 'pg_catalog.pg_class'::regclass and pg_depend.objid = pg_class.oid and pg_depend.deptype = 'e'
    )
order by pg_namespace.nspname, pg_class.relname;

-- columns: a domain with the type that it is made of; those of partitions are their parent's
select
    pg_attribute.attrelid::bigint,
    pg_attribute.attname::text,
    quote_ident(pg_attribute.attname),
    format_type(pg_attribute.atttypid, pg_attribute.atttypmod),
    case
        when pg_type.typtype = 'd' then (
            with recursive base as (
                select 1 as step, pg_type.typbasetype as oid, pg_type.typtypmod as modifier
                union all
                select base.step + 1, domain.typbasetype, domain.typtypmod
                from base
                join pg_catalog.pg_type as domain on domain.oid = base.oid and domain.typtype = 'd'
            )
            select format_type(base.oid, base.modifier) from base order by base.step desc limit 1
        )
    end,
    not pg_attribute.attnotnull,
    pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid),
    pg_attribute.attidentity <> ''
    or pg_attribute.attgenerated <> ''
    or coalesce(pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid) ~ 'nextval', false),
    col_description(pg_attribute.attrelid, pg_attribute.attnum)
from pg_catalog.pg_attribute
join pg_catalog.pg_class on pg_class.oid = pg_attribute.attrelid
join pg_catalog.pg_type on pg_type.oid = pg_attribute.atttypid
left join pg_catalog.pg_attrdef on pg_attrdef.adrelid = pg_attribute.attrelid and pg_attrdef.adnum = pg_attribute.attnum
where pg_attribute.attnum > 0
    and not pg_attribute.attisdropped
    and pg_class.relkind in ('r', 'p', 'v', 'm', 'f') and not pg_class.relispartition
    and pg_class.relnamespace = any(current_setting('audit.schemas')::oid[])
order by pg_attribute.attrelid, pg_attribute.attnum;

-- constraints: of foreign keys also what they point to, and whether that is its primary key
select
    pg_constraint.conrelid::bigint,
    pg_constraint.conname::text,
    pg_constraint.contype::text,
    pg_get_constraintdef(pg_constraint.oid),
    array(
        select pg_attribute.attname::text
        from unnest(pg_constraint.conkey) with ordinality as key (attnum, place)
        join pg_catalog.pg_attribute on pg_attribute.attrelid = pg_constraint.conrelid and pg_attribute.attnum = key.attnum
        order by key.place
    ),
    pg_constraint.confrelid::bigint,
    case when pg_constraint.contype = 'f' then pg_constraint.confrelid::regclass::text else '' end,
    coalesce((select pg_index.indisprimary from pg_catalog.pg_index where pg_index.indexrelid = pg_constraint.conindid), true),
    pg_constraint.confupdtype::text,
    pg_constraint.confdeltype::text
from pg_catalog.pg_constraint
join pg_catalog.pg_class on pg_class.oid = pg_constraint.conrelid
where pg_constraint.contype in ('c', 'f', 'p', 'u') and pg_constraint.conparentid = 0 and not pg_class.relispartition
    -- Since PostgreSQL 18 one may be there and not be enforced.
    and to_jsonb(pg_constraint) ->> 'conenforced' is distinct from 'false'
    -- One whose triggers are off keeps nothing.
    and not exists (
        select
        from pg_catalog.pg_trigger
        where pg_trigger.tgconstraint = pg_constraint.oid and pg_trigger.tgenabled = 'D'
    )
    and pg_class.relnamespace = any(current_setting('audit.schemas')::oid[])
order by pg_constraint.conrelid, pg_constraint.conname;

-- indexes: of each key column its name, and how it is ordered (operator class, collation, direction)
select
    pg_index.indrelid::bigint,
    index.relname::text,
    format('%I.%I', pg_namespace.nspname, index.relname),
    pg_am.amname::text,
    array(
        select coalesce(pg_attribute.attname::text, '')
        from unnest(pg_index.indkey::smallint[]) with ordinality as key (attnum, place)
        left join pg_catalog.pg_attribute
            on pg_attribute.attrelid = pg_index.indrelid and pg_attribute.attnum = key.attnum and key.attnum > 0
        where key.place <= pg_index.indnkeyatts
        order by key.place
    ),
    array(
        select
            case when key.attnum = 0 then pg_get_indexdef(pg_index.indexrelid, key.place::integer, false) else key.attnum::text end
            || format(
                ' %s %s %s',
                pg_index.indclass[key.place - 1],
                pg_index.indcollation[key.place - 1],
                pg_index.indoption[key.place - 1]
            )
        from unnest(pg_index.indkey::smallint[]) with ordinality as key (attnum, place)
        where key.place <= pg_index.indnkeyatts
        order by key.place
    ),
    pg_index.indnatts > pg_index.indnkeyatts,
    pg_get_indexdef(pg_index.indexrelid),
    pg_index.indisunique,
    pg_index.indexrelid in (select pg_constraint.conindid from pg_catalog.pg_constraint),
    pg_get_expr(pg_index.indpred, pg_index.indrelid)
from pg_catalog.pg_index
join pg_catalog.pg_class as index on index.oid = pg_index.indexrelid
join pg_catalog.pg_namespace on pg_namespace.oid = index.relnamespace
join pg_catalog.pg_class on pg_class.oid = pg_index.indrelid
join pg_catalog.pg_am on pg_am.oid = index.relam
where pg_index.indisvalid and not pg_class.relispartition and pg_class.relnamespace = any(current_setting('audit.schemas')::oid[])
order by pg_index.indrelid, index.relname;

-- policies: for whom, and which clients are among these, as members too
select
    pg_policy.polrelid::bigint,
    pg_policy.polname::text,
    format('%I on %I.%I', pg_policy.polname, pg_namespace.nspname, pg_class.relname),
    case pg_policy.polcmd
        when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all'
    end,
    array(
        select client.rolname::text
        from pg_catalog.pg_roles as client
        where client.rolname in ('anon', 'authenticated', 'service_role')
            and exists (
                select
                from unnest(pg_policy.polroles) as given
                where case when given = 0 then true else pg_has_role(client.oid, given, 'usage') end
            )
    ),
    pg_get_expr(pg_policy.polqual, pg_policy.polrelid),
    pg_get_expr(pg_policy.polwithcheck, pg_policy.polrelid),
    pg_policy.polpermissive,
    obj_description(pg_policy.oid, 'pg_policy')
from pg_catalog.pg_policy
join pg_catalog.pg_class on pg_class.oid = pg_policy.polrelid
join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
where pg_class.relnamespace = any(current_setting('audit.schemas')::oid[])
order by pg_policy.polrelid, pg_policy.polname;

-- triggers: those on the platform's tables too
select
    pg_trigger.tgrelid::bigint,
    pg_trigger.tgname::text,
    format('%I on %I.%I', pg_trigger.tgname, pg_namespace.nspname, pg_class.relname),
    pg_get_triggerdef(pg_trigger.oid),
    pg_trigger.tgfoid::bigint
from pg_catalog.pg_trigger
join pg_catalog.pg_class on pg_class.oid = pg_trigger.tgrelid
join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
where not pg_trigger.tgisinternal and pg_trigger.tgparentid = 0 and pg_trigger.tgenabled in ('O', 'A')
order by pg_trigger.tgrelid, pg_trigger.tgname;

-- functions: those of extensions are nobody's findings
select
    pg_proc.oid::bigint,
    pg_namespace.nspname::text,
    pg_proc.proname::text,
    pg_proc.oid::regprocedure::text,
    format_type(pg_proc.prorettype, null),
    pg_proc.pronargs::integer,
    pg_proc.prokind = 'p',
    pg_proc.prosecdef,
    coalesce(pg_proc.proconfig, '{}'),
    array(
        select role
        from unnest(array['anon', 'authenticated', 'service_role']) as role
        where case when to_regrole(role) is not null then has_function_privilege(role, pg_proc.oid, 'execute') end
    ),
    obj_description(pg_proc.oid, 'pg_proc'),
    pg_proc.prosqlbody is not null,
    coalesce(pg_get_function_sqlbody(pg_proc.oid), pg_proc.prosrc)
from pg_catalog.pg_proc
join pg_catalog.pg_namespace on pg_namespace.oid = pg_proc.pronamespace
where pg_proc.prokind in ('f', 'p')
    and pg_proc.pronamespace = any(current_setting('audit.schemas')::oid[])
    and not exists (
        select
        from pg_catalog.pg_depend
        where pg_depend.classid = 'pg_catalog.pg_proc'::regclass and pg_depend.objid = pg_proc.oid and pg_depend.deptype = 'e'
    )
order by pg_namespace.nspname, pg_proc.proname;

-- enums
select format_type(pg_enum.enumtypid, null), pg_enum.enumlabel::text
from pg_catalog.pg_enum
order by pg_enum.enumtypid, pg_enum.enumsortorder;

-- domains: their constraints
select format_type(pg_constraint.contypid, null), pg_get_constraintdef(pg_constraint.oid)
from pg_catalog.pg_constraint
where pg_constraint.contypid <> 0;

-- extensions
select pg_extension.extname::text, pg_namespace.nspname::text, quote_ident(pg_extension.extname)
from pg_catalog.pg_extension
join pg_catalog.pg_namespace on pg_namespace.oid = pg_extension.extnamespace;

-- roles
select rolname::text from pg_catalog.pg_roles where rolname in ('anon', 'authenticated', 'service_role');

-- unbound clients: those that bypass row-level security, and the tables whose owner's rights they have
select rolname::text, 0::bigint
from pg_catalog.pg_roles
where rolname in ('anon', 'authenticated') and (rolbypassrls or rolsuper)
union all
select pg_roles.rolname::text, pg_class.oid::bigint
from pg_catalog.pg_class
join pg_catalog.pg_roles on pg_roles.rolname in ('anon', 'authenticated') and not pg_roles.rolsuper
where pg_class.relkind in ('r', 'p') and not pg_class.relforcerowsecurity
    and pg_class.relnamespace = any(current_setting('audit.schemas')::oid[])
    and pg_has_role(pg_roles.oid, pg_class.relowner, 'usage');

-- table privileges: of partitions too
select pg_roles.rolname::text, pg_class.oid::bigint, array_agg(command)
from pg_catalog.pg_class
join pg_catalog.pg_roles on pg_roles.rolname in ('anon', 'authenticated', 'service_role')
cross join unnest(
    array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']
    || case when current_setting('server_version_num')::integer >= 170000 then array['maintain'] else '{}'::text[] end
) as command
where pg_class.relkind in ('r', 'p', 'v', 'm', 'f') and pg_class.relnamespace = any(current_setting('audit.schemas')::oid[])
    and has_table_privilege(pg_roles.oid, pg_class.oid, command)
group by pg_roles.rolname, pg_class.oid;

-- column privileges: those that were granted on single columns
select pg_roles.rolname::text, pg_class.oid::bigint, command, pg_attribute.attname::text
from pg_catalog.pg_class
join pg_catalog.pg_attribute on pg_attribute.attrelid = pg_class.oid and pg_attribute.attnum > 0 and not pg_attribute.attisdropped
join pg_catalog.pg_roles on pg_roles.rolname in ('anon', 'authenticated', 'service_role')
cross join unnest(array['select', 'insert', 'update', 'references']) as command
where pg_attribute.attacl is not null
    and pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
    and pg_class.relnamespace = any(current_setting('audit.schemas')::oid[])
    and has_column_privilege(pg_roles.oid, pg_class.oid, pg_attribute.attnum, command);

-- default privileges: of the roles that own tables here; without an entry of its own, EXECUTE goes to everybody
with owner as (
    select distinct relowner as role
    from pg_catalog.pg_class
    where relkind in ('r', 'p') and relnamespace = any(current_setting('audit.schemas')::oid[])
),
granted as (
    select pg_default_acl.defaclobjtype as kind, acl.grantee, owner.role, pg_namespace.nspname
    from owner
    join pg_catalog.pg_namespace on pg_namespace.oid = any(current_setting('audit.schemas')::oid[])
    join pg_catalog.pg_default_acl
        on pg_default_acl.defaclrole = owner.role and pg_default_acl.defaclnamespace in (0, pg_namespace.oid)
    cross join aclexplode(pg_default_acl.defaclacl) as acl
    union all
    select 'f', 0, owner.role, pg_namespace.nspname
    from owner
    join pg_catalog.pg_namespace on pg_namespace.oid = any(current_setting('audit.schemas')::oid[])
    where not exists (
        select
        from pg_catalog.pg_default_acl
        where pg_default_acl.defaclrole = owner.role
            and pg_default_acl.defaclnamespace = 0
            and pg_default_acl.defaclobjtype = 'f'
    )
)
select distinct
    case granted.kind when 'r' then 'tables' else 'functions' end,
    quote_ident(pg_get_userbyid(granted.role)),
    granted.nspname::text,
    case when granted.grantee = 0 then 'public' else pg_roles.rolname::text end
from granted
left join pg_catalog.pg_roles on pg_roles.oid = granted.grantee
where granted.kind in ('r', 'f') and (granted.grantee = 0 or pg_roles.rolname in ('anon', 'authenticated'));

-- schema privileges
select pg_roles.rolname::text, pg_namespace.nspname::text, command
from pg_catalog.pg_namespace
join pg_catalog.pg_roles on pg_roles.rolname in ('anon', 'authenticated', 'service_role')
cross join unnest(array['usage', 'create']) as command
where pg_namespace.oid = any(current_setting('audit.schemas')::oid[])
    and has_schema_privilege(pg_roles.oid, pg_namespace.oid, command);

-- partitions
select
    pg_inherits.inhparent::bigint,
    pg_class.oid::bigint,
    pg_namespace.nspname::text,
    pg_get_expr(pg_class.relpartbound, pg_class.oid)
from pg_catalog.pg_inherits
join pg_catalog.pg_class on pg_class.oid = pg_inherits.inhrelid
join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
where pg_class.relispartition and pg_class.relnamespace = any(current_setting('audit.schemas')::oid[]);

-- views: which columns of which tables they read; a table without columns is one that is only counted
select distinct pg_rewrite.ev_class::bigint, pg_depend.refobjid::bigint, coalesce(pg_attribute.attname::text, '')
from pg_catalog.pg_rewrite
join pg_catalog.pg_depend on pg_depend.classid = 'pg_catalog.pg_rewrite'::regclass and pg_depend.objid = pg_rewrite.oid
join pg_catalog.pg_class on pg_class.oid = pg_rewrite.ev_class
left join pg_catalog.pg_attribute
    on pg_attribute.attrelid = pg_depend.refobjid and pg_attribute.attnum = pg_depend.refobjsubid and pg_attribute.attnum > 0
where pg_depend.refclassid = 'pg_catalog.pg_class'::regclass and pg_depend.refobjid <> pg_rewrite.ev_class
    and pg_class.relnamespace = any(current_setting('audit.schemas')::oid[]);

-- rewrite rules
select pg_rewrite.ev_class::bigint, lower(pg_get_ruledef(pg_rewrite.oid))
from pg_catalog.pg_rewrite
join pg_catalog.pg_class on pg_class.oid = pg_rewrite.ev_class
where pg_rewrite.rulename <> '_RETURN' and pg_class.relnamespace = any(current_setting('audit.schemas')::oid[]);

-- publications
select pg_publication.pubname::text, published.relid::bigint
from pg_catalog.pg_publication
cross join lateral pg_get_publication_tables(pg_publication.pubname) as published;

-- accounts: the platform's table of them
select pg_class.oid::bigint
from pg_catalog.pg_class
join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
where pg_namespace.nspname = 'auth' and pg_class.relname = 'users';

-- migration history: the tables in which the usual tools record what is applied
select pg_namespace.nspname::text, pg_class.relname::text, obj_description(pg_class.oid, 'pg_class')
from pg_catalog.pg_class
join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
where pg_class.relkind = 'r'
    and pg_namespace.nspname not in ('auth', 'storage', 'realtime', '_realtime', 'supabase_functions', 'cron', 'pg_catalog')
    and (
        pg_class.relname in (
            '_prisma_migrations', '__drizzle_migrations', 'drizzle_migrations', 'flyway_schema_history', 'alembic_version',
            'schema_migrations', 'django_migrations', 'knex_migrations', 'goose_db_version', 'databasechangelog',
            'pgmigrations', 'typeorm_migrations', 'sequelizemeta', 'SequelizeMeta', 'migrations', 'mikro_orm_migrations',
            'kysely_migration', 'schema_version', '_sqlx_migrations', 'ar_internal_metadata', '__efmigrationshistory',
            '__EFMigrationsHistory', 'atlas_schema_revisions', 'dbmate_migrations', '_migrations'
        )
        or pg_namespace.nspname = 'drizzle'
    );
