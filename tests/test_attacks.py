"""Attacks that the notebooks have no room for: each once broke a draft of a fix."""

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import workbook as wb
from workbook import ADMIN, ANNA, ANON, BEN, OWNER, SERVICE, Actor, Database, clone, fixes
from workbook.actors import NAMES
from workbook.database import assume, send

LAST = fixes.all_fixes()[-1].number
CHUNK = "insert into message_chunks (message_id, seq, session_id, chat_type, content) values (:reply, :seq, {}, 'main', :text)"
CHUNK_OF_ANNA = CHUNK.format(":anna_open")
MESSAGE = "insert into messages (session_id, role, chat_type, content) values ({}, 'user', 'main', 'Halt!')"
INTO_REPLY = "insert into messages (id, session_id, role, chat_type, content)"
FINALIZE = "select finalize_message(:reply)"
COMPLETE = "update sessions set is_completed = true where id = :anna_open"


@pytest.fixture
def fixed() -> Database:
    return clone(LAST)


def reply(database: Database) -> str | None:
    """Return the text of the finished reply, or None where there is none."""
    found = database.run("select content from messages where id = :reply")["content"].tolist()
    return found[0] if found else None


class TestCompletion:
    @pytest.mark.parametrize(
        ("started_at", "completed_at"),
        [("2026-01-01", "infinity"), ("-infinity", "infinity"), ("0001-01-01", "2026-01-01"), ("2026-01-01", "9999-12-31")],
    )
    @pytest.mark.slow
    def test_moments_that_no_duration_fits(self, started_at: str, completed_at: str) -> None:
        dirty = clone(0)
        dirty.run(
            "insert into sessions (user_id, scenario_id, is_completed, started_at, completed_at)"
            " values (:ben, 1, true, :started_at, :completed_at)",
            ADMIN,
            started_at=started_at,
            completed_at=completed_at,
        )
        dirty.apply_up_to(LAST)
        found = dirty.run("select completed_at::text as at, duration_seconds from sessions where user_id = :ben and is_completed")
        assert found["duration_seconds"].isna().all()
        assert found["at"].iloc[0].startswith(completed_at)

    def test_session_that_claims_to_have_begun_long_ago_can_be_completed(self, fixed: Database) -> None:
        fixed.run("update sessions set started_at = '1900-01-01' where id = :anna_open", SERVICE)
        fixed.run(COMPLETE, ANNA)

    def test_moment_of_an_import_is_kept(self, fixed: Database) -> None:
        fixed.run(
            "insert into sessions (user_id, scenario_id, is_completed, started_at, completed_at)"
            " values (:ben, 1, true, '2026-01-31 23:59:30+00', '2026-02-01 00:00:30+00')",
            SERVICE,
        )
        assert fixed.value("select duration_seconds from sessions where completed_at = '2026-02-01 00:00:30+00'") == 60

    def test_moment_of_a_client_that_waited_for_a_message(self, fixed: Database) -> None:
        with wb.concurrently(fixed, phone=ANNA, laptop=ANNA) as (phone, laptop):
            phone("select now()")
            laptop(MESSAGE.format(":anna_open"))
            laptop.commit()
            phone(COMPLETE)
            phone.commit()
        assert fixed.value(
            "select completed_at > all (select sent_at from messages where session_id = :anna_open)"
            " from sessions where id = :anna_open"
        )

    def test_two_completions_at_once_keep_the_first_moment(self, fixed: Database) -> None:
        with wb.concurrently(fixed, phone=ANNA, laptop=ANNA) as (phone, laptop):
            phone(COMPLETE)
            second = laptop(COMPLETE)
            phone.commit()
            first = fixed.value("select completed_at from sessions where id = :anna_open")
            laptop.commit()
        assert second.outcome == "UPDATE 1"
        assert fixed.value("select completed_at from sessions where id = :anna_open") == first


