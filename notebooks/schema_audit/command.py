"""The command `schema-audit`: audits a database, prints the report, and writes it as HTML, JSON and SARIF.

It ends with 0 where nothing as severe as asked for was found, 1 where something was, and 2 for everything that is no verdict.
"""

import argparse
import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from .report import Report

NOTHING_FOUND, SOMETHING_FOUND, NO_VERDICT = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status. Nothing is raised, and no password is printed.

    Args:
        arguments: the words after the command's name; without them those that it was called with.
    """
    words = sys.argv[1:] if arguments is None else arguments
    # What is imported in here may fail like all the rest, and that is no verdict either.
    try:
        from .errors import AuditError

        try:
            return _run(words)
        except AuditError as error:
            return _refuse(str(error), words)
    except SystemExit as leaving:
        # --help, which has printed all that was asked for.
        return NOTHING_FOUND if leaving.code in (None, 0) else NO_VERDICT
    except KeyboardInterrupt:
        return _refuse("Interrupted, so there is no verdict.", words)
    except BaseException as error:
        said = " ".join(str(error).split())
        return _refuse(f"The audit stopped, so there is no verdict ({type(error).__name__}{f': {said}' if said else ''}).", words)


def tables_by_hand(text: str) -> dict[str, str]:
    """Read which table is which: `sessions=chats messages=chat_messages`; a name with a space stands in quotes.

    Raises:
        AuditError: it cannot be read so, names a table twice, or names one that no rule looks for.
    """
    from .errors import AuditError
    from .shape import COLUMNS

    example = 'write TABLES="sessions=chats messages=chat_messages"'
    try:
        words = [word.rstrip(",") for word in shlex.split(text)]
    except ValueError:
        raise AuditError(f"The quotes in TABLES do not match; {example}.") from None
    named: dict[str, str] = {}
    for word in filter(None, words):
        role, is_assigned, table = word.partition("=")
        if not is_assigned or not table:
            raise AuditError(f"TABLES cannot be read at {word!r}; {example}.")
        if role not in COLUMNS:
            raise AuditError(f"TABLES names {role!r}, which no rule looks for; the tables are {', '.join(COLUMNS)}.")
        if role in named:
            raise AuditError(f"TABLES names {role} twice; {example}.")
        named[role] = table
    return named


def _run(words: list[str]) -> int:
    from . import audit
    from .address import EXAMPLE, libpq_address
    from .errors import AuditError
    from .render import as_text

    asked = _parser().parse_args(words)
    if asked.fail_on not in ("high", "medium", "low"):
        raise AuditError(f"FAIL_ON is {asked.fail_on!r}; it is high, medium or low.")
    if not asked.url:
        raise AuditError(f"Say which database to audit: schema-audit {EXAMPLE}, or set DATABASE_URL.")
    report = audit(
        libpq_address(asked.url), behaviour=asked.behaviour, tables=tables_by_hand(asked.tables), book=asked.book.rstrip("/")
    )
    files = write(report, asked.output, asked.source)
    status = SOMETHING_FOUND if report.fails_on(asked.fail_on) else NOTHING_FOUND
    _print(f"{as_text(report)}\n\nThe report is in {files[0]}, {files[1].name} and {files[2].name}.")
    return status


def write(report: "Report", folder: Path, source: str) -> tuple[Path, Path, Path]:
    """Write the report as HTML, as JSON and as SARIF, and return the three paths.

    Args:
        folder: made where it is not there.
        source: the folder of the migrations, which the SARIF points at.

    Raises:
        AuditError: the folder cannot be written.
    """
    from .errors import AuditError
    from .html import as_html
    from .sarif import as_sarif

    files = (folder / "audit.html", folder / "audit.json", folder / "audit.sarif")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(files, (as_html(report), report.as_json(), as_sarif(report, source)), strict=True):
            # A name may hold half a character, which no file takes.
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise AuditError(
            f"The report cannot be written to {folder} ({error.strerror}); make it writable, or name another with --output."
        ) from None
    return files


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Refuse the arguments in one sentence.

        Raises:
            AuditError: always.
        """
        from .errors import AuditError

        raise AuditError(f"The command cannot be read ({message}); schema-audit --help lists what it takes.")


def _parser() -> argparse.ArgumentParser:
    from .paths import VERSION, default_output
    from .sarif import SOURCE

    def setting(name: str, otherwise: str = "") -> str:
        return os.environ.get(name, "").strip() or otherwise

    parser = _Parser(
        prog="schema-audit",
        description="Says what is wrong with the schema of a PostgreSQL database, from its catalog alone.",
        epilog="It ends with 0 where nothing as severe as FAIL_ON was found, 1 where something was, 2 where there is no verdict.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("url", nargs="?", default=setting("DATABASE_URL"), metavar="URL", help="postgresql://…; else DATABASE_URL")
    add(
        "--behaviour", action="store_true", default=setting("BEHAVIOUR", "0") != "0",
        help="try things too, and roll them back: for a staging copy (or BEHAVIOUR=1)",
    )  # fmt: skip
    add("--tables", default=setting("TABLES"), help='which table is which: "sessions=chats messages=chat_messages" (or TABLES)')
    add("--fail-on", default=setting("FAIL_ON", "low"), metavar="SEVERITY", help="high, medium or low, which is any (or FAIL_ON)")
    add("--book", default=setting("BOOK"), metavar="ADDRESS", help="where the workbook's pages are, for links to them (or BOOK)")
    add("--source", default=setting("SOURCE", SOURCE), metavar="FOLDER", help=f"where the migrations lie: {SOURCE} (or SOURCE)")
    add("--output", type=Path, default=default_output(), metavar="FOLDER", help="where the report goes: %(default)s")
    add("--version", action="version", version=f"schema-audit {VERSION}")
    return parser


def _print(text: str) -> None:
    try:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever reads has seen enough; the verdict stands all the same.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse(sentence: str, words: list[str]) -> int:
    # Where nobody can be told, the status says it.
    with suppress(BaseException):
        print(_without_password(" ".join(sentence.split()), words), file=sys.stderr, flush=True)
    return NO_VERDICT


def _without_password(text: str, words: list[str]) -> str:
    addresses = [word for word in (*words, os.environ.get("DATABASE_URL", "")) if "://" in word or "password" in word]
    try:
        from .address import without_password
    except ImportError:
        # Without the driver nothing has been connected to.
        return text
    for address in addresses:
        text = without_password(text, address)
    return text
