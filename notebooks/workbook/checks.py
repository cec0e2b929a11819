"""One check for each issue: does this database show the flaw? Proofs and the scoreboard use the same one."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psycopg

from . import privileges
from .actors import ADMIN, ANNA, ANON, NAMES, OWNER, SERVICE, Actor
from .catalogue import issue
from .concurrency import concurrently, is_quiet
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
    seen = look(number, before)
    assert seen is not None, f"issue {number} does not show on {before.name}, so the check proves nothing"
    proof = Proof(number, seen, look(number, after))
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
    token = is_quiet.set(True)
    try:
        return CHECKS[number](database)
    finally:
        is_quiet.reset(token)


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


_MESSAGE = "insert into public.messages (session_id, role, chat_type, content) values (:anna_open, 'user', 'main', 'Ja, gern.')"
"""A message of Anna's, as a client sends it."""


def _assistant(database: Database) -> str:
    """Return the role that the character speaks in: v1 calls it scenario."""
    return "assistant" if _accepts(database, _MESSAGE.replace("'user'", "'assistant'")) else "scenario"


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
    try:
        database.run("insert into public.sessions (user_id, scenario_id, is_completed) values (:ben, 1, true)", SERVICE)
    except psycopg.errors.CheckViolation:
        return "an inserted completion is refused, not dated"
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
        app(_completion(database))
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


def _completion(database: Database) -> str:
    """Return how a client completes Anna's open session: in v1 it has to bring the moment along."""
    needs_moment = database.value("select to_regprocedure('private.set_session_completion()') is null")
    moment = ", completed_at = now()" if needs_moment else ""
    return f"update public.sessions set is_completed = true{moment} where id = :anna_open"


def _complete_twice(database: Database) -> None:
    """Complete Anna's open session from two devices at once."""
    complete = _completion(database)
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
    count = "select current_week_completion_count from public.profiles where id = :anna"
    counted = database.value(count)
    if counted != 1:
        return f"a week with one completion counts {counted}"
    database.run("delete from public.sessions where id = :anna_open", SERVICE)
    return None if database.value(count) == 1 else "deleting a session frees a place in the week"


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
    """Look for an index in the order of the pages, down to the id, and send question and answer in one request."""
    at = "timestamp" if _has_column(database, "messages", "timestamp") else "sent_at"
    if not _has_index(database, "messages", "session_id", at, "id"):
        return "no index has the order of the pages"
    database.run(f"{_MESSAGE}, (:ben_open, '{_assistant(database)}', 'main', 'Gern.')", SERVICE)
    tied = database.value(f"select count(*) - count(distinct {at}) from public.messages where {at} > now() - interval '1 minute'")
    return f"{tied} messages of one request share their moment" if tied else None


@check(22)
def counting_touches_indexes(database: Database) -> str | None:
    """Send forty messages into one session: nine of ten counter updates must leave the indexes alone."""
    message = _MESSAGE.replace("'user'", f"'{_assistant(database)}'")
    before = heap_only(database, "public.sessions")
    for _ in range(40):
        database.run(message, SERVICE)
    updates, untouched = (now - was for now, was in zip(heap_only(database, "public.sessions"), before, strict=True))
    return f"{updates - untouched} of {updates} counter updates write to the indexes" if untouched < 0.9 * updates else None


@check(23)
def metadata_not_indexed(database: Database) -> str | None:
    """Look for an index over the contents of the logs' metadata."""
    return None if _has_index(database, "logs", "metadata", method="gin") else "no index looks into metadata"


@check(24)
def clients_may_write_logs(database: Database) -> str | None:
    """Look whether a client holds INSERT on logs; the service role must be able to write them."""
    if database.value("select has_table_privilege('authenticated', 'public.logs', 'insert')"):
        return "clients hold INSERT on logs"
    log = "insert into public.logs (level, event_type) values ('info', 'user_logout')"
    return None if _accepts(database, log) else "the service role cannot write logs"


@check(25)
def profile_without_address(database: Database) -> str | None:
    """Sign somebody up with no address, an empty one and a blank one, and then with a real one, which must do."""
    sign_up = "insert into auth.users (id, email) values (:cem, :email)"
    names = {None: "null", "": "empty", " \t": "blank"}
    taken = [name for email, name in names.items() if _accepts(database, sign_up, ADMIN, email=email)]
    if taken:
        return f"a profile with an address that is {' or '.join(taken)}"
    return None if _accepts(database, sign_up, ADMIN, email="cem@example.org") else "nobody can sign up"


