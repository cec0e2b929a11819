"""The HTML report and the slides: notebooks as pages that work from disk and ask nothing of a network."""

import re
from collections.abc import Iterable
from pathlib import Path

import nbformat
from jupyter_core.paths import jupyter_path
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PostgresLexer

from . import fixes
from .catalogue import SEVERITIES, all_issues, beyond
from .errors import WorkbookError
from .pages import css, page
from .paths import ROOT
from .report import Executed

_TEMPLATES = Path(__file__).parent / "pages"
IS_PICTURE = "nbval-ignore-output"


def write_report(runs: list[Executed], folder: Path) -> Path:
    """Write a page for each notebook and each fix file, and an index that leads to every issue; return the index.

    Raises:
        WorkbookError: the folder cannot be written.
    """
    notebooks = {run.path.stem: _folded(run.notebook) for run in runs}
    pages = {name: _export(notebook, "notebook") for name, notebook in notebooks.items()}
    sections = {
        int(number): f"{name}.html#{anchor}"
        for name, html in pages.items()
        for anchor, number in re.findall(r'<h2 id="((\d+)-[^"]*)"', html)
    }
    files = {f"{name}.html": _with_contents(_with_fix_links(html)) for name, html in pages.items()}
    files["deploy.html"] = _with_contents(_export(_deploying(), "notebook"))
    files |= {f"fixes/{fix.name}.html": _fix_page(fix, sections.get(fix.number)) for fix in fixes.all_fixes()}
    files["index.html"] = _index(runs, sections)
    return _write(files, folder)


def _deploying() -> NotebookNode:
    """Return DEPLOY.md as a notebook of one cell; what lies outside the report is named there, and no link."""
    text = re.sub(r"\]\(notebooks/([\w-]+\.ipynb)\)", r"](\1)", (ROOT / "DEPLOY.md").read_text())
    text = re.sub(r"\[([^\]]+)\]\((?![\w-]+\.ipynb)[^)]+\)", r"\1", text)
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])


def write_slides(paths: Iterable[Path], folder: Path) -> Path:
    """Write a deck for each notebook, from its stored outputs, and a page that leads to them; return that page.

    Raises:
        WorkbookError: the folder cannot be written.
    """
    files, decks = {}, []
    for path in paths:
        notebook = _as_slides(_folded(nbformat.read(path, as_version=4), every_cell=True))
        html = _export(notebook, "slides")
        script = (_TEMPLATES / "slides.js").read_text()
        html = html.replace('href="00_start_here.html', 'href="index.html')
        files[f"{path.stem}.html"] = html.replace("</body>", f"<script>{script}</script></body>", 1)
        slides = sum("slide" in cell.metadata for cell in notebook.cells)
        decks.append({"page": f"{path.stem}.html", "title": title(notebook), "slides": slides})
    files["index.html"] = page("decks", decks=decks)
    return _write(files, folder)


def title(notebook: NotebookNode) -> str:
    """Return a notebook's title."""
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


def _write(files: dict[str, str], folder: Path) -> Path:
    try:
        for name, html in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(html)
    except OSError as error:
        raise WorkbookError(
            f"The report cannot be written to {folder} ({error.strerror}); make the folder writable or free some space."
        ) from None
    return folder / "index.html"


def _export(notebook: NotebookNode, template: str) -> str:
    exporter = HTMLExporter(
        template_name="lab",
        template_file=str(_TEMPLATES / f"{template}.html.j2"),
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        mermaid_js_url="",
        mermaid_layout_elk_js_url="",
    )
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title(notebook)}})
    # The one script that nbconvert loads from a network whatever it is told: the drawing of mermaid diagrams.
    html = re.sub(r'<script type="module">.*?</script>', "", html, flags=re.DOTALL)
    html = re.sub(r'href="([\w-]+)\.ipynb', r'href="\1.html', html).replace('href="../DEPLOY.md"', 'href="deploy.html"')
    style = css("notebook") + (css("slides") if template == "slides" else "")
    dark = f"@media screen and (prefers-color-scheme: dark) {{ {_dark_theme()} :root {{ color-scheme: dark; }} }}"
    return html.replace("</head>", f"<style>{dark}\n{style}</style></head>", 1)


def _dark_theme() -> str:
    """Return the variables of JupyterLab's dark theme, as nbconvert brings them along."""
    folders = map(Path, jupyter_path("nbconvert", "templates"))
    return next(theme for folder in folders if (theme := folder / "lab/static/theme-dark.css").exists()).read_text()


