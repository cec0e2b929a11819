"""The commands behind make: run, refresh, bench (with durable, rollouts, costs and replicas), lab, exercises, figures,
migrations, rollout, book, slides, issue, stop."""

import argparse
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from . import book, clients, costs, order, privileges_sql, replicas, report, server, writes
from .bench import commit
from .catalogue import readme_index
from .database import clone
from .errors import WorkbookError
from .figures import measure
from .fixes import shown
from .lab import EXERCISES, copy_exercises, open_lab
from .measure import scale
from .migrations import write as write_migrations
from .paths import BUILD, DATA, NOTEBOOKS, ROOT
from .rollout import command as rollout
from .rollout import rehearsal
from .stubs import add_issue

DURABLE_PARTS = {"durable": "the writes", "rollouts": "the rollouts", "costs": "the fixes", "replicas": "the replicas"}
"""What `make bench` measures on a server that waits for the disk, by the command that does."""
PICTURE = DATA / "scoreboard.png"
"""The scoreboard, as the README shows it."""


def run() -> None:
    """Execute every notebook on fresh databases and write the book of their outputs."""
    runs = report.execute(report.notebooks())
    print(f"The book is at {book.build(runs, BUILD / 'html')}")
    _require_success(runs)


def refresh() -> None:
    """Execute every notebook in place but the benchmarks, and write anew what is made of the catalog and the data.

    That is data/clients.csv, data/order.csv, sql/privileges.sql, and the README's list of issues, its costs and its picture.
    """
    # First: a notebook shows the list.
    clients.refresh()
    order.refresh()
    privileges_sql.PATH.write_text(privileges_sql.generate(clone("v2", data="empty")))
    runs = report.execute([path for path in report.notebooks() if path not in report.benchmarks()])
    report.refresh(runs)
    write_readme_part("issues", readme_index())
    write_readme_part("writes", writes.summary())
    for picture in report.outputs(runs, "image/png"):
        PICTURE.write_bytes(b64decode(picture))
    _require_success(runs)


def bench() -> None:
    """Execute the benchmarks one at a time, and keep their runs in data/benchmarks.

    First the writes, the rollouts, the fixes and the replicas on a server that waits for the disk, whose published runs are
    shown. The medium scale is the one whose outputs the notebooks store. After an interruption the next call goes on with what
    was interrupted, as long as commit and scale are the same.
    """
    os.environ["BENCH"] = "1"
    state = f"{commit()} {scale()}"
    finished = BUILD / "bench-finished.txt"
    BUILD.mkdir(exist_ok=True)
    done = finished.read_text().splitlines() if finished.exists() else []
    if not done or done[0] != state:
        done = [state]
    paths = [path for path in report.benchmarks() if path.name not in done]
    try:
        for part in DURABLE_PARTS:
            if part not in done:
                _measure_durably(part)
                done.append(part)
                finished.write_text("\n".join(done))
        for run in report.execute_in_turn(paths):
            _require_success([run])
            if scale() == "medium":
                report.refresh([run])
            done.append(run.path.name)
            finished.write_text("\n".join(done))
    except KeyboardInterrupt:
        left = next((name for name in (*DURABLE_PARTS, *(path.name for path in paths)) if name not in done), "the end")
        raise WorkbookError(f"Interrupted; finished runs are in data/benchmarks, and `make bench` goes on with {left}.") from None
    finished.unlink(missing_ok=True)
    write_readme_part("writes", writes.summary())


def _measure_durably(part: str) -> None:
    print(f"measuring {DURABLE_PARTS[part]} on a server that waits for the disk")
    own = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "CLOCK")}
    done = subprocess.run([sys.executable, "-m", "workbook", part], env={**own, "DURABLE": "1"})
    if done.returncode:
        said = f"{DURABLE_PARTS[part].capitalize()} could not be measured on a server that waits for the disk"
        raise WorkbookError(f"{said}; see above, and run it again.")


