"""The issues that the workbook speaks of: their titles, severities and symptoms, and where they are explained."""

from dataclasses import dataclass
from functools import cache

from .paths import DATA, read_csv


@dataclass(frozen=True)
class Issue:
    """One issue, as data/ has it."""

    number: int
    title: str
    severity: str
    """high, medium or low."""
    symptom: str
    """What somebody sees when it bites, in one line."""
    notebook: str
    """The notebook that shows, fixes and proves it, without its ending."""


@cache
def all_issues() -> dict[int, Issue]:
    """Return the review's issues and those beyond it, by number."""
    notebooks = {row["category"]: row["notebook"] for row in read_csv(DATA / "categories.csv")}
    return {
        int(row["number"]): Issue(
            int(row["number"]),
            row["title"].partition(" · ")[2] or row["title"],
            row["severity"],
            row["symptom"],
            notebooks.get(row["category"], "08_beyond"),
        )
        for name in ("issues.csv", "beyond.csv")
        for row in read_csv(DATA / name)
    }
