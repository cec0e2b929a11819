"""The review's 46 issues and those beyond it, read from data/: every list and count of them comes from here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from IPython.display import Markdown

from . import fixes
from .errors import WorkbookError
from .paths import DATA, NOTEBOOKS, read_csv
from .tables import Table

SEVERITIES = ("high", "medium", "low")


@dataclass(frozen=True)
class Issue:
    """One finding of the review."""

    number: int
    title: str
    category: str
    severity: str
    """high, medium or low, as the review's impact line begins."""
    tags: tuple[str, ...]
    """double_trouble: several reviews found it; new: only the second did."""
    symptom: str
    """What somebody sees when it bites, in one line."""
    touches: tuple[int, ...]
    """Issues whose fixes meet this one's."""


@dataclass(frozen=True)
class Category:
    """One chapter of the review, and what the review's summary says of it."""

    name: str
    notebook: str
    """The notebook's file name without its ending."""
    claimed_issues: int
    claimed_double_trouble: int
    claimed_new: int


@cache
def all_issues() -> tuple[Issue, ...]:
    """Return the review's issues, in its order."""
    return _read("issues.csv")


@cache
def beyond() -> tuple[Issue, ...]:
    """Return the flaws that the review does not mention, numbered on from it."""
    return _read("beyond.csv")


def _read(name: str) -> tuple[Issue, ...]:
    return tuple(
        Issue(
            int(row["number"]),
            row["title"],
            row["category"],
            row["severity"],
            tuple(row["tags"].split()),
            row["symptom"],
            tuple(int(number) for number in row["touches"].split()),
        )
        for row in read_csv(DATA / name)
    )


@cache
def all_categories() -> tuple[Category, ...]:
    """Return the chapters in the review's order."""
    return tuple(
        Category(row["category"], row["notebook"], *(int(row[f"claimed_{what}"]) for what in ("issues", "double_trouble", "new")))
        for row in read_csv(DATA / "categories.csv")
    )


@cache
def all_notebooks() -> dict[str, str]:
    """Return each category's notebook, without its ending, in reading order; the last is of what lies beyond the review."""
    return {category.name: category.notebook for category in all_categories()} | {beyond()[0].category: "08_beyond"}


def module_of(category: str) -> str:
    """Return what a category's modules are called: as its notebook, without the number."""
    return all_notebooks()[category].partition("_")[2]


def registrar[F](functions: dict[int, F]) -> Callable[[int], Callable[[F], F]]:
    """Return a decorator that enters a function under the number of its issue."""

    def enter(number: int) -> Callable[[F], F]:
        return lambda function: functions.setdefault(number, function)

    return enter


def issue(number: int) -> Issue:
    """Return one issue.

    Raises:
        WorkbookError: there is none with this number.
    """
    for candidate in (*all_issues(), *beyond()):
        if candidate.number == number:
            return candidate
    raise WorkbookError(
        f"There is no issue {number}; the review has 1 to {len(all_issues())}, and beyond it are {beyond()[0].number} to "
        f"{beyond()[-1].number}."
    )


def issue_table(category: str | None = None) -> Table:
    """Return the issues, of one category or all: number, title, severity, tags, symptom."""
    rows = [
        (issue.number, issue.title, issue.severity, " ".join(f"#{tag}" for tag in issue.tags), issue.symptom)
        for issue in (all_issues() if category is None else (*all_issues(), *beyond()))
        if category in (None, issue.category)
    ]
    if not rows:
        raise WorkbookError(f"There is no category {category!r}; take one of {', '.join(all_notebooks())}.")
    return Table.of(rows, ["issue", "title", "severity", "tags", "symptom"])


def chapters() -> Markdown:
    """Show the notebooks with their issues, in reading order, with links to those that are there."""
    lines = ["| notebook | issues | of high severity |", "|---|---|---|"]
    for category, notebook in all_notebooks().items():
        issues = [issue for issue in (*all_issues(), *beyond()) if issue.category == category]
        name = f"{notebook[:2]} · {category}"
        if (NOTEBOOKS / f"{notebook}.ipynb").exists():
            name = f"[{name}]({notebook}.ipynb)"
        high = " ".join(str(issue.number) for issue in issues if issue.severity == "high")
        lines.append(f"| {name} | {issues[0].number}–{issues[-1].number} | {high} |")
    return Markdown("\n".join(lines))


def claims_against_counts() -> Table:
    """Compare what the review's summary says with what its items add up to, by category."""
    claimed_total = {row["claim"]: int(row["value"]) for row in read_csv(DATA / "summary.csv")}
    rows = [
        (
            f"{_beside(len(all_categories()), claimed_total['categories'])} categories",
            _beside(len(all_issues()), claimed_total["issues"]),
            "",
            "",
        )
    ]
    for category in all_categories():
        issues = [issue for issue in all_issues() if issue.category == category.name]
        claimed = (category.claimed_issues, category.claimed_double_trouble, category.claimed_new)
        counted = (
            len(issues),
            sum("double_trouble" in issue.tags for issue in issues),
            sum("new" in issue.tags for issue in issues),
        )
        issues_said, double_said, new_said = map(_beside, counted, claimed)
        rows.append((category.name, issues_said, double_said, new_said))
    return Table.of(rows, ["category", "issues", "double_trouble", "new"])


def _beside(counted: int, claimed: int) -> str:
    return str(counted) if counted == claimed else f"{counted} (the summary says {claimed})"


def readme_index() -> str:
    """Return the README's table of issues, in Markdown, with a link to each notebook and fix file that exists."""
    files = {fix.number: fix for fix in fixes.all_fixes()}
    lines = ["| # | issue | severity | what one sees | fix |", "|---:|---|---|---|---|"]
    for issue in (*all_issues(), *beyond()):
        notebook = f"notebooks/{all_notebooks()[issue.category]}.ipynb"
        fix = files.get(issue.number)
        title = f"[{issue.title}]({notebook})" if fix else issue.title
        link = f"[`{fix.path.name}`]({fixes.shown(fix.path)})" if fix else ""
        lines.append(f"| {issue.number} | {title} | {issue.severity} | {issue.symptom} | {link} |")
    return "\n".join(lines)
