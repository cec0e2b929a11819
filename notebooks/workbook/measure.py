"""What a statement costs: seconds, write-ahead log, dead rows, size."""

import os
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from .actors import OWNER, Actor
from .database import Database, assume, send
from .errors import WorkbookError

SCALES = ("small", "medium", "large")


def scale() -> str:
    """Return the chosen SCALE: small, medium or large.

    Raises:
        WorkbookError: it is set to something else.
    """
    chosen = os.environ.get("SCALE") or SCALES[0]
    if chosen not in SCALES:
        raise WorkbookError(f"SCALE={chosen} is unknown; set it to one of {', '.join(SCALES)}.")
    return chosen


def rows[T](small: T, medium: T, large: T) -> T:
    """Return the row count, or the row counts, for the chosen SCALE."""
    return {"small": small, "medium": medium, "large": large}[scale()]


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes, in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved_ms(databases: dict[str, Database], statement: str, actor: Actor, runs: int = 7) -> dict[str, list[float]]:
    """Time a statement and its commit in several databases in turn, so that a slow moment of the machine hits all of them.

    Each database has one connection that is kept, so no run spends its time on connecting.

    Returns:
        The milliseconds of each run, by database, after one run of each that does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in databases}
    with ExitStack() as stack:
        connections = {name: stack.enter_context(database.connect()) for name, database in databases.items()}
        for run in range(runs + 1):
            for name, connection in connections.items():
                with connection.transaction():
                    assume(connection, actor)
                    start = time.perf_counter()
                    send(connection, statement, {})
                if run:
                    times[name].append(1000 * (time.perf_counter() - start))
    return times


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each arm's times."""
    return {arm: statistics.median(runs) for arm, runs in times.items()}


def quickest(times: dict[str, list[float]]) -> dict[str, float]:
    """Return the shortest of each arm's times, fit for an assertion: others on the machine only ever add to a time."""
    return {arm: min(runs) for arm, runs in times.items()}


def ratio(times: dict[str, list[float]], arm: str, base: str) -> float:
    """Return the median of one arm's times over the median of another's."""
    return statistics.median(times[arm]) / statistics.median(times[base])


def wal_bytes(database: Database, calls: Iterable[str], actor: Actor = OWNER, setup: str = "", **values: object) -> int:
    """Return the bytes of write-ahead log (WAL) that function calls write, each in a transaction of its own.

    EXPLAIN counts this connection's log alone, and inside a function call it counts triggers too. On a server with
    full_page_writes the first change of a page after a checkpoint adds the page.

    Args:
        calls: statements such as `select pg_temp.measured()`.
        setup: statements to run first, not counted: they may create functions in pg_temp.
    """
    written = 0
    with database.connect() as connection:
        send(connection, setup, values)
        for call in calls:
            with connection.transaction():
                assume(connection, actor)
                ((explained,),) = send(connection, f"explain (analyze, wal, format json) {call}", values).fetchall()
            written += explained[0]["Plan"]["WAL Bytes"]
    return written


def dead_rows(database: Database, *tables: str) -> int:
    """Return how many row versions updates and deletes have made dead so far in these tables, vacuumed or not.

    Raises:
        WorkbookError: somebody else stays connected, whose counts are not in yet.
    """
    with database.connect() as connection:
        # A connection reports its counts when it ends, which may be a moment after its client has gone.
        deadline = time.monotonic() + 10
        while connection.execute(_OTHERS).fetchone() != (0,):
            if time.monotonic() > deadline:
                raise WorkbookError(f"Somebody is connected to {database.name}; disconnect, and measure again.")
            time.sleep(0.01)
        ((dead,),) = connection.execute(_DEAD_ROWS, [list(tables)]).fetchall()
        return int(dead)


_OTHERS = """
select count(*)
from pg_stat_activity
where datname = current_database()
    and backend_type = 'client backend'
    and pid <> pg_backend_pid()
"""

_DEAD_ROWS = """
select sum(pg_stat_get_tuples_updated(oid) + pg_stat_get_tuples_deleted(oid))
from pg_class
where oid = any (%s::regclass[])
"""


def heap_only(database: Database, table: str) -> tuple[int, int]:
    """Return how many updates a table has seen so far, and how many of them touched no index (heap-only tuples)."""
    dead_rows(database, table)
    found = database.run(
        "select pg_stat_get_tuples_updated(oid) as updates, pg_stat_get_tuples_hot_updated(oid) as heap_only"
        " from pg_class where oid = cast(:table_name as regclass)",
        table_name=table,
    )
    return int(found["updates"].iloc[0]), int(found["heap_only"].iloc[0])


def size_bytes(database: Database, *tables: str) -> int:
    """Return the size of tables with their indexes and TOAST, in bytes."""
    return sum(int(database.value("select pg_total_relation_size(cast(:t as regclass))", t=table)) for table in tables)
