"""Rules of the review's chapter Critical: notebook 01_critical."""

import re
from collections.abc import Iterator

from ..catalog import NotSeen, Nowhere
from ..report import Flaw
from ..shape import plain
from ..subject import OnlyBehaviour, Subject, assigns, rule

WEEK_LATER = re.compile(
    r"([\w.]+(?:\(\))?\)?)\s*\+\s*\(?(?:interval\s*)?"
    r"(?:'(?:7 days?|1 weeks?|168 hours?|7 d|1 w|p7d|p1w|168:00(?::00)?)'"
    r"|make_interval\s*\(\s*(?:days\s*=>\s*7|weeks\s*=>\s*1|hours\s*=>\s*168)|7\s*\*\s*interval)"
)
"""What a week is added to."""


@rule(1, "sessions")
def completed_at(db: Subject) -> Iterator[Flaw]:
    """A CHECK that ties the moment to the completion, and triggers that set it, on insert too."""
    found, done, moment = db.sessions, db.sessions["is_completed"], db.sessions["completed_at"]
    if found.column("is_completed").generated or found.column("completed_at").generated:
        return
    is_set = True
    for event in ("UPDATE", "INSERT"):
        setters = [
            trigger
            for trigger in db.catalog.triggers_of(found.table.oid, event, before=True)
            if assigns(db.catalog.reach(trigger.function), moment)
            and (event == "INSERT" or not trigger.watches or done in trigger.watches)
        ]
        is_set = is_set and bool(setters)
        if not setters:
            yield Flaw(found.table.full_name, f"no trigger sets {moment} on {event.lower()}")
    if not db.catalog.checks(found.table, done, moment):
        name = f"{found.table.name}_completion_consistent"
        yield Flaw(
            found.table.full_name,
            f"no constraint ties {moment} to {done}",
            f'alter table {found.table.full_name} add constraint "{name}"'
            f" check ({found('is_completed')} = ({found('completed_at')} is not null)) not valid;"
            # Alone it would stop whoever completes a session as before.
            if is_set
            else "",
        )


@rule(2, "profiles")
def weekly_reset(db: Subject) -> Iterator[Flaw]:
    """Functions that set the end of a week: by date_trunc, in a time zone that is written down both ways."""
    column = db.profiles["week_reset_date"]
    name = re.escape(column.lower())
    # It assigns the column, or names it in an insert's list.
    writes = re.compile(rf"\b{name}\W?\s*:?=(?!=)|\binsert\s+into\b[^;()]*\([^)]*\b{name}\b", re.DOTALL)
    writers = [function for function in db.catalog.functions.values() if writes.search(function.source)]
    default = db.profiles.column("week_reset_date").default or ""
    if not writers and not default:
        raise Nowhere(f"no function here sets {column}")
    if WEEK_LATER.search(default.lower().replace("::interval", "")) and "date_trunc" not in default:
        yield Flaw(f"{db.profiles.table.full_name}.{db.profiles('week_reset_date')}", "its default is seven days from any moment")
    for function in writers:
        source = db.catalog.reach(function.oid)
        aligned = re.search(r"date_trunc\s*\(\s*'week'|date_bin\s*\(|\b(iso)?dow\b", source)
        if aligned is None:
            added = [what for what in WEEK_LATER.findall(source) if what.rpartition(".")[2].strip("()") != column.lower()]
            carried = [what for what in WEEK_LATER.findall(source) if what.rpartition(".")[2].strip("()") == column.lower()]
            if added or not carried:
                yield Flaw(function.full_name, "it counts seven days from any moment")
            continue
        zone_is_set = any(setting.lower().startswith("timezone=") for setting in function.settings)
        zone_is_told = re.search(r"date_trunc\s*\(\s*'week'\s*,[^;]*?,\s*'[\w/+-]+'\s*\)", source)
        if source.count("at time zone") < 2 and not zone_is_set and not zone_is_told and "date_trunc" in aligned[0]:
            yield Flaw(
                function.full_name,
                "it depends on the session's time zone",
                f"alter function {function.full_name} set timezone = 'UTC';",
            )


@rule(3, "sessions", "messages")
def completed_sessions(db: Subject) -> Iterator[Flaw]:
    """A trigger on messages that reads the session's completion, and locks the session."""
    done, messages = db.sessions.word("is_completed"), db.messages.table
    guards = [
        source for source in db.catalog.trigger_sources(messages.oid, "INSERT", before=True)
        if re.search(rf"\b{re.escape(done)}\b", source)
    ]  # fmt: skip
    if not guards:
        asked = [policy for policy in db.catalog.policies_of(messages) if done in f"{policy.check}".lower()]
        if asked:
            raise NotSeen("a policy keeps clients out of completed sessions, and nothing keeps the backend out")
        yield Flaw(messages.full_name, "no trigger asks whether the session is completed")
        return
    table = re.escape(db.sessions.table.name.lower())
    # An update that asks for an open session finds it so, and waits for whoever changes it.
    locks = (
        rf"\bfor\s+(no\s+key\s+)?update\b|\bfor\s+share\b|\bupdate\s+(\w+\.)?{table}\b[^;]*\bwhere\b[^;]*\b{re.escape(done)}\b"
    )
    if not any(re.search(locks, source) for source in guards):
        yield Flaw(messages.full_name, "the guard does not lock the session, so two connections pass it")
        return
    raise OnlyBehaviour("a guard that locks the session is there")


