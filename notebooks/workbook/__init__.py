"""The plumbing of the schema workbook: what a notebook needs beside its SQL, its claims and its asserts."""

# ruff: noqa: F401 - what is imported here is what notebooks call.

from . import citus, clients, dictionary, exercises, jobs, replicas, rollout, writes
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
from .catalogue import chapters, claims_against_counts, issue_table
from .charts import compare, growth, issue_map, phases, privilege_grid, stack, sweep, waterfall
from .checks import look, prove, summary
from .clients import table as client_table
from .concurrency import concurrently
from .database import Database, clone
from .diagrams import entities, states
from .errors import WorkbookError
from .fixes import show_sql, sql
from .measure import dead_rows, heap_only, interleaved_ms, medians, quickest, ratio, rows, seconds, size_bytes, wal_bytes
from .pgbench import pgbench
from .plans import plan
from .privileges import compare as compare_privileges
from .privileges import expected as expected_privileges
from .privileges import try_all as try_privileges
from .rollout import rehearsal
from .scores import scoreboard
from .tables import Table
