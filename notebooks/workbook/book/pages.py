"""The book's own pages: the first one, the answers to what an architect asks, and the fix files."""

import re
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .. import bench, costs, fixes, order, scores, writes
from ..catalogue import SEVERITIES, Issue, all_issues, all_notebooks, beyond
from ..charts import KINDS
from ..clients import declared
from ..paths import DATA, ROOT, read_csv
from ..report import Executed, benchmarks, notebooks, outputs

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)
MEANINGS = {
    "not mentioned": "the review does not mention",
    "no statement": "have no statement in it",
    "falls short": "have SQL that falls short",
}
"""Why the review's own SQL leaves a flaw; see `Scoreboard.kinds`."""

CONTENTS = {
    "The review": [f"notebooks/{name}" for name in ("00_start_here", *all_notebooks().values())],
    "What an architect asks": [f"answers/{name}" for name in ("costs", "clients", "proposed", "order", "privileges", "audit")],
    "Measured": [f"notebooks/{path.stem}" for path in benchmarks()],
    "Beyond one machine": [f"notebooks/{path.stem}" for path in notebooks() if int(path.name[:2]) > 15],
    "On a live database": ["notebooks/15_rollout", "DEPLOY", "RESTORES"],
    "Reference": ["notebooks/13_data_dictionary", "fixes/index", "notebooks/14_exercises"],
}
"""The chapters, by the part of the book that they stand in."""


def all_pages(runs: list[Executed], proposed: dict[int, str]) -> dict[str, str]:
    """Return the text of each page in MyST's Markdown, by its name.

    Args:
        runs: the notebooks.
        proposed: how the part on the review's own SQL begins, by issue.
    """
    board = board_of(runs)
    return {
        "index": _first(board, [run for run in runs if run.failure]),
        "answers/costs": _costs(),
        "answers/clients": _clients(),
        "answers/proposed": _proposed(board, proposed),
        "answers/order": _order(),
        "answers/privileges": _privileges(),
        "answers/audit": _audit(),
        "fixes/index": _fix_index(),
        **{f"fixes/{fix.name}": page("fix", fix=fix, where=_where(fix)) for fix in fixes.all_fixes()},
    }


def board_of(runs: list[Executed]) -> dict[str, Any]:
    """Return the scoreboard's facts, as the notebook that draws it keeps them; see `Scoreboard.facts`."""
    facts = next(outputs(runs, scores.MIME))
    return {**facts, "results": dict(facts["results"])}


def page(template: str, **values: Any) -> str:
    """Return a page in MyST's Markdown, made from its template."""
    return _TEMPLATES.get_template(f"{template}.md").render(**values)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a table in Markdown."""

    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    head = list(head)
    return "\n".join([line(head), line("---" for _ in head), *map(line, rows)])


def section(number: int, folder: str = "") -> str:
    """Return where an issue's section is, seen from the notebooks' folder or another one."""
    return f"{folder}{all_notebooks()[issues()[number].category]}.html#issue-{number}"


def issues() -> dict[int, Issue]:
    """Return the review's issues and those beyond it, by number."""
    return {issue.number: issue for issue in (*all_issues(), *beyond())}


def of_severity(severity: str) -> list[int]:
    """Return the issues of a severity."""
    return [issue.number for issue in issues().values() if issue.severity == severity]


def kinds(board: dict) -> dict[str, list[int]]:
    """Return the flaws that the review's own SQL leaves, by why."""
    return {kind: sorted(int(number) for number, found in board["kinds"].items() if found == kind) for kind in MEANINGS}


def headline(board: dict) -> str:
    """Say how many flaws the review's own SQL leaves."""
    return f"Of {len(board['kinds'])} flaws the review's own SQL leaves {sum(map(len, kinds(board).values()))}"


def rollout_ms() -> dict[str, str]:
    """Return what clients waited in the published rollout of two million messages, in milliseconds, by what for."""
    questions = {"switch": "switch", "longest": "longest request", "alone": "longest request alone"}
    found = {name: bench.published_at("15_rollout", question, 2_000_000)["rollout"] for name, question in questions.items()}
    return {name: f"{statistics.median(runs):.0f}" for name, runs in found.items()}


def _link(number: int) -> str:
    return f"[{number} · {issues()[number].title}](#issue-{number})"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- The first page -----------------------------------------------------------------------------------------------


def _first(board: dict, failed: list[Executed]) -> str:
    high = [str(number) for number in of_severity("high")]
    return page(
        "index",
        reviewed=len(all_issues()),
        beyond=len(beyond()),
        board=board,
        failed=failed,
        high=f"issues {', '.join(high[:-1])} and {high[-1]}",
        rollout_ms=rollout_ms(),
        writes_in_short=writes.summary().split(". ")[0],
        headline=headline(board),
        left=[(numbers, MEANINGS[kind], KINDS[kind][0]) for kind, numbers in kinds(board).items()],
        heads=("#", "issue", "severity", *board["results"], "fix"),
        rows=[_row(issue, board) for issue in issues().values()],
        contents=CONTENTS,
    )


