"""Which of a database's tables are the five that the issues speak of, also under other names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

from .catalog import Catalog, NotSeen, Relation

EXPECTED = {
    "profiles": (
        "id", "email", "completed_scenario_count", "current_week_completion_count", "week_reset_date", "created_at",
        "updated_at",
    ),
    "scenarios": ("id", "title", "emoji", "initial_message_main", "initial_message_helper", "is_active", "created_at"),
    "sessions": (
        "id", "user_id", "scenario_id", "is_completed", "started_at", "last_activity_at", "completed_at",
        "message_count_main", "message_count_helper", "duration_seconds",
    ),
    "messages": ("id", "session_id", "role", "chat_type", "content"),
    "logs": ("id", "level", "event_type", "user_id", "session_id", "metadata", "created_at"),
}  # fmt: skip
"""The tables and the columns that tell them from others."""

NEEDED = ("sessions", "messages")
"""Without these two there is nothing to say."""

REFERENCES = {
    "sessions": {"user_id": "profiles", "scenario_id": "scenarios"},
    "messages": {"session_id": "sessions"},
    "logs": {"user_id": "profiles", "session_id": "sessions"},
}
"""Columns that a foreign key gives away, whatever they are called."""

CLOSE_TABLE = 0.55
CLOSE_COLUMN = 0.75


@dataclass(frozen=True)
class Found:
    """A table that was found, and what its columns are called there."""

    table: Relation
    columns: dict[str, str]
    """The actual name by the expected one."""

    def __getitem__(self, column: str) -> str:
        """Return what a column is called here.

        Raises:
            NotSeen: there is none like it.
        """
        if column not in self.columns:
            raise NotSeen(f"{self.table.full_name} has no column like {column}")
        return self.columns[column]

    def word(self, column: str) -> str:
        """Return what a column is called in the text of functions, which is read in lower case and without quotes."""
        return self[column].lower()

    def has(self, column: str) -> bool:
        """Tell whether there is a column like it."""
        return column in self.columns

    def renamed(self) -> dict[str, str]:
        """Return the columns that are called otherwise."""
        return {expected: actual for expected, actual in self.columns.items() if expected != actual}


def find_tables(catalog: Catalog) -> dict[str, Found]:
    """Return the tables that resemble the expected ones, the closest first; one is never taken twice."""
    tables = [table for table in catalog.relations if table.kind in "rp"]
    scored = sorted(
        ((_table_score(name, table), name, table) for name in EXPECTED for table in tables),
        key=lambda entry: (-entry[0], entry[2].full_name),
    )
    chosen: dict[str, Relation] = {}
    for score, name, table in scored:
        if score >= CLOSE_TABLE and name not in chosen and table not in chosen.values():
            chosen[name] = table
    return {name: Found(table, _columns(name, table, chosen, catalog)) for name, table in sorted(chosen.items())}


def _table_score(name: str, table: Relation) -> float:
    words, wanted = _words(table.name), _words(name)
    named = 1.0 if words == wanted else 0.8 if wanted <= words else 0.0
    alike = sum(_closest(column, table.columns) is not None for column in EXPECTED[name]) / len(EXPECTED[name])
    # Sessions, messages and logs can share many columns; none of them is another one's archive.
    return 0.35 * named + 0.65 * alike - 0.1 * bool(words & {"archive", "archived", "backup", "old", "chunk"})


def _columns(name: str, table: Relation, chosen: dict[str, Relation], catalog: Catalog) -> dict[str, str]:
    found: dict[str, str] = {}
    for column, target in REFERENCES.get(name, {}).items():
        for constraint in catalog.constraints:
            points = target in chosen and constraint.type == "f" and constraint.target == chosen[target].oid
            if constraint.table == table.oid and points and len(constraint.columns) == 1:
                found[column] = constraint.columns[0]
    free = [column for column in table.columns if column not in found.values()]
    for column in (*EXPECTED[name], "user_id", "sent_at", "timestamp", "created_at", "deleted_at"):
        if column not in found and (actual := column if column in free else None):
            found[column] = actual
            free.remove(actual)
    for column in EXPECTED[name]:
        if column not in found and (actual := _closest(column, free)):
            found[column] = actual
            free.remove(actual)
    return found


def _closest(wanted: str, candidates: Iterable[str]) -> str | None:
    """Return the name that is most like the wanted one, or None where none is close."""
    best, closeness = None, CLOSE_COLUMN
    for candidate in candidates:
        score = 1.0 if candidate == wanted else SequenceMatcher(None, _plain(wanted), _plain(candidate)).ratio()
        if score >= closeness and (best is None or score > closeness):
            best, closeness = candidate, score
    return best


def _plain(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+", "_", name).lower().strip("_")


def _words(name: str) -> frozenset[str]:
    return frozenset(re.sub(r"ies$", "y", word).removesuffix("s") for word in _plain(name).split("_"))
