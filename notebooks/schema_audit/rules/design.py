"""Rules of the review's chapter Design: notebook 06_design."""

import re

from ..catalog import CLIENTS
from .subject import OnlyBehaviour, Subject, role_values, rule


@rule(34)
def scenario_codes(db: Subject) -> str | None:
    """A scenario's id that nobody picks, and a code that is the same everywhere."""
    table, key = db.scenarios.table, db.scenarios["id"]
    if not table.columns[key].generated and not table.columns[key].default:
        return "a new scenario needs an id that somebody picks"
    unique = {index.columns for index in db.catalog.unique_indexes(table)}
    codes = [columns for columns in unique if len(columns) == 1 and columns[0] not in ("", key, db.scenarios["title"])]
    return None if codes else "a scenario has no name that is the same everywhere"


@rule(35)
def soft_delete(db: Subject) -> str | None:
    """What a deleted account takes along."""
    keys = db.catalog.foreign_keys(db.profiles.table)
    if any(key.columns == (db.profiles["id"],) and key.on_delete == "c" for key in keys):
        return "deleting an account deletes its profile and all its history"
    return None if db.profiles.has("deleted_at") else "a profile cannot be marked as deleted"


@rule(36)
def message_roles(db: Subject) -> str | None:
    """The roles that a message may have."""
    return None if "assistant" in role_values(db) else "no role is called assistant"


@rule(37)
def immutable_messages(db: Subject) -> str | None:
    """A trigger that keeps what a message says, also where something else of it may change."""
    guards = [source for source in db.catalog.trigger_sources(db.messages.table.oid, "UPDATE", before=True) if "raise" in source]
    writers = [role for role in ("service_role", *CLIENTS) if role in db.catalog.roles]
    if not any(db.catalog.may(role, "update", db.messages.table) for role in writers):
        return None
    if not guards:
        return "no trigger refuses to rewrite a message"
    if any("deleted_at" in source and db.messages.word("content") not in source for source in guards):
        return "a message is rewritten while it is deleted"
    raise OnlyBehaviour("a trigger watches over updates")


ORDER = "sort|order|position|rank"
"""What a column is called that says which row comes first."""


@rule(38)
def scenario_order(db: Subject) -> str | None:
    """A place in the order, and a date of the last change."""
    table = db.scenarios.table
    places = [name for name in table.columns if re.search(ORDER, name)]
    if not places:
        return "scenarios has no order of its own"
    dated = any("updated_at" in source for source in db.catalog.trigger_sources(table.oid, "UPDATE", before=True))
    if "updated_at" not in table.columns or not dated:
        return "a change of a scenario is not dated"
    if any(index.columns[0] in places for index in db.catalog.unique_indexes(table)):
        return None
    raise OnlyBehaviour(f"there is a {places[0]}")


@rule(39)
def timestamp_names(db: Subject) -> str | None:
    """Names of the columns that hold a moment, and their comments."""
    week = db.profiles["week_reset_date"]
    found = [
        f"{table.name}.{column.name}"
        for table in db.catalog.relations
        if table.kind in "rp" and table.schema in db.exposed()
        for column in table.columns.values()
        if column.type.startswith("timestamp") and column.name != week
        and (not column.name.endswith("_at") or column.comment is None)
    ]  # fmt: skip
    return f"{len(found)} moments are misnamed or not explained, such as {found[0]}" if found else None


@rule(40)
def on_update(db: Subject) -> str | None:
    """ON UPDATE of every foreign key."""
    ours = {table.oid for table in db.catalog.relations if table.schema in db.exposed()}
    keys = [key for key in db.catalog.constraints if key.type == "f" and key.table in ours]
    undecided = [key for key in keys if key.on_update == "a"]
    if undecided:
        return f"{len(undecided)} foreign keys do not say what a changed key does"
    of_messages = {table.oid for table in db.catalog.relations if db.messages.table.name.rstrip("s") in table.name}
    carried = any(key.table in of_messages and key.on_update != "r" for key in keys)
    return "a changed key would change messages" if carried else None
