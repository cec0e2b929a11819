"""After a restore v2 is what it was: sql/privileges.sql, before it and after; and what holds where both were forgotten."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import psycopg
import pytest
import workbook as wb
from helpers import schema
from schema_audit import audit
from workbook import ADMIN, ANNA, ANON, BEN, OWNER, SERVICE, Actor, Database, clone, database, privileges, privileges_sql
from workbook.actors import NAMES
from workbook.paths import ROOT
from workbook.server import EmbeddedServer

AS_OWNER = "-c role=workbook_owner"
"""The restore's login is the owner, who is no superuser."""

OF_THE_PLATFORM = {
    'schema "auth" already exists',
    'schema "extensions" already exists',
    "permission denied for schema auth",
    "permission denied for table users",
    "must be owner of table users",
}
"""What a restore of a whole dump cannot do as the owner: all of it is there already."""

SIGN_UP = "insert into auth.users (id, email) values (:cem, 'cem@example.org')"


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of pg_dump, pg_restore and psql."""
    own = EmbeddedServer.of_checkout()
    folder = own.program("pg_dump").parent
    with clone("v1", data="empty").connect() as connection:
        server_major = connection.info.server_version // 10_000
    if not (folder / "psql").exists() or int(own.major) < server_major:
        pytest.skip(f"there is no pg_dump here for PostgreSQL {server_major}")
    return folder


@pytest.fixture(scope="module")
def v2() -> Database:
    return clone("v2")


# --- Steps ------------------------------------------------------------------------------------------------------


def platform() -> Database:
    """Return a new project: what the platform provides, and nothing of ours."""
    clone("v1", data="empty")  # The roles come with its template.
    empty = Database(database._create(None))
    empty.run_file("platform/database.sql", ADMIN)
    return empty


def set_privileges(target: Database, role: str = "workbook_owner") -> list[str]:
    """Run sql/privileges.sql as the owner; return its notices."""
    notices: list[str] = []
    with target.connect() as connection:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        connection.execute(f"set role {role}")
        connection.execute(privileges_sql.PATH.read_text())
    return notices


def call(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, *arguments], capture_output=True, text=True, env={**os.environ, "PGOPTIONS": AS_OWNER, "LC_ALL": "C"}
    )


def dump(programs: Path, source: Database, into: Path, format: str, *schemas: str) -> Path:
    """Dump a database, or some of its schemas, as its owner."""
    path = into / "v2.dump"
    done = call(
        programs / "pg_dump",
        f"--format={format}",
        "--no-owner",
        f"--file={path}",
        *(f"--schema={name}" for name in schemas),
        source.url,
    )
    assert done.returncode == 0, done.stderr
    return path


def prepare(target: Database, *schemas: str) -> None:
    """Make what a dump of schemas leaves out, and those of our schemas that pg_restore is to fill."""
    page = (ROOT / "RESTORES.md").read_text()
    (statements,) = re.findall(r"<<'SQL'\n(.*?)\nSQL\n", page, re.DOTALL)
    for statement in statements.split(";\n"):
        of_ours = re.search(r"schema (private|supabase_migrations)", statement)
        if not of_ours or of_ours[1] in schemas:
            target.run(statement.rstrip(";"))


def restore(programs: Path, path: Path, target: Database, *schemas: str) -> set[str]:
    """Restore a dump as the owner, some of its schemas in one transaction; return the errors."""
    if path.read_bytes()[:5] == b"PGDMP":
        strictly = ["--exit-on-error", "--single-transaction"] if schemas else []
        names = [f"--schema={name}" for name in schemas]
        done = call(programs / "pg_restore", "--no-owner", *strictly, *names, f"--dbname={target.url}", path)
    else:
        done = call(programs / "psql", "--quiet", "--no-psqlrc", f"--file={path}", target.url)
    return set(re.findall(r"ERROR:\s+(.*)", done.stderr))


def described(programs: Path, of: Database, *options: str) -> list[str]:
    """Return what pg_dump writes of a database's schema, privileges included."""
    done = subprocess.run([programs / "pg_dump", "--schema-only", *options, of.url], capture_output=True, text=True, check=True)
    # Newer releases guard the script with a word that they make up each time, and some number a column's versions.
    made_up = ("\\restrict ", "\\unrestrict ")
    return [line for line in done.stdout.splitlines() if not line.startswith(made_up) and "pg_attver=" not in line]


