"""The rollout's steps, each of which can be run again: start, copy, switch, back, finish, abort and status."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.rows import dict_row

from .expand import GHOSTS, expand_script, of_team
from .plan import Obstacle, look
from .repairs import TABLES
from .runner import PATIENCE_SECONDS, Refused, Runner, is_v1, sql_file

BATCH_SECONDS = 0.04
"""How long one batch of rows should take."""
FIRST_PAGES = 4
"""Of each table; from there on batches become as long as they should be."""
PAUSE = 1 / 2
"""How long the pause after a batch is, as a part of it; longer where commits wait for the disk."""
NOTES_EVERY_SECONDS = 0.5
"""How long notes may wait while rows are copied."""

Say = Callable[[str], None]


@dataclass
class Pace:
    """How the copy went so far: what its progress bar shows."""

    table: str = ""
    rows: int = 0
    """Rows carried since this run began."""
    seconds: float = 0
    pages_done: int = 0
    """Pages of v1's tables that are copied, by this run or an earlier one."""
    longest_commit_ms: float = 0
    longest_batch_ms: float = 0
    noted: int = 0
    """Notes applied since this run began."""


@dataclass(frozen=True)
class Status:
    """Where a rollout is."""

    phase: str
    """none, starting, started, linked, switched or returned."""
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        width = max((len(name) for name in self.facts), default=0)
        lines = [f"{'phase':{width}}  {self.phase}"]
        for name, value in self.facts.items():
            shown = ", ".join(f"{key} {count:,}" for key, count in value.items()) or "none" if isinstance(value, dict) else value
            lines.append(f"{name:{width}}  {shown:,}" if isinstance(shown, int) else f"{name:{width}}  {shown}")
        return "\n".join(lines)


# --- Start --------------------------------------------------------------------------------------------------------


def start(runner: Runner, say: Say = print) -> None:
    """Make v2 beside v1, and have v1's changes noted from here on.

    Raises:
        WorkbookError: something stops it, or it is past this step.
    """
    if runner.phase == "returned":
        _require(runner, {"none"}, "start")
    if runner.phase not in ("none", "starting"):
        say(f"The rollout is {runner.phase} already.")
        return
    if runner.phase == "none":
        stops, wanted = look(runner)
        if wanted is None:
            raise Refused(f"The rollout cannot start: {' '.join(map(str, stops)).removesuffix('.')}.")
        runner.run(expand_script(runner, wanted))
        say("v2's tables are made in the schema rollout_new; no client sees them.")
    for table in ("users", *TABLES):
        runner.patiently(lambda: runner.run("select rollout.watch(%s)", table), "Watching " + table)  # noqa: B023
    runner.run("select rollout.begin_copy()")
    say("Every change of v1 is noted from here on. Next: copy.")


# --- Copy ---------------------------------------------------------------------------------------------------------


def copy(runner: Runner, say: Say = print, show: Callable[[Pace], None] = lambda pace: None) -> Pace:
    """Fill v2's tables, apply what has changed meanwhile, and make the foreign keys; Ctrl-C stops between two batches.

    Args:
        runner: whoever holds the lock.
        say: where sentences go.
        show: is called after each batch.

    Raises:
        WorkbookError: the rollout has not started, or is over.
    """
    if runner.phase == "starting":
        start(runner, say)
    _require(runner, {"started", "linked"}, "copy")
    pace = Pace()
    began = noted_at = time.monotonic()
    pages = FIRST_PAGES
    commit_ms = 0.0
    done_before = runner.one(
        "select coalesce(sum(pg_relation_size(format('public.%I', table_name)::regclass)), 0)::bigint / "
        "current_setting('block_size')::int from rollout.progress where is_copied"
    )
    is_copied = not runner.one("select exists (select from rollout.progress where not is_copied)")
    while True:
        batch = time.monotonic()
        applies = is_copied or batch - noted_at > NOTES_EVERY_SECONDS
        row, took_ms = turn(runner, 0 if applies else pages, 2000 if applies else 0)
        elapsed = time.monotonic() - batch
        if applies:
            # Only these wait for the disk, as clients do.
            noted_at = time.monotonic()
            commit_ms = took_ms
            pace.longest_commit_ms = max(pace.longest_commit_ms, commit_ms)
            # A new week, or TRUNCATE, has a table copied again.
            is_copied = not runner.one("select exists (select from rollout.progress where not is_copied)")
        pace.longest_batch_ms = max(pace.longest_batch_ms, 1000 * elapsed)
        pace.noted += row["applied"]
        if row["of_table"]:
            pace.table, pace.pages_done = row["of_table"], done_before + min(row["next_page"], row["all_pages"])
            if row["next_page"] >= row["all_pages"]:
                done_before += row["all_pages"]
            pace.rows += row["copied"]
            pages = max(1, min(4096, int(pages * min(2, max(0.5, BATCH_SECONDS / max(elapsed, 0.001))))))
            if row["next_page"] >= row["all_pages"]:
                # Rows of the next table may cost more.
                pages = FIRST_PAGES
        elif not applies:
            is_copied = True
        pace.seconds = time.monotonic() - began
        show(pace)
        if row["is_done"]:
            break
        # A commit that waits for the disk says that clients wait too.
        time.sleep(0.01 if is_copied else max(PAUSE * elapsed, 2 * commit_ms / 1000))
    if runner.phase == "started":
        say("Every row is copied. The tables are vacuumed, and the foreign keys checked.")
        for table in GHOSTS:
            runner.connection.execute(f"vacuum (analyze) rollout_new.{table}")
        runner.connection.execute("select rollout.link()")
    drain(runner)
    pace.seconds = time.monotonic() - began
    say("v2 is filled, and follows v1. Next: switch.")
    return pace


