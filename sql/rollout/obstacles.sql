-- What stops a rollout from v1: what refers to v1's tables in a way that would not follow, each with what helps.
-- Reads the catalog only; one row an obstacle, in the order in which the statements that help can be run.

with recursive ours as (
    select pg_class.oid, pg_class.relname, pg_class.relowner, pg_class.reltype, pg_type.typarray
    from pg_class
    left join pg_type on pg_type.oid = pg_class.reltype
    where pg_class.relnamespace = 'public'::regnamespace
        and pg_class.relname in ('profiles', 'scenarios', 'sessions', 'messages', 'logs')
),

-- A view of a view is in the way as well, and goes first.
readers as (
    select ours.oid as reader, ours.oid as reads, 0 as depth from ours
    union
    select pg_rewrite.ev_class, pg_depend.refobjid, readers.depth + 1
    from readers
    join pg_depend on pg_depend.refobjid = readers.reader and pg_depend.refclassid = 'pg_class'::regclass
        and pg_depend.classid = 'pg_rewrite'::regclass
    join pg_rewrite on pg_rewrite.oid = pg_depend.objid and pg_rewrite.rulename = '_RETURN'
    join pg_class on pg_class.oid = pg_rewrite.ev_class
        and pg_class.relnamespace <> coalesce(to_regnamespace('compat_v1'), 0)
    where pg_rewrite.ev_class <> readers.reader
),

views as (
    select
        pg_class.oid,
        case pg_class.relkind when 'm' then 'materialized view' else 'view' end as kind,
        min(readers.reads::regclass::text) as reads,
        max(readers.depth) as depth
    from readers
    join pg_class on pg_class.oid = readers.reader and pg_class.relkind in ('v', 'm')
    group by pg_class.oid, pg_class.relkind
),

-- Functions with a parsed body, or with a row of one of these as an argument or a result.
bound as (
    select distinct pg_proc.oid, pg_proc.prokind, coalesce(ours.oid, views.oid) as relation
    from pg_depend
    join pg_proc on pg_proc.oid = pg_depend.objid
    left join ours on pg_depend.refclassid = 'pg_class'::regclass and pg_depend.refobjid = ours.oid
        or pg_depend.refclassid = 'pg_type'::regclass and pg_depend.refobjid in (ours.reltype, ours.typarray)
    left join views on pg_depend.refclassid = 'pg_class'::regclass and pg_depend.refobjid = views.oid
    where pg_depend.classid = 'pg_proc'::regclass
        and coalesce(ours.oid, views.oid) is not null
),

