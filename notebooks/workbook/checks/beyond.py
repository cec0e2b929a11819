"""Checks of the flaws beyond the review: notebook 08_beyond."""

from contextlib import suppress

import psycopg

from .. import privileges
from ..actors import ADMIN, ANNA, OWNER, SERVICE
from ..database import Database
from .trying import accepts, assistant, check, has_column, message, undone


@check(47)
def function_grants(database: Database) -> str | None:
    """Look for functions that a client may call, also one that is made tomorrow."""
    with undone(database, OWNER) as transaction:
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
    if not found:
        return None
    worst = "reset_weekly_limits" if "reset_weekly_limits" in found else found[0]
    return f"functions that clients may call: {len(found)}, such as {worst}"


@check(48)
def profile_columns(database: Database) -> str | None:
    """Let Anna set her weekly count to nothing."""
    database.run("update public.profiles set current_week_completion_count = 3 where id = :anna", SERVICE)
    with suppress(psycopg.errors.InsufficientPrivilege):
        database.run("update public.profiles set current_week_completion_count = 0 where id = :anna", ANNA)
    count = database.value("select current_week_completion_count from public.profiles where id = :anna", ADMIN)
    return None if count == 3 else "a learner sets their own weekly count"


@check(49)
def message_columns(database: Database) -> str | None:
    """Let Anna write as the assistant, and three days ago."""
    at = "timestamp" if has_column(database, "messages", "timestamp") else "sent_at"
    early = message().replace("content)", f"content, {at})").replace("gern.'", "gern.', now() - interval '3 days'")
    forged = {"as the assistant": message(assistant(database)), "three days ago": early}
    taken = [what for what, insert in forged.items() if accepts(database, insert, ANNA)]
    if not accepts(database, message(), ANNA):
        return "a learner cannot write at all"
    return f"a learner writes {' and '.join(taken)}" if taken else None


@check(50)
def session_columns(database: Database) -> str | None:
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
    with suppress(psycopg.Error), undone(database, ANNA) as transaction:
        return not transaction.run(sql).empty
    return False


@check(51)
def policies_ask_once(database: Database) -> str | None:
    """Look for policies that call auth.uid() outside a sub-select."""
    rules = database.run(
        "select policyname, concat(qual, with_check) as rule from pg_policies where schemaname = 'public' order by 1", ADMIN
    )
    asking = [name for name, rule in rules.itertuples(index=False) if "auth.uid()" in rule.replace("( SELECT auth.uid()", "")]
    return f"policies that ask once a row: {len(asking)}" if asking else None


@check(52)
def redundant_indexes(database: Database) -> str | None:
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
def least_privilege(database: Database) -> str | None:
    """Compare all grants with data/privileges.csv, and look at those of a table that is made tomorrow."""
    different = privileges.compare(database)
    if not different.empty:
        # How many grants there are in all depends on the server's version.
        clients = different[different["role"].isin(["anon", "authenticated"]) & (different["command"] == "truncate")]
        return f"clients may truncate {clients['object'].nunique()} tables" if len(clients) else "grants differ from the matrix"
    with undone(database, OWNER) as transaction:
        transaction.run("create table public.made_tomorrow (id integer)")
        is_open = transaction.value(
            "select bool_or(has_table_privilege(role, 'public.made_tomorrow', 'select, insert, update, delete, truncate'))"
            " from unnest(array['anon', 'authenticated']) as role"
        )
    return "a table made tomorrow is open to clients" if is_open else None


@check(54)
def keys_in_order(database: Database) -> str | None:
    """Write twenty messages and twenty logs one after the other: their keys must come in the same order."""
    said = message(assistant(database)) + " returning id"
    log = "insert into public.logs (level, event_type) values ('debug', 'user_logout') returning id"
    for what, insert in (("messages", said), ("logs", log)):
        keys = [str(database.value(insert, SERVICE)) for _ in range(20)]
        between = sum(key < max(keys[:place]) for place, key in enumerate(keys) if place)
        if between:
            # How many it is depends on chance.
            return f"the keys of {what} go between older ones"
    return None
