"""The book's own pages: the first one, the answers to what an architect asks, and the fix files."""

import csv
import re
import statistics
from collections.abc import Iterable, Iterator
from html import escape

from .. import bench, costs, fixes, order, writes
from ..catalogue import BEYOND_NOTEBOOK, Issue, all_categories, all_issues, beyond
from ..clients import declared
from ..paths import DATA, ROOT
from ..report import Executed, outputs

BOARD = "application/vnd.workbook.scoreboard+json"
KINDS = {
    "not mentioned": ("○", "the review does not mention"),
    "no statement": ("–", "have no statement"),
    "falls short": ("!", "have SQL that falls short"),
}
SIGNS = {"flaw": ("×", "the flaw is seen"), "gone": ("✓", "the flaw is gone")}



def kinds(board: dict) -> dict[str, list[int]]:
    """Return the flaws that the review's own SQL leaves, by why."""
    return {kind: [int(number) for number, found in board["kinds"].items() if found == kind] for kind in KINDS}


def headline(board: dict) -> str:
    """Say how many flaws the review's own SQL leaves."""
    return f"Of {len(board['kinds'])} flaws the review's own SQL leaves {sum(map(len, kinds(board).values()))}"

CONTENTS = {
    "The review": [f"notebooks/{name}" for name in ("00_start_here", *(entry.notebook for entry in all_categories()), BEYOND_NOTEBOOK)],
    "What an architect asks": [
        "answers/costs",
        "answers/clients",
        "answers/proposed",
        "answers/order",
        "answers/privileges",
        "answers/audit",
    ],
    "Measured": [
        "notebooks/09_benchmark_rls",
        "notebooks/10_benchmark_pagination",
        "notebooks/11_benchmark_partitioning",
        "notebooks/12_benchmark_writes",
    ],
    "On a live database": ["notebooks/15_rollout", "DEPLOY", "RESTORES"],
    "Reference": ["notebooks/13_data_dictionary", "fixes/index", "notebooks/14_exercises"],
}
"""The chapters, by the part of the book that they stand in."""


def all_pages(runs: list[Executed], labels: set[str]) -> dict[str, str]:
    """Return the text of each page in MyST's Markdown, by its name; labels are those of the notebooks' sections."""
    board = next(iter(outputs(runs, BOARD)))
    return {
        "index": _first(board, [run for run in runs if run.failure]),
        "answers/costs": _costs(),
        "answers/clients": _clients(),
        "answers/proposed": _proposed(board, labels),
        "answers/order": _order(),
        "answers/privileges": _privileges(),
        "answers/audit": _audit(),
        "fixes/index": _fix_index(),
        **{f"fixes/{fix.name}": _fix(fix) for fix in fixes.all_fixes()},
    }


def section(number: int, folder: str = "") -> str:
    """Return where an issue's section is, seen from the notebooks' folder or another one."""
    return f"{folder}{_notebooks()[_issues()[number].category]}.html#issue-{number}"


def _issues() -> dict[int, Issue]:
    return {issue.number: issue for issue in (*all_issues(), *beyond())}


def _notebooks() -> dict[str, str]:
    return {category.name: category.notebook for category in all_categories()} | {beyond()[0].category: BEYOND_NOTEBOOK}


# --- The first page -----------------------------------------------------------------------------------------------


