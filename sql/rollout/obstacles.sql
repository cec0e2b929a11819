-- What stops a rollout from v1: what refers to v1's tables in a way that would not follow, each with what helps.
-- Reads the catalog only; one row an obstacle.

with ours as (
    select oid, relname from pg_class
    where relnamespace = 'public'::regnamespace
        and relname in ('profiles', 'scenarios', 'sessions', 'messages', 'logs')
)
select
    format('%s refers to %s by the foreign key %s', conrelid::regclass, confrelid::regclass, conname) as what,
    format('Run this first, and make the key again after the switch: alter table %s drop constraint %I;', conrelid::regclass, conname) as help
from pg_constraint join ours on ours.oid = confrelid
where contype = 'f' and conrelid not in (select oid from ours)
union all
select distinct
    format('the %s %s reads %s', case view.relkind when 'm' then 'materialized view' else 'view' end, view.oid::regclass, ours.oid::regclass),
    format(
        'Run this first, and make it again after the switch: drop %s %s;',
        case view.relkind when 'm' then 'materialized view' else 'view' end, view.oid::regclass
    )
from pg_depend join ours on ours.oid = refobjid
join pg_rewrite on pg_rewrite.oid = objid and classid = 'pg_rewrite'::regclass
join pg_class as view on view.oid = ev_class
where refclassid = 'pg_class'::regclass and view.oid not in (select oid from ours)
    and view.relnamespace <> coalesce(to_regnamespace('compat_v1'), 0)
union all
select
    format('the publication %s publishes all tables, so it would publish v2''s copies', pubname),
    format('Let it name its tables, or run this until the switch is done: drop publication %I;', pubname)
from pg_publication where puballtables
union all
select
    format('the publication %s names %s, and belongs to %s', pubname, ours.oid::regclass, pubowner::regrole),
    format('Run as that role, and again with add after the switch: alter publication %I drop table %s;', pubname, ours.oid::regclass)
from pg_publication_rel join ours on ours.oid = prrelid join pg_publication on pg_publication.oid = prpubid
where not pg_has_role(pubowner, 'usage')
union all
select
    format('the rule %s stands on %s', rulename, ours.oid::regclass),
    format('Run this first: drop rule %I on %s;', rulename, ours.oid::regclass)
from pg_rewrite join ours on ours.oid = ev_class where rulename <> '_RETURN'
union all
select
    format('%s inherits from %s', inhrelid::regclass, inhparent::regclass),
    format('Run this first: alter table %s no inherit %s;', inhrelid::regclass, inhparent::regclass)
from pg_inherits where inhparent in (select oid from ours) or inhrelid in (select oid from ours)
union all
select
    format('%s is made for the row of %s', pg_describe_object(classid, objid, 0), ours.oid::regclass),
    'Drop it first, and make it again after the switch.'
from pg_depend join pg_type on pg_type.oid = refobjid join ours on ours.oid = pg_type.typrelid
where refclassid = 'pg_type'::regclass and deptype = 'n' and classid = 'pg_proc'::regclass
union all
select
    format('the function %s is bound to %s', objid::regprocedure, ours.oid::regclass),
    'Drop it first, and make it again after the switch.'
from pg_depend join ours on ours.oid = refobjid
where refclassid = 'pg_class'::regclass and classid = 'pg_proc'::regclass
union all
select
    format('the extension %s stands in the schema %s', extname, extnamespace::regnamespace),
    format('Apply fix 06, or move it: alter extension %I set schema extensions;', extname)
from pg_extension
where extname in ('citext', 'pgcrypto') and extnamespace <> coalesce(to_regnamespace('extensions'), 0)
union all
select
    format('there is a schema %s already', nspname),
    format('Rename it, or drop it if an abort has left it: drop schema %I cascade;', nspname)
from pg_namespace
where nspname in ('rollout', 'rollout_new', 'rollout_old', 'rollout_compat', 'compat_v1')
    and to_regclass('rollout.state') is null
union all
select
    format('v1''s table %s is missing', wanted),
    'Give the URL of the database that has v1.'
from unnest(array['profiles', 'scenarios', 'sessions', 'messages', 'logs']) as wanted
where to_regclass('public.' || wanted) is null
union all
select
    format('%s belongs to %s', oid::regclass, relowner::regrole),
    format('Run as that role: alter table %s owner to %s;', oid::regclass, current_user)
from pg_class where oid in (select oid from ours) and not pg_has_role(relowner, 'usage')
order by 1;
