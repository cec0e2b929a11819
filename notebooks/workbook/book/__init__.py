"""The book: the notebooks and what belongs to them as pages that work from disk, made by Sphinx with MyST-NB."""

import re
import shutil
import tempfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from sphinx.cmd.build import build_main

from .. import fixes
from ..errors import WorkbookError
from ..paths import ROOT
from ..report import Executed, is_picture
from . import glossary, pages
from .decks import decks
from .links import issue_numbers

CONFIGURATION = Path(__file__).parent
GUIDES = ("DEPLOY.md", "RESTORES.md")
"""The guides for a live database, which are pages as they are."""


def build(runs: list[Executed], folder: Path) -> Path:
    """Write the book of these notebooks; return its first page.

    Raises:
        WorkbookError: the folder cannot be written, or a page has a link that leads nowhere.
    """
    sources = {f"notebooks/{run.path.name}": nbformat.writes(_prepared(run.notebook)) for run in runs}
    proposed = {
        int(number): text
        for run in runs
        for cell in _prepared(run.notebook).cells
        for number, text in re.findall(r"\(issue-(\d+)-proposed\)=\n### .*\n([^\n]+)", cell.source)
    }
    sources |= {name: pages.with_links_inside((ROOT / name).read_text()) for name in GUIDES}
    sources |= {f"{name}.md": text for name, text in pages.all_pages(runs, proposed).items()}
    _sphinx(sources, "html", folder)
    return folder / "index.html"


def build_decks(runs: list[Executed], folder: Path) -> Path:
    """Write the slide decks, from the notebooks' outputs; return the page that leads to them.

    Raises:
        WorkbookError: the folder cannot be written.
    """
    _sphinx({f"{name}.md": text for name, text in decks(runs).items()}, "revealjs", folder)
    return folder / "index.html"


def _sphinx(sources: dict[str, str], builder: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as made:
        source = Path(made)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name, text in sources.items():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_text(text)
        except OSError as error:
            raise WorkbookError(
                f"The pages cannot be written to {folder} ({error.strerror}); make the folder writable or free some space."
            ) from None
        # In this process: another one would import everything again.
        options = ["-q", "-W", "--keep-going", "-b", builder, "-c", str(CONFIGURATION), "-d", str(source / ".doctrees")]
        if build_main([*options, made, str(folder)]):
            raise WorkbookError("Sphinx complains of a page; see above, and mend what it names.")


# --- Notebooks as the book shows them -----------------------------------------------------------------------------


def _prepared(notebook: NotebookNode) -> NotebookNode:
    """Return a copy as MyST-NB takes it: sections have labels, plumbing is folded, pictures and tables are part of the page."""
    notebook = nbformat.from_dict(notebook)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    issue = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source, issue = _labelled(cell.source, issue)
            continue
        cell.metadata["tags"] = [*cell.metadata.get("tags", []), *(["hide-input"] if cell is first or _is_plumbing(cell) else [])]
        for output in cell.outputs:
            if "data" in output:
                output.data = _embedded(output.data)
    return notebook


def _labelled(text: str, issue: str) -> tuple[str, str]:
    """Name the sections of issues and their parts, so that a mention leads there; write the glossary as one.

    Returns:
        The text, and the issue whose section goes on after it.
    """
    if text.startswith(glossary.HEADING):
        return glossary.as_directive(), issue
    lines = []
    for line in text.splitlines():
        if section := re.match(r"## (\d+) · ", line):
            issue = section[1]
            lines.append(f"(issue-{issue})=")
        elif issue and (part := re.fullmatch(r"### (\w+).*", line)):
            lines.append(f"(issue-{issue}-{part[1].lower()})=")
        lines.append(line)
    return "\n".join(lines), issue


_SQL = re.compile(
    r"\b(select|insert|update|delete|create|alter|drop|grant|revoke|vacuum|set|call|truncate|explain)\b", re.IGNORECASE
)


def _is_plumbing(cell: NotebookNode) -> bool:
    """Tell whether a cell's Python only prepares or draws: no SQL, no claim, nothing that it says."""
    if is_picture(cell):
        return True
    return not cell.outputs and "assert" not in cell.source and not _SQL.search(cell.source)


def _embedded(data: dict) -> dict:
    """Return an output that needs no file beside the page."""
    if svg := data.get("image/svg+xml"):
        return {"text/html": f'<div class="picture">{svg[svg.index("<svg") :]}</div>'}
    if html := data.get("text/html"):
        return {"text/html": f'<div class="wide">{_linked(html)}</div>'}
    if markdown := data.get("text/markdown"):
        return {"text/markdown": re.sub(r"\]\((\w+)\.ipynb", r"](\1.html", _with_fix_links(markdown))}
    return {mime: data[mime] for mime in ("image/png", "text/plain") if mime in data}


def _linked(html: str) -> str:
    """Make links of the issues that a table's cells speak of; a chapter's own list leads to its sections."""

    def link(text: re.Match[str]) -> str:
        linked, done = "", 0
        for start, end, number in issue_numbers(text[0]):
            linked += f'{text[0][done:start]}<a href="{pages.section(number)}">{text[0][start:end]}</a>'
            done = end
        return linked + text[0][done:]

    html = re.sub(r"(?<=>)[^<>]+(?=<)", link, html)
    if re.search(r"<thead><tr><th[^>]*>issue</th>", html):
        html = re.sub(
            r"(?<=<tr>)(<td[^>]*>)(\d+)(?=</td>)",
            lambda row: f'{row[1]}<a href="{pages.section(int(row[2]))}">{row[2]}</a>',
            html,
        )
    return html


def _with_fix_links(markdown: str) -> str:
    names = "|".join(fix.name for fix in fixes.all_fixes())
    file = rf"(?<=<code>)sql/fixes/({names})\.sql(?=</code>)"
    return re.sub(file, r'<a href="../fixes/\1.html">\g<0></a>', markdown)
