"""Rules of the review's chapter Design: notebook 06_design."""

import re
from collections.abc import Iterator

from ..catalog import CLIENTS, Nowhere, Relation
from ..report import Flaw
from ..shape import called, plain
from ..subject import OnlyBehaviour, Subject, listed_values, raises, rule


@rule(34, "scenarios")
def scenario_codes(db: Subject) -> Iterator[Flaw]:
    """A scenario's id that nobody picks, or a code that is the same everywhere."""
    table, key = db.scenarios.table, db.scenarios["id"]
    column = table.columns[key]
    unique = {index.columns for index in db.catalog.unique_indexes(table) if index.predicate is None}
    codes = [columns for columns in unique if len(columns) == 1 and columns[0] not in ("", key, db.scenarios["title"])]
    if not column.generated and not column.default and not codes and not column.is_text:
        yield Flaw(
            table.full_name,
            f"a new row needs {'an' if key[0] in 'aeiou' else 'a'} {key} that somebody picks, and no code is the same everywhere",
        )


@rule(35, "sessions", "messages")
def soft_delete(db: Subject) -> Iterator[Flaw]:
    """What a deleted account takes along, and whether a profile can be marked as deleted."""
    taken = _falls_with(db, db.catalog.accounts) if db.catalog.accounts else set()
    if db.messages.table.oid in taken:
        yield Flaw(db.messages.table.full_name, "deleting an account deletes all its history")
    elif "profiles" in db.tables and not db.profiles.has("deleted_at"):
        yield Flaw(db.profiles.table.full_name, "a profile cannot be marked as deleted")


def _falls_with(db: Subject, start: int) -> set[int]:
    """Return the tables whose rows go when a row of one table is deleted."""
    gone, waiting = set(), [start]
    while waiting:
        target = waiting.pop()
        falling = [
            key.table for key in db.catalog.constraints if key.type == "f" and key.target == target and key.on_delete == "c"
        ]
        for source in db.catalog.trigger_sources(target, "DELETE"):
            deleted = set(re.findall(r"\bdelete\s+from\s+(?:only\s+)?(?:\w+\.)?(\w+)", source))
            falling += [table.oid for table in db.catalog.tables if table.name.lower() in deleted]
        waiting += [table for table in falling if table not in gone]
        gone |= {*falling}
    return gone


_ASSISTANT = re.compile(r"assistant|^ai$|^bot$|^model$|^agent$|^llm$|^gpt$|^tutor$|_bot$|_ai$|chatbot", re.IGNORECASE)


@rule(36, "messages")
def message_roles(db: Subject) -> Iterator[Flaw]:
    """The roles that a message may have."""
    values = listed_values(db, db.messages, "role") if db.messages.column("role").plain_type != "boolean" else []
    if not values:
        raise Nowhere("the roles of messages are no closed list")
    if not any(_ASSISTANT.search(value) for value in values):
        yield Flaw(db.messages.table.full_name, f"no role is called assistant: {', '.join(dict.fromkeys(values))}")


def refuses(db: Subject, table: Relation, column: str, *, by_name: bool = False) -> list[str]:
    """Return what the triggers do that refuse an update of a column, or put the old value back.

    Args:
        by_name: only where they name the column, or compare the whole row.
    """
    name = re.escape(column.lower())
    same = rf"new\.{name}\s*:?=\s*old\.{name}\b"
    differs = rf"\b(new|old)\.{name}\b\s*(is\s+distinct\s+from|<>|!=)|to_jsonb\(new\)|\bnew(\.\*)?\s+is\s+distinct\s+from\s+old"
    found = []
    for trigger in db.catalog.triggers_of(table.oid, "UPDATE"):
        if trigger.watches and column not in trigger.watches:
            continue
        for function in db.catalog.reached(trigger.function):
            named = re.search(differs, function.source) or re.search(differs, trigger.condition) or trigger.watches == (column,)
            if re.search(same, function.source) or (raises(function.source) and (named or not by_name)):
                found.append(db.catalog.reach(trigger.function))
                break
    rules = [text for text in db.catalog.rewrite_rules(table) if "on update" in text and "instead nothing" in text]
    return found + rules


