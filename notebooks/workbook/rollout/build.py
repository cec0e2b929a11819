"""What a rollout starts with: v2's definition, taken from a scratch database that gets v1 as it is and then all fixes."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from .. import fixes, server
from ..errors import WorkbookError
from ..paths import SQL
from .repairs import TABLES, repairs, statements

SCRATCH_OWNER = "workbook_owner"
MOVED_FUNCTION = "create_profile_for_new_user()"
"""The function of a trigger on auth.users: it moves to private, because nobody but Auth may drop a trigger there."""


@dataclass(frozen=True)
class Definition:
    """v2 as SQL, in the order in which a rollout needs it."""

    before_copy: str
    """Tables with their indexes, the view, types and functions, in the schemas rollout_new and private."""
    rows: str
    """What the fixes write into tables of their own, such as the kinds of events."""
    steps: dict[str, list[str]] = field(default_factory=dict)
    """Statements for link, users and switch."""
    v1_objects: tuple[str, ...] = ()
    """What of v1 goes to rollout_old, each as its kind and name."""
    v2_objects: tuple[str, ...] = ()
    """What of v2 goes back to rollout_new on the way back."""
    private_objects: tuple[str, ...] = ()
    """What the rollout makes in the schema private."""
    unusual_triggers: tuple[dict[str, str], ...] = ()
    """Triggers that are not simply on."""
    published: tuple[tuple[str, str, str], ...] = ()
    """Each publication that names a table of v2, the table, and how it does."""
    functions: tuple[tuple[str, str], ...] = ()
    """What v1's functions are called in v2, where a team's triggers may call them."""
    policies: tuple[tuple[str, str], ...] = ()
    """Policies of a team's own tables that ask one of v1's: which, and the statement that has it ask v2's."""


def definition(target: psycopg.Connection) -> Definition:
    """Return v2's definition for this database.

    Args:
        target: a connection to the database that has v1.

    Raises:
        WorkbookError: the embedded server is of another major version, v1 cannot be restored in it, or a fix stops.
    """
    # A plain one: what is worked out on it is thrown away.
    embedded = replace(server.EmbeddedServer.of_checkout(), durable=False)
    major = str(target.info.server_version // 10000)
    if embedded.major != major:
        raise WorkbookError(
            f"The database is PostgreSQL {major}, and the embedded server, which v2 is worked out on, is {embedded.major}; "
            f"give the command PG={major}."
        )
    with embedded.used(), _scratch(embedded) as url:
        return _work_out(embedded, target, url)


@contextmanager
def _scratch(embedded: server.EmbeddedServer) -> Iterator[str]:
    """Make an empty database with the platform's schemas and roles on the embedded server, and drop it afterwards."""
    name = f"wb_rollout_{token_hex(4)}"
    with psycopg.connect(server.libpq_url(embedded.url), autocommit=True) as admin:
        admin.execute((SQL / "platform" / "roles.sql").read_text())
        admin.execute(
            sql.SQL("create database {} owner {} template template0").format(sql.Identifier(name), sql.Identifier(SCRATCH_OWNER))
        )
        url = server.libpq_url(embedded.url.set(database=name))
        try:
            with psycopg.connect(url, autocommit=True) as scratch:
                scratch.execute((SQL / "platform" / "database.sql").read_text())
            yield url
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _work_out(embedded: server.EmbeddedServer, target: psycopg.Connection, url: str) -> Definition:
    with tempfile.TemporaryDirectory() as folder, psycopg.connect(url, autocommit=True) as scratch:
        made_roles = _make_roles(target, scratch)
        try:
            _make_extensions(target, scratch)
            _restore_v1(embedded, target, url, Path(folder))
            _hang_on_users(target, scratch)
            _publish(target, scratch)
            for statement in default_privileges(target, "public", "private"):
                _as_owner(scratch, statement)
            _log_a_month(target, scratch)
            before = _objects(scratch)
            names = scratch.execute(_FUNCTIONS).fetchall()
            private_before = _contents_of_private(embedded, url, Path(folder))
            for fix in fixes.all_fixes():
                try:
                    fixes.apply(scratch, fix)
                except WorkbookError as error:
                    raise WorkbookError(f"v2 cannot be worked out for this database: {error}") from error
            v2_policies = policies_that_ask(scratch)
            renamed: dict[int, str] = dict(scratch.execute(_FUNCTIONS).fetchall())
            return replace(
                _compare(embedded, scratch, url, before, private_before, Path(folder)),
                functions=tuple((name, str(renamed.get(oid, name))) for oid, name in names),
                policies=tuple(v2_policies),
            )
        finally:
            for role in made_roles:
                scratch.execute(sql.SQL("drop owned by {}").format(sql.Identifier(role)))
                scratch.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(role)))


