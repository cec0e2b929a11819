"""The audit's report as one HTML page that needs nothing else: no script, no font, no picture from anywhere."""

from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path

from .render import fixes, grouped, place, printable, tried
from .report import ABSENT, FOUND, NOT_LOOKED_FOR, NOWHERE, SEVERITIES, UNCHECKED, Finding, Report

SHOWN_OBJECTS = 12
"""More objects with the same flaw are folded behind the first of them."""
SHOWN_LINES = 12
"""A longer fix is folded."""


def as_html(report: Report) -> str:
    """Return the report as a page: a head with the counts, a list of what was found, and each finding as a card."""
    title = _text(f"Schema audit of {report.database}")
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{title}</title>\n<style>\n{_css()}</style>\n</head>\n<body>\n",
            _head(report),
            _contents(report),
            *(_severity(report, severity) for severity in SEVERITIES),
            _unchecked(report),
            _sentences("Not recognised", report.needs),
            _sentences("What trying said", tried(report)),
            _folded("Absent", report.of(ABSENT)),
            _folded("Does not apply", report.of(NOWHERE)),
            f"<footer>{''.join(f'<p>{_text(sentence)}</p>' for sentence in NOT_LOOKED_FOR)}</footer>\n</body>\n</html>\n",
        )
    )


@cache
def _css() -> str:
    return Path(__file__).with_name("audit.css").read_text(encoding="utf-8")


def _text(text: object) -> str:
    return escape(printable(str(text)))


def _head(report: Report) -> str:
    how = "Read from the catalog alone" if report.tried is None else "Read from the catalog, then tried and rolled back"
    facts = f"PostgreSQL {report.server} · login {report.login} · {report.date} · {how}"
    tiles = [(severity, report.count(FOUND, severity), severity) for severity in SEVERITIES]
    tiles += [
        ("", report.count(UNCHECKED), UNCHECKED),
        ("good", report.count(ABSENT), ABSENT),
        ("", report.count(NOWHERE), NOWHERE),
    ]
    parts = [
        f'<p class="eyebrow">Schema audit</p>\n<h1>{_text(report.database)}</h1>\n<p class="faint">{_text(facts)}</p>\n',
        '<ul class="tiles">\n',
        *(f'<li class="{style}"><b>{count}</b>{label}</li>\n' for style, count, label in tiles),
        "</ul>\n",
    ]
    if report.tables:
        named = "; ".join(f"{_text(role)}: <code>{_text(actual)}</code>" for role, actual in report.tables.items())
        parts.append(f"<p>Recognised: {named}.</p>\n")
    parts += [f"<p>Not seen: {_text(sentence.rstrip('.'))}.</p>\n" for sentence in report.unseen]
    return "".join(parts)


def _contents(report: Report) -> str:
    found = report.of(FOUND)
    if not found:
        return "<h2>Nothing found</h2>\n<p>None of the rules that ran found its flaw here.</p>\n"
    rows = "".join(
        f'<tr><td><span class="tag {finding.severity}">{finding.severity}</span></td>'
        f'<td><a href="#{_anchor(finding)}">{_text(finding.title)}</a></td>'
        f'<td class="wide rule">{_text(place(finding))}</td><td class="number">{_objects(finding)}</td></tr>\n'
        for finding in found
    )
    head = '<tr><th>severity</th><th>what is wrong</th><th class="wide">rule</th><th class="number">objects</th></tr>'
    return (
        f'<h2>{report.count(FOUND)} found</h2>\n<table class="list">\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n'
    )


def _severity(report: Report, severity: str) -> str:
    findings = [finding for finding in report.of(FOUND) if finding.severity == severity]
    if not findings:
        return ""
    return f"<h2>{severity.capitalize()}: {len(findings)} found</h2>\n{''.join(_card(finding) for finding in findings)}"


def _card(finding: Finding) -> str:
    flaws = "".join(_flaw(says, objects) for says, objects in grouped(finding.flaws).items())
    name = finding.rule if finding.number is None else f"{place(finding)} · {finding.rule}"
    parts = [
        f'<article class="card {finding.severity}" id="{_anchor(finding)}">\n',
        f"<header><h3>{_text(finding.title)}</h3><span>{_text(name)}</span></header>\n",
        f"<p>{_text(finding.why)}</p>\n" if finding.why else "",
        f'<ul class="flaws">\n{flaws}</ul>\n' if flaws else "",
        _fix("\n".join(fixes(finding.flaws)).splitlines()),
        f'<p class="faint">Tried: {_text(finding.trying)}</p>\n' if finding.trying else "",
        f'<p class="faint">More: {_link(finding.link)}</p>\n' if finding.link else "",
        "</article>\n",
    ]
    return "".join(parts)


def _flaw(says: str, objects: list[str]) -> str:
    if len(objects) == 1:
        return f"<li><code>{_text(objects[0])}</code>: {_text(says)}</li>\n"
    names = f'<div class="names">{_codes(objects[:SHOWN_OBJECTS])}</div>'
    rest = objects[SHOWN_OBJECTS:]
    if rest:
        names += f'<details><summary>and {len(rest):,} more</summary><div class="names">{_codes(rest)}</div></details>'
    return f"<li>{len(objects):,} objects: {_text(says)}{names}</li>\n"


def _codes(names: Iterable[str]) -> str:
    return " ".join(f"<code>{_text(name)}</code>" for name in names)


def _fix(lines: list[str]) -> str:
    if not lines:
        return ""
    sql = f"<pre>{_text(chr(10).join(lines))}</pre>"
    if len(lines) <= SHOWN_LINES:
        return f'<p class="label">Fix</p>\n{sql}\n'
    return f'<p class="label">Fix</p>\n<details><summary>{len(lines):,} lines of SQL</summary>{sql}</details>\n'


def _link(link: str) -> str:
    if not link.startswith(("https://", "http://")):
        return _text(link)
    return f'<a href="{_text(link)}">the workbook\'s section on it</a>'


def _unchecked(report: Report) -> str:
    findings = report.of(UNCHECKED)
    rows = "".join(
        f'<tr><td><span class="tag {finding.severity}">{finding.severity}</span></td><td>{_text(finding.title)}</td>'
        f'<td class="wide rule">{_text(place(finding))}</td><td>{_text(finding.reason)}</td></tr>\n'
        for finding in findings
    )
    head = '<tr><th>severity</th><th>what it would be</th><th class="wide">rule</th><th>why it was not checked</th></tr>'
    table = f'<table class="list">\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n'
    return f"<h2>Not checked ({len(findings)})</h2>\n{table}" if findings else ""


def _folded(heading: str, findings: list[Finding]) -> str:
    rows = "".join(
        f"<tr><td>{_text(finding.title)}</td>"
        f'<td class="wide rule">{_text(place(finding))}</td><td>{_text(finding.reason or finding.looked_at)}</td></tr>\n'
        for finding in findings
    )
    table = f'<table class="list">\n<tbody>\n{rows}</tbody>\n</table>'
    summary = f"<summary>{len(findings)} rules, and where each looks</summary>"
    return f"<h2>{heading} ({len(findings)})</h2>\n<details>{summary}\n{table}\n</details>\n" if findings else ""


def _sentences(heading: str, sentences: list[str]) -> str:
    items = "".join(f"<li>{_text(sentence)}</li>\n" for sentence in sentences)
    return f'<h2>{heading}</h2>\n<ul class="plain">\n{items}</ul>\n' if sentences else ""


def _anchor(finding: Finding) -> str:
    return _text(finding.rule)


def _objects(finding: Finding) -> int:
    return len({flaw.object for flaw in finding.flaws})
