"""The notebooks themselves: a stripped one would pass nbval, so what it must hold is tested here."""

import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from workbook import catalogue, fixes, report

PARTS = ["Problem", "Evidence", "Proposed", "Fix", "Proof", "Cost and limits"]
OPTIONAL_PARTS = {"Proposed"}
IGNORE_TAG = "nbval-ignore-output"
SETUP = re.compile(r"import workbook as wb\nfrom workbook import [A-Z]+(, [A-Z]+)*")

ISSUES = (*catalogue.all_issues(), *catalogue.beyond())
ISSUE_NOTEBOOKS = catalogue.all_notebooks()


@cache
def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def sections(path: Path) -> dict[str, list[NotebookNode]]:
    """Return the cells below each second-level heading."""
    found: dict[str, list[NotebookNode]] = {}
    current = None
    for cell in read(path).cells:
        if heading := re.match(r"## (.+)", cell.source) if cell.cell_type == "markdown" else None:
            current = heading[1]
            found[current] = []
        if current:
            found[current].append(cell)
    return found


def issue_sections(path: Path) -> dict[int, list[NotebookNode]]:
    return {int(number[1]): cells for title, cells in sections(path).items() if (number := re.match(r"(\d+) · ", title))}


def is_ignored(cell: NotebookNode) -> bool:
    return IGNORE_TAG in cell.metadata.get("tags", [])


@pytest.mark.parametrize("path", report.notebooks(), ids=lambda path: path.stem)
class TestEveryNotebook:
    def test_begins_with_its_title(self, path: Path) -> None:
        first = read(path).cells[0]
        assert first.cell_type == "markdown"
        assert first.source.startswith(f"# {path.name[:2]} · ")

    def test_is_stored_as_run_from_top_to_bottom(self, path: Path) -> None:
        counts = [cell.execution_count for cell in code_cells(path)]
        assert counts == list(range(1, len(counts) + 1))

    def test_stores_no_error_and_nothing_from_stderr(self, path: Path) -> None:
        for cell in code_cells(path):
            for output in cell.outputs:
                assert output.output_type != "error"
                assert output.get("name") != "stderr"

    def test_stores_an_output_where_the_last_line_shows_something(self, path: Path) -> None:
        for cell in code_cells(path):
            last = cell.source.rstrip().splitlines()[-1]
            if re.match(r"(wb\.(?!clone|record)\w+|\w+\.(plan|refused|repairs))\(", last) or last.startswith("print("):
                assert cell.outputs, cell.source

    def test_leaves_only_pictures_and_what_was_just_measured_unchecked(self, path: Path) -> None:
        for cell in code_cells(path):
            kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
            is_picture, is_table = "image/svg+xml" in kinds, cell.source.startswith("wb.agreement(")
            assert (is_picture or is_table) == is_ignored(cell), cell.source
            assert "image/png" not in kinds or cell.source == "board.chart()"
            if is_picture:
                (output,) = cell.outputs
                assert output.data["text/plain"] == "<chart>"

    def test_asserts_what_a_picture_shows(self, path: Path) -> None:
        cells = code_cells(path)
        for place, cell in enumerate(cells):
            if is_ignored(cell):
                assert any("assert" in near.source for near in cells[place - 1 : place + 2])

    def test_has_the_setup_cell_and_no_magic(self, path: Path) -> None:
        cells = code_cells(path)
        assert SETUP.fullmatch(cells[0].source)
        for cell in cells:
            assert not re.search(r"^\s*[%!]|;\s*\Z|^import matplotlib|plt\.", cell.source, re.MULTILINE)

    def test_has_short_cells(self, path: Path) -> None:
        for cell in code_cells(path):
            assert len(cell.source.splitlines()) <= 15, cell.source

    def test_names_no_machine(self, path: Path) -> None:
        for cell in code_cells(path):
            texts = [
                str(value) for output in cell.outputs for kind, value in output.get("data", {}).items() if "image" not in kind
            ]
            texts += [output.text for output in cell.outputs if output.output_type == "stream"]
            assert not re.search(r"/(root|home|tmp|var/tmp|work|Users)/", " ".join(texts))

    def test_links_to_notebooks_that_exist(self, path: Path) -> None:
        for cell in read(path).cells:
            if cell.cell_type == "markdown":
                for target in re.findall(r"\]\(([^)#]+\.ipynb)", cell.source):
                    assert (path.parent / target).exists(), target


@pytest.mark.parametrize("category", ISSUE_NOTEBOOKS)
class TestNotebookOfACategory:
    @staticmethod
    def path(category: str) -> Path:
        return report.NOTEBOOKS / f"{ISSUE_NOTEBOOKS[category]}.ipynb"

    def test_has_a_section_for_each_issue(self, category: str) -> None:
        expected = [issue.number for issue in ISSUES if issue.category == category]
        assert list(issue_sections(self.path(category))) == expected

    def test_sections_have_all_parts_in_order(self, category: str) -> None:
        for number, cells in issue_sections(self.path(category)).items():
            text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
            parts = re.findall(r"^### (.+)", text, re.MULTILINE)
            assert parts == [part for part in PARTS if part in parts], number
            assert set(PARTS) - set(parts) <= OPTIONAL_PARTS, number
            problem = re.search(r"### Problem\n(.+?)(?=\n### |\Z)", text, re.DOTALL)[1]
            assert len(problem.split()) <= 80, number

    def test_sections_are_short(self, category: str) -> None:
        for number, cells in issue_sections(self.path(category)).items():
            assert len(cells) <= 12, number

    def test_sections_apply_their_fix_and_prove_it(self, category: str) -> None:
        for number, cells in issue_sections(self.path(category)).items():
            code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
            assert f".apply({number})" in code
            assert f"wb.prove({number}, " in code
            assert "assert" in code or ".refused(" in code
            fixes.find(number)

    def test_ends_with_its_summary(self, category: str) -> None:
        assert "wb.summary()" in code_cells(self.path(category))[-1].source


def test_every_fix_has_a_section_and_every_section_a_fix() -> None:
    with_section = {
        number for notebook in ISSUE_NOTEBOOKS.values() for number in issue_sections(report.NOTEBOOKS / f"{notebook}.ipynb")
    }
    assert {fix.number for fix in fixes.all_fixes()} - {0} == with_section