def _make_roles(target: psycopg.Connection, scratch: psycopg.Connection) -> list[str]:
    """Make the roles that the target's privileges and policies name and the scratch server does not have."""
    there = {name for (name,) in scratch.execute("select rolname from pg_roles")}
    wanted = {name for (name,) in target.execute("select rolname from pg_roles where rolname !~ '^pg_'")}
    missing = sorted(wanted - there)
    for role in missing:
        scratch.execute(sql.SQL("create role {} nologin").format(sql.Identifier(role)))
    return missing


def _as_owner(scratch: psycopg.Connection, statement: str) -> None:
    with scratch.transaction():
        scratch.execute(sql.SQL("set local role {}").format(sql.Identifier(SCRATCH_OWNER)))
        scratch.execute(statement)


def _make_extensions(target: psycopg.Connection, scratch: psycopg.Connection) -> None:
    """Make the target's extensions, as far as the scratch server has them: indexes and columns may need them."""
    available = {name for (name,) in scratch.execute("select name from pg_available_extensions where installed_version is null")}
    for name, schema in target.execute(
        "select extname, nspname from pg_extension join pg_namespace on pg_namespace.oid = extnamespace order by pg_extension.oid"
    ):
        if name in available:
            with suppress(psycopg.Error):
                scratch.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
                scratch.execute(
                    sql.SQL("create extension {} with schema {}").format(sql.Identifier(name), sql.Identifier(schema))
                )


# Publications that name tables of v1 or v2, or their schema, and how each does.
_PUBLISHED = """
select
    quote_ident(pg_publication.pubname) as publication, relname::text as table_name,
    format(
        'public.%I%s%s', relname,
        ' (' || (
            select string_agg(quote_ident(attname), ', ' order by attnum)
            from pg_attribute
            where attrelid = prrelid and attnum = any (prattrs::int2[])
        ) || ')',
        ' where (' || pg_get_expr(prqual, prrelid) || ')'
    ) as says
from pg_publication_rel
join pg_publication on pg_publication.oid = prpubid
join pg_class on pg_class.oid = prrelid
where relnamespace = 'public'::regnamespace
order by 1, 2
"""
_PUBLICATIONS = """
select
    quote_ident(pubname), pg_has_role(pubowner, 'usage') and not rolsuper,
    exists (select from pg_publication_namespace where pnpubid = pg_publication.oid and pnnspid = 'public'::regnamespace),
    format(
        'publish = %L, publish_via_partition_root = %s',
        concat_ws(
            ', ', case when pubinsert then 'insert' end, case when pubupdate then 'update' end,
            case when pubdelete then 'delete' end, case when pubtruncate then 'truncate' end
        ),
        pubviaroot::text
    )
from pg_publication
join pg_roles on pg_roles.oid = pubowner
where not puballtables
"""


def published(connection: psycopg.Connection, tables: set[str]) -> list[tuple[str, str, str]]:
    """Return each publication that names one of these tables of public, the table, and how it does, as SQL.

    Args:
        connection: one whose search_path is empty.
        tables: names without a schema.
    """
    return [row for row in connection.execute(_PUBLISHED).fetchall() if row[1] in tables]


