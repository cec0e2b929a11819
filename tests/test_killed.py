"""The server dies in the middle of a job or a fix: nothing is lost, doubled or half-applied, and the next run completes."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import psycopg
import pytest
from helpers import ask, schema
from workbook import ADMIN, ANNA, SERVICE, Database, database, fixes, sql
from workbook.errors import WorkbookError
from workbook.server import EmbeddedServer, libpq_url

LAST = fixes.all_fixes()[-1].number
PATIENCE_S = 20

# Where a gate stands, a statement stops after its rows are done, for as long as somebody holds the key.
GATE = """
create function public.gate() returns trigger language plpgsql
    as $$ begin perform pg_advisory_xact_lock_shared(1); return null; end $$;
create trigger gate after {event} on public.{table} for each {level} execute function public.gate()
"""
HOLD_THE_KEY = "select pg_advisory_xact_lock(1)"
OPEN_TO_ALL = "drop function public.gate() cascade"


class OwnDatabase(Database):
    """A database on a server of the tests' own."""

    def __init__(self, own: EmbeddedServer, name: str, template: str = "template0") -> None:
        ask(own, f"create database {name} owner {database.OWNER_ROLE} template {template} strategy file_copy")
        self.name = name
        self.url = libpq_url(own.url.set(database=name))


@pytest.fixture(scope="module")
def own(lasting_server: EmbeddedServer) -> EmbeddedServer:
    """A server with two templates: `dirty`, which is v1 with its dirty rows, and `v2`."""
    ask(lasting_server, sql("platform/roles.sql"))
    database._fill(OwnDatabase(lasting_server, "dirty"), "dirty")
    v2 = OwnDatabase(lasting_server, "v2")
    database._fill(v2, "seed")
    v2.apply_up_to(LAST)
    return lasting_server


