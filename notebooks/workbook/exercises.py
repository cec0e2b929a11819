"""Five exercises: what is given, and a check that says what is still wrong with an attempt."""

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from IPython.display import Markdown

from . import fixes
from .actors import ADMIN, ANNA, ANON, BEN, OWNER, SERVICE
from .concurrency import concurrently, is_quiet
from .database import Database, clone
from .errors import WorkbookError
from .fixes import sql
from .paths import SQL
from .plans import plan

Check = Callable[[Database, str], str | None]
"""Tries an attempt; returns what is wrong with it in one sentence, or None."""

CHECKS: dict[int, Check] = {}


def _exercise(number: int) -> Callable[[Check], Check]:
    def register(function: Check) -> Check:
        CHECKS[number] = function
        return function

    return register


@dataclass(frozen=True)
class Verdict:
    """What became of an attempt."""

    number: int
    problem: str | None

    @property
    def solved(self) -> bool:
        """Whether nothing is wrong any more."""
        return self.problem is None

    def __repr__(self) -> str:
        return f"exercise {self.number} is solved" if self.solved else f"not yet: {self.problem}"


def given(number: int) -> Database:
    """Return a clone of v2 with what the exercise adds to it."""
    _require(number)
    database = clone(fixes.all_fixes()[-1].number)
    database.run_file(f"exercises/{number}_given.sql", ADMIN)
    return database


def show(number: int, what: str = "given") -> Markdown:
    """Show what an exercise gives, or its solution: folded, so that nobody reads it by accident."""
    _require(number)
    path = SQL / "exercises" / f"{number}_{what}.sql"
    title = "A solution" if what == "solution" else "What is there"
    is_open = "" if what == "solution" else " open"
    return Markdown(f"<details{is_open}><summary>{title}</summary>\n\n```sql\n{path.read_text().strip()}\n```\n\n</details>")


def solution(number: int) -> str:
    """Return an exercise's solution."""
    _require(number)
    return sql(f"exercises/{number}_solution.sql")


def check(number: int, attempt: str) -> Verdict:
    """Try an attempt on a clone of its own, and say what is wrong with it.

    Raises:
        WorkbookError: there is no such exercise.
    """
    database = given(number)
    token = is_quiet.set(True)
    try:
        return Verdict(number, CHECKS[number](database, attempt))
    except psycopg.Error as error:
        return Verdict(number, f"PostgreSQL says {error.sqlstate or 'nothing'}, {str(error).splitlines()[0]}")
    except (WorkbookError, KeyError, TypeError, AttributeError) as error:
        return Verdict(number, f"the attempt does not answer as the task asks ({error})")
    finally:
        is_quiet.reset(token)
        database.drop()


def _require(number: int) -> None:
    if number not in CHECKS:
        raise WorkbookError(f"There is no exercise {number}; take one of {', '.join(map(str, sorted(CHECKS)))}.")


@_exercise(1)
def _bookmarks(database: Database, attempt: str) -> str | None:
    """Each learner sees, adds and deletes their own bookmarks, and the database finds them without reading all."""
    database.run(attempt)
    total = database.value("select count(*) from bookmarks", ADMIN)
    mine = database.value("select count(*) from bookmarks where user_id = :anna", ADMIN)
    seen = database.value("select count(*) from bookmarks", ANNA)
    if seen == total:
        return "Anna sees everybody's bookmarks"
    if seen != mine:
        return f"Anna sees {seen} of her {mine} bookmarks"
    add = "insert into bookmarks (message_id, user_id) select id, {} from messages where role = 'user' limit 1"
    try:
        database.run(add.format(":ben"), ANNA)
        return "Anna adds a bookmark in Ben's name"
    except psycopg.errors.InsufficientPrivilege:
        pass
    for what, statement in {
        "add": add.format(":anna"),
        "delete": "delete from bookmarks where user_id = :anna",
    }.items():
        try:
            if database.run(statement, ANNA).endswith(" 0"):
                return f"Anna cannot {what} a bookmark of her own"
        except psycopg.errors.InsufficientPrivilege:
            return f"Anna cannot {what} a bookmark of her own"
    if database.value("select count(*) from bookmarks", BEN) != total - mine:
        return "Ben does not see just his own bookmarks"
    database.run(add.format(":anna"), ANNA)
    database.run("delete from bookmarks", BEN)
    if not database.value("select count(*) from bookmarks where user_id = :anna", ADMIN):
        return "Ben deletes Anna's bookmarks"
    if _may_read(database):
        return "a visitor reads bookmarks"
    rules = database.run("select concat(qual, ' ', with_check) as rule from pg_policies where tablename = 'bookmarks'", ADMIN)[
        "rule"
    ]
    if any("auth.uid()" in rule.replace("( SELECT auth.uid()", "") for rule in rules):
        return "a policy calls auth.uid() for each row; a sub-select asks once a query"
    leading = database.run(
        "select indkey[0] as first from pg_index join pg_class on pg_class.oid = indexrelid join pg_am on pg_am.oid = relam"
        " where indrelid = 'public.bookmarks'::regclass and indpred is null and amname in ('btree', 'hash')",
        ADMIN,
    )["first"]
    column = database.value(
        "select attnum from pg_attribute where attrelid = 'public.bookmarks'::regclass and attname = 'user_id'", ADMIN
    )
    return None if column in leading.tolist() else "no index begins with user_id, so finding one's own reads all bookmarks"


def _may_read(database: Database) -> bool:
    try:
        return bool(database.value("select count(*) from bookmarks", ANON))
    except psycopg.errors.InsufficientPrivilege:
        return False


