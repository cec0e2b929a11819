"""One audit from beginning to end: connecting, reading the catalog, asking each rule, and trying what only behaviour shows."""

import codecs
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
from psycopg.types.string import TextLoader

from .address import libpq_address, without_password
from .behaviour import PROBES, stage
from .catalog import Catalog, NotSeen, Nowhere
from .errors import AuditError
from .issues import all_issues
from .report import ABSENT, FOUND, NOWHERE, SEVERITIES, UNCHECKED, Finding, Flaw, Report
from .rules import RULES, OnlyBehaviour, Rule, Subject
from .shape import recognise

OLDEST_SERVER = 150_000
STATEMENT_TIMEOUT = "10s"


def audit_database(url: str, *, behaviour: bool, tables: Mapping[str, str], book: str) -> Report:
    """Look for flaws in the database at a URL; see `schema_audit.audit`."""
    with connect(url) as connection:
        if connection.info.server_version < OLDEST_SERVER:
            raise AuditError(
                f"The server is PostgreSQL {connection.info.server_version // 10_000}; the audit reads 15 and newer."
            )
        try:
            subject = read(connection, tables)
            findings = [examine(rule, subject, book) for rule in RULES.values() if set(rule.needs) <= set(subject.tables)]
            tried = None
            if behaviour:
                if connection.info.parameter_status("server_encoding") != "SQL_ASCII":
                    connection.execute("set client_encoding to utf8")
                findings, tried = _try_all(findings, connection, subject)
        except psycopg.Error as error:
            raise AuditError(f"The server stopped the audit ({error.diag.message_primary or error}); try again.") from None
    catalog = subject.catalog
    return Report(
        server=catalog.version,
        database=catalog.database,
        login=catalog.login,
        date=datetime.now(UTC).date().isoformat(),
        tables={name: _described(found) for name, found in subject.tables.items()},
        needs=subject.shape.needs,
        unseen=catalog.unseen(),
        findings=sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), finding.number or 0, finding.rule)),
        tried=tried,
        book=book,
    )


def connect(url: str) -> psycopg.Connection:
    """Open a connection that reads any database's catalog, in autocommit.

    Raises:
        AuditError: the address cannot be read, or nobody answers there.
    """
    address = libpq_address(url)
    try:
        connection = psycopg.connect(
            address,
            connect_timeout=10,
            application_name="schema audit",
            autocommit=True,
            # The server sends what it has stored as it is: it refuses to convert what its own encoding does not have.
            client_encoding="sql_ascii",
            prepare_threshold=None,
        )
    except (psycopg.Error, ValueError, UnicodeError) as error:
        reason = without_password((str(error).strip().splitlines() or ["it says nothing"])[-1], address)
        raise AuditError(f"The database cannot be reached ({reason}); check DATABASE_URL, and that the server runs.") from None
    for kind in ("text", "name", "varchar", "bpchar"):
        connection.adapters.register_loader(kind, _text_loader(connection))
    return connection


def _text_loader(connection: psycopg.Connection) -> type[TextLoader]:
    """Return what reads text in the server's encoding, whatever bytes somebody has stored in it."""
    name = connection.info.parameter_status("server_encoding") or "UTF8"
    try:
        encoding = codecs.lookup(re.sub(r"^WIN", "cp", name)).name if name != "SQL_ASCII" else "utf-8"
    except LookupError:
        encoding = "utf-8"

    class Text(TextLoader):
        def load(self, data: bytes | bytearray | memoryview) -> str:
            return bytes(data).decode(encoding, "replace")

    return Text


def read(connection: psycopg.Connection, tables: Mapping[str, str] | None = None) -> Subject:
    """Read the catalog in one read-only transaction, and recognise what is there."""
    # A read-only transaction cannot harm, and the timeouts see to it that it cannot hinder.
    with connection.transaction():
        if connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
            connection.execute("set transaction isolation level repeatable read, read only")
        subject = look(connection, tables)
    return subject


def look(connection: psycopg.Connection, tables: Mapping[str, str] | None = None) -> Subject:
    """Read the catalog in the transaction that is open."""
    # What is set goes with the savepoint: whoever tries things afterwards does so as the database's own clients would.
    with connection.transaction(force_rollback=True):
        for setting, value in (("statement_timeout", STATEMENT_TIMEOUT), ("lock_timeout", "1s"), ("search_path", "pg_catalog")):
            connection.execute(f"set local {setting} = '{value}'")
        catalog = Catalog(connection)
    try:
        return Subject(catalog, recognise(catalog, dict(tables or {})))
    except NotSeen as reason:
        raise AuditError(f"The audit cannot begin: {reason}; use a login that may read the catalog.") from None