def gets_a_profile(target: Database) -> bool:
    """Sign somebody up and tell whether that made a profile; nothing of it stays."""
    with target.connect() as connection, connection.transaction(force_rollback=True):
        database.send(connection, SIGN_UP, {})
        return bool(database.send(connection, "select from public.profiles where id = :cem", {}).fetchall())


def assert_accounts_work(target: Database) -> None:
    """Sign-up makes a profile, a new address reaches it, and deletion retires it."""
    target.run(SIGN_UP, ADMIN)
    target.run("update auth.users set email = 'cem@example.net' where id = :cem", ADMIN)
    assert target.value("select email::text from public.profiles where id = :cem") == "cem@example.net"
    target.run("delete from auth.users where id = :cem", ADMIN)
    assert target.value("select deleted_at is not null and email is null from public.profiles where id = :cem")
    target.run("delete from public.profiles where id = :cem", ADMIN)


OURS = ("public", "private", "supabase_migrations")
CASES = {
    # format, the schemas that are dumped, the schemas that pg_restore restores
    "custom, whole": ("custom", (), OURS),
    "custom, whole, with errors": ("custom", (), ()),
    "custom, three schemas": ("custom", OURS, OURS),
    "custom, two schemas": ("custom", OURS[:2], OURS[:2]),
    "plain, whole": ("plain", (), ()),
    "plain, two schemas": ("plain", OURS[:2], ()),
}
STRICTLY = ("--exit-on-error", "--single-transaction", *(f"--schema={name}" for name in OURS))
ERRORS = {
    "custom, whole, with errors": OF_THE_PLATFORM,
    "plain, whole": OF_THE_PLATFORM,
    "plain, two schemas": {'schema "public" already exists'},
}


def restored(programs: Path, source: Database, folder: Path, case: str, *, before: bool) -> Database:
    """Return a new project that a dump of v2 was restored into as the owner."""
    format, dumped, chosen = CASES[case]
    target = platform()
    if before:
        assert set_privileges(target) == ["the tables of v2 are not here yet: run this file again when the restore is done"]
    prepare(target, *chosen)
    errors = restore(programs, dump(programs, source, folder, format, *dumped), target, *chosen)
    assert errors == ERRORS.get(case, set())
    return target


# --- The file ---------------------------------------------------------------------------------------------------


CHANGES = (
    "grant all on public.messages to anon",
    "grant update (sent_at) on public.messages to authenticated",
    "grant select on private.repairs to public",
    "grant all on public.scenarios_id_seq to anon",
    "grant execute on function public.erase_user(uuid) to public",
    "grant execute on procedure private.run_weekly_reset(integer) to authenticated",
    "grant select on private.logs_default to authenticated",
    "grant usage on schema private to anon",
    "grant usage on schema supabase_migrations to anon",
    "grant select on supabase_migrations.schema_migrations to anon",
    "revoke select on public.sessions from authenticated",
    "revoke insert (content) on public.messages from authenticated",
    "revoke all on function public.erase_user(uuid) from service_role",
    "alter default privileges in schema public grant all on tables to anon",
    "alter default privileges in schema public grant execute on functions to authenticated",
    "alter default privileges grant execute on functions to public",
)


