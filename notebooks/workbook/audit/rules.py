"""One rule for each issue: what the catalog shows of its flaw."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from .catalog import CLIENTS, Catalog, Function, NotSeen
from .names import Found


class OnlyBehaviour(Exception):
    """The catalog shows a safeguard; whether it works, only trying it shows. The message says what is there."""


@dataclass(frozen=True)
class Subject:
    """A database under audit: its catalog, and its tables by the names that the issues use."""

    catalog: Catalog
    tables: dict[str, Found]

    def __getattr__(self, name: str) -> Found:
        """Return one of the five tables.

        Raises:
            NotSeen: none resembles it.
        """
        if name not in self.tables:
            raise NotSeen(f"no table resembles {name}")
        return self.tables[name]

    @property
    def moment(self) -> str:
        """What the column is called by which messages are ordered."""
        for name in ("sent_at", "timestamp", "created_at"):
            if self.messages.has(name):
                return self.messages[name]
        raise NotSeen(f"{self.messages.table.full_name} has no column that says when")

    def jobs(self) -> list[Function]:
        """Return the maintenance functions: callable, no triggers, and deleting sessions or logs or ending weeks."""
        targets = [found.table.name for name, found in self.tables.items() if name in ("sessions", "logs")]
        deletes = "|".join(rf"delete\s+from\s+(?:\w+\.)?{re.escape(name.lower())}\b" for name in targets)
        found = []
        for function in self.catalog.plain_functions():
            source = self.catalog.reach(function.oid)
            if function.schema in self.exposed() and (re.search(deletes, source) or self._ends_weeks(source)):
                found.append(function)
        if not found:
            raise NotSeen("no function here deletes sessions or logs, or ends weeks: jobs may run elsewhere")
        return found

    def _ends_weeks(self, source: str) -> bool:
        return "profiles" in self.tables and re.search(rf"{self.profiles.word('week_reset_date')}\s*=", source) is not None

    def exposed(self) -> set[str]:
        """Return the schemas that hold the five tables: those that the API serves."""
        return {found.table.schema for found in self.tables.values()}


Rule = Callable[[Subject], str | None]
"""Returns what it sees of the flaw in a few words, or None; raises `NotSeen` or `OnlyBehaviour`."""

RULES: dict[int, Rule] = {}


def rule(number: int) -> Callable[[Rule], Rule]:
    """Register the rule of an issue."""

    def register(function: Rule) -> Rule:
        RULES[number] = function
        return function

    return register


@rule(1)
def completion_without_moment(db: Subject) -> str | None:
    """A CHECK that ties the moment to the completion, and triggers that set it, on insert too."""
    done, moment = db.sessions["is_completed"], db.sessions["completed_at"]
    for event in ("UPDATE", "INSERT"):
        sources = db.catalog.trigger_sources(db.sessions.table.oid, event, before=True)
        if not any(re.search(rf"new\.{moment.lower()}\s*:?=", source) for source in sources):
            return f"no trigger sets {moment} on {event.lower()}"
    return None if db.catalog.checks(db.sessions.table, done, moment) else f"no constraint ties {moment} to {done}"


@rule(2)
def week_not_aligned(db: Subject) -> str | None:
    """Functions that set the end of a week: by date_trunc, in a time zone that is written down both ways."""
    column = db.profiles["week_reset_date"]
    name = re.escape(column.lower())
    # It assigns the column, or names it in an insert's list.
    writes = re.compile(rf"\b{name}\W?\s*:?=(?!=)|\binsert\s+into\b[^;()]*\([^)]*\b{name}\b", re.DOTALL)
    writers = [function for function in db.catalog.functions.values() if writes.search(function.source)]
    if not writers:
        raise NotSeen(f"no function here sets {column}")
    for function in writers:
        source = db.catalog.reach(function.oid)
        if not re.search(r"date_trunc\s*\(\s*'week'", source):
            return f"{function.name}() counts seven days from any moment"
        zone_is_set = any(setting.lower().startswith("timezone=") for setting in function.settings)
        if source.count("at time zone") < 2 and not zone_is_set:
            return f"{function.name}() depends on the session's time zone"
    return None


@rule(3)
def message_after_completion(db: Subject) -> str | None:
    """A BEFORE INSERT trigger on messages that reads the session's completion, and locks the session."""
    guards = [
        source for source in db.catalog.trigger_sources(db.messages.table.oid, "INSERT", before=True)
        if db.sessions.word("is_completed") in source
    ]  # fmt: skip
    if not guards:
        return "no trigger asks whether the session is completed"
    if not any(re.search(r"\bfor\s+(no\s+key\s+)?update\b|\bfor\s+share\b", source) for source in guards):
        return "the guard does not lock the session, so two connections pass it"
    raise OnlyBehaviour("a guard that locks the session is there")