found as (
    select
        40 as place,
        format('%s refers to %s by the foreign key %s', pg_constraint.conrelid::regclass, ours.oid::regclass, pg_constraint.conname)
            as what,
        format(
            'Run this first, and make the key again after the switch: alter table %s drop constraint %I;',
            pg_constraint.conrelid::regclass, pg_constraint.conname
        ) as help
    from pg_constraint
    join ours on ours.oid = pg_constraint.confrelid
    where pg_constraint.contype = 'f'
        and pg_constraint.conrelid not in (select own.oid from ours as own)
        and pg_constraint.conparentid = 0
    union all
    select
        30 - least(views.depth, 19),
        format('the %s %s reads %s', views.kind, views.oid::regclass, views.reads),
        format('Run this first, and make it again after the switch: drop %s %s;', views.kind, views.oid::regclass)
    from views
    union all
    select
        10,
        format('the function %s is bound to %s', bound.oid::regprocedure, min(bound.relation::regclass::text)),
        format(
            'Run this first, and make it again after the switch: drop %s %s;',
            case bound.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end, bound.oid::regprocedure
        )
    from bound
    group by bound.oid, bound.prokind
    union all
    select
        40,
        format('%s.%I is of the row type of %s', pg_attribute.attrelid::regclass, pg_attribute.attname, ours.oid::regclass),
        format(
            'Run this first: alter table %s alter column %I type text using %2$I::text;',
            pg_attribute.attrelid::regclass, pg_attribute.attname
        )
    from pg_attribute
    join ours on pg_attribute.atttypid in (ours.reltype, ours.typarray)
    join pg_class on pg_class.oid = pg_attribute.attrelid and pg_class.relkind in ('r', 'p')
    where not pg_attribute.attisdropped
    union all
    select
        40,
        format(
            'the default of %s.%I takes its values from %s', pg_attrdef.adrelid::regclass, pg_attribute.attname, sequence.refobjid::regclass
        ),
        format(
            'Run this first, and make it again after the switch: alter table %s alter column %I drop default;',
            pg_attrdef.adrelid::regclass, pg_attribute.attname
        )
    from pg_depend as owned
    join ours on ours.oid = owned.refobjid
    join pg_depend as sequence on sequence.refobjid = owned.objid and sequence.refclassid = 'pg_class'::regclass
        and sequence.classid = 'pg_attrdef'::regclass
    join pg_attrdef on pg_attrdef.oid = sequence.objid and pg_attrdef.adrelid <> ours.oid
    join pg_class as other on other.oid = pg_attrdef.adrelid and other.relpersistence <> 't'
    join pg_attribute on pg_attribute.attrelid = pg_attrdef.adrelid and pg_attribute.attnum = pg_attrdef.adnum
    where owned.classid = 'pg_class'::regclass
        and owned.refclassid = 'pg_class'::regclass
        and owned.deptype in ('a', 'i')
    union all
    select
        40,
        format('the publication %s publishes all tables, so it would publish v2''s copies', pg_publication.pubname),
        format('Let it name its tables, or run this until the switch is done: drop publication %I;', pg_publication.pubname)
    from pg_publication
    where pg_publication.puballtables
    union all
    select
        40,
        format('the publication %s names %s, and belongs to %s', pg_publication.pubname, ours.oid::regclass, pg_publication.pubowner::regrole),
        format(
            'Run as that role, and again with add after the switch: alter publication %I drop table %s;',
            pg_publication.pubname, ours.oid::regclass
        )
    from pg_publication_rel
    join ours on ours.oid = pg_publication_rel.prrelid
    join pg_publication on pg_publication.oid = pg_publication_rel.prpubid
    where not pg_has_role(pg_publication.pubowner, 'usage')
    union all
    select
        40,
        format('the rule %s stands on %s', pg_rewrite.rulename, ours.oid::regclass),
        format('Run this first: drop rule %I on %s;', pg_rewrite.rulename, ours.oid::regclass)
    from pg_rewrite
    join ours on ours.oid = pg_rewrite.ev_class
    where pg_rewrite.rulename <> '_RETURN'
    union all
    select
        40,
        format('%s inherits from %s', pg_inherits.inhrelid::regclass, pg_inherits.inhparent::regclass),
        format('Run this first: alter table %s no inherit %s;', pg_inherits.inhrelid::regclass, pg_inherits.inhparent::regclass)
    from pg_inherits
    where pg_inherits.inhparent in (select ours.oid from ours)
        or pg_inherits.inhrelid in (select ours.oid from ours)
    union all
    -- What stands there is made anew, which its owner may; to move it wants a superuser.
    select
        40,
        format('the extension %s stands in the schema %s', pg_extension.extname, pg_extension.extnamespace::regnamespace),
        format(
            case
                when exists (
                    select
                    from pg_depend as member
                    join pg_depend as dependant on dependant.refclassid = member.classid and dependant.refobjid = member.objid
                        and dependant.deptype in ('n', 'a')
                    left join pg_depend as its_own on its_own.classid = dependant.classid and its_own.objid = dependant.objid
                        and its_own.deptype = 'e'
                    where member.refclassid = 'pg_extension'::regclass
                        and member.refobjid = pg_extension.oid
                        and member.deptype = 'e'
                        and its_own.objid is null
                )
                    then 'It is in use, so run this as a superuser: create schema if not exists extensions; '
                        'alter extension %I set schema extensions;'
                else 'Run this first: create schema if not exists extensions; drop extension %I; create extension %1$I with schema extensions;'
            end,
            pg_extension.extname
        )
    from pg_extension
    where pg_extension.extname in ('citext', 'pgcrypto')
        and pg_extension.extnamespace <> coalesce(to_regnamespace('extensions'), 0)
    union all
    select
        40,
        format('there is a schema %s already', pg_namespace.nspname),
        format('Rename it, or drop it if an abort has left it: drop schema %I cascade;', pg_namespace.nspname)
    from pg_namespace
    where pg_namespace.nspname in ('rollout', 'rollout_new', 'rollout_old', 'rollout_compat', 'compat_v1')
        and to_regclass('rollout.state') is null
    union all
    select
        40,
        format('v1''s table %s is missing', wanted.relname),
        'Give the URL of the database that has v1.'
    from unnest(array['profiles', 'scenarios', 'sessions', 'messages', 'logs']) as wanted (relname)
    where to_regclass('public.' || wanted.relname) is null
    union all
    select
        40,
        format('%s belongs to %s', ours.oid::regclass, ours.relowner::regrole),
        format('Run as that role: alter table %s owner to %I;', ours.oid::regclass, current_user)
    from ours
    where not pg_has_role(ours.relowner, 'usage')
    union all
    select
        40,
        format('the function %s belongs to %s', pg_proc.oid::regprocedure, pg_proc.proowner::regrole),
        format('Run as a superuser, or as both roles: alter function %s owner to %I;', pg_proc.oid::regprocedure, current_user)
    from pg_proc
    where pg_proc.pronamespace = 'public'::regnamespace
        and pg_proc.proname in (
            'update_updated_at_column', 'increment_message_count', 'calculate_session_duration', 'create_profile_for_new_user',
            'delete_expired_sessions', 'delete_old_logs', 'reset_weekly_limits'
        )
        and not pg_has_role(pg_proc.proowner, 'usage')
    union all
    select
        40,
        format('%I may not create schemas in this database', current_user),
        format('Run as its owner: grant create on database %I to %I;', current_database(), current_user)
    where not has_database_privilege(current_database(), 'create')
    union all
    select
        40,
        format('%I may not create in the schema public', current_user),
        format('Run as its owner: grant create on schema public to %I;', current_user)
    where not has_schema_privilege('public', 'create')
)

select
    found.what,
    found.help
from found
order by found.place, found.what;
