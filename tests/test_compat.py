"""Old clients during a rollout: v1's shape over v1 and over v2, statement by statement, and what nobody gets in by it."""

import csv
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest
import workbook as wb
from helpers import Rehearsal
from workbook import ADMIN, ANNA, ANON, BEN, OWNER, SERVICE, Actor, Database, clients, fixes
from workbook.actors import NAMES
from workbook.database import Transaction, driver
from workbook.paths import DATA, SQL

pytestmark = pytest.mark.slow

TABLES = ("profiles", "scenarios", "sessions", "messages", "logs")
JOBS = ("delete_expired_sessions", "delete_old_logs", "reset_weekly_limits")
OVER_V1 = (SQL / "rollout" / "compat_over_v1.sql").read_text()
OVER_V2 = (SQL / "rollout" / "compat_over_v2.sql").read_text()
OLD_PATH = "set local search_path = compat_v1, public, extensions"

MESSAGE = "insert into messages (session_id, role, chat_type, content) values (:anna_open, '{}', '{}', 'Ja, gern.')"
LOG = "insert into logs (id, level, event_type, metadata, created_at) values (:reply, 'info', 'user_logout', {}, {})"
SESSION = "delete from sessions where id = :anna_open; insert into sessions (user_id, scenario_id{}) values (:anna, 1{})"
ON_ANNA_OPEN = "update sessions set {} where id = :anna_open"
SCENARIO_KEY = "23503 sessions_scenario_id_fkey"
EVENT_CHECK, EVENT_KEY = "23514 logs_event_type_check", "23503 logs_event_type_fkey"
EMAIL_CHECK = "23514 profiles_email_while_living"


@dataclass(frozen=True)
class Answered:
    """A row of data/compat.csv; the fields are its columns."""

    id: str
    answer: str
    """What compat_v1 answers after the switch: same (as v1), a SQLSTATE, other rows or no rows."""
    why: str


with open(DATA / "compat.csv", newline="") as file:
    ANSWERS = {row["id"]: Answered(**row) for row in csv.DictReader(file)}

CLIENTS = {client.id: client for client in clients.declared()}
BEFORE_THE_SWITCH = {
    **dict.fromkeys(("rpc-reset", "rpc-expire", "rpc-old-logs"), "42501"),
    **dict.fromkeys(("backend-truncate", "job-fails"), "42809"),
}
"""What compat_v1 does not answer as v1 while it stands over v1: jobs are the backend's, and a view is no table."""


def message_with(names: str, values: str) -> str:
    """Return the statement that sends a message of the learner's with more columns."""
    return (
        MESSAGE.format("user", "main")
        .replace("content)", f"content, {names})")
        .replace("'Ja, gern.')", f"'Ja, gern.', {values})")
    )


def in_old_words(statement: str) -> str:
    """Take `public.` from what compat_v1 has too; what else lies in public is meant."""
    return re.sub(rf"\bpublic\.({'|'.join(TABLES + JOBS)})\b", r"\1", statement)


# --- The databases --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def v1() -> Database:
    return clients.v1()


@pytest.fixture(scope="module")
def over_v1(v1: Database) -> Database:
    database = v1.copy()
    database.run(OVER_V1)
    return database


@pytest.fixture(scope="module")
def over_v2(v1: Database) -> Database:
    """v2 as a rollout leaves it: the views were made over the tables when those lay in the schema rollout_new."""
    database = v1.copy()
    database.apply_up_to(fixes.all_fixes()[-1].number)
    there = "; ".join(f"alter table public.{table} set schema rollout_new" for table in TABLES)
    back = "; ".join(f"alter table rollout_new.{table} set schema public" for table in TABLES)
    database.run(f"create schema rollout_new; {there}")
    with database.connect() as connection, connection.transaction():
        connection.execute("set local role workbook_owner")
        connection.execute(OVER_V2)
    database.run(f"{back}; alter schema rollout_compat rename to compat_v1; drop schema rollout_new")
    return database


class OldClients(Rehearsal):
    """Actors whose search_path begins with compat_v1."""

    @contextmanager
    def turn(self, actor: Actor = OWNER, login: str | None = None) -> Iterator[Transaction]:
        """Act as somebody in v1's words; see `Rehearsal.turn`."""
        with super().turn(actor, login) as turn:
            turn.run(OLD_PATH)
            yield turn


@contextmanager
def _old_clients(database: Database) -> Iterator[OldClients]:
    with database.engine.connect() as connection, driver(connection).transaction(force_rollback=True):
        yield OldClients(connection)


@pytest.fixture
def old(over_v2: Database) -> Iterator[OldClients]:
    with _old_clients(over_v2) as actors:
        yield actors


@pytest.fixture(params=["v1", "v2"])
def both(request: pytest.FixtureRequest) -> Iterator[OldClients]:
    """compat_v1 before the switch, and after it."""
    with _old_clients(request.getfixturevalue(f"over_{request.param}")) as actors:
        yield actors


def is_v2(actors: OldClients) -> bool:
    """Tell whether the switch has been."""
    return actors.value("select to_regtype('public.message_role') is not null")


def answer(database: Database, statement: str, actor: Actor, path: str) -> clients.Answer:
    """Send a statement on a connection of its own, with a search_path."""
    with database.connect() as connection:
        connection.execute(f"set search_path = {path}")
        return clients.answer(connection, statement, actor)


# --- What old clients send ------------------------------------------------------------------------------------


