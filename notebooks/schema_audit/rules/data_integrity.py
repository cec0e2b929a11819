"""Rules of the review's chapter Data integrity: notebook 02_data_integrity."""

import re

from .subject import OnlyBehaviour, Subject, role_values, rule


@rule(8)
def session_times(db: Subject) -> str | None:
    """CHECKs for the order of start and end, and for each counter."""
    wanted = [("started_at", "completed_at"), ("message_count_main",), ("message_count_helper",)]
    actual = [tuple(db.sessions[column] for column in columns) for columns in wanted]
    missing = [" and ".join(columns) for columns in actual if not db.catalog.checks(db.sessions.table, *columns)]
    return f"no constraint on {', '.join(missing)}" if missing else None


def _completion_counters(db: Subject, counter: str) -> list[str]:
    events = ("INSERT", "UPDATE", "DELETE")
    sources = [source for event in events for source in db.catalog.trigger_sources(db.sessions.table.oid, event)]
    return [source for source in sources if re.search(rf"\b{counter.lower()}\s*=", source)]


@rule(9)
def completed_scenario_count(db: Subject) -> str | None:
    """A trigger on sessions that counts a completion."""
    counter = db.profiles["completed_scenario_count"]
    if not _completion_counters(db, counter):
        return f"no trigger keeps {counter}"
    raise OnlyBehaviour(f"a trigger keeps {counter}")


@rule(10)
def weekly_completion_count(db: Subject) -> str | None:
    """A trigger on sessions that counts the week's completions, and looks whether the week is over."""
    counter = db.profiles["current_week_completion_count"]
    counters = _completion_counters(db, counter)
    if not counters:
        return f"no trigger keeps {counter}"
    if any(re.search(r"\bcount\s*\(", source) for source in counters):
        return "the week is counted from the rows, so deleting a session frees a place"
    if not any(re.search(rf"\b{db.profiles.word('week_reset_date')}\s*=", source) for source in counters):
        return "the counting does not see that a week is over"
    raise OnlyBehaviour(f"a trigger keeps {counter}")


@rule(11)
def message_count(db: Subject) -> str | None:
    """A counter that raises an error at a kind of chat that it does not know."""
    counters = [
        source for source in db.catalog.trigger_sources(db.messages.table.oid, "INSERT")
        if db.sessions.word("message_count_main") in source
    ]  # fmt: skip
    if not counters:
        return "no trigger counts messages"
    return (
        None if any("raise exception" in source for source in counters) else "the counter passes over an unknown chat in silence"
    )


@rule(12)
def session_duration(db: Subject) -> str | None:
    """A CHECK on the duration."""
    column = db.sessions["duration_seconds"]
    return None if db.catalog.checks(db.sessions.table, column) else f"no constraint on {column}"


@rule(13)
def enums(db: Subject) -> str | None:
    """Types of the columns that hold a closed list of values."""
    columns = [db.messages.table.columns[db.messages[name]] for name in ("role", "chat_type")]
    free = [column.name for column in columns if re.match(r"text|character|citext", column.type)]
    return f"text: {', '.join(free)}" if free else None


@rule(14)
def role_and_chat(db: Subject) -> str | None:
    """A CHECK over role and chat together, where there are roles that belong to one chat."""
    pair = (db.messages["role"], db.messages["chat_type"])
    if set(role_values(db)) == {"user", "assistant"}:
        return None
    return None if db.catalog.checks(db.messages.table, *pair) else f"no constraint over {' and '.join(pair)}"


@rule(15)
def content_size(db: Subject) -> str | None:
    """A CHECK on the length of the content, or a type with a length."""
    column = db.messages.table.columns[db.messages["content"]]
    limits = [text for text in db.catalog.checks(db.messages.table, column.name) if re.search(r"length\(.*<", text)]
    return None if limits or "(" in column.type else f"no constraint on the length of {column.name}"


@rule(16)
def emoji_size(db: Subject) -> str | None:
    """A CHECK on the emoji's size, from below and from above, that has room for the long ones."""
    limits = " ".join(db.catalog.checks(db.scenarios.table, db.scenarios["emoji"]))
    largest = [int(number) for number in re.findall(r"<=?\s*(\d+)", limits)]
    if not largest:
        return f"no constraint on the size of {db.scenarios['emoji']}"
    if "octet_length" in limits and max(largest) < 35:
        return f"an emoji of a couple with skin tones has 35 bytes, and {max(largest)} are allowed"
    return None if re.search(r">|<>", limits) else "an empty emoji is allowed"


@rule(17)
def scenario_titles(db: Subject) -> str | None:
    """A unique index over the title."""
    title = db.scenarios["title"]
    unique = db.catalog.unique_indexes(db.scenarios.table)
    found = any(len(index.columns) == 1 and title in index.definition for index in unique)
    return None if found else f"nothing makes {title} unique"
