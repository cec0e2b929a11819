"""The plumbing of the schema workbook: what a notebook needs beside its SQL, its claims and its asserts."""

from .actors import ADMIN, ANNA, ANON, BEN, OWNER, SERVICE, Actor
from .catalogue import chapters, claims_against_counts, issue, issue_table
from .charts import compare, issue_map
from .checks import Proof, look, prove, summary
from .concurrency import Side, Step, concurrently
from .database import Database, Refusal, clone
from .errors import WorkbookError
from .fixes import Applied, show_sql, sql
from .measure import dead_rows, heap_only, interleaved_ms, medians, ratio, rows, seconds, size_bytes, wal_bytes
from .plans import plan

__all__ = [
    "ADMIN",
    "ANNA",
    "ANON",
    "BEN",
    "OWNER",
    "SERVICE",
    "Actor",
    "Applied",
    "Database",
    "Proof",
    "Refusal",
    "Side",
    "Step",
    "WorkbookError",
    "chapters",
    "claims_against_counts",
    "clone",
    "compare",
    "concurrently",
    "dead_rows",
    "heap_only",
    "interleaved_ms",
    "issue",
    "issue_map",
    "issue_table",
    "look",
    "medians",
    "plan",
    "prove",
    "ratio",
    "rows",
    "seconds",
    "show_sql",
    "size_bytes",
    "sql",
    "summary",
    "wal_bytes",
]