class TestFile:
    def test_is_what_the_catalog_of_v2_says(self) -> None:
        generated = privileges_sql.generate(clone("v2", data="empty"))
        assert privileges_sql.PATH.read_text() == generated, "sql/privileges.sql is out of date: run `make refresh`"

    def test_changes_nothing_on_v2(self) -> None:
        fixed = clone("v2")
        before = schema(fixed)
        for _ in range(2):
            assert set_privileges(fixed) == []
        assert set(schema(fixed)) ^ set(before) == set()

    def test_sets_the_defaults_of_a_new_project_before_a_restore(self, v2: Database) -> None:
        def defaults(of: Database) -> list[tuple[str, str, str]]:
            return [row for row in schema(of) if row[0] == "default privileges"]

        target = platform()
        assert defaults(target) != defaults(v2)
        for _ in range(2):
            set_privileges(target)
            assert defaults(target) == defaults(v2)

    def test_puts_right_what_somebody_granted_or_revoked(self) -> None:
        changed = clone("v2")
        healthy = set(schema(changed))
        for statement in CHANGES:
            changed.run(statement)
            assert set(schema(changed)) != healthy, statement
            set_privileges(changed)
            assert set(schema(changed)) == healthy, statement

    def test_leaves_what_a_team_has_added(self) -> None:
        team = clone("v2")
        team.run("""
            create table public.feedback (message_id uuid primary key, stars integer);
            grant all on public.feedback to anon;
            grant select (stars) on public.feedback to authenticated;
            alter table public.profiles add column "Nick name" text;
            grant select ("Nick name"), update ("Nick name") on public.profiles to authenticated;
            create function public.cheer() returns text language sql as 'select ''bravo''';
            grant execute on function public.cheer() to anon;
            grant select on public.messages to pg_monitor;
            alter default privileges in schema public grant select on tables to pg_monitor;
            create table public.made_later ()""")
        before = schema(team)
        set_privileges(team)
        assert set(schema(team)) ^ set(before) == set()

    def test_leaves_the_grants_of_a_schema_that_a_team_made_first(self) -> None:
        team = clone("v2")
        team.run("comment on schema private is 'Ours since 2024.'; grant usage on schema private to authenticated")
        before = schema(team)
        set_privileges(team)
        assert set(schema(team)) ^ set(before) == set()

    def test_takes_a_trigger_under_another_name(self) -> None:
        team = clone("v2")
        team.run("alter trigger users_retire_profile on auth.users rename to retire", ADMIN)
        before = schema(team)
        set_privileges(team)
        assert schema(team) == before

    @pytest.mark.parametrize(
        ("statement", "message"),
        [
            ("drop view private.completion_drift", "private.completion_drift is missing"),
            ("drop table public.message_chunks cascade", "public.message_chunks is missing"),
            ("drop function public.erase_user(uuid)", r"function public\.erase_user\(uuid\) does not exist"),
            ("alter table public.messages owner to pg_monitor", "public.messages belongs to pg_monitor"),
        ],
    )
    def test_names_what_is_missing_or_not_the_owners(self, statement: str, message: str) -> None:
        broken = clone("v2")
        broken.run(f"{statement}; grant all on public.profiles to anon", ADMIN)
        before = schema(broken)
        with pytest.raises(psycopg.Error, match=message):
            set_privileges(broken)
        assert schema(broken) == before

    def test_refuses_a_role_that_owns_nothing(self) -> None:
        with pytest.raises(psycopg.Error, match=r"private\.\w+ belongs to workbook_owner"):
            set_privileges(clone("v2"), role="none")


# --- Restores ---------------------------------------------------------------------------------------------------


def assert_is_v2(programs: Path, target: Database, v2: Database, case: str) -> None:
    left_out = ["--exclude-schema=supabase_migrations"] if "two schemas" in case else []
    assert described(programs, target, *left_out) == described(programs, v2, *left_out)
    assert wb.compare_privileges(target).to_dict("records") == []
    assert_accounts_work(target)
    for table in privileges.TABLES:
        rows = f"select count(*) from public.{table}"
        assert target.value(rows, ADMIN) == v2.value(rows, ADMIN), table


