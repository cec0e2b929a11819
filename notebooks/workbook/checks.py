"""One check for each issue: does this database show the flaw? Proofs and the scoreboard use the same one."""

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass

import psycopg

from .actors import ADMIN, ANNA, SERVICE
from .catalogue import issue
from .concurrency import concurrently
from .database import Database
from .errors import WorkbookError
from .fixes import find
from .tables import Table

Check = Callable[[Database], str | None]
"""Tries the flaw on a database that it may change; returns what it saw of it in a few words, or None."""

CHECKS: dict[int, Check] = {}


def check(number: int) -> Callable[[Check], Check]:
    """Register the check of an issue."""

    def register(function: Check) -> Check:
        CHECKS[number] = function
        return function

    return register


@dataclass(frozen=True)
class Proof:
    """What one issue's check saw before the fix and after it."""

    number: int
    before: str
    after: str | None

    def __repr__(self) -> str:
        return f"issue {self.number}  v1: {self.before}\n{' ' * (len(str(self.number)) + 7)}fixed: not seen any more"


_proofs: dict[int, Proof] = {}


def prove(number: int, before: Database, after: Database) -> Proof:
    """Run an issue's check on both databases: the flaw must show on the first and not on the second.

    Raises:
        AssertionError: it does not show, or is still there.
    """
    proof = Proof(number, look(number, before), look(number, after))
    assert proof.before is not None, f"issue {number} does not show on {before.name}, so the check proves nothing"
    assert proof.after is None, f"issue {number} is still there: {proof.after}"
    _proofs[number] = proof
    return proof


def look(number: int, database: Database) -> str | None:
    """Run one issue's check and return what it saw of the flaw, or None.

    Raises:
        WorkbookError: the issue has no check.
    """
    if number not in CHECKS:
        raise WorkbookError(f"There is no check for issue {number}; add one to notebooks/workbook/checks.py.")
    with redirect_stdout(io.StringIO()):
        return CHECKS[number](database)


def summary() -> Table:
    """Return what this notebook has proved so far, an issue a row."""
    rows = [
        (number, issue(number).title, proof.before, "gone", find(number).path.name) for number, proof in sorted(_proofs.items())
    ]
    return Table.of(rows, ["issue", "title", "on v1", "after the fix", "fix"])


def _has_column(database: Database, table: str, column: str) -> bool:
    return database.value(
        "select exists (select from information_schema.columns"
        " where table_schema = 'public' and table_name = :table_name and column_name = :column_name)",
        ADMIN,
        table_name=table,
        column_name=column,
    )


@check(1)
def completion_without_moment(database: Database) -> str | None:
    """Complete a session by update, and insert one that is already completed: both need a completed_at."""
    database.run("update public.sessions set is_completed = true where id = :anna_open", ANNA)
    database.run("insert into public.sessions (user_id, scenario_id, is_completed) values (:ben, 1, true)", SERVICE)
    missing = database.value("select count(*) from public.sessions where is_completed and completed_at is null")
    return f"{missing} completed sessions without completed_at" if missing else None


@check(2)
def week_not_aligned(database: Database) -> str | None:
    """Sign somebody up from New York, and let a reset run a month late: every week must end on Monday 00:00 UTC."""
    with database.transaction(ADMIN) as sign_up:
        sign_up.run("set local timezone = 'America/New_York'")
        sign_up.run("insert into auth.users (id, email) values (:cem, 'cem@example.org')")
    database.run("update public.profiles set week_reset_date = now() - interval '30 days' where id = :anna", SERVICE)
    database.run("select public.reset_weekly_limits()", SERVICE)
    wrong = database.value(
        "select count(*) from public.profiles where id in (:anna, :cem)"
        " and week_reset_date <> (date_trunc('week', now() at time zone 'UTC') + interval '7 days') at time zone 'UTC'"
    )
    return f"{wrong} of 2 weeks end at another moment than Monday 00:00 UTC" if wrong else None


@check(3)
def message_after_completion(database: Database) -> str | None:
    """Send a message while the session's completion is under way, and another when it is done."""
    message = "insert into public.messages (session_id, role, chat_type, content) values (:anna_open, 'user', 'main', 'Halt!')"
    with concurrently(database, app=ANNA, phone=ANNA) as (app, phone):
        app("update public.sessions set is_completed = true, completed_at = now() where id = :anna_open")
        racing = phone(message)
        app.commit()
        phone.commit()
        late = phone(message)
        phone.commit()
    accepted = sum(step.refused is None for step in (racing, late))
    return f"{accepted} of 2 messages enter a completed session" if accepted else None


@check(4)
def reply_cannot_stream(database: Database) -> str | None:
    """Stream a reply in two fragments and finalize it twice: one whole message, and nothing left behind."""
    try:
        with database.transaction(SERVICE) as service:
            for seq, content in enumerate(["Vier Euro ", "fünfzig."], start=1):
                service.run(
                    "insert into public.message_chunks (message_id, seq, session_id, chat_type, content)"
                    " values (:reply, :seq, :anna_open, 'main', :content)",
                    seq=seq,
                    content=content,
                )
        for _ in range(2):
            database.run("select public.finalize_message(:reply)", SERVICE)
    except psycopg.errors.UndefinedTable:
        return "a reply has no place to stream to"
    content = database.run("select content from public.messages where id = :reply")["content"].tolist()
    return None if content == ["Vier Euro fünfzig."] else f"the finished reply reads {content}"


@check(5)
def sessions_have_two_beginnings(database: Database) -> str | None:
    """Look for a second column that says when a session began."""
    return "sessions has created_at beside started_at" if _has_column(database, "sessions", "created_at") else None


@check(6)
def extensions_not_declared(database: Database) -> str | None:
    """Look for the declared extensions, in their own schema."""
    declared = database.run(
        "select extname from pg_catalog.pg_extension where extnamespace = 'extensions'::regnamespace order by 1"
    )["extname"].tolist()
    missing = [name for name in ("citext", "pgcrypto") if name not in declared]
    return f"not declared: {', '.join(missing)}" if missing else None


@check(7)
def messages_have_two_timestamps(database: Database) -> str | None:
    """Look for the two columns that a message's one moment stood in."""
    found = [column for column in ("timestamp", "created_at") if _has_column(database, "messages", column)]
    return f"messages has {' and '.join(found)}" if found else None
