"""docker-compose.yml, where a Docker engine is there: it starts, is healthy, and the workbook works on it.

What its replica does is tried without an engine too.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
import yaml
from helpers import Run, ask
from workbook.paths import ROOT
from workbook.server import EmbeddedServer

PROJECT = "schema-workbook-test"


def compose(*words: str, port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "compose", "--project-name", PROJECT, *words],
        cwd=ROOT,
        env={**os.environ, "POSTGRES_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture
def port() -> Iterator[int]:
    """The port of a database from the compose file, which goes again with all that it holds."""
    try:
        answers = subprocess.run(["docker", "info"], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        answers = False
    if not answers:
        pytest.skip("no Docker engine answers")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    try:
        started = compose("up", "--detach", "--wait", "db", port=number)
        if started.returncode and ("pull" in started.stderr or "manifest" in started.stderr):
            pytest.skip(f"the image cannot be pulled: {started.stderr.strip().splitlines()[-1]}")
        assert started.returncode == 0, started.stderr
        yield number
    finally:
        compose("down", "--volumes", "--timeout", "1", port=number)


def test_compose_file_serves_the_workbook(port: int, run_python: Run) -> None:
    url = f"postgresql://postgres:{os.environ.get('POSTGRES_PASSWORD', 'workbook')}@127.0.0.1:{port}/postgres"
    code = "import workbook as wb; print(wb.clone(3).value('select count(*) from sessions'))"
    done = run_python(code, DATABASE_URL=url)
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr


# --- The replica, without an engine ---------------------------------------------------------------------------


def services() -> dict[str, dict]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def test_the_replica_is_of_the_servers_release_and_only_on_demand() -> None:
    db, replica = services()["db"], services()["replica"]
    assert replica["image"] == db["image"] and replica["profiles"] == ["replica"] and "profiles" not in db
    assert replica["environment"]["PGPASSWORD"] == db["environment"]["POSTGRES_PASSWORD"]
    assert all(port.startswith("127.0.0.1:") for service in (db, replica) for port in service["ports"])


def can_be_postgres() -> bool:
    try:
        return os.geteuid() == 0 and bool(shutil.which("setpriv")) and pwd.getpwnam("postgres").pw_uid > 0
    except KeyError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not can_be_postgres(), reason="only root can become the account postgres, as the container does")
def test_the_replica_copies_the_server_once_and_follows_it(own_server: EmbeddedServer) -> None:
    """What the container runs, on the embedded server's programs; each start is a container's."""
    (script,) = services()["replica"]["command"]
    folder = own_server.home.parent / "replica"
    folder.mkdir()
    folder.chmod(0o777)
    own_server.start()
    script = script.replace("$$", "$").replace("postgres -c jit", f"postgres -k {folder} -c jit")
    assert str(folder) in script
    environment = {
        "PATH": f"{own_server.program('psql').parent}:{os.environ['PATH']}",
        "PGHOST": str(own_server.socket),
        "PGUSER": "workbook",
        "PGDATA": str(folder / "data"),
        "LC_ALL": "C",
        # The release's own libpq, where the system has an older one.
        "LD_LIBRARY_PATH": str(own_server.programs / "lib"),
    }

    def follows(answer: int) -> bool:
        """Tell whether the replica comes to show this, and gets the log by its slot."""
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            time.sleep(0.1)
            with suppress(psycopg.Error), psycopg.connect(host=str(folder), user="workbook", dbname="postgres") as connection:
                found = connection.execute("select pg_is_in_recovery(), (select answer from written)").fetchone()
                if found == (True, answer) and ask(own_server, f"select active from {slots}"):
                    return True
        return False

    slots = "pg_replication_slots where slot_name = 'replica'"
    let_in = "select count(*) from pg_hba_file_rules where 'replication' = any (database) and address = 'all' and error is null"
    ask(own_server, "create table written as select 0 as answer")
    # Twice with its data, and once without: it is made anew then, in the place of the slot that it has left.
    for start in (1, 2, 3):
        if start == 3:
            shutil.rmtree(folder / "data")
        with open(folder / "log", "a") as log:
            container = subprocess.Popen(["bash", "-euc", script], env=environment, cwd="/", stdout=log, stderr=log)
        try:
            ask(own_server, f"update written set answer = {start}")
            assert follows(start), (folder / "log").read_text()
        finally:
            container.send_signal(signal.SIGINT)
            container.wait(30)
        # It has let itself in for good, and once.
        assert ask(own_server, let_in) == 1