def _first(board: dict, failed: list[Executed]) -> str:
    facts = board["facts"]
    return f"""# Schema workbook

The database behind Maraum, a chat app for learning German, was reviewed: {len(all_issues())} issues. Here each of them, and {len(beyond())} that the review does not mention, happens on a real PostgreSQL, is fixed, and is proved gone.
{"".join(f"{chr(10)}**{run.path.stem} failed in this run:** `{run.failure}`{chr(10)}" for run in failed)}
**v1**
: the schema as it was reviewed.

**As proposed**
: v1 with the review's own SQL, statement by statement; what PostgreSQL refuses is left out.

**v2**
: v1 with all fixes of this workbook.

Run on {facts["date"]} at commit `{facts["commit"]}`: PostgreSQL {facts["server"]}, the {facts["scale"]} scale, {facts["machine"]}. Benchmarks show their published runs, each with its own date and machine.

## Ten questions
1. **Which are high?** Sort [the scoreboard](#scoreboard) by severity: {_named(of_severity("high"))}.
2. **What do the fixes cost?** [One table](answers/costs.md): locks, time, disk and writes.
3. **What breaks in my app?** [Statement by statement](answers/clients.md), with what to send instead.
4. **How long does it lock?** Each fix [at a million messages](answers/costs.md); the rollout in their place [some tens of milliseconds](notebooks/15_rollout.ipynb).
5. **How do I roll back?** [With `back`, until you finish](DEPLOY.md#6.-Back,-or-finish); a fix file that fails [leaves nothing](answers/order.md#Back).
6. **What does v2 cost in writes?** [Chapter 12](notebooks/12_benchmark_writes.ipynb) measures it. {writes.summary().split(". ")[0]}.
7. **May I ship the review's SQL as it is?** No: [what it leaves, and what it breaks](answers/proposed.md).
8. **In which order, and may I ship only some?** [By number, and you may stop anywhere](answers/order.md).
9. **How do I check my database?** [With one command that only reads](answers/audit.md).
10. **Who may do what?** [A table of roles and columns](answers/privileges.md).

(scoreboard)=
## {headline(board)}
Of those, {"; ".join(f"{len(kinds(board)[kind])} {meaning} ({sign})" for kind, (sign, meaning) in KINDS.items())}. The others are gone (✓). The same check runs on all three databases. A click on a column's head sorts.

```{{raw}} html
{_scoreboard(board)}
```

{_toctrees()}
"""


def of_severity(severity: str) -> list[int]:
    """Return the issues of a severity."""
    return [issue.number for issue in _issues().values() if issue.severity == severity]


def _named(numbers: list[int]) -> str:
    return f"issues {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _scoreboard(board: dict) -> str:
    """Write the scoreboard as a table: what it says of a flaw is a sign's title."""
    rows = []
    for number, issue in _issues().items():
        cells = []
        for name, seen in board["results"].items():
            saw = seen[str(number)]
            kind = "gone" if saw is None else board["kinds"][str(number)] if name == "as proposed" else "flaw"
            sign, meaning = KINDS.get(kind, SIGNS.get(kind, ("", "")))
            cells.append(f'<td class="sign {kind}" data-sort="{kind}" title="{escape(saw or meaning)}">{sign}</td>')
        place = ("high", "medium", "low").index(issue.severity)
        rows.append(
            f'<tr><td class="number">{number}</td>'
            f'<td><a href="{section(number, "notebooks/")}">{escape(issue.title)}</a></td>'
            f'<td class="severity {issue.severity}" data-sort="{place}">{issue.severity}</td>{"".join(cells)}'
            f'<td><a href="fixes/{fixes.find(number).name}.html">SQL</a></td></tr>'
        )
    heads = ("#", "issue", "severity", *board["results"], "fix")
    head = "".join(f'<th aria-sort="none"><button>{name}</button></th>' for name in heads)
    return f'<div class="board"><table class="sortable"><thead><tr>{head}</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>'


