"""A new issue's stubs: complete, red until they are filled, and never over something that is there."""

import ast
import csv
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from helpers import is_one_sentence
from workbook.catalogue import all_issues, beyond
from workbook.errors import WorkbookError
from workbook.fixes import Fix
from workbook.paths import ROOT
from workbook.stubs import add_issue

LAST = beyond()[-1].number


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the command writes to."""
    for folder in ("data", "notebooks", "sql/fixes"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "benchmarks"))
    return tmp_path


def test_writes_a_row_a_fix_a_check_a_rule_and_a_section(checkout: Path) -> None:
    number = LAST + 1
    said = add_issue('Sessions know no "device", or so', "Two phones look like one", "low", checkout)
    assert f"Issue {number}" in said[0]
    with open(checkout / "data" / "beyond.csv", newline="") as file:
        row = list(csv.DictReader(file))[-1]
    assert (row["number"], row["severity"], row["symptom"]) == (str(number), "low", "Two phones look like one")
    assert row["title"] == f'B{number - len(all_issues())} · Sessions know no "device", or so'
    (path,) = (checkout / "sql" / "fixes").glob(f"{number}_*.sql")
    assert path.name == f"{number}_sessions_know_no_device.sql"
    assert "still to be written" in Fix(number, path).body
    for module, decorator in (("workbook/checks/beyond.py", "check"), ("schema_audit/rules/beyond.py", "rule")):
        path = checkout / "notebooks" / module
        subprocess.run([sys.executable, "-m", "ruff", "check", path], check=True)
        tree = ast.parse(path.read_text())
        function = tree.body[-1]
        assert isinstance(function, ast.FunctionDef)
        assert function.name == "sessions_know_no_device"
        assert ast.unparse(function.decorator_list[0]) == f"{decorator}({number})"
    cells = nbformat.read(checkout / "notebooks" / "08_beyond.ipynb", as_version=4).cells
    titles = [cell.source.splitlines()[0] for cell in cells if cell.source.startswith("## ")]
    assert titles[-2:] == [f"## {number} · {row['title']}", "## Summary"]
    assert f"wb.prove({number}, " in "\n".join(cell.source for cell in cells)


@pytest.mark.parametrize(
    "title, symptom, severity", [("", "x", "low"), ("x", " ", "low"), ("x", "y", "huge"), ("12 monkeys", "x", "low")]
)
def test_says_what_is_missing_and_writes_nothing(checkout: Path, title: str, symptom: str, severity: str) -> None:
    before = {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()}
    with pytest.raises(WorkbookError) as caught:
        add_issue(title, symptom, severity, checkout)
    assert is_one_sentence(caught.value)
    assert {path: path.read_bytes() for path in checkout.rglob("*") if path.is_file()} == before
