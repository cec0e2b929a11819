"""JupyterLab: saving a notebook that nobody has changed changes no byte, and the reader's copy of the exercises works."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_server.serverapp import ServerApp
from workbook import lab, report
from workbook.paths import NOTEBOOKS

WRITTEN_BY_LAB = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": "3.14.0",
    },
}
"""The metadata that JupyterLab 4 sends when it saves a notebook whose kernel it has started, from another Python."""


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ServerApp]]:
    """What reads and writes files for JupyterLab as `make lab` configures it, in a folder with copies of the notebooks."""
    root = tmp_path_factory.mktemp("checkout")
    for path in report.notebooks():
        shutil.copy(path, root)
    app = ServerApp()
    app.initialize([*lab.options(root, root / "00_start_here.ipynb"), "--port=0"], find_extensions=False, new_httpserver=False)
    yield root, app
    ServerApp.clear_instance()


def save(app: ServerApp, name: str, metadata: dict) -> None:
    """Read a notebook and save it again, as JupyterLab does two minutes after it was opened."""

    async def read_and_save() -> None:
        model = await app.contents_manager.get(name)
        model["content"]["metadata"] = metadata
        await app.contents_manager.save(model, name)

    asyncio.run(read_and_save())


@pytest.mark.parametrize("path", report.notebooks(), ids=lambda path: path.stem)
def test_saving_an_untouched_notebook_changes_nothing(path: Path, contents: tuple[Path, ServerApp]) -> None:
    root, app = contents
    save(app, path.name, WRITTEN_BY_LAB)
    assert (root / path.name).read_bytes() == path.read_bytes()


def test_notebook_of_another_kernel_keeps_its_metadata(contents: tuple[Path, ServerApp]) -> None:
    root, app = contents
    own = {"kernelspec": {"display_name": "R", "language": "R", "name": "ir"}}
    save(app, report.notebooks()[0].name, own)
    assert nbformat.read(root / report.notebooks()[0].name, as_version=4).metadata == own


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the exercises in another folder."""
    monkeypatch.setattr(lab, "EXERCISES", tmp_path / "exercises" / lab.EXERCISES.name)
    return lab.copy_exercises()


class TestCopyOfTheExercises:
    def test_has_every_cell_and_no_output(self, copy: Path) -> None:
        cells = nbformat.read(copy, as_version=4).cells
        assert len(cells) == len(nbformat.read(NOTEBOOKS / copy.name, as_version=4).cells)
        assert not any(cell.outputs or cell.execution_count for cell in cells if cell.cell_type == "code")

    def test_leads_to_the_chapters(self, copy: Path) -> None:
        links = [part.partition(")")[0] for part in copy.read_text().split("](")[1:]]
        assert len(links) >= 5
        for link in links:
            assert (copy.parent / link).exists(), link

    def test_finds_the_package_whoever_opens_it(self, copy: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [sys.executable, "-c", "import workbook; print(workbook.exercises.show(1).data)"],
            cwd=copy.parent,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert "create table public.bookmarks" in done.stdout, done.stderr

    def test_is_made_once(self, copy: Path) -> None:
        edited = copy.read_text().replace("# 14", "# My 14")
        copy.write_text(edited)
        assert lab.copy_exercises() == copy
        assert copy.read_text() == edited

    def test_is_stored_as_lab_stores_it(self, copy: Path) -> None:
        notebook = json.loads(copy.read_text())
        assert copy.read_text() == json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        assert notebook["metadata"] == lab.METADATA
