"""The audit: what is wrong with the schema of a PostgreSQL database, from its catalog alone, in one read-only transaction."""

from .errors import AuditError
from .report import Report

# The command ends with 2 for a failure in here too, so nothing that may fail is imported beside these two.


def audit(url: str, *, behaviour: bool = False, tables: dict[str, str] | None = None, book: str = "") -> Report:
    """Look for everything that the rules know in the database at a URL.

    Raises:
        AuditError: there is no verdict.
    """
    raise AuditError("The audit's rules are not here yet.")
