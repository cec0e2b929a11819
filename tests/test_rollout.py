"""The rollout: v1 to v2 beside its clients, and back. What it ends in is compared with what the fixes end in."""

import json
import re
import subprocess
from pathlib import Path

import psycopg
import pytest
from helpers import is_one_sentence
from workbook import ADMIN, ANNA, SERVICE, Database, WorkbookError, clone, rehearsal, rollout
from workbook.fixes import all_fixes
from workbook.paths import BUILD
from workbook.rollout import command, runner, steps
from workbook.rollout.rehearsal import quiet
from workbook.rollout.repairs import TABLES, repairs, statements
from workbook.server import EmbeddedServer

LAST = all_fixes()[-1].number

# What the data set of rows that break rules does not have.
MORE_ROWS = """
set local session_replication_role = replica;
insert into auth.users (id, email, deleted_at) values ('e0000000-0000-4000-8000-000000000001', 'hash-of-an-address', now());
insert into public.profiles (id, email, week_reset_date)
values ('e0000000-0000-4000-8000-000000000001', 'gone@example.org', now() + interval '3 days');
insert into public.sessions (id, user_id, scenario_id)
values ('e1000000-0000-4000-8000-000000000001', 'e0000000-0000-4000-8000-000000000001', 1);
insert into public.logs (id, level, event_type, created_at)
values ('e3000000-0000-4000-8000-000000000001', 'info', 'user_logout', '2021-07-01 12:00+00');
"""

# What the end does not show: fix 1 has repaired what 12 looks for, 36 makes one role of those that 14 exchanges, the partition of
# a log decides nothing of its row, and the last statement of 42 clears up.
UNSEEN = re.compile(r"12 |14 update|30 select|42 delete")
PLACES = [
    place for place, repair in enumerate(repairs(), 1) if repair.batch and not UNSEEN.match(f"{repair.issue} {repair.batch[0]}")
]


def to_v2(database: Database, *, finishes: bool = False) -> None:
    """Take all steps to v2."""
    with rehearsal.runner(database) as run:
        rollout.start(run, quiet)
        rollout.copy(run, quiet)
        rollout.switch(run, quiet)
        if finishes:
            rollout.finish(run, quiet, has_backup=True, has_old_clients=False)


@pytest.fixture
def dirty() -> Database:
    """v1 with rows that break every rule."""
    database = clone("v1", "dirty")
    database.run(MORE_ROWS, ADMIN)
    return database


def now(database: Database) -> str:
    return str(database.value("select now()", ADMIN))


class TestTheEnd:
    @pytest.mark.parametrize("data", ["seed", "empty"])
    def test_is_what_the_fixes_end_in(self, data: str) -> None:
        database = clone("v1", data)
        fixed, since = database.copy(), now(database)
        to_v2(database, finishes=True)
        fixed.apply_up_to(LAST)
        assert rehearsal.differences(database, fixed, since) == []
        assert rehearsal.definition(database) == rehearsal.definition(fixed)

    def test_is_that_for_rows_that_break_every_rule_too(self, dirty: Database) -> None:
        fixed, since = dirty.copy(), now(dirty)
        to_v2(dirty, finishes=True)
        fixed.apply_up_to(LAST)
        assert rehearsal.differences(dirty, fixed, since) == []
        assert rehearsal.definition(dirty) == rehearsal.definition(fixed)

    def test_a_difference_is_seen(self) -> None:
        left, right = clone("v2"), clone("v2")
        right.run(
            "update public.messages set deleted_at = now() where id = (select min(id::text)::uuid from public.messages)", ADMIN
        )
        assert rehearsal.differences(left, right, "2100-01-01") == ["public.messages: 2 rows"]


class TestAbort:
    @pytest.mark.parametrize("last_step", ["start", "copy"])
    def test_leaves_v1_as_it_was(self, dirty: Database, last_step: str) -> None:
        before, rows = rehearsal.definition(dirty), dirty.copy()
        with rehearsal.runner(dirty) as run:
            rollout.start(run, quiet)
            if last_step == "copy":
                rollout.copy(run, quiet)
            rollout.abort(run, quiet)
            rollout.abort(run, quiet)
        assert rehearsal.definition(dirty) == before
        assert rehearsal.differences(dirty, rows, "2100-01-01") == []