class TestClients:
    def test_list_has_each_statement_once_and_says_why(self) -> None:
        assert list(ANSWERS) == list(CLIENTS)
        assert (DATA / "compat.csv").read_text().count("\n") == len(CLIENTS) + 1
        for row in ANSWERS.values():
            assert re.fullmatch(r"same|no rows|other rows|[0-9A-Z]{5}", row.answer), row
            assert re.fullmatch(r"[A-Z\w].*\.", row.why), row

    @pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
    def test_is_answered_as_by_v1_before_the_switch(self, v1: Database, over_v1: Database, client: clients.Client) -> None:
        actor = clients.ACTORS[client.who]
        reference = answer(v1, client.statement, actor, "public, extensions")
        now = answer(over_v1, in_old_words(client.statement), actor, "compat_v1, public, extensions")
        assert now.differs_from(reference) == BEFORE_THE_SWITCH.get(client.id, "")

    @pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
    def test_is_answered_as_listed_after_it(self, v1: Database, over_v2: Database, client: clients.Client) -> None:
        actor = clients.ACTORS[client.who]
        reference = answer(v1, client.statement, actor, "public, extensions")
        now = answer(over_v2, in_old_words(client.statement), actor, "compat_v1, public, extensions")
        assert now.differs_from(reference) == ANSWERS[client.id].answer.removeprefix("same")
        if now.rows and reference.rows:
            assert list(now.rows[0]) == list(reference.rows[0])

    def test_what_works_on_v2_works_here_but_for_a_target_of_on_conflict(self) -> None:
        worse = {name for name, client in CLIENTS.items() if not client.until and ANSWERS[name].answer != "same"}
        assert worse == {"backend-retry-late"}
        assert sum(row.answer == "same" for row in ANSWERS.values()) >= 30


# --- Shape ----------------------------------------------------------------------------------------------------

COLUMNS = """
    select relname::text, attname::text, format_type(atttypid, atttypmod), attcollation::regcollation::text
    from pg_attribute
    join pg_class on pg_class.oid = attrelid
    where relnamespace = '{}'::regnamespace and relname = any (:tables) and attnum > 0 and not attisdropped
    order by relname, attnum"""
SIGNATURES = """
    select oid::regprocedure::text as name, pg_get_function_result(oid) as result
    from pg_proc
    where pronamespace = '{}'::regnamespace and proname = any (:jobs)
    order by 1"""


class TestShape:
    def test_is_v1s(self, v1: Database, both: OldClients) -> None:
        wanted = v1.run(COLUMNS.format("public"), ADMIN, tables=list(TABLES)).values.tolist()
        assert both.run(COLUMNS.format("compat_v1"), ADMIN, tables=list(TABLES)).values.tolist() == wanted

    def test_of_the_jobs_is_v1s(self, v1: Database, both: OldClients) -> None:
        wanted = v1.run(SIGNATURES.format("public"), jobs=list(JOBS)).values.tolist()
        assert both.run(SIGNATURES.format("compat_v1"), jobs=list(JOBS)).values.tolist() == wanted
        assert len(wanted) == len(JOBS)

    def test_each_view_asks_as_its_caller_and_no_function_is_a_definer(self, both: OldClients) -> None:
        options = both.run("select reloptions from pg_class where relnamespace = 'compat_v1'::regnamespace", ADMIN)
        assert options["reloptions"].tolist() == [["security_invoker=true"]] * len(TABLES)
        assert both.value("select not bool_or(prosecdef) from pg_proc where pronamespace = 'compat_v1'::regnamespace", ADMIN)

    def test_no_function_says_the_name_of_its_schema_and_all_set_their_search_path(self, both: OldClients) -> None:
        functions = both.run(
            "select proname, prosrc, proconfig::text as config from pg_proc where pronamespace = 'compat_v1'::regnamespace", ADMIN
        )
        for function in functions.itertuples():
            assert not re.search(r"\b(compat_v1|rollout|rollout_new|rollout_compat)\b", function.prosrc), function.proname
            assert "search_path=" in function.config, function.proname

    def test_every_object_has_a_comment(self, both: OldClients) -> None:
        silent = both.run(
            """
            select what.oid::text
            from (
                select oid, 'pg_class' as catalog from pg_class where relnamespace = 'compat_v1'::regnamespace
                union all
                select oid, 'pg_proc' from pg_proc where pronamespace = 'compat_v1'::regnamespace
                union all
                select oid, 'pg_namespace' from pg_namespace where nspname = 'compat_v1'
                union all
                select pg_trigger.oid, 'pg_trigger' from pg_trigger
                join pg_class on pg_class.oid = tgrelid where relnamespace = 'compat_v1'::regnamespace
            ) as what
            where obj_description(what.oid, what.catalog) is null""",
            ADMIN,
        )
        assert len(silent) == 0


# --- Who may what ---------------------------------------------------------------------------------------------

FOUND = {**dict.fromkeys(TABLES, "id = :reply"), "profiles": "id = :anna", "scenarios": "id = 900", "sessions": "id = :anna_open"}
CHANGE = {
    "profiles": "current_week_completion_count = 0",
    "scenarios": "title = 'Changed'",
    "sessions": "is_completed = true",
    "messages": "content = content",
    "logs": "level = 'warn'",
}
NEW = {
    "profiles": "(id, email, week_reset_date) values (:cem, 'cem@example.org', now())",
    "scenarios": "(id, title, emoji, initial_message_main, initial_message_helper) values (901, 'New', '🧪', '', '')",
    "sessions": "(user_id, scenario_id) values (:anna, 2)",
    "messages": "(session_id, role, chat_type, content) values (:anna_open, 'user', 'main', 'Ja')",
    "logs": "(level, event_type, user_id) values ('info', 'user_logout', :anna)",
}
STATEMENTS = {
    "select": "select id from {table} where {found}",
    "insert": "insert into {table} {new}",
    "update": "update {table} set {change} where {found}",
    "delete": "delete from {table} where {found}",
}
VISITORS = {"Anna, her own": ANNA, "Ben, Anna's": BEN, "visitor": ANON, "service role": SERVICE}
NOBODY_SENDS = {("scenarios", "insert"): "23502"}
"""What the privilege allows and v1 has no words for."""


@pytest.fixture
def gridded(old: OldClients) -> OldClients:
    """A message, a log and a scenario of the test's own."""
    old.run("insert into public.logs (id, level, event_type, user_id) values (:reply, 'info', 'user_logout', :anna)", SERVICE)
    old.run(
        "insert into public.messages (id, session_id, role, chat_type, content)"
        " values (:reply, :anna_open, 'assistant', 'main', 'Vier')",
        SERVICE,
    )
    old.run(
        "insert into public.scenarios (id, code, title, emoji, initial_message_main, initial_message_helper)"
        " values (900, 'grid', 'For the grid', '🧪', '', '')",
        SERVICE,
    )
    return old