class TestCompletedSession:
    @pytest.mark.parametrize("user_id", [None, BEN.user_id, "no uuid"])
    def test_service_role_with_any_claims_is_refused(self, fixed: Database, user_id: str | None) -> None:
        service = Actor("service", "service_role", user_id)
        fixed.refused(MESSAGE.format(":anna_done"), service, code="PT409")
        fixed.run(MESSAGE.format(":anna_open"), service)

    @pytest.mark.parametrize("actor", [ANON, BEN, Actor("nobody", "authenticated")])
    @pytest.mark.parametrize("session", [":anna_open", ":anna_done"])
    def test_its_state_is_not_told_to_others(self, fixed: Database, actor: Actor, session: str) -> None:
        fixed.refused(MESSAGE.format(session), actor, code="42501")

    def test_unknown_session_is_a_foreign_key_violation(self, fixed: Database) -> None:
        fixed.refused(MESSAGE.format("gen_random_uuid()"), SERVICE, code="23503")

    @pytest.mark.parametrize("level", ["repeatable read", "serializable"])
    def test_older_snapshot_does_not_let_a_message_in(self, fixed: Database, level: str) -> None:
        with wb.concurrently(fixed, phone=ANNA, laptop=ANNA) as (phone, laptop):
            laptop(f"set transaction isolation level {level}")
            laptop("select count(*) from sessions")
            phone(COMPLETE)
            phone.commit()
            assert laptop(MESSAGE.format(":anna_open")).refused in ("40001", "PT409")


