"""Rules of the review's chapter Security: notebook 04_security."""

import re
from collections.abc import Iterator
from contextlib import suppress

from ..catalog import CLIENTS, NotSeen, Nowhere, quoted
from ..expressions import is_open, words_of
from ..report import Flaw
from ..subject import OnlyBehaviour, Subject, policy_flaw, raises, rule, users_table


@rule(24, "logs")
def logs_writers(db: Subject) -> Iterator[Flaw]:
    """INSERT, UPDATE and DELETE on logs for clients."""
    table = db.logs.table
    held = [
        command
        for command in ("insert", "update", "delete")
        if any(db.catalog.may(role, command, table) for role in db.catalog.clients)
    ]
    if held and table.schema in db.catalog.exposed:
        yield Flaw(
            table.full_name,
            f"clients hold {' and '.join(held).upper()}",
            f"revoke {', '.join(held)} on {table.full_name} from {db.everybody};",
        )


@rule(25, "profiles")
def profile_email(db: Subject) -> Iterator[Flaw]:
    """A CHECK on profiles, or a test in the sign-up trigger, that refuses a blank address."""
    column, table = db.profiles["email"], db.profiles.table
    name = f"{table.full_name}.{db.profiles('email')}"
    sources = db.catalog.checks(table, column)
    sources += [source for source in db.catalog.trigger_sources(table.oid, "INSERT", before=True) if raises(source)]
    with suppress(Nowhere):
        sources += [source for source in db.catalog.trigger_sources(users_table(db), "INSERT") if raises(source)]
    if not any(re.search(rf"\b{re.escape(column.lower())}\b|\bvalue\b", source.lower()) for source in sources):
        fix = f"alter table {table.full_name} add check ({db.profiles('email')} ~ '\\S') not valid;"
        yield Flaw(name, "nothing refuses a blank address", fix)
    elif not any(re.search(r"trim\s*\(|\\s|\[:space:\]|@", source, re.IGNORECASE) for source in sources):
        yield Flaw(name, "a blank address is taken")
    else:
        raise OnlyBehaviour(f"something looks at {column}")


_LOOKED_UP_TYPES = "uuid|text|jsonb|json|date|timestamptz|regclass|name|bytea|citext"
"""Types that are found by the search path; int, boolean and their like belong to the grammar."""


@rule(
    26,
    title="Definer functions that look names up as their caller does",
    why="Whoever calls one puts a table or type of their own before the one that is meant, and it runs with the owner's rights.",
)
def search_path(db: Subject) -> Iterator[Flaw]:
    """The search_path of every SECURITY DEFINER function, and the types that an empty one does not protect."""
    for function in db.catalog.functions.values():
        if not function.is_definer:
            continue
        if function.is_parsed:
            # Its names were looked up when it was made.
            continue
        path, says = function.setting_of_path, ""
        kind = "procedure" if function.is_procedure else "function"
        # What it finds today it has to find tomorrow; temporary objects come last.
        kept = [name.strip() for name in (path or "public").split(",") if name.strip(" \"'") not in ("$user", "pg_temp", "")]
        own = quoted(function.schema)
        order = list(dict.fromkeys([*([own] if path is None and own != "public" else []), *kept, "pg_temp"]))
        fix = f"alter {kind} {function.full_name} set search_path = {', '.join(order)};"
        if path is None:
            says = "it runs with the caller's search_path"
        elif path in ('""', "''", ""):
            named = rf"::\s*({_LOOKED_UP_TYPES})\b|^\s*\w+\s+(constant\s+)?({_LOOKED_UP_TYPES})\b\s*(:=|;)"
            if re.search(named, function.source, re.M):
                says, fix = "it names a type that a temporary one can stand before", ""
        else:
            *schemas, last = [word.strip(" \"'") for word in path.split(",")]
            writable = sorted(db.catalog.open_schemas("create") & {*schemas, last})
            if writable:
                says = "it looks into a schema that clients may write to"
                fix = f"revoke create on schema {quoted(writable[0])} from {db.everybody};"
            elif last != "pg_temp" or "pg_temp" in schemas:
                says = "it lets temporary objects come first"
            elif "$user" in schemas:
                says = "it looks into a schema that clients may write to"
        if says:
            yield Flaw(function.full_name, says, fix)


