"""The fixes as migrations of a Supabase project: named so that its CLI applies them in order, after the project's own."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from .errors import WorkbookError
from .fixes import Fix, all_fixes, shown

TABLES = ("profiles", "scenarios", "sessions", "messages", "logs")
"""What the fixes change: a project without them is another one."""

_SCRATCH = ".workbook-"
"""How the name of a folder begins that holds files on their way in."""

_STAMP = "%Y%m%d%H%M%S"


@dataclass(frozen=True)
class Migration:
    """A file that the CLI applies: digits, an underscore, a name, `.sql`. It sorts them as text."""

    path: Path

    @property
    def version(self) -> str:
        """The digits, which the CLI records as the version."""
        return self.path.name.partition("_")[0]

    @property
    def name(self) -> str:
        """What follows, which the CLI records as the name."""
        return self.path.stem.partition("_")[2]

    @property
    def text(self) -> str:
        """The file's text, with the line ends that the fixes have."""
        return self.path.read_bytes().decode(errors="replace").replace("\r\n", "\n")


def write(to: str, today: date | None = None) -> list[str]:
    """Write every fix that a Supabase project does not have yet into its folder of migrations, all of them or none.

    Each is the fix file as it is, with a version later than all that are there, a second apart; the first is today's
    midnight, so that two people who do this on one day write the same files. Nothing is ever overwritten.

    Args:
        to: the folder that holds the folder supabase, this folder itself, or its folder migrations.
        today: another date than today's in UTC.

    Returns:
        What was done, a line each.

    Raises:
        WorkbookError: it is no such project, or what is there does not fit; nothing is written.
    """
    folder = _folder(to)
    if not folder.is_dir():
        raise WorkbookError(f"There is no folder {folder}, so no migration makes v1; {_MAKE_V1}.")
    with _clear_errors(folder), _alone(folder):
        there = [Migration(path) for path in sorted(folder.iterdir()) if re.fullmatch(r"[0-9]+_.+\.sql", path.name)]
        there = [migration for migration in there if migration.path.is_file()]
        _require_no_bare_numbers(there)
        ours = _ours(there)
        _require_v1(folder, [migration for migration in there if not ours or migration.path < next(iter(ours.values())).path])
        missing = [fix for fix in all_fixes() if fix not in ours]
        if not missing:
            return [f"All {len(ours)} fixes are in {folder} already."]
        for fix, migration in ours.items():
            if fix.number > missing[0].number:
                raise WorkbookError(
                    f"{missing[0].name} is not in {folder}, and would have to stand before {migration.path.name}; "
                    f"bring its file back from version control, or, {_START_AGAIN}."
                )
        names = [
            f"{version}_{fix.name}.sql"
            for version, fix in zip(_versions(there[-1], today or datetime.now(UTC).date(), len(missing)), missing, strict=True)
        ]
        _write_all(folder, dict(zip(names, (fix.text for fix in missing), strict=True)))
    kept = f" {len(ours)} were there already." if ours else ""
    return [
        f"{len(names)} fixes are now in {folder}, from {names[0]} to {names[-1]}.{kept}",
        "Read them, try them on a copy, and let `supabase db push` apply them.",
    ]


_START_AGAIN = "where none of ours is pushed yet, remove them all and run this again"
_MAKE_V1 = "name the project whose migrations make v1's tables, or let `supabase db pull` write them down first"


def _folder(to: str) -> Path:
    """Find the folder of migrations from what the user has typed; it may be missing."""
    given = Path(to).expanduser()
    if not given.is_dir():
        raise WorkbookError(f"There is no folder {given}; say where the project is: make migrations TO=path/to/supabase.")
    if (given / "supabase").is_dir():
        return given / "supabase" / "migrations"
    names = (given.name, given.resolve().name)
    if "supabase" in names:
        return given / "migrations"
    if "migrations" in names:
        return given
    raise WorkbookError(
        f"{given} is no Supabase project: give the folder that holds the folder supabase, this folder itself, or its migrations."
    )


