"""Exercises 1, 6 and 10: who sees which rows, and what that costs."""

import re
from typing import Any

import psycopg

from ..actors import ADMIN, ANNA, ANON, BEN, SERVICE, Actor
from ..database import Database, assume
from ..plans import plan

WORDS = "select word from public.words"
"""The query of exercise 10: it leaves to the policy whose words are shown."""

_FUNCTION = re.compile(r"(?<![\w.])[a-z_][\w.]*\(")
"""A call in a plan's expression; operators, casts and references to an InitPlan look otherwise."""


def bookmarks(database: Database, attempt: str) -> str | None:
    """Each learner sees, adds and deletes their own bookmarks, and the database finds them without reading all."""
    database.run(attempt)
    if problem := _sees(database, "bookmarks", ANNA, "bookmarks") or _sees(database, "bookmarks", BEN, "bookmarks"):
        return problem
    add = "insert into bookmarks (message_id, user_id) select id, {} from messages where role = 'user' limit 1"
    if _changes(database, add.format(":ben"), ANNA):
        return "Anna adds a bookmark in Ben's name"
    for what, statement in {"add": add.format(":anna"), "delete": "delete from bookmarks where user_id = :anna"}.items():
        if not _changes(database, statement, ANNA):
            return f"Anna cannot {what} a bookmark of her own"
    database.run(add.format(":anna"), ANNA)
    _changes(database, "delete from bookmarks", BEN)
    if not database.value("select count(*) from bookmarks where user_id = :anna", ADMIN):
        return "Ben deletes Anna's bookmarks"
    if _shows_a_visitor(database, "bookmarks"):
        return "a visitor reads bookmarks"
    if rule := _asked_for_each_row(database):
        return f"a policy calls a function for each row in `{rule}`; a sub-select asks once a query"
    if _kept_plan_mixes(database):
        return "a plan that is kept shows Ben what Anna asked for: a function that reads the token is not immutable"
    database.run(
        """set local session_replication_role = replica;
        insert into bookmarks (message_id, user_id) select gen_random_uuid(), gen_random_uuid() from generate_series(1, 5000)""",
        ADMIN,
    )
    with database.connect() as connection:
        connection.execute("analyze bookmarks")
    read = _read(database, "select message_id from bookmarks", ANNA)
    return (
        None
        if read < 1000
        else f"finding one's own reads {read} bookmarks: no index begins with user_id, or the policy hides the column"
    )


def view(database: Database, attempt: str) -> str | None:
    """A learner sees through the view what they see in the table and changes no more; the backend sees everything."""
    columns = "select * from my_sessions limit 0"
    before = list(database.run(columns, ADMIN).columns)
    database.run(attempt)
    if list(database.run(columns, ADMIN).columns) != before:
        return f"the view has to keep its columns, which are {', '.join(before)}"
    if problem := _sees(database, "my_sessions", ANNA, "sessions") or _sees(database, "my_sessions", BEN, "sessions"):
        return problem
    if _shows_a_visitor(database, "my_sessions"):
        return "a visitor sees sessions"
    if _count(database, "my_sessions", SERVICE) != database.value("select count(*) from sessions", ADMIN):
        return "the backend does not see all sessions any more"
    if database.value("select count(title) from my_sessions", ANNA) != _count(database, "my_sessions", ANNA):
        return "Anna sees a session without its title"
    # What the table itself refuses: to delete a completed session, and to touch its dates.
    for statement in (
        "delete from my_sessions where id = :anna_done",
        "update my_sessions set started_at = now() where is_completed",
    ):
        if _changes(database, statement, ANNA):
            return f"Anna may {statement.split()[0]} a completed session through the view, which the table refuses"
    options = database.value(
        "select coalesce(array_to_string(reloptions, ' '), '') from pg_class where relname = 'my_sessions'", ADMIN
    )
    if not re.search(r"security_(invoker|barrier)=(true|on|1|yes)", options):
        return "a condition of Anna's may be tried on Ben's rows before the view's own is: such a view needs security_barrier"
    return None


def words(database: Database, attempt: str) -> str | None:
    """A learner sees the words of the lists that they are a member of, and the plan goes to these lists."""
    database.run(attempt)
    for actor in (ANNA, BEN):
        if problem := _sees_lists(database, actor):
            return problem
    if _shows_a_visitor(database, "words"):
        return "a visitor sees words"
    if _count(database, "list_members", ANNA) not in (0, len(_lists(database, ANNA))):
        return "Anna sees who else is a member of lists"
    database.run("insert into list_members (list_id, user_id) values (150, :anna)", ADMIN)
    if _sees_lists(database, ANNA):
        return "Anna has joined a list, and does not see its words"
    database.run("delete from list_members where list_id = 150 and user_id = :anna", ADMIN)
    if _sees_lists(database, ANNA):
        return "Anna has left a list, and still sees its words"
    with database.connect() as connection:
        connection.execute("analyze words, list_members")
    shown, read = _count(database, "words", ANNA), _read(database, WORDS, ANNA)
    return (
        None
        if read <= 2 * shown
        else f"to show {shown} words the plan reads {read}: the policy looks at each row instead of the index"
    )


