"""What a team does to its own database, and how a fix answers to it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import psycopg
import workbook as wb
from sqlalchemy import Connection
from workbook import ADMIN, OWNER, Actor, Database, clone, fixes
from workbook.database import Transaction, assume, driver

LAST = fixes.all_fixes()[-1].number


@cache
def _base(state: str | int, data: str) -> Database:
    """Return a state that many tests begin with."""
    return clone(state, data)


@contextmanager
def database_at(state: str | int, data: str = "seed") -> Iterator[Database]:
    """Lend a clone that goes with its test: there are too many of them to keep until the end."""
    database = _base(state, data).copy()
    try:
        yield database
    finally:
        database.drop()


@contextmanager
def roles(*names: str) -> Iterator[None]:
    """Make roles of a team's own, and drop them once their databases are gone."""
    server = clone("v1", "empty")
    for name in names:
        with suppress(psycopg.errors.DuplicateObject):
            server.run(f"create role {name}", ADMIN)
    yield
    for name in names:
        # One that another database still knows stays until the next run.
        with suppress(psycopg.errors.DependentObjectsStillExist):
            server.run(f"drop role {name}", ADMIN)
    server.drop()


def said(error: psycopg.Error) -> str:
    """Return all that the server says of an error."""
    parts = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
    return " · ".join(part for part in parts if part)


def apply_all(database: Database) -> list[str]:
    """Apply every fix that is missing, and return what the server had to notice.

    Raises:
        WorkbookError: a fix stops.
    """
    notices: list[str] = []
    with database.connect() as connection:
        connection.add_notice_handler(lambda notice: notices.append(f"{notice.message_primary} {notice.message_detail or ''}"))
        done = fixes.applied_numbers(connection)
        for fix in fixes.all_fixes():
            if fix.number not in done:
                fixes.apply(connection, fix)
    return notices


def stop(database: Database) -> psycopg.Error | None:
    """Apply the fixes that are missing until one stops; return its error, or None where all ran."""
    try:
        apply_all(database)
    except wb.WorkbookError as error:
        if not isinstance(error.__cause__, psycopg.Error):
            raise
        return error.__cause__
    return None


def drops(error: psycopg.Error) -> list[str]:
    """Return the statements that an error's hint gives."""
    return re.findall(r'drop policy (?:"(?:[^"]|"")+"|\w+) on [\w."]+', error.diag.message_hint or "", re.IGNORECASE)


class Trial:
    """A transaction that is always undone: what a test adds to a state, and what becomes of it, at no cost of a database."""

    def __init__(self, connection: Connection) -> None:
        self.connection = driver(connection)
        self.name = self.connection.info.dbname
        self._transaction = Transaction(connection)

    def run(self, sql: str, actor: Actor = OWNER, **values: object) -> Any:
        """Send statements as somebody; see `Transaction.run`."""
        with self.connection.transaction():
            assume(self.connection, actor)
            return self._transaction.run(sql, **values)

    def value(self, sql: str, actor: Actor = OWNER, **values: object) -> Any:
        """Send a statement as somebody, and return the one value that it answers with."""
        with self.connection.transaction():
            assume(self.connection, actor)
            return self._transaction.value(sql, **values)

    def holds(self, question: str) -> bool:
        """Ask a question of the catalog or the rows; no row and a name that is not there are a no."""
        try:
            rows = self.run(question, ADMIN)
        except (
            psycopg.errors.UndefinedObject,
            psycopg.errors.UndefinedColumn,
            psycopg.errors.UndefinedTable,
            psycopg.errors.UndefinedFunction,
        ):
            return False
        return bool(len(rows) and rows.iloc[0, 0])

    def apply_up_to(self, number: int) -> None:
        """Apply every fix that is missing, up to this one.

        Raises:
            WorkbookError: a fix stops.
        """
        with self.connection.transaction():
            assume(self.connection, ADMIN)
            done = fixes.applied_numbers(self.connection)
        for fix in fixes.up_to(number):
            if fix.number not in done:
                self.run("reset role", ADMIN)
                fixes.apply(self.connection, fix)
                # What a fix makes for itself alone goes when it commits, which here it never does.
                self.run("discard temp; set local row_security = on", ADMIN)


@contextmanager
def trial(state: str | int, data: str = "seed") -> Iterator[Trial]:
    """Try something on a state; nothing of it stays."""
    with _base(state, data).engine.connect() as connection, driver(connection).transaction(force_rollback=True):
        yield Trial(connection)
