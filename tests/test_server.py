"""The server's lifecycle, and the sentence that each thing in its way gets."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg
import pytest
from helpers import Run, ask, is_one_sentence
from workbook import server
from workbook.errors import WorkbookError
from workbook.server import Account, EmbeddedServer

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to switch to another account")


@pytest.mark.slow
class TestLifecycle:
    def test_from_nothing_to_a_query_and_back(self, own_server: EmbeddedServer) -> None:
        own_server.programs.unlink(missing_ok=True)
        assert own_server.start()
        assert ask(own_server, "select rolname from pg_roles where rolsuper") == server.SUPERUSER != "postgres"
        assert not own_server.start()
        assert own_server.stop()
        assert not own_server.stop()
        assert own_server.start()

    def test_only_its_own_account_gets_in(self, own_server: EmbeddedServer) -> None:
        own_server.start()
        for folder in (own_server.data, own_server.socket):
            assert folder.stat().st_mode & 0o077 == 0
        assert ask(own_server, "show listen_addresses") == ""

    def test_kill_9_loses_nothing_and_does_not_keep_it_from_starting(self, own_server: EmbeddedServer) -> None:
        own_server.start()
        ask(own_server, "create table kept as select 42 as answer")
        os.kill(own_server._pid(), signal.SIGKILL)
        time.sleep(0.1)
        assert own_server.start()
        assert ask(own_server, "select answer from kept") == 42

    def test_pid_file_that_names_an_unrelated_process(self, own_server: EmbeddedServer) -> None:
        own_server.start()
        own_server.stop()
        (own_server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{own_server.data}\n")
        assert own_server.start()

    def test_interrupted_initdb(self, own_server: EmbeddedServer) -> None:
        own_server._make_home()
        half = own_server.data.with_name(own_server.data.name + ".new")
        half.mkdir()
        (half / "PG_VERSION").write_text("17\n")
        assert own_server.start()
        assert not half.exists()

    def test_several_processes_start_one_server(self, own_server: EmbeddedServer) -> None:
        code = (
            "from pathlib import Path; from workbook.server import *; import workbook.server as s;"
            f"e = EmbeddedServer(Path({str(own_server.home)!r}), s._archive(), Account.for_server());"
            "print(e.start())"
        )
        runs = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(server.ROOT / "notebooks")},
            )
            for _ in range(3)
        ]
        assert sorted(run.communicate()[0].strip() for run in runs) == ["False", "False", "True"]

    def test_stops_only_when_nobody_else_uses_it(self, own_server: EmbeddedServer) -> None:
        own_server.start()
        other = user_of(own_server, "time.sleep(60)")
        assert not own_server.stop_unless_used()
        kill(other)
        assert own_server.stop_unless_used()


def user_of(own: EmbeddedServer, then: str) -> subprocess.Popen[str]:
    """Start a process that uses the server, and return it once the server answers it."""
    clock = f"parse_clock('{own.clock:%F %T}')" if own.clock else None
    code = (
        "import time; from pathlib import *; from workbook.server import *\n"
        f"e = EmbeddedServer(Path({str(own.home)!r}), Path({str(own.archive)!r}), Account.for_server(), {clock},"
        f" {own.durable}, {own.linger_s})\n"
        "e.start(); psycopg.connect(libpq_url(e.url)).close(); print('uses it', flush=True)\n"
        f"{then}"
    )
    environment = {**os.environ, "PYTHONPATH": str(server.ROOT / "notebooks")}
    user = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert user.stdout.readline() == "uses it\n"
    return user


def kill(user: subprocess.Popen[str]) -> None:
    """End a process as nothing can prepare for."""
    user.kill()
    user.communicate()


def ends(own: EmbeddedServer, within_s: float = 20) -> bool:
    """Wait for the server to end by itself."""
    deadline = time.monotonic() + within_s
    while own._pid() is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    return own._pid() is None


needs_clock = pytest.mark.skipif(server._clock_library() is None, reason="libfaketime (Debian's package faketime) is not here")


class TestClock:
    def test_unset_leaves_the_server_alone(self) -> None:
        assert server.parse_clock("") is None
        assert server._clock_environment(None) == {}

    @pytest.mark.parametrize("text", ["2024-02-29 12:00", "2024-02-29 12:00:00"])
    def test_is_a_moment_in_utc(self, text: str) -> None:
        assert server.parse_clock(text) == datetime(2024, 2, 29, 12, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (f"{datetime.now(UTC) + timedelta(days=1):%F %R}", "lies in the future"),
            ("2023-12-31 23:59", "lies before rows that have to be old"),
            ("2026-02-29 12:00", "cannot be read"),
            ("2026-11-18", "cannot be read"),
            ("yesterday", "cannot be read"),
        ],
    )
    def test_that_cannot_be_set_is_refused(self, text: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLOCK", text)
        with pytest.raises(WorkbookError, match=reason) as caught:
            EmbeddedServer.of_checkout()
        assert is_one_sentence(caught.value)

    def test_of_a_server_elsewhere_is_refused(self, run_python: Run) -> None:
        code = "from workbook import server; server.url()"
        refused = run_python(code, CLOCK="2026-11-18 12:00", DATABASE_URL="postgresql://127.0.0.1:1/postgres")
        assert refused.stderr.endswith(
            "CLOCK sets the embedded server's clock, and DATABASE_URL names another server: unset one of them.\n"
        )

    def test_without_the_library_names_the_package(self, own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "_clock_library", lambda: None)
        with pytest.raises(WorkbookError, match="install Debian's package faketime") as caught:
            at(own_server, datetime(2026, 11, 18, 12, tzinfo=UTC)).start()
        assert is_one_sentence(caught.value)

    @needs_clock
    def test_that_the_library_does_not_set_is_noticed(self, own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
        # What a library for another architecture does: the linker says so on stderr, and goes on without it.
        monkeypatch.setattr(server, "_clock_library", lambda: Path("/nowhere/libfaketime.so.1"))
        clock = at(own_server, datetime(2026, 11, 18, 12, tzinfo=UTC))
        with pytest.raises(WorkbookError, match="in spite of CLOCK") as caught:
            clock.start()
        assert is_one_sentence(caught.value)
        assert not clock.stop()

    @pytest.mark.slow
    @needs_clock
    def test_is_the_servers_alone_and_its_timers_run(self, own_server: EmbeddedServer) -> None:
        own_server.start()
        moment = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
        clock = at(own_server, moment)
        try:
            assert clock.start()
            assert clock.data != own_server.data and clock.socket != own_server.socket
            assert timedelta() <= ask(clock, "select now()") - moment < timedelta(minutes=1)
            assert abs(ask(own_server, "select now()") - datetime.now(UTC)) < timedelta(minutes=1)
            began = time.monotonic()
            with pytest.raises(psycopg.errors.QueryCanceled):
                ask(clock, "set statement_timeout = '200ms'; select pg_sleep(30)")
            assert time.monotonic() - began < 15
            with psycopg.connect(server.libpq_url(clock.url), autocommit=True) as holder:
                holder.execute("select pg_advisory_lock(1)")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    ask(clock, "set lock_timeout = '200ms'; select pg_advisory_lock(1)")
        finally:
            clock.stop()

    @pytest.mark.slow
    @needs_clock
    def test_that_is_set_back_meets_no_row_of_its_future(self, own_server: EmbeddedServer) -> None:
        later, earlier = (at(own_server, datetime(2026, 1, day, tzinfo=UTC)) for day in (2, 1))
        try:
            later.start()
            ask(later, "create table made_later as select now()")
            with pytest.raises(WorkbookError, match="with another CLOCK") as caught:
                earlier.start()
            assert is_one_sentence(caught.value)
            assert later.stop_unless_used()
            assert earlier.start()
            assert ask(earlier, "select to_regclass('made_later') is null")
        finally:
            earlier.stop()

    @pytest.mark.slow
    @needs_clock
    def test_begins_with_the_command(self, run_python: Run) -> None:
        code = (
            "import os, workbook as wb; from workbook import server\n"
            "with server.running():\n"
            "    assert 'CLOCK' not in os.environ\n"
            "    print(wb.clone('v1').value('select now()'))"
        )
        for clock in ("2024-02-29 12:00", "2026-11-15 23:59:30", "2026-11-15 23:59:30"):
            shown = run_python(code, CLOCK=clock, DATABASE_URL="")
            assert not shown.stderr
            moment = datetime.fromisoformat(shown.stdout.strip())
            assert timedelta() <= moment - server.parse_clock(clock) < timedelta(minutes=1)


@pytest.mark.slow
class TestLastUser:
    KINDS = [
        {},
        {"durable": True},
        pytest.param({"clock": datetime(2026, 1, 1, tzinfo=UTC)}, marks=needs_clock),
    ]

    @pytest.fixture
    def brief(self, own_server: EmbeddedServer) -> EmbeddedServer:
        """A server that goes on for a second when nobody uses it any more."""
        return replace(own_server, linger_s=1)

    @pytest.mark.parametrize("kind", KINDS, ids=["plain", "durable", "clock"])
    def test_that_is_killed_takes_the_server_along(self, kind: dict[str, object], brief: EmbeddedServer) -> None:
        own = replace(brief, **kind)
        user = user_of(own, "time.sleep(600)")
        time.sleep(3)
        assert own._pid() is not None
        kill(user)
        assert ends(own)
        log = own.log.read_text()
        assert "fast shutdown" in log and "database system is shut down" in log

    def test_of_several_ends_it_whoever_started_it(self, brief: EmbeddedServer) -> None:
        first, second = user_of(brief, "time.sleep(600)"), user_of(brief, "time.sleep(600)")
        kill(first)
        time.sleep(3)
        assert brief._pid() is not None
        kill(second)
        assert ends(brief)

    def test_that_is_only_connected_counts(self, brief: EmbeddedServer) -> None:
        brief.start()
        with psycopg.connect(server.libpq_url(brief.url), autocommit=True) as connection:
            brief.leave()
            time.sleep(3)
            connection.execute("select 1")
        assert ends(brief)

    def test_that_comes_as_it_stops_has_it_started_again(self, brief: EmbeddedServer) -> None:
        hasty = replace(brief, linger_s=0.1)
        for pause in range(12):
            hasty.start()
            assert ask(hasty, "select 1") == 1
            hasty.leave()
            time.sleep(0.03 * pause)
        assert ends(hasty)

    def test_after_a_killed_keeper_still_ends_it(self, brief: EmbeddedServer) -> None:
        brief.start()
        (keeper,) = [
            process for process in psutil.process_iter(["cmdline"]) if str(brief.home) in (process.info["cmdline"] or [])
        ]
        keeper.kill()
        psutil.wait_procs([keeper])
        assert not brief.start()
        brief.leave()
        assert ends(brief)

    def test_of_no_command_is_what_a_notebook_is(self, run_python: Run) -> None:
        done = run_python("from workbook import server; server.url(); print(list(server._joined))", DATABASE_URL="")
        assert "users-" in done.stdout


def at(own: EmbeddedServer, moment: datetime) -> EmbeddedServer:
    """Return the server beside this one whose clock begins at a moment."""
    return replace(own, clock=moment)


class TestFolder:
    def test_lies_in_the_checkout_where_it_can(self, own_server: EmbeddedServer) -> None:
        assert server._home(own_server.home.parent, own_server.account) == own_server.home.parent / ".postgres"

    @as_root
    def test_leaves_a_checkout_that_the_account_may_not_enter(self, own_server: EmbeddedServer) -> None:
        checkout = own_server.home.parent / "private" / "checkout"
        checkout.mkdir(parents=True)
        checkout.parent.chmod(0o700)
        home = server._home(checkout, own_server.account)
        assert home.parent == Path("/var/tmp")
        assert home != server._home(checkout / "another", own_server.account)

    @pytest.mark.parametrize("name", ["with space", "quo'te", "x" * 120])
    def test_leaves_a_path_that_a_socket_cannot_have(self, name: str, own_server: EmbeddedServer) -> None:
        assert server._home(own_server.home.parent / name, None).parent == Path("/var/tmp")

    def test_of_somebody_else_is_not_used(self, own_server: EmbeddedServer, tmp_path: Path) -> None:
        trap = own_server.home.parent / "trap"
        trap.symlink_to(tmp_path)
        with pytest.raises(WorkbookError, match="belongs to somebody else"):
            EmbeddedServer(trap, own_server.archive, own_server.account).start()


def program_that(own: EmbeddedServer, script: str) -> None:
    """Put a program in the place of the real ones."""
    own._make_home()
    own.programs.unlink(missing_ok=True)
    folder = own.programs / "bin"
    folder.mkdir(parents=True)
    for made in (own.programs, folder):
        made.chmod(0o755)
    for name in ("initdb", "pg_ctl"):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)


class TestEmbeddedServerInTrouble:
    def test_missing_system_library(self, own_server: EmbeddedServer) -> None:
        program_that(own_server, "echo 'initdb: error while loading shared libraries: libxml2.so.2: cannot open' >&2; exit 127")
        with pytest.raises(WorkbookError, match=r"libxml2\.so\.2.*docker compose up") as caught:
            own_server.start()
        assert is_one_sentence(caught.value)

    def test_full_disk(self, own_server: EmbeddedServer) -> None:
        program_that(own_server, "echo 'initdb: error: could not write: No space left on device' >&2; exit 1")
        with pytest.raises(WorkbookError, match="is full; free some space") as caught:
            own_server.start()
        assert is_one_sentence(caught.value)

    @as_root
    def test_really_full_disk(self, own_server: EmbeddedServer) -> None:
        small = own_server.home.parent / "small"
        small.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", small], stderr=subprocess.DEVNULL
        ).returncode:
            pytest.skip("this machine lets nobody mount a small disk")
        try:
            full = EmbeddedServer(small / "server", own_server.archive, own_server.account)
            with pytest.raises(WorkbookError, match="is full; free some space"):
                full.start()
        finally:
            full.leave()
            subprocess.run(["umount", small], check=True)

    def test_other_failure_names_the_log(self, own_server: EmbeddedServer) -> None:
        program_that(own_server, "echo 'something else' >&2; exit 1")
        with pytest.raises(WorkbookError, match=r"could not be created \(something else\)") as caught:
            own_server.start()
        assert is_one_sentence(caught.value)

    def test_folder_that_cannot_be_written(self, own_server: EmbeddedServer) -> None:
        # Not even root may make a folder there.
        unwritable = EmbeddedServer(Path("/proc/schema-workbook"), own_server.archive, own_server.account)
        for attempt in (unwritable.start, unwritable.join):
            with pytest.raises(WorkbookError, match="cannot be written") as caught:
                attempt()
            assert is_one_sentence(caught.value)

    @as_root
    def test_no_account_to_switch_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nobody(name: str) -> None:
            raise KeyError(name)

        monkeypatch.setattr(server.pwd, "getpwnam", nobody)
        with pytest.raises(WorkbookError, match="refuses to run as root"):
            Account.for_server()


def test_durable_server_waits_for_the_disk_in_a_folder_of_its_own(own_server: EmbeddedServer) -> None:
    durable = replace(own_server, durable=True)
    assert durable.data != own_server.data and durable.socket != own_server.socket
    durable.start()
    try:
        for name in ("fsync", "full_page_writes", "autovacuum", "synchronous_commit"):
            assert ask(durable, f"show {name}") == "on", name
    finally:
        durable.stop()