class TestPrivileges:
    @pytest.mark.parametrize("table", TABLES)
    def test_are_those_of_v2(self, gridded: OldClients, table: str) -> None:
        expected = wb.expected_privileges()
        for command, words in STATEMENTS.items():
            statement = words.format(table=table, found=FOUND[table], new=NEW[table], change=CHANGE[table])
            for visitor, actor in VISITORS.items():
                with gridded.aside():
                    if (table, command) == ("sessions", "insert"):
                        gridded.run("update public.sessions set is_completed = true where id = :anna_open", SERVICE)
                    outcome = gridded.outcome(statement, actor)
                attempt = f"{visitor}: {statement}: {outcome}"
                if not expected[table, command, visitor]:
                    assert outcome in ("42501", "0 rows", "UPDATE 0", "DELETE 0"), attempt
                elif (table, command) in NOBODY_SENDS:
                    assert outcome == NOBODY_SENDS[table, command], attempt
                else:
                    assert outcome in ("INSERT 0 1", "UPDATE 1", "DELETE 1") or command == "select" and outcome != "0 rows", (
                        attempt
                    )

    @pytest.mark.parametrize("table", TABLES)
    def test_nobody_empties_a_view(self, old: OldClients, table: str) -> None:
        assert {old.outcome(f"truncate {table}", actor) for actor in VISITORS.values()} <= {"42501", "42809"}

    def test_are_no_more_than_v2s_also_where_everything_is_granted_here(self, gridded: OldClients) -> None:
        """The second lock: what the tables refuse is refused through the views, whatever those allow."""
        gridded.run("grant all on all tables in schema compat_v1 to anon, authenticated")
        gridded.run("grant execute on all functions in schema compat_v1 to anon, authenticated")
        expected = wb.expected_privileges()
        for table in TABLES:
            for command, words in STATEMENTS.items():
                statement = words.format(table=table, found=FOUND[table], new=NEW[table], change=CHANGE[table])
                for visitor, actor in VISITORS.items():
                    if not expected[table, command, visitor]:
                        with gridded.aside():
                            outcome = gridded.outcome(statement, actor)
                        assert outcome in ("42501", "0 rows", "UPDATE 0", "DELETE 0"), f"{visitor}: {statement}: {outcome}"

    @pytest.mark.parametrize("job", JOBS)
    def test_jobs_are_the_backends(self, both: OldClients, job: str) -> None:
        assert both.outcome(f"select {job}()", ANNA) == both.outcome(f"select {job}()", ANON) == "42501"
        assert both.outcome(f"select {job}()", SERVICE).isdigit()

    def test_no_trigger_function_is_anybodys(self, old: OldClients) -> None:
        open_to = old.run(
            """
            select proname, role
            from pg_proc
            cross join unnest(array['anon', 'authenticated', 'service_role']) as role
            where pronamespace = 'compat_v1'::regnamespace and has_function_privilege(role, pg_proc.oid, 'execute')
            order by 1, 2""",
            ADMIN,
        )
        assert open_to.values.tolist() == [
            *([job, "service_role"] for job in JOBS),
            ["whole_scenario", "authenticated"],
            ["whole_scenario", "service_role"],
        ]


class TestVisitor:
    @pytest.mark.parametrize(
        "statement",
        [
            "select id, title, emoji from scenarios where is_active",
            "select id, title, emoji from scenarios where is_active = true order by title limit 20 offset 0",
            "select one.title from scenarios as one join scenarios as other using (id) where other.is_active",
            "with source as (select scenarios.id, scenarios.title from compat_v1.scenarios) select json_agg(source) from source",
            "select count(id) from scenarios",
        ],
    )
    @pytest.mark.parametrize("plan", ["auto", "force_generic_plan"])
    def test_reads_what_v2_shows(self, old: OldClients, statement: str, plan: str) -> None:
        with old.turn(ANON) as visitor:
            visitor.run(f"set local plan_cache_mode = {plan}")
            rows = visitor.run(statement)
        assert len(rows) == 3 or len(rows) == 1
        assert "Bakery" not in rows.to_string()

    @pytest.mark.parametrize("column", ["initial_message_main", "initial_message_helper", "created_at"])
    @pytest.mark.parametrize(
        "statement",
        [
            "select {} from scenarios",
            "select id from scenarios where {}::text like 'Guten%'",
            "select id from scenarios order by {}",
            "select count({}) from scenarios",
            "select id, (select scenarios.{} limit 1) from scenarios",
            "select id from scenarios group by id, {}",
        ],
    )
    @pytest.mark.parametrize("is_granted", [False, True], ids=["as it is", "granted"])
    def test_reads_nothing_else(self, old: OldClients, statement: str, column: str, is_granted: bool) -> None:
        if is_granted:
            old.run(
                "grant select on all tables in schema compat_v1 to anon;"
                " grant execute on all functions in schema compat_v1 to anon"
            )
        assert old.outcome(statement.format(column), ANON) == "42501"

    @pytest.mark.parametrize(
        "statement",
        [
            "select * from scenarios",
            "select scenarios from scenarios",
            "select to_jsonb(scenarios) from scenarios",
            "select initial_message_main from whole_scenario(1)",
            "select (compat_v1.whole_scenario(4)).title",
            "select count(*) from profiles",
            "select count(*) from messages",
            "select count(*) from logs",
            "update scenarios set title = 'x'",
            "delete from scenarios where is_active",
        ],
    )
    def test_is_refused_all_at_once_too(self, old: OldClients, statement: str) -> None:
        assert old.outcome(statement, ANON) == "42501"

    def test_condition_of_its_own_sees_no_row_that_is_hidden(self, old: OldClients) -> None:
        """A function that tells what it is given runs on active rows only, however cheap it claims to be."""
        old.run(
            "create function public.tell(text) returns boolean language plpgsql cost 0.0000001 as"
            " $$ begin raise notice '%', $1; return true; end $$; grant execute on function public.tell(text) to anon"
        )
        told: list[str] = []
        old.connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        old.run("select id from scenarios where tell(title)", ANON)
        assert len(told) == 3 and "Bakery" not in told

    def test_learner_reads_all_of_it(self, old: OldClients) -> None:
        scenarios = old.run("select * from scenarios order by id", ANNA)
        assert scenarios["title"].tolist()[-1] == "Bakery"
        assert scenarios["initial_message_main"].str.len().min() > 0
        assert old.run("select * from scenarios order by id", SERVICE).equals(scenarios)