class TestRestore:
    def test_by_the_page(self, programs: Path, v2: Database, tmp_path: Path) -> None:
        run_page(programs, v2, target := platform(), tmp_path, whole=True)
        assert_is_v2(programs, target, v2, "whole")

    @pytest.mark.slow
    def test_by_the_page_with_a_dump_of_our_schemas(self, programs: Path, v2: Database, tmp_path: Path) -> None:
        run_page(programs, v2, target := platform(), tmp_path, whole=False)
        assert_is_v2(programs, target, v2, "three schemas")

    @pytest.mark.slow
    @pytest.mark.parametrize("case", CASES)
    def test_with_the_file_before_and_after_is_identical(self, programs: Path, v2: Database, tmp_path: Path, case: str) -> None:
        target = restored(programs, v2, tmp_path, case, before=True)
        set_privileges(target)
        assert_is_v2(programs, target, v2, case)

    @pytest.mark.slow
    @pytest.mark.parametrize("case", CASES)
    def test_with_the_file_after_only_is_identical(self, programs: Path, v2: Database, tmp_path: Path, case: str) -> None:
        target = restored(programs, v2, tmp_path, case, before=False)
        assert len(wb.compare_privileges(target)) > 0
        set_privileges(target)
        assert_is_v2(programs, target, v2, case)

    @pytest.mark.slow
    @pytest.mark.parametrize("case", CASES)
    def test_with_the_file_before_only_gives_clients_nothing(
        self, programs: Path, v2: Database, tmp_path: Path, case: str
    ) -> None:
        target = restored(programs, v2, tmp_path, case, before=True)
        # The service role is no client: it gets its default, all rows, on the one view and the one sequence too.
        beyond = wb.compare_privileges(target)
        assert set(beyond["role"]) <= {"service_role"}

    @pytest.mark.slow
    def test_of_schemas_makes_no_profile_until_the_file_is_run(self, programs: Path, v2: Database, tmp_path: Path) -> None:
        target = restored(programs, v2, tmp_path, "custom, two schemas", before=True)
        assert not gets_a_profile(target)
        set_privileges(target)
        assert gets_a_profile(target)


@pytest.mark.slow
class TestPage:
    """What RESTORES.md says beside the restore itself."""

    def test_owner_of_another_name_leaves_the_privileges_out(self, programs: Path, v2: Database, tmp_path: Path) -> None:
        target = platform()
        prepare(target, *OURS)
        path = dump(programs, v2, tmp_path, "custom", *OURS)
        done = call(programs / "pg_restore", "--no-owner", "--no-privileges", *STRICTLY, f"--dbname={target.url}", path)
        assert (done.returncode, done.stderr) == (0, "")
        set_privileges(target)
        assert_is_v2(programs, target, v2, "three schemas")

    def test_data_alone_fails(self, programs: Path, v2: Database, tmp_path: Path) -> None:
        path = dump(programs, v2, tmp_path, "custom", *OURS)
        done = call(programs / "pg_restore", "--data-only", *STRICTLY, f"--dbname={clone('v2', data='empty').url}", path)
        assert done.returncode != 0

    def test_accounts_come_before_the_triggers(self, programs: Path, tmp_path: Path) -> None:
        source = clone("v2")
        source.run("delete from auth.users where id = :ben", ADMIN)
        target = restored(programs, source, tmp_path, "custom, two schemas", before=True)
        profiles = "select to_jsonb(profiles)::text from public.profiles order by id"
        before = target.run(profiles, ADMIN)
        # One that Auth has deleted in its soft way too: as a sign-up it would be a living one.
        target.run(
            "insert into auth.users (id, email, deleted_at) values (:anna, 'anna@example.org', null), (:ben, 'hash', now())",
            ADMIN,
        )
        set_privileges(target)
        assert target.run(profiles, ADMIN).equals(before)

    def test_whoever_was_erased_since_is_found_and_erased_again(self) -> None:
        old = clone("v2")
        recovered, moment = old.copy(), old.value("select now()::text")
        old.run("delete from auth.users where id = :anna", ADMIN)
        assert old.value("select status from public.erase_user(:anna)", SERVICE) == "ok"
        who, again, *_ = blocks("sql")
        asked = old.run(who.replace(":'moment'", ":moment"), OWNER, moment=moment)
        assert [str(one) for one in asked["id"]] == [NAMES["anna"]]

        said = "select count(*) from public.messages where user_id = :anna and content <> ''"
        assert recovered.value(said, ADMIN) > 0
        assert recovered.run(again.replace(":'id'", ":anna"), OWNER)["status"].tolist() == ["ok"]
        assert recovered.value(said, ADMIN) == 0

    def test_its_other_statements_run_as_the_owner(self) -> None:
        fixed = clone("v2")
        for statement in ("select private.ensure_log_partitions()", "delete from private.repairs"):
            assert f"`{statement}`" in (ROOT / "RESTORES.md").read_text()
            fixed.run(statement, OWNER)
        *_, checks = blocks("sql")
        found = [fixed.run(check, OWNER) for check in checks.split(";\n") if check.strip()]
        assert [len(rows) for rows in found] == [0, 0, 3, 0, 1]
        assert found[2]["tgenabled"].tolist() == ["O", "O", "O"]
        assert found[4].iloc[0, 0]

    def test_the_audit_finds_what_is_open(self, doors: tuple[Database, Database]) -> None:
        found = [{one.number for one in audit(at.url).findings if one.verdict == "found"} for at in doors]
        assert {47, 53} <= found[1] - found[0]