@check(26)
def job_runs_the_callers_code(database: Database) -> str | None:
    """Call a job with a temporary table and temporary types in the way that run code of the caller's."""
    for actor, statements in (
        (SERVICE, ["select public.delete_old_logs()", _MESSAGE.replace("'user'", f"'{_assistant(database)}'")]),
        (ANNA, [_MESSAGE, _completion(database)]),
    ):
        with database.transaction(actor) as transaction:
            transaction.run("""
                create temporary table logs (level text, event_type text, metadata jsonb, created_at timestamptz);
                grant all on logs to public;
                create function pg_temp.note() returns boolean language plpgsql as $$ begin
                    if current_user not in ('authenticated', 'service_role') then
                        perform set_config('attack.ran_as', current_user, false);
                    end if;
                    return true; end $$;
                create function pg_temp.attack() returns trigger language plpgsql
                    as $$ begin perform pg_temp.note(); return new; end $$;
                create trigger attack before insert on logs for each row execute function pg_temp.attack()""")
            for name in ("uuid", "text", "jsonb", "json", "timestamptz", "regclass", "date", "int4", "int8", "bool", "name"):
                transaction.run(f"create domain pg_temp.{name} as pg_catalog.{name} check (pg_temp.note())")
            for statement in statements:
                transaction.run(statement)
            if ran_as := transaction.value("select current_setting('attack.ran_as', true)"):
                return f"a caller's code runs as {ran_as}"
    return None


@check(27)
def profile_made_by_hand(database: Database) -> str | None:
    """Let Anna delete her profile and insert a better one."""
    restart = """
        delete from public.profiles where id = :anna;
        insert into public.profiles (id, email, week_reset_date) values (:anna, 'anna@example.org', now() + interval '1 year')"""
    return "a learner starts again with a fresh profile" if _accepts(database, restart, ANNA) else None


@check(28)
def visitors_read_everything(database: Database) -> str | None:
    """Read an opening message as a visitor; see inactive scenarios; delete one through the view."""
    database.run("update public.scenarios set is_active = false where id = 2", SERVICE)
    if _accepts(database, "select initial_message_main from public.scenarios", ANON):
        return "a visitor reads the opening messages"
    try:
        seen = database.run("select title from public.public_scenarios order by 1", ANON)["title"].tolist()
    except psycopg.Error:
        return "a visitor sees no scenario at all"
    if "High School Party" in seen or "Marketplace Encounter" not in seen:
        return f"a visitor sees {', '.join(seen) or 'nothing'}"
    changed = [verb for verb in ("delete from", "insert into") if _accepts(database, _through_view(verb), ANON)]
    return "a visitor writes through the view" if changed else None


def _through_view(verb: str) -> str:
    return f"{verb} public.public_scenarios " + ("where id = 2" if verb == "delete from" else "(title, emoji) values ('x', 'x')")


@check(29)
def kinds_are_hardcoded(database: Database) -> str | None:
    """Add a kind of event with one row, and log one of it; a kind that nobody added must be refused."""
    log = "insert into public.logs (level, event_type) values ('info', 'lesson_rated')"
    add = "insert into public.event_types (code, description) values ('lesson_rated', 'A learner rated a lesson.')"
    if not _accepts(database, f"{add}; {log}"):
        return "a new kind of event needs a migration"
    return "a kind that nobody added is taken" if _accepts(database, log) else None


@check(30)
def logs_in_one_piece(database: Database) -> str | None:
    """Look for partitions out of the API's reach, write at the end of months, and drop an old month as a whole."""
    partitions = database.run(
        "select relnamespace::regnamespace::text as schema from pg_inherits join pg_class on pg_class.oid = inhrelid"
        " where inhparent = to_regclass('public.logs')",
        ADMIN,
    )["schema"]
    if partitions.empty:
        return "logs is one table: old rows go one by one"
    if "public" in partitions.tolist():
        return "a partition can be read past the policies"
    log = "insert into public.logs (level, event_type, created_at) values ('info', 'user_logout', :at)"
    for at in ("2028-02-29 23:59:59.999999+00", "2027-12-31 12:00+00"):
        if not _accepts(database, log, at=at):
            return f"no partition for {at[:10]}"
    database.run(log, SERVICE, at="2020-05-31 12:00+00")
    database.run(log, SERVICE, at="2020-05-01 00:00+00")
    database.run("select public.delete_old_logs()", SERVICE)
    kept = database.value("select count(*) from public.logs where created_at < '2020-06-01'")
    return f"{kept} old logs are kept" if kept else None


