"""Rules of the review's chapter Critical: notebook 01_critical."""

import re

from ..catalog import NotSeen
from .subject import OnlyBehaviour, Subject, rule


@rule(1)
def completed_at(db: Subject) -> str | None:
    """A CHECK that ties the moment to the completion, and triggers that set it, on insert too."""
    done, moment = db.sessions["is_completed"], db.sessions["completed_at"]
    for event in ("UPDATE", "INSERT"):
        sources = db.catalog.trigger_sources(db.sessions.table.oid, event, before=True)
        if not any(re.search(rf"new\.{moment.lower()}\s*:?=", source) for source in sources):
            return f"no trigger sets {moment} on {event.lower()}"
    return None if db.catalog.checks(db.sessions.table, done, moment) else f"no constraint ties {moment} to {done}"


@rule(2)
def weekly_reset(db: Subject) -> str | None:
    """Functions that set the end of a week: by date_trunc, in a time zone that is written down both ways."""
    column = db.profiles["week_reset_date"]
    name = re.escape(column.lower())
    # It assigns the column, or names it in an insert's list.
    writes = re.compile(rf"\b{name}\W?\s*:?=(?!=)|\binsert\s+into\b[^;()]*\([^)]*\b{name}\b", re.DOTALL)
    writers = [function for function in db.catalog.functions.values() if writes.search(function.source)]
    if not writers:
        raise NotSeen(f"no function here sets {column}")
    for function in writers:
        source = db.catalog.reach(function.oid)
        if not re.search(r"date_trunc\s*\(\s*'week'", source):
            return f"{function.name}() counts seven days from any moment"
        zone_is_set = any(setting.lower().startswith("timezone=") for setting in function.settings)
        if source.count("at time zone") < 2 and not zone_is_set:
            return f"{function.name}() depends on the session's time zone"
    return None


@rule(3)
def completed_sessions(db: Subject) -> str | None:
    """A BEFORE INSERT trigger on messages that reads the session's completion, and locks the session."""
    guards = [
        source for source in db.catalog.trigger_sources(db.messages.table.oid, "INSERT", before=True)
        if db.sessions.word("is_completed") in source
    ]  # fmt: skip
    if not guards:
        return "no trigger asks whether the session is completed"
    if not any(re.search(r"\bfor\s+(no\s+key\s+)?update\b|\bfor\s+share\b", source) for source in guards):
        return "the guard does not lock the session, so two connections pass it"
    raise OnlyBehaviour("a guard that locks the session is there")


@rule(4)
def streaming(db: Subject) -> str | None:
    """A table beside messages for the fragments of a reply."""
    parts = re.compile(r"seq|sequence|position|ordinal|chunk_index|chunk_no|part_no")
    for table in db.catalog.relations:
        words = [name for name in table.columns if parts.fullmatch(name)]
        if table.kind in "rp" and words and any(re.search(r"message|reply", name) for name in table.columns):
            return None
    return "a reply has no place to stream to"


@rule(5)
def sessions_created_at(db: Subject) -> str | None:
    """One column that says when a session began."""
    both = db.sessions.has("started_at") and db.sessions.has("created_at")
    return f"{db.sessions['started_at']} and created_at hold one fact" if both else None


@rule(6)
def extensions(db: Subject) -> str | None:
    """The declared extensions, in a schema of their own."""
    missing = [name for name in ("citext", "pgcrypto") if db.catalog.extensions.get(name, "public") == "public"]
    return f"not declared outside public: {', '.join(missing)}" if missing else None


@rule(7)
def messages_sent_at(db: Subject) -> str | None:
    """One moment a message, whose name says what happened then."""
    columns = db.messages.table.columns.values()
    moments = [column.name for column in columns if column.type.startswith("timestamp") and column.default]
    misnamed = [name for name in moments if name in ("timestamp", "date", "time", "datetime")]
    return f"messages has {' and '.join(moments)}" if len(moments) > 1 or misnamed else None
