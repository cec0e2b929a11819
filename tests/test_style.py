"""The house rules: layout, types and SQL style, each by its own tool."""

import subprocess
import sys

import pytest
from workbook.paths import ROOT

RULES = {
    "python is clean": ["ruff", "check"],
    "python is laid out": ["ruff", "format", "--check"],
    "types hold": ["mypy"],
    "sql is clean": ["sqlfluff", "lint", "--disable-progress-bar", "sql", "data"],
}


@pytest.mark.parametrize(
    "rule", [pytest.param(rule, marks=[pytest.mark.slow] if rule.startswith("sql") else []) for rule in RULES]
)
def test_rule(rule: str) -> None:
    program, *arguments = RULES[rule]
    done = subprocess.run([sys.executable, "-m", program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
