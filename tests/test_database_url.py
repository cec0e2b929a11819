"""DATABASE_URL: its spellings, and the sentence that each unusable server gets."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from helpers import Run, ask, is_one_sentence
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL
from workbook import server
from workbook.__main__ import main
from workbook.errors import WorkbookError
from workbook.server import EmbeddedServer, libpq_url, parse_url

Complain = Callable[[str], str]


@pytest.fixture
def complain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Complain]:
    """Run the main command with a DATABASE_URL that it cannot use, and return the one line that it prints."""

    def run(url: str) -> str:
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setattr(sys, "argv", ["workbook", "run"])
        server.url.cache_clear()
        assert main() == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        return printed.err

    yield run
    server.url.cache_clear()


class TestUrl:
    @pytest.mark.parametrize(
        "given",
        [
            "postgres://u:p@127.0.0.1/d",
            "postgresql://u:p@127.0.0.1/d",
            "postgresql+psycopg://u:p@127.0.0.1/d",
        ],
    )
    def test_usual_spellings(self, given: str) -> None:
        assert libpq_url(parse_url(given)) == "postgresql://u:p@127.0.0.1/d"

    def test_of_awkward_characters_is_what_libpq_reads(self) -> None:
        parts = {"password": "p@s s:w/r%41+#?&é", "host": "/a b/c+d", "dbname": "d", "options": "-c work_mem=8MB"}
        url = URL.create(
            "postgresql", "u", parts["password"], database="d", query={"host": parts["host"], "options": parts["options"]}
        )
        assert conninfo_to_dict(libpq_url(parse_url(url.render_as_string(False)))) == {"user": "u", **parts}

    def test_database_may_be_left_out(self) -> None:
        assert parse_url("postgresql://127.0.0.1").database == "postgres"

    @pytest.mark.parametrize("given", ["nonsense", "postgresql://host:port/d", "mysql://u@127.0.0.1/d", "postgresql://h:99999/d"])
    def test_that_names_no_server(self, given: str) -> None:
        with pytest.raises(WorkbookError, match="DATABASE_URL") as caught:
            parse_url(given)
        assert is_one_sentence(caught.value)

    def test_that_cannot_be_read_reaches_the_reader_of_a_command(self, complain: Complain) -> None:
        assert "cannot be read as a URL" in complain("nonsense")

    @pytest.mark.slow
    def test_that_cannot_be_read_reaches_the_reader_of_pytest(self) -> None:
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "tests/test_catalogue.py"],
            cwd=server.ROOT,
            env={**os.environ, "DATABASE_URL": "nonsense"},
            capture_output=True,
            text=True,
        )
        assert result.returncode == pytest.ExitCode.USAGE_ERROR
        assert "DATABASE_URL cannot be read as a URL" in result.stdout + result.stderr
        assert "Traceback" not in result.stdout + result.stderr


@pytest.mark.slow
class TestServer:
    def test_that_does_not_answer(self, complain: Complain) -> None:
        complaint = complain("postgresql://u:secret@127.0.0.1:1/postgres")
        assert "does not answer" in complaint
        assert "secret" not in complaint

    def test_that_is_too_old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "OLDEST_SERVER", 99)
        with pytest.raises(WorkbookError, match="needs 99 or newer") as caught:
            server.check(server.url())
        assert is_one_sentence(caught.value)

    def test_whose_login_may_not_create_databases(self, own_server: EmbeddedServer, complain: Complain) -> None:
        own_server.start()
        ask(own_server, "create role weak login createrole")
        assert "The login weak" in complain(libpq_url(own_server.url.set(username="weak")))

    def test_that_is_not_for_the_stand_in(self, own_server: EmbeddedServer, run_python: Run) -> None:
        # First a server whose roles mean something else, then a real Supabase server.
        own_server.start()
        ask(own_server, "create role anon bypassrls")
        result = run_python(
            """
import psycopg, workbook as wb
from workbook import server
for role in ("supabase_admin", None):
    try:
        wb.clone()
    except wb.WorkbookError as error:
        print(error)
    if role:
        with psycopg.connect(server.libpq_url(server.url())) as connection:
            connection.execute(f"drop role anon; create role {role} superuser")
""",
            DATABASE_URL=libpq_url(own_server.url),
        )
        other, supabase = result.stdout.splitlines()
        assert "the role anon exists on this server with other rights" in other
        assert "this is a Supabase server" in supabase
        assert all("disposable PostgreSQL server." in line for line in (other, supabase))
        assert ask(own_server, "select count(*) from pg_database where datname like 'wb%'") == 0
        assert ask(own_server, "select count(*) from pg_roles where rolname in ('anon', 'workbook_owner')") == 0
