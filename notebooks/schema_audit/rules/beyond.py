"""Rules of the flaws beyond the review: notebook 08_beyond."""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

from ..catalog import CLIENTS, Function, Index, NotSeen, Nowhere, Relation, quoted
from ..expressions import Group, always, words_of
from ..report import Flaw
from ..shape import Found, called
from ..subject import Subject, assigns, by_number, indexed, listed_values, policy_flaw, revoked, rule
from .data_integrity import counters_of
from .design import refuses


@rule(
    47,
    title="Definer functions that anybody may call",
    why="The API offers every function that a client may execute, and no policy binds one that runs as its owner.",
)
def function_grants(db: Subject) -> Iterator[Flaw]:
    """SECURITY DEFINER functions that a client may call, also those that are made tomorrow."""
    definers = [
        function for function in db.catalog.plain_functions() if function.is_definer and function.schema in db.catalog.exposed
    ]
    for function in definers:
        if "anon" in function.callers or (function.callers and not db.asks_caller(function)):
            who = "anybody" if "anon" in function.callers else "any account"
            asks = ", though it asks who is calling" if db.asks_caller(function) else ""
            yield Flaw(function.full_name, f"{who} may call it{asks}, and it runs as its owner", _uncallable(db, function))
    schemas = {function.schema for function in definers}
    for schema in sorted(schemas):
        owners = sorted(
            {default.owner for default in db.catalog.defaults if default.kind == "functions" and default.schema == schema}
        )
        for owner in owners:
            yield Flaw(
                f"functions that {owner} makes tomorrow in {schema}",
                "clients may call each of them",
                f"alter default privileges for role {owner} revoke execute on functions from {db.everybody};"
                f" alter default privileges for role {owner} in schema {quoted(schema)}"
                f" revoke execute on functions from {db.everybody};",
            )


def _uncallable(db: Subject, function: Function) -> str:
    """Return the statement that takes a function from clients, but for those whose policies call it."""
    name = re.escape(function.name.lower())
    needing = {
        role
        for policy in db.catalog.policies
        for role in policy.roles
        if role in db.catalog.clients and re.search(rf"\b{name}\W*\(", f"{policy.using} {policy.check}".lower())
    }
    kind = "procedure" if function.is_procedure else "function"
    if "anon" in needing:
        return ""
    revoked_from = ", ".join(role for role in ("public", *db.catalog.clients) if role not in needing)
    kept = f" grant execute on {kind} {function.full_name} to {', '.join(sorted(needing))};" if needing else ""
    return f"revoke execute on {kind} {function.full_name} from {revoked_from};{kept}"


_RANKS = (
    r"^(roles?|user_role|is_(super_?)?admin|is_moderator|is_staff|is_superuser|admin|plan|tier|subscription.*|credits?(_\w+)?"
    r"|balance"
    r"|quota(_\w+)?|coins|tokens?_(left|used|remaining|limit)"
    r"|xp|points|level|streak.*|is_premium|is_pro|premium.*)$"
)


@rule(
    48,
    "profiles",
    title="Counts and ranks that a person may set themselves",
    why="Whatever limits people by these columns lets each of them write their own.",
)
def profile_columns(db: Subject) -> Iterator[Flaw]:
    """UPDATE on the counts of profiles for persons, and on what says what they may do."""
    found, table = db.profiles, db.profiles.table
    counts = [
        found[name]
        for name in ("current_week_completion_count", "completed_scenario_count", "week_reset_date")
        if found.has(name)
    ]
    ranks = [name for name in called(table.columns, _RANKS) if name not in counts]
    if not counts and not ranks:
        raise Nowhere(f"{table.full_name} has nothing that counts or ranks")
    open_ones = [
        name for name in counts + ranks if db.clients_can("update", table, name) and not refuses(db, table, name, by_name=True)
    ]
    made = [name for name in ranks if db.clients_can("insert", table, name) and not _is_set(db, name, table)]
    if made:
        yield Flaw(
            table.full_name,
            f"a person who makes their profile gives themselves {', '.join(made)}",
            revoked(db, table, "insert"),
        )
    if open_ones:
        yield Flaw(
            table.full_name,
            f"a person sets their own {', '.join(open_ones)}",
            revoked(db, table, "update"),
        )


_USERS = {
    "user",
    "human",
    "me",
    "learner",
    "student",
    "customer",
    "client",
    "person",
    "end_user",
    "participant",
    "patient",
    "member",
    "visitor",
}


_HELPERS = {"assistant", "ai", "bot", "model", "agent", "llm"}