def _publish(target: psycopg.Connection, scratch: psycopg.Connection) -> None:
    """Make the publications of v1's tables: a fix may refuse one, or carry it along."""
    tables = published(target, set(TABLES))
    for name, is_owners, publishes_schema, options in target.execute(_PUBLICATIONS).fetchall():
        parts = [f"table {says}" for publication, _, says in tables if publication == name]
        parts += ["tables in schema public"] * publishes_schema
        if parts:
            scratch.execute(f"create publication {name} for {', '.join(parts)} with ({options})")
            if is_owners and not publishes_schema:
                scratch.execute(f"alter publication {name} owner to {SCRATCH_OWNER}")


# What a role's objects are granted as they are made, by schema and kind: all of it, and what PostgreSQL itself grants.
_DEFAULTS = """
select
    case when place.nspname is not null then format(' in schema %%I', place.nspname) else '' end,
    kind.name, lower(entry.privilege_type),
    case
        when entry.grantee = 0 then 'public'
        when entry.grantee = me.oid then 'current_user'
        else quote_ident(pg_get_userbyid(entry.grantee))
    end,
    case when entry.is_grantable then ' with grant option' else '' end
from (select oid from pg_roles where rolname = current_user) as me
cross join (
    values ('r', 'tables'), ('S', 'sequences'), ('f', 'functions'), ('T', 'types'), ('n', 'schemas')
) as kind (letter, name)
cross join (
    select 0::oid as oid, null::name as nspname
    union all
    select oid, nspname from pg_namespace where nspname = any (%s)
) as place
left join pg_default_acl on defaclrole = me.oid and defaclnamespace = place.oid and defaclobjtype::text = kind.letter
cross join lateral aclexplode(
    coalesce(
        defaclacl,
        case when place.oid = 0 then acldefault(case kind.letter when 'S' then 's' else kind.letter end::"char", me.oid) end
    )
) as entry
order by 1, 2, 4, 3
"""
_NO_DEFAULTS = """
do $$
declare
    found record;
begin
    for found in
        select
            case when nspname is not null then format(' in schema %I', nspname) end as place,
            case defaclobjtype
                when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types' else 'schemas'
            end as kind,
            case when grantee = 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end as grantee
        from pg_catalog.pg_default_acl
        left join pg_catalog.pg_namespace on pg_namespace.oid = defaclnamespace
        cross join lateral aclexplode(defaclacl)
        where defaclrole = (select oid from pg_catalog.pg_roles where rolname = current_user)
            and (defaclnamespace = 0 or nspname = any (SCHEMAS))
            and defaclobjtype in ('r', 'S', 'f', 'T', 'n')
        union
        -- What PostgreSQL grants by itself stands nowhere.
        select null, kind, grantee
        from unnest(array['tables', 'sequences', 'functions', 'types', 'schemas']) as kind
        cross join unnest(array['public', 'current_user']) as grantee
    loop
        execute format('alter default privileges%s revoke all on %s from %s', found.place, found.kind, found.grantee);
    end loop;
end;
$$"""


def default_privileges(connection: psycopg.Connection, *schemas: str) -> list[str]:
    """Return statements that make a role's default privileges what they are here for whoever is connected, whatever they were.

    Args:
        connection: one that acts as the role.
        schemas: those whose own defaults count, beside what holds for all schemas.
    """
    return [
        no_default_privileges(*schemas),
        *(
            f"alter default privileges{place} grant {privilege} on {kind} to {grantee}{option}"
            for place, kind, privilege, grantee, option in connection.execute(_DEFAULTS, [list(schemas)]).fetchall()
        ),
    ]


def no_default_privileges(*schemas: str) -> str:
    """Return a statement that takes all default privileges of whoever runs it back, the owner's own too."""
    listed = ", ".join(f"'{schema}'" for schema in schemas)
    return _NO_DEFAULTS.replace("SCHEMAS", f"array[{listed}]::text[]")


def usual_default_privileges(*schemas: str) -> list[str]:
    """Return statements that leave only what PostgreSQL grants by itself."""
    kinds = ("tables", "sequences", "functions", "types", "schemas")
    return [
        no_default_privileges(*schemas),
        *(f"alter default privileges grant all on {kind} to current_user" for kind in kinds),
        "alter default privileges grant execute on functions to public",
        "alter default privileges grant usage on types to public",
    ]


