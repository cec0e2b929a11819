"""Where things lie in the checkout, and its tables as rows."""

import csv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
SQL = ROOT / "sql"
DATA = ROOT / "data"
BUILD = ROOT / "build"


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return a file's rows, each by the names of its first line."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
