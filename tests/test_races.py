"""Eight writers at once on v2: every count is true, every message is there once, and nobody deadlocks."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from threading import Barrier

import psycopg
import pytest
import workbook as wb
from workbook import ADMIN, ANNA, SERVICE, Actor, Database, clone, fixes
from workbook.database import assume, send

LAST = fixes.all_fixes()[-1].number
WRITERS = 8
PATIENCE_S = 30
ACCEPTED = "accepted"
MESSAGE = "insert into messages (session_id, role, chat_type, content) values (:anna_open, '{}', 'main', :text)"
SAME_MESSAGE = (
    "insert into messages (session_id, role, chat_type, content, client_message_id)"
    " values (:anna_open, 'user', 'main', 'Ja, gern.', :reply) on conflict (session_id, client_message_id) do nothing"
)
COMPLETE = "update sessions set is_completed = true where id = :anna_open"
IN_SESSION = "select count(*) from messages where session_id = :anna_open"
COUNTED = "select message_count_main + message_count_helper from sessions where id = :anna_open"


@pytest.fixture
def v2() -> Database:
    return clone(LAST)


def at_once[Result](
    database: Database,
    work: Callable[[psycopg.Connection, int], Result],
    writers: int = WRITERS,
    obstacle: str | None = None,
) -> list[Result]:
    """Do work on several connections at once, and return what each returns; with an obstacle, all wait for its lock first."""
    start = Barrier(writers)

    def begin(connection: psycopg.Connection, number: int) -> Result:
        connection.execute("set deadlock_timeout = '50ms'")
        start.wait(PATIENCE_S)
        return work(connection, number)

    with ExitStack() as stack:
        connections = [stack.enter_context(closing(database.connect())) for _ in range(writers)]
        pool = stack.enter_context(ThreadPoolExecutor(writers))
        # Left before the pool, which waits for those who wait for this one.
        holder = stack.enter_context(closing(database.connect()))
        if obstacle:
            holder.execute("begin")
            send(holder, obstacle, {})
        running = [pool.submit(begin, connection, number) for number, connection in enumerate(connections)]
        if obstacle:
            wait_until_all_wait(holder, [connection.info.backend_pid for connection in connections], running)
            holder.execute("commit")
        return [future.result(PATIENCE_S) for future in running]


def wait_until_all_wait(observer: psycopg.Connection, pids: list[int], running: list[Future]) -> None:
    """Return when each of these processes waits for a lock."""
    deadline = time.monotonic() + PATIENCE_S
    waiting = "select count(distinct pid) from pg_locks where not granted and pid = any (%s)"
    while observer.execute(waiting, [pids]).fetchone() != (len(pids),):
        assert time.monotonic() < deadline and not any(future.done() for future in running), "not everybody waits"
        time.sleep(0.005)


def outcome(connection: psycopg.Connection, actor: Actor, statement: str, **values: object) -> str:
    """Send a statement in a transaction of its own; return that it was accepted, or the SQLSTATE that refused it."""
    try:
        with connection.transaction():
            assume(connection, actor)
            send(connection, statement, values)
    except psycopg.Error as error:
        return error.sqlstate
    return ACCEPTED


def test_counters_of_one_session(v2: Database) -> None:
    before, (updates_before, heap_only_before) = v2.value(IN_SESSION), wb.heap_only(v2, "public.sessions")

    def write(connection: psycopg.Connection, number: int) -> Counter[str]:
        return Counter(outcome(connection, SERVICE, MESSAGE.format("assistant"), text=f"{number} {turn}") for turn in range(25))

    assert sum(at_once(v2, write), Counter()) == {ACCEPTED: 200}
    updates, heap_only = wb.heap_only(v2, "public.sessions")
    assert v2.value("select deadlocks from pg_stat_database where datname = current_database()") == 0
    assert v2.value(COUNTED) == v2.value(IN_SESSION) == before + 200
    assert updates - updates_before == 200
    assert heap_only - heap_only_before >= 190


def test_completion_against_messages(v2: Database) -> None:
    counts = "select completed_scenario_count, current_week_completion_count from profiles where id = :anna"
    before, counts_before = v2.value(IN_SESSION), v2.run(counts)
    half_way = Barrier(2 * WRITERS)

    def complete(connection: psycopg.Connection) -> int:
        half_way.wait(PATIENCE_S)
        with connection.transaction():
            assume(connection, ANNA)
            assert send(connection, COMPLETE, {}).rowcount == 1
            # The session is ours until the commit, so what is not there by now came too late.
            return send(connection, IN_SESSION, {}).fetchone()[0]

    def chat(connection: psycopg.Connection, number: int) -> Counter[str]:
        actor, role = (ANNA, "user") if number % 2 else (SERVICE, "assistant")
        found = Counter(outcome(connection, actor, MESSAGE.format(role), text="Moment!") for _ in range(5))
        half_way.wait(PATIENCE_S)
        while not found["PT409"] and found.total() < 1000:
            found[outcome(connection, actor, MESSAGE.format(role), text="Moment!")] += 1
        return found

    results = at_once(
        v2, lambda connection, number: chat(connection, number) if number < WRITERS else complete(connection), 2 * WRITERS
    )
    outcomes = sum(results[:WRITERS], Counter())
    assert outcomes.keys() == {ACCEPTED, "PT409", "PT429"}
    assert outcomes["PT409"] == WRITERS
    assert results[WRITERS:] == [before + outcomes[ACCEPTED]] * WRITERS
    assert v2.value(COUNTED) == v2.value(IN_SESSION) == before + outcomes[ACCEPTED]
    assert (v2.run(counts) - counts_before).iloc[0].tolist() == [1, 1]


def test_same_message_from_everybody(v2: Database) -> None:
    before = v2.value(IN_SESSION)
    obstacle = "select from sessions where id = :anna_open for update"
    outcomes = at_once(v2, lambda connection, _: outcome(connection, ANNA, SAME_MESSAGE), obstacle=obstacle)
    assert outcomes == [ACCEPTED] * WRITERS
    assert v2.value(COUNTED) == v2.value(IN_SESSION) == before + 1


def test_another_message_from_everybody(v2: Database) -> None:
    before = v2.value(IN_SESSION)
    outcomes = at_once(
        v2,
        lambda connection, number: outcome(connection, ANNA, MESSAGE.format("user"), text=f"{number}"),
        obstacle="select from sessions where id = :anna_open for update",
    )
    assert Counter(outcomes) == {ACCEPTED: 1, "PT429": WRITERS - 1}
    assert v2.value(COUNTED) == v2.value(IN_SESSION) == before + 1


def test_two_archive_runs_and_two_weekly_resets(v2: Database) -> None:
    v2.run(
        "insert into messages (session_id, role, chat_type, content, sent_at)"
        " select :anna_open, 'assistant', 'main', number::text, now() - interval '13 months'"
        " from generate_series(1, 400) as number",
        SERVICE,
    )
    v2.run("insert into auth.users (email) select number || '@example.org' from generate_series(1, 200) as number", ADMIN)
    v2.run("update profiles set current_week_completion_count = 3, week_reset_date = now() - interval '3 days'")
    everywhere = "select id, content from messages union all select id, content from messages_archive order by 1"
    before, profiles = v2.run(everywhere), v2.value("select count(*) from profiles")

    def work(connection: psycopg.Connection, number: int) -> None:
        if number % 2:
            connection.execute("call private.run_weekly_reset(10)")
        else:
            while connection.execute("select affected from archive_old_messages(12, 10)").fetchone() != (0,):
                pass

    at_once(v2, work, 4)
    assert v2.run(everywhere).equals(before)
    assert v2.value("select count(*) from messages_archive") == 400
    done = v2.run("select event_type, sum((metadata ->> 'affected')::integer)::integer as rows from logs group by 1")
    assert dict(done.itertuples(index=False)) == {"message_archive_executed": 400, "weekly_limit_reset": profiles}
    assert v2.value(
        "select bool_and(current_week_completion_count = 0 and week_reset_date = private.next_week_reset(now())) from profiles"
    )


def test_streams_that_two_finish_each(v2: Database) -> None:
    replies = [f"e1000000-0000-4000-8000-{number:012}" for number in range(4)]
    sessions = [":anna_open", ":ben_open"] * 2

    def stream(connection: psycopg.Connection, number: int) -> Counter[str]:
        chunk = (
            "insert into message_chunks (message_id, seq, session_id, chat_type, content)"
            f" values ('{replies[number]}', :seq, {sessions[number]}, 'main', :seq)"
        )
        return Counter(outcome(connection, SERVICE, chunk, seq=seq) for seq in range(10))

    def finish(connection: psycopg.Connection, number: int) -> str:
        return outcome(connection, SERVICE, f"select finalize_message('{replies[number // 2]}')")

    counted = "select sum(message_count_main) from sessions"
    before = v2.value(counted)
    assert at_once(v2, stream, len(replies)) == [{ACCEPTED: 10}] * len(replies)
    # One of each pair waits for its session, the other one for the first.
    obstacle = "select from sessions where id in (:anna_open, :ben_open) for update"
    assert at_once(v2, finish, 2 * len(replies), obstacle) == [ACCEPTED] * 2 * len(replies)
    found = v2.run("select id::text, content from messages where id = any (cast(:replies as uuid[])) order by 1", replies=replies)
    assert dict(found.itertuples(index=False)) == dict.fromkeys(replies, "0123456789")
    assert v2.value("select count(*) from message_chunks") == 0
    assert v2.value(counted) == before + len(replies)