def _row(issue: Issue, board: dict) -> dict[str, Any]:
    """Return a row of the scoreboard: what a check saw is the title of its sign."""
    cells = []
    for name, seen in board["results"].items():
        saw = seen[str(issue.number)]
        kind = "gone" if saw is None else board["kinds"][str(issue.number)] if name == "as proposed" else "falls short"
        why = f"{saw} ({kind})" if saw and name == "as proposed" else saw or "the flaw is gone"
        cells.append({"kind": kind, "sign": KINDS[kind][0], "why": why})
    return {
        "issue": issue,
        "section": section(issue.number, "notebooks/"),
        "place": SEVERITIES.index(issue.severity),
        "cells": cells,
        "fix": fixes.find(issue.number).name,
    }


# --- Answers ------------------------------------------------------------------------------------------------------


def _costs() -> str:
    messages = costs.message_costs()
    rows = [
        (
            _link(fix.number) if fix.number else "[0 · Prepare](../fixes/00_prepare.md)",
            _said(fix, "Locks"),
            f"{cost.seconds:.2g} s" if cost.seconds >= 0.1 else f"{1000 * cost.seconds:.2g} ms",
            _megabytes(cost.disk_bytes, "+"),
            _megabytes(cost.log_bytes, ""),
            messages.get(fix.number, ""),
        )
        for fix in fixes.all_fixes()
        if (cost := costs.costs().get(fix.number))
    ]
    return page(
        "costs",
        origin=bench.origin(costs.BENCHMARK),
        rollout_ms=rollout_ms(),
        writes=writes.summary(),
        table=table(("fix", "locks", "for", "disk", "log", "a message"), rows),
    )


def _megabytes(size: float, sign: str) -> str:
    return f"{size / 1e6:{sign},.0f} MB" if abs(size) >= 0.5e6 else "–"


def _said(fix: fixes.Fix, name: str) -> str:
    """Return what a fix file says at its head under a name, such as Locks."""
    comment = " ".join(line.removeprefix("-- ") for line in fix.text.split("\nbegin;")[0].splitlines())
    found = re.search(rf"{name}: (.*?)(?= (?:Locks|Repairs|Clients): |$)", comment)
    return _sentence(found[1]) if found else ""


def _clients() -> str:
    known = declared()
    broken = [client for client in known if client.until]
    rows = [(client.what, client.who, f"fix {client.until}", client.sqlstate, client.instead) for client in broken]
    heads = [(_link(fix.number), said) for fix in fixes.all_fixes() if fix.number and (said := _said(fix, "Clients"))]
    return page(
        "clients",
        count=len(known),
        broken=broken,
        table=table(("what the app does", "who", "until", "what it gets", "instead"), rows),
        paused=table(
            ("what the app does", "from fix to fix, and what it gets"),
            [(client.what, client.pauses) for client in known if client.pauses],
        ),
        heads=table(("fix", "clients"), heads),
    )


def _proposed(board: dict, proposed: dict[int, str]) -> str:
    seen = board["results"]["as proposed"]
    head = ("issue", "what the check still sees")
    return page(
        "proposed",
        headline=headline(board),
        board=board,
        left=[
            (numbers, MEANINGS[kind], table(head, [(_link(number), seen[str(number)]) for number in numbers]))
            for kind, numbers in kinds(board).items()
        ],
        refused=table(
            ("issue", "statement", "what PostgreSQL says"),
            [(f"issue {number}", f"`{statement}`", said) for number, statement, said in board["refused"]],
        ),
        shown=table(
            ("issue", "what happens when it runs"),
            [(f"[{number} · {issues()[number].title}](#issue-{number}-proposed)", text) for number, text in proposed.items()],
        ),
    )


def _order() -> str:
    outcomes = order.outcomes()
    rows = [
        (_link(number), missing or "yes", ", ".join(f"issue {other}" for other in issues()[number].touches))
        for number, missing in outcomes.items()
    ]
    return page(
        "order",
        alone=sum(not missing for missing in outcomes.values()),
        all=len(outcomes),
        table=table(("fix", "stands alone on v1", "meets"), rows),
    )


def _privileges() -> str:
    together: dict[tuple[str, ...], list[str]] = {}
    for row in read_csv(DATA / "privileges.csv"):
        columns = f"`{row['columns']}`" if row["columns"] else "all"
        together.setdefault((row["role"], f"`{row['object']}`", columns, row["rows"]), []).append(row["command"])
    rows = [(role, on, ", ".join(may), columns, which) for (role, on, columns, which), may in together.items()]
    return page("privileges", table=table(("role", "on", "may", "columns", "rows"), rows))


def _audit() -> str:
    readme = (ROOT / "README.md").read_text()
    (text,) = re.findall(r"\*\*You have such a database, or another one\.\*\* (.*?)(?=\n\n\*\*You have v1)", readme, re.DOTALL)
    return page("audit", readme=with_links_inside(text))


def with_links_inside(text: str) -> str:
    """Return a text whose links to files that the book does not hold are the files' names."""
    text = text.replace("[`", "[").replace("`]", "]")
    return re.sub(r"\[([^\]]+)\]\((?!notebooks/|RESTORES|DEPLOY|#)[^)]+\)", r"`\1`", text)


# --- Fix files ----------------------------------------------------------------------------------------------------


def _fix_index() -> str:
    rows = [(f"[`{fix.path.name}`]({fix.name}.md)", _said(fix, "Locks"), _said(fix, "Repairs")) for fix in fixes.all_fixes()]
    return page("fixes", table=table(("file", "locks", "repairs"), rows), names=[fix.name for fix in fixes.all_fixes()])


def _where(fix: fixes.Fix) -> str:
    return f"The fix of issue {fix.number}: {_link(fix.number)}." if fix.number else "What all the others build on."