# --- Attacks --------------------------------------------------------------------------------------------------


class TestLearner:
    @pytest.mark.parametrize(
        "statement",
        [
            MESSAGE.format("user", "main"),
            MESSAGE.format("user", "main").replace(":anna_open", ":anna_done"),
            MESSAGE.format("user", "main").replace(":anna_open", "gen_random_uuid()"),
            "insert into sessions (user_id, scenario_id) values (:anna, 1)",
            "insert into sessions (user_id, scenario_id, is_completed) values (:anna, 1, false)",
            "insert into sessions (user_id, scenario_id) values (:cem, 1)",
        ],
    )
    def test_hears_nothing_of_another(self, old: OldClients, statement: str) -> None:
        refusal = old.refused(statement, BEN, code="42501")
        assert "Anna" not in repr(refusal)

    @pytest.mark.parametrize("table", TABLES)
    def test_sees_the_rows_that_v2_shows(self, old: OldClients, table: str) -> None:
        ids = f"select id::text from {{}}.{table} order by 1"
        for actor in (ANNA, BEN, Actor("nobody", "authenticated")):
            assert old.run(ids.format("compat_v1"), actor).equals(old.run(ids.format("public"), actor))

    def test_finds_no_row_of_another_to_write(self, old: OldClients) -> None:
        for change in (
            "is_completed = true",
            "last_activity_at = now()",
            "is_completed = is_completed",
            f"user_id = '{BEN.user_id}'",
        ):
            assert old.outcome(ON_ANNA_OPEN.format(change), BEN) == "UPDATE 0"
        assert old.outcome("delete from sessions where id = :anna_open", BEN) == "DELETE 0"

    @pytest.mark.parametrize("role", ["scenario", "helper"])
    def test_does_not_speak_as_another(self, old: OldClients, role: str) -> None:
        chat = "main" if role == "scenario" else "helper"
        assert old.outcome(MESSAGE.format(role, chat), ANNA) == "42501"
        assert old.outcome(MESSAGE.format("assistant", "main"), ANNA) == "23514"

    @pytest.mark.parametrize(
        "column",
        [
            ("id", ":reply"),
            ("timestamp", "now()"),
            ("timestamp", "'2020-01-01'"),
            ("created_at", "now()"),
        ],
    )
    def test_chooses_no_id_and_no_moment_of_a_message(self, old: OldClients, column: tuple[str, str]) -> None:
        name, value = column
        assert old.outcome(message_with(name, value), ANNA) == "42501"

    @pytest.mark.parametrize(
        "change",
        [
            "message_count_main = 99",
            "message_count_helper = message_count_helper + 1",
            "duration_seconds = 1",
            "started_at = now()",
            "started_at = '2020-01-01', created_at = '2020-01-01'",
            "id = :reply",
            "user_id = :ben",
            "scenario_id = 2",
            "completed_at = '2020-01-15T10:00:00Z'",
            "completed_at = 'infinity'",
            "last_activity_at = '2999-01-01'",
            "last_activity_at = 'infinity'",
            "last_activity_at = now() - interval '1 hour'",
            "last_activity_at = null",
            "is_completed = true, message_count_main = 99",
            "is_completed = true, last_activity_at = 'infinity'",
            "is_completed = true, started_at = '2020-01-01'",
            "is_completed = true, user_id = :ben",
        ],
    )
    def test_writes_no_count_and_no_moment_of_a_session(self, old: OldClients, change: str) -> None:
        assert old.outcome(ON_ANNA_OPEN.format(change), ANNA) == "42501"

    @pytest.mark.parametrize(
        "more",
        [
            (", message_count_main", ", 99"),
            (", started_at", ", '2020-01-01'"),
            (", created_at", ", now()"),
            (", last_activity_at", ", '2999-01-01'"),
            (", is_completed", ", true"),
            (", is_completed, completed_at", ", true, now()"),
            (", completed_at", ", now()"),
            (", duration_seconds", ", 0"),
            (", id", ", :anna_next"),
        ],
    )
    def test_starts_no_session_with_more_than_v2_lets_it(self, old: OldClients, more: tuple[str, str]) -> None:
        assert old.outcome(SESSION.format(*more), ANNA) == "42501"

    def test_starts_one_with_the_defaults(self, old: OldClients) -> None:
        defaults = {
            "is_completed": "false",
            "message_count_main": "0",
            "message_count_helper": "0",
            "completed_at": "null",
            "duration_seconds": "null",
            "last_activity_at": "now()",
            "updated_at": "now()",
        }
        names, values = ", ".join(defaults), ", ".join(defaults.values())
        old.run("delete from sessions where id = :anna_open", ANNA)
        started = old.run(
            f"insert into sessions (user_id, scenario_id, {names}) values (:anna, 1, {values})"
            " returning is_completed, message_count_main, last_activity_at = now() and created_at = started_at as is_now",
            ANNA,
        )
        assert started.values.tolist() == [[False, 0, True]]

    def test_completes_by_the_servers_clock_whatever_it_sends(self, old: OldClients) -> None:
        done = old.run(
            ON_ANNA_OPEN.format(
                "is_completed = true, completed_at = '2020-01-01', duration_seconds = 7, updated_at = '2020-01-01'"
            )
            + " returning completed_at > now() as is_servers, updated_at = now() as is_now,"
            " duration_seconds = extract(epoch from completed_at - started_at)::integer as is_true",
            ANNA,
        )
        assert done.values.tolist() == [[True, True, True]]
        first = old.value("select completed_at from sessions where id = :anna_open", ANNA)
        again = ON_ANNA_OPEN.format("is_completed = true, completed_at = now(), duration_seconds = 9")
        assert old.outcome(again, ANNA) == "UPDATE 1"
        assert old.value("select completed_at from sessions where id = :anna_open", ANNA) == first
        assert old.outcome(ON_ANNA_OPEN.format("completed_at = '2020-01-01', duration_seconds = 9"), ANNA) == "42501"
        assert old.outcome(ON_ANNA_OPEN.format("is_completed = false"), ANNA) == "PT409"

    def test_erased_account_writes_nothing(self, old: OldClients) -> None:
        old.run("select erase_user(:ben)", SERVICE)
        for statement in (
            "update sessions set is_completed = true",
            "update sessions set last_activity_at = now()",
            "delete from sessions",
        ):
            assert old.outcome(statement, BEN) in ("UPDATE 0", "DELETE 0")
        assert old.outcome("insert into sessions (user_id, scenario_id) values (:ben, 1)", BEN) == "42501"
        assert old.value("select count(*) from profiles", BEN) == 0

    @pytest.mark.parametrize("setting", ["row_security = off", "datestyle = 'SQL, DMY'", "timezone = 'Asia/Kolkata'"])
    def test_setting_opens_nothing(self, old: OldClients, setting: str) -> None:
        with pytest.raises(psycopg.errors.InsufficientPrivilege), old.turn(ANNA) as anna:
            anna.run(f"set local {setting}")
            anna.run(ON_ANNA_OPEN.format("message_count_main = 99"))
        with suppress(psycopg.errors.InsufficientPrivilege), old.turn(BEN) as ben:
            ben.run(f"set local {setting}")
            assert ben.run(ON_ANNA_OPEN.format("is_completed = true")) == "UPDATE 0"

    def test_shadows_nothing(self, old: OldClients) -> None:
        """Temporary tables, types and functions of the caller's own: the triggers look into public and nowhere else."""
        with old.turn(ANNA) as anna:
            anna.run("""
                create temporary table sessions (like public.sessions);
                create temporary table messages (like public.messages);
                create temporary table scenarios (like public.scenarios);
                create domain pg_temp.text as pg_catalog.text check (value is null);
                create domain pg_temp.bool as pg_catalog.text check (value is null);
                create domain pg_temp.timestamptz as pg_catalog.text check (value is null);
                create domain pg_temp.int4 as pg_catalog.text check (value is null);
                create domain pg_temp.message_role as pg_catalog.text check (value is null);
                create function pg_temp.row_security_active(pg_catalog.text) returns boolean language sql return false""")
            assert anna.run("update compat_v1.sessions set last_activity_at = now()") == "UPDATE 2"
            assert anna.run(MESSAGE.format("user", "main").replace("messages", "compat_v1.messages", 1)) == "INSERT 0 1"
            assert anna.value("select count(initial_message_main) from compat_v1.scenarios") == 4
            assert anna.value("select count(*) from pg_temp.messages") == 0
        assert old.value("select role from compat_v1.messages where content = 'Ja, gern.'", ANNA) == "user"
        forged = "update compat_v1.sessions set message_count_main = 99"
        assert old.outcome(forged, ANNA) == "42501"

    @pytest.mark.parametrize("function", ["write_row", "understand_session", "understand_message"])
    def test_hangs_no_trigger_function_on_a_table_of_its_own(self, old: OldClients, function: str) -> None:
        own = (
            "create temporary view profiles as select * from compat_v1.profiles; create trigger mine instead of update"
            f" on pg_temp.profiles for each row execute function compat_v1.{function}('{{}}', 'id')"
        )
        assert old.outcome(own, ANNA) == "42501"

    def test_client_by_another_name_is_one_too(self, old: OldClients) -> None:
        old.run("create role wb_old_app; grant authenticated to wb_old_app", ADMIN)
        app = Actor("app", "wb_old_app", ANNA.user_id)
        assert old.outcome(ON_ANNA_OPEN.format("last_activity_at = now()"), app) == "UPDATE 1"
        assert old.outcome(ON_ANNA_OPEN.format("message_count_main = 99"), app) == "42501"
        assert old.outcome(ON_ANNA_OPEN.format("is_completed = true"), Actor("app", "wb_old_app", BEN.user_id)) == "UPDATE 0"