def kill_in_the_middle(
    own: EmbeddedServer, victim: Database, obstacle: str, work: Callable[[psycopg.Connection], object]
) -> None:
    """Let work run into what another transaction holds, kill every process of the server, and start it again."""
    with ThreadPoolExecutor(1) as pool, closing(victim.connect()) as holder, closing(victim.connect()) as worker:
        holder.execute("begin")
        database.send(holder, obstacle, {})
        working = pool.submit(work, worker)
        wait_until_it_has_written_and_waits(own, worker.info.backend_pid, holder.info.backend_pid, working.done)
        # The worker first, so that it cannot even notice that the server is gone.
        for pid in (worker.info.backend_pid, own._pid(), *own._processes()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert isinstance(working.exception(PATIENCE_S), (psycopg.OperationalError, WorkbookError))
    deadline = time.monotonic() + PATIENCE_S
    while own._processes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert own.start()


def wait_until_it_has_written_and_waits(own: EmbeddedServer, worker: int, holder: int, is_done: Callable[[], bool]) -> None:
    """Return when a process is in the middle of its work: it has changed rows, and now waits for the holder's lock."""
    deadline = time.monotonic() + PATIENCE_S
    while not ask(
        own,
        f"select wait_event_type = 'Lock' and backend_xid is not null and {holder} = any (pg_blocking_pids(pid))"
        f" from pg_stat_activity where pid = {worker}",
    ):
        assert not is_done(), "the work ended before it met the obstacle"
        assert time.monotonic() < deadline, "the work did not meet the obstacle"
        time.sleep(0.01)


def picture(of: Database) -> dict[str, object]:
    """Return everything that a database holds: its schema, and the rows of all tables."""
    with of.connect() as connection:
        tables = connection.execute("""
            select oid::regclass::text
            from pg_class
            where relkind in ('r', 'p') and not relispartition and oid >= 16384  -- made since initdb""").fetchall()
        rows = {
            table: connection.execute(f"select (to_jsonb(t) - 'repaired_at')::text from {table} as t order by 1").fetchall()
            for (table,) in tables
        }
    return {"schema": schema(of), **rows}


def as_service(statement: str) -> Callable[[psycopg.Connection], object]:
    """Return work that calls a job as the API does, in a transaction of its own."""

    def work(connection: psycopg.Connection) -> None:
        with connection.transaction():
            database.assume(connection, SERVICE)
            database.send(connection, statement, {})

    return work


def test_archiving(own: EmbeddedServer) -> None:
    everything = """
        select id, content, 'messages' as place from messages
        union all
        select id, content, 'archive' from messages_archive
        order by 1, 3"""
    v2 = OwnDatabase(own, "archiving", "v2")
    v2.run(
        "insert into messages (session_id, role, chat_type, content, sent_at)"
        " select session_id, 'assistant', 'main', number::text, now() - interval '13 months'"
        " from unnest(array[:anna_open, :ben_open]::uuid[]) as session_id, generate_series(1, 150) as number",
        SERVICE,
    )
    v2.run("select archive_old_messages(12, 100)", SERVICE)
    # All messages of the batch are out of the one table and in the other.
    v2.run(GATE.format(event="insert", table="messages_archive", level="statement"))
    before, found = picture(v2), v2.run(everything)

    kill_in_the_middle(own, v2, HOLD_THE_KEY, as_service("select archive_old_messages()"))
    assert picture(v2) == before
    assert found["place"].tolist().count("archive") == 100

    assert v2.value("select (archive_old_messages()).affected", SERVICE) == 200
    after = v2.run(everything)
    assert after[["id", "content"]].equals(found[["id", "content"]])
    assert after["id"].is_unique
    assert after["place"].tolist().count("archive") == 300


@pytest.mark.slow
def test_weekly_reset(own: EmbeddedServer) -> None:
    v2 = OwnDatabase(own, "resetting", "v2")
    v2.run("insert into auth.users (email) select number || '@example.org' from generate_series(1, 25) as number", ADMIN)
    v2.run(
        "update profiles set current_week_completion_count = 3, week_reset_date = now() - make_interval(hours => number)"
        " from generate_series(1, 25) as number where email = number || '@example.org'"
    )
    v2.run(GATE.format(event="update", table="profiles", level="row when (old.email = '3@example.org')"))
    due = "select count(*) from profiles where week_reset_date <= now() and current_week_completion_count = 3"
    ran = "select count(*), sum((metadata ->> 'affected')::integer) from logs where event_type = 'weekly_limit_reset'"
    assert v2.value(due) == 25

    # The oldest are first, so the third batch of ten holds the last five.
    kill_in_the_middle(own, v2, HOLD_THE_KEY, lambda connection: connection.execute("call private.run_weekly_reset(10)"))
    assert v2.value(due) == 5
    assert v2.run(ran).iloc[0].tolist() == [2, 20]

    # Who is reset already completes a session in the new week: the second run must leave that alone.
    v2.run(
        "insert into sessions (user_id, scenario_id, is_completed) select id, 1, true from profiles where email ~ '^(1.|2.)@'",
        SERVICE,
    )
    with v2.connect() as connection:
        connection.execute("call private.run_weekly_reset(10)")
    assert v2.value(due) == 0
    assert v2.run(ran).iloc[0].tolist() == [4, 25]
    counts = v2.run(
        "select current_week_completion_count as count, week_reset_date = private.next_week_reset(now()) as is_aligned"
        " from profiles where email ~ '^[0-9]' order by substring(email::text, '[0-9]+')::integer"
    )
    assert counts["count"].tolist() == [0] * 9 + [1] * 16
    assert counts["is_aligned"].all()


@pytest.mark.slow
def test_dropping_old_logs(own: EmbeddedServer) -> None:
    v2 = OwnDatabase(own, "dropping", "v2")
    for age in (3, 4, 5):
        v2.run("select private.create_log_partition(now() - make_interval(months => :age))", age=age)
    v2.run(
        "insert into logs (level, event_type, created_at) select 'info', 'user_logout', now() - make_interval(months => age)"
        " from unnest(array[0, 3, 4, 5]) as age, generate_series(1, 10)",
        SERVICE,
    )
    # Two that no month is for, in the order in which the job comes to them.
    v2.run(
        "insert into logs (level, event_type, created_at)"
        " values ('info', 'user_logout', '2020-01-14 12:00+00'), ('info', 'user_logout', '2020-01-15 12:00+00')",
        SERVICE,
    )
    before = picture(v2)
    oldest = v2.value("select partition::text from private.log_partitions() order by from_at limit 1")

    obstacle = "select from logs where created_at = '2020-01-15 12:00+00' for update"
    kill_in_the_middle(own, v2, obstacle, as_service("select delete_old_logs()"))
    assert picture(v2) == before

    assert v2.value("select (delete_old_logs()).affected", SERVICE) == 32
    assert v2.run("select event_type, count(*) from logs group by 1 order by 1")["count"].tolist() == [1, 10]
    assert v2.value(f"select to_regclass('{oldest}') is null")


def test_finalizing(own: EmbeddedServer) -> None:
    v2 = OwnDatabase(own, "finalizing", "v2")
    v2.run(
        "insert into message_chunks (message_id, seq, session_id, chat_type, content)"
        " select :reply, seq, :anna_open, 'main', seq::text from generate_series(1, 5) as seq",
        SERVICE,
    )
    before, counted = picture(v2), v2.value("select message_count_main from sessions where id = :anna_open")

    # The message is in when its fragments go; the last of them is held.
    obstacle = "select from message_chunks where message_id = :reply and seq = 5 for update"
    kill_in_the_middle(own, v2, obstacle, as_service("select finalize_message(:reply)"))
    assert picture(v2) == before

    for _ in range(2):
        v2.run("select finalize_message(:reply)", SERVICE)
        assert v2.run("select content from messages where id = :reply", ANNA)["content"].tolist() == ["12345"]
        assert v2.value("select count(*) from message_chunks") == 0
        assert v2.value("select message_count_main from sessions where id = :anna_open") == counted + 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [15, 18])
def test_applying_a_fix(own: EmbeddedServer, number: int) -> None:
    killed = OwnDatabase(own, f"killed_{number}", "dirty")
    killed.apply_up_to(number - 1)
    spared = OwnDatabase(own, f"spared_{number}", killed.name)
    killed.run(GATE.format(event="update", table="messages", level="statement"))
    before = picture(killed)

    fix = fixes.find(number)
    kill_in_the_middle(own, killed, HOLD_THE_KEY, lambda connection: fixes.apply(connection, fix))
    assert picture(killed) == before

    killed.run(OPEN_TO_ALL)
    for each in (killed, spared):
        each.apply(number)
    assert picture(killed) == picture(spared)
    assert killed.apply_up_to(LAST)
