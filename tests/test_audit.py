"""The audit: what it says of v1, of the review's own statements, of v2, and of databases that are none of these."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import workbook as wb
from helpers import is_one_sentence
from workbook.__main__ import main
from workbook.audit import ABSENT, FOUND, UNCHECKED, Report, _examine, _try, audit
from workbook.audit.behaviour import PROBES, stage
from workbook.audit.catalog import Catalog, NotSeen
from workbook.audit.names import find_tables
from workbook.audit.render import as_text, write
from workbook.audit.rules import RULES, OnlyBehaviour, Subject
from workbook.checks import CHECKS, look
from workbook.errors import WorkbookError
from workbook.fixes import all_fixes
from workbook.server import libpq_url, parse_url

V2 = all_fixes()[-1].number


def verdicts(report: Report) -> dict[int, str]:
    return {finding.number: finding.verdict for finding in report.findings}


def numbers(report: Report, verdict: str) -> list[int]:
    return [number for number, found in verdicts(report).items() if found == verdict]


def subject(database: wb.Database) -> Subject:
    with database.connect() as connection, connection.transaction():
        catalog = Catalog(connection)
    return Subject(catalog, find_tables(catalog))


class TestVerdicts:
    def test_there_is_a_rule_for_each_check(self) -> None:
        assert sorted(RULES) == sorted(CHECKS)

    def test_v1_has_all_of_them(self) -> None:
        report = audit(wb.clone("v1").url)
        assert numbers(report, FOUND) == sorted(RULES)
        assert report.status == 1

    def test_v2_has_none(self) -> None:
        report = audit(wb.clone(V2).url)
        assert numbers(report, FOUND) == []
        assert set(numbers(report, UNCHECKED)) < set(PROBES)
        assert report.status == 0

    @pytest.mark.slow
    def test_v2_has_none_that_only_behaviour_shows(self) -> None:
        database = wb.clone(V2)
        rows = "select (select count(*) from auth.users), (select count(*) from messages), (select count(*) from logs)"
        before = database.run(rows, wb.ADMIN)
        assert numbers(audit(database.url, behaviour=True), ABSENT) == sorted(RULES)
        assert database.run(rows, wb.ADMIN).equals(before)

    @pytest.mark.slow
    def test_the_reviews_own_statements_fare_as_on_the_scoreboard(self) -> None:
        shown = {number for number in CHECKS if look(number, database := wb.clone("proposed")) is not None or database.drop()}
        assert set(numbers(audit(wb.clone("proposed").url, behaviour=True), FOUND)) == shown
        by_catalog = audit(wb.clone("proposed").url)
        assert set(numbers(by_catalog, FOUND)) <= shown
        assert not set(numbers(by_catalog, ABSENT)) & shown

    @pytest.mark.slow
    def test_each_rule_turns_with_its_own_fix(self) -> None:
        database = wb.clone("v1")
        for fix in all_fixes():
            if fix.number not in RULES:
                database.apply(fix.number)
                continue
            before = RULES[fix.number](subject(database))
            database.apply(fix.number)
            try:
                after = RULES[fix.number](subject(database))
            except OnlyBehaviour:
                after = None
            # 51 is the last policy's turn, and the earlier fixes have done most of it.
            assert before is not None, f"{fix.name}: nothing was found before the fix"
            assert after is None, f"{fix.name}: still found after the fix"

    @pytest.mark.parametrize("number", sorted(set(PROBES) - {38}))
    def test_each_probe_sees_the_flaw_on_v1(self, number: int) -> None:
        database = wb.clone("v1")
        with database.connect() as connection, stage(connection, subject(database)) as on:
            assert PROBES[number](on) is not None


BREAKS = [
    (1, "drop trigger sessions_completion on sessions"),
    (1, "alter table sessions drop constraint {sessions:completed_at}"),
    (3, "drop trigger zz_messages_open_session on messages"),
    (4, "drop table message_chunks cascade"),
    (5, "alter table sessions add created_at timestamptz not null default now()"),
    (8, "alter table sessions drop constraint {sessions:message_count_main}"),
    (9, "drop trigger sessions_count_completed on sessions"),
    (12, "alter table sessions drop constraint {sessions:duration_seconds}"),
    (15, "alter table messages drop constraint {messages:content}"),
    (
        15,
        "alter table messages drop constraint {messages:content}; alter table messages add check (length(content) < 1000000000)",
    ),
    (16, "alter table scenarios drop constraint {scenarios:emoji}"),
    (18, "alter policy messages_select_own on messages using (user_id = auth.uid())"),
    (18, "alter table messages disable row level security"),
    (18, "drop index messages_user_id_sent_at_idx"),
    (18, "drop index messages_user_id_sent_at_idx; create index on messages (user_id) where role = 'user'"),
    (22, "create index on sessions (updated_at)"),
    (22, "create index on sessions (scenario_id) include (message_count_main)"),
    (24, "grant update on logs to authenticated"),
    (26, "alter function private.retire_profile() reset search_path"),
    (26, "alter function private.retire_profile() set search_path = pg_temp, public"),
    (26, "grant create on schema public to anon; alter function private.retire_profile() set search_path = public, pg_temp"),
    (27, "alter table profiles disable row level security; grant insert on profiles to authenticated"),
    (28, "grant select on scenarios to anon"),
    (28, "alter policy scenarios_select_active_anon on scenarios using (true)"),
    (28, "create view openings as select initial_message_main as hello from scenarios; grant select on openings to anon"),
    (30, "grant select on private.logs_default to anon; grant usage on schema private to anon"),
    (33, "alter table messages_archive rename to elsewhere"),
    (37, "drop trigger messages_immutable on messages"),
    (42, "drop trigger users_sync_profile_email on auth.users"),
    (
        43,
        "drop trigger zz_messages_open_session on messages; drop trigger zz_messages_open_session_for_client on messages",
    ),
    (46, "alter table messages drop constraint messages_client_message_id_unique"),
    (46, "revoke insert (client_message_id) on messages from authenticated"),
    (47, "grant execute on function delete_old_logs() to anon"),
    (47, "create schema api; grant usage on schema api to anon; create function api.f() returns int language sql as 'select 1'"),
    (48, "grant update on profiles to authenticated; alter table profiles disable row level security"),
    (
        49,
        "alter policy messages_insert_own on messages"
        " with check (user_id = (select auth.uid()) and role in ('user', 'assistant'))",
    ),
    (49, "grant insert (sent_at) on messages to authenticated"),
    (49, "alter table messages disable row level security"),
    (50, "grant update (last_activity_at) on sessions to authenticated"),
    (50, "alter policy sessions_delete_own on sessions using (user_id = (select auth.uid()) and is_completed)"),
    (51, "alter policy logs_select_own on logs using (user_id = (auth.jwt() ->> 'sub')::uuid)"),
    (51, "alter policy logs_select_own on logs using (user_id = current_setting('request.jwt.claim.sub')::uuid)"),
    (52, "create index on sessions (scenario_id, is_completed)"),
    (52, "create index on logs (level)"),
    (53, "grant truncate on logs to authenticated"),
    (53, "grant references on logs to anon"),
    (53, "alter table sessions disable row level security"),
    (54, "alter table messages alter id set default gen_random_uuid()"),
    (54, "alter table logs alter id set default extensions.gen_random_uuid()"),
]
"""Ways back from v2 to a flaw; `{table:column}` stands for the CHECK constraints of a table that name a column."""


@pytest.mark.slow
@pytest.mark.parametrize("number, statement", BREAKS)
def test_break_is_noticed(number: int, statement: str) -> None:
    database = wb.clone(V2)
    with database.connect() as connection:
        for found in re.findall(r"alter table (\w+) drop constraint \{\w+:(\w+)\}", statement):
            table, column = found
            names = connection.execute(
                "select quote_ident(conname) from pg_constraint"
                " join pg_attribute on attrelid = conrelid and attnum = any (conkey)"
                " where conrelid = %s::regclass and contype = 'c' and attname = %s",
                [f"public.{table}", column],
            ).fetchall()
            assert names
            drop = "; ".join(f"alter table {table} drop constraint {name}" for (name,) in names)
            statement = statement.replace(f"alter table {table} drop constraint {{{table}:{column}}}", drop)
        connection.execute(statement)
    finding = _examine(number, subject(database))
    with database.connect() as connection:
        assert _try(finding, connection, subject(database)).verdict == FOUND


RENAMED = """
    create schema chat;
    alter table public.messages rename to chat_messages;
    alter table public.chat_messages set schema chat;
    alter table public.sessions rename to chat_sessions;
    alter table public.profiles rename to user_profiles;
    alter table public.logs rename to app_logs;
    alter table chat.chat_messages rename column session_id to chat_session;
    alter table public.chat_sessions rename column user_id to profile_id;
    alter table public.chat_sessions rename column is_completed to completed;
