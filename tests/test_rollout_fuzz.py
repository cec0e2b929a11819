"""Random writes at every moment of a rollout: it makes of v1 what the fixes make of the same rows, and back loses nothing."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg
import pytest
from helpers import schema
from workbook import ADMIN, OWNER, SERVICE, Actor, Database, clone, fixes, rollout
from workbook.rollout import steps
from workbook.rollout.rehearsal import quiet
from writers import SPREAD, TABLES, Writer, differences, rows, running, v1_rows, v2_schema

pytestmark = pytest.mark.slow

LAST = fixes.all_fixes()[-1].number
SEEDS = range(2)
MANY = range(100, 100 + int(os.environ.get("ROLLOUT_SEEDS", "8")))
"""More of them with ROLLOUT_SEEDS: sixty take half an hour."""


@pytest.fixture(scope="module")
def v1() -> Database:
    """v1 with rows that break rules, over several pages of each table."""
    made = clone("v1", "dirty")
    made.run(SPREAD, ADMIN)
    return made


@pytest.fixture(scope="module")
def started(v1: Database) -> Database:
    """The same, where a rollout has started."""
    made = v1.copy()
    with running(made) as runner:
        steps.start(runner, quiet)
    return made


# --- From v1 to v2 ------------------------------------------------------------------------------------------------


def roll_out(started: Database, seed: int, acts: int) -> tuple[Database, Database, list[str]]:
    """Write at random beside a rollout up to its switch; return it, v1 as it was right before, and what was written."""
    chance = random.Random(seed)
    live = started.copy()
    writer = Writer(live.url, chance)
    try:
        with running(live) as runner:
            for act in range(acts):
                writer.act()
                if act > chance.random() * acts:
                    row, _ = steps.turn(runner, chance.choice([0, 1, 1, 2, 16]), chance.choice([0, 1, 2, 5, 50]))
                    if chance.random() < 0.1:
                        take_a_turn_that_fails(runner)
                    if row["is_done"] and chance.random() < 0.5:
                        runner.connection.execute("select rollout.link()")
            steps.copy(runner, quiet)
        with running(live) as runner:
            for _ in range(acts // 2):
                writer.act()
                if chance.random() < 0.5:
                    steps.turn(runner, chance.choice([0, 1, 16]), chance.choice([0, 1, 2, 5, 50]))
            if chance.random() < 0.3:
                runner.connection.execute("update rollout.state set week_reset_date = week_reset_date - interval '7 days'")
    except BaseException:
        writer.connection.close()
        print(*writer.log, sep="\n")
        raise
    writer.close()
    frozen = live.copy()
    with running(live) as runner:
        steps.switch(runner, quiet)
    with running(frozen) as runner:
        steps.abort(runner, quiet)
    return live, frozen, writer.log


def take_a_turn_that_fails(runner: rollout.Runner) -> None:
    """Take a turn, with its temporary tables if they are not there yet, and undo it."""
    runner.connection.execute("begin isolation level repeatable read")
    runner.connection.execute("select rollout.turn(1, 10)")
    runner.connection.execute("rollback")


def compare(v1: Database, started: Database, seed: int, acts: int) -> None:
    since = v1.value("select now()")
    live, frozen, log = roll_out(started, seed, acts)
    assert schema(frozen) == schema(v1)
    frozen.apply_up_to(LAST)
    told = differences(live, frozen, since)
    with running(live) as runner:
        steps.finish(runner, quiet, has_backup=True, has_old_clients=False)
    assert not told, "\n".join([f"seed {seed}", *told, *log])
    assert v2_schema(live) == v2_schema(frozen)
    live.drop()
    frozen.drop()


@pytest.mark.parametrize("seed", SEEDS)
def test_any_writes(v1: Database, started: Database, seed: int) -> None:
    compare(v1, started, seed, 40)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_many_more_writes(v1: Database, started: Database, seed: int) -> None:
    compare(v1, started, seed, 20 + seed % 60)


def assert_same(live: Database, expected: Database, since: datetime) -> None:
    told = differences(live, expected, since)
    assert not told, "\n".join(told)
    live.drop()
    expected.drop()


def switched(live: Database) -> Database:
    """Switch, and return what the fixes make of the same v1."""
    frozen = live.copy()
    with running(live) as runner:
        steps.switch(runner, quiet)
    with running(frozen) as runner:
        steps.abort(runner, quiet)
    frozen.apply_up_to(LAST)
    return frozen


# Learners 1 to 23 have an open session (the one with their number less one) and two completed ones.
USER, OPEN = "md5('user{}')::uuid", "md5('session{}')::uuid"
HANG_TOGETHER = {
    "a soft deletion closes sessions": f"update auth.users set deleted_at = now() where id = {USER.format(1)}",
    "and opens them as it comes back": f"update auth.users set deleted_at = null where id = {USER.format(1)}",
    "another one stays deleted": f"update auth.users set deleted_at = now() where id = {USER.format(2)}",
    "open sessions that change places": f"""
        update public.sessions set is_completed = true where id in ({OPEN.format(3)}, {OPEN.format(4)});
        update public.sessions set user_id = {USER.format(4)} where id = {OPEN.format(4)};
        update public.sessions set user_id = {USER.format(5)} where id = {OPEN.format(3)};
        update public.sessions set is_completed = false where id in ({OPEN.format(3)}, {OPEN.format(4)})""",
    "a scenario whose sessions are another one's, deleted": """
        update public.sessions set scenario_id = 20 where scenario_id = 21;
        delete from public.scenarios where id = 21""",
    "a profile whose sessions are another learner's, deleted": f"""
        update public.sessions set is_completed = true where user_id = {USER.format(6)};
        update public.sessions set user_id = {USER.format(7)} where user_id = {USER.format(6)};
        delete from public.profiles where id = {USER.format(6)}""",
    "a title and an address that are free again": f"""
        delete from public.scenarios where id = 26;
        update public.scenarios set title = 'Scenario 26' where id = 20;
        delete from public.profiles where id = {USER.format(8)};
        update auth.users set email = null where id = {USER.format(8)};
        update auth.users set email = 'p8@example.org' where id = {USER.format(9)}""",
}


def test_what_hangs_together_goes_together(v1: Database, started: Database) -> None:
    since = v1.value("select now()")
    live = started.copy()
    with running(live) as runner:
        steps.copy(runner, quiet)
        for statements in HANG_TOGETHER.values():
            live.run(statements, ADMIN)
            while not steps.turn(runner, 1, 3)[0]["is_done"]:
                pass
        # Profiles that were carried in another week.
        live.run("update rollout.state set week_reset_date = week_reset_date - interval '7 days'")
        live.run("update rollout_new.profiles set current_week_completion_count = 9")
    assert_same(live, switched(live), since)


@pytest.mark.parametrize("table", ["sessions", "profiles", "scenarios"])
@pytest.mark.parametrize("moment", ["in the copy", "at the switch"])
@pytest.mark.slow
def test_truncate(v1: Database, started: Database, table: str, moment: str) -> None:
    since = v1.value("select now()")
    live = started.copy()
    with running(live) as runner:
        steps.copy(runner, quiet)
        live.run(f"truncate public.{table} cascade")
        if moment == "at the switch":
            with pytest.raises(psycopg.errors.LockNotAvailable):
                runner.run("select rollout.switch()")
        live.run("select public.delete_old_logs()")
    assert_same(live, switched(live), since)


# --- And back -----------------------------------------------------------------------------------------------------

# Who sends it, and what. {mine} is an open session of the learner who sends it.
AFTERWARDS: list[tuple[str, str]] = [
    ("learner", "insert into public.messages (session_id, role, chat_type, content, client_message_id) "
     "values ({mine}, 'user', {chat}, 'Ja.', {new})"),
    ("learner", "insert into public.messages (session_id, role, chat_type, content) values ({mine}, 'user', {chat}, 'Ja.')"),
    ("learner", "insert into public.sessions (id, user_id, scenario_id) values ({new}, {learner}, {scenario})"),
    ("learner", "update public.sessions set is_completed = true where id = {mine}"),
    ("learner", "delete from public.sessions where id = {mine}"),
    ("service", "insert into public.messages (session_id, role, chat_type, content) values ({open}, 'assistant', {chat}, 'So?')"),
    ("service", "insert into public.message_chunks (message_id, seq, session_id, chat_type, content) "
     "values ({new}, 1, {open}, {chat}, 'Hal'), ({new}, 2, {open}, {chat}, 'lo')"),
    ("service", "insert into public.message_chunks (message_id, seq, session_id, chat_type, content) "
     "values ({new}, 1, {open}, {chat}, 'Guten Tag'); select public.finalize_message({new})"),
    ("service", "select public.archive_old_messages(1, 3)"),
    ("service", "select public.erase_user({learner})"),
    ("service", "select public.delete_expired_sessions(); select public.reset_weekly_limits(); select public.forget_addresses()"),
    ("service", "select public.delete_old_logs()"),
    ("service", "insert into public.logs (level, event_type, user_id, session_id, message) "
     "values ('info', 'user_logout', {learner}, {open}, {said})"),
    ("service", "insert into public.logs (level, event_type, user_id) values ('info', 'tea_time', {learner})"),
    ("service", "update public.messages set deleted_at = now(), deleted_reason = 'rude' where id = {message}"),
    ("service", "update public.messages set deleted_at = null, deleted_reason = null where deleted_at is not null"),
    ("owner", "insert into public.event_types (code, description) values ('tea_time', 'Somebody drinks tea.')"),
    ("owner", "delete from public.messages where id = {message}"),
    ("owner", "delete from public.logs where id = {log}"),
    ("owner", "update public.logs set created_at = created_at - interval '40 days' where id = {log}"),
    ("owner", "update public.scenarios set code = 'code-{small}', sort_order = {small} where id = {scenario}"),
    ("owner", "update public.scenarios set title = 'Title {small}' where id = {scenario}"),
    ("owner", "update public.scenarios set id = 300 + id where id = {scenario}"),
    ("owner", "update public.sessions set scenario_id = {scenario} where scenario_id = {scenario2};"
     "delete from public.scenarios where id = {scenario2}"),
    ("owner", "insert into public.scenarios (title, code, emoji, initial_message_main, initial_message_helper) "
     "values ('New {small}', 'new-{small}', '🙂', 'Hallo!', 'Ask me.')"),
    ("owner", "insert into public.sessions (id, user_id, scenario_id) values ({new}, {learner}, {scenario})"),
    ("owner", "delete from public.profiles where id = {learner}"),
    ("admin", "update auth.users set email = 'new{small}@example.org' where id = {learner}"),
    ("admin", "update auth.users set deleted_at = now() where id = {learner}"),
    ("admin", "update auth.users set deleted_at = null where deleted_at is not null"),
    ("admin", "delete from auth.users where id = {learner}"),
    ("admin", "insert into auth.users (id, email) values ({new}, 'more{small}@example.org')"),
    ("admin", "insert into auth.users (id, phone) values ({new}, '{small}')"),
]  # fmt: skip


def write_afterwards(live: Database, chance: random.Random, log: list[str]) -> None:
    """Send one statement to v2; it may be refused."""

    def one_of(rows: str) -> str:
        found = live.value(f"select array(select id::text from {rows} order by 1)", ADMIN)
        return f"'{chance.choice(found)}'" if found else "null"

    who, statement = chance.choice(AFTERWARDS)
    learner = one_of("auth.users")
    statement = statement.format(
        learner=learner, mine=one_of(f"public.sessions where user_id = {learner} and not is_completed"),
        open=one_of("public.sessions where not is_completed"), message=one_of("public.messages"), log=one_of("public.logs"),
        scenario=one_of("public.scenarios"), scenario2=one_of("public.scenarios"), small=chance.randrange(6),
        new=f"'{random.Random(chance.random()).getrandbits(128):032x}'", chat=f"'{chance.choice(['main', 'helper'])}'",
        said=chance.choice(["null", "'Somebody has gone.'"]),
    )  # fmt: skip
    actors = {
        "learner": Actor("learner", "authenticated", learner.strip("'")),
        "service": SERVICE,
        "owner": OWNER,
        "admin": ADMIN,
    }
    with suppress(psycopg.Error):
        live.run(statement, actors[who])
        log.append(f"{who}: {statement}")


def v2_rows(of: Database) -> dict[str, dict[str, dict[str, Any]]]:
    """Return v2's rows by table and id, an archived message among the messages."""
    found = {table: {key[0]: row for key, row in rows(of, f"select * from public.{table}").items()} for table in TABLES}
    columns = "id, session_id, user_id, role, chat_type, content, sent_at, deleted_at, deleted_reason, client_message_id"
    for key, row in rows(of, f"select {columns} from public.messages_archive").items():
        found["messages"][key[0]] = row
    return found