def _restore_v1(embedded: server.EmbeddedServer, target: psycopg.Connection, url: str, folder: Path) -> None:
    """Restore v1 and the team's own schemas, if v1 needs these.

    Raises:
        WorkbookError: it cannot be dumped, or not be restored.
    """
    there = [name for (name,) in target.execute("select nspname from pg_namespace where nspname in ('public', 'private')")]
    own = [name for (name,) in target.execute(_OWN_SCHEMAS)]
    reason: psycopg.Error | None = None
    for schemas in (there, [*there, *own]):
        script = _script_of(embedded, target, schemas, folder)
        with psycopg.connect(url, autocommit=True) as scratch:
            try:
                scratch.execute(f"set role {SCRATCH_OWNER}")
                scratch.execute(_for_psycopg(script))
                return
            except psycopg.Error as error:
                reason = error
    assert reason is not None
    raise WorkbookError(
        "v1 cannot be restored in the scratch database that v2 is worked out on "
        f"({reason.sqlstate}: {reason.diag.message_primary}); move what it stumbles over out of the schema public."
    ) from reason


# Not those of the platform, nor those that the rollout or the Supabase CLI makes.
_OWN_SCHEMAS = """
select nspname
from pg_namespace
where pg_has_role(nspowner, 'usage')
    and nspname !~ '^(pg_|rollout)' and nspname not in (
        'public', 'private', 'auth', 'extensions', 'information_schema', 'supabase_migrations', 'compat_v1'
    )
    and not exists (select from pg_extension where extnamespace = pg_namespace.oid)
order by 1
"""
# Of other roles, and closed to the owner: none of the schema's business.
_CLOSED = """
select format('"%%s"."%%s"', replace(nspname, '"', '""'), replace(relname, '"', '""'))
from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where nspname = any (%s) and relkind in ('r', 'p', 'v', 'm', 'f') and not has_table_privilege(pg_class.oid, 'select')
"""


def _script_of(embedded: server.EmbeddedServer, target: psycopg.Connection, schemas: list[str], folder: Path) -> str:
    archive = folder / "v1.dump"
    ((owner,),) = target.execute("select current_user").fetchall()
    _run(embedded, "pg_dump", "--format=custom", "--schema-only", "--no-owner",
         *("--schema=" + '"{}"'.format(name.replace('"', '""')) for name in schemas),
         *(f"--exclude-table={name}" for (name,) in target.execute(_CLOSED, [schemas])),
         "--no-publications", "--no-subscriptions", f"--role={owner}",
         f"--file={archive}", "--dbname", _url_of(target), password=target.info.password)  # fmt: skip
    contents = _run(embedded, "pg_restore", "--list", archive)
    listing = folder / "v1.list"
    listing.write_text(
        "\n".join(line for line in contents.splitlines() if not re.search(r" SCHEMA - public | DEFAULT ACL ", line))
    )
    return _run(embedded, "pg_restore", "--no-owner", f"--use-list={listing}", "--file=-", archive)


def _for_psycopg(script: str) -> str:
    """Leave out what only psql understands."""
    return "\n".join(line for line in script.splitlines() if not line.startswith("\\"))


def _hang_on_users(target: psycopg.Connection, scratch: psycopg.Connection) -> None:
    """Make the triggers on auth.users that call v1's functions."""
    for (trigger,) in target.execute(
        "select pg_get_triggerdef(pg_trigger.oid) from pg_trigger join pg_proc on pg_proc.oid = tgfoid "
        "where tgrelid = 'auth.users'::regclass and not tgisinternal and pronamespace = 'public'::regnamespace "
        "and tgname !~ '^rollout_'"
    ).fetchall():
        scratch.execute(trigger)


