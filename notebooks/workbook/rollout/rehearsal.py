"""A rollout beside an app's traffic: the fix files one by one, and the rollout in their place, measured alike.

`make bench` measures it on a server that waits for the disk. The runs and the timelines go into data/benchmarks, and the
notebook of the rollout shows them.
"""

import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pandas as pd
import psycopg
from psycopg import sql

from .. import fixes, traffic
from ..actors import ADMIN
from ..bench import loaded, record
from ..database import OWNER_ROLE, Database
from ..errors import WorkbookError
from ..measure import rows
from ..paths import DATA
from ..server import EmbeddedServer
from . import steps
from .runner import Runner

BENCHMARK = "15_rollout"
TIMELINES = DATA / "benchmarks" / "15_timeline.csv"
LEARNERS = 20
"""With the backend, the sign-ups, the deletions and the report these are 25 clients."""
ALONE_S = 20
"""How long the traffic is measured by itself first."""


@dataclass
class Rehearsal:
    """What one rehearsal showed."""

    requests: pd.DataFrame
    """As `Traffic.requests`."""
    phases: list[tuple[str, float]]
    lost: list[str]
    facts: dict[str, float] = field(default_factory=dict)
    """Figures by name: milliseconds, seconds, rows a second or bytes."""

    @property
    def failed(self) -> pd.DataFrame:
        """The requests that were refused."""
        return self.requests[self.requests["sqlstate"].notna()]

    def longest(self, *phases: str) -> float:
        """Return the longest request of these phases, the report left out, in milliseconds."""
        felt = self.requests[self.requests["phase"].isin(phases) & (self.requests["who"] != traffic.REPORT)]
        return float(felt["latency_ms"].max()) if len(felt) else float("nan")


def owner_url(database: Database) -> str:
    """Return the URL by which a clone's owner logs in, who is no superuser."""
    return psycopg.conninfo.make_conninfo(database.url, options=f"-c role={OWNER_ROLE}")


def quiet(_: str) -> None:
    """Say nothing, where a step would say what it did."""


@contextmanager
def runner(database: Database) -> Iterator[Runner]:
    """Be the one runner of a clone."""
    with Runner(owner_url(database)) as found, found.alone():
        yield found


def one_by_one(database: Database, alone_s: float = ALONE_S) -> Rehearsal:
    """Apply the fix files beside traffic, each as soon as it gets its locks.

    Args:
        database: a clone of v1, which has v2 afterwards.
        alone_s: how long the traffic runs before, in seconds.
    """
    with traffic.running(database, learners=LEARNERS) as clients:
        clients.phase("alone")
        time.sleep(alone_s)
        for fix in fixes.all_fixes():
            clients.phase(f"fix {fix.number:02}")
            deadline = time.monotonic() + 60
            while True:
                try:
                    database.apply(fix.number)
                    break
                except WorkbookError:
                    # It waits five seconds for a lock, and everybody behind it as long.
                    if time.monotonic() > deadline:
                        raise
        clients.phase("after")
        time.sleep(min(alone_s, 5))
    return Rehearsal(clients.requests, clients.phases, clients.lost(database))


def rolled_out(
    database: Database,
    learners: int = LEARNERS,
    alone_s: float = ALONE_S,
    v2_s: float = ALONE_S,
    *,
    goes_back: bool = False,
) -> Rehearsal:
    """Roll v2 out beside traffic, and back again if asked to.

    Args:
        database: a clone of v1, which has v2, or v1 again, afterwards.
        learners: how many of them there are, half of them old clients for all of the time, half new ones from the switch on.
        alone_s: how long the traffic runs before, in seconds.
        v2_s: how long it runs on v2.
        goes_back: whether v1 comes back in the end.
    """
    facts: dict[str, float] = {}
    with traffic.running(database, learners=learners, dirty=True) as clients:
        clients.phase("alone")
        time.sleep(alone_s)
        before = _bytes(database)
        with runner(database) as own:
            began = time.monotonic()
            clients.phase("start")
            steps.start(own, quiet)
            clients.phase("copy")
            pace = steps.copy(own, quiet)
            facts["bytes of v2"] = _bytes(database, "rollout_new", "private")
            facts["bytes more"] = _bytes(database) - before
            clients.phase("switch")
            facts["switch ms"] = steps.switch(own, quiet)
            facts["seconds"] = time.monotonic() - began
            facts["rows a second"] = pace.rows / pace.seconds
            facts["longest commit ms"] = pace.longest_commit_ms
            clients.phase("v2")
            clients.new_clients(True)
            time.sleep(v2_s)
            if goes_back:
                clients.new_clients(False)
                clients.phase("back")
                facts["back ms"] = steps.back(own, quiet)
                clients.phase("v1 again")
                time.sleep(min(alone_s, 5))
    return Rehearsal(clients.requests, clients.phases, clients.lost(database), facts)


