"""General rules: tables that clients reach, and policies that let somebody pass without asking who they are."""

import re
from collections import defaultdict
from collections.abc import Iterator

from ..callers import is_shown
from ..catalog import COMMANDS, Policy, Relation
from ..expressions import Group, always, names_a_column, words_of
from ..report import Flaw
from ..subject import Subject, general, narrowed, policy_flaw

_DOES = {"select": "read", "insert": "insert", "update": "change", "delete": "delete"}
_SENSITIVE = re.compile(
    r"e_?mail|phone|password|passwd|token|secret|api_?key|ssn|birth|iban|card_?number|address|location|ip_?address", re.IGNORECASE
)


def _who(db: Subject, command: str, table: Relation) -> str:
    return "anybody" if "anon" in db.catalog.roles and db.catalog.may("anon", command, table) else "any account"


@general(
    "high",
    "Row-level security is off where clients have grants",
    "What a client may do with a table, every client does with every row.",
)
def rls_off(db: Subject) -> Iterator[Flaw]:
    """Row-level security of each table that a client holds a privilege on, in the schemas that clients reach."""
    for table in db.exposed_tables:
        parent = db.catalog.by_oid.get(table.parent)
        commands = db.reach_of(table)
        if table.has_rls or not commands or (parent is not None and parent.has_rls):
            continue
        who = "anybody" if any(_who(db, command, table) == "anybody" for command in commands) else "any account"
        told = [
            column
            for column in table.columns
            if _SENSITIVE.search(column) and any(db.catalog.may(role, "select", table, column) for role in db.catalog.clients)
        ]
        among = f", also {', '.join(told)}" if told and "select" in commands else ""
        verbs = " and ".join(filter(None, [", ".join(_DOES[verb] for verb in commands[:-1]), _DOES[commands[-1]]]))
        yield Flaw(
            table.full_name,
            f"{who} may {verbs} all its rows{among}",
            f"alter table {table.full_name} enable row level security;",
        )


@general(
    "high",
    "Clients whom no policy binds",
    "Row-level security is not asked for a role that bypasses it, nor for a table's owner.",
)
def client_unbound(db: Subject) -> Iterator[Flaw]:
    """The attributes of anon and authenticated, and the tables that they own, or their owner's members do."""
    for role, oid in db.catalog.unbound:
        table = db.catalog.by_oid.get(oid)
        if table is not None:
            yield Flaw(
                table.full_name, f"{role} has its owner's rights", f"alter table {table.full_name} force row level security;"
            )
        elif not oid:
            yield Flaw(f"role {role}", "no policy binds it", f"alter role {role} nobypassrls nosuperuser;")


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
            role
            for role in db.catalog.clients
            if policy.holds_for(role, command)
            and db.catalog.may(role, command, table)
            and db.binding(table, role, command)
            and not db.restricted(table, role, command)
        ]
        if not roles:
            continue
        rule = policy.rule(command)
        asks_for_account = re.search(r"auth\.\w+\(\)[^)]*\)* IS NOT NULL|'authenticated'", rule or "") is not None
        who = "anybody" if "anon" in roles and not asks_for_account else "any account"
        if command == "select":
            if table.oid in db.personal and db.callers.is_open(policy.using, table, is_shown) and not _is_social(db, table):
                found.append(f"{who} reads rows of others")
            continue
        # Rows of nobody, such as a form that visitors fill in, may have conditions of their own.
        holds_back = _asks_row if table.oid not in db.personal and command == "insert" else None
        if db.callers.is_open(rule, table, holds_back) and not db.callers.is_open(rule, table, _is_nobodys):
            found.append(f"{who} {_DOES[command]}s rows of nobody")
        elif db.callers.is_open(rule, table, holds_back):
            in_whose = " in the name of others" if command == "insert" and table.oid in db.owners else ""
            found.append(f"{who} {_DOES[command]}s rows{in_whose}")
        elif command == "update" and policy.check and db.callers.is_open(policy.check, table, holds_back):
            found.append("rows can be given to somebody else")
    return " and ".join(dict.fromkeys(found))


_SOCIAL = re.compile(r"like|follow|review|vote|reaction|rating|favou?rite|presence|badge|leaderboard|bookmark|comment|post")


def _is_social(db: Subject, table: Relation) -> bool:
    """Tell whether a table holds what people do in front of others, and nothing of them besides."""
    ours = {found.table.oid for found in db.tables.values()}
    told = any(_SENSITIVE.search(column) for column in table.columns)
    return table.oid not in ours and _SOCIAL.search(table.name.lower()) is not None and not told


def _is_nobodys(condition: Group, table: Relation) -> bool:
    """Tell whether a condition lets pass rows that belong to nobody."""
    return words_of(condition)[-2:] == ["is", "null"] and is_shown(condition, table)


def _asks_row(condition: Group, table: Relation) -> bool:
    """Tell whether a condition asks something of the row: it names a column, and not only whether that is there."""
    words = words_of(condition)
    if "auth" in words or words[-3:] == ["is", "not", "null"]:
        return False
    return any(column.lower() in words for column in table.columns)


