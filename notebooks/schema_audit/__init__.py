"""The audit: what is wrong with the schema of a PostgreSQL database, from its catalog alone, in one read-only transaction."""

from collections.abc import Mapping

from .errors import AuditError
from .report import Finding, Flaw, Report

__all__ = ["AuditError", "Finding", "Flaw", "Report", "audit"]


def audit(url: str, *, behaviour: bool = False, tables: Mapping[str, str] | None = None, book: str = "") -> Report:
    """Look for flaws in the database at a URL.

    Args:
        url: postgresql://…; any database of PostgreSQL 15 or newer.
        behaviour: try what the catalog cannot tell too, on rows of the audit's own that are rolled back. It locks and
            it fires triggers, so it is for a staging copy.
        tables: which tables hold what, where they are not recognised: {"sessions": "chats"}.
        book: the address of the workbook's book, for links.

    Raises:
        AuditError: the database cannot be reached or is too old, or has no table of a name that was given.
    """
    # The driver may be broken where this is installed: that is an error of the audit, and none of whoever imports it.
    from .examine import audit_database

    return audit_database(url, behaviour=behaviour, tables=tables or {}, book=book)
