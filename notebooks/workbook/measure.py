"""What a statement costs: seconds, write-ahead log, dead rows, size."""

import os
import statistics
import time
from collections.abc import Callable

from .actors import ADMIN, OWNER, Actor
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


def wal_bytes(database: Database, work: Callable[[], object], runs: int = 3) -> int:
    """Return the bytes of write-ahead log that a piece of work writes: the least of several runs.

    The log belongs to the whole server, so others' writes can only add to it, and so does the first touch of a page
    after a checkpoint.
    """
    position = "select pg_current_wal_insert_lsn() - '0/0'"
    amounts = []
    for _ in range(runs):
        before = database.value(position, ADMIN)
        work()
        amounts.append(int(database.value(position, ADMIN) - before))
    return min(amounts)


def dead_rows(database: Database, table: str) -> int:
    """Return the rows of a table that updates and deletes have left behind for vacuum."""
    with database.connect() as connection:
        connection.execute("select pg_stat_force_next_flush()")
        (dead,) = connection.execute("select pg_stat_get_dead_tuples(%s::regclass)", [table]).fetchone()
        return dead


def size_bytes(database: Database, *tables: str, actor: Actor = OWNER) -> int:
    """Return the size of tables with their indexes and TOAST, in bytes."""
    return sum(int(database.value("select pg_total_relation_size(cast(:t as regclass))", actor, t=table)) for table in tables)