def _closed(db: Subject, table: Relation, policy: Policy) -> str:
    """Return the policy as it would ask for the owner; empty where rows have none."""
    owner = db.owners.get(table.oid)
    rule = f"{policy.using} {policy.check}"
    # Another condition beside one that compares a column with itself, or beside rows of nobody, would mend the wrong thing.
    if owner is None or re.search(r"\b(\w+\.\w+) = \1\b|IS NULL", rule):
        return ""
    column = table.columns.get(owner) or db.catalog.by_oid[table.parent].columns[owner]
    if column.plain_type != "uuid" and not column.is_text:
        return ""
    return narrowed(policy, f"{column.quoted} = (select auth.uid()){'::text' if column.is_text else ''}")


@general(
    "low",
    "Policies that only another one holds back",
    "Whoever drops or narrows the restrictive policy opens the table, and nothing in the other one says so.",
)
def policy_leans(db: Subject) -> Iterator[Flaw]:
    """Permissive policies for writing that are true, where a restrictive one asks who is calling."""
    for table in db.exposed_tables:
        for policy in db.catalog.policies_of(table) if table.has_rls else []:
            leans = [
                command
                for command in ("insert", "update", "delete")
                for role in db.catalog.clients
                if policy.holds_for(role, command)
                and db.catalog.may(role, command, table)
                and db.callers.is_open(policy.rule(command), table, lambda condition, on: names_a_column(condition))
                and db.restricted(table, role, command)
            ]
            if leans:
                held = ", ".join(sorted(other.name for other in db.catalog.policies_of(table, permissive=False)))
                yield policy_flaw(
                    policy, f"it lets everybody {' and '.join(dict.fromkeys(leans))}, and only {held} holds them back"
                )


@general(
    "medium",
    "What people do in front of everybody",
    "Likes, follows and reviews are often meant to be seen, and say more of a person than each of them does.",
)
def policy_public(db: Subject) -> Iterator[Flaw]:
    """Policies for reading that let pass whoever calls, on what people do in front of others."""
    for table in db.exposed_tables:
        for policy in (
            db.catalog.policies_of(table) if table.has_rls and table.oid in db.personal and _is_social(db, table) else []
        ):
            roles = [
                role
                for role in db.catalog.clients
                if policy.holds_for(role, "select") and db.can(role, "select", table) and not db.restricted(table, role, "select")
            ]
            if roles and db.callers.is_open(policy.using, table, is_shown):
                yield policy_flaw(policy, f"{'anybody' if 'anon' in roles else 'any account'} reads what others have done")


@general(
    "high",
    "Memberships that people give themselves",
    "Whoever may write the row that lets them in is in: all that the membership guards is open.",
)
def join_open(db: Subject) -> Iterator[Flaw]:
    """INSERT on tables of members that other policies ask: whether it asks anything of what is joined."""
    rules = [(policy.table, f"{policy.using} {policy.check}".lower()) for policy in db.catalog.policies]
    rules += [(0, one.source) for one in db.catalog.plain_functions() if one.returns == "boolean" and db.asks_caller(one)]
    for table in db.exposed_tables:
        if "messages" in db.tables and table.oid == db.messages.table.oid:
            continue
        owner = db.owners.get(table.oid)
        joined = [
            key.columns[0]
            for key in db.catalog.foreign_keys(table)
            if len(key.columns) == 1 and key.columns[0] != owner and key.target not in (db.catalog.accounts, table.oid)
        ]
        if owner is None or not table.has_rls:
            continue
        for column in joined:
            reads = rf"\b(from|join)\s+(?:\w+\.)?\"?{re.escape(table.name.lower())}\b"
            asked = [
                text
                for oid, text in rules
                if oid != table.oid and re.search(reads, text) and re.search(rf"\b{re.escape(column.lower())}\b", text)
            ]
            if not any(owner.lower() in text for text in asked):
                continue
            for policy in {
                policy.name: policy for role in db.catalog.clients if db.can(role, "insert", table)
                for policy in db.binding(table, role, "insert")
            }.values():  # fmt: skip
                asks = always(policy.rule("insert"), lambda condition: column.lower() in words_of(condition))  # noqa: B023
                if not asks and not db.callers.is_open(policy.rule("insert"), table):
                    yield policy_flaw(policy, f"it lets anybody make themselves a member: it asks nothing of {column}")


@general(
    "high",
    "Policies that trust what users write about themselves",
    "Anybody can change their own user_metadata, so it proves nothing about them.",
)
def user_metadata(db: Subject) -> Iterator[Flaw]:
    """Policies that read user_metadata from the claims."""
    written = r"['{,]user_metadata['},]|raw_user_meta_data"
    trusting = [
        rf"\b{re.escape(function.name.lower())}\s*\("
        for function in db.catalog.plain_functions()
        if re.search(written, db.catalog.reach(function.oid))
    ]
    for policy in db.catalog.policies:
        asked = f"{policy.using} {policy.check}".lower()
        if any(re.search(pattern, asked) for pattern in (written, *trusting)):
            yield policy_flaw(policy, "it trusts user_metadata, which users change themselves; app_metadata is the server's")


@general(
    "low",
    "Grants that no policy serves",
    "Nothing passes, though the grants say otherwise: the next one to add a policy may not know what they open.",
)
def rls_no_policy(db: Subject) -> Iterator[Flaw]:
    """Tables with row-level security, grants to clients and no policy."""
    for table in db.exposed_tables:
        restrictive = db.catalog.policies_of(table, permissive=False)
        if table.has_rls and not table.is_partition and db.reach_of(table) and not db.catalog.policies_of(table) + restrictive:
            yield Flaw(
                table.full_name,
                "row-level security is on, clients hold grants, and there is no policy",
                f"revoke all on {table.full_name} from {db.everybody};",
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