@rule(37, "messages")
def immutable_messages(db: Subject) -> Iterator[Flaw]:
    """A trigger that keeps what a message says, also where something else of it may change."""
    table, content = db.messages.table, db.messages["content"]
    if called(table.columns, r"^(is_)?edited(_at)?$"):
        raise Nowhere("messages are meant to be edited here")
    writers = [role for role in ("service_role", *CLIENTS) if role in db.catalog.roles]
    if not any(db.catalog.may(role, "update", table, content) for role in writers):
        return
    guards = refuses(db, table, content)
    if not guards:
        yield Flaw(table.full_name, f"no trigger refuses to rewrite {content}")
    elif any("deleted_at" in source and not re.search(rf"\b{re.escape(content.lower())}\b", source) for source in guards):
        yield Flaw(table.full_name, "a message is rewritten while it is deleted")
    else:
        raise OnlyBehaviour("a trigger watches over updates")


ORDER = "sort|order|position|rank|^ordinal$|^sequence$|^seq$"
"""What a column is called that says which row comes first."""


@rule(38, "scenarios")
def scenario_order(db: Subject) -> Iterator[Flaw]:
    """A place in the order, and a date of the last change."""
    table = db.scenarios.table
    if table.oid in db.owners:
        raise Nowhere(f"the rows of {table.full_name} belong to persons, so there is no one order")
    places = called(table.columns, ORDER)
    if not places:
        yield Flaw(table.full_name, "its rows have no order of their own")
    dates = called(table.columns, r"^(updated|modified)(_at|_on)?$")
    sources = db.catalog.trigger_sources(table.oid, "UPDATE", before=True)
    if not dates or not any(dates[0].lower() in source for source in sources):
        yield Flaw(table.full_name, "a change is not dated")
    elif places and not any(index.columns[0] in places for index in db.catalog.unique_indexes(table)):
        raise OnlyBehaviour(f"there is a {places[0]}")


_TELLS = re.compile(
    r"^at$|(_at|_on|_date|_day|_time|_until|_since|_from|_to|_start|_end|_begin|_deadline|_expiry|_seen|_month|_week|_year|_period|_moment)$"
    r"|^(expires|starts|ends|last_seen|birthday|deadline|due)$|_?(expir|due_)"
)
_OTHERWISE = re.compile(r"^(creat|updat|modif|insert|delet)\w*_(time|date|on|ts|timestamp)$")


@rule(39, "messages")
def timestamp_names(db: Subject) -> Iterator[Flaw]:
    """Names of the columns that hold a moment."""
    tools = {(schema, name) for schema, name, _ in db.catalog.histories}
    moments = [
        (table, column)
        for table in db.catalog.tables
        if table.schema in db.home and (table.schema, table.name) not in tools
        for column in table.columns.values()
        if column.is_moment
    ]
    has_habit = any(plain(column.name).endswith("_at") for _, column in moments)
    for table, column in moments:
        name = plain(column.name)
        if not _TELLS.search(name):
            yield Flaw(f"{table.full_name}.{column.quoted}", f"{column.name} does not say what happened then")
        elif _OTHERWISE.search(name) and has_habit:
            yield Flaw(f"{table.full_name}.{column.quoted}", f"{column.name} is named otherwise than the moments that end in _at")


@rule(40, "messages")
def on_update(db: Subject) -> Iterator[Flaw]:
    """ON UPDATE of the foreign keys of these tables."""
    ours = {found.table.oid for found in db.tables.values()}
    for key in db.catalog.constraints:
        if key.type == "f" and key.table in ours and key.on_update == "a":
            table = db.catalog.by_oid.get(key.table)
            if table is not None:
                yield Flaw(table.full_name, f"{key.name} does not say what a changed key does")
    messages = db.messages.table
    if refuses(db, messages, db.messages["content"]):
        for key in db.catalog.foreign_keys(messages):
            if key.on_update not in "ar":
                yield Flaw(messages.full_name, f"{key.name} lets a changed key change messages")
