"""The report and the slides: every link leads somewhere, nothing is fetched, the plumbing is folded."""

import re
from html import unescape
from pathlib import Path

import nbformat
import pytest
from workbook import catalogue, fixes, report, web

OUTSIDE = re.compile(r"""(?:src|href)=["'](?:https?:)?//|url\(["']?(?:https?:)?//|@import|\bfetch\(|importScripts""")


# Writing all pages takes a while.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the stored notebooks."""
    runs = [report.Executed(path, nbformat.read(path, as_version=4), None) for path in report.notebooks()]
    return web.write_report(runs, tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slides of two chapters."""
    return web.write_slides(report.chapters()[:2], tmp_path_factory.mktemp("slides")).parent


def pages(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.html"))


def test_report_has_a_page_for_each_notebook_and_each_fix(folder: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in pages(folder)}
    assert names == {
        "index.html",
        "deploy.html",
        *(f"{path.stem}.html" for path in report.notebooks()),
        *(f"fixes/{fix.name}.html" for fix in fixes.all_fixes()),
    }


def test_index_leads_to_every_issue_and_its_fix(folder: Path) -> None:
    index = (folder / "index.html").read_text()
    chapters = catalogue.all_notebooks()
    for issue in (*catalogue.all_issues(), *catalogue.beyond()):
        assert f'href="{chapters[issue.category]}.html#{issue.number}-' in index
        assert f'href="fixes/{fixes.find(issue.number).name}.html"' in index
    assert "data:image/png;base64," in index


def test_links_lead_somewhere(folder: Path, slides: Path) -> None:
    for path in (*pages(folder), *pages(slides)):
        html = unescape(path.read_text())
        for target, anchor in re.findall(r'href="([^"#:]*)(?:#([^"]*))?"', html):
            found = (path.parent / target).resolve() if target else path
            # The slides leave out what is not presented.
            if slides in path.parents and not found.exists():
                continue
            assert found.exists(), f"{path.name}: {target}"
            if anchor and target:
                assert f'id="{anchor}"' in unescape(found.read_text()), f"{path.name}: {target}#{anchor}"


def test_nothing_is_fetched(folder: Path, slides: Path) -> None:
    for path in (*pages(folder), *pages(slides)):
        assert not OUTSIDE.search(re.sub(r"<code.*?</code>|<pre.*?</pre>", "", path.read_text(), flags=re.DOTALL)), path.name


def test_plumbing_is_folded(folder: Path) -> None:
    html = (folder / "01_critical.html").read_text()
    assert html.count("<summary>set-up</summary>") == 1
    assert "<summary>how it is drawn</summary>" in html


def test_slides_follow_the_parts_of_a_section(slides: Path) -> None:
    html = (slides / "01_critical.html").read_text()
    notebook = nbformat.read(report.chapters()[0], as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    # The problem stands on the slide with the issue's heading.
    parts = len(re.findall(r"^### (?!Problem)", text, re.MULTILINE))
    sections = len(re.findall(r"^##? ", text, re.MULTILINE))
    assert html.count('<section class="slide">') == html.count("</section>") == parts + sections
    assert html.count("<summary>code</summary>") > 20
