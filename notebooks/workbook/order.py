"""Which fixes stand alone: each tried on v1 without the ones before it, kept in data/order.csv."""

import csv
from concurrent.futures import ThreadPoolExecutor

import psycopg

from . import fixes
from .checks import look
from .database import OWNER_ROLE, clone
from .errors import WorkbookError
from .paths import DATA

FILE = DATA / "order.csv"
PARALLEL = 4
"""Fixes at once: most of their time they wait for the server."""


def refresh() -> None:
    """Try each fix alone, and write what became of it."""
    numbers = [fix.number for fix in fixes.all_fixes() if fix.number]
    with ThreadPoolExecutor(PARALLEL) as pool, open(FILE, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["fix", "alone"])
        writer.writerows(zip(numbers, pool.map(alone, numbers), strict=True))


def outcomes() -> dict[int, str]:
    """Return what became of each fix: nothing said where it stands alone, else what is missing."""
    with open(FILE, newline="") as file:
        return {int(row["fix"]): row["alone"] for row in csv.DictReader(file)}


def alone(number: int) -> str:
    """Apply a fix to v1 after fix 00 only, and say what is missing: an object, or that the flaw is still seen."""
    database = clone(0)
    try:
        with database.connect() as connection, connection.transaction():
            connection.execute(f"set local role {OWNER_ROLE}")
            connection.execute(fixes.find(number).body)
        seen = look(number, database)
    except psycopg.Error as error:
        return f"refused: {error.sqlstate} {error.diag.message_primary}"
    except WorkbookError as error:
        return str(error)
    finally:
        database.drop()
    return f"the flaw is still seen: {seen}" if seen else ""
