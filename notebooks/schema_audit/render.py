"""The audit's report as text for a terminal."""

import shutil
from collections.abc import Iterable
from textwrap import wrap

from .report import ABSENT, FOUND, NOT_LOOKED_FOR, NOWHERE, SEVERITIES, UNCHECKED, Finding, Flaw, Report

FIX_LINES = 24
"""About how many lines of a finding's fixes a terminal shows; the files have all."""

# Stands in a name for a space at which no line is broken.
_FIRM = "\x00"


def as_text(report: Report, width: int | None = None) -> str:
    """Return the report as it is printed: what was found by severity, then what was not, and how much of each.

    Args:
        width: characters a line; without it the terminal's own, between 60 and 140. SQL is not wrapped.
    """
    width = max(60, min(width or shutil.get_terminal_size((120, 40)).columns, 140))
    lines = [*_head(report, width), ""]
    for severity in SEVERITIES:
        findings = [finding for finding in report.of(FOUND) if finding.severity == severity]
        if findings:
            lines += [f"{severity.upper()}: {len(findings)} found", ""]
        for finding in findings:
            lines += [*_found(finding, width), ""]
    for heading, sentences in (("NOT CHECKED", _unchecked(report)), ("NOT RECOGNISED", report.needs), ("TRIED", tried(report))):
        if sentences:
            lines += [heading, *(line for sentence in sentences for line in _wrapped(sentence, width, "  ", "    ")), ""]
    lines += [*_summary(report), ""]
    for sentence in (f"{report.headline}.", *NOT_LOOKED_FOR):
        lines += _wrapped(sentence, width)
    return printable("\n".join(lines))


def grouped(flaws: Iterable[Flaw]) -> dict[str, list[str]]:
    """Return the objects by what is wrong with them, in the report's order."""
    objects: dict[str, dict[str, None]] = {}
    for flaw in flaws:
        objects.setdefault(flaw.says, {})[flaw.object] = None
    return {says: list(names) for says, names in objects.items()}


def fixes(flaws: Iterable[Flaw]) -> list[str]:
    """Return the fixes; one that mends several flaws comes once."""
    return [fix for fix in dict.fromkeys(flaw.fix.strip() for flaw in flaws) if fix]


def place(finding: Finding) -> str:
    """Return what a finding's rule is called: its issue where it has one, else its name."""
    return finding.rule if finding.number is None else f"issue {finding.number}"


def tried(report: Report) -> list[str]:
    """Return what trying said, a sentence each: the rules of which it said the same come together."""
    rules: dict[str, list[str]] = {}
    for finding in report.findings:
        if finding.trying:
            rules.setdefault(finding.trying.rstrip("."), []).append(place(finding).removeprefix("issue "))
    first = [report.tried.rstrip(".") + "."] if report.tried else []
    return first + [f"{said[:1].upper()}{said[1:]}: {', '.join(numbers)}." for said, numbers in rules.items()]


def printable(text: str) -> str:
    """Return a text without the signs that move a terminal's cursor or change its colours; names may hold any."""
    return "".join(sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in text)


def _head(report: Report, width: int) -> list[str]:
    sentences = [f"{report.database} on PostgreSQL {report.server}, as {report.login}, {report.date}"]
    if report.tables:
        sentences.append(f"Recognised: {'; '.join(f'{role}: {actual}' for role, actual in report.tables.items())}")
    sentences += [f"Not seen: {sentence.rstrip('.')}." for sentence in report.unseen]
    return [line for sentence in sentences for line in _wrapped(sentence, width)]


def _found(finding: Finding, width: int) -> list[str]:
    lines = _wrapped(f"{finding.title} [{place(finding)}]", width, "  ")
    lines += _wrapped(finding.why, width, "    ")
    for says, objects in grouped(finding.flaws).items():
        if len(objects) == 1:
            lines += _wrapped(f"{_firm(objects[0], width)}: {says}", width, "    - ", "      ")
        else:
            lines += _wrapped(f"{len(objects)} objects: {says}", width, "    - ", "      ")
            lines += _wrapped(", ".join(_firm(name, width) for name in objects), width, "      ")
    lines += _fix(fixes(finding.flaws))
    if finding.trying:
        lines += _wrapped(f"Tried: {finding.trying}", width, "    ")
    if finding.link:
        lines += _wrapped(f"More: {finding.link}", width, "    ")
    return lines


def _fix(all_of_them: list[str]) -> list[str]:
    lines: list[str] = []
    for done, fix in enumerate(all_of_them):
        added = [f"      {line}" for line in fix.splitlines()]
        if lines and len(lines) + len(added) > FIX_LINES:
            lines.append(f"      -- and {len(all_of_them) - done:,} more like these, in the report's files")
            break
        lines += added
    return ["    Fix:", *lines] if lines else []


def _unchecked(report: Report) -> list[str]:
    titles: dict[str, list[str]] = {}
    for finding in report.of(UNCHECKED):
        titles.setdefault(finding.reason.rstrip("."), []).append(f"{finding.title} [{place(finding)}]")
    return [f"{'; '.join(same)}: {reason}." for reason, same in titles.items()]


def _summary(report: Report) -> list[str]:
    verdicts = (FOUND, UNCHECKED, ABSENT, NOWHERE)
    lines = [f"{'severity':<9}" + "".join(f"  {verdict:>5}" for verdict in verdicts)]
    for severity in SEVERITIES:
        counts = (f"  {report.count(verdict, severity):>{max(len(verdict), 5)}}" for verdict in verdicts)
        lines.append(f"{severity:<9}" + "".join(counts))
    return lines if report.findings else []


def _firm(name: str, width: int) -> str:
    name = " ".join(printable(name).split())
    # A name that fills half a line may be broken like anything else.
    return name if len(name) > width // 2 else name.replace(" ", _FIRM)


def _wrapped(text: str, width: int, first: str = "", later: str | None = None) -> list[str]:
    later = first if later is None else later
    lines = wrap(text, width, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_FIRM, " ") for line in lines]
