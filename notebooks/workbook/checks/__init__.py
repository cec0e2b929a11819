"""One check for each issue: does this database show the flaw? Proofs and the scoreboard use the same one."""

from dataclasses import dataclass
from importlib import import_module

from ..catalogue import all_notebooks, issue, module_of
from ..concurrency import is_quiet
from ..database import Database
from ..errors import WorkbookError
from ..fixes import find
from ..tables import Table
from .trying import CHECKS

for category in all_notebooks():
    import_module(f".{module_of(category)}", __name__)


@dataclass(frozen=True)
class Proof:
    """What one issue's check saw before the fix and after it."""

    number: int
    before: str
    after: str | None

    def __repr__(self) -> str:
        return f"issue {self.number}  v1: {self.before}\n{' ' * (len(str(self.number)) + 7)}fixed: not seen any more"


_proofs: dict[int, Proof] = {}


def prove(number: int, before: Database, after: Database) -> Proof:
    """Run an issue's check on both databases: the flaw must show on the first and not on the second.

    Raises:
        AssertionError: it does not show, or is still there.
    """
    seen = look(number, before)
    assert seen is not None, f"issue {number} does not show on {before.name}, so the check proves nothing"
    proof = Proof(number, seen, look(number, after))
    assert proof.after is None, f"issue {number} is still there: {proof.after}"
    _proofs[number] = proof
    return proof


def look(number: int, database: Database) -> str | None:
    """Run one issue's check and return what it saw of the flaw, or None.

    Raises:
        WorkbookError: the issue has no check.
    """
    if number not in CHECKS:
        module = f"checks/{module_of(issue(number).category)}.py"
        raise WorkbookError(f"There is no check for issue {number}; add one to notebooks/workbook/{module}.")
    token = is_quiet.set(True)
    try:
        return CHECKS[number](database)
    finally:
        is_quiet.reset(token)


def summary() -> Table:
    """Return what this notebook has proved so far, an issue a row."""
    rows = [
        (number, issue(number).title, proof.before, "gone", find(number).path.name) for number, proof in sorted(_proofs.items())
    ]
    return Table.of(rows, ["issue", "title", "on v1", "after the fix", "fix"])