def _folded(notebook: NotebookNode, *, every_cell: bool = False) -> NotebookNode:
    """Return a copy whose plumbing is folded: the set-up, and how a picture is drawn; or all code."""
    notebook = nbformat.from_dict(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        if cell is code[0]:
            cell.metadata["folded"] = "set-up"
        elif IS_PICTURE in cell.metadata.get("tags", []):
            cell.metadata["folded"] = "how it is drawn"
        elif every_cell:
            cell.metadata["folded"] = "code"
    return notebook


def _with_contents(html: str) -> str:
    """Add a list of the page's sections: beside it where there is room, folded above it where there is none."""
    headings = re.findall(r'<h2 id="([^"]*)">(.*?)<a class="anchor-link"', html, flags=re.DOTALL)
    links = "".join(f'<a href="#{anchor}">{re.sub("<[^>]+>", "", text)}</a>' for anchor, text in headings)
    contents = (
        '<nav class="contents" aria-label="Contents"><a href="index.html">All issues</a>'
        f"<details open><summary>On this page</summary>{links}</details></nav>"
    )
    return re.sub(r"(<body[^>]*>)", lambda match: match[1] + contents, html, count=1)


def _with_fix_links(html: str) -> str:
    """Say under each issue's heading how severe it is, and lead to its fix file."""
    files = {fix.number: fix.name for fix in fixes.all_fixes()}
    issues = {issue.number: issue for issue in (*all_issues(), *beyond())}

    def add(match: re.Match) -> str:
        number = int(match[2])
        if number not in files or number not in issues:
            return match[0]
        line = f'{issues[number].severity} severity · <a href="fixes/{files[number]}.html"><code>{files[number]}.sql</code></a>'
        return f'{match[0]}<p class="issue-links">{line}</p>'

    return re.sub(r'(<h2 id="(\d+)-[^"]*">.*?</h2>)', add, html, flags=re.DOTALL)


def _fix_page(fix: fixes.Fix, section: str | None) -> str:
    titles = {issue.number: issue.title for issue in (*all_issues(), *beyond())}
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in ("default", "github-dark"))
    return page(
        "fix",
        name=fix.name,
        number=fix.number,
        title=titles.get(fix.number, ""),
        section=section,
        code=Markup(highlight(fix.text, PostgresLexer(), HtmlFormatter())),
        colors=Markup(
            f"{light}\n@media screen and (prefers-color-scheme: dark) {{ {dark} }}\n.highlight {{ background: none; }}"
        ),
    )


def _index(runs: list[Executed], sections: dict[int, str]) -> str:
    files = {fix.number: fix.name for fix in fixes.all_fixes()}
    issues = [
        {
            "number": issue.number,
            "title": issue.title,
            "severity": issue.severity,
            "symptom": issue.symptom,
            "section": sections.get(issue.number),
            "fix": files[issue.number],
        }
        for issue in (*all_issues(), *beyond())
    ]
    chapters = [{"page": f"{run.path.stem}.html", "title": title(run.notebook), "failed": bool(run.failure)} for run in runs]
    chapters.append({"page": "deploy.html", "title": title(_deploying()), "failed": False})
    return page(
        "index", issues=issues, shown=len(sections), chapters=chapters, severities=SEVERITIES, scoreboard=scoreboard(runs)
    )


def scoreboard(runs: list[Executed]) -> str | None:
    """Return the scoreboard's picture as base64, from the notebook that draws it, or None where that failed."""
    for run in runs:
        for cell in run.notebook.cells:
            if cell.cell_type == "code" and cell.source == "board.chart()" and cell.outputs:
                return "".join(cell.outputs[0].data["image/png"].split())
    return None


def _as_slides(notebook: NotebookNode) -> NotebookNode:
    """Cut the text at its headings: each begins a slide, under the name of the section that it belongs to."""
    cells: list[NotebookNode] = []
    section = ""
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            cells.append(cell)
            continue
        # A section's bare heading and its first part stay together.
        for text in re.split(r"(?m)^(?=#{1,3} )", cell.source):
            if not text.strip():
                continue
            piece = nbformat.v4.new_markdown_cell(text.strip())
            follows_bare_heading = cells and re.fullmatch(r"## [^\n]+", cells[-1].source)
            if heading := re.match(r"(#+) (.+)", text):
                level = len(heading[1])
                if not (level == 3 and follows_bare_heading):
                    piece.metadata["slide"] = section if level == 3 else ""
                section = heading[2] if level == 2 else section
            cells.append(piece)
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