class TestStreaming:
    def test_learner_cannot_land_another_text_under_a_replys_id(self) -> None:
        # Since B3 a learner cannot choose an id at all.
        fixed = clone(48)
        fixed.run(CHUNK_OF_ANNA, SERVICE, seq=1, text="What it said")
        forged = "insert into messages (id, session_id, role, chat_type, content) values (:reply, :anna_open, '{}', 'main', 'x')"
        for role in ("assistant", "user"):
            fixed.refused(forged.format(role), ANNA, code="PT409")
        fixed.run(COMPLETE, ANNA)
        fixed.refused(forged.format("assistant"), ANNA, code="PT409")
        fixed.run(FINALIZE, SERVICE)
        assert reply(fixed) == "What it said"

    @pytest.mark.parametrize("arrived", [[2, 3], [1, 3], [1, 2147483647], [2147483647]])
    def test_missing_fragments_are_noticed(self, fixed: Database, arrived: list[int]) -> None:
        for seq in arrived:
            fixed.run(CHUNK_OF_ANNA, SERVICE, seq=seq, text="x")
        fixed.refused(FINALIZE, SERVICE, code="PT409")
        assert fixed.value("select count(*) from message_chunks") == len(arrived)

    @pytest.mark.parametrize("first", [0, 1])
    def test_fragments_arrive_in_any_order(self, fixed: Database, first: int) -> None:
        for seq, text in ((2, "c"), (0, "a"), (1, "b")):
            fixed.run(CHUNK_OF_ANNA, SERVICE, seq=seq + first, text=text)
        fixed.run(FINALIZE, SERVICE)
        assert reply(fixed) == "abc"

    def test_nothing_to_finalize(self, fixed: Database) -> None:
        fixed.refused(FINALIZE, SERVICE, code="PT404")

    def test_finalize_waits_for_the_first_fragment_and_gets_all(self, fixed: Database) -> None:
        with wb.concurrently(fixed, writer=SERVICE, finisher=SERVICE) as (writer, finisher):
            writer(CHUNK_OF_ANNA, seq=1, text="eins ")
            writer(CHUNK_OF_ANNA, seq=2, text="zwei")
            finished = finisher(FINALIZE)
            assert finished.waited
            writer.commit()
            finisher.commit()
        assert reply(fixed) == "eins zwei"

    def test_fragment_that_waits_for_finalize_is_refused_and_not_lost(self, fixed: Database) -> None:
        fixed.run(CHUNK_OF_ANNA, SERVICE, seq=1, text="eins")
        with wb.concurrently(fixed, finisher=SERVICE, writer=SERVICE) as (finisher, writer):
            finisher(FINALIZE)
            late = writer(CHUNK_OF_ANNA, seq=2, text="zwei")
            assert late.waited
            finisher.commit()
            assert late.refused == "PT409"
        assert (reply(fixed), fixed.value("select count(*) from message_chunks")) == ("eins", 0)

    def test_finalize_that_fails_keeps_the_fragments_for_the_next(self, fixed: Database) -> None:
        fixed.run(CHUNK_OF_ANNA, SERVICE, seq=1, text="eins")
        with wb.concurrently(fixed, first=SERVICE, second=SERVICE) as (first, second):
            first(FINALIZE)
            waiting = second(FINALIZE)
            first.rollback()
            assert waiting.waited and waiting.refused is None
            second.commit()
        assert reply(fixed) == "eins"
        assert fixed.value("select message_count_main from sessions where id = :anna_open") == 4

    @pytest.mark.parametrize("level", ["repeatable read", "serializable"])
    def test_older_snapshots_are_refused(self, fixed: Database, level: str) -> None:
        fixed.run(CHUNK_OF_ANNA, SERVICE, seq=1, text="eins")
        for statement in (FINALIZE, CHUNK_OF_ANNA.replace(":seq", "2").replace(":text", "'zwei'")):
            with wb.concurrently(fixed, service=SERVICE) as (service,):
                service(f"set transaction isolation level {level}")
                assert service(statement).refused == "0A000"

    def test_one_id_in_two_sessions(self, fixed: Database) -> None:
        with wb.concurrently(fixed, one=SERVICE, other=SERVICE) as (one, other):
            one(CHUNK_OF_ANNA, seq=1, text="Anna's")
            mixed = other(CHUNK.format(":ben_open"), seq=2, text="Ben's")
            one.commit()
            assert mixed.waited and mixed.refused == "23514"

    def test_user_is_the_sessions_whatever_the_writer_says(self, fixed: Database) -> None:
        fixed.run(
            "insert into message_chunks (message_id, seq, session_id, user_id, chat_type, content)"
            " values (:reply, 1, :anna_open, :ben, 'main', 'x')",
            SERVICE,
        )
        assert fixed.value("select user_id = :anna from message_chunks")

    def test_unknown_session(self, fixed: Database) -> None:
        fixed.refused(CHUNK.format("gen_random_uuid()"), SERVICE, code="23503", seq=1, text="x")

    def test_cleanup_leaves_what_still_streams(self, fixed: Database) -> None:
        for seq, age in ((1, "24 hours 1 second"), (2, "23 hours 59 minutes")):
            fixed.run(CHUNK_OF_ANNA, SERVICE, seq=seq, text=f"{seq}")
            fixed.run(
                "update message_chunks set created_at = now() - cast(:age as interval) where seq = :seq",
                SERVICE,
                seq=seq,
                age=age,
            )
        fixed.run("update sessions set last_activity_at = now() - interval '8 days'", SERVICE)
        assert fixed.value("select (delete_expired_sessions()).affected", SERVICE) == 1  # Ben's
        fixed.run(FINALIZE, SERVICE)
        assert reply(fixed) == "12"

    def test_cleanup_takes_replies_that_nobody_went_on_with(self, fixed: Database) -> None:
        fixed.run(CHUNK_OF_ANNA, SERVICE, seq=1, text="x")
        fixed.run("update message_chunks set created_at = now() - interval '25 hours'", SERVICE)
        fixed.run("select delete_expired_sessions()", SERVICE)
        assert fixed.value("select count(*) from message_chunks") == 0

    def test_writers_and_finishers_at_full_speed(self, fixed: Database) -> None:
        """Two finish what a third writes, as fast as they can: every fragment that was accepted is in the message."""

        def write(connection: psycopg.Connection, reply_id: str) -> str:
            accepted = ""
            for seq in range(4):
                with Swallow("PT409"):
                    act(
                        connection,
                        "insert into message_chunks (message_id, seq, session_id, chat_type, content)"
                        f" values ('{reply_id}', {seq}, '{NAMES['anna_open']}', 'main', '{seq}')",
                    )
                    accepted += str(seq)
            return accepted

        def finish(connection: psycopg.Connection, reply_id: str) -> None:
            for _ in range(200):
                try:
                    return act(connection, f"select finalize_message('{reply_id}')")
                except psycopg.Error as error:
                    assert error.sqlstate == "PT404", error

        with ThreadPoolExecutor(3) as pool:
            connections = [fixed.connect() for _ in range(3)]
            for number in range(60):
                reply_id = f"e1000000-0000-4000-8000-{number:012}"
                writing = pool.submit(write, connections[0], reply_id)
                finishing = [pool.submit(finish, connection, reply_id) for connection in connections[1:]]
                accepted = writing.result()
                for future in finishing:
                    future.result()
                assert fixed.value(f"select content from messages where id = '{reply_id}'") == accepted
            for connection in connections:
                connection.close()
        assert fixed.value("select count(*) from message_chunks") == 0


