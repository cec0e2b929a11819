"""The virtual environment that make works in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workbook.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine"),
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with this Makefile, and nothing to install."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").write_text("")
    return tmp_path


def make_environment(checkout: Path, *options: str) -> Path:
    """Make an environment by hand, with a file of one's own in it; return that file."""
    subprocess.run([sys.executable, "-m", "venv", *options, checkout / ".venv"], check=True)
    own = checkout / ".venv" / "own"
    own.touch()
    return own


def setup(checkout: Path) -> None:
    """Run make as somebody would who has no environment activated."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run(["make", "setup", f"PYTHON={sys.executable}"], cwd=checkout, env=environment, check=True)
    version = subprocess.run(
        [checkout / ".venv/bin/python", "-m", "pip", "--version"], capture_output=True, text=True, check=True
    )
    assert str(checkout) in version.stdout


def test_environment_made_by_hand_is_kept(checkout: Path) -> None:
    own = make_environment(checkout)
    setup(checkout)
    (checkout / "requirements.txt").write_text("# changed\n")
    setup(checkout)
    assert own.exists()


def test_environment_without_pip_is_kept(checkout: Path) -> None:
    own = make_environment(checkout, "--without-pip")
    setup(checkout)
    assert own.exists()


def test_environment_whose_python_is_gone_is_made_anew(checkout: Path) -> None:
    own = make_environment(checkout, "--without-pip")
    for python in (checkout / ".venv/bin").glob("python*"):
        python.unlink()
    setup(checkout)
    assert not own.exists()