# --- What is written, and comes back --------------------------------------------------------------------------


class TestWriting:
    @pytest.mark.parametrize(("role", "chat"), [("user", "main"), ("user", "helper"), ("scenario", "main"), ("helper", "helper")])
    def test_role_comes_back_in_v1s_words(self, both: OldClients, role: str, chat: str) -> None:
        sent = both.run(MESSAGE.format(role, chat) + " returning *", SERVICE)
        assert list(sent.columns) == ["id", "session_id", "role", "chat_type", "content", "timestamp", "created_at"]
        (row,) = sent.to_dict("records")
        assert (row["role"], row["chat_type"], row["content"]) == (role, chat, "Ja, gern.")
        assert row["timestamp"] is not None and both.run("select * from messages where id = :id", ANNA, id=row["id"]).equals(sent)

    @pytest.mark.parametrize(("role", "chat"), [("scenario", "main"), ("helper", "helper")])
    def test_role_is_stored_in_v2s_words(self, old: OldClients, role: str, chat: str) -> None:
        old.run(MESSAGE.format(role, chat), SERVICE)
        stored = old.run("select role::text, chat_type::text from public.messages where content = 'Ja, gern.'", SERVICE)
        assert stored.values.tolist() == [["assistant", chat]]

    @pytest.mark.parametrize(
        ("role", "chat", "name"),
        [
            ("assistant", "main", "messages_role_check"),
            ("User", "main", "messages_role_check"),
            ("", "main", "messages_role_check"),
            ("user", "side", "messages_chat_type_check"),
            ("scenario", "helper", "messages_role_chat_type_valid"),
            ("helper", "main", "messages_role_chat_type_valid"),
        ],
    )
    def test_unknown_word_is_refused_by_v1s_name(self, both: OldClients, role: str, chat: str, name: str) -> None:
        # v1 took every role in every chat.
        if name == "messages_role_chat_type_valid" and not is_v2(both):
            assert both.outcome(MESSAGE.format(role, chat), SERVICE) == "INSERT 0 1"
            return
        refusal = both.refused(MESSAGE.format(role, chat), SERVICE, code="23514")
        assert refusal.name == name

    @pytest.mark.parametrize(
        ("statement", "by_v1", "by_v2"),
        [
            (MESSAGE.format("user", "main").replace("'Ja, gern.'", "null"), "23502", ""),
            ("update sessions set scenario_id = null where id = :anna_open", "23502", ""),
            ("update profiles set completed_scenario_count = -1", "23514 profiles_completed_scenario_count_check", ""),
            ("insert into logs (level, event_type) values ('fatal', 'user_logout')", "23514 logs_level_check", ""),
            ("insert into sessions (id, user_id, scenario_id) values (:anna_done, :anna, 1)", "23505 sessions_pkey", ""),
            ("insert into sessions (user_id, scenario_id, is_completed) values (:anna, 77, true)", SCENARIO_KEY, ""),
            # v2 knows more reasons.
            ("insert into messages (role, chat_type, content) values ('user', 'main', 'x')", "23502", "23503"),
            ("insert into messages default values", "23502", "23503"),
            ("insert into profiles (id, email, week_reset_date) values (:cem, null, now())", "23502", EMAIL_CHECK),
            ("insert into logs (level, event_type) values ('info', 'unheard_of')", EVENT_CHECK, EVENT_KEY),
        ],
    )
    def test_errors_have_v1s_names(self, both: OldClients, statement: str, by_v1: str, by_v2: str) -> None:
        code, _, name = (by_v2 if by_v2 and is_v2(both) else by_v1).partition(" ")
        refusal = both.refused(statement, SERVICE, code=code)
        assert not name or refusal.name == name

    @pytest.mark.parametrize(
        "moment",
        [
            "2020-02-29 23:59:59.999999+00",
            "infinity",
            "-infinity",
            "0044-03-15 12:00:00.000001+00 BC",
            "1890-01-01 00:00:00.5+00",
        ],
    )
    @pytest.mark.parametrize("settings", ["timezone = 'UTC'", "timezone = 'Europe/Amsterdam'; set local datestyle = 'SQL, DMY'"])
    def test_moments_are_kept_as_they_are(self, both: OldClients, moment: str, settings: str) -> None:
        value = f"timestamptz '{moment}'"
        message = (
            MESSAGE.format("scenario", "main").replace("content)", "content, timestamp)").replace("gern.')", f"gern.', {value})")
        )
        for statement, column in (
            (LOG.format("null", value), "created_at"),
            (message, "timestamp"),
            (f"update profiles set week_reset_date = {value} where id = :anna", "week_reset_date"),
            (ON_ANNA_OPEN.format(f"last_activity_at = {value}"), "last_activity_at"),
        ):
            with both.aside(), both.turn(SERVICE) as service:
                service.run(f"set local {settings}")
                returned = service.run(f"{statement} returning {column} = {value} as is_same")
                assert returned["is_same"].tolist() == [True], statement

    @pytest.mark.parametrize(
        ("sent", "stored"),
        [
            (("timestamp", "'2020-01-01'"), "2020-01-01"),
            (("created_at", "'2020-01-02'"), "2020-01-02"),
            (("timestamp, created_at", "'2020-01-01', '2020-01-02'"), "2020-01-01"),
        ],
    )
    def test_message_takes_timestamp_or_else_created_at(self, old: OldClients, sent: tuple[str, str], stored: str) -> None:
        found = old.run(f"{message_with(*sent)} returning timestamp::date::text as one, created_at::date::text as other", SERVICE)
        assert found.values.tolist() == [[stored, stored]]

    @pytest.mark.parametrize(
        "metadata", ["null", "'null'::jsonb", '\'{"a": 1.0, "b": "ä\\\\n"}\'::jsonb', "'\"x\"'::jsonb", "'{}'::jsonb"]
    )
    def test_metadata_is_kept_as_it_is(self, both: OldClients, metadata: str) -> None:
        same = f"metadata::text is not distinct from ({metadata})::text as is_same"
        assert both.run(LOG.format(metadata, "now()") + f" returning {same}", SERVICE)["is_same"].tolist() == [True]
        for before in ("null", "'null'::jsonb", "'{\"a\": 1}'::jsonb"):
            both.run(f"update logs set metadata = {before} where id = :reply", SERVICE)
            changed = both.run(f"update logs set metadata = {metadata} where id = :reply returning {same}", SERVICE)
            assert changed["is_same"].tolist() == [True]

    def test_text_is_kept_as_it_is(self, both: OldClients) -> None:
        text = "It's \\ a \"test\" — $1, %s, :x, {null}, NULL,\n\t'' ä 🥙"
        statement = MESSAGE.format("scenario", "main").replace("'Ja, gern.'", ":text") + " returning content"
        assert both.value(statement, SERVICE, text=text) == text
        assert both.value(statement, SERVICE, text="") == ""

    def test_several_rows_come_back_in_their_order(self, both: OldClients) -> None:
        rows = ", ".join(
            f"(:anna_open, '{role}', '{chat}', '{number}')"
            for number, (role, chat) in enumerate(
                [("user", "helper"), ("helper", "helper"), ("scenario", "main"), ("helper", "helper")]
            )
        )
        sent = both.run(
            f"insert into messages (session_id, role, chat_type, content) values {rows} returning role, content", SERVICE
        )
        assert sent.values.tolist() == [["user", "0"], ["helper", "1"], ["scenario", "2"], ["helper", "3"]]
        counts = both.run("select message_count_main, message_count_helper from sessions where id = :anna_open", ANNA)
        assert counts.values.tolist() == [[4, 3]]

    def test_several_rows_all_go_or_none(self, both: OldClients) -> None:
        rows = "(:anna_open, 'user', 'main', 'x'), (:anna_open, 'nobody', 'main', 'y')"
        statement = f"insert into messages (session_id, role, chat_type, content) values {rows}"
        assert both.outcome(statement, SERVICE) == "23514"
        assert both.value("select count(*) from messages where content = 'x'", SERVICE) == 0

    @pytest.mark.parametrize("table", TABLES)
    def test_update_that_changes_nothing_counts_its_rows(self, both: OldClients, table: str) -> None:
        for change in ("id = id", CHANGE[table].split(" = ")[0] + " = " + CHANGE[table].split(" = ")[0]):
            rows = both.value(f"select count(*) from {table}", SERVICE)
            before = both.value(f"select jsonb_agg(to_jsonb({table}) - 'updated_at' order by id) from {table}", SERVICE)
            assert both.outcome(f"update {table} set {change}", SERVICE) == f"UPDATE {rows}"
            after = both.value(f"select jsonb_agg(to_jsonb({table}) - 'updated_at' order by id) from {table}", SERVICE)
            assert after == before

    def test_update_dates_the_row(self, both: OldClients) -> None:
        for change in ("last_activity_at = now()", "updated_at = '2020-01-01'", "is_completed = is_completed"):
            assert both.value(ON_ANNA_OPEN.format(change) + " returning updated_at = now()", ANNA)

    def test_no_row_counts_as_none(self, both: OldClients) -> None:
        assert both.outcome("update sessions set is_completed = true where id = :anna_next", SERVICE) == "UPDATE 0"
        assert both.outcome("delete from messages where id = :reply", SERVICE) == "DELETE 0"

    def test_backend_writes_what_v2_lets_it(self, old: OldClients) -> None:
        assert old.outcome(ON_ANNA_OPEN.format("last_activity_at = now() - interval '8 days'"), SERVICE) == "UPDATE 1"
        assert old.value("select delete_expired_sessions()", SERVICE) == 1
        assert old.outcome("update scenarios set title = 'Market', is_active = false where id = 1", SERVICE) == "UPDATE 1"
        assert old.outcome("delete from logs where user_id = :anna", SERVICE).startswith("DELETE ")
        assert old.outcome("delete from messages where session_id = :anna_done", SERVICE) == "DELETE 5"
        assert old.outcome("delete from profiles where id = :ben", SERVICE) == "DELETE 1"
        imported = "insert into sessions (id, user_id, scenario_id, is_completed, started_at, completed_at, created_at)"
        values = " values (:anna_next, :anna, 1, true, '2020-01-01 10:00Z', '2020-01-01 10:01Z', '2020-01-01 10:00Z')"
        answer = " returning duration_seconds = 60 and created_at = started_at and id = :anna_next"
        assert old.value(imported + values + answer, SERVICE) is True

    @pytest.mark.parametrize(
        "change", ["content = 'x'", "timestamp = now()", "created_at = now()", "chat_type = 'helper', role = 'helper'"]
    )
    def test_message_stays_as_it_is(self, old: OldClients, change: str) -> None:
        assert (
            old.outcome(f"update messages set {change} where session_id = :anna_open and role = 'scenario'", SERVICE) == "23001"
        )

    def test_session_has_one_beginning(self, old: OldClients) -> None:
        assert old.outcome(ON_ANNA_OPEN.format("created_at = '2020-01-01'"), SERVICE) == "42703"
        both = ON_ANNA_OPEN.format("created_at = '2020-01-01', started_at = '2020-01-01'")
        assert old.value(both + " returning started_at = '2020-01-01'", SERVICE)

    def test_logs_of_one_id_are_told_apart(self, old: OldClients) -> None:
        """v2's key is the id and the moment, so v1's alone may name two rows."""
        for moment in ("'2020-01-15'", "'2021-01-15'"):
            assert old.value(LOG.format("null", moment) + f" returning created_at = {moment}", SERVICE) is True
        changed = (
            "update logs set level = 'warn' where id = :reply and created_at < '2021-01-01' returning created_at::date::text"
        )
        assert old.value(changed, SERVICE) == "2020-01-15"
        assert old.outcome("delete from logs where id = :reply and level = 'warn'", SERVICE) == "DELETE 1"
        assert old.value("select created_at::date::text from logs where id = :reply", SERVICE) == "2021-01-15"

    def test_triggers_of_a_teams_own_find_what_they_name(self, both: OldClients) -> None:
        both.run("""
            create table public.bells (message_id uuid);
            create function public.ring() returns trigger language plpgsql security definer as
            $$ begin insert into bells values (new.id); return null; end $$;
            create trigger ring after insert on public.messages for each row execute function public.ring()""")
        sent = both.value(MESSAGE.format("user", "main") + " returning id::text", ANNA)
        assert both.value("select message_id::text from public.bells") == sent