@rule(27, "profiles")
def profile_policies(db: Subject) -> Iterator[Flaw]:
    """Policies and privileges by which a person deletes and inserts profiles, where sign-up makes them."""
    table = db.profiles.table
    makes = rf"insert\s+into\s+(?:\w+\.)?{re.escape(table.name.lower())}\b"
    if not any(re.search(makes, source) for source in db.catalog.trigger_sources(users_table(db), "INSERT")):
        raise Nowhere("no trigger makes profiles at sign-up, so somebody else has to")
    for command in ("insert", "delete"):
        if not db.can("authenticated", command, table):
            continue
        policies = db.binding(table, "authenticated", command) if table.has_rls else []
        for policy in policies:
            fix = (
                f"drop policy {policy.full_name};"
                if policy.command == command
                else f"revoke {command} on {table.full_name} from authenticated;"
            )
            yield policy_flaw(policy, f"a person may {command} profiles, which sign-up makes", fix)
        if not table.has_rls:
            yield Flaw(table.full_name, f"a person may {command} profiles, which sign-up makes",
                       f"revoke {command} on {table.full_name} from authenticated;")  # fmt: skip


@rule(28, "scenarios")
def public_scenarios(db: Subject) -> Iterator[Flaw]:
    """What a visitor may read of scenarios: no opening message, and nothing inactive."""
    found, table = db.scenarios, db.scenarios.table
    openings = [found[name] for name in ("initial_message_main", "initial_message_helper") if found.has(name)]
    active = found["is_active"] if found.has("is_active") else None
    if "anon" not in db.catalog.roles:
        raise NotSeen("there is no role anon")
    if not openings and active is None:
        raise Nowhere(f"{table.full_name} has no opening messages and nothing that is inactive")
    told = [opening for opening in openings if db.can("anon", "select", table, opening)]
    if told:
        yield Flaw(
            table.full_name, f"a visitor reads {', '.join(told)}", f"revoke select on {table.full_name} from public, anon;"
        )
    columns = [name for name in table.columns if db.can("anon", "select", table, name)]
    if active is not None and columns and _shows_inactive(db, active):
        yield Flaw(table.full_name, "a visitor sees what is inactive")
    views = [view for view in db.catalog.relations if view.kind in "vm" and table.oid in db.catalog.behind(view)]
    meant = [policy for policy in db.binding(table, "anon", "select") if "authenticated" not in policy.roles]
    if meant and not columns and not any(db.catalog.may("anon", "select", view) for view in views):
        yield policy_flaw(meant[0], "it is for visitors, and they hold no privilege to see anything")
    for view in db.catalog.relations:
        behind = db.catalog.behind(view).get(table.oid, set()) if view.kind in "vm" else set()
        asks_itself = view.asks_invoker
        if not behind or view.schema not in db.catalog.exposed:
            continue
        if db.catalog.may("anon", "select", view) and not asks_itself:
            leaked = sorted(behind & {*openings})
            if leaked:
                yield Flaw(
                    view.full_name,
                    f"a visitor reads {', '.join(leaked)} through it",
                    f"revoke select on {view.full_name} from anon;",
                )
            if active is not None and active not in behind and found["title"] in behind:
                yield Flaw(view.full_name, "a visitor sees what is inactive through it")
        if (
            not asks_itself
            and view.is_updatable
            and any(db.catalog.may("anon", verb, view) for verb in ("insert", "update", "delete"))
        ):
            yield Flaw(
                view.full_name, "a visitor writes through it", f"revoke insert, update, delete on {view.full_name} from anon;"
            )


def _shows_inactive(db: Subject, active: str) -> bool:
    """Tell whether some policy lets a visitor pass without looking whether a row is active."""
    table = db.scenarios.table
    if not table.has_rls:
        return True

    def lets_pass(condition: tuple) -> bool:
        words = words_of(condition)
        return (
            active.lower() not in words
            or words[-3:] == ["is", "not", "null"]
            or words[0] == "not"
            or words[-2:] == ["=", "false"]
        )

    closed = any(
        policy.holds_for("anon", "select") and not is_open(policy.using, lets_pass)
        for policy in db.catalog.policies_of(table, permissive=False)
    )
    return not closed and any(is_open(policy.using, lets_pass) for policy in db.binding(table, CLIENTS[0], "select"))