class TestBack:
    def test_returns_untouched_rows_as_they_were(self, dirty: Database) -> None:
        before, rows = rehearsal.definition(dirty), dirty.copy()
        to_v2(dirty)
        with rehearsal.runner(dirty) as run:
            rollout.back(run, quiet)
        dirty.run("drop schema rollout_kept cascade")
        assert rehearsal.definition(dirty) == before
        assert rehearsal.differences(dirty, rows, "2100-01-01") == []

    def test_brings_what_v2_has_written(self) -> None:
        database = clone("v1")
        to_v2(database)
        database.run(
            "insert into public.messages (session_id, role, chat_type, content) "
            "values (:anna_open, 'user', 'helper', 'Was ist gern?')",
            ANNA,
        )
        database.run(
            "insert into public.messages (session_id, role, chat_type, content) "
            "values (:anna_open, 'assistant', 'helper', 'Gladly.')",
            SERVICE,
        )
        with rehearsal.runner(database) as run:
            assert rollout.status(run).facts["written since"] > 0
            rollout.back(run, quiet)
        said = database.run(
            "select role, content from public.messages where chat_type = 'helper' and session_id = :anna_open", ADMIN
        )
        assert {tuple(row) for row in said.itertuples(index=False)} >= {("user", "Was ist gern?"), ("helper", "Gladly.")}

    def test_keeps_what_v1_has_no_place_for(self) -> None:
        database = clone("v1")
        to_v2(database)
        database.run("delete from auth.users where id = :ben", ADMIN)
        database.run("insert into public.event_types (code, description) values ('streak_kept', 'Again.')", ADMIN)
        database.run("insert into public.logs (level, event_type) values ('info', 'streak_kept')", SERVICE)
        database.run("update public.messages set deleted_at = now() where session_id = :anna_done", ADMIN)
        hidden = database.value("select count(*) from public.messages where session_id = :anna_done", ADMIN)
        with rehearsal.runner(database) as run:
            counted = rollout.status(run).facts["v1 has no place for"]
            rollout.back(run, quiet)
            kept = steps.kept_rows(run)
        assert kept["messages"] >= hidden and kept["profiles"] == kept["logs"] == kept["event_types"] == 1
        assert {table: kept[table] for table in ("profiles", "logs", "event_types")} == {
            table: counted[table] for table in ("profiles", "logs", "event_types")
        }
        assert database.value("select count(*) from public.profiles where id = :ben", ADMIN) == 0
        assert database.value("select count(*) from public.messages where session_id = :anna_done", ADMIN) == 0

    @pytest.mark.slow
    def test_may_be_gone_as_often_as_one_likes(self, dirty: Database) -> None:
        before, rows = rehearsal.definition(dirty), dirty.copy()
        for _ in range(3):
            to_v2(dirty)
            with rehearsal.runner(dirty) as run:
                rollout.back(run, quiet)
            assert rehearsal.differences(dirty, rows, "2100-01-01") == []
        assert dirty.value("select count(distinct issue) from rollout_kept.repairs", ADMIN) > 1
        dirty.run("drop schema rollout_kept cascade")
        assert rehearsal.definition(dirty) == before

    def test_goes_on_where_it_was_cut_off(self) -> None:
        database = clone("v1")
        before = rehearsal.definition(database)
        to_v2(database)
        with rehearsal.runner(database) as run:
            run.run("select rollout.prepare_back()")
            run.run("select rollout.go_back()")
            for step in (rollout.start, rollout.copy, rollout.switch):
                with pytest.raises(rollout.Refused, match="what comes next is back"):
                    step(run, quiet)
            rollout.back(run, quiet)
        database.run("drop schema rollout_kept cascade")
        assert rehearsal.definition(database) == before


class TestErasure:
    def test_reaches_v1s_tables_while_they_are_there(self) -> None:
        database = clone("v1")
        database.run(
            "insert into public.logs (level, event_type, user_id, metadata) values ('info', 'user_logout', :anna, '{\"a\": 1}')",
            SERVICE,
        )
        to_v2(database)
        assert database.value("select count(*) from rollout_old.messages", ADMIN) > 0
        database.run("select public.erase_user(:anna)", SERVICE)
        assert database.value("select count(*) from rollout_old.profiles where id = :anna", ADMIN) == 0
        assert database.value("select count(*) from rollout_old.sessions where user_id = :anna", ADMIN) == 0
        assert database.value("select count(*) from rollout_old.logs where metadata is not null", ADMIN) == 0


