"""Rules of the review's chapter Missing features: notebook 07_missing_features."""

import re

from .subject import OnlyBehaviour, Subject, rule, users_table


@rule(41)
def scenario_completions_index(db: Subject) -> str | None:
    """An index by scenario and completion."""
    pair = (db.sessions["scenario_id"], db.sessions["is_completed"])
    return None if db.catalog.has_index(db.sessions.table, *pair) else "no index finds a scenario's sessions"


@rule(42)
def profile_email(db: Subject) -> str | None:
    """A trigger that carries a changed address over, and an index that keeps it unique."""
    sources = db.catalog.trigger_sources(users_table(db), "UPDATE")
    if not any(db.profiles.word("email") in source for source in sources):
        return "the profile keeps the old address"
    unique = db.catalog.unique_indexes(db.profiles.table)
    if not any(db.profiles["email"] in index.definition for index in unique):
        return "two profiles may share an address"
    raise OnlyBehaviour("a trigger follows the address")


@rule(43)
def rate_limit(db: Subject) -> str | None:
    """A trigger on messages that looks at the clock and refuses, in words that say so."""
    sources = db.catalog.trigger_sources(db.messages.table.oid, "INSERT")
    if not any("interval" in source and re.search(r"429|rate.?limit|too (fast|many|soon)", source) for source in sources):
        return "no trigger limits how fast messages come"
    raise OnlyBehaviour("a trigger looks at the clock")


@rule(44)
def migration_history(db: Subject) -> str | None:
    """The table that records migrations, and its comment."""
    if db.catalog.history is None:
        return "nothing records what is applied"
    return None if db.catalog.history else "nothing says how migrations are ordered and recorded"


@rule(45)
def job_failures(db: Subject) -> str | None:
    """Jobs that catch an error and log it."""
    jobs = [job for job in db.jobs() if not job.is_procedure]
    silent = [job.name for job in jobs if not re.search(r"\bexception\s+when\b", db.catalog.reach(job.oid))]
    if silent:
        return f"{silent[0]}() fails without a trace"
    raise OnlyBehaviour("the jobs catch errors")


@rule(46)
def idempotent_messages(db: Subject) -> str | None:
    """A column for the client's id, and a unique index that ON CONFLICT can name."""
    table = db.messages.table
    names = [name for name in table.columns if re.search(r"client.*id|idempotency|request_id|dedup", name)]
    if not names:
        return "a retry writes the message twice"
    if "authenticated" in db.catalog.roles and not db.catalog.may("authenticated", "insert", table, names[0]):
        return f"a learner may not send {names[0]}"
    key = {names[0], *(db.messages[column] for column in ("session_id", "user_id") if db.messages.has(column))}
    unique = [index for index in db.catalog.unique_indexes(table) if names[0] in index.columns and {*index.columns} <= key]
    if not unique:
        return f"nothing makes {names[0]} unique"
    return None if any(index.predicate is None for index in unique) else "ON CONFLICT finds no constraint to name"