def examine(rule: Rule, subject: Subject, book: str = "") -> Finding:
    """Return what a rule says of a database."""
    # A dictionary keeps their order, and one that two roads lead to is one.
    flaws: dict[Flaw, None] = {}
    verdict, reason = ABSENT, ""
    try:
        for flaw in rule.examine(subject):
            flaws[flaw] = None
    except OnlyBehaviour as there:
        verdict, reason = UNCHECKED, f"{there}, and only trying shows whether it works"
    except NotSeen as why:
        verdict, reason = UNCHECKED, str(why)
    except Nowhere as why:
        verdict, reason = NOWHERE, str(why)
    except RecursionError:
        verdict, reason = UNCHECKED, "an expression is nested too deep to be read"
    if flaws:
        verdict, reason = FOUND, ""
    return Finding(
        rule=rule.name,
        number=rule.number,
        title=rule.title,
        severity=rule.severity,
        why=rule.why,
        verdict=verdict,
        flaws=tuple(flaws),
        reason=reason,
        looked_at=rule.looked_at,
        link=_link(rule, book),
    )


def _link(rule: Rule, book: str) -> str:
    """Return where the workbook speaks of a rule."""
    if rule.number is None:
        return ""
    notebook = all_issues()[rule.number].notebook
    return f"{book.rstrip('/')}/{notebook}.html#issue-{rule.number}" if book else f"section {rule.number} of notebook {notebook}"


# --- Trying ---------------------------------------------------------------------------------------------------


def _try_all(findings: list[Finding], connection: psycopg.Connection, subject: Subject) -> tuple[list[Finding], str]:
    """Try what the catalog cannot tell; return the findings as they are then, and what became of it in a sentence."""
    try:
        with _undone(connection), stage(connection, subject):
            pass
    except (psycopg.Error, NotSeen, Nowhere) as error:
        why = f"nothing could be tried: {_said(error)}"
        return [
            replace(finding, trying=why) for finding in findings
        ], f"Nothing could be tried as {subject.catalog.login}: {_said(error)}"
    tried = [try_out(finding, connection, subject) for finding in findings]
    count = sum(finding.number in PROBES and not (finding.trying or "").startswith("could not") for finding in tried)
    changed = sum((finding.trying or "").startswith("changed") for finding in tried)
    return (
        tried,
        f"{count} rules were tried on rows of the audit's own, and all of it was rolled back; {changed} verdicts changed",
    )


def try_out(finding: Finding, connection: psycopg.Connection, subject: Subject) -> Finding:
    """Add what trying shows to what the catalog says; what it has found stands."""
    if finding.number not in PROBES:
        return replace(finding, trying="nothing to try: the catalog says all")
    if finding.verdict == NOWHERE:
        return replace(finding, trying="nothing to try here")
    try:
        with _undone(connection), stage(connection, subject) as on:
            seen = PROBES[finding.number](on)
    except (psycopg.Error, NotSeen, Nowhere) as error:
        return replace(finding, trying=f"could not be tried: {_said(error)}")
    if finding.verdict == FOUND:
        return replace(finding, trying="confirmed by trying" if seen else "not seen by trying; what the catalog shows stands")
    verdict = FOUND if seen else ABSENT
    flaws = (Flaw(_tried_on(finding.number, subject), seen),) if seen else ()
    trying = "confirmed by trying" if verdict == finding.verdict else f"changed by trying, from {finding.verdict}"
    return replace(finding, verdict=verdict, flaws=flaws, reason="", trying=trying)


def _tried_on(number: int, subject: Subject) -> str:
    """Return the table that an issue is about."""
    rule = next(rule for rule in RULES.values() if rule.number == number)
    table = subject.tables.get(rule.needs[-1] if rule.needs else "sessions")
    return table.table.full_name if table else f"database {subject.catalog.database}"


@contextmanager
def _undone(connection: psycopg.Connection) -> Iterator[None]:
    with connection.transaction(force_rollback=True):
        connection.execute(f"set local statement_timeout = '{STATEMENT_TIMEOUT}'")
        connection.execute("set local lock_timeout = '2s'")
        yield


def _said(error: Exception) -> str:
    return (error.diag.message_primary or str(error)) if isinstance(error, psycopg.Error) else str(error)


def _described(found) -> str:
    renamed = ", ".join(f"{expected} is {actual}" for expected, actual in found.renamed().items())
    return f"{found.table.full_name}{f' ({renamed})' if renamed else ''}"