def _log_a_month(target: psycopg.Connection, scratch: psycopg.Connection) -> None:
    """Write a log of each month that the target has logs of, so that the fix makes their partitions.

    It is one of theirs, because a team may have rules of its own for what a log says, but without what may be empty. A month
    whose log does not stand alone is left out: its partition is made as its logs are copied.
    """
    columns = scratch.execute(
        "select attname, attnotnull, exists ("
        "select from pg_constraint where conrelid = attrelid and contype = 'f' and attnum = any (conkey)) "
        "from pg_attribute where attrelid = 'public.logs'::regclass and attnum > 0 and not attisdropped and attgenerated = ''"
    ).fetchall()
    if any(is_required and refers for _, is_required, refers in columns):
        return
    names = [name for name, is_required, _ in columns if is_required]
    months = target.execute(
        sql.SQL(
            "select {} from (select distinct date_trunc('month', created_at, 'UTC') as month from public.logs) as months "
            "cross join lateral (select * from public.logs where created_at >= month "
            "and created_at < month + interval '1 month' order by created_at limit 1) as one"
        ).format(sql.SQL(", ").join(sql.SQL("one.{}::text").format(sql.Identifier(name)) for name in names))
    ).fetchall()
    written = sql.SQL("insert into public.logs ({}) overriding system value values ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(", ").join(sql.Placeholder() * len(names))
    )
    # No trigger of a team's own calls anybody from here.
    scratch.execute("set session_replication_role = replica")
    for month in months:
        with suppress(psycopg.Error):
            scratch.execute(written, month)
    scratch.execute("reset session_replication_role")


_FUNCTIONS = """
select pg_proc.oid, format('%I.%I', nspname, proname) from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
where nspname in ('public', 'private') and prorettype = 'trigger'::regtype
"""
_POLICIES = """
select distinct
    format('the policy %I on %s', polname, polrelid::regclass),
    concat(
        format('alter policy %I on %s', polname, polrelid::regclass),
        ' using (' || pg_get_expr(polqual, polrelid) || ')', ' with check (' || pg_get_expr(polwithcheck, polrelid) || ')'
    )
from pg_depend join pg_policy on pg_policy.oid = objid
where classid = 'pg_policy'::regclass and refclassid = 'pg_class'::regclass
    and refobjid in (select to_regclass('public.' || ours) from unnest(TABLES) as ours)
    and polrelid not in (select coalesce(to_regclass('public.' || ours), 0) from unnest(TABLES) as ours)
order by 1
"""


def policies_that_ask(connection: psycopg.Connection) -> list[tuple[str, str]]:
    """Return the policies of a team's own tables that ask one of v1's, and the statement that makes each what it is."""
    listed = ", ".join(f"'{table}'" for table in (*TABLES, "messages_archive", "message_chunks", "event_types"))
    with connection.transaction():
        connection.execute("set local search_path = ''")
        return connection.execute(_POLICIES.replace("TABLES", f"array[{listed}]")).fetchall()


# What stands in public and private, and what tells one state of it from another.
_OBJECTS = """
select 'table' as kind, pg_class.oid::regclass::text as identity, nspname, pg_class.oid::text as state
from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where nspname in ('public', 'private') and relkind in ('r', 'p')
union all
select 'view', pg_class.oid::regclass::text, nspname, pg_class.oid::text
from pg_class join pg_namespace on pg_namespace.oid = relnamespace
where nspname in ('public', 'private') and relkind = 'v'
union all
select
    case prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end, pg_proc.oid::regprocedure::text,
    nspname, md5(concat(prosrc, prorettype::regtype, proconfig, prosecdef))
from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
where nspname in ('public', 'private')
union all
select 'type', pg_type.oid::regtype::text, nspname, pg_type.oid::text
from pg_type join pg_namespace on pg_namespace.oid = typnamespace
where nspname in ('public', 'private') and typtype = 'e'
union all
select 'statistics', format('%I.%I', nspname, stxname), nspname, pg_statistic_ext.oid::text
from pg_statistic_ext join pg_namespace on pg_namespace.oid = stxnamespace
where stxrelid::regclass::text in ('public.profiles', 'public.scenarios', 'public.sessions', 'public.messages',
    'public.logs')
union all
select 'type', pg_type.oid::regtype::text, nspname, pg_type.oid::text
from pg_type join pg_namespace on pg_namespace.oid = typnamespace join pg_class on pg_class.oid = typrelid and relkind = 'c'
where nspname in ('public', 'private')
"""