def _require_success(runs: list[report.Executed]) -> None:
    failed = [f"{run.path.name} ({run.failure})" for run in runs if run.failure]
    if failed:
        server.require_alive()
        raise WorkbookError(f"{len(failed)} of {len(runs)} notebooks failed: {'; '.join(failed)}; open them with `make lab`.")


def slides() -> None:
    """Write the slide decks from the notebooks' stored outputs."""
    print(f"The slides are at {book.build_decks(report.stored(), BUILD / 'slides')}")


def write_book() -> None:
    """Write the book from the notebooks' stored outputs."""
    print(f"The book is at {book.build(report.stored(), BUILD / 'html')}")


def issue() -> None:
    """Write what a new issue begins with, from TITLE, SYMPTOM and SEVERITY."""
    said = {name: os.environ.get(name.upper(), "") for name in ("title", "symptom", "severity")}
    for line in add_issue(said["title"], said["symptom"], said["severity"] or "medium"):
        print(line)


def lab() -> None:
    """Open JupyterLab on the start notebook; stop the server when it ends."""
    open_lab(NOTEBOOKS / "00_start_here.ipynb")


def exercises() -> None:
    """Open JupyterLab on the reader's own copy of the exercises; stop the server when it ends."""
    is_new = not EXERCISES.exists()
    copy = copy_exercises()
    kept = "a new copy" if is_new else "as you left it; remove the file for a new copy"
    print(f"Your exercises are in {shown(copy)} ({kept}).")
    print("Preparing the database that they begin with.", flush=True)
    clone("v2")
    open_lab(copy)


def figures() -> None:
    """Measure the README's figures and write them there."""
    write_readme_part("figures", measure())


def write_readme_part(name: str, text: str) -> None:
    """Replace what stands between a part's two markers in the README."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(f"<!-- {name} -->\n")
    _, after = rest.split(f"<!-- end of {name} -->")
    readme.write_text(f"{before}<!-- {name} -->\n{text}\n<!-- end of {name} -->{after}")


def migrations() -> None:
    """Write the fixes into the Supabase project at TO."""
    to = os.environ.get("TO", "").strip()
    if not to:
        raise WorkbookError("Say which project is to have the fixes: make migrations TO=path/to/supabase.")
    for line in write_migrations(to):
        print(line)


def stop() -> None:
    """Stop the embedded server, the one with a clock of its own, and the one that waits for the disk."""
    undisturbed = replace(server.EmbeddedServer.of_checkout(), clock=None, durable=False)
    others = (replace(undisturbed, clock=datetime.now(UTC)), replace(undisturbed, durable=True))
    stopped = [own.stop() for own in (undisturbed, *others)]
    print("The embedded server is stopped." if any(stopped) else "The embedded server is not running.")


WITH_SERVER: dict[str, Callable[[], None]] = {
    "run": run,
    "refresh": refresh,
    "bench": bench,
    "durable": writes.measure,
    "rollouts": rehearsal.measure,
    "costs": costs.measure,
    "replicas": replicas.measure,
    "lab": lab,
    "exercises": exercises,
    "figures": figures,
}
WITHOUT_SERVER: dict[str, Callable[[], None]] = {
    "migrations": migrations,
    "book": write_book,
    "slides": slides,
    "issue": issue,
    "stop": stop,
}


def main() -> int:
    """Run the command that the first argument names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workbook", description="The schema workbook's commands.")
    parser.add_argument("command", choices=[*WITH_SERVER, *WITHOUT_SERVER, "rollout"])
    parser.add_argument("step", nargs="?", default=os.environ.get("STEP") or None, help="of a rollout")
    arguments = parser.parse_args()
    command = arguments.command
    if command == "rollout":
        return rollout.main(arguments.step)
    try:
        if command in WITHOUT_SERVER:
            WITHOUT_SERVER[command]()
            return 0
        scale()
        with server.running():
            WITH_SERVER[command]()
    except WorkbookError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; nothing is left half-done.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
