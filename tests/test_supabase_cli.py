"""The real Supabase CLI pushes what `make migrations` writes: into a project that exists, a fresh one, twice, and at once.

It needs npm and its registry, but no Docker: the CLI talks to a PostgreSQL of the test's own, as a role that is no superuser.
"""

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from helpers import advice, ask, listen, schema
from workbook import ADMIN, Database, fixes, migrations
from workbook.database import DATA_SETS, OWNER_ROLE
from workbook.errors import WorkbookError
from workbook.paths import DATA, SQL
from workbook.server import EmbeddedServer, libpq_url

pytestmark = pytest.mark.slow

FIXES = fixes.all_fixes()
V1 = {
    "20251109120000_create_maraum_schema.sql": (SQL / "v1" / "schema.sql").read_text(),
    "20251109120100_seed_scenarios.sql": "update public.scenarios set is_active = true;\n",
}
PASSWORD = "maraum"


# --- The CLI, and a server that it can reach ------------------------------------------------------------------


@pytest.fixture(scope="module")
def cli(supabase_cli: Path) -> Path:
    """The CLI."""
    return supabase_cli


@pytest.fixture(scope="module")
def port(lasting_server: EmbeddedServer) -> int:
    """Let the server listen on loopback too, for the schema's owner with a password; return its port."""
    ask(lasting_server, (SQL / "platform" / "roles.sql").read_text())
    return listen(lasting_server, PASSWORD)


class _Elsewhere(Database):
    """A database of the test's own server."""

    def __init__(self, url: str) -> None:
        self.name, self.url = "elsewhere", url


@dataclass
class Platform:
    """What Supabase is to a project: a CLI, and a server where databases come with roles, auth and default grants."""

    cli: Path
    server: EmbeddedServer
    port: int
    databases: int = 0

    def database(self) -> str:
        """Make a database as it is before the first migration; return its name."""
        self.databases += 1
        name = f"project_{self.databases}"
        with self.connect("postgres") as connection:
            connection.execute(f"create database {name} owner {OWNER_ROLE} template template0 strategy file_copy")
        with self.connect(name) as connection:
            connection.execute((SQL / "platform" / "database.sql").read_text())
        return name

    def url(self, name: str) -> str:
        return libpq_url(self.server.url.set(port=self.port, database=name))

    def connect(self, name: str) -> psycopg.Connection:
        """Connect as the server's administrator."""
        return psycopg.connect(self.url(name), autocommit=True)

    def fill(self, name: str, data: str) -> None:
        """Load a data set, as the server's administrator."""
        for file in DATA_SETS[data]:
            _Elsewhere(self.url(name)).run((DATA / file).read_text(), ADMIN)

    def workbook_v2(self, data: str = "empty") -> str:
        """Make a database that the workbook brings to v2 by itself; return its name."""
        name = self.database()
        with self.connect(name) as connection:
            for sql in V1.values():
                connection.execute(f"set role {OWNER_ROLE}; {sql}; reset role")
        self.fill(name, data)
        with self.connect(name) as connection:
            for fix in FIXES:
                fixes.apply(connection, fix)
        return name

    def schema(self, name: str) -> list[tuple[str, str, str]]:
        return schema(_Elsewhere(self.url(name)))


@dataclass
class Project:
    """A Supabase project: a folder, and a database."""

    platform: Platform
    folder: Path
    database: str

    @property
    def migrations(self) -> Path:
        return self.folder / "supabase" / "migrations"

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start the CLI, with nothing from this process's environment that it could heed."""
        at = f"127.0.0.1:{self.platform.port}/{self.database}"
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return subprocess.Popen(
            [self.platform.cli, *command, "--yes", "--db-url", f"postgresql://{OWNER_ROLE}:{PASSWORD}@{at}?sslmode=disable"],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "DO_NOT_TRACK": "1", "SUPABASE_TELEMETRY_DISABLED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A group of its own: the program from npm starts another one.
            start_new_session=True,
        )

    def run(self, *command: str) -> tuple[bool, str]:
        """Run the CLI; return whether it ended well, and what it said."""
        return finish(self.start(*command))

    def do(self, *command: str) -> str:
        """Run the CLI, which must end well; return what it said."""
        ended_well, said = self.run(*command)
        assert ended_well, said
        return said

    def connect(self) -> psycopg.Connection:
        return self.platform.connect(self.database)

    def schema(self) -> list[tuple[str, str, str]]:
        return self.platform.schema(self.database)

    def recorded(self) -> list[tuple[str, str]]:
        """Return what the CLI has recorded: versions and names, in order."""
        with self.connect() as connection:
            rows = connection.execute("select version, name from supabase_migrations.schema_migrations")
            return sorted(rows.fetchall())

    def files(self) -> list[tuple[str, str]]:
        """Return what the CLI records of the project's files: versions and names, in order."""
        parts = [path.stem.partition("_") for path in sorted(self.migrations.iterdir())]
        return [(version, name) for version, _, name in parts]

    def dump(self) -> str:
        """Return the schema as pg_dump writes it, without the key that it draws by lot."""
        dump = [self.platform.server.program("pg_dump"), "--schema-only", "--dbname", self.platform.url(self.database)]
        done = subprocess.run(dump, capture_output=True, text=True, check=True)
        return re.sub(r"(?m)^\\(un)?restrict .*\n", "", done.stdout)