def blocks(language: str) -> list[str]:
    """Return the blocks of the page in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "RESTORES.md").read_text(), re.DOTALL | re.MULTILINE)


def run_page(programs: Path, source: Database, target: Database, folder: Path, *, whole: bool) -> None:
    """Run the commands of RESTORES.md, as they stand there, from the dump to the last step."""
    dump_all, dump_ours, restore_ours, last, _ = blocks("sh")
    (folder / "sql").symlink_to(ROOT / "sql")
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", (dump_all if whole else dump_ours) + restore_ours + last],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PGOPTIONS": AS_OWNER,
            "SOURCE": source.url,
            "TARGET": target.url,
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ERROR" not in done.stderr and "WARNING" not in done.stderr


# --- Where the file was forgotten ---------------------------------------------------------------------------------


PREMIUM = Actor("premium learner", f"wb_premium_{token_hex(4)}", ANNA.user_id)
"""Anna through a role of the team's own, which inherits from authenticated."""

CLIENTS = (ANON, ANNA, PREMIUM)

OPEN: tuple[tuple[Actor, str, int], ...] = (
    # A visitor reads what the learners' screens begin with, and uses up the ids of scenarios.
    (ANON, "select initial_message_main from scenarios where id <= 3", 3),
    (ANON, "select nextval('scenarios_id_seq')", 1),
    (ANON, "select setval('scenarios_id_seq', 1)", 1),
    # A learner dates and names a message of their own as they like, and writes deleted ones.
    (ANNA, "insert into messages ({}, sent_at) values ({}, '2020-01-01')", 1),
    (ANNA, "insert into messages ({}, id) values ({}, gen_random_uuid())", 1),
    (ANNA, "insert into messages ({}, deleted_at, deleted_reason) values ({}, now(), 'mine')", 1),
    # The session says whose it is, whatever the learner says.
    (ANNA, "insert into messages ({}, user_id) values ({}, :ben)", 1),
    # They write what their sessions count, when these began, and that nothing was sent just now: so much for the rate limit.
    (ANNA, "update sessions set message_count_main = 400 where id = :anna_open", 1),
    (ANNA, "update sessions set started_at = '2020-01-01', last_activity_at = now() where id = :anna_open", 1),
    (ANNA, "update sessions set last_message_at = null where id = :anna_open", 1),
    (ANNA, "insert into sessions (user_id, scenario_id, is_completed) values (:anna, 2, true)", 1),
)
"""Whose statement is refused on v2 and changes or shows rows where the file was forgotten, and how many."""

