"""What the tests of the audit use: databases that it looks at inside transactions that are rolled back."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from schema_audit import Finding
from schema_audit.catalog import NotSeen
from schema_audit.examine import connect, examine, look, try_out
from schema_audit.report import FOUND, UNCHECKED
from schema_audit.rules import RULES, Subject
from workbook.database import OWNER_ROLE
from workbook.paths import SQL
from workbook.server import EmbeddedServer, libpq_url


def platform_database(server: EmbeddedServer, name: str) -> str:
    """Make a database as the platform gives it to a project, and return its URL."""
    with psycopg.connect(libpq_url(server.url.set(database="postgres")), autocommit=True) as connection:
        connection.execute((SQL / "platform" / "roles.sql").read_text())
        connection.execute(f'create database "{name}" owner {OWNER_ROLE} template template0 strategy file_copy')
    url = libpq_url(server.url.set(database=name))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((SQL / "platform" / "database.sql").read_text())
    return url


@contextmanager
def changed(connection: psycopg.Connection, sql: str, *, as_owner: bool = False) -> Iterator[Subject]:
    """Change a database, look at it, and undo all of it at the end."""
    with connection.transaction(force_rollback=True):
        if as_owner:
            connection.execute(f"set local role {OWNER_ROLE}")
        connection.execute(sql)
        connection.execute("reset role")
        yield look(connection)


def findings(subject: Subject) -> dict[int | str, Finding]:
    """Return what each rule that applies says, by its number or its name."""
    return {rule.number or rule.name: examine(rule, subject) for rule in RULES.values() if {*rule.needs} <= {*subject.tables}}


def found(subject: Subject) -> set[int | str]:
    """Return the rules that found something."""
    return {name for name, finding in findings(subject).items() if finding.verdict == FOUND}


def verdict(subject: Subject, rule: int | str, connection: psycopg.Connection) -> str:
    """Return what a rule says; where the catalog cannot tell, what trying says."""
    finding = findings(subject)[rule]
    return try_out(finding, connection, subject).verdict if finding.verdict == UNCHECKED else finding.verdict


__all__ = ["NotSeen", "changed", "connect", "found", "findings", "platform_database", "verdict"]