class TestDuplicate:
    PLAIN = LOG.format("null", "'2020-01-15'")
    SKIPPED = f"{PLAIN} on conflict do nothing"

    @pytest.fixture
    def sent(self, both: OldClients) -> OldClients:
        assert both.outcome(self.SKIPPED, SERVICE) == "INSERT 0 1"
        return both

    def test_is_skipped_where_the_statement_says_so(self, sent: OldClients) -> None:
        for words in (
            self.SKIPPED,
            self.SKIPPED.upper()
            .replace(":REPLY", ":reply")
            .replace("'INFO'", "'info'")
            .replace("'USER_LOGOUT'", "'user_logout'"),
            f"{self.PLAIN}\non  conflict\n do nothing",
            f"{self.SKIPPED} -- and that's it",
            f"/* insert into logs */ {self.SKIPPED}",
            f"with new as ({self.SKIPPED} returning 1) select count(*) from new",
        ):
            assert sent.outcome(words, SERVICE) in ("INSERT 0 0", "0"), words

    def test_is_an_error_where_it_does_not(self, sent: OldClients) -> None:
        said = "on conflict do nothing"
        for words in (
            self.PLAIN,
            f"{self.PLAIN} -- {said}",
            f"/* {said} */ {self.PLAIN}",
            self.PLAIN.replace("null", f"to_jsonb(text '{said}')"),
            self.PLAIN.replace("null", f"to_jsonb(text 'it''s {said}')"),
            self.PLAIN.replace("null", f"to_jsonb(e'it\\'s {said}'::text)"),
            self.PLAIN.replace("null", f'(select null::jsonb as "{said}")'),
            f"{self.PLAIN}; insert into logs (level, event_type) values ('info', 'user_logout') {said}",
            f"do $$ begin execute '{self.PLAIN.replace(':reply', repr(NAMES['reply'])).replace(chr(39), chr(39) * 2)}'; end $$",
        ):
            assert sent.outcome(words, SERVICE) == "23505", words

    def test_with_a_target_is_only_for_tables(self, old: OldClients) -> None:
        assert old.outcome(f"{self.PLAIN} on conflict (id) do nothing", SERVICE) == "42P10"

    def test_of_a_message_is_skipped_and_not_counted(self, old: OldClients) -> None:
        again = (
            "insert into messages (id, session_id, role, chat_type, content)"
            " select id, session_id, role, chat_type, content{} from messages where session_id = :anna_open"
        )
        assert old.outcome(again.format("") + " on conflict do nothing", SERVICE) == "INSERT 0 0"
        assert old.outcome(again.format(""), SERVICE) == "23505"
        assert old.outcome(again.format(" || '!'") + " on conflict do nothing", SERVICE) == "PT409"
        assert old.value("select message_count_main from sessions where id = :anna_open", ANNA) == 3