def _ours(there: Sequence[Migration]) -> dict[Fix, Migration]:
    """Return the fixes that a project has, in the order in which its CLI applies them.

    Raises:
        WorkbookError: one is there twice, out of order, or with another text.
    """
    fixes = {fix.name: fix for fix in all_fixes()}
    ours: dict[Fix, Migration] = {}
    for migration in there:
        if (fix := fixes.get(migration.name)) is None:
            continue
        if fix in ours:
            raise WorkbookError(
                f"{ours[fix].path} and {migration.path.name} are the same fix; "
                "remove the one that `supabase migration list` does not show as applied, or the later one."
            )
        if ours and fix.number < (last := next(reversed(ours))).number:
            raise WorkbookError(f"{migration.path} has to stand before {ours[last].path.name}; {_START_AGAIN}.")
        if migration.text != fix.text:
            raise WorkbookError(
                f"{migration.path} is not {shown(fix.path)} any more; {_START_AGAIN}, "
                "else give it the fix's text back, and put your change into a migration of its own."
            )
        ours[fix] = migration
    return ours


def _require_no_bare_numbers(there: Sequence[Migration]) -> None:
    """Refuse fix files that somebody has copied as they are: as text, 00 comes before any date, and 2025… before 20."""
    fixes = {fix.name for fix in all_fixes()}
    bare = [migration for migration in there if migration.path.stem in fixes]
    if not bare:
        return
    more = f" and {len(bare) - 1} more are" if len(bare) > 1 else " is"
    numbers = " ".join(migration.version for migration in bare)
    raise WorkbookError(
        f"{bare[0].path}{more} named by number alone, which the Supabase CLI does not sort among dates; remove what is so named, "
        f"run `supabase migration repair --status reverted {numbers}` where a database has recorded it, then this again, "
        "and there `supabase migration repair --status applied` with the new versions of the same fixes."
    )


def _require_v1(folder: Path, before: Sequence[Migration]) -> None:
    sql = "\n".join(re.sub(r"--[^\n]*|/\*.*?\*/", " ", migration.text, flags=re.DOTALL) for migration in before)
    missing = [table for table in TABLES if not _creates(table, sql)]
    if missing:
        raise WorkbookError(
            f"No migration in {folder} creates {', '.join(missing)} in the schema public before the fixes; {_MAKE_V1}."
        )


def _creates(table: str, sql: str) -> bool:
    """Tell whether SQL without comments creates this table of public, in any of the usual spellings."""
    spelled = rf'\bcreate\s+(unlogged\s+)?table\s+(if\s+not\s+exists\s+)?("?public"?\s*\.\s*)?("{table}"|{table}\b)(?!\s*\.)'
    return re.search(spelled, sql, re.IGNORECASE) is not None


def _versions(latest: Migration, today: date, count: int) -> Iterator[str]:
    """Return versions later than the latest one, whose date may lie in the future."""
    at = datetime.combine(today, time())
    try:
        if latest.version >= at.strftime(_STAMP):
            # strptime() takes fewer digits too, and guesses.
            stamp = re.match("[0-9]{14}", latest.version)
            at = datetime.strptime(stamp[0] if stamp else "", _STAMP) + timedelta(seconds=1)
        return iter([(at + timedelta(seconds=step)).strftime(_STAMP) for step in range(count)])
    except (ValueError, OverflowError):
        raise WorkbookError(
            f"{latest.path} sorts after every date, and so the fixes cannot follow it; "
            "give it a version of fourteen digits, YYYYMMDDhhmmss, first."
        ) from None


def _write_all(folder: Path, texts: dict[str, str]) -> None:
    """Write files that are not there yet, whole, in order, and all of them; a killed run leaves the first ones at most."""
    for left in folder.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left)
    with TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch:
        for name, text in texts.items():
            (Path(scratch) / name).write_bytes(text.encode())
        written: list[Path] = []
        try:
            for name in texts:
                written.append(folder / name)
                os.rename(Path(scratch) / name, folder / name)
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            raise


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process at a time write into the folder; the lock goes with the process, and leaves no file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkbookError(
            f"The migrations in {folder} cannot be read or written ({error.strerror}); allow it, and run this again."
        ) from None