@rule(
    49,
    "messages",
    title="Messages that a person writes in the name of another, or in the past",
    why="A conversation may hold answers that nobody gave.",
)
def message_columns(db: Subject) -> Iterator[Flaw]:
    """INSERT on a message's moment for clients, and a policy that holds them to their own role."""
    found, table = db.messages, db.messages.table
    if not db.clients_can("insert", table) and not db.clients_can("update", table, found["content"]):
        raise Nowhere(f"clients do not write to {table.full_name}")
    if found.has("role"):
        yield from _speakers(db, found)
    moment = next((found[name] for name in ("sent_at", "timestamp", "created_at") if found.has(name)), None)
    if moment and db.clients_can("insert", table, moment) and not _is_set(db, moment):
        yield Flaw(table.full_name, f"a person writes in the past: {moment} is theirs to give",
                   revoked(db, table, "insert"))  # fmt: skip
    edited = called(table.columns, r"^(is_)?edited(_at)?$")
    if (
        db.clients_can("update", table, found["content"])
        and not refuses(db, table, found["content"], by_name=True)
        and not edited
    ):
        yield Flaw(table.full_name, f"a person rewrites {found['content']}",
                   f"revoke update on {table.full_name} from {db.everybody};")  # fmt: skip


def _speakers(db: Subject, found: Found) -> Iterator[Flaw]:
    table, role = found.table, found["role"]
    if not db.clients_can("insert", table, role) or _is_set(db, role) or _refuses_role(db, role):
        return

    def binds(condition: Group) -> bool:
        words = words_of(condition)
        if role.lower() not in words:
            return False
        values = {word.strip("'").lower() for word in words if word.startswith("'")}
        if "<>" in words or "not" in words:
            others = {value.lower() for value in listed_values(db, found, "role")} - _USERS
            shut_out = others <= values if others else bool(values & _HELPERS)
            return shut_out or found.column("role").plain_type == "boolean"
        if found.column("role").plain_type == "boolean":
            return True
        # One word that is none of the usual ones may well mean the person.
        told = values & _USERS or {value.lower() for value in listed_values(db, found, "role")} & _USERS
        return values <= _USERS if told else len(values) == 1

    if not table.has_rls:
        yield Flaw(table.full_name, f"a person writes as whoever they like: {role} is theirs to give")
        return
    for client in CLIENTS:
        held = [policy for policy in db.catalog.policies_of(table, permissive=False) if policy.holds_for(client, "insert")]
        if not db.can(client, "insert", table, role) or any(always(policy.rule("insert"), binds) for policy in held):
            continue
        for policy in db.binding(table, client, "insert"):
            if not always(policy.rule("insert"), binds):
                yield policy_flaw(policy, f"a person writes as whoever they like: it does not ask for {role}")
        if client == "anon" and any(
            policy.holds_for("authenticated", "insert") for policy in db.binding(table, client, "insert")
        ):
            return


def _refuses_role(db: Subject, role: str) -> bool:
    """Tell whether a trigger raises an error at a role that is not the caller's."""
    decides = rf"\bif\b[^;]*\bnew\.{re.escape(role.lower())}\b[^;]*\bthen\s+raise\b"
    asks = r"auth\.\w+\s*\(|request\.jwt|row_security_active|current_user|session_user"
    return any(
        re.search(decides, source) and re.search(asks, source + trigger.condition)
        for trigger, source in db.guards(db.messages.table, "INSERT")
    )


def _is_set(db: Subject, column: str, table: Relation | None = None) -> bool:
    """Tell whether a trigger sets a column of each new row, a message's where no table is named, whatever the client says."""
    name = re.escape(column.lower())
    only_null = rf"new\.{name}\s+is\s+null|coalesce\s*\(\s*new\.{name}"
    return any(
        assigns(source, column) and not re.search(only_null, source + trigger.condition)
        for trigger, source in db.guards(table or db.messages.table, "INSERT")
    )


_FACTS = (
    "started_at", "created_at", "completed_at", "last_activity_at", "duration_seconds", "score",
)  # fmt: skip


_BILLED = r"^(total_)?(tokens?|cost|price|credits?)(_\w+)?$|_(tokens|cost|credits)$"


