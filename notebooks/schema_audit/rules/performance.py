"""Rules of the review's chapter Performance: notebook 03_performance."""

import re
from collections.abc import Iterator

from ..catalog import Nowhere, Policy, quoted
from ..expressions import Group, always, parsed, subselects, words_of
from ..report import Flaw
from ..shape import Found, plain
from ..subject import Subject, assigns, indexed, narrowed, policy_flaw, raises, rule
from .design import refuses


@rule(
    18,
    "sessions",
    "messages",
    title="Policies on messages that cost, or that do not hold",
    why="A policy is asked for every row; what it looks up is looked up as often, and what it forgets is open.",
)
def messages_user_id(db: Subject) -> Iterator[Flaw]:
    """Policies on messages that compare a column with one call, an index for it, and what keeps the column true."""
    messages, table = db.messages, db.messages.table
    if not db.reach_of(table):
        raise Nowhere(f"no client holds a privilege on {table.full_name}")
    if not table.has_rls:
        yield Flaw(table.full_name, "row-level security is off", f"alter table {table.full_name} enable row level security;")
        return
    owner = messages["user_id"] if messages.has("user_id") else None
    asks_owner = False
    for policy in db.catalog.policies_of(table):
        if not ({*policy.roles} & {*db.catalog.clients}):
            continue
        if policy.command != "insert" and _asks_session(db, policy.using):
            yield policy_flaw(policy, f"it asks about the row of {db.sessions.table.full_name} for every message that is read")
        if db.reader.asks_per_row(f"({policy.using or 'true'}) AND ({policy.check or 'true'})"):
            yield policy_flaw(policy, "it asks who is calling for every row")
        names = words_of(parsed(policy.using)) if policy.using else []
        asks_owner |= owner is not None and owner.lower() in names
    if owner is not None and asks_owner and not db.catalog.has_index(table, owner):
        yield Flaw(table.full_name, f"no index finds the messages of one {owner}",
                   indexed(table, owner))  # fmt: skip
    yield from _into_others(db, owner)


def _asks_session(db: Subject, rule: str | None) -> bool:
    """Tell whether an expression looks for the session of each row, where one person's messages could say whose they are."""
    if rule is None:
        return False
    sessions, messages = db.sessions.table, db.messages.table
    people = {found.table.oid for role, found in db.tables.items() if role == "profiles"} | {db.catalog.accounts}
    if sum(key.target in people for key in db.catalog.foreign_keys(sessions)) > 1:
        return False
    for select in subselects(parsed(rule)):
        words = words_of(select)
        if sessions.name.lower() in words and (_in_own(parsed(rule)) or _names(words, messages.name)):
            return True
    return any(
        re.search(rf"\b{re.escape(sessions.name.lower())}\b", db.catalog.reach(function)) for function in _called(db, rule)
    )


def _names(words: list[str], table: str) -> bool:
    """Tell whether a column is named with its table before it."""
    return any(words[place : place + 2] == [table.lower(), "."] for place in range(len(words)))


def _called(db: Subject, rule: str) -> list[int]:
    """Return the database's own functions that an expression gives something of the row."""
    given = {call.name for call in db.reader.calls(parsed(rule)) if call.name in db.reader.own and call.arguments}
    return [function.oid for function in db.catalog.plain_functions() if f"{function.schema}.{function.name}" in given]


