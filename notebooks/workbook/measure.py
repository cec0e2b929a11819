"""What a statement costs: seconds, write-ahead log, dead rows, size."""

import os
import statistics
import time
from collections.abc import Callable

from .actors import OWNER, Actor
from .database import Database
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


def rows(small: int, medium: int, large: int) -> int:
    """Return the row count for the chosen SCALE."""
    return {"small": small, "medium": medium, "large": large}[scale()]


def seconds(work: Callable[[], object]) -> float:
    """Return how long a piece of work takes, in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def interleaved_ms(arms: dict[str, Callable[[], object]], runs: int = 7) -> dict[str, list[float]]:
    """Time several arms in turn, so that a slow moment of the machine hits all of them.

    Returns:
        The milliseconds of each run, by arm, after one run of each that does not count.
    """
    for work in arms.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(runs):
        for name, work in arms.items():
            times[name].append(1000 * seconds(work))
    return times


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each arm's times."""
    return {arm: statistics.median(runs) for arm, runs in times.items()}


def ratio(times: dict[str, list[float]], arm: str, base: str) -> float:
    """Return the median of one arm's times over the median of another's."""
    return statistics.median(times[arm]) / statistics.median(times[base])


def wal_bytes(database: Database, sql: str, actor: Actor = OWNER, runs: int = 3, **values: object) -> int:
    """Return the bytes of write-ahead log that statements write, with their triggers: the least of several runs.

    EXPLAIN counts this connection's log only. It counts what happens inside a function call in full, and after-triggers
    of a bare statement not at all, so the statements are put into a function. The least run is the one in which no
    checkpoint made the server write whole pages again.
    """
    body = f"begin {sql.strip().rstrip(';')}; end;"
    amounts = []
    for _ in range(runs):
        with database.transaction(actor) as transaction:
            transaction.run(
                f"create function pg_temp.measured() returns void language plpgsql as $measured${body}$measured$", **values
            )
            explained = transaction.value("explain (analyze, wal, format json) select pg_temp.measured()")
            transaction.run("drop function pg_temp.measured()")
        amounts.append(explained[0]["Plan"]["WAL Bytes"])
    return min(amounts)


def dead_rows(database: Database, table: str) -> int:
    """Return how many row versions of a table updates and deletes have made dead so far, vacuumed or not."""
    with database.connect() as connection:
        # A connection reports its counts when it ends, which may be a moment after its client has gone.
        connection.execute("""
            do $$
            begin
                while exists (
                    select from pg_stat_activity
                    where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
                ) loop
                    perform pg_sleep(0.01), pg_stat_clear_snapshot();
                end loop;
            end;
            $$""")
        (dead,) = connection.execute(
            "select pg_stat_get_tuples_updated(oid) + pg_stat_get_tuples_deleted(oid) from pg_class where oid = %s::regclass",
            [table],
        ).fetchone()
        return dead


def size_bytes(database: Database, *tables: str, actor: Actor = OWNER) -> int:
    """Return the size of tables with their indexes and TOAST, in bytes."""
    return sum(int(database.value("select pg_total_relation_size(cast(:t as regclass))", actor, t=table)) for table in tables)