def _bytes(database: Database, *schemas: str) -> float:
    """Return how much disk the tables of these schemas take, or the whole database."""
    if not schemas:
        return float(database.value("select pg_database_size(current_database())"))
    return float(
        database.value(
            "select coalesce(sum(pg_total_relation_size(pg_class.oid)), 0) from pg_class "
            "where relnamespace::regnamespace::text = any (:schemas) and relkind = 'r'",
            schemas=list(schemas),
        )
    )


# --- Measured by make bench ---------------------------------------------------------------------------------------


def measure() -> None:
    """Measure the arms at the scale, and record figures and timelines."""
    size = rows(20_000, 2_000_000, 5_000_000)
    alone_s = rows(2, ALONE_S, ALONE_S)
    arms = {"rollout": lambda database: rolled_out(database, alone_s=alone_s, v2_s=rows(2, 30, 30), goes_back=True)}
    if size <= 2_000_000:
        arms["one by one"] = lambda database: one_by_one(database, alone_s=alone_s)
    found: dict[tuple[str, str], dict[tuple[str, str], list[float]]] = {}
    for arm, rehearse in arms.items():
        database = loaded(size, "v1").copy()
        with database.connect() as connection:
            connection.execute("vacuum (analyze)")
        seen = rehearse(database)
        database.drop()
        _keep_timeline(arm, size, seen)
        for (question, unit), value in _figures(seen).items():
            found.setdefault((question, unit), {})[question, arm] = [value]
    for (_, unit), values in found.items():
        record(BENCHMARK, size, values, unit=unit)


def _figures(seen: Rehearsal) -> dict[tuple[str, str], float]:
    """Return what a rehearsal showed, by question and unit."""
    phases = dict.fromkeys(name for name, _ in seen.phases)
    beside = [name for name in phases if name not in ("before", "alone", "v2", "back", "v1 again", "after")]
    felt = seen.requests[seen.requests["phase"].isin(beside) & (seen.requests["who"] != traffic.REPORT)]
    figures = {
        ("longest request alone", "ms"): seen.longest("before", "alone"),
        ("longest request", "ms"): seen.longest(*beside),
        ("longest request afterwards", "ms"): seen.longest("v2", "after"),
        ("requests", "requests"): float(len(felt)),
        ("requests over 100 ms", "requests"): float((felt["latency_ms"] > 100).sum()),
        ("failed requests", "requests"): float(len(seen.failed)),
        ("acknowledged writes lost", "writes"): float(len(seen.lost)),
    }
    if "back" in phases:
        figures["longest request on the way back", "ms"] = seen.longest("back", "v1 again")
    for name, value in seen.facts.items():
        unit = "bytes" if "bytes" in name else "ms" if name.endswith(" ms") else "s" if name == "seconds" else "rows/s"
        figures[name.removesuffix(" ms"), unit] = value
    return figures


def _keep_timeline(arm: str, size: int, found: Rehearsal) -> None:
    """Publish the slowest request of each tenth of a second, in the place of the same arm and size."""
    worst, begins = traffic.timeline(found.requests, found.phases)
    points = worst.max(axis=1).dropna().round(1).reset_index().set_axis(["seconds", "value"], axis=1)
    starts = pd.DataFrame(
        [(at, 0.0, name) for name, at in begins.items() if name != "before"], columns=["seconds", "value", "phase"]
    )
    frame = pd.concat([points.assign(phase=""), starts]).assign(arm=arm, rows=size)
    kept = pd.read_csv(TIMELINES, keep_default_na=False) if TIMELINES.exists() else None
    if kept is not None:
        kept = kept[(kept["arm"] != arm) | (kept["rows"] != size)]
    columns = ["arm", "rows", "seconds", "value", "phase"]
    pd.concat([kept, frame])[columns].sort_values(["rows", "arm", "seconds"]).to_csv(TIMELINES, index=False)


