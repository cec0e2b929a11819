"""The fix files: finding one by its number, reading it, and applying it as the schema's owner."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
from IPython.display import Markdown

from .errors import WorkbookError
from .paths import ROOT, SQL

FOLDER = SQL / "fixes"
LONGEST_UNFOLDED = 60
"""Lines of SQL that are shown without a click."""


@dataclass(frozen=True)
class Fix:
    """One fix file, NN_slug.sql: a single transaction."""

    number: int
    path: Path

    @property
    def name(self) -> str:
        """The file's name without its ending, such as 03_completed_sessions."""
        return self.path.stem

    @property
    def text(self) -> str:
        """The file as it is."""
        return self.path.read_text()

    @property
    def body(self) -> str:
        """What stands between the file's begin and its commit.

        Raises:
            WorkbookError: the file is not one transaction.
        """
        statements = re.fullmatch(r"(?:--[^\n]*\n|\s)*begin;\n(.*)\ncommit;\s*", self.text, re.DOTALL)
        if not statements or not statements[1].strip():
            raise WorkbookError(
                f"{shown(self.path)} is not one transaction; it has to begin with `begin;` and end with `commit;`, "
                "with its statements between them."
            )
        return statements[1]


@cache
def all_fixes() -> tuple[Fix, ...]:
    """Return the fix files in apply order.

    Raises:
        WorkbookError: two files share a number.
    """
    fixes: dict[int, Fix] = {}
    for path in sorted(FOLDER.glob("[0-9][0-9]_*.sql")):
        fix = Fix(int(path.name[:2]), path)
        if fix.number in fixes:
            raise WorkbookError(f"{shown(path)} and {shown(fixes[fix.number].path)} have the same number; rename the newer one.")
        fixes[fix.number] = fix
    return tuple(fixes.values())


def find(number: int) -> Fix:
    """Return the fix with this number.

    Raises:
        WorkbookError: there is none.
    """
    fixes = {fix.number: fix for fix in all_fixes()}
    if number not in fixes:
        have = f"{min(fixes):02} to {max(fixes):02}" if fixes else "none"
        raise WorkbookError(f"There is no fix {number}; {shown(FOLDER)} holds {have}.")
    return fixes[number]


def up_to(number: int) -> tuple[Fix, ...]:
    """Return the fixes from the first one to this one."""
    last = find(number)
    return tuple(fix for fix in all_fixes() if fix.number <= last.number)


def sql(path: str) -> str:
    """Return an SQL file from disk, given as its path below sql/."""
    return (SQL / path).read_text()


def show_sql(path: str) -> Markdown:
    """Show an SQL file from disk, given as its path below sql/, under its name."""
    return Markdown(_as_markdown(SQL / path))


def shown(path: Path) -> str:
    """Return a path as the reader sees it: from the checkout's root."""
    return path.relative_to(ROOT).as_posix()


def _as_markdown(path: Path) -> str:
    """Write a file as a block that the reader can fold; a long one is folded at first."""
    text = path.read_text().strip()
    lines = text.count("\n") + 1
    is_open = " open" if lines <= LONGEST_UNFOLDED else ""
    summary = f"<summary><code>{shown(path)}</code> · {lines} lines</summary>"
    return f"<details{is_open}>{summary}\n\n```sql\n{text}\n```\n\n</details>"


# --- Applying -------------------------------------------------------------------------------------------------

# Where the Supabase CLI records what is applied.
_HISTORY = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text primary key, statements text[], name text);
"""

_LOCKS_HELD = """
select distinct on (relation.relname) relation.relname as table_name, lock.mode
from pg_catalog.pg_locks as lock
join pg_catalog.pg_class as relation on relation.oid = lock.relation
where lock.pid = pg_catalog.pg_backend_pid()
    and relation.relnamespace = 'public'::regnamespace
    and relation.relkind in ('r', 'p')
    and lock.mode <> 'AccessShareLock'
order by
    relation.relname,
    array_position(
        array[
            'AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock',
            'ShareUpdateExclusiveLock', 'RowExclusiveLock', 'RowShareLock'
        ],
        lock.mode
    )