@check(31)
def reset_waits_for_a_learner(database: Database) -> str | None:
    """Let both weeks be over and hold one profile: the reset must do the other one and not wait."""
    database.run("update public.profiles set week_reset_date = now() - interval '1 day'", SERVICE)
    with concurrently(database, app=SERVICE, job=SERVICE) as (app, job):
        app("update public.profiles set updated_at = now() where id = :anna")
        waited = job("select public.reset_weekly_limits()").waited
        app.commit()
        job.commit()
    if waited:
        return "the reset waits for one learner's transaction"
    over = database.run("select id::text from public.profiles where week_reset_date <= now()")["id"].tolist()
    return None if over == [NAMES["anna"]] else f"{len(over)} weeks are still over"


def _job_result(database: Database, call: str) -> dict | None:
    """Call a job and return its result as a dictionary, or None where it is no row."""
    result = database.value(f"select to_jsonb(result) from {call} as result", SERVICE)
    return result if isinstance(result, dict) else None


@check(32)
def job_says_a_number(database: Database) -> str | None:
    """Run a job: it must return its run and its window, and log the same."""
    try:
        result = _job_result(database, "public.delete_expired_sessions()")
    except psycopg.Error:
        return "the job fails, because its log does not fit"
    if result is None:
        return "a job returns a bare number"
    if not {"job_id", "affected", "window_start", "window_end"} <= result.keys():
        return f"a job returns {', '.join(result)}"
    logged = database.value("select count(*) from public.logs where metadata ->> 'job_id' = :job", job=result["job_id"])
    return None if logged == 1 else "a job's run is not logged"


@check(33)
def messages_are_kept_for_ever(database: Database) -> str | None:
    """Age one message by fourteen months and archive: it must be in the archive, once, and the others where they were."""
    if database.value("select to_regprocedure('public.archive_old_messages(integer, integer)') is null"):
        return "no job archives old messages"
    database.run(
        "set local session_replication_role = replica;"
        " update public.messages set sent_at = now() - interval '14 months' where session_id = :ben_open and role <> 'user'",
        ADMIN,
    )
    old = database.value("select count(*) from public.messages where sent_at < now() - interval '12 months'")
    count = "select (select count(*) from public.messages), (select count(*) from public.messages_archive)"
    before = database.run(count, ADMIN).iloc[0].tolist()
    database.run("select public.archive_old_messages()", SERVICE)
    after = database.run(count, ADMIN).iloc[0].tolist()
    return None if after == [before[0] - old, before[1] + old] else f"{before} messages and archived ones became {after}"


@check(34)
def ids_by_hand(database: Database) -> str | None:
    """Add a scenario without choosing an id, and one with a code that is taken."""
    code = ("code, ", "'{}', ") if _has_column(database, "scenarios", "code") else ("", "")
    add = (
        f"insert into public.scenarios ({code[0]}title, emoji, initial_message_main, initial_message_helper)"
        f" values ({code[1]}'{{}}', '🥐', 'Guten Tag!', 'Ask me.')"
    )
    if not _accepts(database, add.format("bakery", "At the Bakery") if code[0] else add.format("At the Bakery")):
        return "a new scenario needs an id that somebody picks"
    if not code[0]:
        return "a scenario has no name that is the same everywhere"
    return "two scenarios share a code" if _accepts(database, add.format("kebab", "Another Kebab")) else None


@check(35)
def deletion_takes_history(database: Database) -> str | None:
    """Delete Anna's account: her history must stay, her token must write nothing, and erasure must blank what she wrote."""
    count = "select count(*) from public.messages where session_id in (:anna_open, :anna_done)"
    before = database.value(count, ADMIN)
    database.run("delete from auth.users where id = :anna", ADMIN)
    lost = before - database.value(count, ADMIN)
    if lost:
        return f"deleting an account deletes {lost} messages"
    if _accepts(database, _MESSAGE, ANNA):
        return "the token of a deleted account still writes"
    database.run("select public.erase_user(:anna)", SERVICE)
    left = database.value("select count(*) from public.messages where user_id = :anna and content <> ''", ADMIN)
    return f"{left} messages of an erased learner can be read" if left else None