def pages_to_copy(runner: Runner) -> int:
    """Return how many pages v1's tables have."""
    return int(
        runner.one(
            "select coalesce(sum(pg_relation_size(oid)), 0)::bigint / current_setting('block_size')::int from pg_class "
            "where oid in (select to_regclass('public.' || name) from unnest(%s::text[]) as name)",
            list(TABLES),
        )
    )


def turn(runner: Runner, pages: int, notes: int) -> tuple[dict[str, Any], float]:
    """Take one turn in a transaction of its own; return what it did, and how long its commit took in milliseconds.

    Notes that only hold together, such as an open session that another one follows, are all applied at once where they must.
    """
    connection = runner.connection
    for limit in (notes, 2**31 - 1):
        try:
            with connection.cursor(row_factory=dict_row) as cursor:
                cursor.execute("begin isolation level repeatable read")
                if not notes:
                    # Rows and progress are lost together where the server crashes, so nothing has to wait for the disk.
                    cursor.execute("set local synchronous_commit = off")
                cursor.execute("select * from rollout.turn(%s, %s)", [pages, limit])
                row = cursor.fetchone()
                committing = time.perf_counter()
                cursor.execute("commit")
            assert row is not None
            return row, 1000 * (time.perf_counter() - committing)
        except psycopg.errors.IntegrityError:
            connection.execute("rollback")
            if limit != notes:
                raise
        except BaseException:
            if not connection.closed:
                connection.execute("rollback")
            raise
    raise AssertionError("unreachable")


