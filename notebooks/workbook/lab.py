"""JupyterLab: what it opens on, and what it writes into a notebook that nobody has changed."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from jupyterlab.labapp import LabApp

from .paths import BUILD, NOTEBOOKS, ROOT

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""What a notebook says of its kernel. JupyterLab would add the kernel's version, which each machine has another one of."""

EXERCISES = BUILD / "exercises" / "14_exercises.ipynb"
"""The reader's own copy of the exercises, which git does not see."""


def open_lab(notebook: Path) -> None:
    """Open JupyterLab on a notebook of the checkout, until it is closed."""
    with suppress(KeyboardInterrupt):
        # In this process: whatever ends it ends JupyterLab and its kernels too.
        LabApp.launch_instance(options(ROOT, notebook))


def options(root: Path, notebook: Path) -> list[str]:
    """Return JupyterLab's options: the folder that it shows, and the notebook in there that it opens on."""
    given = [
        # The checkout and not the notebooks' folder: readers follow links to the SQL files.
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/{notebook.relative_to(root)}",
        f"--ContentsManager.pre_save_hook={__name__}.keep_metadata",
        # No question to the network whether there is a newer JupyterLab.
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    return given + ["--allow-root"] * (os.geteuid() == 0)


def keep_metadata(model: dict[str, Any], **_: object) -> None:
    """Save a notebook with the metadata that it is stored with here: Jupyter Server calls this before each save."""
    if model["type"] == "notebook" and model["content"]["metadata"].get("kernelspec", {}).get("name") == "python3":
        model["content"]["metadata"] |= METADATA


def copy_exercises() -> Path:
    """Make the reader's own copy of the exercises, unless there is one, and return it."""
    if not EXERCISES.exists():
        EXERCISES.parent.mkdir(parents=True, exist_ok=True)
        notebook = json.loads((NOTEBOOKS / EXERCISES.name).read_text())
        to_chapters = f"]({os.path.relpath(NOTEBOOKS, EXERCISES.parent)}/"
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell |= {"outputs": [], "execution_count": None}
            else:
                cell["source"] = [re.sub(r"\]\((?=\w+\.ipynb)", to_chapters, line) for line in cell["source"]]
        EXERCISES.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    # A kernel looks for modules in its notebook's folder, whoever starts it.
    for name in ("workbook", "schema_audit"):
        package = EXERCISES.parent / name
        if not package.is_symlink():
            package.symlink_to(os.path.relpath(NOTEBOOKS / name, package.parent))
    return EXERCISES