class Swallow:
    """Ignore the refusals with this SQLSTATE."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, psycopg.Error) and error.sqlstate == self.code


def act(connection: psycopg.Connection, sql: str) -> None:
    """Send a statement as the service role, in a transaction of its own."""
    with connection.transaction():
        assume(connection, SERVICE)
        connection.execute(sql)


class TestWeeklyReset:
    @pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Europe/Berlin", "Pacific/Kiritimati"])
    def test_is_the_next_monday_whatever_the_zone(self, fixed: Database, zone: str) -> None:
        with fixed.transaction(OWNER) as session:
            session.run(f"set local timezone = '{zone}'")
            wrong = session.value("""
                select count(*)
                from generate_series(timestamptz '2026-01-01 00:00+00', '2029-01-01 00:00+00', '6 hours 59 minutes') as moment
                cross join private.next_week_reset(moment) as reset
                where reset <= moment
                    or reset > moment + interval '168 hours'
                    or extract(isodow from reset at time zone 'UTC') <> 1
                    or (reset at time zone 'UTC')::time <> '00:00'""")
        assert wrong == 0

    def test_running_twice_resets_once(self, fixed: Database) -> None:
        fixed.run("update profiles set week_reset_date = now() - interval '40 days'", SERVICE)
        assert [fixed.value("select (reset_weekly_limits()).affected", SERVICE) for _ in range(2)] == [2, 0]


class TestExtensions:
    def test_one_that_a_column_needs_is_left_alone(self) -> None:
        database = clone(5)
        database.run("create extension citext with schema public")
        database.run("create table public.needs (word citext)")
        with pytest.raises(wb.WorkbookError, match="left nothing behind"):
            database.apply(6)
        assert database.value("select count(*) from pg_extension where extname in ('citext', 'pgcrypto')") == 1

    def test_platform_that_has_them_already(self) -> None:
        database = clone(5)
        database.run("create extension pgcrypto with schema extensions", ADMIN)
        database.apply(6)


OLD = "set local session_replication_role = replica; update messages set sent_at = now() - interval '2 years'"
READABLE = """
    select
        (select count(*) from messages where user_id = :anna and content <> '')
        + (select count(*) from messages_archive where user_id = :anna and content <> '')
        + (select count(*) from message_chunks where user_id = :anna)"""


class TestErasure:
    def test_meets_a_message_that_is_being_archived(self, fixed: Database) -> None:
        fixed.run(OLD, ADMIN)
        with wb.concurrently(fixed, job=SERVICE, erasure=SERVICE) as (job, erasure):
            job("select archive_old_messages(1)")
            assert erasure("select erase_user(:anna)").waited
            job.commit()
            erasure.commit()
        assert fixed.value("select count(*) from messages_archive where user_id = :anna") == 8
        assert fixed.value(READABLE) == 0

    @pytest.mark.parametrize("level", ["repeatable read", "serializable"])
    @pytest.mark.parametrize("writer", [ANNA, SERVICE])
    def test_meets_a_writer_with_an_older_snapshot(self, fixed: Database, level: str, writer: Actor) -> None:
        with fixed.connect() as connection:
            connection.execute(f"begin isolation level {level}")
            assume(connection, writer)
            connection.execute("select from scenarios")
            fixed.run("select erase_user(:anna)", SERVICE)
            with pytest.raises(psycopg.errors.SerializationFailure):
                send(connection, MESSAGE.format(":anna_open"), {})
        assert fixed.value(READABLE) == 0

    def test_meets_a_session_and_its_message_in_one_statement(self, fixed: Database) -> None:
        fixed.run(COMPLETE, ANNA)
        with fixed.connect() as gate, ThreadPoolExecutor(2) as pool:
            gate.execute("select pg_advisory_lock(42)")
            writing = pool.submit(
                fixed.run,
                """with session as (insert into sessions (id, user_id, scenario_id) values (:anna_next, :anna, 1) returning id),
                    message as (insert into messages (session_id, role, chat_type, content)
                    select id, 'user', 'main', 'Halt!' from session returning id)
                select pg_advisory_xact_lock(42) from message""",
                SERVICE,
            )
            wait_until(fixed, "select exists (select from pg_locks where locktype = 'advisory' and objid = 42 and not granted)")
            erasing = pool.submit(fixed.run, "select erase_user(:anna)", SERVICE)
            wait_until(
                fixed, "select exists (select from pg_stat_activity where query ~ 'erase_user' and wait_event_type = 'Lock')"
            )
            gate.execute("select pg_advisory_unlock(42)")
            writing.result()
            erasing.result()
        assert fixed.value(READABLE) == 0

    def test_with_an_older_snapshot_of_its_own_is_refused(self, fixed: Database) -> None:
        with fixed.connect() as connection:
            connection.execute("begin isolation level repeatable read")
            assume(connection, SERVICE)
            (status, error) = connection.execute(
                "select (result).status, (result).error from erase_user(%s) as result", [NAMES["anna"]]
            ).fetchone()
        assert status == "failed" and error.startswith("0A000")

    def test_reaches_before_images_of_a_profile_that_is_gone(self) -> None:
        dirty = clone(LAST, data="dirty")
        dirty.run("delete from profiles where id = 'd0000000-0000-4000-8000-000000000003'", SERVICE)
        erase = "select (erase_user('d0000000-0000-4000-8000-000000000003')).status"
        assert dirty.value(erase, SERVICE) == "ok"
        assert dirty.value("select count(*) from private.repairs where before::text ~ 'frida'") == 0

    def test_of_everybody_leaves_nothing_to_read(self) -> None:
        dirty = clone(LAST, data="dirty")
        dirty.run("select erase_user(id) from profiles", SERVICE)
        for table in ("messages", "messages_archive"):
            assert dirty.value(f"select count(*) from {table} where content <> ''") == 0
        assert dirty.value("select count(*) from profiles where email is not null") == 0
        assert (
            dirty.value("select count(*) from private.repairs where before::text ~ '@|Wie geht es dir|Bis später|Mit allem'") == 0
        )


def wait_until(database: Database, question: str) -> None:
    """Wait until a question is answered with yes, for ten seconds at the most."""
    for _ in range(1000):
        if database.value(question, ADMIN):
            return
        time.sleep(0.01)
    raise AssertionError(question)


class TestLogJobs:
    def test_clean_up_does_not_keep_anybody_from_a_session(self, fixed: Database) -> None:
        fixed.run("select private.create_log_partition('2020-05-01')")
        with fixed.connect() as anna, ThreadPoolExecutor(1) as pool:
            with anna.transaction():
                assume(anna, ANNA)
                anna.execute("select count(*) from sessions")
                job = pool.submit(fixed.value, "select (delete_old_logs()).status", SERVICE)
                wait_until(
                    fixed, "select exists (select from pg_stat_activity where query ~ 'old_logs' and wait_event_type = 'Lock')"
                )
                anna.execute("select count(*) from logs")
            assert job.result() == "ok"
        fixed.run("select delete_old_logs()", SERVICE)
        assert fixed.value("select to_regclass('private.logs_y2020m05') is null")

    def test_two_at_once_with_a_month_to_make(self, fixed: Database) -> None:
        fixed.run(
            "insert into logs (level, event_type, created_at) values ('info', 'user_logout', '2020-05-31 23:59+00')", SERVICE
        )
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda _: fixed.value("select (delete_old_logs()).status", SERVICE), range(2)))
        assert results == ["ok", "ok"]
        assert fixed.value("select count(*) from logs where created_at < '2020-06-01'") == 0

    @pytest.mark.parametrize("moment", ["infinity", "-infinity", "0044-03-15 BC", "2020-02-29 23:59:59.999999+00", "1999-12-31"])
    @pytest.mark.slow
    def test_odd_moments_are_neither_lost_nor_in_the_way(self, moment: str) -> None:
        before = clone(29)
        insert = "insert into logs (id, level, event_type, created_at) values (:reply, 'info', 'user_logout', :moment)"
        before.run(insert, SERVICE, moment=moment)
        before.apply_up_to(LAST)
        assert before.value("select created_at = cast(:moment as timestamptz) from logs where id = :reply", moment=moment)
        before.run("set local timezone = 'America/New_York'; select private.ensure_log_partitions()")
        before.run("select delete_old_logs()", SERVICE)
        kept = before.value("select count(*) from logs where id = :reply")
        assert kept == (moment == "infinity")


class TestExpiredSessions:
    def test_leave_one_in_which_a_reply_begins(self, fixed: Database) -> None:
        fixed.run("update sessions set last_activity_at = now() - interval '8 days' where id = :anna_open", SERVICE)
        with wb.concurrently(fixed, backend=SERVICE, job=SERVICE) as (backend, job):
            backend(CHUNK_OF_ANNA, seq=1, text="Vier")
            job("select delete_expired_sessions()")
            backend.commit()
            job.commit()
        assert fixed.value("select count(*) from message_chunks") == 1


class TestArchive:
    def test_goes_on_past_an_id_that_was_used_again(self, fixed: Database) -> None:
        fixed.run(OLD, ADMIN)
        fixed.run("select archive_old_messages()", SERVICE)
        again = "insert into messages (id, session_id, role, chat_type, content) select id, :ben_open, 'assistant', 'main', 'x'"
        fixed.run(f"{again} from messages_archive limit 1", SERVICE)
        fixed.run(
            "insert into messages (session_id, role, chat_type, content) values (:ben_open, 'assistant', 'main', 'y')", SERVICE
        )
        fixed.run(OLD, ADMIN)
        assert fixed.value("select (archive_old_messages()).affected", SERVICE) == 1


class TestAwkwardRows:
    """Rows of v1 that are worse than the dirty set: each fix has to get past them."""

    @pytest.mark.parametrize(
        "scenarios",
        [
            [(20, "A"), (21, "A"), (22, "A (21)"), (23, "A (21) (21)")],
            [(20, "A"), (21, "A!"), (22, "a 2"), (23, "???"), (24, "")],
            [(-5, "A"), (-4, "A!"), (0, "Marketplace")],
        ],
    )
    @pytest.mark.slow
    def test_titles(self, scenarios: list[tuple[int, str]]) -> None:
        awkward = clone("v1", data="dirty")
        for number, title in scenarios:
            awkward.run(
                "insert into scenarios (id, title, emoji, initial_message_main, initial_message_helper)"
                " values (:number, :title, '?', '', '')",
                SERVICE,
                number=number,
                title=title,
            )
        awkward.apply_up_to(LAST)
        assert awkward.value("select code from scenarios where id = 1") == "marketplace"
        assert awkward.value("select count(*) from scenarios") == 5 + len(scenarios)

    def test_addresses(self) -> None:
        awkward = clone("v1")
        awkward.run("insert into auth.users (id, email) values (:cem, '')", ADMIN)
        awkward.run(f"insert into auth.users (email) values ('{NAMES['cem']}@duplicate.invalid')", ADMIN)
        awkward.run("insert into auth.users (email) values ('ANNA@example.org'), ('Anna@example.org')", ADMIN)
        awkward.apply_up_to(LAST)
        assert awkward.value("select email::text from profiles where id = :anna") == "anna@example.org"
        assert awkward.value("select count(*) = count(distinct email::text) from profiles")

    def test_user_without_profile(self) -> None:
        awkward = clone("v1")
        awkward.run("delete from profiles where id = :anna", ANNA)
        awkward.apply_up_to(LAST)
        assert awkward.value("select count(*) from profiles", ANNA) == 1


class TestFragments:
    @pytest.mark.parametrize("session", [":anna_done", ":ben_open", ":anna_open"])
    def test_nothing_but_finalize_lands_under_their_id(self, fixed: Database, session: str) -> None:
        fixed.run(CHUNK_OF_ANNA, SERVICE, seq=1, text="Vier")
        late = f"{INTO_REPLY} values (:reply, {session}, 'assistant', 'main', 'x')"
        fixed.refused(late, SERVICE, code="PT409")
        fixed.run(FINALIZE, SERVICE)
        assert reply(fixed) == "Vier"

    @pytest.mark.parametrize("change", ["session_id = :anna_done", "(session_id, user_id) = (:ben_open, :ben)", "content = 'x'"])
    def test_stay_as_they_arrived(self, fixed: Database, change: str) -> None:
        fixed.run(CHUNK_OF_ANNA, SERVICE, seq=1, text="Vier")
        fixed.refused(f"update message_chunks set {change}", SERVICE, code="23001")


def test_session_does_not_change_hands(fixed: Database) -> None:
    fixed.run("insert into sessions (user_id, scenario_id, is_completed) values (:anna, 2, true)", SERVICE)
    fixed.refused("update sessions set user_id = :ben where user_id = :anna and id <> :anna_done", SERVICE, code="23001")
    fixed.run("update sessions set user_id = user_id", SERVICE)


def test_learner_hears_nothing_of_somebody_elses_account(fixed: Database) -> None:
    forged = "insert into sessions (user_id, scenario_id) values (:ben, 1)"
    before = fixed.refused(forged, ANNA, code="42501")
    fixed.run("select erase_user(:ben)", SERVICE)
    assert fixed.refused(forged, ANNA, code="42501") == before


def test_log_job_holds_nobody_up_while_it_waits_for_an_old_month(fixed: Database) -> None:
    fixed.run("select private.create_log_partition('2020-05-01')")
    fixed.run(
        "drop table " + fixed.value("select max(inhrelid::regclass::text) from pg_inherits where inhparent = 'logs'::regclass")
    )
    with fixed.connect() as backend, ThreadPoolExecutor(1) as pool:
        with backend.transaction():
            assume(backend, SERVICE)
            backend.execute("select from logs where created_at >= '2020-05-01' and created_at < '2020-06-01'")
            job = pool.submit(fixed.value, "select (delete_old_logs()).status", SERVICE)
            wait_until(
                fixed, "select exists (select from pg_stat_activity where query ~ 'old_logs' and wait_event_type = 'Lock')"
            )
            backend.execute("set local lock_timeout = '100ms'")
            backend.execute("update sessions set last_activity_at = now()")
        assert job.result() == "ok"