def as_v1(table: str, row: dict[str, Any], before: dict[str, Any] | None, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a row of v2 as v1 holds it."""
    if table == "messages":
        role = "user" if row["role"] == "user" else "scenario" if row["chat_type"] == "main" else "helper"
        row = {**row, "role": role, "timestamp": row["sent_at"], "created_at": before["created_at"] if before else row["sent_at"]}
    if table == "sessions":
        row = {**row, "created_at": before["created_at"] if before else row["started_at"]}
    return with_living_keys(table, row, found)


def with_living_keys(table: str, row: dict[str, Any], found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if table != "logs":
        return row
    return {
        **row,
        "user_id": row["user_id"] if str(row["user_id"]) in found["profiles"] else None,
        "session_id": row["session_id"] if str(row["session_id"]) in found["sessions"] else None,
    }


def lost(live: Database, before: dict, first: dict, last: dict, kinds: set[str]) -> list[str]:
    """Say what a way back has lost or changed: from v1 before the switch, and v2 after it and at its end."""
    found = v1_rows(live)
    kept = {tuple(row) for row in live.value("select array(select array[table_name, key] from rollout_kept.rows)", ADMIN) or ()}
    users = set(live.value("select array(select id::text from auth.users)", ADMIN))
    living = {key for key, row in last["profiles"].items() if row["deleted_at"] is None}
    told = []
    for table in TABLES:
        for key in found[table].keys() - last[table].keys():
            told.append(f"{table} {key} is there, and v2 had it no more")
        for key, row in last[table].items():
            is_held = {
                "profiles": key in living & users,
                "sessions": str(row.get("user_id")) in living,
                "messages": str(row.get("user_id")) in living and row.get("deleted_at") is None,
                "logs": row.get("event_type") in kinds,
                "scenarios": True,
            }[table]
            mine, was = found[table].get(key), before[table].get(key)
            is_untouched = row == first[table].get(key)
            if is_untouched and (mine is None) == (was is None) and (was is None or mine == with_living_keys(table, was, found)):
                continue
            if not is_held:
                if (table, key) not in kept:
                    told.append(f"{table} {key} is neither in v1 nor kept")
                continue
            if mine is None:
                told.append(f"{table} {key} is lost")
                continue
            expected = as_v1(table, row, was, found)
            for name, value in mine.items():
                if value != expected[name] and not (name == "created_at" and table in ("sessions", "messages")):
                    told.append(f"{table} {key} {name}: {str(value)[:100]} instead of {str(expected[name])[:100]}")
    return told


def go_back(v1: Database, started: Database, seed: int, acts: int) -> None:
    chance = random.Random(seed)
    live = started.copy()
    log: list[str] = []
    writer = Writer(live.url, chance)
    writer.write(10)
    writer.close()
    before = v1_rows(live)
    with running(live) as runner:
        steps.copy(runner, quiet)
        before = v1_rows(live)
        kinds = set(runner.one("select array(select jsonb_array_elements_text(before -> 'event_types')) from rollout.state"))
        steps.switch(runner, quiet)
        first = v2_rows(live)
        for act in range(acts):
            write_afterwards(live, chance, log)
            if act > acts / 2 and chance.random() < 0.3:
                runner.run("select rollout.prepare_back()")
                steps._apply_back(runner, chance.choice([1, 3, 20]))
                log.append("-- back")
        last = v2_rows(live)
        print(*log, sep="\n")
        steps.back(runner, quiet)
    told = lost(live, before, first, last, kinds)
    assert not told, "\n".join([f"seed {seed}", *told])
    assert [row for row in schema(live) if "rollout_kept" not in row[1]] == schema(v1)
    live.drop()


def test_back(v1: Database, started: Database) -> None:
    go_back(v1, started, 0, 25)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_back_many_more_times(v1: Database, started: Database, seed: int) -> None:
    go_back(v1, started, seed, 20 + seed % 60)


BACK_TOGETHER = {
    "an account that is deleted softly and comes back, with what nobody has touched": [
        (ADMIN, f"update auth.users set deleted_at = now() where id = {USER.format(1)}"),
        (ADMIN, f"update auth.users set deleted_at = null where id = {USER.format(1)}"),
    ],
    "a scenario whose sessions are another one's, deleted": [
        (OWNER, "update public.sessions set scenario_id = 20 where scenario_id = 21; delete from public.scenarios where id = 21"),
    ],
    "a learner whom v1 had no profile of": [
        (SERVICE, "insert into public.sessions (user_id, scenario_id) values ('d0000000-0000-4000-8000-00000000000a', 1)"),
    ],
    "a log of another one": [
        (SERVICE, "insert into public.logs (level, event_type, user_id) values ('info', 'user_logout', :reply)"),
    ],
    "a session of an account that was deleted before": [
        (OWNER, f"update public.sessions set updated_at = now() where user_id = {USER.format(2)}"),
    ],
    "logs that v2's job has dropped with their months": [(SERVICE, "select public.delete_old_logs()")],
}


def test_what_hangs_together_comes_back_together(v1: Database, started: Database) -> None:
    live = started.copy()
    live.run(f"update auth.users set deleted_at = now() where id = {USER.format(2)}", ADMIN)
    # A learner whose profile v2 makes, and v1 has none of.
    live.run("insert into auth.users (id, email) values (:reply, 'lea@example.org')", ADMIN)
    live.run("delete from public.profiles where id = :reply")
    with running(live) as runner:
        steps.copy(runner, quiet)
        before = v1_rows(live)
        kinds = set(runner.one("select array(select jsonb_array_elements_text(before -> 'event_types')) from rollout.state"))
        steps.switch(runner, quiet)
        first = v2_rows(live)
        for statements in BACK_TOGETHER.values():
            for actor, statement in statements:
                live.run(statement, actor)
                runner.run("select rollout.prepare_back()")
                steps._apply_back(runner, 3)
        last = v2_rows(live)
        steps.back(runner, quiet)
    told = lost(live, before, first, last, kinds)
    assert not told, "\n".join(told)
    live.drop()


# --- Who holds what meanwhile -------------------------------------------------------------------------------------


def test_a_table_that_shrinks_while_its_pages_are_waited_for(v1: Database, started: Database) -> None:
    since = v1.value("select now()")
    live = started.copy()
    live.run("delete from public.messages where id <> all (array(select id from public.messages order by ctid desc limit 5))")
    with running(live) as runner, live.connect() as other, ThreadPoolExecutor(1) as pool:
        while runner.one("select table_name from rollout.progress where not is_copied order by place limit 1") != "messages":
            steps.turn(runner, 16, 50)
        while runner.one("select next_page from rollout.progress where table_name = 'messages'") < 8:
            steps.turn(runner, 1, 50)
        # As VACUUM FULL, which does not keep its lock for a test.
        other.execute("begin; cluster public.messages using messages_pkey")
        turn = pool.submit(steps.turn, runner, 1, 50)
        wait_for_a_lock(other, runner.connection.info.backend_pid)
        other.execute("commit")
        turn.result()
        steps.copy(runner, quiet)
    assert_same(live, switched(live), since)


def wait_for_a_lock(other: psycopg.Connection, pid: int) -> None:
    deadline = time.monotonic() + 10
    while other.execute("select cardinality(pg_blocking_pids(%s))", [pid]).fetchone() == (0,):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_user_who_goes_while_their_profile_is_carried_back(started: Database) -> None:
    live = started.copy()
    with running(live) as runner, live.connect() as other, ThreadPoolExecutor(1) as pool:
        steps.copy(runner, quiet)
        steps.switch(runner, quiet)
        live.run("insert into auth.users (id, email) values (:reply, 'late@example.org')", ADMIN)
        runner.run("select rollout.prepare_back()")
        other.execute("begin; delete from auth.users where email = 'late@example.org'")
        applied = pool.submit(steps._apply_back, runner, 50)
        wait_for_a_lock(other, runner.connection.info.backend_pid)
        other.execute("commit")
        applied.result()
        steps.back(runner, quiet)
    assert live.value("select count(*) from public.profiles where email = 'late@example.org'") == 0
    live.drop()


def test_one_connection_for_two_rollouts(v1: Database) -> None:
    since = v1.value("select now()")
    live = v1.copy()
    with running(live) as runner:
        for _ in range(2):
            steps.start(runner, quiet)
            steps.copy(runner, quiet)
            steps.abort(runner, quiet)
        steps.start(runner, quiet)
        steps.copy(runner, quiet)
    assert_same(live, switched(live), since)
