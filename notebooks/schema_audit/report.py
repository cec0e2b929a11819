"""What the audit says of a database: findings, the most severe first, and a verdict for each rule."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field

FOUND, ABSENT, UNCHECKED, NOWHERE = "found", "absent", "not checked", "does not apply"
"""The verdicts: the flaw is there; it is not; the catalog cannot tell; this database has nothing that could have it."""

SEVERITIES = ("high", "medium", "low")

NOT_LOOKED_FOR = (
    "It does not look for what only the rows or the traffic show: dirty data, slow queries, bloat, indexes that nobody uses.",
    "It does not look at what lies outside the schema: secrets, Auth and Storage settings, Edge Functions, network and backups.",
)
"""Two lines at the end of every report."""


@dataclass(frozen=True)
class Flaw:
    """One object of the database that has a flaw."""

    object: str
    """Its full name, as SQL writes it: public.messages, private.f(integer), policy "own rows" on public.messages."""
    says: str
    """What is wrong with it, as a clause without a full stop: "any client reads all rows"."""
    fix: str = ""
    """Statements for this very database that mend it, each with a semicolon; empty where no statement suffices."""


@dataclass(frozen=True)
class Finding:
    """What one rule says of the database."""

    rule: str
    """The rule's name, such as rls_off or 18_messages_user_id."""
    number: int | None
    """The issue that the rule looks for; None where the workbook has no section for it."""
    title: str
    severity: str
    """high, medium or low."""
    why: str
    """Why it matters, in one sentence."""
    verdict: str
    flaws: tuple[Flaw, ...] = ()
    """What was found; empty under any other verdict."""
    reason: str = ""
    """Why nothing was checked, or why the rule does not apply."""
    looked_at: str = ""
    """Where the rule looks."""
    link: str = ""
    """The address of the workbook's section, where the book has one; else the section's place in words."""
    trying: str | None = None
    """What trying said of the catalog's verdict (only with behaviour): confirmed, changed, or why nothing was tried."""


@dataclass(frozen=True)
class Report:
    """What the audit says of a database."""

    server: str
    """PostgreSQL's version."""
    database: str
    login: str
    date: str
    tables: dict[str, str] = field(default_factory=dict)
    """What was recognised: the actual table for sessions, messages, profiles, scenarios, logs, and its renamed columns."""
    needs: list[str] = field(default_factory=list)
    """What was not recognised, a sentence each: which table is needed, what was considered, what it lacks, how to name it."""
    unseen: list[str] = field(default_factory=list)
    """What the login could not see."""
    findings: list[Finding] = field(default_factory=list)
    """A finding for each rule that ran, the most severe first, then by number; rules whose table is missing are in `needs`."""
    tried: str | None = None
    """None where only the catalog was read; else one sentence on what was tried."""
    book: str = ""
    """The address of the book that links go to; empty where none was given."""

    def of(self, verdict: str) -> list[Finding]:
        """Return the findings with a verdict, the most severe first."""
        return [finding for finding in self.findings if finding.verdict == verdict]

    def count(self, verdict: str, severity: str | None = None) -> int:
        """Return how many findings have a verdict, of one severity or of all."""
        return Counter(finding.verdict for finding in self.findings if severity in (None, finding.severity))[verdict]

    def fails_on(self, severity: str) -> bool:
        """Tell whether something at least as severe was found."""
        worst = SEVERITIES[: SEVERITIES.index(severity) + 1]
        return any(finding.severity in worst for finding in self.of(FOUND))

    @property
    def headline(self) -> str:
        """The result in one sentence, without a full stop."""
        by_severity = ", ".join(f"{self.count(FOUND, severity)} {severity}" for severity in SEVERITIES)
        return (
            f"{self.count(FOUND)} found ({by_severity}), {self.count(ABSENT)} absent, "
            f"{self.count(UNCHECKED)} not checked, {self.count(NOWHERE)} do not apply"
        )

    def as_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps({"headline": self.headline, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"