@check(36)
def assistants_have_two_names(database: Database) -> str | None:
    """Let the assistant speak in both chats, under that name."""
    message = "insert into public.messages (session_id, role, chat_type, content) values (:anna_open, 'assistant', '{}', 'Ja')"
    missing = [chat for chat in ("main", "helper") if not _accepts(database, message.format(chat))]
    return "no role is called assistant" if missing else None


@check(37)
def message_is_rewritten(database: Database) -> str | None:
    """Rewrite a message, also under the cover of a deletion; hiding it must be possible."""
    change = "update public.messages set {} where session_id = :anna_open"
    if _accepts(database, change.format("content = 'Nein.'")):
        return "the service role rewrites a message"
    if _accepts(database, change.format("content = 'Nein.', deleted_at = now()")):
        return "a message is rewritten while it is deleted"
    return None if _accepts(database, change.format("deleted_at = now()")) else "a message cannot be hidden"


@check(38)
def scenarios_have_no_order(database: Database) -> str | None:
    """Look for an order of the scenarios that says which comes first, and for the date of a change."""
    missing = [column for column in ("sort_order", "updated_at") if not _has_column(database, "scenarios", column)]
    if missing:
        return f"scenarios has no {' and no '.join(missing)}"
    if database.value("select count(distinct sort_order) < count(*) from public.scenarios"):
        return "all scenarios share one place in the order"
    database.run("update public.scenarios set updated_at = '2020-01-01', title = 'Markt' where id = 1", SERVICE)
    dated = database.value("select updated_at > now() - interval '1 minute' from public.scenarios where id = 1")
    return None if dated else "a change is not dated"


@check(39)
def moments_without_rule(database: Database) -> str | None:
    """Look for columns whose names do not say that they hold a moment, or that do not say of what."""
    found = database.run(
        """
        select relname || '.' || attname as name
        from pg_attribute
        join pg_class on pg_class.oid = attrelid
        where relnamespace = 'public'::regnamespace
            and relkind in ('r', 'p')
            and attnum > 0
            and atttypid in ('timestamptz'::regtype, 'timestamp'::regtype)
            and attname <> 'week_reset_date'
            and (attname !~ '_at$' or col_description(attrelid, attnum) is null)
        order by 1""",
        ADMIN,
    )["name"].tolist()
    return f"{len(found)} moments are misnamed or not explained, such as {found[0]}" if found else None


@check(40)
def key_changes_undecided(database: Database) -> str | None:
    """Look for foreign keys that leave open what a changed key does, or that carry it on into messages."""
    keys = database.run(
        "select conrelid::regclass::text as on_table, confupdtype::text as on_update from pg_constraint"
        " where contype = 'f' and conparentid = 0 and connamespace = 'public'::regnamespace",
        ADMIN,
    )
    undecided = int((keys["on_update"] == "a").sum())
    if undecided:
        return f"{undecided} foreign keys do not say what a changed key does"
    into_messages = keys[keys["on_table"].isin(["messages", "message_chunks", "messages_archive"])]
    return None if (into_messages["on_update"] == "r").all() else "a changed key would change messages"


@check(41)
def scenario_not_indexed(database: Database) -> str | None:
    """Look for an index that counts a scenario's sessions."""
    found = _has_index(database, "sessions", "scenario_id", "is_completed")
    return None if found else "no index finds a scenario's sessions"


@check(42)
def addresses_differ(database: Database) -> str | None:
    """Change Anna's address where she signs in, and sign somebody up with Ben's in capitals."""
    database.run("update auth.users set email = 'anna.neu@example.org' where id = :anna", ADMIN)
    stored = database.value("select email::text from public.profiles where id = :anna", ADMIN)
    if stored != "anna.neu@example.org":
        return "the profile keeps the old address"
    double = "insert into auth.users (id, email) values (:cem, 'BEN@example.org')"
    return "two living profiles share an address" if _accepts(database, double, ADMIN) else None


@check(43)
def messages_without_limit(database: Database) -> str | None:
    """Send two messages at once, and three in one request; wait a moment, and one must be taken again."""
    bulk = f"{_MESSAGE}, (:anna_open, 'user', 'main', 'Nein.'), (:anna_open, 'user', 'main', 'Doch!')"
    if _accepts(database, bulk, ANNA):
        return "three messages in one request"
    database.run(_MESSAGE, ANNA)
    if _accepts(database, _MESSAGE, ANNA):
        return "a second message in the same moment"
    time.sleep(0.55)
    return None if _accepts(database, _MESSAGE, ANNA) else "half a second later a message is still refused"


