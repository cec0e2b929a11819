"""Rules of the review's chapter Performance: notebook 03_performance."""

import re

from ..catalog import NotSeen
from .subject import Subject, asks_per_row, rule


@rule(18)
def messages_user_id(db: Subject) -> str | None:
    """Policies on messages that compare a column with one call, an index for it, and a rule that keeps the column true."""
    rules = [f"{policy.using} {policy.check}" for policy in db.catalog.policies_of(db.messages.table)]
    if any(re.search(rf"\b{db.sessions.table.name}\b", text) for text in rules):
        return "the policy on messages reads sessions"
    if not db.messages.table.has_rls:
        return "row-level security is off on messages"
    if any(asks_per_row(text) for text in rules):
        return "the policy on messages asks who is calling for each row"
    if not db.messages.has("user_id") or not db.catalog.has_index(db.messages.table, db.messages["user_id"]):
        return "no index finds a learner's messages"
    user = db.messages["user_id"]
    follows = any({*key.columns} == {user, db.messages["session_id"]} for key in db.catalog.foreign_keys(db.messages.table))
    setters = db.catalog.trigger_sources(db.messages.table.oid, "INSERT", before=True)
    sets = any(re.search(rf"new\.{user.lower()}\s*:?=", source) for source in setters)
    return None if follows or sets else f"nothing keeps a message's {user} the session's"


@rule(19)
def session_logs_index(db: Subject) -> str | None:
    """An index by session and moment."""
    pair = (db.logs["session_id"], db.logs["created_at"])
    return None if db.catalog.has_index(db.logs.table, *pair) else "no index finds the logs of one session in order"


@rule(20)
def scenario_history_index(db: Subject) -> str | None:
    """An index by learner, scenario and moment."""
    columns = tuple(db.sessions[name] for name in ("user_id", "scenario_id", "completed_at"))
    return None if db.catalog.has_index(db.sessions.table, *columns) else "no index finds a learner's history of one scenario"


@rule(21)
def message_pages(db: Subject) -> str | None:
    """An index in the order of the pages, down to the id that decides between messages of one instant."""
    order = (db.messages["session_id"], db.moment, db.messages["id"])
    if not db.catalog.has_index(db.messages.table, *order):
        return "no index has the order of the pages"
    default = db.messages.table.columns[db.moment].default or ""
    is_transactions = re.search(r"\b(now\(\)|current_timestamp|transaction_timestamp\(\))", default, re.IGNORECASE)
    return f"{db.moment} is the transaction's moment, so that messages of one request tie" if is_transactions else None


@rule(22)
def message_counts(db: Subject) -> str | None:
    """Counter updates that change no indexed column."""
    name = re.escape(db.sessions.table.name.lower())
    counters = [
        change
        for source in db.catalog.trigger_sources(db.messages.table.oid, "INSERT")
        for change in re.findall(rf"\bupdate\s+(?:\w+\.)?{name}\b.*?\bset\b(.*?)(?:\bwhere\b|;|\Z)", source, re.DOTALL)
    ]
    if not counters:
        raise NotSeen("no trigger counts messages")
    # What stands behind a condition changes now and then only.
    written = {column for change in counters for column in re.findall(r"\b(\w+)\s*=(?!\s*case\b)", change)}
    for source in db.catalog.trigger_sources(db.sessions.table.oid, "UPDATE", before=True):
        written |= {"updated_at"} if re.search(r"new\.updated_at\s*:?=", source) else set()
    touched = [index.name for index in db.catalog.indexes if index.table == db.sessions.table.oid and written & index.words]
    return f"every message writes to {touched[0]}" if touched else None


@rule(23)
def logs_metadata_index(db: Subject) -> str | None:
    """A GIN index over the metadata."""
    found = db.catalog.has_index(db.logs.table, db.logs["metadata"], method="gin")
    return None if found else f"no index looks into {db.logs['metadata']}"
