"""The review's own SQL, as written: applied to v1 statement by statement, and what fails is left out."""

from pathlib import Path

import psycopg
import sqlparse

from .paths import SQL
from .tables import Table

FOLDER = SQL / "proposed"


def apply(connection: psycopg.Connection) -> Table:
    """Apply every statement of sql/proposed as the schema's owner, in the order of the issues.

    Args:
        connection: a connection of the server's administrator, in autocommit.

    Returns:
        One row for each statement: issue, how the statement begins, and `applied` or why it was refused.
    """
    rows = []
    for path in _files():
        for statement in sqlparse.split(sqlparse.format(path.read_text(), strip_comments=True)):
            rows.append((int(path.name[:2]), _beginning(statement), _outcome(connection, statement)))
    return Table.of(rows, ["issue", "statement", "outcome"])


def numbers() -> set[int]:
    """Return the issues for which the review has SQL."""
    return {int(path.name[:2]) for path in _files()}


def _files() -> list[Path]:
    return sorted(FOLDER.glob("[0-9][0-9]_*.sql"))


def _beginning(statement: str) -> str:
    words = " ".join(statement.split())
    return words if len(words) <= 70 else f"{words[:69]}…"


def _outcome(connection: psycopg.Connection, statement: str) -> str:
    try:
        with connection.transaction():
            connection.execute("set local role workbook_owner")
            connection.execute(statement)
    except psycopg.Error as error:
        return f"refused: {error.sqlstate} {error.diag.message_primary}"
    return "applied"