"""


@dataclass(frozen=True)
class Applied:
    """What applying one fix did."""

    fix: Fix
    repaired: dict[str, int]
    """Rows repaired, by table."""
    locks: dict[str, str]
    """The strongest lock that the fix held, by table of the schema as it was before."""

    def __repr__(self) -> str:
        repairs = ", ".join(f"{rows} in {table}" for table, rows in self.repaired.items()) or "none"
        locks = ", ".join(f"{table} {mode}" for table, mode in self.locks.items()) or "none"
        return f"applied   {self.fix.name}\nrepaired  {repairs}\nlocked    {locks}"

    def _repr_markdown_(self) -> str:
        """Show the file from disk as it was applied, and under it what that did."""
        return f"{_as_markdown(self.fix.path)}\n\n```text\n{self!r}\n```"


def applied_numbers(connection: psycopg.Connection) -> list[int]:
    """Return the numbers of the fixes that this database has, in order.

    The workbook records a fix as version NN; the Supabase CLI records a file of `make migrations` as a version of
    fourteen digits, and NN_slug as its name. A project's own migrations stand beside them.
    """
    ((exists,),) = connection.execute("select to_regclass('supabase_migrations.schema_migrations') is not null").fetchall()
    if not exists:
        return []
    rows = connection.execute("select version, name from supabase_migrations.schema_migrations").fetchall()
    by_name = {fix.name: fix.number for fix in all_fixes()}
    return sorted(
        {int(version) for version, _ in rows if re.fullmatch("[0-9]{2}", version)}
        | {by_name[name] for _, name in rows if name in by_name}
    )


def apply(connection: psycopg.Connection, fix: Fix) -> Applied:
    """Apply a fix as the schema's owner, and record it, in one transaction: all of it happens or nothing.

    Args:
        connection: a connection of the server's administrator, outside any transaction.

    Raises:
        WorkbookError: it is applied already, an earlier one is missing, or one of its statements fails.
    """
    body = fix.body
    try:
        with connection.transaction():
            connection.execute("set local role workbook_owner")
            # Two appliers at once: the second waits here, and then sees what the first has done.
            connection.execute("select pg_advisory_xact_lock(hashtextextended('supabase_migrations', 0))")
            done = applied_numbers(connection)
            _require_next(fix, done)
            connection.execute(_HISTORY)
            tables = {
                name
                for (name,) in connection.execute(
                    "select relname from pg_catalog.pg_class where relnamespace = 'public'::regnamespace"
                )
            }
            connection.execute(body)
            locks = {table: _in_words(mode) for table, mode in connection.execute(_LOCKS_HELD) if table in tables}
            repaired: dict[str, int] = dict(
                connection.execute(
                    "select table_name, count(*) from private.repairs where issue = %s group by 1 order by 1", [fix.number]
                )
            )
            connection.execute(
                "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)",
                [f"{fix.number:02}", fix.name[3:], [body]],
            )
    except psycopg.Error as error:
        advice = error.diag.message_hint or "Correct the file or the rows it names, and apply it again."
        raise WorkbookError(
            f"{shown(fix.path)} failed and left nothing behind ({error.sqlstate}: {error.diag.message_primary}). {advice}"
        ) from error
    return Applied(fix, repaired, locks)


def _in_words(mode: str) -> str:
    """Write a lock mode of pg_locks, such as AccessExclusiveLock, as the documentation does: ACCESS EXCLUSIVE."""
    return " ".join(re.findall(r"[A-Z][a-z]+", mode.removesuffix("Lock"))).upper()


def _require_next(fix: Fix, done: list[int]) -> None:
    if fix.number in done:
        raise WorkbookError(f"Fix {fix.number:02} is applied to this database already; take a fresh clone to see it again.")
    missing = [earlier.number for earlier in up_to(fix.number) if earlier.number not in (*done, fix.number)]
    if missing:
        raise WorkbookError(f"Fix {fix.number:02} builds on fix {missing[0]:02}, which is not applied yet; apply that one first.")
    if done and done[-1] > fix.number:
        raise WorkbookError(f"Fix {done[-1]:02} is applied already, so {fix.number:02} comes too late; take a fresh clone.")
