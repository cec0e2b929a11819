"""A rollout beside the fixes: the same v1 taken both ways, and what differs."""

import difflib
import re
from collections.abc import Callable

import psycopg
import workbook as wb
from team import apply_all
from workbook import ADMIN, Database, rollout
from workbook.rollout import steps
from workbook.rollout.build import definition
from workbook.rollout.expand import expand_script
from workbook.rollout.plan import Obstacle
from workbook.rollout.rehearsal import definition as definition_of
from workbook.rollout.rehearsal import differences, quiet

OWNER = "workbook_owner"


def url_of(database: Database, role: str = OWNER) -> str:
    """Return a URL whose login acts as somebody."""
    return psycopg.conninfo.make_conninfo(database.url, options=f"-c role={role}")


def sequences(database: Database) -> list[tuple[str, int | None]]:
    """Return where the sequences are."""
    with database.connect() as connection:
        return connection.execute(
            "select schemaname || '.' || sequencename, last_value from pg_sequences "
            "where schemaname in ('public', 'private') order by 1"
        ).fetchall()


def difference(wanted: str, got: str) -> list[str]:
    """Return how two schemas differ, each as pg_dump writes it."""
    return list(difflib.unified_diff(wanted.splitlines(), got.splitlines(), "wanted", "rollout", lineterm="", n=1))


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
    before, unchanged, places_before = definition_of(database), database.copy(), sequences(database)
    since = str(database.value("select now()", ADMIN))
    found: list[str] = []
    for phase, reach in _REACH.items():
        if phase in ways:
            with rollout.Runner(url_of(database, role)) as runner, runner.alone():
                reach(runner)
                assert runner.phase == phase
                steps.abort(runner, quiet)
            found += [f"abort, {phase}: {line}" for line in difference(before, definition_of(database))]
            found += [f"abort, {phase}: {line}" for line in differences(unchanged, database, since)]
    if "back" in ways:
        roll(database, finish=False, role=role)
        with rollout.Runner(url_of(database, role)) as runner, runner.alone():
            steps.back(runner, quiet)
        _drop_kept(database)
        found += [f"back: {line}" for line in difference(before, definition_of(database))]
        found += [f"back: {line}" for line in differences(unchanged, database, since)]
        if sequences(database) != places_before:
            found.append(f"back: sequences were {places_before}, and are {sequences(database)}")
    if "switch" in ways:
        other = database.copy()
        try:
            apply_all(other)
            roll(database, role=role)
            found += difference(definition_of(other), definition_of(database))
            found += differences(other, database, since)
            if sequences(database) != sequences(other):
                found.append(f"sequences should be {sequences(other)}, and are {sequences(database)}")
        finally:
            other.drop()
    unchanged.drop()
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