def finish(process: subprocess.Popen[str]) -> tuple[bool, str]:
    said, _ = process.communicate(timeout=120)
    return process.returncode == 0, said


@pytest.fixture(scope="module")
def platform(cli: Path, lasting_server: EmbeddedServer, port: int) -> Platform:
    return Platform(cli, lasting_server, port)


@pytest.fixture(scope="module")
def v2(platform: Platform) -> list[tuple[str, str, str]]:
    """The catalog of v2, as the workbook makes it by itself."""
    return platform.schema(platform.workbook_v2())


@pytest.fixture
def empty(platform: Platform, tmp_path: Path) -> Project:
    """A project with v1 in its folder, and nothing in its database."""
    project = Project(platform, tmp_path / "empty", platform.database())
    project.migrations.mkdir(parents=True)
    for name, sql in V1.items():
        (project.migrations / name).write_text(sql)
    return project


@pytest.fixture
def fresh(empty: Project) -> Project:
    """A project with v1 and the fixes in its folder, and nothing in its database."""
    migrations.write(str(empty.folder))
    return empty


@pytest.fixture
def existing(platform: Platform, tmp_path: Path) -> Project:
    """A project whose database has v1, and into whose folder the fixes have come since."""
    project = Project(platform, tmp_path / "existing", platform.database())
    project.migrations.mkdir(parents=True)
    for name, sql in V1.items():
        (project.migrations / name).write_text(sql)
    project.do("db", "push")
    migrations.write(str(project.folder))
    return project


def is_waiting_for_a_lock(project: Project) -> int | None:
    """Return the server's process that works for the CLI, once it waits for a lock."""
    with project.connect() as connection:
        found = connection.execute(
            "select pid from pg_stat_activity where datname = %s and usename = %s and wait_event_type = 'Lock'",
            [project.database, OWNER_ROLE],
        ).fetchone()
        return found[0] if found else None


# --- What the CLI does ------------------------------------------------------------------------------------------


class TestPush:
    def test_existing_and_fresh_projects_end_as_the_workbooks_own_v2(
        self, existing: Project, fresh: Project, v2: list[tuple[str, str, str]]
    ) -> None:
        for project in (existing, fresh):
            project.do("db", "push")
            assert project.recorded() == project.files()
            assert project.schema() == v2
        assert existing.dump() == fresh.dump()

    def test_rows_that_break_rules_are_repaired_as_by_the_workbook(self, existing: Project, platform: Platform) -> None:
        own = platform.workbook_v2("dirty")
        platform.fill(existing.database, "dirty")
        existing.do("db", "push")
        assert existing.schema() == platform.schema(own)
        repaired = []
        for name in (existing.database, own):
            with platform.connect(name) as connection:
                repaired.append(
                    connection.execute(
                        "select issue, table_name, count(*) from private.repairs group by issue, table_name order by 1, 2"
                    ).fetchall()
                )
        assert repaired[0] == repaired[1] != []

    def test_of_nothing_new_does_nothing(self, existing: Project, v2: list[tuple[str, str, str]]) -> None:
        existing.do("migration", "up")
        before = existing.recorded(), existing.dump()
        for _ in range(2):
            migrations.write(str(existing.folder))
            assert "up to date" in existing.do("db", "push")
            assert "up to date" in existing.do("migration", "up")
        assert (existing.recorded(), existing.dump()) == before
        assert existing.schema() == v2
        listed = existing.do("migration", "list")
        assert all(listed.count(f"`{version}`") == 2 for version, _ in existing.files())

    @pytest.mark.parametrize("start", ["existing", "fresh"])
    def test_two_at_once_are_as_one(self, start: str, request: pytest.FixtureRequest, v2: list[tuple[str, str, str]]) -> None:
        project: Project = request.getfixturevalue(start)
        outcomes = [finish(push) for push in [project.start("db", "push") for _ in range(2)]]
        # One of them says what the other one has done before it.
        assert [said for ended_well, said in outcomes if not ended_well and "ERROR: " not in said] == []
        assert any(ended_well for ended_well, _ in outcomes)
        assert project.recorded() == project.files()
        assert project.schema() == v2
        assert "up to date" in project.do("db", "push")

    def test_goes_on_after_a_lock_that_it_did_not_get(self, existing: Project, v2: list[tuple[str, str, str]]) -> None:
        with existing.connect() as reader, reader.transaction():
            reader.execute("select from public.logs")
            ended_well, said = existing.run("db", "push")
        assert not ended_well
        assert "canceling statement due to lock timeout (SQLSTATE 55P03)" in said
        done, files = existing.recorded(), existing.files()
        assert len(V1) < len(done) < len(files) and done == files[: len(done)]
        version, name = files[len(done)]
        assert said.split("ERROR")[0].endswith(f"Applying migration {version}_{name}.sql...\n")
        existing.do("db", "push")
        assert existing.recorded() == files
        assert existing.schema() == v2

    def test_killed_between_commit_and_record_goes_on_after_a_repair(
        self, existing: Project, v2: list[tuple[str, str, str]]
    ) -> None:
        v1 = existing.schema()
        with existing.connect() as other, other.transaction():
            # The history can be read, but nothing recorded.
            other.execute("lock table supabase_migrations.schema_migrations in share mode")
            push = existing.start("db", "push")
            deadline = time.monotonic() + 60
            while (backend := is_waiting_for_a_lock(existing)) is None:
                assert push.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            os.killpg(push.pid, signal.SIGKILL)
            push.communicate()
            # Its connection goes too, or the server would record the file once it may.
            other.execute("select pg_terminate_backend(%s, 5000)", [backend])
        first = existing.files()[len(V1)]
        assert existing.recorded() == existing.files()[: len(V1)], "the file is not recorded"
        committed = existing.schema()
        assert committed != v1, "and yet it is committed"

        ended_well, said = existing.run("db", "push")
        assert not ended_well and f"Applying migration {'_'.join(first)}.sql...\nERROR: " in said
        assert existing.schema() == committed
        existing.do("migration", "repair", "--status", "applied", first[0])
        existing.do("db", "push")
        assert existing.recorded() == existing.files()
        assert existing.schema() == v2