@check(44)
def history_not_declared(database: Database) -> str | None:
    """Look for the place where migrations are recorded, and for the words that say so."""
    if database.value("select to_regclass('supabase_migrations.schema_migrations') is null"):
        return "nothing records what is applied"
    said = database.value("select obj_description('supabase_migrations.schema_migrations'::regclass) is not null", ADMIN)
    return None if said else "nothing says how migrations are ordered and recorded"


@check(45)
def failure_leaves_no_trace(database: Database) -> str | None:
    """Let the clean-up job fail: it must say so, and the log of it must stay."""
    database.run(
        """
        update public.sessions set last_activity_at = now() - interval '8 days' where id = :ben_open;
        create function public.refuse() returns trigger language plpgsql
            as $$ begin raise exception 'the disk is full'; end $$;
        create trigger refuse before delete on public.sessions for each row execute function public.refuse()"""
    )
    try:
        result = database.value("select to_jsonb(public.delete_expired_sessions())", SERVICE)
    except psycopg.Error:
        result = None
    errors = database.value("select count(*) from public.logs where level = 'error'", ADMIN)
    if not errors:
        return "a failed job leaves no trace"
    return None if isinstance(result, dict) and result["status"] == "failed" else "a failed job says that it is well"


@check(46)
def retry_writes_twice(database: Database) -> str | None:
    """Send a message twice, as a client does whose first answer was lost: both must succeed, and one be stored and counted."""
    if not _has_column(database, "messages", "client_message_id"):
        return "a retry writes the message twice"
    message = _MESSAGE.replace("content)", "content, client_message_id)").replace("gern.'", "gern.', :reply")
    retry = f"{message} on conflict (session_id, client_message_id) do nothing"
    if not _accepts(database, retry, ANNA):
        return "ON CONFLICT finds no constraint to name"
    database.run(retry, ANNA)
    if not _accepts(database, retry, ANNA):
        return "a retry is refused"
    database.run(retry, ANNA)
    stored = database.value("select count(*) from public.messages where client_message_id = :reply", ADMIN)
    if stored != 1:
        return f"the message is stored {stored} times"
    # And once more after the pause that issue 43 asks for.
    counted = "select message_count_main from public.sessions where id = :anna_open"
    before = database.value(counted, ADMIN)
    database.run("update public.sessions set last_message_at = null, updated_at = now() where id = :anna_open", ADMIN)
    database.run(retry, ANNA)
    return "a retry is counted" if database.value(counted, ADMIN) != before else None


@check(47)
def visitors_call_functions(database: Database) -> str | None:
    """Look for functions that a client may call, also one that is made tomorrow."""
    try:
        with database.transaction(OWNER) as transaction:
            transaction.run("create function public.made_tomorrow() returns integer language sql as 'select 1'")
            found = transaction.run(
                """
                select distinct proname::text as name
                from pg_proc
                cross join unnest(array['anon', 'authenticated']) as role
                where pronamespace = 'public'::regnamespace
                    and prorettype <> 'trigger'::regtype
                    and has_function_privilege(role, oid, 'execute')
                order by 1"""
            )["name"].tolist()
            raise _Undo
    except _Undo:
        pass
    if not found:
        return None
    worst = "reset_weekly_limits" if "reset_weekly_limits" in found else found[0]
    return f"functions that clients may call: {len(found)}, such as {worst}"


@check(48)
def learner_sets_counts(database: Database) -> str | None:
    """Let Anna set her weekly count to nothing."""
    database.run("update public.profiles set current_week_completion_count = 3 where id = :anna", SERVICE)
    with suppress(psycopg.errors.InsufficientPrivilege):
        database.run("update public.profiles set current_week_completion_count = 0 where id = :anna", ANNA)
    count = database.value("select current_week_completion_count from public.profiles where id = :anna", ADMIN)
    return None if count == 3 else "a learner sets their own weekly count"