@rule(4)
def reply_cannot_stream(db: Subject) -> str | None:
    """A table beside messages for the fragments of a reply."""
    parts = re.compile(r"seq|sequence|position|ordinal|chunk_index|chunk_no|part_no")
    for table in db.catalog.relations:
        words = [name for name in table.columns if parts.fullmatch(name)]
        if table.kind in "rp" and words and any(re.search(r"message|reply", name) for name in table.columns):
            return None
    return "a reply has no place to stream to"


@rule(5)
def sessions_have_two_beginnings(db: Subject) -> str | None:
    """One column that says when a session began."""
    both = db.sessions.has("started_at") and db.sessions.has("created_at")
    return f"{db.sessions['started_at']} and created_at hold one fact" if both else None


@rule(6)
def extensions_not_declared(db: Subject) -> str | None:
    """The declared extensions, in a schema of their own."""
    missing = [name for name in ("citext", "pgcrypto") if db.catalog.extensions.get(name, "public") == "public"]
    return f"not declared outside public: {', '.join(missing)}" if missing else None


@rule(7)
def messages_have_two_timestamps(db: Subject) -> str | None:
    """One moment a message, whose name says what happened then."""
    columns = db.messages.table.columns.values()
    moments = [column.name for column in columns if column.type.startswith("timestamp") and column.default]
    misnamed = [name for name in moments if name in ("timestamp", "date", "time", "datetime")]
    return f"messages has {' and '.join(moments)}" if len(moments) > 1 or misnamed else None


@rule(8)
def impossible_times_and_counts(db: Subject) -> str | None:
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
def completion_not_counted(db: Subject) -> str | None:
    """A trigger on sessions that counts a completion."""
    counter = db.profiles["completed_scenario_count"]
    if not _completion_counters(db, counter):
        return f"no trigger keeps {counter}"
    raise OnlyBehaviour(f"a trigger keeps {counter}")


@rule(10)
def week_counts_wrong(db: Subject) -> str | None:
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
def message_not_counted(db: Subject) -> str | None:
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
def negative_duration(db: Subject) -> str | None:
    """A CHECK on the duration."""
    column = db.sessions["duration_seconds"]
    return None if db.catalog.checks(db.sessions.table, column) else f"no constraint on {column}"


@rule(13)
def free_text_columns(db: Subject) -> str | None:
    """Types of the columns that hold a closed list of values."""
    columns = [db.messages.table.columns[db.messages[name]] for name in ("role", "chat_type")]
    free = [column.name for column in columns if re.match(r"text|character|citext", column.type)]
    return f"text: {', '.join(free)}" if free else None


@rule(14)
def role_in_the_wrong_chat(db: Subject) -> str | None:
    """A CHECK over role and chat together, where there are roles that belong to one chat."""
    pair = (db.messages["role"], db.messages["chat_type"])
    if set(_role_values(db)) == {"user", "assistant"}:
        return None
    return None if db.catalog.checks(db.messages.table, *pair) else f"no constraint over {' and '.join(pair)}"


