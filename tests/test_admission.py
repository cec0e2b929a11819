"""One update admits a message and counts it: who waits for whom, what is taken back, and what a bulk insert leaves."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from helpers import Rehearsal, rehearsal
from workbook import ADMIN, ANNA, BEN, OWNER, SERVICE, Database, clone, concurrently, fixes, heap_only

V2 = fixes.all_fixes()[-1].number
KEY = "c0000000-0000-4000-8000-00000000000c"
MESSAGE = "insert into messages (session_id, role, chat_type, content)"
SAID = f"{MESSAGE} values (:anna_open, 'user', 'main', 'Guten Abend')"
REPLY = f"{MESSAGE} values (:anna_open, 'assistant', 'main', 'Gern')"
KEYED = (
    "insert into messages (session_id, role, chat_type, content, client_message_id)"
    f" values (:anna_open, '{{}}', 'main', 'Guten Abend', '{KEY}') on conflict (session_id, client_message_id) do nothing"
)
NAMED = (
    "insert into messages (id, session_id, role, chat_type, content)"
    f" values ('{KEY}', :anna_open, '{{}}', 'main', 'Guten Abend') on conflict (id) do nothing"
)
COUNTS = "select (message_count_main, message_count_helper)::text from sessions where id = :anna_open"
TRUE_COUNTS = """
    select count(*) from sessions where (message_count_main::bigint, message_count_helper::bigint) is distinct from (
        select (count(*) filter (where chat_type = 'main'), count(*) filter (where chat_type = 'helper'))
        from messages where session_id = sessions.id)"""
DELETE_ACCOUNT = "delete from auth.users where id = :anna"


@pytest.fixture(scope="module")
def v2() -> Database:
    return clone(V2)


@pytest.fixture
def fixed(v2: Database) -> Iterator[Rehearsal]:
    with rehearsal(v2) as actors:
        yield actors


@pytest.fixture
def own() -> Iterator[Database]:
    """A clone for connections that commit, whose counts are the truth at the end."""
    database = clone(V2)
    database.run(
        "update sessions set (message_count_main, message_count_helper) = (select count(*) filter (where chat_type = 'main'),"
        " count(*) filter (where chat_type = 'helper') from messages where session_id = sessions.id)",
        ADMIN,
    )
    yield database
    assert database.value(TRUE_COUNTS, ADMIN) == 0, "a session counts wrong"
    database.drop()


class TestWaiting:
    """What holds the session decides, also where it began later than the message did."""

    @pytest.mark.parametrize("statement, actor", [(SAID, ANNA), (REPLY, SERVICE)])
    @pytest.mark.parametrize(
        "before, code",
        [
            ("update sessions set is_completed = true where id = :anna_open", "PT409"),
            (DELETE_ACCOUNT, "42501"),
            ("select public.erase_user(:anna)", "42501"),
            ("update profiles set deleted_at = now(), email = null where id = :anna", "42501"),
        ],
    )
    def test_message_after(self, own: Database, before: str, code: str, statement: str, actor: object) -> None:
        with concurrently(own, first=ADMIN if "users" in before else SERVICE, second=actor) as (first, second):
            first(before)
            assert second(statement).waited
            first.commit()
            assert second.step.refused == code
            second.rollback()

    @pytest.mark.parametrize(
        "after",
        ["update sessions set is_completed = true where id = :anna_open", DELETE_ACCOUNT, "select public.erase_user(:anna)"],
    )
    def test_message_before(self, own: Database, after: str) -> None:
        with concurrently(own, first=SERVICE, second=ADMIN if "users" in after else SERVICE) as (first, second):
            first(REPLY)
            assert second(after).waited
            first.commit()
            second.commit()
        assert own.value("select is_completed or closed_at is not null from sessions where id = :anna_open", ADMIN)

    def test_limit_sees_the_message_that_was_waited_for(self, own: Database) -> None:
        with concurrently(own, phone=ANNA, laptop=ANNA) as (phone, laptop):
            phone(SAID)
            assert laptop(SAID).waited
            phone.commit()
            assert laptop.step.refused == "PT429"
            laptop.rollback()

    def test_limit_forgets_the_message_that_was_rolled_back(self, own: Database) -> None:
        with concurrently(own, phone=ANNA, laptop=ANNA) as (phone, laptop):
            phone(SAID)
            assert laptop(SAID).waited
            phone.rollback()
            assert laptop.step.refused is None
            laptop.commit()


class TestSkipped:
    """A row that ON CONFLICT skips is neither counted nor limited."""

    @pytest.mark.slow
    @pytest.mark.parametrize("insert", [KEYED, NAMED])
    @pytest.mark.parametrize("role, actor", [("user", ANNA), ("assistant", SERVICE), ("user", SERVICE)])
    @pytest.mark.parametrize("ends", ["commit", "rollback"])
    def test_twin_that_was_waited_for(self, own: Database, insert: str, role: str, actor: object, ends: str) -> None:
        if insert == NAMED and actor == ANNA:
            pytest.skip("a learner names no ids")
        own.run("update sessions set last_message_at = null where id = :anna_open", SERVICE)
        with concurrently(own, first=actor, second=actor) as (first, second):
            first(insert.format(role))
            # Beyond the limit, so that it is the key alone that decides.
            first("select pg_sleep(0.6)")
            assert second(insert.format(role)).waited
            getattr(first, ends)()
            assert second.step.outcome == ("INSERT 0 0" if ends == "commit" else "INSERT 0 1")
            second.commit()
        assert own.value("select count(*) from messages where content = 'Guten Abend' and session_id = :anna_open", ADMIN) == 1

    @pytest.mark.parametrize("insert", [KEYED, NAMED])
    @pytest.mark.parametrize("role", ["user", "assistant"])
    def test_retry_later(self, fixed: Rehearsal, insert: str, role: str) -> None:
        fixed.run(insert.format(role), SERVICE)
        fixed.run(
            "update sessions set updated_at = now() - interval '1 hour', last_message_at = null where id = :anna_open", SERVICE
        )
        before = fixed.value(COUNTS, SERVICE)
        fixed.run(insert.format(role), SERVICE)
        assert fixed.value(COUNTS, SERVICE) == before
        # And the learner goes on at once.
        fixed.run(SAID, SERVICE)

    def test_plain_repeat_is_refused_and_leaves_nothing(self, fixed: Rehearsal) -> None:
        plain = KEYED.partition(" on conflict")[0].format("assistant")
        fixed.run(plain, SERVICE)
        before = fixed.value(COUNTS, SERVICE)
        fixed.refused(plain, SERVICE, code="23505")
        assert fixed.value(COUNTS, SERVICE) == before

    def test_half_of_a_bulk_insert(self, own: Database) -> None:
        rows = "select md5(n::text)::uuid, :anna_open, 'assistant', 'main', n::text from generate_series({}, {}) as n"
        into = "insert into messages (id, session_id, role, chat_type, content)"
        own.run(f"{into} {rows.format(1, 60)}", SERVICE)
        own.run(f"{into} {rows.format(31, 90)} on conflict do nothing", SERVICE)
        assert own.value("select count(*) from messages where content ~ '^[0-9]+$'", ADMIN) == 90


class TestBulk:
    @pytest.mark.parametrize("sessions", [1, 2])
    @pytest.mark.parametrize("rows", [2, 100, 3000])
    def test_counts_and_leaves_no_chain(self, own: Database, rows: int, sessions: int) -> None:
        ids = "(array[:anna_open, :ben_open]::uuid[])[1 + n % {}]"
        before = heap_only(own, "sessions")[0]
        own.run(
            f"{MESSAGE} select {ids.format(sessions)}, 'assistant', case when n % 5 = 0 then 'helper' else 'main' end::chat_type,"
            f" 'Ja' from generate_series(1, {rows}) as n",
            SERVICE,
        )
        updates = heap_only(own, "sessions")[0] - before
        assert updates <= 2 * sessions + rows * sessions / 50, f"{updates} updates for {rows} rows"

    def test_savepoint_takes_its_part_back(self, own: Database) -> None:
        with own.transaction(SERVICE) as transaction:
            many = f"{MESSAGE} select :anna_open, 'assistant', 'main', 'Ja' from generate_series(1, 20)"
            transaction.run(many)
            transaction.run("savepoint here")
            transaction.run(many)
            transaction.run("rollback to savepoint here")
            transaction.run(many)
        assert own.value("select count(*) from messages where content = 'Ja'", ADMIN) == 40

    def test_error_in_the_middle_leaves_nothing(self, own: Database) -> None:
        long = f"{MESSAGE} select :anna_open, 'assistant', 'main', repeat('x', n * 1000) from generate_series(1, 9) as n"
        own.refused(long, SERVICE, code="23514")
        own.run(REPLY, SERVICE)

    def test_exception_block_counts_what_stays(self, own: Database) -> None:
        own.run(
            f"""do $$ begin
                for n in 1..5 loop
                    begin
                        {MESSAGE} select :anna_open, 'assistant', 'main', 'Ja' from generate_series(1, 3);
                        if n % 2 = 0 then raise exception 'no'; end if;
                    exception when raise_exception then null;
                    end;
                end loop;
            end $$""",
            SERVICE,
        )
        assert own.value("select count(*) from messages where content = 'Ja'", ADMIN) == 9

    def test_session_that_is_completed_in_the_same_transaction(self, own: Database) -> None:
        with own.transaction(SERVICE) as transaction:
            transaction.run(REPLY)
            transaction.run("update sessions set is_completed = true where id = :anna_open")
        own.refused(REPLY, SERVICE, code="PT409")

    def test_trigger_of_a_teams_that_answers(self, own: Database) -> None:
        own.run(
            """
            create function answer() returns trigger language plpgsql as $$ begin
                insert into public.messages (session_id, role, chat_type, content)
                values (new.session_id, 'assistant', 'helper', 'Hm');
                return null;
            end $$;
            create trigger answer after insert on messages for each row when (new.content = 'Ja') execute function answer()""",
            OWNER,
        )
        own.run(f"{MESSAGE} select :anna_open, 'assistant', 'main', 'Ja' from generate_series(1, 10)", SERVICE)
        assert own.value("select count(*) from messages where content in ('Ja', 'Hm')", ADMIN) == 20

    @pytest.mark.parametrize("name", ["aa_own", "own", "z_own"])
    def test_trigger_of_a_teams_that_drops_a_row(self, own: Database, name: str) -> None:
        own.run(
            f"""
            create function drop_row() returns trigger language plpgsql as 'begin return null; end';
            create trigger {name} before insert on messages for each row when (new.content = 'Ja') execute function drop_row()""",
            OWNER,
        )
        own.run(f"{MESSAGE} values (:anna_open, 'assistant', 'main', 'Ja')", SERVICE)
        own.run(f"{MESSAGE} select :anna_open, 'assistant', 'main', 'Ja' from generate_series(1, 10)", SERVICE)

    def test_function_of_a_teams_that_a_client_calls(self, own: Database) -> None:
        own.run(
            """
            create function greet() returns void language sql security definer set search_path = '' as $$
                insert into public.messages (session_id, role, chat_type, content)
                select :anna_open, 'assistant', 'main', 'Ja' from generate_series(1, 10) $$;
            grant execute on function greet() to authenticated""",
            OWNER,
        )
        own.run("select greet()", ANNA)
        assert own.value("select count(*) from messages where content = 'Ja'", ADMIN) == 10

    @pytest.mark.parametrize("session, actor", [(":ben_open", ANNA), (":anna_open", ANNA), (":ben_open", BEN)])
    def test_setting_is_of_no_use_to_a_client(self, fixed: Rehearsal, session: str, actor: object) -> None:
        before = fixed.value("select json_agg(sessions order by id)::text from sessions", ADMIN)
        forged = f"select set_config('maraum.uncounted', concat({session}, ' 1 400,'), true)"
        fixed.refused(f"{forged}; {SAID if actor == ANNA else SAID.replace(':anna_open', ':ben_open')}", actor, code="42501")
        assert fixed.value("select json_agg(sessions order by id)::text from sessions", ADMIN) == before


class TestClosed:
    """A session says itself that its account is gone."""

    def test_all_sessions_close_and_open_with_the_account(self, fixed: Rehearsal) -> None:
        closed = "select count(*) filter (where closed_at is not null) = {} from sessions where user_id = :anna"
        fixed.run("update profiles set deleted_at = now(), email = null where id = :anna", SERVICE)
        assert fixed.value(closed.format("count(*)"), ADMIN)
        assert fixed.value("select count(*) from sessions where closed_at is not null and user_id <> :anna", ADMIN) == 0
        fixed.refused(REPLY, SERVICE, code="42501")
        back = "update profiles set deleted_at = null, email = (select email from auth.users where id = :anna) where id = :anna"
        fixed.run(back, ADMIN)
        assert fixed.value(closed.format("0"), ADMIN)
        fixed.run(REPLY, SERVICE)

    def test_reply_that_streams_is_refused(self, fixed: Rehearsal) -> None:
        chunk = (
            "insert into message_chunks (message_id, seq, session_id, chat_type, content) values (:reply, {}, :{}, 'main', 'x')"
        )
        fixed.run(chunk.format(1, "anna_open"), SERVICE)
        fixed.run("update sessions set is_completed = true where id = :anna_open", SERVICE)
        fixed.run(DELETE_ACCOUNT, ADMIN)
        fixed.refused("select finalize_message(:reply)", SERVICE, code="42501")

    def test_session_that_starts_while_the_account_goes(self, own: Database) -> None:
        own.run("delete from sessions where id = :anna_open", ADMIN)
        start = "insert into sessions (id, user_id, scenario_id) values (:anna_open, :anna, 1)"
        with concurrently(own, learner=SERVICE, auth=ADMIN) as (learner, auth):
            learner(start)
            assert auth(DELETE_ACCOUNT).waited
            learner.commit()
            auth.commit()
        own.refused(REPLY, SERVICE, code="42501")

    def test_session_that_starts_after(self, own: Database) -> None:
        own.run("delete from sessions where id = :anna_open", ADMIN)
        start = "insert into sessions (id, user_id, scenario_id) values (:anna_open, :anna, 1)"
        with concurrently(own, auth=ADMIN, learner=SERVICE) as (auth, learner):
            auth(DELETE_ACCOUNT)
            assert learner(start).waited
            auth.commit()
            assert learner.step.refused == "42501"
            learner.rollback()

    def test_completion_and_deletion_at_once(self, own: Database) -> None:
        with concurrently(own, learner=SERVICE, auth=ADMIN) as (learner, auth):
            learner("update sessions set is_completed = true where id = :anna_open")
            assert auth(DELETE_ACCOUNT).waited
            learner.commit()
            assert auth.step.refused is None
            auth.commit()

    def test_snapshot_from_before_is_refused(self, own: Database) -> None:
        own.refused(f"set transaction isolation level repeatable read; {DELETE_ACCOUNT}", ADMIN, code="0A000")


class TestKeys:
    """B8: default keys are in the order of time."""

    @pytest.mark.parametrize(
        "insert",
        [
            REPLY + " returning id",
            "insert into logs (level, event_type) values ('info', 'user_logout') returning id",
            "insert into message_chunks (seq, session_id, chat_type, content)"
            " values (1, :anna_open, 'main', 'x') returning message_id",
            "insert into sessions (user_id, scenario_id, is_completed) values (:anna, 1, true) returning id",
        ],
    )
    def test_are_of_version_7_and_of_now(self, fixed: Rehearsal, insert: str) -> None:
        keys = [str(fixed.value(insert, SERVICE)) for _ in range(50)]
        assert all(first < second for first, second in pairwise(keys))
        assert {(key[14], key[19] in "89ab") for key in keys} == {("7", True)}
        for key in (keys[0], keys[-1]):
            milliseconds = int(key.replace("-", "")[:12], 16)
            off = fixed.value(f"select abs(extract(epoch from clock_timestamp()) * 1000 - {milliseconds}) < 20000")
            assert off, key

    def test_say_what_postgresql_reads_in_them(self, fixed: Rehearsal) -> None:
        if fixed.value("select current_setting('server_version_num')::integer") < 180000:
            pytest.skip("PostgreSQL reads the moment of such a key from 18 on")
        read = f"{REPLY} returning abs(extract(epoch from uuid_extract_timestamp(id) - sent_at)) < 0.002"
        assert fixed.value(read, SERVICE)

    @pytest.mark.parametrize("default", ["extensions.uuid_generate_v4()", "extensions.gen_random_uuid()", "gen_random_uuid()"])
    def test_random_defaults_are_replaced(self, default: str) -> None:
        real = clone(V2 - 1)
        if "uuid_generate" in default:
            # As the extension uuid-ossp has it, which is not everywhere.
            stand_in = "create function extensions.uuid_generate_v4() returns uuid language sql as 'select gen_random_uuid()'"
            real.run(stand_in, ADMIN)
        real.run(f"alter table messages alter id set default {default}", OWNER)
        real.apply(V2)
        assert str(real.value(REPLY + " returning id", SERVICE))[14] == "7"
        real.drop()

    def test_own_default_stays(self) -> None:
        real = clone(V2 - 1)
        real.run("create function own_key() returns uuid language sql as 'select gen_random_uuid()'", OWNER)
        real.run("alter table messages alter id set default own_key()", OWNER)
        real.apply(V2)
        assert str(real.value(REPLY + " returning id", SERVICE))[14] == "4"
        real.drop()
