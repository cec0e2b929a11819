"""The audit's report as SARIF 2.1.0, which code hosts show beside the lines that a pull request changes."""

import json
from collections import Counter
from hashlib import sha256
from typing import Any

from .paths import VERSION
from .render import place
from .report import FOUND, NOT_LOOKED_FOR, SEVERITIES, UNCHECKED, Finding, Flaw, Report
from .sources import Sources, named

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
SOURCE = "supabase/migrations"
"""Where a project's migrations lie, where no setting says so."""

LEVELS = {"high": "error", "medium": "warning", "low": "note"}
SCORES = {"high": "8.0", "medium": "5.0", "low": "2.0"}
"""How severe a rule of security is to GitHub, which calls 7.0 to 8.9 high, 4.0 to 6.9 medium, and less low."""
SECURITY_RULES = {
    "rls_off", "policies_without_rls", "policy_open", "user_metadata", "view_bypasses_rls", "auth_users_exposed",
    "materialized_view_exposed", "foreign_table_exposed", "partition_exposed", "publication_without_rls", "caller_search_path",
    "definer_rpc", "rls_no_policy", "join_open", "policy_leans",
}  # fmt: skip
SECURITY_ISSUES = {18, 24, 26, 27, 28, 47, 48, 49, 50, 53}
MOST_RESULTS = 25_000
"""GitHub refuses a file with more results; the most severe ones come first."""


def as_sarif(report: Report, source: str = SOURCE) -> str:
    """Return the report as SARIF: a rule for each finding, a result for each flaw.

    GitHub refuses a file in which a result has no file and line, and shows one in a pull request only where that line is part of
    it. So each result points at the migration that creates its object.

    Args:
        source: the folder with the migrations; it is named where no file of it creates an object.
    """
    sources = Sources(source)
    rules = {finding.rule: index for index, finding in enumerate(report.findings)}
    found = sorted(report.of(FOUND), key=lambda finding: SEVERITIES.index(finding.severity))
    results = [result for finding in found for result in _results(finding, rules[finding.rule], sources)]
    notes = [
        _note(f"{finding.title}: not checked, {finding.reason}", {"id": finding.rule, "index": rules[finding.rule]})
        for finding in report.of(UNCHECKED)
    ]
    notes += [_note(sentence) for sentence in (*report.needs, *report.unseen, *NOT_LOOKED_FOR)]
    driver = {
        "name": "schema-audit",
        "version": VERSION,
        "semanticVersion": VERSION,
        "rules": [_rule(finding, report) for finding in report.findings],
    }
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": "schema-audit/"},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}],
        "results": results[:MOST_RESULTS],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False) + "\n"


def _rule(finding: Finding, report: Report) -> dict[str, Any]:
    tags = ["database", place(finding)]
    properties: dict[str, Any] = {"tags": tags, "precision": "high"}
    if finding.rule in SECURITY_RULES or finding.number in SECURITY_ISSUES:
        tags.insert(0, "security")
        properties["security-severity"] = SCORES[finding.severity]
    else:
        properties["problem.severity"] = LEVELS[finding.severity].replace("note", "recommendation")
    more = [finding.why, f"It looks at {finding.looked_at.rstrip('.')}." if finding.looked_at else "", finding.link]
    rule = {
        "id": finding.rule,
        "name": "".join(word.capitalize() for word in finding.rule.split("_") if not word.isdecimal()) or finding.rule,
        "shortDescription": {"text": _short(_sentence(finding.title))},
        "fullDescription": {"text": _short(_sentence(finding.why or finding.title))},
        "help": {"text": "\n\n".join(part for part in more if part) or finding.title},
        "defaultConfiguration": {"level": LEVELS[finding.severity]},
        "properties": properties,
    }
    if report.book and "://" in finding.link:
        rule["helpUri"] = finding.link
    return rule


def _results(finding: Finding, index: int, sources: Sources) -> list[dict[str, Any]]:
    seen: Counter[str] = Counter()
    results = []
    for flaw in finding.flaws:
        seen[flaw.object] += 1
        # The rule and the object are what a flaw is known by from run to run: neither the day, nor the line, nor how it is put.
        known_by = sha256(f"{finding.rule} {flaw.object}".encode()).hexdigest()[:16]
        results.append(
            {
                "ruleId": finding.rule,
                "ruleIndex": index,
                "level": LEVELS[finding.severity],
                "message": {"text": _message(finding, flaw)},
                "locations": [_location(flaw, sources)],
                "partialFingerprints": {"primaryLocationLineHash": f"{known_by}:{seen[flaw.object]}"},
            }
        )
    return results


def _message(finding: Finding, flaw: Flaw) -> str:
    said = f"{flaw.object}: {_sentence(flaw.says)} {finding.why}".rstrip()
    return f"{said}\n\nFix:\n{flaw.fix.strip()}" if flaw.fix else said


def _location(flaw: Flaw, sources: Sources) -> dict[str, Any]:
    what = named(flaw.object)
    at = sources.place(what)
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": at.uri},
            "region": {"startLine": at.line, "startColumn": at.column, "endLine": at.line, "endColumn": at.end},
        },
        "logicalLocations": [{"name": what.name[-1], "fullyQualifiedName": flaw.object, "kind": what.kind}],
    }


def _note(text: str, rule: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"level": "note", "message": {"text": _sentence(text)}, **({"associatedRule": rule} if rule else {})}


def _sentence(text: str) -> str:
    return f"{text.rstrip('.')}."


def _short(text: str) -> str:
    # GitHub takes no longer description.
    return text if len(text) <= 1024 else f"{text[:1023]}…"