@rule(15)
def message_too_long(db: Subject) -> str | None:
    """A CHECK on the length of the content, or a type with a length."""
    column = db.messages.table.columns[db.messages["content"]]
    limits = [text for text in db.catalog.checks(db.messages.table, column.name) if re.search(r"length\(.*<", text)]
    return None if limits or "(" in column.type else f"no constraint on the length of {column.name}"


@rule(16)
def emoji_of_any_size(db: Subject) -> str | None:
    """A CHECK on the emoji's size, from below and from above, that has room for the long ones."""
    limits = " ".join(db.catalog.checks(db.scenarios.table, db.scenarios["emoji"]))
    largest = [int(number) for number in re.findall(r"<=?\s*(\d+)", limits)]
    if not largest:
        return f"no constraint on the size of {db.scenarios['emoji']}"
    if "octet_length" in limits and max(largest) < 35:
        return f"an emoji of a couple with skin tones has 35 bytes, and {max(largest)} are allowed"
    return None if re.search(r">|<>", limits) else "an empty emoji is allowed"


@rule(17)
def doubled_title(db: Subject) -> str | None:
    """A unique index over the title."""
    title = db.scenarios["title"]
    found = [
        index for index in db.catalog.indexes
        if index.table == db.scenarios.table.oid and index.unique and len(index.columns) == 1 and title in index.definition
    ]  # fmt: skip
    return None if found else f"nothing makes {title} unique"


@rule(18)
def policy_asks_per_row(db: Subject) -> str | None:
    """Policies on messages that compare a column with one call, an index for it, and a rule that keeps the column true."""
    rules = [f"{policy.using} {policy.check}" for policy in db.catalog.policies_of(db.messages.table)]
    if any(re.search(rf"\b{db.sessions.table.name}\b", text) for text in rules):
        return "the policy on messages reads sessions"
    if not db.messages.table.has_rls:
        return "row-level security is off on messages"
    if any(_asks_per_row(text) for text in rules):
        return "the policy on messages asks who is calling for each row"
    if not db.messages.has("user_id") or not db.catalog.has_index(db.messages.table, db.messages["user_id"]):
        return "no index finds a learner's messages"
    user = db.messages["user_id"]
    keys = [constraint for constraint in db.catalog.constraints if constraint.table == db.messages.table.oid]
    follows = any(set(key.columns) == {user, db.messages["session_id"]} and key.type == "f" for key in keys)
    setters = db.catalog.trigger_sources(db.messages.table.oid, "INSERT", before=True)
    sets = any(re.search(rf"new\.{user.lower()}\s*:?=", source) for source in setters)
    return None if follows or sets else f"nothing keeps a message's {user} the session's"


def _asks_per_row(text: str) -> bool:
    """Tell whether a policy asks who is calling outside a sub-select that reads no table."""
    while (begin := text.find("( SELECT")) >= 0:
        depth, end = 0, begin
        for end in range(begin, len(text)):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            if depth == 0:
                break
        inside = text[begin + 1 : end]
        # One that reads a table may be evaluated for each row, and what it asks with it.
        text = text[:begin] + (inside.replace(" SELECT", "", 1) if " FROM " in inside or "\n" in inside else "") + text[end + 1 :]
    return re.search(r"\bauth\.\w+\(|\bcurrent_setting\(", text) is not None


@rule(19)
def session_logs_not_indexed(db: Subject) -> str | None:
    """An index by session and moment."""
    pair = (db.logs["session_id"], db.logs["created_at"])
    return None if db.catalog.has_index(db.logs.table, *pair) else "no index finds the logs of one session in order"


@rule(20)
def scenario_history_not_indexed(db: Subject) -> str | None:
    """An index by learner, scenario and moment."""
    columns = tuple(db.sessions[name] for name in ("user_id", "scenario_id", "completed_at"))
    return None if db.catalog.has_index(db.sessions.table, *columns) else "no index finds a learner's history of one scenario"


