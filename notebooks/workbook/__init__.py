"""The plumbing of the schema workbook: what a notebook needs beside its SQL, its claims and its asserts."""

from . import clients, dictionary, exercises, jobs, rollout, writes
from .actors import ADMIN, ANNA, ANON, BEN, OWNER, SERVICE, Actor
from .bench import (
    Arm,
    about,
    agreement,
    bystander,
    commits_us,
    cost,
    index_height,
    learner,
    loaded,
    log_slope,
    published,
    published_at,
    questions,
    record,
    rows_read,
    times_ms,
)
from .catalogue import chapters, claims_against_counts, issue, issue_table
from .charts import compare, growth, issue_map, phases, privilege_grid, stack, sweep, waterfall
from .checks import Proof, look, prove, summary
from .clients import table as client_table
from .concurrency import Side, Step, concurrently
from .database import Database, Refusal, clone
from .diagrams import entities, states
from .errors import WorkbookError
from .fixes import Applied, show_sql, sql
from .measure import dead_rows, heap_only, interleaved_ms, medians, quickest, ratio, rows, seconds, size_bytes, wal_bytes
from .pgbench import Load, pgbench
from .plans import plan
from .privileges import compare as compare_privileges
from .privileges import expected as expected_privileges
from .privileges import try_all as try_privileges
from .rollout import rehearsal
from .scores import Scoreboard, scoreboard

__all__ = [
    "ADMIN",
    "ANNA",
    "ANON",
    "BEN",
    "OWNER",
    "SERVICE",
    "Actor",
    "Applied",
    "Arm",
    "Database",
    "Load",
    "Proof",
    "Refusal",
    "Scoreboard",
    "Side",
    "Step",
    "WorkbookError",
    "about",
    "agreement",
    "bystander",
    "chapters",
    "claims_against_counts",
    "client_table",
    "clients",
    "clone",
    "commits_us",
    "compare",
    "compare_privileges",
    "concurrently",
    "cost",
    "dead_rows",
    "dictionary",
    "entities",
    "exercises",
    "expected_privileges",
    "growth",
    "heap_only",
    "index_height",
    "interleaved_ms",
    "issue",
    "issue_map",
    "issue_table",
    "jobs",
    "learner",
    "loaded",
    "log_slope",
    "look",
    "medians",
    "pgbench",
    "phases",
    "plan",
    "privilege_grid",
    "prove",
    "published",
    "published_at",
    "questions",
    "quickest",
    "ratio",
    "rehearsal",
    "rollout",
    "record",
    "rows",
    "rows_read",
    "scoreboard",
    "seconds",
    "show_sql",
    "size_bytes",
    "sql",
    "stack",
    "states",
    "summary",
    "sweep",
    "times_ms",
    "try_privileges",
    "wal_bytes",
    "waterfall",
    "writes",
]
