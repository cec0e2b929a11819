"""The audit: which of the issues a database has, from its catalog alone, in one read-only transaction."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import psycopg

from ..catalogue import issue
from ..errors import WorkbookError
from ..fixes import find
from ..server import libpq_url, parse_url
from .behaviour import PROBES, stage
from .catalog import Catalog, NotSeen
from .names import NEEDED, find_tables
from .rules import RULES, OnlyBehaviour, Subject

OLDEST_SERVER = 150_000
STATEMENT_TIMEOUT = "10s"

FOUND, ABSENT, UNCHECKED = "found", "absent", "not checked"


@dataclass(frozen=True)
class Finding:
    """What the audit says of one issue."""

    number: int
    title: str
    severity: str
    verdict: str
    """found, absent or not checked."""
    detail: str
    """What was seen, or why nothing was checked; empty where the flaw is absent."""
    looked_at: str
    """Where the rule looks."""
    fix: str
    """The fix file, below sql/fixes."""


@dataclass(frozen=True)
class Report:
    """What the audit says of a database."""

    server: str
    """PostgreSQL's version."""
    database: str
    login: str
    tried: bool
    """Whether behaviour was tried too."""
    tables: dict[str, str]
    """The actual name of each table that was found, and what its columns are called otherwise."""
    unseen: list[str]
    """What the login could not see."""
    findings: list[Finding]
    date: str

    def count(self, verdict: str) -> int:
        """Return how many findings have a verdict."""
        return Counter(finding.verdict for finding in self.findings)[verdict]

    @property
    def status(self) -> int:
        """The exit status: 0 where no issue was found, 1 where one was."""
        return 1 if self.count(FOUND) else 0

    @property
    def headline(self) -> str:
        """The result in one sentence."""
        return (
            f"{self.count(FOUND)} of {len(self.findings)} issues found, {self.count(ABSENT)} absent, "
            f"{self.count(UNCHECKED)} not checked"
        )

    def as_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps({"headline": self.headline, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"


def audit(url: str, *, behaviour: bool = False) -> Report:
    """Look for every issue in the database at a URL.

    Args:
        url: postgresql://…; the database need not be the workbook's own.
        behaviour: try what the catalog cannot tell too, on rows of the audit's own that are rolled back. It locks and
            it fires triggers, so it is for a staging copy.

    Raises:
        WorkbookError: the database cannot be reached, is too old, or has no such tables.
    """
    with _connect(url) as connection:
        if connection.info.server_version < OLDEST_SERVER:
            raise WorkbookError(
                f"The server is PostgreSQL {connection.info.server_version // 10_000}; the audit reads 15 and newer."
            )
        try:
            subject = _read(connection)
            findings = [_examine(number, subject) for number in sorted(RULES)]
            if behaviour:
                findings = [_try(finding, connection, subject) for finding in findings]
        except psycopg.Error as error:
            raise WorkbookError(f"The server stopped the audit ({error.diag.message_primary or error}); try again.") from None
    catalog = subject.catalog
    return Report(
        server=catalog.version,
        database=catalog.database,
        login=catalog.login,
        tried=behaviour,
        tables={name: _described(found) for name, found in subject.tables.items()},
        unseen=catalog.unseen(),
        findings=findings,
        date=datetime.now(UTC).date().isoformat(),
    )


def _connect(url: str) -> psycopg.Connection:
    try:
        return psycopg.connect(libpq_url(parse_url(url)), connect_timeout=10, application_name="schema audit", autocommit=True)
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[-1]
        raise WorkbookError(f"The database cannot be reached ({reason}); check DATABASE_URL, and that the server runs.") from None


def _read(connection: psycopg.Connection) -> Subject:
    # A read-only transaction cannot harm, and the timeouts see to it that it cannot hinder.
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        for setting, value in (("statement_timeout", STATEMENT_TIMEOUT), ("lock_timeout", "1s"), ("search_path", "pg_catalog")):
            connection.execute(f"set local {setting} = '{value}'")
        catalog = Catalog(connection)
    try:
        tables = find_tables(catalog)
    except NotSeen as reason:
        raise WorkbookError(f"The audit cannot begin: {reason}; use a login that may read the catalog.") from None
    missing = [name for name in NEEDED if name not in tables]
    if missing:
        raise WorkbookError(
            f"No table of the database {catalog.database} resembles {' or '.join(missing)}, so there is nothing to audit; "
            "point DATABASE_URL at a database with the chat's tables."
        )
    return Subject(catalog, tables)


def _examine(number: int, subject: Subject) -> Finding:
    try:
        seen = RULES[number](subject)
        return _finding(number, FOUND if seen else ABSENT, seen or "")
    except OnlyBehaviour as there:
        return _finding(number, UNCHECKED, f"{there}, and only trying shows whether it works")
    except NotSeen as reason:
        return _finding(number, UNCHECKED, str(reason))


def _try(finding: Finding, connection: psycopg.Connection, subject: Subject) -> Finding:
    """Replace what the catalog says by what trying shows, unless it has found the flaw already."""
    if finding.verdict == FOUND or finding.number not in PROBES:
        return finding
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(f"set local statement_timeout = '{STATEMENT_TIMEOUT}'")
            connection.execute("set local lock_timeout = '2s'")
            with stage(connection, subject) as on:
                seen = PROBES[finding.number](on)
    except (psycopg.Error, NotSeen) as error:
        reason = (error.diag.message_primary or str(error)) if isinstance(error, psycopg.Error) else str(error)
        if finding.verdict == ABSENT:
            return finding
        return _finding(finding.number, UNCHECKED, f"it could not be tried: {reason}")
    return _finding(finding.number, FOUND if seen else ABSENT, seen or "")


def _finding(number: int, verdict: str, detail: str) -> Finding:
    about = issue(number)
    looked_at = (RULES[number].__doc__ or "").strip().rstrip(".")
    return Finding(number, about.title, about.severity, verdict, detail, looked_at, find(number).path.name)


def _described(found) -> str:
    renamed = ", ".join(f"{expected} is {actual}" for expected, actual in found.renamed().items())
    return f"{found.table.full_name}{f' ({renamed})' if renamed else ''}"