@rule(21)
def pages_not_stable(db: Subject) -> str | None:
    """An index in the order of the pages, down to the id that decides between messages of one instant."""
    order = (db.messages["session_id"], db.moment, db.messages["id"])
    if not db.catalog.has_index(db.messages.table, *order):
        return "no index has the order of the pages"
    default = db.messages.table.columns[db.moment].default or ""
    is_transactions = re.search(r"\b(now\(\)|current_timestamp|transaction_timestamp\(\))", default, re.IGNORECASE)
    return f"{db.moment} is the transaction's moment, so that messages of one request tie" if is_transactions else None


@rule(22)
def counting_touches_indexes(db: Subject) -> str | None:
    """Counter updates that change no indexed column."""
    name = re.escape(db.sessions.table.name.lower())
    counters = [
        change
        for source in db.catalog.trigger_sources(db.messages.table.oid, "INSERT")
        for change in re.findall(rf"\bupdate\s+(?:\w+\.)?{name}\b.*?\bset\b(.*?)(?:\bwhere\b|;|\Z)", source, re.DOTALL)
    ]
    if not counters:
        raise NotSeen("no trigger counts messages")
    # What stands behind a condition changes now and then only.
    written = {column for change in counters for column in re.findall(r"\b(\w+)\s*=(?!\s*case\b)", change)}
    for source in db.catalog.trigger_sources(db.sessions.table.oid, "UPDATE", before=True):
        written |= {"updated_at"} if re.search(r"new\.updated_at\s*:?=", source) else set()
    touched = [index.name for index in db.catalog.indexes if index.table == db.sessions.table.oid and written & index.words]
    return f"every message writes to {touched[0]}" if touched else None


@rule(23)
def metadata_not_indexed(db: Subject) -> str | None:
    """A GIN index over the metadata."""
    found = db.catalog.has_index(db.logs.table, db.logs["metadata"], method="gin")
    return None if found else f"no index looks into {db.logs['metadata']}"


@rule(24)
def clients_may_write_logs(db: Subject) -> str | None:
    """INSERT, UPDATE and DELETE on logs for clients."""
    commands = [
        command
        for command in ("insert", "update", "delete")
        if any(db.catalog.may(role, command, db.logs.table) for role in CLIENTS)
    ]
    return f"clients hold {' and '.join(commands).upper()} on logs" if commands else None


def users_table(db: Subject) -> int:
    """Return the oid of the table that profiles extends: auth.users on Supabase."""
    keys = [
        constraint for constraint in db.catalog.constraints
        if constraint.table == db.profiles.table.oid and constraint.type == "f" and constraint.columns == (db.profiles["id"],)
    ]  # fmt: skip
    if keys:
        return keys[0].target
    writers = [
        trigger.table for trigger in db.catalog.triggers
        if re.search(rf"insert\s+into\s+(?:\w+\.)?{db.profiles.table.name.lower()}\b", db.catalog.reach(trigger.function))
    ]  # fmt: skip
    if not writers:
        raise NotSeen(f"nothing says whose profile a row of {db.profiles.table.full_name} is")
    return writers[0]


@rule(25)
def profile_without_address(db: Subject) -> str | None:
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
def definer_trusts_the_path(db: Subject) -> str | None:
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
def profile_made_by_hand(db: Subject) -> str | None:
    """Policies and privileges by which a learner deletes and inserts profiles."""
    open_ways = [
        command
        for command in ("insert", "delete")
        if db.catalog.may("authenticated", command, db.profiles.table)
        and db.catalog.opens(db.profiles.table, command, "authenticated")
    ]
    return f"a learner may {' and '.join(open_ways)} profiles" if open_ways else None


@rule(28)
def visitors_read_everything(db: Subject) -> str | None:
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