def drain(runner: Runner, few: int = 0) -> None:
    """Apply notes until no more than a few are left."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        row, _ = turn(runner, 16, 5000)
        if row["is_done"] or (few and runner.one("select count(*) from rollout.dirty") <= few):
            return
        if time.monotonic() > deadline and not row["of_table"]:
            raise Refused("v1 changes faster than its changes can be carried over; try again at a quieter time.")


# --- Switch -------------------------------------------------------------------------------------------------------


def switch(runner: Runner, say: Say = print) -> float:
    """Let clients have v2.

    Returns:
        How long clients may have waited, in milliseconds: the transaction that succeeded.

    Raises:
        WorkbookError: v2 is not filled yet, v1 has been redefined, or a lock was not to be had.
    """
    if runner.phase == "switched":
        say("Clients have v2 already.")
        return 0
    _require(runner, {"linked"}, "switch")
    took = 0.0

    def attempt() -> None:
        nonlocal took
        drain(runner, few=3)
        _wait_for_vacuum(runner)
        _refuse_what_is_new(runner)
        began = time.perf_counter()
        with runner.connection.transaction():
            _set_timeouts(runner)
            runner.connection.execute("select rollout.switch()")
        took = 1000 * (time.perf_counter() - began)

    try:
        tries = runner.patiently(attempt, "The switch")
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        raise Refused(f"The switch is refused: {error.diag.message_primary}. {error.diag.message_hint}") from None
    say(
        f"Clients have v2, after {tries} {'try' if tries == 1 else 'tries'}; the switch took {took:.0f} ms. "
        "v1 lies in rollout_old."
    )
    say("Old clients speak to compat_v1. Watch; until finish, back leads to v1 again.")
    return took


def _refuse_what_is_new(runner: Runner) -> None:
    """Stop the switch where a team has hung on v1 what was not there at the start: it would be lost.

    Raises:
        WorkbookError: there is something.
    """
    stops = [Obstacle(what, help) for what, help in runner.connection.execute(sql_file("obstacles.sql"))]
    if stops:
        raise Refused(f"The switch is refused: {' '.join(map(str, stops)).removesuffix('.')}.")
    before = runner.one("select before from rollout.state")
    if of_team(runner, before["v1_objects"]) != before["of_team"]:
        raise Refused(
            "The switch is refused: a trigger, a policy or a publication of your own that depends on v1 has changed since the "
            "start; take that back, or abort and start again."
        )


def _set_timeouts(runner: Runner) -> None:
    runner.connection.execute("set local statement_timeout = '2s'")
    if runner.connection.info.server_version >= 170000:
        # Whatever becomes of this process, the locks are not held for longer.
        runner.connection.execute("set local transaction_timeout = '3s'")


def _wait_for_vacuum(runner: Runner) -> None:
    """Wait until nobody vacuums what the switch has to lock: it would not let go within a moment."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and runner.one(
        "select exists (select from pg_locks join pg_class on pg_class.oid = relation where mode = 'ShareUpdateExclusiveLock' "
        "and granted and database = (select oid from pg_database where datname = current_database()) "
        "and relnamespace::regnamespace::text in ('public', 'rollout_new', 'rollout_old') and pid <> pg_backend_pid())"
    ):
        time.sleep(0.1)


# --- Back, finish, abort ------------------------------------------------------------------------------------------


def back(runner: Runner, say: Say = print) -> float:
    """Let clients have v1 again, with what they wrote into v2.

    Returns:
        How long clients may have waited, in milliseconds.

    Raises:
        WorkbookError: the switch has not been, or a lock was not to be had.
    """
    took = 0.0
    if runner.phase != "returned":
        _require(runner, {"switched"}, "back")
        runner.run("select rollout.prepare_back()")

        def attempt() -> None:
            nonlocal took
            while runner.one("select count(*) from rollout.dirty") > 20:
                _apply_back(runner, 2000)
            _wait_for_vacuum(runner)
            began = time.perf_counter()
            with runner.connection.transaction():
                _set_timeouts(runner)
                runner.connection.execute("select rollout.go_back()")
            took = 1000 * (time.perf_counter() - began)

        runner.patiently(attempt, "The way back")
        say(f"Clients have v1 again; that took {took:.0f} ms.")
    _clear(runner)
    kept = kept_rows(runner)
    say(f"v2's tables are gone. In rollout_kept, because v1 has no place for it: {_counted(kept)}.")
    return took


def _apply_back(runner: Runner, notes: int) -> None:
    for limit in (notes, 2**31 - 1):
        try:
            with runner.connection.transaction():
                runner.connection.execute("set transaction isolation level repeatable read")
                runner.connection.execute("select rollout.apply_notes_back(%s)", [limit])
            return
        except (psycopg.errors.IntegrityError, psycopg.errors.SerializationFailure):
            if limit != notes:
                raise


def _counted(kept: dict[str, int]) -> str:
    return ", ".join(f"{count} of {table}" for table, count in kept.items()) or "nothing"


def kept_rows(runner: Runner) -> dict[str, int]:
    """Return how many rows of each table a way back has kept in rollout_kept."""
    if runner.one("select to_regclass('rollout_kept.rows')") is None:
        return {}
    return dict(runner.connection.execute("select table_name, count(*) from rollout_kept.rows group by 1 order by 1").fetchall())


def abort(runner: Runner, say: Say = print) -> None:
    """Take everything away that the rollout has made, before the switch: v1 is what it was.

    Raises:
        WorkbookError: the switch has been.
    """
    if runner.phase == "none":
        say("There is no rollout here.")
        return
    if runner.phase == "switched":
        raise Refused("Clients have v2 already, so the way to v1 is the step back.")
    _clear(runner)
    say("The rollout is taken away; v1 is what it was.")


def _clear(runner: Runner) -> None:
    for table in (*TABLES, "users"):
        runner.patiently(lambda: runner.run("select rollout.unwatch(%s)", table), "Taking the notes off " + table)  # noqa: B023
    runner.patiently(lambda: runner.run("select rollout.clear()"), "Taking the rollout away")


