"""Running the notebooks, and the HTML report made of them."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from html import escape
from pathlib import Path
from subprocess import DEVNULL

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from tqdm import tqdm

from .catalogue import all_issues
from .errors import WorkbookError
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


def execute(paths: list[Path]) -> list[Executed]:
    """Run notebooks, two at a time, with a progress bar; the files are not touched."""
    return sorted(_execute(paths, PARALLEL), key=lambda run: run.path)


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
                if client.km and client.km.has_kernel:
                    os.kill(client.km.provisioner.pid, signal.SIGKILL)
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


def refresh(runs: list[Executed]) -> None:
    """Store the new outputs in the notebooks that ran through."""
    for run in runs:
        if run.failure is None:
            run.notebook.metadata = nbformat.from_dict(
                {
                    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                    "language_info": {"name": "python"},
                }
            )
            nbformat.write(run.notebook, run.path)


# --- HTML -----------------------------------------------------------------------------------------------------


def write_html(runs: list[Executed], folder: Path) -> Path:
    """Write a page for each notebook and an index that leads to every issue; return the index.

    The pages work from disk and ask nothing of a network.

    Raises:
        WorkbookError: the folder cannot be written.
    """
    exporter = HTMLExporter(
        template_name="lab",
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        mermaid_js_url="",
        mermaid_layout_elk_js_url="",
    )
    pages = {}
    for run in runs:
        resources = {"metadata": {"name": _title(run.notebook)}}
        html, _ = exporter.from_notebook_node(run.notebook, resources=resources)
        html = _link_to_pages(_without_outside_scripts(html))
        pages[run.path.stem] = html.replace("</head>", f"<style>{_style('page')}</style></head>", 1)
    index = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, html in pages.items():
            (folder / f"{name}.html").write_text(html)
        index.write_text(_index(runs, pages))
    except OSError as error:
        raise WorkbookError(
            f"The report cannot be written to {folder} ({error.strerror}); make the folder writable or free some space."
        ) from None
    return index


def _without_outside_scripts(html: str) -> str:
    """Drop the one script that nbconvert loads from a network whatever it is told: the drawing of mermaid diagrams."""
    return re.sub(r'<script type="module">.*?</script>', "", html, flags=re.DOTALL)


def _link_to_pages(html: str) -> str:
    """Point links between notebooks at their pages."""
    return re.sub(r'href="([\w-]+)\.ipynb', r'href="\1.html', html)


def _title(notebook: NotebookNode) -> str:
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


def _index(runs: list[Executed], pages: dict[str, str]) -> str:
    chapters = "\n".join(
        f'<li><a href="{run.path.stem}.html">{escape(_title(run.notebook))}</a>{" – failed" if run.failure else ""}</li>'
        for run in runs
    )
    sections = {
        int(number): f"{page}.html#{anchor}"
        for page, html in pages.items()
        for anchor, number in re.findall(r'<h2 id="((\d+)-[^"]*)"', html)
    }
    rows = "\n".join(
        f"<tr><td>{issue.number}</td><td>{_linked(issue.title, sections.get(issue.number))}</td>"
        f"<td>{issue.severity}</td><td>{escape(issue.symptom)}</td></tr>"
        for issue in all_issues()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Schema workbook</title><style>{_style('index')}</style></head><body><h1>Schema workbook</h1>"
        f"<p>{len(sections)} of {len(all_issues())} issues so far, each shown, fixed and proved on a real PostgreSQL.</p>"
        f"<ul>{chapters}</ul><table><thead><tr><th>#</th><th>issue</th><th>severity</th><th>what one sees</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></body></html>"
    )


def _style(name: str) -> str:
    return (Path(__file__).parent / f"{name}.css").read_text()


def _linked(text: str, target: str | None) -> str:
    return f'<a href="{escape(target)}">{escape(text)}</a>' if target else escape(text)