@rule(29)
def kinds_are_hardcoded(db: Subject) -> str | None:
    """A table of the kinds of events, and not a list in a constraint or a type."""
    column = db.logs["event_type"]
    if db.logs.table.columns[column].type in db.catalog.enum_labels:
        return "the kinds of events stand in a type"
    if any(text.count("'") > 4 for text in db.catalog.checks(db.logs.table, column)):
        return "the kinds of events stand in a constraint"
    keys = [constraint for constraint in db.catalog.constraints if constraint.table == db.logs.table.oid]
    listed = any(key.type == "f" and key.columns == (column,) for key in keys)
    return None if listed else "any word is taken for a kind of event"


@rule(30)
def logs_in_one_piece(db: Subject) -> str | None:
    """Partitions, so that an old month goes as a whole."""
    if db.logs.table.kind != "p":
        return "logs is one table: old rows go one by one"
    partitions = db.catalog.partitions(db.logs.table)
    if not any("FROM" in bounds for _, _, bounds in partitions):
        return "logs has no partition for a month"
    clients = [role for role in CLIENTS if role in db.catalog.roles]
    readable = [schema for oid, schema, _ in partitions if any(db.catalog.holds(role, "select", oid) for role in clients)]
    is_reachable = db.catalog.open_schemas("usage") & {*readable}
    return "a partition can be read past the policies" if is_reachable else None


@rule(31)
def reset_in_one_piece(db: Subject) -> str | None:
    """A weekly reset in batches that passes over rows which somebody holds."""
    resets = [db.catalog.reach(function.oid) for function in db.jobs() if db._ends_weeks(db.catalog.reach(function.oid))]
    if not resets:
        raise NotSeen("no function here ends weeks")
    return None if all("skip locked" in source for source in resets) else "the weekly reset waits for whoever holds a profile"


@rule(32)
def job_says_a_number(db: Subject) -> str | None:
    """What the jobs return."""
    bare = [job.name for job in db.jobs() if job.returns in ("integer", "bigint", "void", "boolean") and not job.is_procedure]
    return f"{bare[0]}() returns {'nothing' if _returns(db, bare[0]) == 'void' else 'a bare number'}" if bare else None


def _returns(db: Subject, name: str) -> str:
    return next(job.returns for job in db.jobs() if job.name == name)


@rule(33)
def messages_are_kept_for_ever(db: Subject) -> str | None:
    """A function that takes old messages out of the table and puts them into another."""
    takes = re.compile(rf"delete\s+from\s+(?:\w+\.)?{db.messages.table.name.lower()}\b")
    movers = [
        source for source in map(db.catalog.reach, (function.oid for function in db.catalog.plain_functions()))
        if takes.search(source)
        and {name.rpartition(".")[2] for name in re.findall(r"insert\s+into\s+([\w.]+)", source)}
        & {table.name.lower() for table in db.catalog.relations if "archive" in table.name.lower()}
    ]  # fmt: skip
    return None if movers else "no job archives old messages"


@rule(34)
def ids_by_hand(db: Subject) -> str | None:
    """A scenario's id that nobody picks, and a code that is the same everywhere."""
    table, key = db.scenarios.table, db.scenarios["id"]
    if not table.columns[key].generated and not table.columns[key].default:
        return "a new scenario needs an id that somebody picks"
    unique = {index.columns for index in db.catalog.indexes if index.table == table.oid and index.unique}
    codes = [columns for columns in unique if len(columns) == 1 and columns[0] not in ("", key, db.scenarios["title"])]
    return None if codes else "a scenario has no name that is the same everywhere"


@rule(35)
def deletion_takes_history(db: Subject) -> str | None:
    """What a deleted account takes along."""
    if any(
        key.table == db.profiles.table.oid and key.type == "f" and key.columns == (db.profiles["id"],) and key.on_delete == "c"
        for key in db.catalog.constraints
    ):
        return "deleting an account deletes its profile and all its history"
    return None if db.profiles.has("deleted_at") else "a profile cannot be marked as deleted"