LAST_PLAYED = "select id from public.sessions where scenario_id = 2 and is_completed order by completed_at desc limit 10"
"""The query of exercise 2."""


@_exercise(2)
def _missing_index(database: Database, attempt: str) -> str | None:
    """The query reads the ten rows that it shows, and sorts nothing."""
    before = database.value("select count(*) from pg_index where indrelid = 'public.sessions'::regclass", ADMIN)
    database.run(attempt)
    with database.connect() as connection:
        connection.execute("analyze public.sessions")
    added = database.value("select count(*) from pg_index where indrelid = 'public.sessions'::regclass", ADMIN) - before
    if added != 1:
        return f"one new index is enough, and there are {added}"
    nodes = plan(database, LAST_PLAYED)
    if nodes["node"].str.contains("Sort").any():
        return "the plan still sorts, because the index does not give the rows in the query's order"
    read = int((nodes["rows read"] + nodes["rows removed"]).max())
    if read > 10:
        return f"the plan reads {read} rows to show ten"
    buffers = int(nodes["buffers"].max())
    return None if buffers <= 20 else f"the plan touches {buffers} pages to show ten rows: it walks past others in the index"


@_exercise(3)
def _pages(database: Database, attempt: str) -> str | None:
    """Page by page every message is seen once, also where many have one moment, and each page reads only itself."""
    total = database.value("select count(*) from messages where session_id = :anna_done and chat_type = 'helper'", ADMIN)
    seen: list[str] = []
    place = {"session": _done(database), "sent_at": "-infinity", "id": "00000000-0000-0000-0000-000000000000"}
    for _ in range(total + 1):
        page = database.run(attempt, ANNA, **place)
        if len(page) == 0:
            break
        if len(page) > 7:
            return f"a page has {len(page)} messages, and seven fit on the screen"
        seen += map(str, page["id"])
        place |= {"sent_at": page["sent_at"].iloc[-1], "id": page["id"].iloc[-1]}
    else:
        return "the pages never end"
    if len(set(seen)) < total:
        return f"{total - len(set(seen))} of {total} messages are on no page"
    if len(seen) > total:
        return f"there are {len(seen)} messages on the pages, and {total} in the helper chat of the session"
    in_order = "select id::text from messages where session_id = :anna_done and chat_type = 'helper' order by sent_at, id"
    if seen != database.run(in_order, ADMIN)["id"].tolist():
        return "the pages do not show the messages in the order in which they were sent"
    nodes = plan(database, attempt, ANNA, **place | {"sent_at": "-infinity"})
    return "a page sorts all messages" if nodes["node"].isin(["Sort"]).any() else None


def _done(database: Database) -> str:
    return str(database.value("select cast(:anna_done as uuid)", ADMIN))


@_exercise(4)
def _hints(database: Database, attempt: str) -> str | None:
    """A learner gets three hints, also from two devices at once."""
    database.run(attempt)
    use = "select public.use_hint(:anna)"
    if [database.value(use, ADMIN) for _ in range(2)] != [True, True]:
        return "the first hints are refused"
    with concurrently(database, phone=OWNER, laptop=OWNER) as (phone, laptop):
        third, fourth = phone(use), laptop(use)
        phone.commit()
        laptop.commit()
    used = database.value("select count(*) from hints where user_id = :anna", ADMIN)
    if used != 3:
        return f"from two devices at once the learner gets {used} hints"
    if (third.outcome, fourth.outcome) != ("True", "False"):
        return f"of two devices at once the first hears {third.outcome}, the second {fourth.outcome}; it should be True and False"
    if database.value(use, ADMIN):
        return "the learner gets a fourth hint"
    return None if database.value("select public.use_hint(:ben)", ADMIN) else "Ben gets no hint, because Anna has used hers"


@_exercise(5)
def _archive(database: Database, attempt: str) -> str | None:
    """Old messages move once, as they are at that moment, and nothing is lost."""
    # One just old enough, and one that is not.
    database.run(
        """set local session_replication_role = replica;
        update messages set sent_at = now() - case role when 'user' then interval '373 days' else interval '358 days' end
        where session_id = :ben_open""",
        ADMIN,
    )
    old = database.value("select count(*) from messages where sent_at < now() - interval '12 months'", ADMIN)
    texts = "select id::text, content, client_message_id::text from messages order by 1"
    before = database.run(texts, ADMIN)
    new = database.value("select count(*) from messages", ADMIN) - old
    with concurrently(database, app=SERVICE, job=OWNER) as (app, job):
        app("update public.messages set deleted_at = now(), deleted_reason = 'asked for it' where session_id = :anna_done")
        first = job(attempt)
        app.commit()
        if first.refused:
            return f"the job ends with {first.outcome!r}"
        job.commit()
    database.run(attempt)
    left, moved = (database.value(f"select count(*) from {table}", ADMIN) for table in ("messages", "old_messages"))
    if left + moved != old + new:
        return f"there were {old + new} messages, and there are {left + moved}"
    if moved != old:
        return f"{moved} messages moved, and {old} are older than twelve months"
    after = database.run(texts.replace("from messages", "from (table messages union all table old_messages) as kept"), ADMIN)
    if not after.equals(before):
        return "a message does not say any more what it said"
    hidden = database.value("select count(*) from old_messages where session_id = :ben_open and deleted_at is not null", ADMIN)
    if hidden:
        return f"{hidden} messages are hidden in the archive that nobody hid"
    shown = database.value("select count(*) from old_messages where session_id = :anna_done and deleted_at is null", ADMIN)
    return f"{shown} messages that were hidden meanwhile are visible in the archive" if shown else None
