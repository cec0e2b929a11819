"""General rules: tables that clients reach, and policies that let somebody pass without asking who they are."""

import re
from collections import defaultdict
from collections.abc import Iterator

from ..catalog import CLIENTS, COMMANDS, Policy, Relation, quoted
from ..expressions import Group, parsed, subselects, words_of
from ..report import Flaw
from ..subject import Subject, general, policy_flaw, told_by_flag

_DOES = {"select": "read", "insert": "insert", "update": "change", "delete": "delete"}
_SENSITIVE = re.compile(
    r"e_?mail|phone|password|passwd|token|secret|api_?key|ssn|birth|iban|card_?number|address|location|ip_?address", re.IGNORECASE
)


def _who(db: Subject, command: str, table: Relation) -> str:
    return "anybody" if "anon" in db.catalog.roles and db.catalog.may("anon", command, table) else "any account"


@general("high", "Row-level security is off where clients have grants", "What a client may do with a table, every client does with every row.")
def rls_off(db: Subject) -> Iterator[Flaw]:
    """Row-level security of each table that a client holds a privilege on, in the schemas that clients reach."""
    for table in db.exposed_tables:
        parent = db.catalog.by_oid.get(table.parent)
        commands = db.reach_of(table)
        if table.has_rls or not commands or (parent is not None and parent.has_rls):
            continue
        who = "anybody" if any(_who(db, command, table) == "anybody" for command in commands) else "any account"
        told = [column for column in table.columns if _SENSITIVE.search(column)]
        among = f", also {', '.join(told)}" if told and "select" in commands else ""
        verbs = " and ".join(filter(None, [", ".join(_DOES[verb] for verb in commands[:-1]), _DOES[commands[-1]]]))
        yield Flaw(
            table.full_name,
            f"{who} may {verbs} all its rows{among}",
            f"alter table {table.full_name} enable row level security;",
        )


@general("high", "Policies that nobody asks: row-level security is off", "A policy does nothing until row-level security is on.")
def policies_without_rls(db: Subject) -> Iterator[Flaw]:
    """Policies of tables whose row-level security is off."""
    for table in db.catalog.all_relations:
        policies = db.catalog.policies_of(table) + db.catalog.policies_of(table, permissive=False)
        if policies and not table.has_rls and table.kind in "rp":
            names = ", ".join(sorted(policy.name for policy in policies))
            yield Flaw(
                table.full_name,
                f"row-level security is off, so its policies do nothing: {names}",
                f"alter table {table.full_name} enable row level security;",
            )


@general(
    "high",
    "Policies that do not ask who is calling",
    "Whoever has a key to the API, which every visitor's browser has, passes such a policy.",
)
def policy_open(db: Subject) -> Iterator[Flaw]:
    """Policies for clients that let pass whoever calls: for writing on every table, for reading where rows belong to persons."""
    for table in db.exposed_tables:
        if not table.has_rls:
            continue
        for policy in db.catalog.policies_of(table):
            says = _opened(db, table, policy)
            if says:
                yield policy_flaw(policy, says, _closed(db, table, policy))


def _opened(db: Subject, table: Relation, policy: Policy) -> str:
    """Return what a policy lets whoever do; empty where it asks."""
    found = []
    for command in COMMANDS:
        roles = [
            role for role in CLIENTS
            if policy.holds_for(role, command) and role in db.catalog.roles and db.catalog.may(role, command, table)
            and not _closed_otherwise(db, table, role, command)
        ]  # fmt: skip
        if not roles:
            continue
        who = "anybody" if "anon" in roles else "any account"
        if command == "select":
            if table.oid in db.personal and _is_open(db, table, policy.using, reading=True):
                found.append(f"{who} reads {_which(policy.using)}rows of others")
            continue
        rule = policy.rule(command)
        if _is_open(db, table, rule, reading=False):
            found.append(f"{who} {_DOES[command]}s {'rows in the name of others' if command == 'insert' and _owner(db, table) else 'rows'}")
        elif command == "update" and policy.check and _is_open(db, table, policy.check, reading=False):
            found.append("rows can be given to somebody else")
    return " and ".join(dict.fromkeys(found))


def _which(using: str | None) -> str:
    return ""


def _closed_otherwise(db: Subject, table: Relation, role: str, command: str) -> bool:
    return not db.binding(table, role, command) or db.restricted(table, role, command, lambda condition: True)