def _role_values(db: Subject) -> list[str]:
    """Return the roles that a message may have, as its type or its constraint lists them."""
    column = db.messages.table.columns[db.messages["role"]]
    listed = [word for text in db.catalog.checks(db.messages.table, column.name) for word in re.findall(r"'(\w+)'", text)]
    return db.catalog.enum_labels.get(column.type) or listed


@rule(36)
def assistants_have_two_names(db: Subject) -> str | None:
    """The roles that a message may have."""
    return None if "assistant" in _role_values(db) else "no role is called assistant"


@rule(37)
def message_is_rewritten(db: Subject) -> str | None:
    """A trigger that keeps what a message says, also where something else of it may change."""
    guards = [source for source in db.catalog.trigger_sources(db.messages.table.oid, "UPDATE", before=True) if "raise" in source]
    writers = [role for role in ("service_role", *CLIENTS) if role in db.catalog.roles]
    if not any(db.catalog.may(role, "update", db.messages.table) for role in writers):
        return None
    if not guards:
        return "no trigger refuses to rewrite a message"
    if any("deleted_at" in source and db.messages.word("content") not in source for source in guards):
        return "a message is rewritten while it is deleted"
    raise OnlyBehaviour("a trigger watches over updates")


ORDER = "sort|order|position|rank"
"""What a column is called that says which row comes first."""


@rule(38)
def scenarios_have_no_order(db: Subject) -> str | None:
    """A place in the order, and a date of the last change."""
    table = db.scenarios.table
    places = [name for name in table.columns if re.search(ORDER, name)]
    if not places:
        return "scenarios has no order of its own"
    dated = any("updated_at" in source for source in db.catalog.trigger_sources(table.oid, "UPDATE", before=True))
    if "updated_at" not in table.columns or not dated:
        return "a change of a scenario is not dated"
    if any(index.table == table.oid and index.unique and index.columns[0] in places for index in db.catalog.indexes):
        return None
    raise OnlyBehaviour(f"there is a {places[0]}")


@rule(39)
def moments_without_rule(db: Subject) -> str | None:
    """Names of the columns that hold a moment, and their comments."""
    week = db.profiles["week_reset_date"]
    found = [
        f"{table.name}.{column.name}"
        for table in db.catalog.relations
        if table.kind in "rp" and table.schema in db.exposed()
        for column in table.columns.values()
        if column.type.startswith("timestamp") and column.name != week
        and (not column.name.endswith("_at") or column.comment is None)
    ]  # fmt: skip
    return f"{len(found)} moments are misnamed or not explained, such as {found[0]}" if found else None


@rule(40)
def key_changes_undecided(db: Subject) -> str | None:
    """ON UPDATE of every foreign key."""
    ours = {table.oid for table in db.catalog.relations if table.schema in db.exposed()}
    keys = [key for key in db.catalog.constraints if key.type == "f" and key.table in ours]
    undecided = [key for key in keys if key.on_update == "a"]
    if undecided:
        return f"{len(undecided)} foreign keys do not say what a changed key does"
    of_messages = {table.oid for table in db.catalog.relations if db.messages.table.name.rstrip("s") in table.name}
    carried = any(key.table in of_messages and key.on_update != "r" for key in keys)
    return "a changed key would change messages" if carried else None


@rule(41)
def scenario_not_indexed(db: Subject) -> str | None:
    """An index by scenario and completion."""
    pair = (db.sessions["scenario_id"], db.sessions["is_completed"])
    return None if db.catalog.has_index(db.sessions.table, *pair) else "no index finds a scenario's sessions"


@rule(42)
def addresses_differ(db: Subject) -> str | None:
    """A trigger that carries a changed address over, and an index that keeps it unique."""
    sources = db.catalog.trigger_sources(users_table(db), "UPDATE")
    if not any(db.profiles.word("email") in source for source in sources):
        return "the profile keeps the old address"
    unique = [
        index for index in db.catalog.indexes
        if index.table == db.profiles.table.oid and index.unique and db.profiles["email"] in index.definition
    ]  # fmt: skip
    if not unique:
        return "two profiles may share an address"
    raise OnlyBehaviour("a trigger follows the address")


