"""Exercises 5, 8 and 9: a change to many rows, or to the schema, while the app goes on."""

from textwrap import shorten

import psycopg
import sqlparse
from psycopg.pq import TransactionStatus

from ..actors import ADMIN, ANNA, BEN, OWNER, SERVICE
from ..concurrency import concurrently
from ..database import Database


def archive(database: Database, attempt: str) -> str | None:
    """Old messages move once, as they are at that moment, and nothing is lost."""
    # One just old enough, and one that is not.
    database.run(
        """set local session_replication_role = replica;
        update messages set sent_at = now() - case role when 'user' then interval '373 days' else interval '358 days' end
        where session_id = :ben_open""",
        ADMIN,
    )
    old = database.value("select count(*) from messages where sent_at < now() - interval '12 months'", ADMIN)
    texts = "select id::text, (to_jsonb(kept) - 'deleted_at' - 'deleted_reason')::text as said from {} as kept order by 1"
    before = database.run(texts.format("messages"), ADMIN)
    with concurrently(database, app=SERVICE, job=OWNER) as (app, job):
        app("update public.messages set deleted_at = now(), deleted_reason = 'asked for it' where session_id = :anna_done")
        first = job(attempt)
        app.commit()
        if first.refused:
            return f"the job ends with {first.outcome!r}"
        job.commit()
    database.run(attempt)
    left, moved = (database.value(f"select count(*) from {table}", ADMIN) for table in ("messages", "old_messages"))
    if left + moved != len(before):
        return f"there were {len(before)} messages, and there are {left + moved}"
    if moved != old:
        return f"{moved} messages moved, and {old} are older than twelve months"
    if not database.run(texts.format("(table messages union all table old_messages)"), ADMIN).equals(before):
        return "a message does not say any more what it said"
    hidden = database.value("select count(*) from old_messages where session_id = :ben_open and deleted_at is not null", ADMIN)
    if hidden:
        return f"{hidden} messages are hidden in the archive that nobody hid"
    shown = database.value(
        "select count(*) from old_messages where session_id = :anna_done and (deleted_at is null or deleted_reason is null)",
        ADMIN,
    )
    return f"{shown} messages that were hidden meanwhile are visible in the archive" if shown else None


def erasure(database: Database, attempt: str) -> str | None:
    """Nothing that Anna wrote is left in any table, and all that Ben wrote is."""
    annas, bens = (set(database.run(_SAID, ADMIN, learner=who)["content"]) for who in (ANNA.user_id, BEN.user_id))
    before = _tables_with(database, bens)
    database.run(attempt)
    database.run("select public.forget_learner(:anna)")
    if left := _tables_with(database, annas - bens):
        return f"what Anna wrote is still in {', '.join(left)}"
    if lost := [table for table, rows in before.items() if _tables_with(database, bens).get(table) != rows]:
        return f"what Ben wrote is gone from {', '.join(lost)} as well"
    if database.value("select count(*) from profiles where id = :anna and deleted_at is null", ADMIN):
        return "Anna's account is still alive"
    return None


_SAID = """
select content from messages where user_id = :learner and role = 'user'
union
select content from messages_archive where user_id = :learner and role = 'user'"""

_TABLES = """
select oid::regclass::text as name
from pg_class
where relkind in ('r', 'm') and relnamespace in ('public'::regnamespace, 'private'::regnamespace)
order by 1"""

_ROWS_WITH = """
select count(*)
from {} as row
where exists (select from unnest(cast(:texts as text[])) as said where strpos(row::text, said) > 0)"""


def _tables_with(database: Database, texts: set[str]) -> dict[str, int]:
    """Return the tables that hold one of these texts in whatever column, and in how many rows."""
    tables = database.run(_TABLES, ADMIN)["name"]
    found = {table: database.value(_ROWS_WITH.format(table), ADMIN, texts=sorted(texts)) for table in tables}
    return {table: rows for table, rows in found.items() if rows}


_RECORDER = """
create table private.held (id integer generated always as identity, mode text, waits_without_limit boolean);
create function private.note_locks() returns event_trigger language plpgsql set search_path = '' as $$
begin
    insert into private.held (mode, waits_without_limit)
    select mode, current_setting('lock_timeout') = '0' from pg_catalog.pg_locks
    where pid = pg_backend_pid() and relation = 'public.messages'::regclass;
end $$;
create event trigger note_locks on ddl_command_end execute function private.note_locks();
alter table private.held owner to workbook_owner;
"""

_STATE = """
select
    pg_stat_get_tuples_returned(oid) + pg_stat_get_xact_tuples_returned(oid),
    pg_relation_filenode(oid),
    (select coalesce(max(id), 0) from private.held)
from pg_class
where oid = 'public.messages'::regclass"""

# Inside a statement the locks are noted by the event trigger; an open transaction still has them after it.
_HELD = """
select coalesce(waits_without_limit, false)
from (
    select mode, waits_without_limit from private.held where id > %s
    union all
    select mode, null from pg_locks where pid = pg_backend_pid() and relation = 'public.messages'::regclass
) as held
where mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"""


def migration(database: Database, attempt: str) -> str | None:
    """No statement reads all messages while nobody may write, none waits without limit, and the rule and the index are there."""
    with database.connect() as connection:
        connection.execute(_RECORDER)
        connection.execute("set role workbook_owner")
        for statement in sqlparse.split(sqlparse.format(attempt, strip_comments=True)):
            ((read, file, place),) = connection.execute(_STATE).fetchall()
            connection.execute(statement)
            blocking = connection.execute(_HELD, [place]).fetchall()
            ((read_now, file_now, _),) = connection.execute(_STATE).fetchall()
            shown = f"`{shorten(statement, 80, placeholder=' …')}`"
            if blocking and file_now != file:
                return f"{shown} writes the whole table anew while nobody may use it"
            if blocking and read_now > read:
                return f"{shown} reads all messages while nobody may write one"
            if (True,) in blocking:
                return f"{shown} may wait for its lock as long as it likes, and everybody waits behind it"
        if connection.info.transaction_status != TransactionStatus.IDLE:
            return "the last transaction is not committed"
    return _is_missing(database)


def _is_missing(database: Database) -> str | None:
    """Say what a migration has not brought."""
    number = "set local session_replication_role = replica; update messages set client_message_id = gen_random_uuid() where role"
    try:
        database.run(f"{number} <> 'user'", ADMIN)
        return "a message that no client has sent may have a client's number"
    except psycopg.errors.CheckViolation:
        database.run(f"{number} = 'user'", ADMIN)
    of_messages = "select count(*) from {} where {}rel{} = 'public.messages'::regclass and {}"
    if database.value(of_messages.format("pg_constraint", "con", "id", "not convalidated"), ADMIN):
        return "the rule holds for new rows only, until it is validated"
    led = "indisvalid and pg_get_indexdef(indexrelid, 1, false) = 'deleted_at'"
    return None if database.value(of_messages.format("pg_index", "ind", "id", led), ADMIN) else "no index begins with deleted_at"
