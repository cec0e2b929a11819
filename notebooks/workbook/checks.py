"""One check for each issue: does this database show the flaw? Proofs and the scoreboard use the same one."""

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass

import psycopg

from .actors import ADMIN, ANNA, SERVICE, Actor
from .catalogue import issue
from .concurrency import concurrently
from .database import Database
from .errors import WorkbookError
from .fixes import find
from .measure import heap_only
from .plans import plan
from .tables import Table

Check = Callable[[Database], str | None]
"""Tries the flaw on a database that it may change; returns what it saw of it in a few words, or None."""

CHECKS: dict[int, Check] = {}


def check(number: int) -> Callable[[Check], Check]:
    """Register the check of an issue."""

    def register(function: Check) -> Check:
        CHECKS[number] = function
        return function

    return register


@dataclass(frozen=True)
class Proof:
    """What one issue's check saw before the fix and after it."""

    number: int
    before: str
    after: str | None

    def __repr__(self) -> str:
        return f"issue {self.number}  v1: {self.before}\n{' ' * (len(str(self.number)) + 7)}fixed: not seen any more"


_proofs: dict[int, Proof] = {}


def prove(number: int, before: Database, after: Database) -> Proof:
    """Run an issue's check on both databases: the flaw must show on the first and not on the second.

    Raises:
        AssertionError: it does not show, or is still there.
    """
    proof = Proof(number, look(number, before), look(number, after))
    assert proof.before is not None, f"issue {number} does not show on {before.name}, so the check proves nothing"
    assert proof.after is None, f"issue {number} is still there: {proof.after}"
    _proofs[number] = proof
    return proof


def look(number: int, database: Database) -> str | None:
    """Run one issue's check and return what it saw of the flaw, or None.

    Raises:
        WorkbookError: the issue has no check.
    """
    if number not in CHECKS:
        raise WorkbookError(f"There is no check for issue {number}; add one to notebooks/workbook/checks.py.")
    with redirect_stdout(io.StringIO()):
        return CHECKS[number](database)


def summary() -> Table:
    """Return what this notebook has proved so far, an issue a row."""
    rows = [
        (number, issue(number).title, proof.before, "gone", find(number).path.name) for number, proof in sorted(_proofs.items())
    ]
    return Table.of(rows, ["issue", "title", "on v1", "after the fix", "fix"])


class _Undo(Exception):
    """Rolls a transaction back."""


def _accepts(database: Database, sql: str, actor: Actor = SERVICE, **values: object) -> bool:
    """Try a statement and undo it; return whether the database takes it."""
    try:
        with database.transaction(actor) as transaction:
            transaction.run(sql, **values)
            raise _Undo
    except _Undo:
        return True
    except psycopg.Error:
        return False


def _has_index(database: Database, table: str, *columns: str, method: str = "btree") -> bool:
    """Tell whether an index of a table begins with these columns."""
    return database.value(
        """
        select exists (
            select
            from pg_index
            join pg_class as index on index.oid = indexrelid
            join pg_am on pg_am.oid = index.relam
            where indrelid = cast(:table_name as regclass)
                and amname = :method
                and (
                    select array_agg(attname::text order by place)
                    from unnest(indkey::smallint[]) with ordinality as key (attnum, place)
                    join pg_attribute on attrelid = indrelid and pg_attribute.attnum = key.attnum
                    where place <= :width
                ) = :columns
        )""",
        ADMIN,
        table_name=f"public.{table}",
        method=method,
        width=len(columns),
        columns=list(columns),
    )


def _has_column(database: Database, table: str, column: str) -> bool:
    return database.value(
        "select exists (select from information_schema.columns"
        " where table_schema = 'public' and table_name = :table_name and column_name = :column_name)",
        ADMIN,
        table_name=table,
        column_name=column,
    )


@check(1)
def completion_without_moment(database: Database) -> str | None:
    """Complete a session by update, and insert one that is already completed: both need a completed_at."""
    database.run("update public.sessions set is_completed = true where id = :anna_open", ANNA)
    database.run("insert into public.sessions (user_id, scenario_id, is_completed) values (:ben, 1, true)", SERVICE)
    missing = database.value("select count(*) from public.sessions where is_completed and completed_at is null")
    return f"{missing} completed sessions without completed_at" if missing else None


@check(2)
def week_not_aligned(database: Database) -> str | None:
    """Sign somebody up from New York, and let a reset run a month late: every week must end on Monday 00:00 UTC."""
    with database.transaction(ADMIN) as sign_up:
        sign_up.run("set local timezone = 'America/New_York'")
        sign_up.run("insert into auth.users (id, email) values (:cem, 'cem@example.org')")
    database.run("update public.profiles set week_reset_date = now() - interval '30 days' where id = :anna", SERVICE)
    database.run("select public.reset_weekly_limits()", SERVICE)
    wrong = database.value(
        "select count(*) from public.profiles where id in (:anna, :cem)"
        " and week_reset_date <> (date_trunc('week', now() at time zone 'UTC') + interval '7 days') at time zone 'UTC'"
    )
    return f"{wrong} of 2 weeks end at another moment than Monday 00:00 UTC" if wrong else None