@rule(
    50,
    "sessions",
    title="Counts and dates of a conversation that a person may rewrite",
    why="What a conversation says of itself is whatever its owner has sent.",
)
def session_columns(db: Subject) -> Iterator[Flaw]:
    """UPDATE on the counts and dates of sessions for clients, and DELETE on completed ones."""
    found, table = db.sessions, db.sessions.table
    facts = [found[name] for name in (*counters_of(db), *_FACTS) if found.has(name)]
    facts += [name for name in called(table.columns, _BILLED) if name not in facts]
    open_ones = [name for name in facts if db.clients_can("update", table, name) and not refuses(db, table, name, by_name=True)]
    if open_ones:
        yield Flaw(
            table.full_name,
            f"a person changes {', '.join(open_ones)}",
            revoked(db, table, "update"),
        )
    if not found.has("is_completed") or not db.clients_can("delete", table):
        return
    done = found["is_completed"]

    def keeps(condition: Group) -> bool:
        words = words_of(condition)
        ends = (["=", "false"], ["is", "false"], ["<>", "true"])
        negated = (
            words in (["not", done.lower()], ["not", "(", done.lower(), ")"])
            or words[-2:] in ends
            or words[-3:] == ["is", "not", "true"]
            or words[:2] == ["false", "="]
        )
        # Who deletes only what has no end deletes nothing that is completed.
        ended = found["completed_at"].lower() if found.has("completed_at") else ""
        return (done.lower() in words and negated) or (ended in words and words[-2:] == ["is", "null"])

    if not table.has_rls:
        yield Flaw(table.full_name, "a person deletes completed sessions")
        return
    kept = [policy for policy in db.catalog.policies_of(table, permissive=False) if policy.holds_for("authenticated", "delete")]
    guarded = any("raise" in source and done.lower() in source for source in db.catalog.trigger_sources(table.oid, "DELETE"))
    if guarded or any(always(policy.using, keeps) for policy in kept):
        return
    for role in CLIENTS:
        if db.can(role, "delete", table):
            for policy in db.binding(table, role, "delete"):
                if not always(policy.using, keeps):
                    yield policy_flaw(policy, "a person deletes completed sessions")


@rule(
    51,
    title="Policies that ask who is calling for every row",
    why="A query that reads a thousand rows asks a thousand times whose they are.",
)
def policies_ask_once(db: Subject) -> Iterator[Flaw]:
    """Policies that call auth.uid(), its like, or a function of one's own that does, outside a sub-select."""
    for policy in db.catalog.policies:
        calls = sorted({*db.reader.asks_per_row(policy.using), *db.reader.asks_per_row(policy.check)})
        if calls:
            clauses = [
                f"{keyword} ({_wrapped(rule, calls)})"
                for keyword, rule in (("using", policy.using), ("with check", policy.check))
                if rule is not None
            ]
            yield policy_flaw(
                policy, f"it calls {', '.join(f'{call}()' for call in calls)} for every row",
                f"alter policy {policy.full_name} {' '.join(clauses)};",
            )  # fmt: skip


def _wrapped(rule: str, calls: list[str]) -> str:
    text = rule.strip()
    while text.startswith("(") and text.endswith(")") and _is_one(text):
        text = text[1:-1]
    for call in sorted(calls, key=lambda call: call.startswith("auth.")):
        name = r"\.".join(f'"?{re.escape(part)}"?' for part in call.split("."))
        for found in reversed(list(re.finditer(rf"(?<!SELECT )(?<![\w.\"]){name}\(", text))):
            end = found.end() + _closing(text[found.end() :])
            if "select " not in text[max(0, found.start() - 8) : found.start()].lower():
                text = f"{text[: found.start()]}(select {text[found.start() : end]}){text[end:]}"
    return text


def _closing(text: str) -> int:
    """Return where the parenthesis that is open at the beginning ends."""
    depth = 1
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return place + 1
    return len(text)


def _is_one(text: str) -> bool:
    depth = 0
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return place == len(text) - 1
    return False


@rule(
    52,
    title="Keys without an index, and indexes twice",
    why="Deleting a row reads all that may point to it, and every write keeps an index that no query needs.",
)
def redundant_indexes(db: Subject) -> Iterator[Flaw]:
    """Foreign keys that no index serves, and indexes that another one begins with."""
    proposed = _proposed(db)
    for key in db.catalog.constraints:
        if key.type != "f":
            continue
        table = db.catalog.by_oid.get(key.table)
        served = any(
            index.method in ("btree", "hash") and index.columns[0] in key.columns and index.covers(key.columns)
            for index in db.catalog.indexes_of(key.table)
        )
        if not served and table is not None:
            fix = indexed(table, *key.columns)
            # A longer one that another rule proposes serves the key too.
            fix = next((other for other in sorted(proposed) if other.startswith(fix.removesuffix(");"))), fix)
            yield Flaw(table.full_name, f"no index serves the foreign key {key.name}", fix)
    by_table: dict[int, list[Index]] = defaultdict(list)
    for index in db.catalog.indexes:
        by_table[index.table].append(index)
    for indexes in by_table.values():
        for short in indexes:
            longer = next((long for long in indexes if _stands_for(long, short)), None)
            if longer is not None:
                yield Flaw(short.full_name, f"{longer.name} begins with it", _dropped(db, short))


