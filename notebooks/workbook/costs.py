"""What each fix costs where it is applied to many rows: the time it holds its locks, the disk and the log that it takes."""

import re
import statistics
from dataclasses import dataclass

from . import fixes
from .bench import loaded, origin, published, record
from .measure import rows, seconds

BENCHMARK = "fixes"
WRITES = "12_writes"
RUNS = 3
TIME, DISK, LOG = "holds its locks", "disk", "write-ahead log"


@dataclass(frozen=True)
class Cost:
    """What one fix costs, as published."""

    seconds: float
    """From the transaction's beginning to its end, median."""
    disk_bytes: float
    """How much larger the database is; less than nothing where the fix drops something."""
    log_bytes: float


def measure() -> None:
    """Apply all fixes to v1 with a million messages at the medium scale, several times, and record what each of them takes."""
    size = rows(10_000, 1_000_000, 1_000_000)
    found: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = {}
    for _ in range(RUNS):
        database = loaded(size, "v1").copy()
        with database.connect() as connection:
            connection.execute("vacuum (analyze)")
            for fix in fixes.all_fixes():
                # What the fix before has left in memory is not this one's.
                connection.execute("checkpoint")
                before = connection.execute(_STATE).fetchone()
                took = seconds(lambda fix=fix: fixes.apply(connection, fix))  # type: ignore[misc]
                after = connection.execute(_STATE).fetchone()
                assert before and after
                for question, unit, value in (
                    (TIME, "s", took),
                    (DISK, "bytes", after[0] - before[0]),
                    (LOG, "bytes", float(after[1] - before[1])),
                ):
                    found.setdefault((question, unit), {}).setdefault((question, fix.name), []).append(value)
        database.drop()
    for (_, unit), values in found.items():
        record(BENCHMARK, size, values, unit=unit)


_STATE = "select pg_database_size(current_database()), pg_current_wal_insert_lsn() - '0/0'::pg_lsn"


def costs() -> dict[int, Cost]:
    """Return what each fix costs, by its number, from the published runs."""
    found = {question: published(BENCHMARK, question) for question in (TIME, DISK, LOG)}

    def median(question: str, fix: fixes.Fix) -> float:
        (runs,) = found[question][fix.name].values()
        return statistics.median(runs)

    return {
        fix.number: Cost(*(median(question, fix) for question in (TIME, DISK, LOG)))
        for fix in fixes.all_fixes()
        if fix.name in found[TIME]
    }


def measured_at() -> str:
    """Say where the published runs come from."""
    return origin(BENCHMARK)


def message_costs() -> dict[int, str]:
    """Return by how many microseconds of the server each fix made a message dearer, by its number, without a disk to wait for.

    As the chart of the parts has it: the fastest run counts, and fixes that were measured together stand at the first of them.
    """
    steps = {arm: min(by_size[max(by_size)]) for arm, by_size in published(WRITES, "time in the server").items()}
    found, before = {}, steps["v1"]
    for arm, now in steps.items():
        if numbers := re.match(r"(\d+)(?:–(\d+))?", arm):
            first, last = int(numbers[1]), int(numbers[2] or numbers[1])
            found[first] = f"{now - before:+.1f} µs" + f" ({first}–{last})" * (first != last)
            found |= {number: f"with {first}" for number in range(first + 1, last + 1)}
            before = now
    return found
