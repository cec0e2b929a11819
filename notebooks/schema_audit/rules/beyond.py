"""Rules of the flaws beyond the review: notebook 08_beyond."""

import re

from ..catalog import CLIENTS, NotSeen
from ..names import Found
from .subject import Subject, asks_per_row, rule


@rule(47)
def function_grants(db: Subject) -> str | None:
    """Functions that a client may call, also one that is made tomorrow."""
    found = sorted(
        function.name
        for function in db.catalog.plain_functions()
        if function.schema in db.exposed() | db.catalog.open_schemas("usage") and function.callers
    )
    if found:
        jobs = [job.name for job in db.jobs() if job.name in found]
        return f"functions that clients may call: {len(found)}, such as {(jobs or found)[0]}"
    return "clients may call every function that is made tomorrow" if "functions" in db.catalog.open_defaults else None


def _may_update(db: Subject, found: Found, column: str) -> bool:
    return any(
        db.catalog.may(role, "update", found.table, found[column]) and db.catalog.opens(found.table, "update", role)
        for role in CLIENTS
    )


@rule(48)
def profile_columns(db: Subject) -> str | None:
    """UPDATE on the counts of profiles for learners."""
    counts = ("current_week_completion_count", "completed_scenario_count", "week_reset_date")
    found = [db.profiles[name] for name in counts if _may_update(db, db.profiles, name)]
    return f"a learner sets {', '.join(found)}" if found else None


@rule(49)
def message_columns(db: Subject) -> str | None:
    """INSERT on a message's moment for learners, and a policy that holds them to their own role."""
    rules = [
        policy.check or policy.using or ""
        for policy in db.catalog.policies_of(db.messages.table)
        if policy.command in ("insert", "all") and policy.holds_for("authenticated")
    ]
    role, table = db.messages["role"], db.messages.table
    opened = db.catalog.opens(table, "insert", "authenticated")
    held = re.compile(rf"\(?\b{role} = 'user'")
    forged = {
        "as the assistant": opened
        and db.catalog.may("authenticated", "insert", table, role)
        and (not table.has_rls or any(not held.search(text) or " OR " in text for text in rules)),
        "in the past": opened and db.catalog.may("authenticated", "insert", table, db.moment),
        "over what was said": _may_update(db, db.messages, "content"),
    }
    found = [what for what, is_open in forged.items() if is_open]
    return f"a learner writes {' and '.join(found)}" if found else None


@rule(50)
def session_columns(db: Subject) -> str | None:
    """UPDATE on the counts and dates of sessions for learners, and DELETE on completed ones."""
    done = db.sessions["is_completed"]
    kept = ("message_count_main", "message_count_helper", "started_at", "completed_at", "last_activity_at", "duration_seconds")
    found = [db.sessions[name] for name in kept if db.sessions.has(name) and _may_update(db, db.sessions, name)]
    if db.catalog.may("authenticated", "delete", db.sessions.table) and (
        not db.sessions.table.has_rls
        or any(
            policy.command in ("delete", "all")
            and policy.holds_for("authenticated")
            and not re.search(rf"NOT \(?{done}\b", policy.using or "")
            for policy in db.catalog.policies_of(db.sessions.table)
        )
    ):
        found.append("history")
    return f"a learner changes a session's {', '.join(found)}" if found else None


@rule(51)
def policies_ask_once(db: Subject) -> str | None:
    """Policies that call auth.uid() outside a sub-select."""
    asking = [policy.name for policy in db.catalog.policies if asks_per_row(f"{policy.using} {policy.check}")]
    return f"policies that ask once a row: {len(asking)}" if asking else None


@rule(52)
def redundant_indexes(db: Subject) -> str | None:
    """Foreign keys that no index serves, and indexes that another one begins with."""
    indexes = db.catalog.indexes
    missing = [
        key.name for key in db.catalog.constraints
        if key.type == "f" and not any(
            index.table == key.table and index.method in ("btree", "hash") and index.columns[0] in key.columns
            and index.covers(key.columns)
            for index in indexes
        )
    ]  # fmt: skip
    double = [
        short.name for short in indexes
        if not short.unique and not short.predicate and any(
            long.table == short.table and long.method == short.method and not long.predicate
            and "" not in short.columns and long.columns[: len(short.columns)] == short.columns
            # Of two that are the same, one is double.
            and (len(long.columns) > len(short.columns) or long.unique or long.name < short.name)
            for long in indexes
        )
    ]  # fmt: skip
    found = [
        f"{what}: {', '.join(names)}" for what, names in (("keys without index", missing), ("double indexes", double)) if names
    ]
    return "; ".join(found) or None


@rule(53)
def least_privilege(db: Subject) -> str | None:
    """TRUNCATE for clients, and what they are granted on a table that is made tomorrow."""
    ours = [table for table in db.catalog.relations if table.schema in db.exposed() and table.kind in "rp"]
    roles = [role for role in CLIENTS if role in db.catalog.roles]
    if not roles:
        raise NotSeen("there is no role anon or authenticated")
    for command in ("truncate", "trigger", "references"):
        held = [table.name for table in ours if any(db.catalog.may(role, command, table) for role in roles)]
        if held:
            return f"clients hold {command.upper()} on {len(held)} tables, such as {held[0]}"
    bare = [
        table.name
        for table in ours
        if not table.has_rls
        and any(db.catalog.may(role, command, table) for role in roles for command in ("select", "insert", "update", "delete"))
    ]
    if bare:
        return f"no policy guards what clients may do with {bare[0]}"
    return "a table made tomorrow is open to clients" if "tables" in db.catalog.open_defaults else None


@rule(54)
def keys_in_order(db: Subject) -> str | None:
    """Random keys where rows come in by the million and stay: messages, and logs where there are any."""
    growing = [found for name in ("messages", "logs") if (found := db.tables.get(name)) and found.has("id")]
    random = [
        found.table.name
        for found in growing
        if re.fullmatch(r"([\w\"]+\.)?(gen_random_uuid|uuid_generate_v4)\(\)", found.table.columns[found["id"]].default or "")
    ]
    return f"random keys in {' and '.join(random)}" if random else None
