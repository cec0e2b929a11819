"""What a rollout starts with: v2's definition, taken from a scratch database that gets v1 as it is and then all fixes."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import psycopg
from psycopg import sql

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


def definition(target: psycopg.Connection) -> Definition:
    """Return v2's definition for this database.

    Args:
        target: a connection to the database that has v1.

    Raises:
        WorkbookError: the embedded server is of another major version, v1 cannot be restored in it, or a fix stops.
    """
    embedded = server.EmbeddedServer.of_checkout()
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
            _restore_v1(embedded, target, url, Path(folder))
            _hang_on_users(target, scratch)
            _log_a_month(target, scratch)
            before = _objects(scratch)
            for fix in fixes.all_fixes():
                try:
                    fixes.apply(scratch, fix)
                except WorkbookError as error:
                    raise WorkbookError(f"v2 cannot be worked out for this database: {error}") from error
            return _compare(embedded, scratch, url, before, Path(folder))
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


def _restore_v1(embedded: server.EmbeddedServer, target: psycopg.Connection, url: str, folder: Path) -> None:
    archive = folder / "v1.dump"
    schemas = [name for (name,) in target.execute("select nspname from pg_namespace where nspname in ('public', 'private')")]
    _run(embedded, "pg_dump", "--format=custom", "--schema-only", "--no-owner", *(f"--schema={name}" for name in schemas),
         "--no-publications", "--no-subscriptions", f"--file={archive}", "--dbname", _url_of(target))  # fmt: skip
    contents = _run(embedded, "pg_restore", "--list", archive)
    listing = folder / "v1.list"
    listing.write_text(
        "\n".join(line for line in contents.splitlines() if not re.search(r" SCHEMA - public | DEFAULT ACL ", line))
    )
    script = _run(embedded, "pg_restore", "--no-owner", f"--use-list={listing}", "--file=-", archive)
    with psycopg.connect(url, autocommit=True) as scratch:
        try:
            scratch.execute(f"set role {SCRATCH_OWNER}")
            scratch.execute(_for_psycopg(script))
        except psycopg.Error as error:
            raise WorkbookError(
                "v1 cannot be restored in the scratch database that v2 is worked out on "
                f"({error.sqlstate}: {error.diag.message_primary}); move what it stumbles over out of the schema public."
            ) from error


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
    """Write a log of each month that the target has logs of, so that the fix makes their partitions."""
    months = target.execute("select distinct date_trunc('month', created_at, 'UTC') from public.logs").fetchall()
    required = scratch.execute(
        "select attname from pg_attribute where attrelid = 'public.logs'::regclass and attnotnull and not atthasdef and attnum > 0 "
        "and not attisdropped and attidentity = '' and attname not in ('id', 'level', 'event_type')"
    ).fetchall()
    if required:
        # A column of a team's own without a default: such months are made as their logs are copied.
        return
    with scratch.cursor() as cursor:
        cursor.executemany("insert into public.logs (level, event_type, created_at) values ('info', 'unknown_error', %s)", months)


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
select 'function', pg_proc.oid::regprocedure::text, nspname, md5(concat(prosrc, prorettype::regtype, proconfig, prosecdef))
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
    scratch.execute("delete from public.logs")
    scratch.execute("create schema rollout_new")
    for object in v2_objects:
        scratch.execute(f"alter {object} set schema rollout_new")

    archive = folder / "v2.dump"
    _run(embedded, "pg_dump", "--format=custom", "--schema-only", "--no-owner", "--schema=rollout_new", "--schema=private",
         f"--file={archive}", "--dbname", url)  # fmt: skip
    contents = _run(embedded, "pg_restore", "--list", archive).splitlines()
    kept = {f"{schema} {_in_contents(name)}" for (_, name), (schema, _) in before.items() if schema == "private"}
    has_private = any(schema == "private" for schema, _ in before.values())
    entries = [line for line in contents if line and not line.startswith(";")]
    entries = [line for line in entries if not (has_private and _is_of(line, kept))]
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
    )


def _in_contents(name: str) -> str:
    return name.removeprefix("private.")


def _is_of(line: str, kept: set[str]) -> bool:
    """Tell whether a line of an archive's contents is of an object that was in private before, or the schema itself."""
    return bool(re.search(r" SCHEMA - private | (?:COMMENT|ACL) - SCHEMA private ", line)) or any(
        f" {name} " in line or f" {name}." in line for name in kept
    )


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


def _url_of(connection: psycopg.Connection) -> str:
    parameters: dict[str, Any] = dict(connection.info.get_parameters())
    parameters.pop("options", None)
    if connection.info.password:
        parameters["password"] = connection.info.password
    return psycopg.conninfo.make_conninfo(**parameters)


def _run(embedded: server.EmbeddedServer, program: str, *arguments: str | Path) -> str:
    """Run one of PostgreSQL's programs and return what it prints.

    Raises:
        WorkbookError: it fails.
    """
    result = subprocess.run(
        [embedded.program(program), *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise WorkbookError(f"{program} failed ({last}); see whether the login may read the schema, and try again.")
    return result.stdout


def repair_rows() -> list[tuple[int, int, str, list[str], list[str], list[str]]]:
    """Return the rows of rollout.repair_statements: place, issue, table, setup, batch and hidden columns."""
    return [
        (place, repair.issue, repair.table, list(repair.setup), list(repair.batch), list(repair.hidden))
        for place, repair in enumerate(repairs(), 1)
    ]