def _dropped(db: Subject, index: Index) -> str:
    """Return the statement that drops an index; a partitioned one cannot go beside others' work."""
    how = "" if db.catalog.by_oid[index.table].kind == "p" else " concurrently"
    return f"drop index{how} {index.full_name};"


def _proposed(db: Subject) -> set[str]:
    """Return the indexes that other rules propose, which serve foreign keys too."""
    found: set[str] = set()
    for other in (by_number(number) for number in (19, 20, 41)):
        if {*other.needs} <= {*db.tables}:
            with suppress(NotSeen, Nowhere):
                found |= {flaw.fix for flaw in other.examine(db)}
    return found


def _stands_for(long: Index, short: Index) -> bool:
    """Tell whether whatever one index is good for, another one is too."""
    if long.name == short.name or long.method != short.method or short.is_constraints or long.predicate != short.predicate:
        return False
    if short.predicate is not None and long.keys != short.keys:
        return False
    if long.keys[: len(short.keys)] != short.keys or (short.includes and _after_keys(short) != _after_keys(long)):
        return False
    if short.unique:
        # Two that say the same of the same columns.
        same = long.unique and long.keys == short.keys and _after_keys(long) == _after_keys(short)
        return same and (long.is_constraints or long.name < short.name)
    if long.method != "btree" and long.keys != short.keys:
        return False
    if len(long.keys) > len(short.keys) or long.unique:
        return True
    # Of two that are the same, one is double.
    return _after_keys(long) == _after_keys(short) and long.name < short.name


def _after_keys(index: Index) -> str:
    """Return what an index carries along, and whether it takes two nulls."""
    return " ".join(re.findall(r" INCLUDE \([^)]*\)| NULLS NOT DISTINCT", index.definition))


@rule(
    53,
    title="More granted than anybody needs",
    why="TRUNCATE asks no policy, and what is granted by default is granted on the next table too.",
)
def least_privilege(db: Subject) -> Iterator[Flaw]:
    """TRUNCATE, TRIGGER, REFERENCES and MAINTAIN for clients, and what they are granted on a table that is made tomorrow."""
    if not db.catalog.clients:
        raise NotSeen("there is no role anon or authenticated")
    for table in db.exposed_tables:
        held = [
            command for command in ("truncate", "trigger", "references", "maintain")
            if any(db.catalog.may(role, command, table) for role in db.catalog.clients)
        ]  # fmt: skip
        if held:
            yield Flaw(table.full_name, f"clients hold {', '.join(held).upper()}",
                       f"revoke {', '.join(held)} on {table.full_name} from {db.everybody};")  # fmt: skip
    for schema in sorted(db.catalog.exposed):
        for owner in sorted({one.owner for one in db.catalog.defaults if one.kind == "tables" and one.schema == schema}):
            yield Flaw(
                f"tables that {owner} makes tomorrow in {schema}",
                "they are open to clients",
                f"alter default privileges for role {owner} revoke all on tables from {db.everybody};"
                f" alter default privileges for role {owner} in schema {quoted(schema)}"
                f" revoke all on tables from {db.everybody};",
            )


_IN_TIME = re.compile(r"clock_timestamp|\bnow\s*\(|current_timestamp|epoch|nextval")


@rule(54, "messages")
def keys_in_order(db: Subject) -> Iterator[Flaw]:
    """Random keys where rows come in by the million and stay: messages, and logs where there are any."""
    for name in ("messages", "logs"):
        found = db.tables.get(name)
        if found is None or not found.has("id"):
            continue
        default = (found.column("id").default or "").lower().replace('"', "")
        own = [
            db.catalog.reach(function.oid)
            for function in db.catalog.plain_functions()
            if re.match(rf"\(*(\w+\.)?{re.escape(function.name.lower())}\(", default)
        ]
        # A key that begins with the time comes in order, whatever ends it.
        if any(
            re.search(r"gen_random_uuid|uuid_generate_v4|\brandom\s*\(", text) and not _IN_TIME.search(text)
            for text in own or [default]
        ):
            yield Flaw(f"{found.table.full_name}.{found('id')}", "its keys are random")