REFUSED: tuple[tuple[Actor, str, str], ...] = (
    (ANNA, "insert into messages (session_id, role, chat_type, content) values (:anna_open, 'assistant', 'main', 'x')", "42501"),
    (BEN, "insert into messages ({}, sent_at) values ({}, '2020-01-01')", "42501"),
    (ANNA, "insert into sessions (user_id, scenario_id, message_count_main) values (:ben, 2, 400)", "42501"),
    (ANNA, "insert into profiles (id, email, week_reset_date) values (:cem, 'cem@example.org', now())", "42501"),
    (ANNA, "insert into logs (level, event_type) values ('info', 'user_logout')", "42501"),
    (ANNA, "update sessions set user_id = :ben where id = :anna_open", "23001"),
    (ANNA, "update sessions set completed_at = '2020-01-01' where id = :anna_done", "23514"),
    (ANON, "insert into public_scenarios (id, code, title, emoji) values (900, 'new', 'New', 'x')", "42501"),
)
"""What is refused all the same, and with which SQLSTATE."""

_OF_A_MESSAGE = ("session_id, role, chat_type, content", ":anna_open, 'user', 'main', 'Halt!'")


@pytest.fixture(scope="module")
def doors(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Database]]:
    """A v2 with a row in each table, and what became of its dump without the file."""
    source = clone("v2")
    for table, statement in privileges._SETUP.items():
        # Messages there are some; the id is that of a reply which streams.
        if statement and table != "messages":
            source.run(statement, ADMIN)
    target = restored(programs, source, tmp_path_factory.mktemp("dump"), "custom, two schemas", before=False)
    with source.connect() as connection:
        connection.execute(f"create role {PREMIUM.role}")
        connection.execute(f"grant authenticated to {PREMIUM.role}")
    yield source, target
    with source.connect() as connection:
        connection.execute(f"drop role {PREMIUM.role}")


def outcome(at: Database, statement: str, actor: Actor) -> int | str:
    """Try a statement and undo it: the number of its rows, or the SQLSTATE of its refusal."""
    with at.connect() as connection, connection.transaction(force_rollback=True):
        database.assume(connection, actor)
        try:
            with connection.transaction():
                return database.send(connection, statement.format(*_OF_A_MESSAGE), {}).rowcount
        except psycopg.Error as error:
            return error.sqlstate or ""