# --- Profiles, jobs, and two at once --------------------------------------------------------------------------


class TestProfile:
    def test_of_a_deleted_account_is_not_there(self, old: OldClients) -> None:
        old.run("select erase_user(:ben)", SERVICE)
        assert old.value("select count(*) from public.profiles where id = :ben", SERVICE) == 1
        assert old.value("select count(*) from profiles where id = :ben or email is null", SERVICE) == 0
        assert old.outcome("update profiles set completed_scenario_count = 7 where id = :ben", SERVICE) == "UPDATE 0"
        assert old.outcome("delete from profiles where id = :ben", SERVICE) == "DELETE 0"

    def test_address_is_text(self, both: OldClients) -> None:
        found = "select count(*) from profiles where email = '{}'"
        assert both.value(found.format("anna@example.org"), ANNA) == 1
        assert both.value(found.format("ANNA@example.org"), ANNA) == 0


class TestJobs:
    OLD = {
        "delete_expired_sessions": "update sessions set last_activity_at = now() - interval '8 days' where not is_completed",
        "delete_old_logs": "insert into logs (level, event_type, created_at) select 'info', 'user_logout', '2020-01-01'",
        "reset_weekly_limits": "update profiles set week_reset_date = now() - interval '1 day'",
    }

    @pytest.mark.parametrize("job", JOBS)
    def test_returns_v1s_number(self, both: OldClients, job: str) -> None:
        with both.aside():
            both.run(self.OLD[job], SERVICE)
            # The log of January 2020 that the clients ask for is old as well.
            assert both.value(f"select {job}()", SERVICE) == {JOBS[0]: 2, JOBS[1]: 2, JOBS[2]: 1003}[job]
            assert both.value(f"select {job}()", SERVICE) == 0
            assert both.value("select count(*) from logs where created_at >= now()", SERVICE) >= 2

    def test_that_fails_raises_as_in_v1(self, both: OldClients) -> None:
        both.run(
            "update profiles set week_reset_date = '2020-01-15', current_week_completion_count = 1 where id = :anna", SERVICE
        )
        both.run("alter table public.profiles add constraint broken check (current_week_completion_count > 0) not valid")
        refusal = both.refused("select reset_weekly_limits()", SERVICE, code="23514")
        assert "broken" in repr(refusal)


