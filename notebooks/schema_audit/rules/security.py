"""Rules of the review's chapter Security: notebook 04_security."""

import re

from ..catalog import CLIENTS
from .subject import OnlyBehaviour, Subject, rule, users_table


@rule(24)
def logs_writers(db: Subject) -> str | None:
    """INSERT, UPDATE and DELETE on logs for clients."""
    commands = [
        command
        for command in ("insert", "update", "delete")
        if any(db.catalog.may(role, command, db.logs.table) for role in CLIENTS)
    ]
    return f"clients hold {' and '.join(commands).upper()} on logs" if commands else None


@rule(25)
def profile_email(db: Subject) -> str | None:
    """A CHECK on profiles, or a test in the sign-up trigger, that refuses a blank address."""
    column = db.profiles["email"]
    sources = db.catalog.checks(db.profiles.table, column)
    sources += [source for source in db.catalog.trigger_sources(users_table(db), "INSERT") if "raise" in source]
    if not any(column.lower() in source.lower() for source in sources):
        return f"nothing looks at {column} when somebody signs up"
    if not any(re.search(r"trim\s*\(|\\s|\[:space:\]|@", source, re.IGNORECASE) for source in sources):
        return "a blank address is taken"
    raise OnlyBehaviour(f"something looks at {column}")


_LOOKED_UP_TYPES = "uuid|text|jsonb|json|date|timestamptz|regclass|name|bytea|citext"
"""Types that are found by the search path; int, boolean and their like belong to the grammar."""


@rule(26)
def search_path(db: Subject) -> str | None:
    """The search_path of every SECURITY DEFINER function, and the types that an empty one does not protect."""
    for function in db.catalog.functions.values():
        if not function.is_definer:
            continue
        path = function.setting_of_path
        if path is None:
            return f"{function.name}() runs with the caller's search_path"
        if path in ('""', "''", ""):
            named = rf"::\s*({_LOOKED_UP_TYPES})\b|^\s*\w+\s+(constant\s+)?({_LOOKED_UP_TYPES})\b\s*(:=|;)"
            if re.search(named, function.source, re.M):
                return f"{function.name}() names a type that a temporary one can stand before"
        else:
            *schemas, last = [word.strip(" \"'") for word in path.split(",")]
            if last != "pg_temp" or "pg_temp" in schemas:
                return f"{function.name}() lets temporary objects come first"
            if "$user" in schemas or db.catalog.open_schemas("create") & {*schemas}:
                return f"{function.name}() looks into a schema that clients may write to"
    return None


@rule(27)
def profile_policies(db: Subject) -> str | None:
    """Policies and privileges by which a learner deletes and inserts profiles."""
    open_ways = [
        command
        for command in ("insert", "delete")
        if db.catalog.may("authenticated", command, db.profiles.table)
        and db.catalog.opens(db.profiles.table, command, "authenticated")
    ]
    return f"a learner may {' and '.join(open_ways)} profiles" if open_ways else None


@rule(28)
def public_scenarios(db: Subject) -> str | None:
    """What a visitor may read of scenarios: no opening message, nothing inactive, and still the titles."""
    table, title = db.scenarios.table, db.scenarios["title"]
    openings = [db.scenarios[name] for name in ("initial_message_main", "initial_message_helper")]
    policies = [
        policy for policy in db.catalog.policies_of(table)
        if policy.command in ("select", "all") and policy.holds_for("anon")
    ]  # fmt: skip
    opened = db.catalog.opens(table, "select", "anon")
    if opened and any(db.catalog.may("anon", "select", table, opening) for opening in openings):
        return "a visitor reads the opening messages"
    active = db.scenarios["is_active"]
    shows_all = not table.has_rls or any((policy.using or "").strip("()") != active for policy in policies)
    if opened and shows_all and db.catalog.may("anon", "select", table, title):
        return "a visitor sees inactive scenarios"
    views = {
        view.name: db.catalog.columns_behind(view, table)
        for view in db.catalog.relations
        if view.kind in "vm" and db.catalog.may("anon", "select", view)
    }
    leaks = [name for name, columns in views.items() if columns & {*openings}]
    if leaks:
        return f"a visitor reads the opening messages through {leaks[0]}"
    if any(title in columns and active not in columns for columns in views.values()):
        return "a visitor sees inactive scenarios through a view"
    if not any(title in columns for columns in views.values()) and not (
        opened and db.catalog.may("anon", "select", table, title)
    ):
        return "a visitor sees no scenario at all"
    writable = [
        view.name
        for view in db.catalog.relations
        if view.name in views and any(db.catalog.may("anon", verb, view) for verb in ("insert", "update", "delete"))
    ]
    return f"a visitor writes through {writable[0]}" if writable else None