"""


class TestOtherDatabases:
    def test_under_other_names(self) -> None:
        database = wb.clone("v1")
        database.run(RENAMED, wb.ADMIN)
        report = audit(database.url)
        assert report.tables["messages"] == "chat.chat_messages (session_id is chat_session)"
        assert report.tables["sessions"] == "public.chat_sessions (user_id is profile_id, is_completed is completed)"
        assert report.tables["logs"] == "public.app_logs"
        assert numbers(report, ABSENT) == []
        # v1's functions still have the old names in them, so they are nobody's jobs any more.
        assert set(numbers(report, UNCHECKED)) <= {11, 22, 32, 45}

    def test_with_names_in_camel_case(self) -> None:
        database = wb.clone("v1", "empty")
        database.run(
            """
            alter table public.sessions rename column completed_at to "completedAt";
            alter table public.sessions rename column is_completed to "isCompleted";
            alter table public.sessions add check ("isCompleted" = ("completedAt" is not null));
            create or replace function public.calculate_session_duration() returns trigger language plpgsql as $$ begin
                if new."isCompleted" then new."completedAt" := now(); end if;
                return new;
            end $$;
            create trigger complete before insert on public.sessions
                for each row execute function public.calculate_session_duration()""",
            wb.ADMIN,
        )
        report = audit(database.url)
        assert report.tables["sessions"] == "public.sessions (is_completed is isCompleted, completed_at is completedAt)"
        assert 1 in numbers(report, ABSENT)

    def test_without_these_tables(self) -> None:
        database = wb.clone("v1", "empty")
        database.run("drop schema public cascade; create schema public; create table public.invoices (id integer)", wb.ADMIN)
        with pytest.raises(WorkbookError, match="resembles sessions or messages") as caught:
            audit(database.url)
        assert is_one_sentence(caught.value)

    def test_without_some_of_them(self) -> None:
        database = wb.clone("v1", "empty")
        database.run("drop table public.logs cascade", wb.ADMIN)
        report = audit(database.url)
        assert {19, 23, 24, 29, 30} <= set(numbers(report, UNCHECKED))
        assert all("no table resembles logs" in finding.detail for finding in report.findings if finding.number in (19, 23, 24))

    def test_with_a_login_that_sees_little(self) -> None:
        database = wb.clone("v1")
        with database.connect() as connection:
            connection.execute("drop role if exists wb_test_auditor")
            connection.execute("create role wb_test_auditor login password 'auditor'")
            connection.execute("revoke select on pg_catalog.pg_proc, pg_catalog.pg_policy from public")
        try:
            report = audit(libpq_url(parse_url(database.url).set(username="wb_test_auditor", password="auditor")))
        finally:
            with database.connect() as connection:
                connection.execute("drop role wb_test_auditor")
        assert {sentence.split(":")[0] for sentence in report.unseen} == {"the functions", "the policies"}
        assert 26 in numbers(report, UNCHECKED) and 51 in numbers(report, UNCHECKED)
        assert {5, 7, 8, 12, 13, 19} <= set(numbers(report, FOUND))

    def test_without_the_platforms_roles(self) -> None:
        database = wb.clone("v1")
        catalog = subject(database).catalog
        catalog.roles = set()
        with pytest.raises(NotSeen, match="there is no role"):
            RULES[48](Subject(catalog, find_tables(catalog)))

    def test_that_cannot_be_reached(self) -> None:
        with pytest.raises(WorkbookError, match="cannot be reached") as caught:
            audit("postgresql://nobody@127.0.0.1:1/nothing")
        assert is_one_sentence(caught.value)


class TestSafety:
    def test_it_only_reads(self) -> None:
        database = wb.clone(V2)
        with database.connect() as connection:
            written = "select xact_commit, tup_inserted + tup_updated + tup_deleted from pg_stat_database where datname = %s"
            connection.execute("select pg_stat_force_next_flush()")
            before = connection.execute(written, [database.name]).fetchone()[1]
            audit(database.url)
            assert connection.execute(written, [database.name]).fetchone()[1] == before

    def test_it_waits_for_nobody(self) -> None:
        database = wb.clone("v1")
        with database.connect() as connection, connection.transaction():
            connection.execute("lock table public.messages in access exclusive mode")
            with pytest.raises(WorkbookError, match="lock timeout.*try again") as caught:
                audit(database.url)
        assert is_one_sentence(caught.value)


class TestCommand:
    @pytest.fixture
    def run(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> Callable[..., tuple[int, str, str]]:
        monkeypatch.setattr("workbook.__main__.BUILD", tmp_path)

        def call(**environment: str) -> tuple[int, str, str]:
            monkeypatch.delenv("DATABASE_URL", raising=False)
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            monkeypatch.setattr(sys, "argv", ["workbook", "audit"])
            status = main()
            printed = capsys.readouterr()
            return status, printed.out, printed.err

        return call

    @pytest.mark.slow
    def test_status(self, run: Callable[..., tuple[int, str, str]]) -> None:
        status, out, _ = run(DATABASE_URL=wb.clone("v1").url)
        assert status == 1 and f"{len(RULES)} of {len(RULES)} issues found" in out
        status, out, _ = run(DATABASE_URL=wb.clone(V2).url)
        assert status == 0 and f"0 of {len(RULES)} issues found" in out and "Not checked" in out
        status, out, _ = run(DATABASE_URL=wb.clone(V2).url, BEHAVIOUR="1")
        assert status == 0 and "0 not checked" in out

    @pytest.mark.parametrize("url", ["", "nonsense", "postgresql://nobody@127.0.0.1:1/nothing"])
    def test_that_could_not_run(self, run: Callable[..., tuple[int, str, str]], url: str) -> None:
        status, out, err = run(DATABASE_URL=url)
        assert (status, out, err.count("\n")) == (2, "", 1)

    def test_files(self, tmp_path: Path) -> None:
        report = audit(wb.clone("v1").url)
        html, written = write(report, tmp_path)
        assert json.loads(written.read_text())["findings"][2]["verdict"] == FOUND
        assert "http" not in html.read_text() and "A message" not in as_text(report)
        for finding in report.findings:
            assert finding.fix in html.read_text()