class TestOrder:
    def test_each_step_says_what_comes_first(self) -> None:
        database = clone("v1")
        with rehearsal.runner(database) as run:
            for step in (rollout.copy, rollout.switch, rollout.back):
                with pytest.raises(rollout.Refused, match="what comes next is start") as refusal:
                    step(run, quiet)
                assert is_one_sentence(refusal.value)
            rollout.start(run, quiet)
            with pytest.raises(rollout.Refused, match="what comes next is copy"):
                rollout.switch(run, quiet)
            rollout.copy(run, quiet)
            rollout.copy(run, quiet)
            rollout.switch(run, quiet)
            rollout.switch(run, quiet)
            with pytest.raises(rollout.Refused, match="the step back"):
                rollout.abort(run, quiet)
            with pytest.raises(rollout.Refused, match="BACKUP=done"):
                rollout.finish(run, quiet, has_backup=False, has_old_clients=True)
            rollout.finish(run, quiet, has_backup=True, has_old_clients=True)
            assert run.one("select to_regnamespace('compat_v1') is not null")
            rollout.finish(run, quiet, has_backup=True, has_old_clients=False)
            assert not run.one("select to_regnamespace('compat_v1') is not null")

    def test_a_second_runner_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runner, "LOCK_PATIENCE_SECONDS", 0.3)
        database = clone("v1")
        with (
            rehearsal.runner(database),
            pytest.raises(rollout.Refused, match="Another runner") as refusal,
            rehearsal.runner(database),
        ):
            pass
        assert is_one_sentence(refusal.value)

    def test_a_changed_v1_is_not_switched(self) -> None:
        database = clone("v1")
        with rehearsal.runner(database) as run:
            rollout.start(run, quiet)
            rollout.copy(run, quiet)
            database.run("alter table public.messages add column mood text")
            with pytest.raises(WorkbookError, match="changed the definition"):
                rollout.switch(run, quiet)
            rollout.abort(run, quiet)

    @pytest.mark.slow
    def test_the_week_may_begin_meanwhile(self) -> None:
        database = clone("v1")
        fixed, since = database.copy(), now(database)
        with rehearsal.runner(database) as run:
            rollout.start(run, quiet)
            rollout.copy(run, quiet)
            # As a runner of last week would have left it.
            run.run("update rollout.state set week_reset_date = week_reset_date - interval '7 days'")
            run.run("update rollout_new.profiles set week_reset_date = week_reset_date - interval '7 days'")
            rollout.switch(run, quiet)
        fixed.apply_up_to(LAST)
        assert rehearsal.differences(database, fixed, since) == []


class TestTheCommand:
    @pytest.fixture
    def database(self, monkeypatch: pytest.MonkeyPatch) -> Database:
        database = clone("v1")
        monkeypatch.setenv("DATABASE_URL", rehearsal.owner_url(database))
        return database

    @pytest.mark.slow
    def test_says_by_its_status_what_became_of_a_step(self, database: Database, capsys: pytest.CaptureFixture[str]) -> None:
        assert command.main("plan") == 0
        assert "Nothing stops it." in capsys.readouterr().out
        assert command.main("switch") == 1
        assert command.main("nonsense") == 2
        assert command.main(None) == 2
        assert command.main("start") == command.main("copy") == command.main("status") == 0
        assert json.loads((BUILD / "rollout" / "status.json").read_text())["phase"] == "linked"
        assert command.main("finish") == 1
        assert command.main("abort") == 0

    def test_says_when_it_cannot_run(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
        assert command.main("plan") == 2
        monkeypatch.setenv("DATABASE_URL", rehearsal.owner_url(clone("v2")))
        assert command.main("plan") == 1
        assert "not v1" in capsys.readouterr().out
        monkeypatch.delenv("DATABASE_URL")
        assert command.main("plan") == 2

    @pytest.mark.slow
    def test_writes_its_steps_as_files(self, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("TO", str(tmp_path))
        fixed, since = database.copy(), now(database)
        assert command.main("sql") == 0
        for name in ("1_start", "abort", "1_start", "2_copy", "3_switch", "5_finish"):
            _psql(database, tmp_path / f"{name}.sql")
        database.run("drop schema compat_v1 cascade")
        fixed.apply_up_to(LAST)
        assert rehearsal.differences(database, fixed, since) == []
        assert rehearsal.definition(database) == rehearsal.definition(fixed)

    def test_leads_back_by_its_files_too(self, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("TO", str(tmp_path))
        before = rehearsal.definition(database)
        assert command.main("sql") == 0
        for name in ("1_start", "2_copy", "3_switch", "4_back"):
            _psql(database, tmp_path / f"{name}.sql")
        database.run("drop schema rollout_kept cascade")
        assert rehearsal.definition(database) == before


def _psql(database: Database, file: Path) -> None:
    psql = EmbeddedServer.of_checkout().program("psql")
    done = subprocess.run(
        [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", rehearsal.owner_url(database), "-f", file],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


class TestRepairs:
    def test_are_all_that_the_fixes_do_to_rows(self) -> None:
        taken = {(repair.issue, text) for repair in repairs() for text in repair.batch}
        for fix in all_fixes():
            for statement in statements(fix.body):
                first = statement.split("(")[0].lower()
                if first.startswith("update ") and any(f"public.{table}" in first for table in TABLES):
                    assert any(issue == fix.number and text.startswith("update ") for issue, text in taken), statement

    @pytest.mark.slow
    @pytest.mark.parametrize("place", PLACES)
    def test_each_is_missed(self, place: int) -> None:
        database = clone("v1", "dirty")
        database.run(MORE_ROWS, ADMIN)
        fixed, since = database.copy(), now(database)
        fixed.apply_up_to(LAST)
        with rehearsal.runner(database) as run:
            rollout.start(run, quiet)
            run.run("update rollout.repair_statements set batch = '{}' where place = %s", place)
            try:
                rollout.copy(run, quiet)
                rollout.switch(run, quiet)
            except psycopg.Error:
                return
        assert rehearsal.differences(database, fixed, since)
