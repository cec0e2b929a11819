"""Benchmarks: big databases that are loaded once, arms that are timed in turn, and the runs kept as CSV."""

import csv
import hashlib
import math
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
from tqdm import tqdm

from . import fixes
from .actors import Actor
from .database import (
    V1,
    Database,
    _create,
    _exists,
    _maintenance,
    _sweep_once,
    _template,
    _template_version,
    _today,
    assume,
    send,
)
from .measure import scale
from .paths import DATA, ROOT, SQL, read_csv
from .tables import Table

FOLDER = DATA / "benchmarks"
CHUNK = 1000
"""Learners that are loaded at once, with a hundred messages each."""

COLUMNS = [
    "benchmark",
    "question",
    "arm",
    "rows",
    "unit",
    "run",
    "value",
    "server",
    "settings",
    "cores",
    "scale",
    "commit",
    "date",
]


def loaded(messages: int, version: str = "v2") -> Database:
    """Return v1 or v2 with so many messages, a hundred a learner; loaded on first use, and kept for the day.

    It is shared, so whatever is sent to it has to be rolled back; a copy of it is your own.
    """
    state = {"v1": V1, "v2": fixes.all_fixes()[-1].number}[version]
    _sweep_once()
    with _maintenance() as connection:
        day = _today(connection)
        name = f"wb_t_{_template_version(day)}_bench_{version}_{messages}"
        connection.execute("select pg_advisory_lock(hashtextextended(%s, 0))", [name])
        if not _exists(connection, name):
            unfinished = _create(_template("seed", state, day))
            _load(Database(unfinished), messages, f"load_{version}.sql")
            connection.execute(f'alter database "{unfinished}" rename to "{name}"')
    return Database(name)


def _load(database: Database, messages: int, file: str) -> None:
    learners = messages // 100
    load = (SQL / "bench" / file).read_text()
    with database.connect() as connection:
        # Rows first and indexes after them: several times as fast.
        indexes = connection.execute(_INDEXES).fetchall()
        for drop, _ in indexes:
            connection.execute(drop)
        chunks = range(1, learners + 1, CHUNK)
        with tqdm(total=messages, unit=" messages", desc="loading", disable=messages < 500_000) as bar:
            for first in chunks:
                last = min(first + CHUNK - 1, learners)
                with connection.transaction():
                    send(connection, load, {"first": first, "last": last})
                bar.update((last - first + 1) * 100)
        connection.execute("set maintenance_work_mem = '512MB'")
        for _, create in indexes:
            connection.execute(create)
        connection.execute("vacuum (analyze) public.messages, public.sessions, public.profiles")


_INDEXES = """
select
    case
        when conname is null then format('drop index public.%I', relname)
        else format('alter table public.messages drop constraint %I', conname)
    end,
    case
        when conname is null then pg_get_indexdef(indexrelid)
        else format('alter table public.messages add constraint %I %s', conname, pg_get_constraintdef(pg_constraint.oid))
    end
from pg_index
join pg_class on pg_class.oid = indexrelid
left join pg_constraint on conindid = indexrelid and contype in ('p', 'u')
where indrelid = 'public.messages'::regclass
"""


@dataclass(frozen=True)
class Arm:
    """One way of doing it."""

    name: str
    ddl: str
    """What is changed first; it is rolled back after the questions."""
    actor: Actor
    """Who asks."""


def learner(number: int) -> tuple[Actor, str]:
    """Return one of the loaded learners, and the id of their session."""
    user_id, session_id = (str(UUID(hashlib.md5(f"{what} {number}".encode()).hexdigest())) for what in ("learner", "session"))
    return Actor(f"learner {number}", "authenticated", user_id), session_id


def times_ms(
    database: Database, arms: Iterable[Arm], questions: dict[str, Callable[[Arm], str]], runs: int = 7
) -> tuple[dict[tuple[str, str], list[float]], dict[tuple[str, str], object]]:
    """Time every question in every arm, the arms in turn, each in a transaction that is rolled back.

    Returns:
        The milliseconds of each run, and the answer, by question and arm.
    """
    times: dict[tuple[str, str], list[float]] = {}
    answers: dict[tuple[str, str], object] = {}
    with database.connect() as connection:
        for _ in range(runs):
            for arm in arms:
                with connection.transaction(force_rollback=True):
                    if arm.ddl.strip():
                        connection.execute(arm.ddl)
                    assume(connection, arm.actor)
                    for question, sql in questions.items():
                        # Prepared, as the API does it. Once to plan and to fill the caches, once for the clock.
                        send(connection, f"prepare question as {sql(arm)}", {})
                        for is_timed in (False, True):
                            with connection.transaction(force_rollback=True):
                                start = time.perf_counter()
                                answer = connection.execute("execute question").fetchall()
                                took = 1000 * (time.perf_counter() - start)
                            if is_timed:
                                times.setdefault((question, arm.name), []).append(took)
                                answers[question, arm.name] = answer
                        connection.execute("deallocate question")
    return times, answers


