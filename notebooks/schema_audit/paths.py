"""Where the audit's SQL and data lie: beside the package where it is installed, else in the checkout."""

import csv
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
SQL = _HERE / "sql" if (_HERE / "sql").is_dir() else _ROOT / "sql"
DATA = _HERE / "data" if (_HERE / "data").is_dir() else _ROOT / "data"


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return a file's rows, each by the names of its first line."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
