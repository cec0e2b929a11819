"""What a rollout makes for itself is closed to clients in every phase, and v2's privileges are those of the fixes."""

import re
from collections.abc import Iterator

import psycopg
import pytest
import rollouts
from helpers import schema
from team import apply_all
from workbook import ADMIN, ANNA, Database, WorkbookError, clone, rehearsal, rollout
from workbook.rollout import build, steps
from workbook.rollout.build import _url_of

pytestmark = pytest.mark.slow

ROLES = ("anon", "authenticated", "service_role", "authenticator", "public")
OPEN_SCHEMAS = """
select nspname, role
from pg_namespace
cross join unnest(%s::text[]) as role
where nspname like 'rollout%%'
    and (has_schema_privilege(role, pg_namespace.oid, 'usage') or has_schema_privilege(role, pg_namespace.oid, 'create'))
order by 1, 2
"""
OPEN_FUNCTIONS = """
select pg_proc.oid::regprocedure::text
from pg_proc
where pronamespace = 'rollout'::regnamespace and has_function_privilege('public', pg_proc.oid, 'execute')
order by 1
"""


def open_to_clients(database: Database) -> list[tuple[str, str]]:
    """Return the rollout's own schemas that a client's role may use."""
    with database.connect() as connection:
        return connection.execute(OPEN_SCHEMAS, [list(ROLES)]).fetchall()


@pytest.fixture
def v1() -> Iterator[Database]:
    """A v1 of the test's own."""
    database = clone("v1", "dirty")
    yield database
    database.drop()


def test_its_schemas_are_closed_in_every_phase(v1: Database) -> None:
    with rollout.Runner(rollouts.url_of(v1)) as runner, runner.alone():
        steps.start(runner, rehearsal.quiet)
        assert open_to_clients(v1) == []
        with v1.connect() as connection:
            assert connection.execute(OPEN_FUNCTIONS).fetchall() == []
        steps.copy(runner, rehearsal.quiet)
        assert open_to_clients(v1) == []
        steps.switch(runner, rehearsal.quiet)
        assert open_to_clients(v1) == []
        assert v1.value("select count(*) > 0 from compat_v1.messages", ANNA)
        steps.back(runner, rehearsal.quiet)
        assert open_to_clients(v1) == []


def test_defaults_of_the_owner_open_nothing_of_it(v1: Database) -> None:
    v1.run("alter default privileges grant usage on schemas to anon; alter default privileges grant select on tables to anon")
    with rollout.Runner(rollouts.url_of(v1)) as runner, runner.alone():
        steps.start(runner, rehearsal.quiet)
        steps.copy(runner, rehearsal.quiet)
        assert open_to_clients(v1) == []
        steps.switch(runner, rehearsal.quiet)
        assert open_to_clients(v1) == []


@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) from rollout.dirty",
        "select count(*) from rollout_new.messages",
        "select count(*) from rollout_compat.messages",
        "select rollout.switch()",
        "create temporary table own (id uuid); "
        "create trigger t after insert on own for each row execute function rollout.note('logs')",
    ],
)
def test_client_reaches_nothing_of_it_before_the_switch(v1: Database, statement: str) -> None:
    with rollout.Runner(rollouts.url_of(v1)) as runner, runner.alone():
        steps.start(runner, rehearsal.quiet)
    assert v1.refused(statement, ANNA, code="42501")


def test_client_may_shadow_what_it_likes(v1: Database) -> None:
    """A note is written by a definer, to its own table, whatever its caller has in pg_temp."""
    with rollout.Runner(rollouts.url_of(v1)) as runner, runner.alone():
        steps.start(runner, rehearsal.quiet)
        v1.run(
            "create temporary table dirty (table_name text, key text); create temporary table logs (id uuid); "
            "create type pg_temp.text as enum ('a'); create type pg_temp.uuid as enum ('b'); "
            "set local search_path = pg_temp, public; "
            "insert into public.messages (session_id, role, chat_type, content) values (:anna_open, 'user', 'main', 'Hallo')",
            ANNA,
        )
        assert runner.one("select count(*) from rollout.dirty where table_name = 'messages'") == 1


def test_privileges_after_the_switch_are_those_of_the_fixes(v1: Database) -> None:
    other = v1.copy()
    try:
        apply_all(other)
        rollouts.roll(v1, finish=False)
        mine, theirs = _without_places(v1), _without_places(other)
        assert theirs - mine == set()
        assert mine - theirs == set()
    finally:
        other.drop()


def _without_places(database: Database) -> set[tuple[str, str, str]]:
    """Return a schema without the rollout's own objects, and without the places of columns that others were dropped before."""
    return {
        (kind, name, re.sub(r"^\d+ ", "", definition) if kind == "column" else definition)
        for kind, name, definition in schema(database)
        if not re.search("rollout|compat_v1", f"{name} {definition}")
    }


def test_login_that_is_no_member_is_told_in_a_sentence(v1: Database) -> None:
    v1.run("drop role if exists wb_stranger; create role wb_stranger login password 'x'", ADMIN)
    url = psycopg.conninfo.conninfo_to_dict(v1.url)
    try:
        with pytest.raises(WorkbookError, match=r"may not act as that role; log in as workbook_owner\.$"):
            rollout.Runner(psycopg.conninfo.make_conninfo(**{**url, "user": "wb_stranger", "password": "x"}))
    finally:
        v1.run("drop role wb_stranger", ADMIN)


def test_password_with_special_characters_is_taken_and_not_shown(v1: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    v1.run(
        "drop role if exists wb_login; create role wb_login login password 'p@ss:w/rd?#%&=''\" x' in role workbook_owner", ADMIN
    )
    seen: list[str] = []
    run = build.subprocess.run

    def spy(command: list[str], **options: object) -> object:
        seen.extend(map(str, command))
        return run(command, **options)

    monkeypatch.setattr(build.subprocess, "run", spy)
    url = psycopg.conninfo.conninfo_to_dict(v1.url)
    login = psycopg.conninfo.make_conninfo(**{**url, "user": "wb_login", "password": "p@ss:w/rd?#%&='\" x"})
    try:
        with rollout.Runner(login) as runner:
            assert rollout.obstacles(runner) == []
        assert not [word for word in seen if "p@ss" in word]
    finally:
        v1.run("drop role wb_login", ADMIN)


def test_pooler_in_transaction_mode_is_refused(v1: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with rollout.Runner(rollouts.url_of(v1)) as runner:
        backends = iter(range(10))
        one = runner.one
        monkeypatch.setattr(
            runner, "one", lambda text, *values: next(backends) if "backend_pid()" in text[:30] else one(text, *values)
        )
        with pytest.raises(WorkbookError, match=r"pooler in transaction mode.*session mode\.$"), runner.alone():
            pass


def test_older_programs_are_given_no_newer_parameter(v1: Database) -> None:
    with v1.connect() as connection:
        given = psycopg.conninfo.conninfo_to_dict(_url_of(connection))
    assert given["dbname"] == v1.name
    # Of PostgreSQL 16, 17 and 18, in that order.
    assert not {"sslcertmode", "require_auth", "load_balance_hosts", "sslnegotiation", "max_protocol_version"} & set(given)