def rows_read(database: Database, arm: Arm, question: str) -> int:
    """Return how many rows a question reads in an arm: those that its plan's innermost nodes return or remove."""
    with database.connect() as connection, connection.transaction(force_rollback=True):
        if arm.ddl.strip():
            connection.execute(arm.ddl)
        assume(connection, arm.actor)
        ((explained,),) = connection.execute(f"explain (analyze, format json) {question}").fetchall()
    return sum(_leaves(explained[0]["Plan"]))


def _leaves(node: dict) -> Iterator[int]:
    if not node.get("Plans") or all("Subplan Name" in child for child in node["Plans"]):
        yield round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
    for child in node.get("Plans", []):
        yield from _leaves(child)


def record(benchmark: str, rows: int, times: dict[tuple[str, str], list[float]], unit: str = "ms") -> None:
    """Append the runs to data/benchmarks, where BENCH asks for it; a question and size that is there already is replaced."""
    if not os.environ.get("BENCH"):
        return
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{benchmark}.csv"
    kept = [run for run in _read(path) if not (int(run["rows"]) == rows and any(run["question"] == q for q, _ in times))]
    with psycopg.connect(Database("postgres").url) as connection:
        server = connection.info.server_version
        ((settings,),) = connection.execute(_SETTINGS).fetchall()
    facts = {
        "benchmark": benchmark,
        "rows": rows,
        "unit": unit,
        "server": f"{server // 10_000}.{server % 10_000}",
        "settings": settings,
        "cores": os.cpu_count(),
        "scale": scale(),
        "commit": commit(),
        "date": datetime.now(UTC).date(),
    }
    new = [
        {**facts, "question": question, "arm": arm, "run": run, "value": f"{value:.4g}"}
        for (question, arm), values in times.items()
        for run, value in enumerate(values, start=1)
    ]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows([*kept, *new])


_SETTINGS = """
select string_agg(name || '=' || current_setting(name), ' ' order by name)
from pg_settings
where name in ('autovacuum', 'fsync', 'full_page_writes', 'shared_buffers', 'synchronous_commit')
"""


