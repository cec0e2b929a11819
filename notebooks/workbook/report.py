"""Running the notebooks."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from tqdm import tqdm

from .lab import METADATA
from .paths import NOTEBOOKS

CELL_TIMEOUT_S = 900
PARALLEL = 2


@dataclass(frozen=True)
class Executed:
    """A notebook after a run, with its new outputs."""

    path: Path
    notebook: NotebookNode
    failure: str | None
    """The first failing cell's error in one line, or None."""


def notebooks() -> list[Path]:
    """Return the notebooks in reading order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def benchmarks() -> list[Path]:
    """Return the notebooks that measure at the chosen SCALE, and are stored at another than the smallest."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_benchmark_*.ipynb"))


def chapters() -> list[Path]:
    """Return the notebooks that are presented: those of the issues and the benchmarks."""
    return [path for path in notebooks() if 0 < int(path.name[:2]) < 13]


def skipped(path: Path) -> str | None:
    """Say why a notebook cannot run here, or None: the one on Citus needs a cluster."""
    if path.name == "17_distributed.ipynb" and not os.environ.get("CITUS_URL"):
        return "set CITUS_URL to a Citus coordinator to run this notebook; CONTRIBUTING.md says how to get one"
    return None


def execute(paths: list[Path]) -> list[Executed]:
    """Run notebooks, two at a time, with a progress bar; the files are not touched.

    One that cannot run here is as it is stored.
    """
    runs = list(_execute([path for path in paths if not skipped(path)], PARALLEL))
    runs += [Executed(path, nbformat.read(path, as_version=4), None) for path in paths if skipped(path)]
    return sorted(runs, key=lambda run: run.path)


def execute_in_turn(paths: list[Path]) -> Iterator[Executed]:
    """Run notebooks one after the other with one progress bar, and yield each as it ends; the files are not touched."""
    return _execute(paths, 1)


def _execute(paths: list[Path], parallel: int) -> Iterator[Executed]:
    read = [nbformat.read(path, as_version=4) for path in paths]
    total = sum(cell.cell_type == "code" for notebook in read for cell in notebook.cells)
    with tqdm(total=total, unit=" cells", desc="running the notebooks") as bar, ThreadPoolExecutor(parallel) as pool:
        clients = [_client(path, notebook, bar.update) for path, notebook in zip(paths, read, strict=True)]
        runs = [pool.submit(_execute_one, path, client) for path, client in zip(paths, clients, strict=True)]
        try:
            for run in as_completed(runs):
                yield run.result()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for client in clients:
                if client.km and client.km.provisioner and client.km.has_kernel:
                    # A local kernel's provisioner knows its process.
                    os.kill(vars(client.km.provisioner)["pid"], signal.SIGKILL)
            raise


def _client(path: Path, notebook: NotebookNode, progress: Callable[[], object]) -> NotebookClient:
    return NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        coalesce_streams=True,
        on_cell_executed=lambda **_: progress(),
    )


def _execute_one(path: Path, client: NotebookClient) -> Executed:
    try:
        # Whatever a kernel prints past its cells would break the progress bar.
        client.execute(stdout=DEVNULL, stderr=DEVNULL)
    except CellExecutionError as error:
        return Executed(path, client.nb, f"{error.ename}: {error.evalue}".splitlines()[0])
    except (DeadKernelError, TimeoutError) as error:
        return Executed(path, client.nb, str(error).splitlines()[0])
    return Executed(path, client.nb, None)


def is_picture(cell: NotebookNode) -> bool:
    """Tell whether a cell draws a picture, whose output no test compares."""
    return "nbval-ignore-output" in cell.metadata.get("tags", [])


def outputs(runs: list[Executed], mime: str) -> Iterator[Any]:
    """Yield the outputs of one kind, such as text/html, in the order of the notebooks."""
    for run in runs:
        for cell in run.notebook.cells:
            for output in cell.get("outputs", []):
                if mime in output.get("data", {}):
                    yield output.data[mime]


def stored() -> list[Executed]:
    """Return the notebooks with the outputs that are stored in them."""
    return [Executed(path, nbformat.read(path, as_version=4), None) for path in notebooks()]


def refresh(runs: list[Executed]) -> None:
    """Store the new outputs in the notebooks that ran through."""
    for run in runs:
        if run.failure is None:
            for cell in run.notebook.cells:
                if cell.cell_type == "code":
                    # A progress bar is no result.
                    cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            run.notebook.metadata = nbformat.from_dict(METADATA)
            nbformat.write(run.notebook, run.path)
