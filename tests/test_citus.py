"""v2 on Citus, without a Citus: the conversion's SQL parses, and what it says of v2 is what v2's catalog says."""

import re
from collections.abc import Iterator

import psycopg
import pytest
from workbook import catalogue, citus, clients, report
from workbook.actors import ADMIN
from workbook.database import Database, clone
from workbook.paths import ROOT, SQL

FILES = [pytest.param(path, id=path) for path in citus.files()]
STUBS = """
create function public.create_distributed_table(text, text, colocate_with text) returns void language sql as '';
create function public.create_reference_table(text) returns void language sql as '';
create function public.create_distributed_function(text) returns void language sql as '';
create function public.run_command_on_workers(text) returns void language sql as ''
"""
"""What Citus brings along: functions that do nothing, so that the rest of each file really runs."""
DISTRIBUTED = r"create_distributed_table\('public\.(\w+)', '(\w+)'"


@pytest.fixture(scope="module")
def converted() -> Iterator[Database]:
    """v2 with the conversion's files, on one machine, where nothing is distributed and all the rest happens."""
    database = clone("v2")
    database.run(STUBS, ADMIN)
    for path in citus.files():
        # Roles are the server's: other tests have them too.
        text = re.sub(r"alter role \w+ login;", "", (SQL / path).read_text())
        try:
            with database.connect() as connection, connection.transaction():
                connection.execute(text)
        except psycopg.Error as error:
            pytest.fail(f"{path}: {error}")
    yield database
    database.drop()


def said() -> str:
    return "\n".join((SQL / path).read_text() for path in citus.files())


def test_the_conversion_runs_on_v2(converted: Database) -> None:
    assert converted.value("select to_regclass('private.profile_addresses') is not null")
    assert converted.value("select to_regproc('private.rewrite') is null")


@pytest.mark.parametrize("path", FILES)
def test_has_a_header(path: str) -> None:
    assert len(citus.headers()) == len(FILES)
    assert (SQL / path).read_text().count("-- Clients: ") == 1


def test_every_table_of_v2_has_its_place(converted: Database) -> None:
    placed = {table for table, _ in re.findall(DISTRIBUTED, said())}
    placed |= set(re.findall(r"create_reference_table\('public\.(\w+)'", said()))
    found = converted.run(
        "select relname from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition",
        ADMIN,
    )
    assert placed == set(found["relname"])


def test_every_key_of_a_distributed_table_contains_its_learner(converted: Database) -> None:
    for table, column in re.findall(DISTRIBUTED, said()):
        without = converted.run(
            """
            select indexrelid::regclass::text as name
            from pg_index
            where indrelid = ('public.' || :name)::regclass
                and indisunique
                and not exists (
                    select from pg_attribute where attrelid = indrelid and attnum = any (indkey) and attname = :learner
                )""",
            ADMIN,
            name=table,
            learner=column,
        )
        assert without.empty, f"{table}: {without['name'].tolist()}"


def test_no_policy_of_a_distributed_table_has_a_sub_select(converted: Database) -> None:
    for table, _ in re.findall(DISTRIBUTED, said()):
        found = converted.run(
            "select polname from pg_policy where polrelid = ('public.' || :name)::regclass"
            " and concat(pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) ilike '%select%'",
            ADMIN,
            name=table,
        )
        assert found.empty, f"{table}: {found['polname'].tolist()}"


def test_no_foreign_key_changes_the_learner(converted: Database) -> None:
    found = converted.run(
        """
        select conname from pg_constraint
        where contype = 'f' and conparentid = 0 and connamespace = 'public'::regnamespace
            and (confupdtype not in ('a', 'r') or confdeltype in ('n', 'd'))""",
        ADMIN,
    )
    assert found.empty, found["conname"].tolist()


def test_every_change_of_the_contract_is_of_a_statement_that_is_sent() -> None:
    sent = {(client.id, which): getattr(client, which) for client in clients.declared() for which in ("statement", "works")}
    for change in citus.changes():
        assert sent[change.id, change.which], change
        assert change.why in citus.REASONS, change
        assert (change.send != sent[change.id, change.which]) or change.gets, change


def test_every_message_of_the_contract_says_whose_it_is() -> None:
    changed = {(change.id, change.which): change.send for change in citus.changes()}
    for client in clients.declared():
        for which in ("statement", "works"):
            statement = changed.get((client.id, which), getattr(client, which))
            for columns in re.findall(r"insert into public\.message(?:s|_chunks) \((.*?)\)", statement):
                assert columns.startswith("user_id, "), client.id


def test_the_changed_contract_parses_on_the_converted_schema(converted: Database) -> None:
    known = {client.id: client for client in clients.declared()}
    for change in citus.changes():
        actor = clients.ACTORS[known[change.id].who]
        got = citus.answer(converted, citus.parts(change.send), actor)
        assert got.sqlstate not in ("42601", "42P10", "42883") or got.sqlstate == known[change.id].sqlstate, (change, got)


def test_the_checks_that_do_not_apply_are_of_issues() -> None:
    numbers = {issue.number for issue in (*catalogue.all_issues(), *catalogue.beyond())}
    assert citus.not_applicable().keys() <= numbers


def test_the_notebook_is_skipped_with_a_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "notebooks" / "17_distributed.ipynb"
    monkeypatch.delenv("CITUS_URL", raising=False)
    assert "CITUS_URL" in str(report.skipped(path))
    monkeypatch.setenv("CITUS_URL", "postgresql://127.0.0.1/postgres")
    assert report.skipped(path) is None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (
            "insert into public.messages (session_id) values (:anna_open, 1)",
            "(user_id, session_id) values (:anna, :anna_open, 1)",
        ),
        (
            "insert into public.messages (a) values (:ben_open, 1), (:ben_open, 2)",
            "(user_id, a) values (:ben, :ben_open, 1), (:ben, :",
        ),
        ("insert into public.messages (user_id, a) values (:ben, :ben_open)", "(user_id, a) values (:ben, :ben_open)"),
    ],
)
def test_a_check_sends_the_learner(sent: str, expected: str) -> None:
    assert expected in citus.with_user(sent)