def timelines(size: int) -> dict[str, tuple[list[tuple[float, float]], dict[str, float]]]:
    """Return the published timelines of a size, by arm: seconds and worst latency in milliseconds, and when each phase began.

    Raises:
        WorkbookError: none is published.
    """
    if not TIMELINES.exists():
        raise WorkbookError("No timeline is published; run `make bench` first.")
    frame = pd.read_csv(TIMELINES, keep_default_na=False)
    found = {}
    for arm, of_arm in frame[frame["rows"] == size].groupby("arm"):
        points = of_arm[of_arm["phase"] == ""]
        starts = of_arm[of_arm["phase"] != ""]
        found[str(arm)] = (
            list(zip(points["seconds"], points["value"].astype(float), strict=True)),
            dict(zip(starts["phase"], starts["seconds"], strict=True)),
        )
    if not found:
        raise WorkbookError(f"No timeline of {size:,} messages is published; run `make bench` at that scale.")
    return found


# --- Is it the same? ----------------------------------------------------------------------------------------------

_MOMENTS = ("updated_at", "deleted_at", "closed_at", "repaired_at", "noted_at")
"""Columns in which a repair says when it ran. A profile that is made for who has none is created then."""


def differences(left: Database, right: Database, since: str) -> list[str]:
    """Compare the rows of every table of two databases, and the before-images of their repairs.

    Args:
        left: a database, such as one that the rollout has taken to v2.
        right: another one, such as one that the fixes have.
        since: a moment; what a row says to have happened after it, by a repair, is not compared.

    Returns:
        The tables that differ, each with how many rows stand on one side only.
    """
    found = []
    tables = left.run(_TABLES_THERE, ADMIN)
    if list(tables.itertuples(index=False)) != list(right.run(_TABLES_THERE, ADMIN).itertuples(index=False)):
        found.append("tables")
    for name, kind, columns in tables.itertuples(index=False):
        if kind == "table":
            rows_of = [_rows(database, name, columns, since) for database in (left, right)]
            only = sum(((rows_of[0] - rows_of[1]) + (rows_of[1] - rows_of[0])).values())
            if only:
                found.append(f"{name}: {only} rows")
    return found


_TABLES_THERE = """
select
    format('%I.%I', nspname, relname) as name,
    'table' as kind,
    array_agg(attname::text order by attnum) as columns
from pg_class
join pg_namespace on pg_namespace.oid = relnamespace
join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
where nspname in ('public', 'private') and relkind in ('r', 'p', 'm') and not relispartition
group by 1
order by 1
"""


def _rows(database: Database, table: str, columns: list[str], since: str) -> Counter[str]:
    if table == "public.event_types":
        columns = [column for column in columns if column != "created_at"]
    quoted = [sql.Identifier(column).as_string() for column in columns]
    said = [
        f"case when {name} >= '{since}' then 'during' else {name}::text end"
        if column in _MOMENTS or (table, column) == ("public.profiles", "created_at")
        else f"{name}::text"
        for column, name in zip(columns, quoted, strict=True)
    ]
    if table == "private.repairs":
        # A row that two fixes repaired was dated by the first.
        image = "(before - array['updated_at', 'deleted_at', 'closed_at'])::text"
        said = [image if column == "before" else text for column, text in zip(columns, said, strict=True)]
    rows_found = database.run(
        f"select md5(concat_ws('|', {', '.join(f'coalesce({text}::text, chr(1))' for text in said)})) as row from {table}",
        ADMIN,
    )
    return Counter(rows_found["row"])


def definition(database: Database) -> str:
    """Return the schema as pg_dump writes it, without the lines that are another each time."""
    dumped = subprocess.run(
        [EmbeddedServer.of_checkout().program("pg_dump"), "--schema-only", "--dbname", database.url],
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line for line in dumped.stdout.splitlines() if not re.match(r"\\(un)?restrict |-- Dumped ", line))