def _objects(scratch: psycopg.Connection) -> dict[tuple[str, str], tuple[str, str]]:
    """Return schema and state of each object by its kind and its name with the schema."""
    scratch.execute("set search_path = ''")
    try:
        return {(kind, identity): (schema, state) for kind, identity, schema, state in scratch.execute(_OBJECTS)}
    finally:
        scratch.execute("reset search_path")


def _compare(
    embedded: server.EmbeddedServer,
    scratch: psycopg.Connection,
    url: str,
    before: dict[tuple[str, str], tuple[str, str]],
    private_before: set[str],
    folder: Path,
) -> Definition:
    """Tell v2's objects from what was there, move those of public to rollout_new, and dump them."""
    after = _objects(scratch)
    is_ours = {f"public.{table}" for table in TABLES}

    def goes_along(object: tuple[str, str]) -> bool:
        return object[1] in is_ours or object[0] == "statistics"

    new = {
        object: schema for object, (schema, state) in after.items() if before.get(object) != (schema, state) or goes_along(object)
    }
    v1_objects = [
        f"{kind} {name}"
        for (kind, name), (schema, state) in before.items()
        if goes_along((kind, name))
        or (
            kind == "function"
            and schema == "public"
            and after.get((kind, name)) != (schema, state)
            and name != f"public.{MOVED_FUNCTION}"
        )
    ]
    v2_objects = [f"{kind} {name}" for (kind, name), schema in new.items() if schema == "public"]
    private = [f"{kind} {name}" for (kind, name), schema in new.items() if schema == "private"]

    steps: dict[str, list[str]] = {"users": _on_users(scratch), "switch": _on_switch()}
    unusual = [
        {"on_table": table, "trigger": name, "state": state}
        for table, name, state in scratch.execute(
            "select relname, tgname, tgenabled::text from pg_trigger join pg_class on pg_class.oid = tgrelid "
            "where relnamespace = 'public'::regnamespace and not tgisinternal and tgenabled <> 'O'"
        )
    ]
    scratch.execute("set search_path = ''")
    publications = published(scratch, {object.split(" ", 1)[1].removeprefix("public.") for object in v2_objects})
    scratch.execute("reset search_path")
    scratch.execute("delete from public.logs")
    scratch.execute("create schema rollout_new")
    for object in v2_objects:
        scratch.execute(f"alter {object} set schema rollout_new")

    archive = folder / "v2.dump"
    _run(embedded, "pg_dump", "--format=custom", "--schema-only", "--no-owner", "--schema=rollout_new", "--schema=private",
         f"--file={archive}", "--dbname", url)  # fmt: skip
    contents = _run(embedded, "pg_restore", "--list", archive).splitlines()
    entries = [line for line in contents if line and not line.startswith(";") and _entry(line) not in private_before]
    links = [line for line in entries if " FK CONSTRAINT " in line]
    linked = {line.split(" FK CONSTRAINT ")[1].rsplit(" ", 1)[0].split(" ", 1)[1].split()[-1] for line in links}
    about_links = [line for line in entries if " COMMENT " in line and any(f"CONSTRAINT {name} " in line for name in linked)]
    later = {*links, *about_links}
    moved = [line for line in entries if f"{MOVED_FUNCTION}" in line]
    first = [line for line in entries if line not in later and line not in moved]

    def script(lines: list[str]) -> str:
        listing = folder / "listing"
        listing.write_text("\n".join(lines))
        return _for_psycopg(_run(embedded, "pg_restore", "--no-owner", f"--use-list={listing}", "--file=-", archive))

    steps["link"] = [
        line for line in statements(script([*links, *about_links])) if not line.upper().startswith(("SET ", "SELECT "))
    ]
    moved_function = [
        re.sub(r"^CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", line)
        for line in statements(script(moved))
        if not line.upper().startswith(("SET ", "SELECT "))
    ]
    steps["users"] = [
        f"revoke all on function private.{MOVED_FUNCTION} from public, anon, authenticated, service_role",
        *moved_function,
        *steps["users"],
    ]
    rows = _run(
        embedded, "pg_dump", "--data-only", "--inserts", "--no-owner", "--schema=rollout_new", "--schema=private", "--dbname", url
    )
    return Definition(
        before_copy=script(first),
        rows="\n".join(line for line in _for_psycopg(rows).splitlines() if line.startswith("INSERT INTO")),
        steps=steps,
        v1_objects=tuple(v1_objects),
        v2_objects=tuple(v2_objects),
        private_objects=tuple(object for object in private if MOVED_FUNCTION not in object),
        unusual_triggers=tuple(unusual),
        published=tuple(publications),
    )