def _toctrees() -> str:
    return "\n".join(
        f"```{{toctree}}\n:caption: {part}\n:hidden:\n:maxdepth: 1\n\n" + "\n".join(names) + "\n```" for part, names in CONTENTS.items()
    )


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a table in Markdown."""

    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    head = list(head)
    return "\n".join([line(head), line("---" for _ in head), *map(line, rows)])


def _link(number: int) -> str:
    return f"[{number} · {_issues()[number].title}](#issue-{number})"


# --- Answers ------------------------------------------------------------------------------------------------------


def _header(fix: fixes.Fix, name: str) -> str:
    """Return what a fix file says at its head under a name, such as Locks."""
    comment = " ".join(line.removeprefix("-- ") for line in fix.text.split("\nbegin;")[0].splitlines())
    found = re.search(rf"{name}: (.*?)(?= (?:Locks|Repairs|Clients): |$)", comment)
    return found[1] if found else ""


def _costs() -> str:
    messages = costs.message_costs()
    rows = [
        (
            _link(fix.number) if fix.number else "[0 · Prepare](../fixes/00_prepare.md)",
            _header(fix, "Locks"),
            f"{cost.seconds:.2g} s" if cost.seconds >= 0.1 else f"{1000 * cost.seconds:.2g} ms",
            f"{cost.disk_bytes / 1e6:+,.0f} MB",
            f"{cost.log_bytes / 1e6:,.0f} MB",
            messages.get(fix.number, ""),
        )
        for fix in fixes.all_fixes()
        if (cost := costs.costs().get(fix.number))
    ]
    return f"""# What the fixes cost
Each fix is one transaction, and holds its locks until it ends. So the time it takes is how long others may wait. {bench.origin(costs.BENCHMARK)}

Applied one after the other to v1. *Disk* is how much larger the database is afterwards, with what a rewrite leaves behind until a vacuum; *log* is the write-ahead log it writes. *A message* is how much dearer or cheaper the fix makes the insert of one, in the server, of what v1 needs; neighbours that were measured together share a figure. Beside traffic none of this is the way: [the rollout](../notebooks/15_rollout.ipynb) does the same in one wait of some tens of milliseconds.

{table(("fix", "locks", "for", "disk", "log", "a message"), rows)}