def _into_others(db: Subject, owner: str | None) -> Iterator[Flaw]:
    """Ways in which a client writes into somebody else's session."""
    messages, table, sessions = db.messages, db.messages.table, db.sessions
    if not messages.has("session_id"):
        return
    session = messages["session_id"]
    follows = owner is not None and any(
        {session, owner} <= {*key.columns} and key.target == sessions.table.oid for key in db.catalog.foreign_keys(table)
    )
    if owner is not None and _is_set(db, messages, owner):
        follows = True
    if _refuses_others(db):
        return
    for command, does in (("insert", "writes"), ("update", "moves messages")):
        if not db.can("authenticated", command, table, session if command == "update" else None):
            continue
        restrictive = [one for one in db.catalog.policies_of(table, permissive=False) if one.holds_for("authenticated", command)]
        if not sessions.has("user_id") and (command == "insert" or not _asks_when_written(db, session)):
            # A room of nobody's in particular is open to all, unless writing into it asks.
            continue
        for policy in db.binding(table, "authenticated", command):
            if command == "update" and refuses(db, table, session, by_name=True):
                continue
            if any(_safe(db, one, session, owner, follows) for one in (policy, *restrictive)):
                continue
            says = f"a client {does} into somebody else's {sessions.table.full_name}: it does not ask whose {session} is"
            fix = ""
            if sessions.has("user_id"):
                tie = (
                    f"exists (select from {sessions.table.full_name} as own where own.{sessions('id')} = {messages('session_id')}"
                )
                fix = narrowed(policy, f"{tie} and own.{sessions('user_id')} = (select auth.uid()))")
            yield policy_flaw(policy, says, fix)


def _asks_when_written(db: Subject, session: str) -> bool:
    """Tell whether who writes a message is asked about its session."""
    return any(
        session.lower() in words_of(parsed(policy.check or "true"))
        for policy in db.binding(db.messages.table, "authenticated", "insert")
    )


def _safe(db: Subject, policy: Policy, session: str, owner: str | None, follows: bool) -> bool:
    """Tell whether a policy lets nobody into somebody else's session."""

    def holds(condition: Group) -> bool:
        words = words_of(condition)
        if "not" in words or not db.callers.asks(condition, db.messages.table):
            return False
        if follows and owner is not None and owner.lower() in words:
            return True
        if not any(session.lower() == word for word in words):
            return False
        calls = [call for call in db.reader.calls(condition) if call.name in db.reader.own and call.arguments]
        return bool(calls) or any(_ties_session(db, select, session) for select in subselects((condition,))) or _in_own(condition)

    return always(policy.check or policy.using, holds)


def _ties_session(db: Subject, select: Group, session: str) -> bool:
    """Tell whether a sub-select names the row's session, and not a column of its own that is called so."""
    words = words_of(select)
    return any(
        words[place : place + 3] == [db.messages.table.name.lower(), ".", session.lower()] for place in range(len(words) - 2)
    )


def _in_own(condition: Group) -> bool:
    """Tell whether a condition looks for the session among the caller's own."""
    words = words_of(condition)
    return "in" in words or "any" in words


def _is_set(db: Subject, messages: Found, owner: str) -> bool:
    """Tell whether a trigger sets the owner of each message from its session, whatever the client says."""
    name = re.escape(owner.lower())
    for trigger, source in db.guards(messages.table, "INSERT"):
        sets = assigns(source, owner)
        only_null = re.search(rf"new\.{name}\s+is\s+null|coalesce\s*\(\s*new\.{name}|nullif", source + " " + trigger.condition)
        if sets and not only_null and db.sessions.table.name.lower() in source:
            return True
    return False


def _refuses_others(db: Subject) -> bool:
    """Tell whether a trigger raises an error where the session is not the caller's."""
    if not db.sessions.has("user_id"):
        return False
    owner = re.escape(db.sessions.word("user_id"))
    compares = rf"\b{owner}\b[^;]{{0,80}}\bauth\.uid\s*\(|\bauth\.uid\s*\([^;]{{0,80}}\b{owner}\b"
    return any(
        raises(source) and re.search(compares, source) and db.sessions.table.name.lower() in source
        for _, source in db.guards(db.messages.table, "INSERT")
    )


@rule(19, "logs")
def session_logs_index(db: Subject) -> Iterator[Flaw]:
    """An index by session and moment."""
    table, pair = db.logs.table, (db.logs["session_id"], db.logs["created_at"])
    if not db.catalog.has_index(table, *pair):
        yield Flaw(table.full_name, "no index finds the logs of one session in order",
                   indexed(table, *pair))  # fmt: skip


