"""Where the audit's files lie: in the checkout, or in the package where that is installed alone."""

import csv
from importlib.resources import files
from pathlib import Path

VERSION = "1.0.0"
"""The version of the audit and of the workbook; pyproject.toml reads it here."""

_PACKAGE = Path(str(files(__package__)))
_ABOVE = _PACKAGE.parents[1]

CHECKOUT = _ABOVE if (_ABOVE / "pyproject.toml").exists() and (_ABOVE / "sql" / "audit.sql").exists() else None
"""The checkout that the audit runs from; None where the package is installed alone."""

# pyproject.toml puts these two folders of the checkout into the package.
SQL = (CHECKOUT or _PACKAGE) / "sql"
DATA = (CHECKOUT or _PACKAGE) / "data"


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return a file's rows, each by the names of its first line."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def default_output() -> Path:
    """Return the folder that reports go to: build/audit in the checkout, else schema-audit where the command runs."""
    return CHECKOUT / "build" / "audit" if CHECKOUT else Path("schema-audit")