@check(49)
def learner_forges_messages(database: Database) -> str | None:
    """Let Anna write as the assistant, and three days ago."""
    role = _assistant(database)
    at = "timestamp" if _has_column(database, "messages", "timestamp") else "sent_at"
    early = _MESSAGE.replace("content)", f"content, {at})").replace("gern.'", "gern.', now() - interval '3 days'")
    forged = {"as the assistant": _MESSAGE.replace("'user'", f"'{role}'"), "three days ago": early}
    taken = [what for what, message in forged.items() if _accepts(database, message, ANNA)]
    if not _accepts(database, _MESSAGE, ANNA):
        return "a learner cannot write at all"
    return f"a learner writes {' and '.join(taken)}" if taken else None


@check(50)
def learner_rewrites_sessions(database: Database) -> str | None:
    """Let Anna rewrite a session's counts and its start, and delete a completed one; completing one must be possible."""
    changes = {
        "counts": "update public.sessions set message_count_main = 400 where id = :anna_open returning 1",
        "start": "update public.sessions set started_at = now() - interval '1 hour' where id = :anna_open returning 1",
        "history": "delete from public.sessions where id = :anna_done returning 1",
    }
    done = [what for what, change in changes.items() if _changes_a_row(database, change)]
    if done:
        return f"a learner changes a session's {', '.join(done)}"
    complete = "update public.sessions set is_completed = true where id = :anna_open returning 1"
    return None if _changes_a_row(database, complete) else "a learner cannot complete a session"


def _changes_a_row(database: Database, sql: str) -> bool:
    """Try a statement of Anna's that returns the rows it changes, and undo it."""
    changed = False
    try:
        with database.transaction(ANNA) as transaction:
            changed = not transaction.run(sql).empty
            raise _Undo
    except (_Undo, psycopg.Error):
        return changed


@check(51)
def policies_ask_per_row(database: Database) -> str | None:
    """Look for policies that call auth.uid() outside a sub-select."""
    rules = database.run(
        "select policyname, concat(qual, with_check) as rule from pg_policies where schemaname = 'public' order by 1", ADMIN
    )
    asking = [name for name, rule in rules.itertuples(index=False) if "auth.uid()" in rule.replace("( SELECT auth.uid()", "")]
    return f"policies that ask once a row: {len(asking)}" if asking else None


@check(52)
def indexes_double(database: Database) -> str | None:
    """Look for indexes that another one begins with."""
    double = database.value(
        """
        select count(*)
        from pg_index as short
        join pg_class on pg_class.oid = short.indexrelid
        join pg_index as long on long.indrelid = short.indrelid and long.indexrelid <> short.indexrelid
        join pg_class as other on other.oid = long.indexrelid and other.relam = pg_class.relam
        where pg_class.relnamespace = 'public'::regnamespace
            and not short.indisunique
            and short.indpred is null
            and long.indpred is null
            and (long.indkey::smallint[])[0:short.indnkeyatts - 1] = (short.indkey::smallint[])[0:short.indnkeyatts - 1]
            and long.indnkeyatts > short.indnkeyatts""",
        ADMIN,
    )
    return f"double indexes: {double}" if double else None


@check(53)
def grants_too_wide(database: Database) -> str | None:
    """Compare all grants with data/privileges.csv, and look at those of a table that is made tomorrow."""
    different = privileges.compare(database)
    if not different.empty:
        # How many grants there are in all depends on the server's version.
        clients = different[different["role"].isin(["anon", "authenticated"]) & (different["command"] == "truncate")]
        return f"clients may truncate {clients['object'].nunique()} tables" if len(clients) else "grants differ from the matrix"
    try:
        with database.transaction(OWNER) as transaction:
            transaction.run("create table public.made_tomorrow (id integer)")
            is_open = transaction.value(
                "select bool_or(has_table_privilege(role, 'public.made_tomorrow', 'select, insert, update, delete, truncate'))"
                " from unnest(array['anon', 'authenticated']) as role"
            )
            raise _Undo
    except _Undo:
        pass
    return "a table made tomorrow is open to clients" if is_open else None


@check(54)
def keys_out_of_order(database: Database) -> str | None:
    """Write twenty messages and twenty logs one after the other: their keys must come in the same order."""
    message = _MESSAGE.replace("'user'", f"'{_assistant(database)}'") + " returning id"
    log = "insert into public.logs (level, event_type) values ('debug', 'user_logout') returning id"
    for what, insert in (("messages", message), ("logs", log)):
        keys = [str(database.value(insert, SERVICE)) for _ in range(20)]
        between = sum(key < max(keys[:place]) for place, key in enumerate(keys) if place)
        if between:
            # How many it is depends on chance.
            return f"the keys of {what} go between older ones"
    return None
