"""What a team has added to v1 goes through the rollout as it goes through the fixes, or the plan names it and what helps."""

import os
import re
from collections.abc import Iterator

import psycopg
import pytest
import rollouts
from team import apply_all, database_at, roles
from test_extended import ADDITIONS, OTHER_ROLE, ROLE, Addition
from workbook import ADMIN, OWNER, Actor, Database, rehearsal, rollout
from workbook.paths import ROOT
from workbook.rollout import steps

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _roles() -> Iterator[None]:
    with roles(ROLE, OTHER_ROLE):
        yield


FROM_V1 = [addition for addition in ADDITIONS if addition.from_v1]
# These are asked each time.
QUICK = {"30-row_trigger", "29-kind_of_event"}
EVERY = int(os.environ.get("ROLLOUT_ADDITIONS_EVERY", "8"))
"""Every how many of the others are asked: all of them, with 1, take half an hour."""
ROUNDS = 4
"""How many times a plan may name something more: a fix stops at the first thing that it meets."""


def clear_the_way(database: Database, actor: Actor) -> None:
    """Do as the plan says until nothing stops the rollout."""
    for _ in range(ROUNDS):
        obstacles = rollouts.stops(database)
        if not obstacles:
            return
        statements = rollouts.statements_that_help(obstacles)
        assert statements, f"no statement helps: {[str(obstacle) for obstacle in obstacles]}"
        for statement in statements:
            database.run(statement, actor)
    pytest.fail(f"still stopped: {[str(obstacle) for obstacle in obstacles]}", pytrace=False)


@pytest.mark.parametrize(
    "addition",
    [
        pytest.param(addition, id=addition.id, marks=[] if addition.id in QUICK else [pytest.mark.slow])
        for place, addition in enumerate(FROM_V1)
        if addition.id in QUICK or place % EVERY == 0
    ],
)
def test_goes_the_way_of_the_fixes_or_is_named(addition: Addition) -> None:
    with database_at("v1") as database:
        database.run(addition.add, addition.actor)
        clear_the_way(database, addition.actor)
        assert not (stop := rollouts.fixes_stop(database)), f"the rollout goes where a fix stops: {stop}"
        if wrong := rollouts.wrong_with(database):
            pytest.fail("\n".join(wrong), pytrace=False)


# --- More kinds ---------------------------------------------------------------------------------------------------

MORE = re.findall(
    r"^-- ([^\n(]+?)(?: \(([^)]*)\))?\n(.*?)(?=^-- |\Z)",
    (ROOT / "tests" / "rollout_additions.sql").read_text().split("\n", 1)[1],
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize(
    ("marks", "add"),
    [
        pytest.param(marks, add, id=name.replace(" ", "_"), marks=[] if "quick" in marks else [pytest.mark.slow])
        for name, marks, add in MORE
    ],
)
def test_more_kinds_go_there_and_back_or_are_named(marks: str, add: str) -> None:
    with database_at("v1", "dirty") as database:
        database.run(add, ADMIN if "as admin" in marks else OWNER)
        clear_the_way(database, ADMIN)
        assert not (stop := rollouts.fixes_stop(database)), f"the rollout goes where a fix stops: {stop}"
        if wrong := rollouts.wrong_with(database, ways=("linked", "back", "switch")):
            pytest.fail("\n".join(wrong), pytrace=False)


def test_owner_may_have_a_quoted_name_and_a_login_may_be_a_member() -> None:
    with roles('"Team-Owner"', "wb_member"), database_at("v1", "dirty") as database:
        database.run(
            """
            do $$
            declare
                ours record;
            begin
                grant "Team-Owner" to wb_member;
                alter role wb_member login;
                execute format('grant create on database %I to "Team-Owner"', current_database());
                grant usage on schema auth to "Team-Owner";
                grant select, references, trigger on auth.users to "Team-Owner";
                grant usage, create on schema extensions, public to "Team-Owner";
                for ours in
                    select oid::regclass as name from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
                loop
                    execute format('alter table %s owner to "Team-Owner"', ours.name);
                end loop;
                for ours in select oid::regprocedure as name from pg_proc where pronamespace = 'public'::regnamespace loop
                    execute format('alter function %s owner to "Team-Owner"', ours.name);
                end loop;
            end;
            $$""",
            ADMIN,
        )
        before, unchanged = rehearsal.definition(database), database.copy()
        since = str(database.value("select now()", ADMIN))
        url = psycopg.conninfo.make_conninfo(database.url, user="wb_member")
        with rollout.Runner(url) as runner, runner.alone():
            assert rollout.obstacles(runner) == []
            steps.start(runner, rehearsal.quiet)
            steps.copy(runner, rehearsal.quiet)
            steps.switch(runner, rehearsal.quiet)
            steps.back(runner, rehearsal.quiet)
        database.run("drop schema rollout_kept cascade", ADMIN)
        assert rollouts.difference(before, rehearsal.definition(database)) == []
        assert rehearsal.differences(unchanged, database, since) == []
        unchanged.drop()


def test_settings_of_the_database_change_nothing() -> None:
    settings = {
        "timezone": "America/New_York", "datestyle": "German", "intervalstyle": "sql_standard", "bytea_output": "escape",
        "default_transaction_isolation": "serializable", "statement_timeout": "1s", "lock_timeout": "1ms",
        "search_path": "auth", "check_function_bodies": "off", "standard_conforming_strings": "off",
        "default_transaction_read_only": "on", "client_encoding": "latin1",
    }  # fmt: skip
    with database_at("v1", "dirty") as database, database_at("v1", "dirty") as other:
        database.run(
            "; ".join(f"alter database \"{database.name}\" set {name} = '{value}'" for name, value in settings.items()), ADMIN
        )
        since = str(other.value("select now()", ADMIN))
        rollouts.roll(database)
        with psycopg.connect(database.url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
            connection.execute(f'alter database "{database.name}" reset all')
        apply_all(other)
        assert rollouts.difference(rehearsal.definition(other), rehearsal.definition(database)) == []
        assert rehearsal.differences(other, database, since) == []


LATE = {
    "view": "create view late as select id from public.sessions",
    "policy": "create table notes (id uuid); "
    "create policy late on notes using (exists (select from public.sessions as s where s.id = notes.id))",
    "function": "create function late() returns setof public.messages language sql as 'select * from public.messages'",
    "trigger": "create table homework (updated_at timestamptz); create trigger late before update on homework "
    "for each row execute function public.update_updated_at_column()",
    "publication": "create publication late for all tables",
    "publication of one": "create publication late for table public.messages (id, content)",
}


@pytest.mark.parametrize("kind", LATE)
def test_what_comes_after_the_start_stops_the_switch(kind: str) -> None:
    with database_at("v1") as database, rollout.Runner(rollouts.url_of(database)) as runner, runner.alone():
        steps.start(runner, rehearsal.quiet)
        steps.copy(runner, rehearsal.quiet)
        database.run(LATE[kind], ADMIN)
        with pytest.raises(rollout.Refused, match=r"^The switch is refused"):
            steps.switch(runner, rehearsal.quiet)
        steps.abort(runner, rehearsal.quiet)
