"""What several test files use."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import Run
from workbook import server
from workbook.paths import BUILD, NOTEBOOKS, ROOT
from workbook.server import Account, EmbeddedServer


@contextmanager
def _server_of_its_own() -> Iterator[EmbeddedServer]:
    folder = Path(tempfile.mkdtemp(prefix="wb-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    own = EmbeddedServer(folder / "server", server._archive(), Account.for_server())
    # The programs of this checkout's server, where it has them: unpacking is not what most tests are about.
    programs = EmbeddedServer.of_checkout().programs
    if programs.exists():
        own._make_home()
        own.programs.symlink_to(programs)
    yield own
    own.stop()
    own.leave()
    shutil.rmtree(folder)


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server of the test's own, below a folder that its account may enter."""
    with _server_of_its_own() as own:
        yield own


@pytest.fixture(scope="module")
def lasting_server() -> Iterator[EmbeddedServer]:
    """A server of the file's own, which its tests leave running."""
    with _server_of_its_own() as own:
        own.start()
        yield own


@pytest.fixture
def run_python() -> Run:
    """Run a piece of Python in a process of its own, with the package at hand and other environment variables."""

    def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(NOTEBOOKS), **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


SUPABASE_CLI = "2.117.0"
"""The CLI that the README's commands are tried with, and whose advisors the audit is held against."""


@pytest.fixture(scope="session")
def supabase_cli() -> Path:
    """The CLI, installed once into an ignored folder."""
    folder = BUILD / f"supabase-cli-{SUPABASE_CLI}"
    program = folder / "node_modules" / ".bin" / "supabase"
    if program.exists():
        return program
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not there, which brings the Supabase CLI")
    scratch = folder.with_suffix(".new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        done = subprocess.run(
            [
                npm,
                "install",
                "--prefix",
                scratch,
                "--no-save",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
                f"supabase@{SUPABASE_CLI}",
            ],
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=180,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm does not answer within three minutes, so there is no Supabase CLI")
    if done.returncode != 0:
        pytest.skip(f"npm cannot install the Supabase CLI: {(done.stderr.strip().splitlines() or ['it says nothing'])[0]}")
    scratch.rename(folder)
    return program
