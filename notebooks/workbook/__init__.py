"""The plumbing of the schema workbook: what a notebook needs beside its SQL, its claims and its asserts."""

import pandas as _pandas

from .actors import ADMIN, ANNA, ANON, BEN, OWNER, SERVICE, Actor
from .catalogue import chapters, claims_against_counts, issue, issue_table
from .charts import compare, issue_map
from .checks import Proof, look, prove, summary
from .concurrency import Side, Step, concurrently
from .database import Database, Refusal, clone
from .errors import WorkbookError
from .fixes import Applied, show_sql, sql
from .measure import dead_rows, interleaved_ms, medians, ratio, rows, seconds, size_bytes, wal_bytes
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

# Tables as wide as the page, and no cell cut short.
_pandas.set_option("display.width", 140)
_pandas.set_option("display.max_columns", None)
_pandas.set_option("display.max_colwidth", None)
_pandas.set_option("display.max_rows", 200)