def _is_open(db: Subject, table: Relation, rule: str | None, *, reading: bool) -> bool:
    def lets_pass(condition: Group) -> bool:
        if reading:
            return not told_by_flag(condition)
        # Rows of nobody, such as a form that visitors fill in, may have conditions of their own.
        return table.oid in db.personal or _always_true(condition)

    if db.reader.is_open(rule, lets_pass):
        return True
    return rule is not None and _asks_of_no_row(db, table, rule)


def _always_true(condition: Group) -> bool:
    words = words_of(condition)
    if not any(re.match(r"[a-z_]", word) for word in words if word not in ("is", "not", "null", "true", "and", "or", "boolean", "text")):
        return True
    return words[-3:] == ["is", "not", "null"] or db_call(words)


def db_call(words: list[str]) -> bool:
    """Tell whether a condition asks for an account only."""
    return words[:2] == ["auth", "."] or words[:4] == ["(", "select", "auth", "."]


def _asks_of_no_row(db: Subject, table: Relation, rule: str) -> bool:
    """Tell whether all that is asked is whether the caller has any parent row, and not the one that this row belongs to."""
    parents = {key.target for key in db.catalog.foreign_keys(table)} & db.personal
    names = {db.catalog.by_oid[oid].name.lower() for oid in parents if oid in db.catalog.by_oid and db.catalog.by_oid[oid].name != table.name}
    group = parsed(rule)
    words = words_of(group)
    if "or" in words or not names:
        return False
    inner = list(subselects(group))
    if not inner:
        return False
    loose = [select for select in inner if set(words_of(select)) & names and not _ties(words_of(select), table)]
    outside = words[: words.index("exists")] if "exists" in words else []
    return bool(loose) and "exists" in words and not outside and len(inner) == 1 and _is_only_exists(words)


def _is_only_exists(words: list[str]) -> bool:
    return words[0] == "exists" and words.count("exists") == 1


def _ties(words: list[str], table: Relation) -> bool:
    """Tell whether a sub-select names a column of the row that the policy is about."""
    return any(word == table.name.lower() and words[place + 1 : place + 2] == ["."] for place, word in enumerate(words))


def _owner(db: Subject, table: Relation) -> str | None:
    return db.owners.get(table.oid)


def _closed(db: Subject, table: Relation, policy: Policy) -> str:
    owner = _owner(db, table)
    if owner is None:
        return ""
    own = f"{quoted(owner)} = (select auth.uid())"
    clauses = []
    if policy.command != "insert":
        clauses.append(f"using ({own})")
    if policy.command in ("insert", "update", "all"):
        clauses.append(f"with check ({own})")
    return f"alter policy {policy.full_name} {' '.join(clauses)};"


@general(
    "high",
    "Policies that trust what users write about themselves",
    "Anybody can change their own user_metadata, so it proves nothing about them.",
)
def user_metadata(db: Subject) -> Iterator[Flaw]:
    """Policies that read user_metadata from the claims."""
    for policy in db.catalog.policies:
        if re.search(r"user_metadata", f"{policy.using} {policy.check}"):
            yield policy_flaw(policy, "it trusts user_metadata, which users change themselves; app_metadata is the server's")


@general(
    "low",
    "Grants that no policy serves",
    "Nothing passes, though the grants say otherwise: the next one to add a policy may not know what they open.",
)
def rls_no_policy(db: Subject) -> Iterator[Flaw]:
    """Tables with row-level security, grants to clients and no policy."""
    for table in db.exposed_tables:
        if table.has_rls and not table.is_partition and db.reach_of(table) and not db.catalog.policies_of(table):
            yield Flaw(
                table.full_name,
                "row-level security is on, clients hold grants, and there is no policy",
                f"revoke all on {table.full_name} from {', '.join(db.catalog.clients)};",
            )


@general("low", "Several policies for one command", "Each of them is asked for every row, until one lets it pass.")
def multiple_permissive(db: Subject) -> Iterator[Flaw]:
    """Permissive policies of one table for the same role and command."""
    for table in db.catalog.tables:
        several: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for command in COMMANDS:
            for role in db.catalog.clients:
                names = tuple(sorted(policy.name for policy in db.catalog.policies_of(table) if policy.holds_for(role, command)))
                if len(names) > 1:
                    several[names].append(f"{command} by {role}")
        for names, for_what in several.items():
            yield Flaw(table.full_name, f"{', '.join(names)} are all asked for {', '.join(dict.fromkeys(for_what))}")