@check(3)
def message_after_completion(database: Database) -> str | None:
    """Send a message while the session's completion is under way, and another when it is done."""
    message = "insert into public.messages (session_id, role, chat_type, content) values (:anna_open, 'user', 'main', 'Halt!')"
    with concurrently(database, app=ANNA, phone=ANNA) as (app, phone):
        app("update public.sessions set is_completed = true, completed_at = now() where id = :anna_open")
        racing = phone(message)
        app.commit()
        phone.commit()
        late = phone(message)
        phone.commit()
    accepted = sum(step.refused is None for step in (racing, late))
    return f"{accepted} of 2 messages enter a completed session" if accepted else None


@check(4)
def reply_cannot_stream(database: Database) -> str | None:
    """Stream a reply in two fragments and finalize it twice: one whole message, and nothing left behind."""
    try:
        with database.transaction(SERVICE) as service:
            for seq, content in enumerate(["Vier Euro ", "fünfzig."], start=1):
                service.run(
                    "insert into public.message_chunks (message_id, seq, session_id, chat_type, content)"
                    " values (:reply, :seq, :anna_open, 'main', :content)",
                    seq=seq,
                    content=content,
                )
        for _ in range(2):
            database.run("select public.finalize_message(:reply)", SERVICE)
    except psycopg.errors.UndefinedTable:
        return "a reply has no place to stream to"
    content = database.run("select content from public.messages where id = :reply")["content"].tolist()
    return None if content == ["Vier Euro fünfzig."] else f"the finished reply reads {content}"


@check(5)
def sessions_have_two_beginnings(database: Database) -> str | None:
    """Look for a second column that says when a session began."""
    return "sessions has created_at beside started_at" if _has_column(database, "sessions", "created_at") else None


@check(6)
def extensions_not_declared(database: Database) -> str | None:
    """Look for the declared extensions, in their own schema."""
    declared = database.run(
        "select extname from pg_catalog.pg_extension where extnamespace = 'extensions'::regnamespace order by 1"
    )["extname"].tolist()
    missing = [name for name in ("citext", "pgcrypto") if name not in declared]
    return f"not declared: {', '.join(missing)}" if missing else None


@check(7)
def messages_have_two_timestamps(database: Database) -> str | None:
    """Look for the two columns that a message's one moment stood in."""
    found = [column for column in ("timestamp", "created_at") if _has_column(database, "messages", column)]
    return f"messages has {' and '.join(found)}" if found else None


@check(8)
def impossible_times_and_counts(database: Database) -> str | None:
    """Try a session that ends before it starts, and one with -3 messages."""
    accepted = [
        what
        for what, change in {
            "an end before the start": "completed_at = started_at - interval '1 minute'",
            "a count of -3": "message_count_main = -3",
        }.items()
        if _accepts(database, f"update public.sessions set {change} where id = :anna_done")
    ]
    return f"accepted: {' and '.join(accepted)}" if accepted else None


def _complete_twice(database: Database) -> None:
    """Complete Anna's open session from two devices at once."""
    complete = "update public.sessions set is_completed = true where id = :anna_open"
    if database.value("select to_regprocedure('private.set_session_completion()') is null"):
        complete = complete.replace("true", "true, completed_at = now()")
    with concurrently(database, phone=ANNA, laptop=ANNA) as (phone, laptop):
        phone(complete)
        laptop(complete)
        phone.commit()
        laptop.commit()


@check(9)
def completion_not_counted(database: Database) -> str | None:
    """Complete a session from two devices at once: the profile counts one more."""
    count = "select completed_scenario_count from public.profiles where id = :anna"
    before = database.value(count)
    _complete_twice(database)
    counted = database.value(count) - before
    return None if counted == 1 else f"one completion counts as {counted}"


@check(10)
def week_counts_wrong(database: Database) -> str | None:
    """Complete a session in a week whose reset was missed, then delete one: the new week has one completion."""
    stale = "update public.profiles set current_week_completion_count = 3, week_reset_date = now() - interval '3 days'"
    database.run(f"{stale} where id = :anna", SERVICE)
    _complete_twice(database)
    database.run("delete from public.sessions where id = :anna_open", SERVICE)
    counted = database.value("select current_week_completion_count from public.profiles where id = :anna")
    return None if counted == 1 else f"a week with one completion counts {counted}"


@check(11)
def message_not_counted(database: Database) -> str | None:
    """Add a third kind of chat, as a later migration might: its messages must be counted or refused."""
    if database.value("select to_regtype('public.chat_type') is null"):
        database.run("alter table public.messages drop constraint messages_chat_type_check")
    else:
        database.run("alter type public.chat_type add value 'grammar'")
    message = (
        "insert into public.messages (session_id, role, chat_type, content) values (:anna_open, 'user', 'grammar', 'Dativ?')"
    )
    return "a message that no counter counts" if _accepts(database, message) else None


@check(12)
def negative_duration(database: Database) -> str | None:
    """Restore a row with triggers off, as a backup does."""
    restore = "set local session_replication_role = replica; update public.sessions set duration_seconds = -600"
    return "a session of -600 seconds" if _accepts(database, restore, ADMIN) else None


