"""A rollout beside the fixes: the same v1 taken both ways, and what differs."""

import difflib
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
import workbook as wb
from team import apply_all
from workbook import Database, rollout, server
from workbook.rollout import steps
from workbook.rollout.build import definition
from workbook.rollout.expand import expand_script
from workbook.rollout.plan import Obstacle

OWNER = "workbook_owner"
_TODAY = datetime.now(UTC).date().isoformat()


def url_of(database: Database, role: str = OWNER) -> str:
    """Return a URL whose login acts as somebody."""
    return f"{database.url}{'&' if '?' in database.url else '?'}options=-c%20role%3D{role}"


def dump(database: Database) -> list[str]:
    """Return the schema as pg_dump writes it."""
    program = server.EmbeddedServer.of_checkout().program("pg_dump")
    done = subprocess.run([program, "--schema-only", "-d", database.url], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


def rows(database: Database) -> dict[str, list[str]]:
    """Return the rows of all tables in public and private, as text; when something was made just now is left out."""
    recent = {"event_types": ["created_at"], "repairs": ["repaired_at"], "scenarios": ["updated_at"]}
    with database.connect() as connection:
        tables = connection.execute(
            "select format('%I.%I', nspname, relname), relname "
            "from pg_class join pg_namespace on pg_namespace.oid = relnamespace "
            "where nspname in ('public', 'private') and relkind in ('r', 'p', 'm') and not relispartition order by 1"
        ).fetchall()
        found = {}
        for table, name in tables:
            texts = connection.execute(f"select (to_jsonb(a_row) - %s::text[])::text from {table} a_row", [recent.get(name, [])])
            # A profile that a user was missing.
            found[table] = sorted(re.sub(rf'"created_at": "{_TODAY}[^"]*", "deleted_at"', "", text) for (text,) in texts)
        return found


def sequences(database: Database) -> list[tuple[str, int | None]]:
    """Return where the sequences are."""
    with database.connect() as connection:
        return connection.execute(
            "select schemaname || '.' || sequencename, last_value from pg_sequences "
            "where schemaname in ('public', 'private') order by 1"
        ).fetchall()


def difference(wanted: Database | list[str], got: Database | list[str]) -> list[str]:
    """Return how two schemas, or their dumps, differ."""
    one, other = (dump(it) if isinstance(it, Database) else it for it in (wanted, got))
    return list(difflib.unified_diff(one, other, "wanted", "rollout", lineterm="", n=1))


def row_difference(wanted: dict[str, list[str]], got: dict[str, list[str]]) -> list[str]:
    """Return the rows that only one of the two has."""

    def plain(text: str) -> str:
        # A before-image has the moment of a repair in it.
        return re.sub(r'"updated_at": "[^"]*"', '"updated_at": ""', text)

    found = []
    for table in sorted({*wanted, *got}):
        one, other = ([plain(text) for text in side.get(table, [])] for side in (wanted, got))
        if sorted(one) != sorted(other):
            found += [f"{table} lacks {text}" for text in one if text not in other][:2]
            found += [f"{table} has {text}" for text in other if text not in one][:2]
            found += [f"{table}: {len(one)} rows wanted, {len(other)} there"]
    return found


def quiet(_: str) -> None:
    """Say nothing."""


def roll(database: Database, *, finish: bool = True, role: str = OWNER) -> None:
    """Take a v1 to v2."""
    with rollout.Runner(url_of(database, role)) as runner, runner.alone():
        steps.start(runner, quiet)
        steps.copy(runner, quiet)
        steps.switch(runner, quiet)
        if finish:
            steps.finish(runner, quiet, has_backup=True, has_old_clients=False)


def stops(database: Database, role: str = OWNER) -> list[Obstacle]:
    """Return what stops a rollout here."""
    with rollout.Runner(url_of(database, role)) as runner:
        return rollout.obstacles(runner)


def statements_that_help(obstacles: list[Obstacle]) -> list[str]:
    """Return the statements of obstacles' hints."""
    return [found[1] for obstacle in obstacles if (found := re.search(r":\s(\w.*;)", obstacle.help))]


def wrong_with(database: Database, *, ways: tuple[str, ...] = ("switch",), role: str = OWNER) -> list[str]:
    """Take a v1 through the rollout, and say what is wrong with what comes out.

    Args:
        database: has v1, and what a team has added.
        ways: which ends to look at: an abort in the phases starting, started and linked, back, and the switch.
        role: whoever owns the schema.
    """
    before, rows_before, places_before = dump(database), rows(database), sequences(database)
    found: list[str] = []
    for phase, reach in _REACH.items():
        if phase in ways:
            with rollout.Runner(url_of(database, role)) as runner, runner.alone():
                reach(runner)
                assert runner.phase == phase
                steps.abort(runner, quiet)
            found += [f"abort, {phase}: {line}" for line in difference(before, dump(database))]
            found += [f"abort, {phase}: {line}" for line in row_difference(rows_before, rows(database))]
    if "back" in ways:
        roll(database, finish=False, role=role)
        with rollout.Runner(url_of(database, role)) as runner, runner.alone():
            steps.back(runner, quiet)
        _drop_kept(database)
        found += [f"back: {line}" for line in difference(before, dump(database))]
        found += [f"back: {line}" for line in row_difference(rows_before, rows(database))]
        if sequences(database) != places_before:
            found.append(f"back: sequences were {places_before}, and are {sequences(database)}")
    if "switch" in ways:
        other = database.copy()
        try:
            apply_all(other)
            roll(database, role=role)
            found += difference(other, database)
            found += row_difference(rows(other), rows(database))
            if sequences(database) != sequences(other):
                found.append(f"sequences should be {sequences(other)}, and are {sequences(database)}")
        finally:
            other.drop()
    return found


def _started(runner: rollout.Runner) -> None:
    steps.start(runner, quiet)


def _starting(runner: rollout.Runner) -> None:
    wanted = definition(runner.connection)
    runner.run(expand_script(runner, wanted))


def _linked(runner: rollout.Runner) -> None:
    steps.start(runner, quiet)
    steps.copy(runner, quiet)


_REACH: dict[str, Callable[[rollout.Runner], None]] = {"starting": _starting, "started": _started, "linked": _linked}


def _drop_kept(database: Database) -> None:
    """Drop what a way back leaves on purpose."""
    with database.connect() as connection:
        connection.execute("drop schema if exists rollout_kept cascade")


def fixes_stop(database: Database) -> str | None:
    """Apply the fixes to a copy, and return what stops them."""
    other = database.copy()
    try:
        apply_all(other)
    except (wb.WorkbookError, psycopg.Error) as error:
        return str(error)
    finally:
        other.drop()
    return None
