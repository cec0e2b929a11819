"""The shape of the package: what an issue is called everywhere, and which module imports which."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from schema_audit.rules import CHAPTERS as AUDITED
from schema_audit.rules import GENERAL, by_number
from workbook import catalogue, fixes
from workbook.checks import CHECKS
from workbook.paths import NOTEBOOKS, ROOT

WORKBOOK = NOTEBOOKS / "workbook"
CHAPTERS = {catalogue.module_of(category) for category in catalogue.all_notebooks()}


@pytest.mark.parametrize("issue", catalogue.all_issues() + catalogue.beyond(), ids=lambda issue: str(issue.number))
def test_check_and_rule_stand_in_their_chapter_and_are_called_as_the_fix(issue: catalogue.Issue) -> None:
    module, name = catalogue.module_of(issue.category), fixes.find(issue.number).name.partition("_")[2]
    functions = {"workbook.checks": CHECKS[issue.number], "schema_audit.rules": by_number(issue.number).examine}
    for package, function in functions.items():
        assert (function.__module__, function.__name__) == (f"{package}.{module}", name)


@cache
def modules() -> dict[str, ast.Module]:
    """Return the modules by name, such as rollout.steps or schema_audit.rules; a package's own is called as the package."""
    roots = {path: NOTEBOOKS for path in (NOTEBOOKS / "schema_audit").rglob("*.py")} | {
        path: WORKBOOK for path in WORKBOOK.rglob("*.py")
    }
    names = {path: ".".join(path.relative_to(root).with_suffix("").parts) for path, root in roots.items()}
    return {name.removesuffix(".__init__"): ast.parse(path.read_text()) for path, name in names.items()}


def imports(name: str) -> set[str]:
    """Return the modules of the packages that one of them imports, anywhere in its text."""
    is_package = any(other.startswith(f"{name}.") for other in modules())
    here = [] if name == "__init__" else name.split(".")[: None if is_package else -1]
    found = set()
    for node in ast.walk(modules()[name]):
        if not isinstance(node, ast.ImportFrom):
            continue
        path = (node.module or "").split(".") * bool(node.module)
        if node.level or path[:1] == ["schema_audit"]:
            source = (here[: len(here) + 1 - node.level] if node.level else []) + path
            for alias in node.names:
                module = ".".join([*source, alias.name])
                found.add(module if module in modules() else ".".join(source) or "__init__")
    return found


def listed() -> dict[str, str]:
    """Return what CONTRIBUTING.md says of each module, in its order."""
    said: dict[str, str] = {}
    folders: list[str] = []
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## Modules")[2].partition("\n## ")[0]
    for indent, name, job in re.findall(r"^( *)- `([\w/]+?)(?:/|\.py)` – (.+)$", text, re.MULTILINE):
        folders[len(indent) // 2 :] = [name]
        assert ".".join(folders) not in said
        said[".".join(folders)] = job
    return said


def test_contributing_lists_every_module_with_its_job() -> None:
    jobs = {}
    for name, tree in modules().items():
        if name.rpartition(".")[2] not in CHAPTERS:
            paragraph = " ".join((ast.get_docstring(tree) or "").partition("\n\n")[0].split())
            jobs[name] = re.split(r"(?<=[.?]) ", paragraph)[0].rstrip(".")
    assert listed() == jobs


def test_a_module_imports_only_what_stands_above_it() -> None:
    order = list(listed())
    for name in order:
        for imported in imports(name):
            package, _, module = imported.rpartition(".")
            place = order.index(package if module in CHAPTERS else imported)
            assert place < order.index(name) or imported.startswith(f"{name}."), f"{name} imports {imported} from below"


def test_no_module_imports_itself_in_a_circle() -> None:
    assert list(TopologicalSorter({name: imports(name) for name in modules()}).static_order())


def test_the_audit_stands_alone() -> None:
    assert {*AUDITED} == CHAPTERS and not {*GENERAL} & CHAPTERS
    for name in modules():
        if name.split(".")[0] == "schema_audit":
            assert all(imported.split(".")[0] == "schema_audit" for imported in imports(name)), name


def test_imports_are_seen() -> None:
    assert {"schema_audit.catalog", "schema_audit.rules"} <= imports("schema_audit.examine")
    assert {"schema_audit.catalog", "tables"} <= imports("dictionary")
    assert "rollout.steps" in imports("rollout.rehearsal") and "traffic" in imports("rollout.rehearsal")
    assert Path(fixes.__file__).stem in imports("__init__")
