"""docker-compose.yml, where a Docker engine is there: it starts, is healthy, and the workbook works on it."""

import os
import socket
import subprocess
from collections.abc import Iterator

import pytest
from helpers import Run
from workbook.paths import ROOT

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
