"""The exercises: what each begins with, and a check that says what is still wrong with an attempt."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Timer

import psycopg
from IPython.display import Markdown

from ..actors import ADMIN
from ..concurrency import is_quiet
from ..database import Database, clone
from ..errors import WorkbookError
from ..fixes import sql
from . import changes, policies, queries, races
from .policies import WORDS
from .queries import FIRST_PAGE, LAST_PLAYED

__all__ = ["CHECKS", "FIRST_PAGE", "LAST_PLAYED", "WORDS", "check", "given", "show", "solution", "summary"]

CHECKS = {
    1: policies.bookmarks,
    2: queries.missing_index,
    3: queries.pages,
    4: races.hints,
    5: changes.archive,
    6: policies.view,
    7: races.notes,
    8: changes.erasure,
    9: changes.migration,
    10: policies.words,
}
"""Each tries an attempt; it returns what is wrong with it in one sentence, or None."""

LONG_S = 2
"""After how many seconds a check says that it is still at work."""

_solved: set[int] = set()


@dataclass(frozen=True)
class Verdict:
    """What became of an attempt."""

    number: int
    problem: str | None

    @property
    def solved(self) -> bool:
        """Whether nothing is wrong any more."""
        return self.problem is None

    def __repr__(self) -> str:
        return f"exercise {self.number} is solved" if self.solved else f"not yet: {self.problem}"


def given(number: int) -> Database:
    """Return a clone of v2 with what the exercise adds to it.

    Raises:
        WorkbookError: there is no such exercise.
    """
    _require(number)
    database = clone("v2")
    database.run_file(f"exercises/{number}_given.sql", ADMIN)
    return database


def show(number: int, what: str = "given") -> Markdown:
    """Show what an exercise gives, or its solution: folded, so that nobody reads it by accident.

    Raises:
        WorkbookError: there is no such exercise.
    """
    _require(number)
    title = "A solution" if what == "solution" else "What is there"
    is_open = "" if what == "solution" else " open"
    text = sql(f"exercises/{number}_{what}.sql").strip()
    return Markdown(f"<details{is_open}><summary>{title}</summary>\n\n```sql\n{text}\n```\n\n</details>")


def solution(number: int) -> str:
    """Return an exercise's solution.

    Raises:
        WorkbookError: there is no such exercise.
    """
    _require(number)
    return sql(f"exercises/{number}_solution.sql")


def check(number: int, attempt: str) -> Verdict:
    """Try an attempt on a clone of its own, and say what is wrong with it.

    Raises:
        WorkbookError: there is no such exercise, or the server refuses.
    """
    with _saying_that_it_works(number):
        database = given(number)
        token = is_quiet.set(True)
        try:
            problem = CHECKS[number](database, attempt)
        except psycopg.Error as error:
            problem = f"PostgreSQL says {error.sqlstate or 'nothing'}, {str(error).splitlines()[0]}"
        except (WorkbookError, KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"the attempt does not answer as the task asks ({error})"
        finally:
            is_quiet.reset(token)
            database.drop()
    if problem is None:
        _solved.add(number)
    return Verdict(number, problem)


def summary() -> str:
    """Say how many exercises this kernel has seen solved, and which are left."""
    left = [str(number) for number in CHECKS if number not in _solved]
    return f"{len(_solved)} of {len(CHECKS)} solved" + (f"; still to do: {', '.join(left)}" if left else "")


@contextmanager
def _saying_that_it_works(number: int) -> Iterator[None]:
    """Say after a while that the check goes on; not where outputs are compared, since how long it takes is no result."""
    words = f"checking exercise {number}; a day's first check builds the database as well\n"
    timer = Timer(LONG_S, sys.stderr.write, [words])
    if "PYTEST_VERSION" not in os.environ:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _require(number: int) -> None:
    if number not in CHECKS:
        raise WorkbookError(f"There is no exercise {number}; take one of {', '.join(map(str, CHECKS))}.")