class TestTwoAtOnce:
    @pytest.fixture
    def together(self, over_v2: Database) -> Callable:
        return partial(wb.concurrently, over_v2.copy())

    COMPLETE = "update compat_v1.sessions set is_completed = true where id = :anna_open and not is_completed"

    def test_condition_that_no_longer_holds_is_noticed(self, together: Callable) -> None:
        """A view's row is chosen before the wait, so v1's UPDATE 0 is an error here and not a silent UPDATE 1."""
        with together(phone=ANNA, laptop=ANNA) as (phone, laptop):
            phone(self.COMPLETE)
            second = laptop(self.COMPLETE)
            assert second.waited
            phone.commit()
            assert second.refused == "40001"

    def test_count_is_not_lost(self, together: Callable) -> None:
        count = "update compat_v1.profiles set completed_scenario_count = completed_scenario_count + 1 where id = :anna"
        with together(one=SERVICE, other=SERVICE) as (one, other):
            one(count)
            second = other(count)
            one.commit()
            assert second.refused == "40001"

    def test_session_that_comes_to_life_is_not_deleted(self, together: Callable) -> None:
        with together(job=SERVICE, learner=ANNA) as (job, learner):
            learner("select count(*) from compat_v1.sessions")
            job("update compat_v1.sessions set last_activity_at = now() + interval '1 second' where id = :anna_open")
            delete = learner("delete from compat_v1.sessions where id = :anna_open")
            assert delete.waited
            job.commit()
            assert delete.refused == "40001"

    def test_others_columns_are_left_alone(self, together: Callable) -> None:
        with together(backend=SERVICE, learner=ANNA) as (backend, learner):
            backend(MESSAGE.format("scenario", "main").replace("messages", "compat_v1.messages"))
            done = learner(self.COMPLETE)
            backend.commit()
            assert done.outcome == "UPDATE 1"
            counted = learner("select message_count_main, is_completed from compat_v1.sessions where id = :anna_open")
            assert counted.refused is None