@check(13)
def free_text_columns(database: Database) -> str | None:
    """Look for text columns where a closed list of values belongs."""
    found = database.run(
        """
        select table_name || '.' || column_name as name
        from information_schema.columns
        where table_schema = 'public'
            and table_name in ('messages', 'message_chunks')
            and column_name in ('role', 'chat_type')
            and data_type = 'text'
        order by 1""",
        ADMIN,
    )["name"].tolist()
    return f"text: {', '.join(found)}" if found else None


@check(14)
def role_in_the_wrong_chat(database: Database) -> str | None:
    """Let the character speak in the helper chat, and the helper in the main chat."""
    message = "insert into public.messages (session_id, role, chat_type, content) values (:anna_open, '{}', '{}', 'Hallo')"
    wrong = [pair for pair in (("scenario", "helper"), ("helper", "main")) if _accepts(database, message.format(*pair))]
    return " and ".join(f"{role} in the {chat} chat" for role, chat in wrong) or None


@check(15)
def message_too_long(database: Database) -> str | None:
    """Send 8001 characters, and then 8000 of two bytes each, which must be taken."""
    message = "insert into public.messages (session_id, role, chat_type, content) values (:anna_open, 'user', 'main', :text)"
    if _accepts(database, message, text="ü" * 8001):
        return "a message of 8001 characters"
    return None if _accepts(database, message, text="ü" * 8000) else "8000 characters are refused"


@check(16)
def emoji_of_any_size(database: Database) -> str | None:
    """Try an emoji of 65 bytes and an empty one, and then two real ones, which must be taken."""
    change = "update public.scenarios set emoji = :emoji where id = 1"
    if any(_accepts(database, change, emoji=emoji) for emoji in ("🛒" * 16 + "!", "")):
        return "an emoji of 65 bytes or none"
    real = [emoji for emoji in ("👨‍👩‍👧‍👦", "🧑🏿‍❤️‍💋‍🧑🏿") if not _accepts(database, change, emoji=emoji)]
    return f"real emoji are refused: {' '.join(real)}" if real else None


@check(17)
def doubled_title(database: Database) -> str | None:
    """Give a second scenario the title of the first."""
    change = "update public.scenarios set title = (select title from public.scenarios where id = 1) where id = 2"
    return "two scenarios with one title" if _accepts(database, change) else None


@check(18)
def policy_asks_per_row(database: Database) -> str | None:
    """Read one's own messages: without a look into sessions, with one call of auth.uid(), through an index."""
    if "sessions" in plan(database, "select count(*) from public.messages", ANNA)["on"].tolist():
        return "the policy on messages reads sessions"
    policies = database.run("select coalesce(qual, with_check) as rule from pg_policies where tablename = 'messages'", ADMIN)[
        "rule"
    ]
    if not all("( SELECT auth.uid()" in rule for rule in policies):
        return "the policy on messages calls auth.uid() for each row"
    if not _has_index(database, "messages", "user_id"):
        return "no index finds a learner's messages"
    columns, values = "session_id, user_id, role, chat_type, content", ":ben_open, :anna, 'user', 'main', 'x'"
    forged = f"insert into public.messages ({columns}) values ({values})"
    return "a learner writes into another's session" if _accepts(database, forged, ANNA) else None


@check(19)
def session_logs_not_indexed(database: Database) -> str | None:
    """Look for an index that finds the logs of one session, newest first."""
    return None if _has_index(database, "logs", "session_id", "created_at") else "no index finds the logs of one session"


@check(20)
def scenario_history_not_indexed(database: Database) -> str | None:
    """Look for an index that finds a learner's completions of one scenario, in order."""
    found = _has_index(database, "sessions", "user_id", "scenario_id", "completed_at")
    return None if found else "no index finds a learner's history of one scenario"


@check(21)
def pages_not_stable(database: Database) -> str | None:
    """Look for indexes in the order of the pages, down to the id that decides between messages of one instant."""
    at = "timestamp" if _has_column(database, "messages", "timestamp") else "sent_at"
    orders = (("session_id", at, "id"), ("session_id", "chat_type", at, "id"))
    missing = [order for order in orders if not _has_index(database, "messages", *order)]
    return f"{len(missing)} of 2 page orders have no index" if missing else None


@check(22)
def counting_touches_indexes(database: Database) -> str | None:
    """Send forty messages into one session: nine of ten counter updates must leave the indexes alone."""
    message = "insert into public.messages (session_id, role, chat_type, content) values (:anna_open, 'user', 'main', 'Ja')"
    before = heap_only(database, "public.sessions")
    for _ in range(40):
        database.run(message, SERVICE)
    updates, untouched = (now - was for now, was in zip(heap_only(database, "public.sessions"), before, strict=True))
    return f"{updates - untouched} of {updates} counter updates write to the indexes" if untouched < 0.9 * updates else None


@check(23)
def metadata_not_indexed(database: Database) -> str | None:
    """Look for an index over the contents of the logs' metadata."""
    return None if _has_index(database, "logs", "metadata", method="gin") else "no index looks into metadata"
