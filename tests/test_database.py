"""Clones, actors, refusals, races and measurements."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import psycopg
import pytest
import workbook as wb
from sqlalchemy import inspect, text
from sqlalchemy.dialects.postgresql import CITEXT
from workbook import ADMIN, ANNA, ANON, BEN, OWNER, SERVICE, Database, clone, database, server
from workbook.actors import NAMES
from workbook.errors import WorkbookError


@pytest.fixture(scope="module")
def v1() -> Database:
    return clone()


def admin() -> psycopg.Connection:
    return psycopg.connect(server.libpq_url(server.url()), autocommit=True)


def databases() -> set[str]:
    with admin() as connection:
        return {name for (name,) in connection.execute("select datname from pg_database")}


class TestClones:
    def test_share_their_rows_and_nothing_else(self) -> None:
        one, other = clone(), clone()
        one.run("delete from messages")
        assert one.value("select count(*) from messages") == 0
        assert other.value("select count(*) from messages") == 10

    def test_unknown_state_or_data(self) -> None:
        for arguments in ({"state": "v7"}, {"data": "sparkling"}):
            with pytest.raises(WorkbookError, match="take"):
                clone(**arguments)

    def test_go_with_their_process(self, run_python) -> None:
        result = run_python("import workbook as wb; print(wb.clone().name)")
        assert result.stdout.startswith("wb_c_")
        assert result.stdout.strip() not in databases()

    @pytest.mark.slow
    def test_of_a_killed_process_are_swept_by_the_next_one(self, run_python) -> None:
        killed = run_python("import os, workbook as wb; print(wb.clone().name, flush=True); os.kill(os.getpid(), 9)")
        name = killed.stdout.strip()
        assert name in databases()
        run_python("import workbook as wb; wb.clone()")
        assert name not in databases()

    def test_of_a_living_process_are_not_swept(self) -> None:
        mine = clone()
        database.sweep()
        assert mine.value("select 1") == 1

    def test_dropping_what_the_workbook_did_not_make_is_refused(self) -> None:
        # The name alone is not enough, and neither is the owner.
        made = clone()
        with admin() as connection:
            connection.execute("create database wb_of_somebody_else")
            connection.execute("create database precious owner workbook_owner")
            try:
                for name in ("wb_of_somebody_else", "precious", "postgres"):
                    with pytest.raises(WorkbookError, match="is not dropped"):
                        database.drop(name)
                database.sweep()
                assert {"wb_of_somebody_else", "precious"} <= databases()
            finally:
                connection.execute("drop database wb_of_somebody_else")
                connection.execute("drop database precious")
        made.drop()
        assert made.name not in databases()

    def test_dirty_rows_break_what_the_first_fixes_add(self) -> None:
        v1 = clone(data="dirty")
        for broken in (
            "select count(*) from sessions where is_completed <> (completed_at is not null)",
            "select count(*) from profiles where week_reset_date <> date_trunc('week', week_reset_date, 'UTC')",
            "select count(*) from messages join sessions on sessions.id = session_id where timestamp > completed_at",
            "select count(*) from sessions where created_at <> started_at",
            "select count(*) from messages where created_at <> timestamp",
        ):
            assert v1.value(broken) > 0, broken


class TestActors:
    def test_role_and_claims_last_for_the_transaction(self) -> None:
        v1 = clone()
        seen = "select concat_ws(' ', current_user, auth.uid(), auth.role())"
        assert v1.value(seen, ANNA) == f"authenticated {ANNA.user_id} authenticated"
        assert v1.value(seen, ANON) == "anon anon"
        assert v1.value(seen, SERVICE) == "service_role service_role"
        assert v1.value(seen, OWNER) == "workbook_owner"
        assert not v1.value("select rolsuper from pg_roles where rolname = current_user", OWNER)
        assert v1.value("select rolsuper from pg_roles where rolname = current_user", ADMIN)

    def test_see_their_own_rows(self) -> None:
        v1 = clone()
        count = "select count(*) from messages"
        assert [v1.value(count, actor) for actor in (ANNA, BEN, ANON, SERVICE)] == [8, 2, 0, 10]

    def test_transaction_rolls_back_on_error(self) -> None:
        v1 = clone()
        with pytest.raises(ZeroDivisionError), v1.transaction(ANNA) as anna:
            anna.run("delete from sessions")
            raise ZeroDivisionError
        assert v1.value("select count(*) from sessions") == 3


class TestStatements:
    @pytest.mark.parametrize(
        ("sql", "answer"),
        [
            ("select cast(:n as integer) + '1'::integer || '100%'", "6100%"),
            ("select :n % 3", 2),
            ("select (array[1, 2, 3])[1:2]", [1, 2]),
            ("select (array[1, 2, 3])[1 : :n]", [1, 2, 3]),
            (r"select (array[1, 2, 3])[\:2]", [1, 2]),
            ("select '12:30'", "12:30"),
            ("""select cast('{"n": 1}' as jsonb)""", {"n": 1}),
            (r"""select '{"n"\:1}'""", '{"n":1}'),
            ("select /* : 5% */ 1 -- of : 5%", 1),
            ("select $$ begin x := 1; end $$", " begin x := 1; end "),
            ("select :anna", NAMES["anna"]),
            ("select cast(:words as text[])", ["a", "b's"]),
        ],
    )
    def test_answer(self, v1: Database, sql: str, answer: object) -> None:
        values = {"n": 5, "words": ["a", "b's"]}
        assert v1.value(sql, **values) == answer
        with v1.connect() as connection:
            assert database.send(connection, sql, values).fetchall() == [(answer,)]

    def test_value_that_is_not_given(self, v1: Database) -> None:
        for sql in ("select :nothing", """select '{"n":1}'"""):
            with pytest.raises(WorkbookError, match="A value is required"):
                v1.run(sql)

    def test_several_at_once_and_ddl_take_values(self, v1: Database) -> None:
        assert v1.run("create temporary table t as select :n as n; update t set n = 2", n=1) == "SELECT 1"

    def test_tag_of_what_returns_no_rows(self, v1: Database) -> None:
        assert v1.run("update messages set content = content where false") == "UPDATE 0"

    def test_whole_numbers_stay_whole_where_some_are_missing(self, v1: Database) -> None:
        found = v1.run("select * from (values (1, 'a'), (null, null)) as t (n, word)")
        assert found.to_numpy().tolist() == [[1, "a"], [None, None]]

    def test_errors_are_of_psycopg_also_at_the_commit(self, v1: Database) -> None:
        with pytest.raises(psycopg.errors.DivisionByZero):
            v1.run("select 1 / 0")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            v1.run(
                "create table one (id integer primary key);"
                " create table other (id integer references one deferrable initially deferred); insert into other values (1)"
            )


class TestEngine:
    def test_reads_into_a_frame(self, v1: Database) -> None:
        scenarios = text("select id, title <> '' as named from scenarios where id < :n order by id")
        found = pd.read_sql(scenarios, v1.engine, params={"n": 3})
        assert found.to_dict("list") == {"id": [1, 2], "named": [True, True]}

    def test_and_plain_connections_are_in_utc_whatever_the_server_is(self) -> None:
        abroad = clone()
        abroad.run(f"alter database \"{abroad.name}\" set timezone = 'Asia/Tokyo'", ADMIN)
        assert abroad.value("show timezone") == "UTC"
        with abroad.connect() as connection:
            assert connection.execute("show timezone").fetchone() == ("UTC",)

    def test_keeps_no_connection(self, v1: Database) -> None:
        v1.run("select 1")
        v1.copy().drop()

    def test_knows_the_types_of_extensions(self, recwarn: pytest.WarningsRecorder) -> None:
        columns = {column["name"]: column["type"] for column in inspect(clone("v2").engine).get_columns("profiles")}
        assert isinstance(columns["email"], CITEXT)
        assert not recwarn.list


class TestRefused:
    def test_shows_state_and_constraint(self) -> None:
        bad = "insert into messages (session_id, role, chat_type, content) values (:anna_open, 'cook', 'main', 'x')"
        assert repr(clone().refused(bad, code="23514")) == "refused: 23514 messages_role_check"

    def test_fails_when_the_statement_succeeds_and_undoes_it(self) -> None:
        v1 = clone()
        with pytest.raises(AssertionError, match="was accepted"):
            v1.refused("delete from messages", code="42501")
        assert v1.value("select count(*) from messages") == 10

    def test_fails_when_it_is_refused_for_another_reason(self) -> None:
        with pytest.raises(AssertionError, match="expected 42501, got refused: 42P01"):
            clone().refused("select from nothing", code="42501")


class TestConcurrently:
    def test_a_waits_for_b(self, capsys: pytest.CaptureFixture[str]) -> None:
        with wb.concurrently(clone(), a=ANNA, b=SERVICE) as (a, b):
            a("update profiles set email = 'a' where id = :anna")
            step = b("update profiles set email = 'b' where id = :anna")
            assert step.waited and step.outcome is None
            a.commit()
            assert step.outcome == "UPDATE 1"
            b.rollback()
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert [line[0] for line in lines] == ["a", "b", "a", "b", "b"]
        assert lines[1][-3:] == ["waits", "for", "a"]

    def test_three_in_a_row(self) -> None:
        with wb.concurrently(clone(), a=SERVICE, b=SERVICE, c=SERVICE) as (a, b, c):
            change = "update profiles set email = email where id = :anna"
            a(change)
            waiting = {b: b(change), c: c(change)}
            a.commit()
            # Which of two that wait for one row is first is PostgreSQL's to decide.
            (first,) = [side for side, step in waiting.items() if step.outcome == "UPDATE 1"]
            first.commit()
            assert [step.outcome for step in waiting.values()] == ["UPDATE 1", "UPDATE 1"]

    @pytest.mark.parametrize("run", range(3))
    def test_who_closes_the_circle_is_the_victim(self, run: int) -> None:
        with wb.concurrently(clone(), a=SERVICE, b=SERVICE) as (a, b):
            a("update profiles set email = 'a' where id = :anna")
            b("update profiles set email = 'b' where id = :ben")
            waiting = a("update profiles set email = 'a' where id = :ben")
            assert b("update profiles set email = 'b' where id = :anna").refused == "40P01"
            assert waiting.outcome == "UPDATE 1"

    def test_step_of_a_side_that_waits_is_an_error(self) -> None:
        with wb.concurrently(clone(), a=SERVICE, b=SERVICE) as (a, b):
            a("update profiles set email = 'a' where id = :anna")
            b("update profiles set email = 'b' where id = :anna")
            with pytest.raises(WorkbookError, match="b still waits for a"):
                b.commit()

    def test_what_is_open_at_the_end_is_rolled_back(self) -> None:
        v1 = clone()
        with wb.concurrently(v1, a=SERVICE, b=SERVICE) as (a, b):
            a("delete from logs where false")
            a("update profiles set email = 'gone'")
            b("update profiles set email = 'gone too'")
        assert v1.value("select count(*) from profiles where email like 'gone%'") == 0


class TestPlan:
    def test_counts_rows_and_rolls_back(self) -> None:
        v1 = clone()
        facts = wb.plan(v1, "delete from messages where session_id = :anna_open")
        assert facts["rows read"].tolist()[-1] == 3
        assert v1.value("select count(*) from messages") == 10


class TestMeasure:
    def test_unknown_scale(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SCALE", "huge")
        with pytest.raises(WorkbookError, match="small, medium, large"):
            wb.rows(1, 2, 3)
        monkeypatch.setenv("SCALE", "medium")
        assert wb.rows(1, 2, 3) == 2

    def test_log_grows_with_what_is_written(self) -> None:
        v1 = clone()

        setup = """create function pg_temp.log(n integer) returns void language sql as
            $$insert into public.logs (level, event_type) select 'info', 'user_logout' from generate_series(1, n)$$"""
        call = "select pg_temp.log(:n)"
        assert wb.wal_bytes(v1, [call], setup=setup, n=2000) > 5 * wb.wal_bytes(v1, [call], setup=setup, n=100) > 0

    def test_log_counts_what_triggers_write(self) -> None:
        v1 = clone()
        setup = """create function pg_temp.send(session_id uuid) returns void language sql as
            $$insert into public.messages (session_id, role, chat_type, content) values (session_id, 'user', 'main', 'Ja')$$"""
        calls = ["select pg_temp.send(:anna_open)"] * 5
        with_trigger = wb.wal_bytes(v1, calls, setup=setup)
        v1.run("drop trigger increment_session_message_count on messages")
        assert with_trigger > wb.wal_bytes(v1, calls, setup=setup)

    def test_cost_is_of_the_statement_alone(self) -> None:
        v1, other = clone(), clone()
        burst = "insert into logs (level, event_type) select 'info', 'user_logout' from generate_series(1, 5000)"
        with wb.bystander(other, burst, ADMIN):
            costs = [
                wb.cost(v1, statement, OWNER)[1]
                for statement in ("delete from messages where role = 'helper'", "vacuum messages", "drop table logs")
            ]
        assert all(0 < written < 50_000 for written in costs)

    def test_dead_rows_are_those_of_updates_and_deletes(self) -> None:
        v1 = clone()
        assert wb.dead_rows(v1, "messages") == 0
        v1.run("delete from messages")
        assert wb.dead_rows(v1, "messages") == 10


class TestChecks:
    def test_proof_fails_where_the_flaw_does_not_show(self) -> None:
        with pytest.raises(AssertionError, match="proves nothing"):
            wb.prove(5, clone(5), clone(5))

    def test_proof_fails_where_the_flaw_is_still_there(self) -> None:
        with pytest.raises(AssertionError, match="still there"):
            wb.prove(5, clone("v1"), clone("v1"))


class TestNotebookErrors:
    def test_reader_sees_a_sentence_and_no_stack_trace(self) -> None:
        code = (
            "import workbook as wb\nget_ipython = __import__('IPython').core.interactiveshell.InteractiveShell.instance\n"
            "get_ipython().run_cell('import workbook as wb; wb.clone(99)')"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(wb.__file__).parents[1])
        assert "WorkbookError: There is no fix 99" in result.stdout
        assert "Traceback" not in result.stdout and "fixes.py" not in result.stdout
