"""Attacks on fixes 01 to 07 that the notebook has no room for: each once broke a draft of them."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import workbook as wb
from workbook import ADMIN, ANNA, ANON, BEN, OWNER, SERVICE, Actor, Database, clone, fixes
from workbook.actors import NAMES
from workbook.database import assume

LAST = fixes.all_fixes()[-1].number
CHUNK = "insert into message_chunks (message_id, seq, session_id, chat_type, content) values (:reply, :seq, {}, 'main', :text)"
CHUNK_OF_ANNA = CHUNK.format(":anna_open")
MESSAGE = "insert into messages (session_id, role, chat_type, content) values ({}, 'user', 'main', 'Halt!')"
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
            phone(COMPLETE.replace("true", "true, completed_at = now()"))
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
    def test_learner_cannot_land_another_text_under_a_replys_id(self, fixed: Database) -> None:
        fixed.run(CHUNK_OF_ANNA, SERVICE, seq=1, text="What it said")
        forged = "insert into messages (id, session_id, role, chat_type, content) values (:reply, :anna_open, '{}', 'main', 'x')"
        for role in ("scenario", "user"):
            fixed.refused(forged.format(role), ANNA, code="PT409")
        fixed.run(COMPLETE, ANNA)
        fixed.refused(forged.format("scenario"), ANNA, code="PT409")
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
            fixed.run("update message_chunks set created_at = now() - :age::interval where seq = :seq", SERVICE, seq=seq, age=age)
        fixed.run("update sessions set last_activity_at = now() - interval '8 days'", SERVICE)
        assert fixed.value("select delete_expired_sessions()", SERVICE) == 1  # Ben's
        fixed.run(FINALIZE, SERVICE)
        assert reply(fixed) == "12"

    def test_cleanup_takes_replies_that_nobody_went_on_with(self, fixed: Database) -> None:
        fixed.run(CHUNK_OF_ANNA, SERVICE, seq=1, text="x")
        fixed.run("update message_chunks set created_at = now() - interval '25 hours'", SERVICE)
        fixed.run("select delete_expired_sessions()", SERVICE)
        assert fixed.value("select count(*) from message_chunks") == 0
        assert fixed.value("select metadata from logs order by created_at desc limit 1") == {
            "deleted_count": 0,
            "orphan_chunk_count": 1,
        }

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
        assert [fixed.value("select reset_weekly_limits()", SERVICE) for _ in range(2)] == [2, 0]


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
