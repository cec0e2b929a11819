"""Rules of the review's chapter Missing features: notebook 07_missing_features."""

import re
from collections.abc import Iterator

from ..catalog import Nowhere
from ..report import Flaw
from ..shape import called
from ..subject import OnlyBehaviour, Subject, indexed, rule, users_table


@rule(41, "sessions", "scenarios")
def scenario_completions_index(db: Subject) -> Iterator[Flaw]:
    """An index that begins with the scenario."""
    column, table = db.sessions["scenario_id"], db.sessions.table
    done = db.sessions["is_completed"] if db.sessions.has("is_completed") else ""
    found = any(
        index.columns[:1] == (column,)
        and (index.covers((column,)) or (done and re.fullmatch(rf'\(?"?{re.escape(done)}"?( = true)?\)?', index.predicate or "")))
        for index in db.catalog.indexes_of(table)
        if index.method in ("btree", "hash")
    )
    if not found:
        columns = [db.sessions[name] for name in ("scenario_id", "is_completed") if db.sessions.has(name)]
        yield Flaw(table.full_name, f"no index finds the sessions of one {column}",
                   indexed(table, *columns))  # fmt: skip


@rule(42, "profiles")
def profile_email(db: Subject) -> Iterator[Flaw]:
    """A trigger that carries a changed address over, and an index that keeps it unique."""
    email, table = db.profiles["email"], db.profiles.table
    name = f"{table.full_name}.{db.profiles('email')}"
    users = users_table(db)
    if users != db.catalog.accounts:
        raise Nowhere(f"{table.full_name} copies no address of the platform's accounts")
    followers = [
        trigger
        for trigger in db.catalog.triggers_of(users, "UPDATE")
        if re.search(rf"\b{re.escape(email.lower())}\b", db.catalog.reach(trigger.function))
        and (not trigger.watches or "email" in trigger.watches)
    ]
    if not followers:
        yield Flaw(name, "it keeps the old address when the one in auth.users changes")
        return
    unique = [
        index
        for index in db.catalog.unique_indexes(table)
        if email.lower() in index.words and (index.predicate is None or re.search(r"IS NULL|@|IS NOT NULL\)?$", index.predicate))
        and not re.search(r"delet\w* IS NOT NULL", index.predicate or "")
    ]  # fmt: skip
    if not unique:
        yield Flaw(name, "two profiles may share an address",
                   f"create unique index concurrently on {table.full_name} (lower({db.profiles('email')}));")  # fmt: skip
        return
    raise OnlyBehaviour("a trigger follows the address")


@rule(43, "messages")
def rate_limit(db: Subject) -> Iterator[Flaw]:
    """A trigger on messages that looks at the clock and refuses, in words that say so."""
    table = db.messages.table
    if db.catalog.clients and not db.clients_can("insert", table):
        raise Nowhere(f"clients do not write to {table.full_name}: whoever does can hold back")
    sources = db.catalog.trigger_sources(table.oid, "INSERT")
    sources += [
        db.catalog.reach(function.oid)
        for function in db.catalog.plain_functions()
        if any(
            f"{function.name}(" in (policy.check or "")
            for policy in db.catalog.policies_of(table) + db.catalog.policies_of(table, permissive=False)
        )
    ]
    if not any(
        "interval" in source and re.search(r"429|rate.?limit|too (fast|many|soon)|quota|throttl|slow down", source)
        for source in sources
    ):
        yield Flaw(table.full_name, "no trigger limits how fast messages come")
        return
    raise OnlyBehaviour("something looks at the clock")


@rule(44, "messages", why="Two developers both write the next change, and nobody can tell which of them is applied.")
def migration_history(db: Subject) -> Iterator[Flaw]:
    """The table in which a migration tool records what is applied."""
    if not db.catalog.histories:
        yield Flaw(f"database {db.catalog.database}", "no table records which migrations are applied")


@rule(45, "sessions")
def job_failures(db: Subject) -> Iterator[Flaw]:
    """Jobs that catch an error and log it."""
    jobs = [job for job in db.jobs() if not job.is_procedure]
    silent = [job for job in jobs if not re.search(r"\bexception\s+when\b", db.catalog.reach(job.oid))]
    for job in silent:
        yield Flaw(job.full_name, "it fails without a trace")
    if not silent:
        raise OnlyBehaviour("the jobs catch errors")


@rule(46, "messages")
def idempotent_messages(db: Subject) -> Iterator[Flaw]:
    """A column for the client's id, and a unique index that ON CONFLICT can name."""
    found, table = db.messages, db.messages.table
    names = called(table.columns, r"client.*id|idempot|request_id|dedup|external_id|nonce|provider_message_id|local_id|temp_id")
    if not names:
        if found.has("id") and not found.column("id").default and not found.column("id").generated:
            raise Nowhere(
                f"whoever writes a message of {table.full_name} gives it its key, so that a retry can bring the same one"
            )
        yield Flaw(table.full_name, "a retry writes the message twice: no column holds an id that the client gave")
        return
    name = names[0]
    if db.clients_can("insert", table) and not any(db.catalog.may(role, "insert", table, name) for role in db.catalog.clients):
        yield Flaw(table.full_name, f"a client may not send {name}")
        return
    key = {name, *(found[column] for column in ("session_id", "user_id") if found.has(column))}
    # ON CONFLICT takes no constraint that may be looked at later.
    late = {one.name for one in db.catalog.constraints_of(table, "u") if "DEFERRABLE" in one.definition}
    unique = [
        index
        for index in db.catalog.unique_indexes(table)
        if name in index.columns and {*index.columns} <= key and index.name not in late
    ]
    if not unique:
        yield Flaw(table.full_name, f"nothing makes {name} unique")
    elif not any(index.covers((name,)) for index in unique):
        yield Flaw(table.full_name, f"{name} is unique among some rows only: where {unique[0].predicate}")