What v2 costs for good, in writes, bytes and log, is measured in [chapter 12](../notebooks/12_benchmark_writes.ipynb). {writes.summary()}
"""


def _clients() -> str:
    all_clients = declared()
    broken = [client for client in all_clients if client.until]
    paused = [client for client in all_clients if client.pauses]
    rows = [
        (client.what, client.who, f"fix {client.until}", f"`{client.sqlstate}`" if client.sqlstate[:1].isdigit() or client.sqlstate[:2] == "PT" else client.sqlstate, client.instead)
        for client in broken
    ]
    heads = [(fix.number, said) for fix in fixes.all_fixes() if (said := _header(fix, "Clients")) and fix.number]
    return f"""# What changes for clients
{len(all_clients)} statements of v1's app are tried after every fix. On v2 {len(broken)} of them get another answer, and {len(all_clients) - len(broken)} the one that they got before. During a rollout old clients keep v1's answers in the schema `compat_v1`: see [DEPLOY](../DEPLOY.md#3.-Move-old-clients-to-compat_v1).

{table(("what the app does", "who", "until", "what it gets", "instead"), rows)}

## What to send instead
{"".join(f"{chr(10)}**{client.what}** {client.instead}{chr(10)}{chr(10)}```sql{chr(10)}-- before{chr(10)}{client.statement};{chr(10)}-- now{chr(10)}{client.works};{chr(10)}```{chr(10)}" for client in broken if client.works)}

## What fails for some fixes only
{table(("what the app does", "from fix – to fix, and what it gets"), [(client.what, client.pauses) for client in paused])}

## What each fix says to clients
{table(("fix", "clients"), [(_link(number), _sentence(said)) for number, said in heads])}
"""


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _proposed(board: dict, labels: set[str]) -> str:
    left = {int(number): seen for number, seen in board["results"]["as proposed"].items() if seen}
    parts = []
    for kind, numbers in kinds(board).items():
        sign, meaning = KINDS[kind]
        rows = [(_link(number), left[number]) for number in numbers]
        parts.append(f"## {sign} {_sentence(meaning)}: {len(rows)}\n{table(('issue', 'what the check still sees'), rows)}")
    refused = table(("issue", "statement", "what PostgreSQL says"), [(f"issue {number}", f"`{statement}`", said) for number, statement, said in board["refused"]])
    return f"""# May I ship the review's SQL as it is?
No. {headline(board)}. On v1's seed rows alone {len(board["refused"])} of its {board["statements"]} statements are refused. Real rows refuse more: those that break a rule stop the constraint that would forbid them. And where a statement runs, it may do harm of its own; each section's part *Proposed* runs it and shows what.

{chr(10).join(parts)}

## What is refused even where no row breaks a rule
{refused}

## What runs and does damage
{table(("issue", "where it is shown"), [(_link(number), f"[Proposed](#issue-{number}-proposed)") for number in _issues() if f"issue-{number}-proposed" in labels])}
"""


def _order() -> str:
    outcomes = order.outcomes()
    alone = [number for number, missing in outcomes.items() if not missing]
    rows = [
        (_link(number), "yes" if not missing else missing, ", ".join(f"issue {other}" for other in _issues()[number].touches))
        for number, missing in outcomes.items()
    ]
    return f"""# In which order, and may I ship only some?
**By number.** A fix is written for the schema that the ones before it leave, and says so where one of them is missing. [`00_prepare.sql`](../fixes/00_prepare.md) comes first.

**You may stop after any of them.** Every state between v1 and v2 is tried: the fix's own flaw is gone, no earlier one is back, and the app's statements are answered as [the list](clients.md) says.

**{len(alone)} of {len(outcomes)} stand alone.** Each fix was tried on v1 right after `00_prepare.sql`: these apply there, and their own flaw is gone. Whoever ships only some takes them in this order, and looks at what the fix meets.

(Back)=
## Back
A fix file is one transaction: one that fails leaves nothing behind. One that has been committed has no file that undoes it. Each row that it changed is kept as it was in `private.repairs`. A rollout does have a way back, with what v2 has written since: see [DEPLOY](../DEPLOY.md#6.-Back,-or-finish).

## Fix by fix
{table(("fix", "stands alone on v1", "meets"), rows)}
"""


def _privileges() -> str:
    with open(DATA / "privileges.csv", newline="") as file:
        rows = [(row["role"], f"`{row['object']}`", row["command"], f"`{row['columns']}`" if row["columns"] else "all", row["rows"]) for row in csv.DictReader(file)]
    return f"""# Who may do what
This list is the whole of it: a test compares it with what the catalog grants, and tries each command. How it came about is in [issues 24 to 28](../notebooks/04_security.ipynb) and in issue 53; [the data dictionary](../notebooks/13_data_dictionary.ipynb) says what the columns mean.

{table(("role", "on", "may", "columns", "rows"), rows)}
"""


def _audit() -> str:
    readme = (ROOT / "README.md").read_text()
    (text,) = re.findall(r"\*\*You have such a database\.\*\* (.*?)(?=\n\n\*\*You have v1)", readme, re.DOTALL)
    return f"# How do I check my database?\n{text}\n\nWhat it looks for are the issues of [the scoreboard](../index.md); each has a rule of its own.\n"


# --- Fix files ----------------------------------------------------------------------------------------------------


def _fix_index() -> str:
    rows = [
        (f"[`{fix.path.name}`]({fix.name}.md)", _header(fix, "Locks"), _header(fix, "Repairs")) for fix in fixes.all_fixes()
    ]
    names = "\n".join(fix.name for fix in fixes.all_fixes())
    return f"# Fix files\nIn the order in which they are applied.\n\n{table(('file', 'locks', 'repairs'), rows)}\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"


def _fix(fix: fixes.Fix) -> str:
    where = f"Issue {fix.number}: [{_issues()[fix.number].title}](#issue-{fix.number})" if fix.number else "What all the others build on."
    return f"# {fix.path.name}\n{where}\n\n```sql\n{fix.text}\n```\n"
