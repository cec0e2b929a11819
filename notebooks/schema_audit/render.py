"""The audit's report for a terminal; as HTML and as JSON it goes to files."""

import shutil
import textwrap
from pathlib import Path

from ..errors import WorkbookError
from ..pages import page
from . import FOUND, UNCHECKED, Report


def as_text(report: Report) -> str:
    """Return the report as it is printed: what was found, what was not checked, and the count."""
    width = max(60, min(shutil.get_terminal_size((120, 40)).columns, 140))
    tables = "; ".join(f"{expected}: {actual}" for expected, actual in report.tables.items())
    lines = [f"{report.database} on PostgreSQL {report.server}, as {report.login}", *textwrap.wrap(tables, width), ""]
    lines += [f"Not seen: {sentence}." for sentence in report.unseen]
    for verdict, heading in ((FOUND, "Found"), (UNCHECKED, "Not checked")):
        findings = [finding for finding in report.findings if finding.verdict == verdict]
        if findings:
            lines.append(heading)
        for finding in findings:
            head = f"{finding.number:4}  {finding.severity:7} "
            lines += textwrap.wrap(
                f"{finding.title}: {finding.detail}", width, initial_indent=head, subsequent_indent=" " * len(head)
            )
        if findings:
            lines.append("")
    return "\n".join([*lines, f"{report.headline}."])


def write(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write the report as HTML and as JSON, and return both paths.

    Raises:
        WorkbookError: the folder cannot be written.
    """
    html, json = folder / "audit.html", folder / "audit.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        html.write_text(page("audit", report=report))
        json.write_text(report.as_json())
    except OSError as error:
        raise WorkbookError(f"The report cannot be written to {folder} ({error.strerror}); make the folder writable.") from None
    return html, json
