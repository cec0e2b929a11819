"""What the rules look at: a database under audit, by the names that the issues use."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ...catalogue import registrar
from ..catalog import Catalog, Function, NotSeen
from ..names import Found


class OnlyBehaviour(Exception):
    """The catalog shows a safeguard; whether it works, only trying it shows. The message says what is there."""


@dataclass(frozen=True)
class Subject:
    """A database under audit: its catalog, and its tables by the names that the issues use."""

    catalog: Catalog
    tables: dict[str, Found]

    def __getattr__(self, name: str) -> Found:
        """Return one of the five tables.

        Raises:
            NotSeen: none resembles it.
        """
        if name not in self.tables:
            raise NotSeen(f"no table resembles {name}")
        return self.tables[name]

    @property
    def moment(self) -> str:
        """What the column is called by which messages are ordered."""
        for name in ("sent_at", "timestamp", "created_at"):
            if self.messages.has(name):
                return self.messages[name]
        raise NotSeen(f"{self.messages.table.full_name} has no column that says when")

    def jobs(self) -> list[Function]:
        """Return the maintenance functions: callable, no triggers, and deleting sessions or logs or ending weeks."""
        targets = [found.table.name for name, found in self.tables.items() if name in ("sessions", "logs")]
        deletes = "|".join(rf"delete\s+from\s+(?:\w+\.)?{re.escape(name.lower())}\b" for name in targets)
        found = []
        for function in self.catalog.plain_functions():
            source = self.catalog.reach(function.oid)
            if function.schema in self.exposed() and (re.search(deletes, source) or self.ends_weeks(source)):
                found.append(function)
        if not found:
            raise NotSeen("no function here deletes sessions or logs, or ends weeks: jobs may run elsewhere")
        return found

    def ends_weeks(self, source: str) -> bool:
        """Tell whether a function sets the end of a week."""
        return "profiles" in self.tables and re.search(rf"{self.profiles.word('week_reset_date')}\s*=", source) is not None

    def exposed(self) -> set[str]:
        """Return the schemas that hold the five tables: those that the API serves."""
        return {found.table.schema for found in self.tables.values()}


Rule = Callable[[Subject], str | None]
"""Returns what it sees of the flaw in a few words, or None; raises `NotSeen` or `OnlyBehaviour`."""

RULES: dict[int, Rule] = {}
rule = registrar(RULES)


def asks_per_row(text: str) -> bool:
    """Tell whether a policy asks who is calling outside a sub-select that reads no table."""
    while (begin := text.find("( SELECT")) >= 0:
        depth, end = 0, begin
        for end in range(begin, len(text)):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            if depth == 0:
                break
        inside = text[begin + 1 : end]
        # One that reads a table may be evaluated for each row, and what it asks with it.
        text = text[:begin] + (inside.replace(" SELECT", "", 1) if " FROM " in inside or "\n" in inside else "") + text[end + 1 :]
    return re.search(r"\bauth\.\w+\(|\bcurrent_setting\(", text) is not None


def users_table(db: Subject) -> int:
    """Return the oid of the table that profiles extends: auth.users on Supabase."""
    for key in db.catalog.foreign_keys(db.profiles.table):
        if key.columns == (db.profiles["id"],):
            return key.target
    writers = [
        trigger.table for trigger in db.catalog.triggers
        if re.search(rf"insert\s+into\s+(?:\w+\.)?{db.profiles.table.name.lower()}\b", db.catalog.reach(trigger.function))
    ]  # fmt: skip
    if not writers:
        raise NotSeen(f"nothing says whose profile a row of {db.profiles.table.full_name} is")
    return writers[0]


def role_values(db: Subject) -> list[str]:
    """Return the roles that a message may have, as its type or its constraint lists them."""
    column = db.messages.table.columns[db.messages["role"]]
    listed = [word for text in db.catalog.checks(db.messages.table, column.name) for word in re.findall(r"'(\w+)'", text)]
    return db.catalog.enum_labels.get(column.type) or listed