class TestAdvisors:
    def test_what_they_say_of_v1_and_v2(self, platform: Platform, tmp_path: Path) -> None:
        v1 = platform.database()
        with platform.connect(v1) as connection:
            for sql in V1.values():
                connection.execute(f"set role {OWNER_ROLE}; {sql}; reset role")
        before, after = (advice(platform.cli, platform.port, name, PASSWORD, tmp_path) for name in (v1, platform.workbook_v2()))
        assert {one["name"] for one in before} == {"auth_rls_initplan", "function_search_path_mutable"} and len(before) == 18
        # The procedure that commits, which takes no SET: fix 31 says so.
        assert [one["metadata"]["name"] for one in after] == ["run_weekly_reset"]


class TestHistory:
    def test_the_workbook_goes_on_where_the_cli_stopped(self, existing: Project, v2: list[tuple[str, str, str]]) -> None:
        later = sorted(existing.migrations.iterdir())[len(V1) + 10 :]
        for path in later:
            path.unlink()
        existing.do("db", "push")
        with existing.connect() as connection:
            assert fixes.applied_numbers(connection) == [fix.number for fix in FIXES[:10]]
            for fix in FIXES[10:]:
                fixes.apply(connection, fix)
            assert fixes.applied_numbers(connection) == [fix.number for fix in FIXES]
        assert existing.schema() == v2

    def test_files_under_their_numbers_are_refused_by_the_cli_and_what_we_say_helps(
        self, empty: Project, v2: list[tuple[str, str, str]]
    ) -> None:
        empty.do("db", "push")
        copies = [empty.migrations / fix.path.name for fix in FIXES]
        for fix, copy in zip(FIXES, copies, strict=True):
            copy.write_text(fix.text)
        ended_well, said = empty.run("db", "push")
        assert not ended_well and "to be inserted before the last migration" in said

        # Somebody has helped themselves with psql, as far as fix 03.
        with empty.connect() as connection:
            for fix in FIXES[:4]:
                connection.execute(f"set role {OWNER_ROLE}; {fix.text}")
        for copy in copies[4:]:
            copy.unlink()
        empty.do("migration", "repair", "--status", "applied", "00", "01", "02", "03")
        with pytest.raises(WorkbookError) as caught:
            migrations.write(str(empty.folder))
        assert "`supabase migration repair --status reverted 00 01 02 03`" in str(caught.value)

        for copy in copies[:4]:
            copy.unlink()
        empty.do("migration", "repair", "--status", "reverted", "00", "01", "02", "03")
        migrations.write(str(empty.folder))
        versions = [version for version, _ in empty.files()[len(V1) :]]
        empty.do("migration", "repair", "--status", "applied", *versions[:4])
        empty.do("db", "push")
        assert empty.recorded() == empty.files()
        assert empty.schema() == v2