@pytest.mark.slow
class TestWithTheFileForgotten:
    def test_functions_refuse_clients_by_themselves(self, doors: tuple[Database, Database]) -> None:
        target = doors[1]
        functions = target.run("""
            select oid::regprocedure::text as signature, pronargs as arguments, proname as name
            from pg_proc
            where prosecdef and pronamespace = 'public'::regnamespace""")
        assert len(functions) >= 6
        for function in functions.itertuples():
            for client in CLIENTS:
                # It is not the missing privilege that refuses.
                assert target.value(f"select has_function_privilege('{function.signature}', 'execute')", client)
                call = f"select public.{function.name}({', '.join(['null'] * function.arguments)})"
                refusal = target.refused(call, client, code="42501")
                assert "permission denied" not in str(refusal.name)

    @pytest.mark.parametrize("table", [table for table in privileges.TABLES if table != "public_scenarios"])
    def test_nobody_but_the_owner_empties_a_table(self, doors: tuple[Database, Database], table: str) -> None:
        target = doors[1]
        for actor in (*CLIENTS, SERVICE):
            assert target.value(f"select has_table_privilege('public.{table}', 'truncate')", actor)
            assert outcome(target, f"truncate public.{table} cascade", actor) == "42501"
            with target.connect() as connection, connection.transaction(force_rollback=True):
                # Where cascade comes to the partitions of logs it is refused there, so these give no reason here.
                connection.execute("grant truncate on all tables in schema private to public")
                database.assume(connection, actor)
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"only the owner of \w+ may empty it"):
                    connection.execute(f"truncate public.{table} cascade")
        with target.connect() as connection, connection.transaction(force_rollback=True):
            database.assume(connection, OWNER)
            connection.execute(f"truncate public.{table} cascade")

    def test_clients_hold_everything_in_public_and_nothing_in_private(self, doors: tuple[Database, Database]) -> None:
        target = doors[1]
        with target.connect() as connection:
            newer = ["maintain"] if connection.info.server_version >= 170_000 else []
        whole = ["select", "insert", "update", "delete", "truncate", "references", "trigger", *newer]
        listed = {(one.role, one.object, one.command) for one in privileges.declared() if not one.columns}
        expected = {
            (role, name, command, "", "granted")
            for role in ("anon", "authenticated", "service_role")
            for name in {one.object for one in privileges.declared()}
            for command in (["execute"] if "(" in name else ["select", "update", "usage"] if name.endswith("_seq") else whole)
            if (role, name, command) not in listed
        }
        assert set(wb.compare_privileges(target).itertuples(index=False, name=None)) == expected
        for client in CLIENTS:
            assert not target.value("select has_schema_privilege('private', 'usage')", client)

    def test_row_level_security_still_stands(self, doors: tuple[Database, Database]) -> None:
        """Every table, every command, everybody: which rows more than on v2 it reaches."""
        commands = {
            "select": "select from public.{0}",
            "insert": "insert into public.{0} default values",
            "update": "update public.{0} set {1} = {1}",
            "delete": "delete from public.{0}",
        }
        differences = {}
        for table, condition in privileges._FIND.items():
            for command, statement in commands.items():
                for actor in (*CLIENTS, BEN):
                    here, there = (outcome(at, statement.format(table, condition.split()[0]), actor) for at in doors)
                    if there != here and isinstance(there, int) and there > 0:
                        differences[actor.label, command, table] = there
        sessions = 2
        assert differences == {
            # A visitor sees the rows as before, and now all of their columns.
            **{(learner, "update", "sessions"): sessions for learner in ("Anna", "premium learner")},
            ("Ben", "update", "sessions"): 1,
        }

    @pytest.mark.parametrize(("actor", "statement", "rows"), OPEN)
    def test_open_is(self, doors: tuple[Database, Database], actor: Actor, statement: str, rows: int) -> None:
        fixed, target = doors
        assert outcome(fixed, statement, actor) == "42501"
        assert outcome(target, statement, actor) == rows

    def test_open_is_no_foreign_name_on_a_message(self, doors: tuple[Database, Database]) -> None:
        with doors[1].connect() as connection, connection.transaction(force_rollback=True):
            database.assume(connection, ANNA)
            forged = (
                f"insert into messages ({_OF_A_MESSAGE[0]}, user_id) values ({_OF_A_MESSAGE[1]}, :ben) returning user_id::text"
            )
            assert database.send(connection, forged, {}).fetchall() == [(NAMES["anna"],)]

    @pytest.mark.parametrize(("actor", "statement", "code"), REFUSED)
    def test_closed_is(self, doors: tuple[Database, Database], actor: Actor, statement: str, code: str) -> None:
        assert outcome(doors[1], statement, actor) == code

    def test_open_is_what_a_trigger_does_to_others(self, doors: tuple[Database, Database]) -> None:
        """A client with a login to the database, not through the API, which runs no DDL: others run the client's code."""
        target = doors[1]
        heard: list[str] = []
        with target.connect() as client, target.connect() as backend:
            client.execute(f"set role {PREMIUM.role}")
            client.execute(
                "create function pg_temp.spy() returns trigger language plpgsql"
                " as $$ begin raise notice 'as %', current_user; return new; end $$"
            )
            hang = "create trigger spy before insert on public.messages for each row execute function pg_temp.spy()"
            client.execute(hang)
            backend.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
            with backend.transaction(force_rollback=True):
                database.assume(backend, SERVICE)
                database.send(backend, "insert into messages ({}) values ({})".format(*_OF_A_MESSAGE), {})
            client.execute("discard temporary")
        assert heard == ["as service_role"]
        with doors[0].connect() as client:
            client.execute(f"set role {PREMIUM.role}")
            client.execute("create function pg_temp.spy() returns trigger language plpgsql as 'begin return new; end'")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                client.execute(hang)
