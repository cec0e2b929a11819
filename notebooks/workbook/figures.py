"""The README's figures: how long the workbook's commands take, and how much memory it needs."""

import os
import shutil
import statistics
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import psutil
import psycopg
from jupyter_client import BlockingKernelClient, KernelManager
from jupyter_client.manager import start_new_kernel
from tqdm import tqdm

from . import server
from .database import clone
from .measure import seconds
from .paths import NOTEBOOKS, ROOT
from .server import Account, EmbeddedServer

MB = 1_000_000


def measure() -> str:
    """Measure every figure and return them as a Markdown table; takes a few minutes.

    Raises:
        CalledProcessError: the tests fail, so that their time says nothing.
    """
    rows: list[tuple[str, str, str]] = []
    with tqdm(total=4, unit=" groups", desc="measuring") as bar:
        for group in (_server_start, _clone_time, _first_result, _test_time):
            rows += group()
            bar.update()
    version = psycopg.connect(server.libpq_url(server.url())).info.server_version // 10_000
    lines = [
        "| figure | measured | to reach |",
        "|---|---:|---:|",
        *(f"| {name} | {value} | {target} |" for name, value, target in rows),
    ]
    origin = f"Measured on {datetime.now(UTC).date()}, {os.cpu_count()} cores, PostgreSQL {version}, at the small scale."
    return "\n".join([*lines, "", origin])


def _server_start() -> list[tuple[str, str, str]]:
    """Time a server of its own, from no programs and no data, and again from stopped."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    own = EmbeddedServer(folder / "server", server._archive(), Account.for_server())

    def start() -> None:
        own.start()
        psycopg.connect(server.libpq_url(own.url)).execute("select 1").connection.close()

    try:
        from_nothing = seconds(start)
        again = []
        for _ in range(5):
            own.stop()
            again.append(seconds(start))
    finally:
        own.stop()
        shutil.rmtree(folder)
    return [
        ("embedded server, from nothing to the first query", f"{from_nothing:.1f} s", "≤ 3 s"),
        ("embedded server, from stopped to the first query", f"{statistics.median(again):.2f} s", "≤ 0.5 s"),
    ]


def _clone_time() -> list[tuple[str, str, str]]:
    clone()
    times = [1000 * seconds(clone) for _ in range(20)]
    return [("a clone of v1, median of 20", f"{statistics.median(times):.0f} ms", "≤ 100 ms")]


def _first_result() -> list[tuple[str, str, str]]:
    """Time the start notebook up to its first rows, and weigh its kernel and the server then."""
    cells = [
        cell.source for cell in nbformat.read(NOTEBOOKS / "00_start_here.ipynb", as_version=4).cells if cell.cell_type == "code"
    ]
    first_rows = next(place for place, source in enumerate(cells) if "clone(" in source)
    kernels: list[tuple[KernelManager, BlockingKernelClient]] = []

    def run(some: list[str]) -> None:
        if not kernels:
            kernels.append(start_new_kernel(cwd=str(NOTEBOOKS), extra_arguments=["--IPKernelApp.log_level=40"]))
        for source in some:
            reply = kernels[0][1].execute_interactive(source, output_hook=lambda message: None)
            assert reply["content"]["status"] == "ok", source

    took = seconds(lambda: run(cells[: first_rows + 1]))
    run(cells[first_rows + 1 :])
    manager, client = kernels[0]
    kernel = psutil.Process(vars(manager.provisioner)["pid"])
    postgres = [psutil.Process(pid) for pid in EmbeddedServer.of_checkout()._processes()]
    weight = sum(process.memory_full_info().pss for process in (kernel, *postgres)) / MB
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    return [
        ("start notebook, from opening its kernel to its first rows", f"{took:.1f} s", "≤ 10 s"),
        ("memory of the server and one kernel", f"{weight:.0f} MB", "≤ 600 MB"),
    ]


def _test_time() -> list[tuple[str, str, str]]:
    """Time `make test` in a fresh clone, which installs everything first, and once more."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        checkout = Path(folder) / "checkout"
        subprocess.run(["git", "clone", "--quiet", ROOT, checkout], check=True)
        environment = {
            name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "PYTHONPATH", "MAKEFLAGS")
        }

        def test() -> None:
            subprocess.run(["make", "test"], cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL)

        bare, installed = seconds(test), seconds(test)
    return [
        ("`make test` from a bare clone", f"{bare:.0f} s", "≤ 240 s"),
        ("`make test` with the environment installed", f"{installed:.0f} s", "≤ 240 s"),
    ]
