"""What a new issue begins with: its row, its fix file, its check, its rule and its section, each to be filled."""

import csv
import io
import re
from pathlib import Path

import nbformat

from .catalogue import SEVERITIES, all_issues, all_notebooks, beyond, module_of
from .errors import WorkbookError
from .paths import ROOT, read_csv

FIX = """-- {number} · {title}
-- Locks: say what, how strongly, and for how long.
-- Repairs: say which rows, and how.

begin;

set local lock_timeout = '5s';

do $$ begin raise exception 'fix {number} is still to be written'; end $$;

commit;
"""

CHECK = '''

@check({number})
def {function}(database: Database) -> str | None:
    """Say in one sentence what is tried, and what must still be possible."""
    raise NotImplementedError("try the flaw of issue {number}, and return what was seen of it, or None")
'''

RULE = '''

@rule({number})
def {function}(db: Subject) -> Iterator[Flaw]:
    """Say where in the catalog the flaw shows."""
    yield Flaw("schema.table", "nobody has written this rule yet")
'''

SECTION = [
    (
        "markdown",
        "## {number} · {title}\n\n### Problem\nWhat breaks, and for whom, in eighty words at the most.\n\n"
        "### Evidence\nSay what the next cell shows.",
    ),
    ("code", 'v1 = wb.clone("v1")'),
    ("markdown", "### Fix\nSay what it does. It meets the rows that break rules."),
    ("code", 'dirty = wb.clone({before}, data="dirty")\ndirty.apply({number})'),
    ("markdown", "### Proof\nThe same statements again, and what must still be allowed."),
    ("code", 'wb.prove({number}, wb.clone("v1"), wb.clone({number}))'),
    ("markdown", "### Cost and limits\n- What it locks and costs, and when not to use it."),
]


def add_issue(title: str, symptom: str, severity: str = "medium", root: Path = ROOT) -> list[str]:
    """Write the stubs of a new issue with the next free number; each fails its tests until it is filled.

    Args:
        title: what the issue is called.
        symptom: what somebody sees when it bites, in one line.
        severity: high, medium or low.
        root: the checkout.

    Returns:
        What to do next, a line for each file.

    Raises:
        WorkbookError: an argument is missing or wrong, or the fix file exists already; nothing is written.
    """
    if not title.strip() or not symptom.strip() or severity not in SEVERITIES:
        raise WorkbookError(
            f'Say what it is: make issue TITLE="A title" SYMPTOM="What one sees" SEVERITY={"|".join(SEVERITIES)}.'
        )
    package = root / "notebooks" / "workbook"
    category = beyond()[0].category
    module = f"{module_of(category)}.py"
    checks, rules = package / "checks" / module, root / "notebooks" / "schema_audit" / "rules" / module
    notebook = root / "notebooks" / f"{all_notebooks()[category]}.ipynb"
    beyond_csv = root / "data" / "beyond.csv"
    number = int(read_csv(beyond_csv)[-1]["number"]) + 1
    words = re.findall(r"[a-z0-9]+", title.lower())
    slug = "_".join(words[:4])
    fix = root / "sql" / "fixes" / f"{number}_{slug}.sql"
    if not slug or slug[0].isdigit() or list(fix.parent.glob(f"{number}_*.sql")):
        raise WorkbookError(
            f"There can be no new fix {fix.name}: begin the title with a word, or remove the file that has the number."
        )
    texts = {
        "number": number,
        "before": number - 1,
        "title": f"B{number - len(all_issues())} · {title}",
        "function": slug,
    }
    row = io.StringIO()
    csv.writer(row, lineterminator="\n").writerow([number, texts["title"], category, severity, "", symptom, ""])
    with open(beyond_csv, "a") as file:
        file.write(row.getvalue())
    fix.write_text(FIX.format(**texts))
    for path, stub in ((checks, CHECK), (rules, RULE)):
        with open(path, "a") as file:
            file.write(stub.format(**texts))
    _add_section(notebook, texts)
    shown = [path.relative_to(root).as_posix() for path in (fix, checks, rules, notebook)]
    return [
        f"Issue {number} is in data/beyond.csv. Now, in this order:",
        f"1. {shown[1]}: the check, which has to see the flaw on v1",
        f"2. {shown[3]}: the section; `make lab` to write it",
        f"3. {shown[0]}: the fix",
        f"4. {shown[2]}: the audit's rule",
        "5. `make refresh` for the stored outputs and the README's index, and `make test`",
    ]


def _add_section(path: Path, texts: dict[str, object]) -> None:
    """Put the section before the notebook's summary."""
    notebook = nbformat.read(path, as_version=4)
    summary = next(place for place, cell in enumerate(notebook.cells) if cell.source.startswith("## Summary"))
    make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
    notebook.cells[summary:summary] = [make[kind](source.format(**texts)) for kind, source in SECTION]
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place:03}"
    nbformat.write(notebook, path)