def _contents_of_private(embedded: server.EmbeddedServer, url: str, folder: Path) -> set[str]:
    """Return what an archive of the schema private would hold, which is nothing where there is none."""
    archive = folder / "private.dump"
    with psycopg.connect(url) as scratch:
        if not scratch.execute("select from pg_namespace where nspname = 'private'").fetchall():
            return set()
    _run(embedded, "pg_dump", "--format=custom", "--schema-only", "--no-owner", "--schema=private", f"--file={archive}",
         "--dbname", url)  # fmt: skip
    return {_entry(line) for line in _run(embedded, "pg_restore", "--list", archive).splitlines()}


def _entry(line: str) -> str:
    """Return a line of an archive's contents without its numbers: what is dumped, its schema, name and owner."""
    return re.sub(r"^\d+; \d+ \d+ ", "", line)


def _on_users(scratch: psycopg.Connection) -> list[str]:
    return [
        definition
        for (definition,) in scratch.execute(
            "select pg_get_triggerdef(pg_trigger.oid) from pg_trigger join pg_proc on pg_proc.oid = tgfoid "
            "where tgrelid = 'auth.users'::regclass and not tgisinternal and pronamespace = 'private'::regnamespace "
            f"and proname <> '{MOVED_FUNCTION.removesuffix('()')}' order by tgname"
        )
    ]


def _on_switch() -> list[str]:
    """Return what the fixes do to default privileges, and how they record themselves."""
    found = []
    for fix in fixes.all_fixes():
        parts = statements(fix.body)
        found += [part for part in parts if part.startswith("alter default privileges")]
        if fix.name.endswith("migration_history"):
            found += [part for part in parts if "supabase_migrations" in part]
    return found


# What pg_dump of each supported release understands; psycopg brings a newer libpq, with more of them.
_PARAMETERS = (
    "host", "hostaddr", "port", "dbname", "user", "passfile", "connect_timeout", "sslmode", "sslcert", "sslkey", "sslrootcert",
    "sslcrl", "sslcrldir", "sslsni", "channel_binding", "gssencmode", "krbsrvname", "target_session_attrs",
)  # fmt: skip


def _url_of(connection: psycopg.Connection) -> str:
    parameters: dict[str, Any] = connection.info.get_parameters()
    return psycopg.conninfo.make_conninfo(**{name: value for name, value in parameters.items() if name in _PARAMETERS})


def _run(embedded: server.EmbeddedServer, program: str, *arguments: str | Path, password: str | None = None) -> str:
    """Run one of PostgreSQL's programs and return what it prints; whoever lists processes sees no password.

    Raises:
        WorkbookError: it fails.
    """
    result = subprocess.run(
        [embedded.program(program), *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, **({"PGPASSWORD": password} if password else {})},
    )  # fmt: skip
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise WorkbookError(f"{program} failed ({last}); see whether the login may read the schema, and try again.")
    return result.stdout


def repair_rows() -> list[tuple[int, int, str, list[str], list[str], list[str], Jsonb]]:
    """Return the rows of rollout.repair_statements: place, issue, table, setup, batch, hidden columns, stored expressions."""
    return [
        (place, repair.issue, repair.table, list(repair.setup), list(repair.batch), list(repair.hidden), Jsonb(repair.stored))
        for place, repair in enumerate(repairs(), 1)
    ]