def finish(runner: Runner, say: Say = print, *, has_backup: bool, has_old_clients: bool) -> None:
    """Give the way back up: v1's tables go, and compat_v1 once no old client is left.

    Args:
        runner: whoever holds the lock.
        say: where sentences go.
        has_backup: whether somebody has said that there is a backup of this database.
        has_old_clients: whether somebody still needs compat_v1.

    Raises:
        WorkbookError: there is no backup, or the switch has not been.
    """
    if runner.phase == "none" and runner.one("select to_regnamespace('compat_v1') is not null") and not is_v1(runner):
        if not has_old_clients:
            runner.patiently(
                lambda: runner.run("set local lock_timeout = '30ms'; drop schema compat_v1 cascade"), "Dropping compat_v1"
            )
            say("compat_v1 is gone.")
        else:
            say("v1's tables are gone already. compat_v1 stays until OLD_CLIENTS=none.")
        return
    _require(runner, {"switched"}, "finish")
    if not has_backup:
        raise Refused("finish drops v1's tables for good: take a backup of this database, and say BACKUP=done.")
    for table in GHOSTS:
        runner.patiently(lambda: runner.run("select rollout.unwatch(%s)", table), "Taking the notes off " + table)  # noqa: B023
    runner.patiently(lambda: runner.run("select rollout.unwatch('users')"), "Taking the notes off users")
    runner.patiently(lambda: runner.run("select rollout.drop_v1()"), "Dropping v1's tables")
    say("v1's tables are gone, and with them the way back.")
    if has_old_clients:
        say("compat_v1 stays for old clients: once there are none, finish with OLD_CLIENTS=none.")
    else:
        runner.patiently(
            lambda: runner.run("set local lock_timeout = '30ms'; drop schema compat_v1 cascade"), "Dropping compat_v1"
        )
        say("compat_v1 is gone.")


def _require(runner: Runner, phases: set[str], step: str) -> None:
    phase = runner.phase
    if phase in phases:
        return
    first = {
        "none": "start",
        "starting": "start",
        "started": "copy",
        "linked": "switch",
        "switched": "finish, or back",
        "returned": "back, which has not put everything away",
    }[phase]
    raise Refused(f"The step {step} does not come now: the rollout is {phase}, and what comes next is {first}.")


# --- Status -------------------------------------------------------------------------------------------------------


def status(runner: Runner) -> Status:
    """Say where the rollout is."""
    phase = runner.phase
    facts: dict[str, Any] = {}
    if phase in ("started", "linked", "starting"):
        facts["changes noted"] = runner.one("select count(*) from rollout.dirty")
        for table, page, rows, is_copied, pages in runner.connection.execute(
            "select table_name, next_page, rows_copied, is_copied, pg_relation_size(format('public.%I', table_name)::regclass) / "
            "current_setting('block_size')::int from rollout.progress order by place"
        ):
            facts[table] = f"{rows:,} rows, {'copied' if is_copied else f'page {page:,} of {pages:,}'}"
        if runner.one("select to_regclass('private.repairs') is not null"):
            facts["rows repaired"] = dict(
                runner.connection.execute(
                    "select issue::text, count(*) from private.repairs group by issue order by issue"
                ).fetchall()
            )
    if phase == "switched":
        facts["switched at"] = str(runner.one("select date_trunc('second', switched_at) from rollout.state"))
        facts["written since"] = runner.one("select count(*) from rollout.dirty")
        facts["v1 has no place for"] = dict(
            runner.connection.execute("select table_name, rows from rollout.without_place()").fetchall()
        )
    if kept := kept_rows(runner):
        facts["kept from a way back"] = kept
    facts["disk"] = {
        name: f"{size / 2**20:,.0f} MB"
        for name, size in runner.connection.execute(
            "select nspname, sum(pg_total_relation_size(pg_class.oid)) "
            "from pg_class join pg_namespace on pg_namespace.oid = relnamespace "
            "where nspname in ('public', 'private', 'rollout', 'rollout_new', 'rollout_old', 'rollout_kept') "
            "and relkind in ('r', 'm') "
            "group by 1 order by 1"
        )
    }
    facts["disk"] = ", ".join(f"{name} {size}" for name, size in facts["disk"].items())
    return Status(phase, facts)
