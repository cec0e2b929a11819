"""Rules of the review's chapter Scalability: notebook 05_scalability."""

import re

from ..catalog import CLIENTS, NotSeen
from .subject import Subject, rule


@rule(29)
def event_types(db: Subject) -> str | None:
    """A table of the kinds of events, and not a list in a constraint or a type."""
    column = db.logs["event_type"]
    if db.logs.table.columns[column].type in db.catalog.enum_labels:
        return "the kinds of events stand in a type"
    if any(text.count("'") > 4 for text in db.catalog.checks(db.logs.table, column)):
        return "the kinds of events stand in a constraint"
    listed = any(key.columns == (column,) for key in db.catalog.foreign_keys(db.logs.table))
    return None if listed else "any word is taken for a kind of event"


@rule(30)
def logs_partitions(db: Subject) -> str | None:
    """Partitions, so that an old month goes as a whole."""
    if db.logs.table.kind != "p":
        return "logs is one table: old rows go one by one"
    partitions = db.catalog.partitions(db.logs.table)
    if not any("FROM" in bounds for _, _, bounds in partitions):
        return "logs has no partition for a month"
    clients = [role for role in CLIENTS if role in db.catalog.roles]
    readable = [schema for oid, schema, _ in partitions if any(db.catalog.holds(role, "select", oid) for role in clients)]
    is_reachable = db.catalog.open_schemas("usage") & {*readable}
    return "a partition can be read past the policies" if is_reachable else None


@rule(31)
def weekly_reset_batches(db: Subject) -> str | None:
    """A weekly reset in batches that passes over rows which somebody holds."""
    resets = [db.catalog.reach(function.oid) for function in db.jobs() if db.ends_weeks(db.catalog.reach(function.oid))]
    if not resets:
        raise NotSeen("no function here ends weeks")
    return None if all("skip locked" in source for source in resets) else "the weekly reset waits for whoever holds a profile"


@rule(32)
def job_results(db: Subject) -> str | None:
    """What the jobs return."""
    bare = [job for job in db.jobs() if job.returns in ("integer", "bigint", "void", "boolean") and not job.is_procedure]
    return f"{bare[0].name}() returns {'nothing' if bare[0].returns == 'void' else 'a bare number'}" if bare else None


@rule(33)
def archive_messages(db: Subject) -> str | None:
    """A function that takes old messages out of the table and puts them into another."""
    takes = re.compile(rf"delete\s+from\s+(?:\w+\.)?{db.messages.table.name.lower()}\b")
    movers = [
        source for source in map(db.catalog.reach, (function.oid for function in db.catalog.plain_functions()))
        if takes.search(source)
        and {name.rpartition(".")[2] for name in re.findall(r"insert\s+into\s+([\w.]+)", source)}
        & {table.name.lower() for table in db.catalog.relations if "archive" in table.name.lower()}
    ]  # fmt: skip
    return None if movers else "no job archives old messages"
