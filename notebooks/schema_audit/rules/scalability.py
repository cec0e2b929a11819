"""Rules of the review's chapter Scalability: notebook 05_scalability."""

import re
from collections.abc import Iterator

from ..catalog import Function, Nowhere
from ..report import Flaw
from ..subject import Subject, rule


@rule(29, "logs")
def event_types(db: Subject) -> Iterator[Flaw]:
    """A table of the kinds of events, and not a list in a constraint or a type."""
    table, column = db.logs.table, db.logs["event_type"]
    name = f"{table.full_name}.{db.logs('event_type')}"
    if table.columns[column].plain_type in db.catalog.enum_labels:
        yield Flaw(name, "the kinds of events stand in a type")
    elif any(text.count("'") > 4 for text in db.catalog.checks(table, column)):
        yield Flaw(name, "the kinds of events stand in a constraint")
    elif not any(column in key.columns for key in db.catalog.foreign_keys(table)):
        yield Flaw(name, "any word is taken for a kind of event")


@rule(30, "logs")
def logs_partitions(db: Subject) -> Iterator[Flaw]:
    """Partitions by time, so that an old month goes as a whole."""
    table = db.logs.table
    if not db.logs.has("created_at"):
        raise Nowhere(f"{table.full_name} has no moment to partition by")
    if table.kind != "p":
        yield Flaw(table.full_name, "it is one table: old rows go one by one")
        return
    partitions = db.catalog.partitions(table)
    if not any("FROM" in bounds for _, _, bounds in partitions):
        yield Flaw(table.full_name, "it has no partition for a stretch of time")
    for oid, schema, _ in partitions:
        if schema in db.catalog.exposed and any(db.catalog.holds(role, "select", oid) for role in db.catalog.clients):
            partition = db.catalog.by_oid[oid]
            if not partition.has_rls:
                yield Flaw(partition.full_name, "it can be read past the policies",
                           f"alter table {partition.full_name} enable row level security;")  # fmt: skip


@rule(31, "profiles")
def weekly_reset_batches(db: Subject) -> Iterator[Flaw]:
    """A weekly reset in batches that passes over rows which somebody holds."""
    resets = [function for function in db.jobs() if db.ends_weeks(db.catalog.reach(function.oid))]
    if not resets:
        raise Nowhere("no function here ends weeks")
    for function in resets:
        if "skip locked" not in db.catalog.reach(function.oid):
            yield Flaw(function.full_name, "it waits for whoever holds a profile")


@rule(32, "sessions")
def job_results(db: Subject) -> Iterator[Flaw]:
    """What the jobs return."""
    for job in db.jobs():
        if job.returns in ("integer", "bigint", "void", "boolean") and not job.is_procedure:
            yield Flaw(job.full_name, f"it returns {'nothing' if job.returns == 'void' else 'a bare number'}")


@rule(33, "messages")
def archive_messages(db: Subject) -> Iterator[Flaw]:
    """A function that takes old messages out of the table and puts them into another."""
    takes = re.compile(rf"delete\s+from\s+(?:only\s+)?(?:\w+\.)?{re.escape(db.messages.table.name.lower())}\b")
    content, own = db.messages["content"], db.messages.table.oid
    archives = {table.name.lower() for table in db.catalog.tables if content in table.columns and table.oid != own}
    try:
        served = any(_is_served(db, job) for job in db.jobs())
    except Nowhere:
        served = False
    for function in db.catalog.plain_functions():
        # Where the backend calls the jobs, one that it may not call is only a part of another.
        if served and not _is_served(db, function):
            continue
        source = db.catalog.reach(function.oid)
        if takes.search(source) and archives & {
            name.rpartition(".")[2] for name in re.findall(r"insert\s+into\s+([\w.]+)", source)
        }:
            return
    if db.messages.table.kind == "p":
        raise Nowhere(f"{db.messages.table.full_name} is partitioned, so that old messages can go as a whole")
    yield Flaw(db.messages.table.full_name, "it grows for ever: no job moves old messages out of it")


def _is_served(db: Subject, function: Function) -> bool:
    """Tell whether the backend may call a function."""
    return "service_role" in function.may_call and ("service_role", function.schema, "usage") in db.catalog.schema_privileges
