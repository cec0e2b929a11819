"""Where things lie in the checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
SQL = ROOT / "sql"
DATA = ROOT / "data"
BUILD = ROOT / "build"