@rule(43)
def messages_without_limit(db: Subject) -> str | None:
    """A trigger on messages that looks at the clock and refuses, in words that say so."""
    sources = db.catalog.trigger_sources(db.messages.table.oid, "INSERT")
    if not any("interval" in source and re.search(r"429|rate.?limit|too (fast|many|soon)", source) for source in sources):
        return "no trigger limits how fast messages come"
    raise OnlyBehaviour("a trigger looks at the clock")


@rule(44)
def history_not_declared(db: Subject) -> str | None:
    """The table that records migrations, and its comment."""
    if db.catalog.history is None:
        return "nothing records what is applied"
    return None if db.catalog.history else "nothing says how migrations are ordered and recorded"


@rule(45)
def failure_leaves_no_trace(db: Subject) -> str | None:
    """Jobs that catch an error and log it."""
    jobs = [job for job in db.jobs() if not job.is_procedure]
    silent = [job.name for job in jobs if not re.search(r"\bexception\s+when\b", db.catalog.reach(job.oid))]
    if silent:
        return f"{silent[0]}() fails without a trace"
    raise OnlyBehaviour("the jobs catch errors")


@rule(46)
def retry_writes_twice(db: Subject) -> str | None:
    """A column for the client's id, and a unique index that ON CONFLICT can name."""
    table = db.messages.table
    names = [name for name in table.columns if re.search(r"client.*id|idempotency|request_id|dedup", name)]
    if not names:
        return "a retry writes the message twice"
    if "authenticated" in db.catalog.roles and not db.catalog.may("authenticated", "insert", table, names[0]):
        return f"a learner may not send {names[0]}"
    key = {names[0], *(db.messages[column] for column in ("session_id", "user_id") if db.messages.has(column))}
    unique = [
        index
        for index in db.catalog.indexes
        if index.table == table.oid and index.unique and names[0] in index.columns and {*index.columns} <= key
    ]
    if not unique:
        return f"nothing makes {names[0]} unique"
    return None if any(index.predicate is None for index in unique) else "ON CONFLICT finds no constraint to name"


@rule(47)
def visitors_call_functions(db: Subject) -> str | None:
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
def learner_sets_counts(db: Subject) -> str | None:
    """UPDATE on the counts of profiles for learners."""
    counts = ("current_week_completion_count", "completed_scenario_count", "week_reset_date")
    found = [db.profiles[name] for name in counts if _may_update(db, db.profiles, name)]
    return f"a learner sets {', '.join(found)}" if found else None


@rule(49)
def learner_forges_messages(db: Subject) -> str | None:
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
def learner_rewrites_sessions(db: Subject) -> str | None:
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
def policies_ask_per_row(db: Subject) -> str | None:
    """Policies that call auth.uid() outside a sub-select."""
    asking = [policy.name for policy in db.catalog.policies if _asks_per_row(f"{policy.using} {policy.check}")]
    return f"policies that ask once a row: {len(asking)}" if asking else None


@rule(52)
def indexes_missing_or_double(db: Subject) -> str | None:
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
def grants_too_wide(db: Subject) -> str | None:
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
def keys_out_of_order(db: Subject) -> str | None:
    """Random keys where rows come in by the million and stay: messages, and logs where there are any."""
    growing = [found for name in ("messages", "logs") if (found := db.tables.get(name)) and found.has("id")]
    random = [
        found.table.name
        for found in growing
        if re.fullmatch(r"([\w\"]+\.)?(gen_random_uuid|uuid_generate_v4)\(\)", found.table.columns[found["id"]].default or "")
    ]
    return f"random keys in {' and '.join(random)}" if random else None