def _count(database: Database, table: str, actor: Actor) -> int:
    """Return how many rows somebody sees."""
    return database.value(f"select count(*) from {table}", actor)


def _shows_a_visitor(database: Database, table: str) -> bool:
    try:
        return bool(_count(database, table, ANON))
    except psycopg.errors.InsufficientPrivilege:
        return False


def _sees(database: Database, shown: str, actor: Actor, table: str) -> str | None:
    """Say what is wrong with what a learner sees of a table, there or in a view."""
    whose = f"select count(*) from {table} where user_id = '{actor.user_id}'"
    total, own, seen = (
        database.value(f"select count(*) from {table}", ADMIN),
        database.value(whose, ADMIN),
        _count(database, shown, actor),
    )
    if seen == total:
        return f"{actor.label} sees everybody's {table}"
    mine = seen and database.value(whose.replace(f"from {table}", f"from {shown}"), actor)
    return None if mine == seen == own else f"{actor.label} sees {mine} of their {own} {table}, and {seen - mine} of others"


def _changes(database: Database, statement: str, actor: Actor) -> bool:
    """Try a statement, which stays; return whether it changed anything."""
    try:
        return not database.run(statement, actor).endswith(" 0")
    except psycopg.Error:
        return False


def _lists(database: Database, actor: Actor) -> list[int]:
    return database.run(f"select list_id from list_members where user_id = '{actor.user_id}' order by 1", ADMIN)[
        "list_id"
    ].tolist()


def _sees_lists(database: Database, actor: Actor) -> str | None:
    lists = _lists(database, actor)
    expected = database.value("select count(*) from words where list_id = any(:lists)", ADMIN, lists=lists)
    by_list = database.run("select list_id, count(*) as words from words group by 1 order by 1", actor)
    others = by_list["words"][~by_list["list_id"].isin(lists)].sum()
    if others:
        return f"{actor.label} sees {others} words of lists that are not theirs"
    return (
        None if by_list["words"].sum() == expected else f"{actor.label} sees {by_list['words'].sum()} of their {expected} words"
    )


def _read(database: Database, query: str, actor: Actor) -> int:
    """Return how many rows the node of a query's plan that reads most has read."""
    nodes = plan(database, query, actor)
    return int((nodes["rows read"] + nodes["rows removed"]).max())


def _asked_for_each_row(database: Database) -> str | None:
    """Return the condition of a policy of bookmarks that calls a function for each row, if there is one."""
    rules = database.run("select qual, with_check from pg_policies where tablename = 'bookmarks'", ADMIN)
    with database.connect() as connection:
        for rule in [*rules["qual"].dropna(), *rules["with_check"].dropna()]:
            # As an output and not in WHERE, where the planner might do better than it may with a policy.
            ((explained,),) = connection.execute(f"explain (verbose, format json) select {rule} from bookmarks").fetchall()
            if _calls(explained[0]["Plan"]):
                return " ".join(rule.split())
    return None


def _calls(node: dict[str, Any]) -> bool:
    """Tell whether a plan calls a function for each row, there or in a sub-select that it answers for each row anew."""
    expressions = " ".join([*node.get("Output", []), node.get("Filter", ""), node.get("Index Cond", "")])
    asked_once = {"InitPlan", "SubPlan"} if "hashed SubPlan" in expressions else {"InitPlan"}
    below = [child for child in node.get("Plans", []) if child["Parent Relationship"] not in asked_once]
    return bool(_FUNCTION.search(expressions)) or any(_calls(child) for child in below)


def _kept_plan_mixes(database: Database) -> bool:
    """Tell whether a plan made for Anna shows Ben her rows, as on a connection that both get from a pool."""
    with database.connect() as connection:
        connection.execute(
            "set plan_cache_mode = force_generic_plan; prepare mine as select count(*) from bookmarks where user_id = $1"
        )
        for actor in (ANNA, BEN):
            with connection.transaction():
                assume(connection, actor)
                ((seen,),) = connection.execute(f"execute mine ('{ANNA.user_id}')").fetchall()
    return bool(seen)