def commit() -> str:
    """Return the commit that is checked out, with a plus where the SQL or the package differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "sql", "notebooks/workbook")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _read(path: Path) -> list[dict[str, str]]:
    return read_csv(path) if path.exists() else []


def published(benchmark: str, question: str) -> dict[str, dict[int, list[float]]]:
    """Return the published runs of one question: values by size, by arm, in the order of the sizes.

    Those of the small scale are left out: that scale is for tests.
    """
    series: dict[str, dict[int, list[float]]] = {}
    for run in sorted(_read(FOLDER / f"{benchmark}.csv"), key=lambda run: int(run["rows"])):
        if run["question"] == question and run["scale"] != "small":
            series.setdefault(run["arm"], {}).setdefault(int(run["rows"]), []).append(float(run["value"]))
    return series


def published_at(benchmark: str, question: str, rows: int) -> dict[str, list[float]]:
    """Return the published runs of one question at one size, by arm."""
    return {arm: runs[rows] for arm, runs in published(benchmark, question).items() if rows in runs}


def questions(benchmark: str) -> list[str]:
    """Return the questions of a benchmark that have published runs, in the order in which they were measured."""
    return list(dict.fromkeys(run["question"] for run in _read(FOLDER / f"{benchmark}.csv") if run["scale"] != "small"))


def agreement(claims: dict[str, tuple[float, float]], published_rows: int, rows_now: int) -> Table:
    """Say whether what was just measured agrees with what is published.

    Args:
        claims: how many times as much something is, as published and as just measured, by what is compared with what.
        published_rows: of how many rows the published figures are.
        rows_now: how many rows it was just now.

    Returns:
        One row a claim. Two figures agree that lie on the same side of 1, or within a quarter of each other.
    """

    def agree(then: float, now: float) -> bool:
        return (then > 1) == (now > 1) or 0.8 < then / now < 1.25

    rows = [(what, about(then), about(now), "yes" if agree(then, now) else "no") for what, (then, now) in claims.items()]
    columns = [f"published, {published_rows:,} rows", f"just now, {rows_now:,} rows"]
    return Table.of(rows, ["times as much", *columns, "agrees"])


def about(value: float, digits: int = 2) -> str:
    """Write a number with no more digits than its runs bear: 4526 is 4,500."""
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def log_slope(medians: dict[int, float]) -> float:
    """Return how a cost grows from the smallest size to the largest: 0 stays flat, 1 grows as the rows do."""
    first, last = min(medians), max(medians)
    return math.log(medians[last] / medians[first]) / math.log(last / first)


def index_height(rows: int, entries_per_page: float) -> int:
    """Return how many pages a search in a B-tree of so many rows goes through, from the root to the leaf."""
    return max(1, math.ceil(math.log(rows, entries_per_page)))


def cost(database: Database, statement: str, actor: Actor) -> tuple[float, int]:
    """Run a statement in a transaction of its own.

    Returns:
        The seconds it takes, and the bytes of write-ahead log that it writes itself, but for its commit.
    """
    said: list[str] = []
    with database.connect() as connection:
        connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        connection.execute("set lc_messages = 'C'")
        connection.execute(_RUN)
        # As a session-wide role: VACUUM runs in no transaction block.
        if actor.role:
            connection.execute(f"set role {actor.role}")
        start = time.perf_counter()
        if statement.startswith("vacuum "):
            # EXPLAIN takes no VACUUM, and VACUUM counts for itself.
            connection.execute(statement.replace("vacuum ", "vacuum (verbose) ", 1))
            written = sum(int(size) for size in re.findall(r"WAL usage: .* (\d+) bytes", "\n".join(said)))
        else:
            call = "explain (analyze, wal, format json) select pg_temp.run(:statement)"
            ((explained,),) = send(connection, call, {"statement": statement}).fetchall()
            written = explained[0]["Plan"]["WAL Bytes"]
        took = time.perf_counter() - start
    return took, written


_RUN = """
create function pg_temp.run(statement text) returns void
language plpgsql
as $$ begin execute statement; end $$
"""


@contextmanager
def bystander(database: Database, statement: str, actor: Actor) -> Iterator[list[tuple[float, float]]]:
    """Let somebody else send a statement again and again.

    Yields:
        For each time, the seconds since the beginning and the milliseconds that it took.
    """
    felt: list[tuple[float, float]] = []
    connected, done = threading.Event(), threading.Event()
    began = time.perf_counter()

    def keep_sending() -> None:
        with database.connect() as connection:
            # Dropping a partition locks the tables that it refers to, and may meet a writer in a deadlock. The writer
            # notices first, gives way and goes on, as an app does that tries again.
            connection.execute("set deadlock_timeout = '20ms'")
            connection.execute(f"set role {actor.role}")
            connected.set()
            while not done.is_set():
                start = time.perf_counter()
                with suppress(psycopg.errors.DeadlockDetected):
                    connection.execute(statement)
                felt.append((start - began, 1000 * (time.perf_counter() - start)))
                time.sleep(0.002)

    thread = threading.Thread(target=keep_sending)
    thread.start()
    connected.wait()
    try:
        yield felt
    finally:
        done.set()
        thread.join()


def commits_us(
    databases: dict[str, Database], statement: str | dict[str, str], actor: Actor, times: int, runs: int, setup: str = ""
) -> dict[str, list[float]]:
    """Time a statement inside the server, each in a transaction of its own: no way to the server is in it.

    Each run has a connection of its own, because where the system happens to place its process makes a difference too.

    Args:
        databases: where to run it, by arm; the arms take turns.
        statement: in PL/pgSQL, where `i` counts on from 0 and never comes back: twice `runs` times `times` numbers; or one for
            each arm.
        times: how often a run repeats it, after as many repetitions that do not count.
        setup: statements for each connection first, such as functions in pg_temp.

    Returns:
        Microseconds a transaction, of each run, by arm.
    """
    taken: dict[str, list[float]] = {arm: [] for arm in databases}
    for run in range(runs):
        for arm, database in databases.items():
            with database.connect() as connection:
                if setup:
                    send(connection, setup, {})
                connection.execute(f"set role {actor.role}")
                for part in (2 * run, 2 * run + 1):
                    sent = statement if isinstance(statement, str) else statement[arm]
                    loop = f"for i in {part * times}..{(part + 1) * times - 1} loop {sent}; commit; end loop;"
                    start = time.perf_counter()
                    connection.execute(f"do $$ begin {loop} end $$")
                    took = time.perf_counter() - start
                taken[arm].append(1e6 * took / times)
    return taken


def origin(benchmark: str) -> str:
    """Say when and on what a benchmark's published runs were measured, in a sentence."""
    run = max((run for run in _read(FOLDER / f"{benchmark}.csv") if run["scale"] != "small"), key=lambda run: run["date"])
    durable = "waits for the disk" if "fsync=on" in run["settings"] else "does not wait for the disk"
    return (
        f"Measured on {run['date']} at commit `{run['commit']}` with {int(run['rows']):,} messages, on PostgreSQL "
        f"{run['server']} and {run['cores']} cores; the server {durable}."
    )