@rule(20, "sessions", "scenarios")
def scenario_history_index(db: Subject) -> Iterator[Flaw]:
    """An index by learner and scenario."""
    table, pair = db.sessions.table, {db.sessions["user_id"], db.sessions["scenario_id"]}
    if not any(
        index.method == "btree" and {*index.columns[:2]} == pair and (index.predicate is None or _of_done(db, index.predicate))
        for index in db.catalog.indexes_of(table)
    ):
        columns = [db.sessions[name] for name in ("user_id", "scenario_id", "completed_at") if db.sessions.has(name)]
        yield Flaw(table.full_name, "no index finds one person's history of one scenario",
                   indexed(table, *columns))  # fmt: skip


def _of_done(db: Subject, predicate: str) -> bool:
    """Tell whether a predicate leaves out nothing but what is not completed."""
    done = [db.sessions[name] for name in ("is_completed", "completed_at") if db.sessions.has(name)]
    return any(re.fullmatch(rf'\(?"?{re.escape(name)}"?( = true| IS NOT NULL)?\)?', predicate) for name in done)


@rule(21, "messages")
def message_pages(db: Subject) -> Iterator[Flaw]:
    """An index in the order of the pages, down to what decides between messages of one instant."""
    found, table = db.messages, db.messages.table
    session, key = found["session_id"], found["id"]
    column = found.column("id")
    counted = [found["position"]] if found.has("position") else []
    counted += [key] if column.generated and "int" in column.plain_type else []
    if any(db.catalog.has_index(table, session, place) for place in counted):
        return
    moment = db.moment
    if not db.catalog.has_index(table, session, moment, key):
        yield Flaw(table.full_name, f"no index has the order of the pages: {session}, {moment}, {key}",
                   indexed(table, session, moment, key))  # fmt: skip
    if counted:
        return
    default = table.columns[moment].default or ""
    if re.search(r"\b(now\(\)|current_timestamp|localtimestamp|(transaction|statement)_timestamp\(\))", default, re.IGNORECASE):
        yield Flaw(
            table.full_name,
            f"{moment} is one moment for all messages of a request, so that they tie",
            f"alter table {table.full_name} alter {quoted(moment)} set default clock_timestamp();",
        )


@rule(22, "sessions", "messages")
def message_counts(db: Subject) -> Iterator[Flaw]:
    """Counter updates that change no indexed column."""
    name = re.escape(db.sessions.table.name.lower())
    counters = [
        change
        for source in db.catalog.trigger_sources(db.messages.table.oid, "INSERT")
        for change in re.findall(
            rf"\bupdate\s+(?:only\s+)?(?:\w+\.)?{name}\b.*?\bset\b(.*?)(?:\bwhere\b|;|\Z)", source, re.DOTALL
        )
    ]
    if not counters:
        raise Nowhere(f"no trigger on {db.messages.table.full_name} writes to {db.sessions.table.full_name}")
    # What stands behind a condition changes now and then only.
    written = {column for change in counters for column in re.findall(r"\b(\w+)\s*=(?!\s*case\b)", change)}
    for source in db.catalog.trigger_sources(db.sessions.table.oid, "UPDATE", before=True):
        written |= {column for column in re.findall(r"new\.(updated_?at)\s*:?=", source)}
    for index in db.catalog.indexes_of(db.sessions.table):
        touched = written & index.words
        # PostgreSQL 16 leaves BRIN out of what a change of a row has to follow.
        if touched and index.method != "brin":
            yield Flaw(index.full_name, f"every message writes to it, because it holds {', '.join(sorted(touched))}")


@rule(23, "logs")
def logs_metadata_index(db: Subject) -> Iterator[Flaw]:
    """A GIN index over the metadata."""
    table, column = db.logs.table, db.logs["metadata"]
    if db.logs.column("metadata").plain_type != "jsonb":
        raise Nowhere(f"{plain(column)} of {table.full_name} is no jsonb")
    found = any(
        index.method == "gin" and column.lower() in index.words and index.predicate is None
        for index in db.catalog.indexes_of(table)
    )
    if not found:
        yield Flaw(table.full_name, f"no index looks into {column}",
                   f"create index on {table.full_name} using gin ({db.logs('metadata')} jsonb_path_ops);")  # fmt: skip
