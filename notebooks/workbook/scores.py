"""The scoreboard: every issue's check run against v1, against the review's own SQL, and against v2."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from . import catalogue, charts, fixes, proposal
from .bench import commit
from .checks import CHECKS, look
from .database import clone
from .measure import scale
from .picture import Chart
from .tables import Table

MIME = "application/vnd.workbook.scoreboard+json"
"""How a notebook keeps a scoreboard's facts."""
PARALLEL = 4
"""Checks at once: most of their time they wait, for locks or for the server."""


@dataclass(frozen=True)
class Scoreboard:
    """What each issue's check saw of its flaw, or None, by issue, by database."""

    results: dict[str, dict[int, str | None]]

    def shows(self, name: str) -> list[int]:
        """Return the issues whose flaw a database shows."""
        return [number for number, seen in self.results[name].items() if seen is not None]

    def kinds(self) -> dict[int, str]:
        """Return what became of each issue's flaw as proposed, by issue.

        `gone`; or it remains and `falls short`: the review has SQL for it, under sql/proposed; or has `no statement` for it; or
        the issue is `not mentioned`, being one of those beyond the review.
        """
        beyond = {issue.number for issue in catalogue.beyond()}
        with_sql = proposal.numbers()

        def kind(number: int, seen: str | None) -> str:
            if seen is None:
                return "gone"
            return "not mentioned" if number in beyond else "falls short" if number in with_sql else "no statement"

        return {number: kind(number, seen) for number, seen in self.results["as proposed"].items()}

    def chart(self) -> Chart:
        """Draw the scoreboard; the notebook keeps its facts with the picture."""
        chart = charts.scoreboard({name: len(self.shows(name)) for name in self.results}, self.kinds())
        chart.data[MIME] = self.facts()
        return chart

    def facts(self) -> dict[str, Any]:
        """Return what the book says of it: results, kinds, the review's statements that are refused, when and where."""
        database = clone("v1")
        statements = database.apply_proposal()
        version = database.value("select current_setting('server_version')").split()[0]
        database.drop()
        return {
            # As a list: a notebook's file sorts the names.
            "results": list(self.results.items()),
            "kinds": self.kinds(),
            "statements": len(statements),
            "refused": statements.query("outcome != 'applied'").values.tolist(),
            "date": datetime.now(UTC).date().isoformat(),
            "commit": commit(),
            "server": version,
            "scale": scale(),
            "cores": os.cpu_count(),
        }

    def table(self, *numbers: int) -> Table:
        """Return what the checks saw of these issues, or of all: one row an issue."""
        rows = [(number, *(found[number] or "gone" for found in self.results.values())) for number in numbers or sorted(CHECKS)]
        return Table.of(rows, ["issue", *self.results])


def scoreboard() -> Scoreboard:
    """Run every check against a clone of its own of v1, of v1 with the review's statements, and of v2."""
    states: dict[str, str | int] = {"v1": "v1", "as proposed": "proposed", "v2": fixes.all_fixes()[-1].number}
    with ThreadPoolExecutor(PARALLEL) as pool:
        seen = {name: {number: pool.submit(_look, number, state) for number in sorted(CHECKS)} for name, state in states.items()}
        return Scoreboard({name: {number: run.result() for number, run in runs.items()} for name, runs in seen.items()})


def _look(number: int, state: str | int) -> str | None:
    database = clone(state)
    try:
        return look(number, database)
    finally:
        database.drop()