_PIECE = r"chunk|part|delta|token|fragment|piece|stream|segment"
_STATE = r"^(is_)?(final|finished|completed?|streaming|partial|done|pending)$|^(status|state|finished_at|completed_at|stream_.*)$"


@rule(
    4,
    "messages",
    title="A reply has nowhere to stream to",
    why="A reply that is kept once it is finished is lost where the connection breaks before.",
)
def streaming(db: Subject) -> Iterator[Flaw]:
    """A table for the pieces of a reply, or a column of messages that says that one is not finished."""
    messages = db.messages.table
    if not db.messages.has("role"):
        raise Nowhere(f"no column of {messages.full_name} says who speaks: people write to each other, and nothing streams")
    if any(re.search(_STATE, plain(name)) for name in messages.columns):
        return
    for table in db.catalog.tables:
        if table.oid == messages.oid:
            continue
        names = {plain(name): column for name, column in table.columns.items()}
        points = any(key.target == messages.oid for key in db.catalog.foreign_keys(table)) or any(
            re.search(r"message|reply|response", name) for name in names
        )
        numbered = any(
            re.search(r"seq|position|ordinal|index|idx|_no$|number|place|order", name) and "int" in column.plain_type
            for name, column in names.items()
        )
        says = any(column.is_text or column.plain_type.startswith("json") for column in names.values())
        pieces = re.search(_PIECE, plain(table.name)) or any(re.search(_PIECE, name) for name in names)
        if points and numbered and says and pieces:
            return
    yield Flaw(
        messages.full_name,
        "a reply has no place to stream to: no table of its pieces, and no column that says it is not finished",
    )


@rule(5, "sessions")
def sessions_created_at(db: Subject) -> Iterator[Flaw]:
    """One column that says when a session began."""
    if db.sessions.has("started_at") and db.sessions.has("created_at"):
        start = db.sessions.column("started_at")
        # One that is filled later says when somebody began, not when the row was made.
        if start.default or not start.nullable:
            yield Flaw(
                db.sessions.table.full_name,
                f"{db.sessions['started_at']} and {db.sessions['created_at']} hold one fact",
            )


_PGCRYPTO = re.compile(r"\b(gen_salt|crypt|digest|hmac|gen_random_bytes|pgp_\w+|armor|dearmor)\s*\(")


@rule(6)
def extensions(db: Subject) -> Iterator[Flaw]:
    """The extensions that the schema uses: declared, and in a schema of their own."""
    for name in ("citext", "pgcrypto"):
        if db.catalog.extensions.get(name) == "public":
            yield Flaw(f"extension {name}", "it stands in public", f"alter extension {name} set schema extensions;")
    if "pgcrypto" not in db.catalog.extensions:
        own = {function.name for function in db.catalog.functions.values()}
        for function in db.catalog.functions.values():
            called = set(_PGCRYPTO.findall(function.source)) - own
            if called:
                yield Flaw(
                    function.full_name,
                    f"it calls {', '.join(sorted(called))}, and nothing declares pgcrypto",
                    "create extension pgcrypto with schema extensions;",
                )
    if "citext" not in db.catalog.extensions and "profiles" in db.tables and db.profiles.has("email"):
        email, table = db.profiles["email"], db.profiles.table
        searched = [index for index in db.catalog.indexes_of(table) if index.columns[:1] == (email,)]
        folded = [index for index in db.catalog.indexes_of(table) if re.search(r"\b(lower|upper)\(", index.definition)]
        lower = [text for text in db.catalog.checks(table, email) if "lower(" in text]
        if searched and not folded and not lower:
            yield Flaw(
                f"{table.full_name}.{db.profiles('email')}",
                "addresses are looked up letter by letter, and nothing declares citext",
                "create extension citext with schema extensions;",
            )


_OTHER_MOMENTS = (
    r"updat|edit|delet|read|deliver|seen|modif|expire|schedul|archiv|process|embed|pin|flag|review|finish|complet|retr"
)


@rule(7, "messages")
def messages_sent_at(db: Subject) -> Iterator[Flaw]:
    """One moment a message, whose name says what happened then."""
    table = db.messages.table
    moments = [
        column.name for column in table.columns.values()
        if column.is_moment and (column.default or not column.nullable) and not re.search(_OTHER_MOMENTS, plain(column.name))
    ]  # fmt: skip
    misnamed = [name for name in moments if plain(name) in ("timestamp", "date", "time", "datetime", "ts", "when")]
    if len(moments) > 1:
        yield Flaw(table.full_name, f"{' and '.join(moments)} hold one fact")
    elif misnamed:
        yield Flaw(table.full_name, f"{misnamed[0]} does not say what happened then")
