"""The command `rollout`: one step of it at a time, by the environment that the Makefile hands on."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
from tqdm import tqdm

from ..errors import WorkbookError
from ..paths import BUILD
from . import steps
from .export import write_sql
from .plan import obstacles, plan
from .runner import Refused, Runner

DONE, NOT_YET, FAILED = 0, 1, 2


def main(step: str | None) -> int:
    """Run a step on the database at DATABASE_URL.

    Returns:
        0 where it is done, 1 where it is refused or not done yet, 2 where it could not run.
    """
    if step not in STEPS:
        print(f"Say which step: make rollout STEP={'|'.join(STEPS)} DATABASE_URL=postgresql://…", file=sys.stderr)
        return FAILED
    url = os.environ.get("DATABASE_URL")
    if not url:
        print(
            f"Say which database: make rollout STEP={step} DATABASE_URL=postgresql://owner:password@host:5432/database.",
            file=sys.stderr,
        )
        return FAILED
    # From here on the embedded server is the scratch one, and never this database.
    del os.environ["DATABASE_URL"]
    try:
        with Runner(url.replace("postgresql+psycopg://", "postgresql://")) as runner:
            if step in READING:
                return STEPS[step](runner)
            with runner.alone():
                return STEPS[step](runner)
    except Refused as error:
        print(error, file=sys.stderr)
        return NOT_YET
    except WorkbookError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"Interrupted between two batches. What is done is kept: run {step} again to go on.", file=sys.stderr)
        return NOT_YET
    except psycopg.errors.DiskFull:
        print(f"The server's disk is full. Make room and run {step} again to go on, or abort before the switch.", file=sys.stderr)
        return FAILED
    except psycopg.OperationalError as error:
        reason = (str(error).strip().splitlines() or ["the connection broke"])[0]
        print(f"The database went away ({reason}). What is committed is kept: run {step} again to go on.", file=sys.stderr)
        return FAILED
    except psycopg.Error as error:
        advice = error.diag.message_hint or f"Nothing of this batch stays: see to it and run {step} again."
        print(f"The database refused ({error.sqlstate}: {error.diag.message_primary}). {advice}", file=sys.stderr)
        return FAILED
    finally:
        os.environ["DATABASE_URL"] = url


def _plan(runner: Runner) -> int:
    print("\n".join(plan(runner)))
    return NOT_YET if obstacles(runner) and runner.phase == "none" else DONE


def _start(runner: Runner) -> int:
    steps.start(runner)
    return DONE


def _copy(runner: Runner) -> int:
    form = "{desc} {percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt} pages, {remaining} left, {postfix}"
    with tqdm(total=steps.pages_to_copy(runner), bar_format=form, unit="page", mininterval=0.5) as bar:

        def show(pace: steps.Pace) -> None:
            bar.set_description_str(f"{pace.table:9}", refresh=False)
            bar.set_postfix_str(
                f"{pace.rows / max(pace.seconds, 0.1):,.0f} rows/s, longest commit {pace.longest_commit_ms:.0f} ms", refresh=False
            )
            bar.n = min(pace.pages_done, bar.total or 0)
            bar.update(0)

        steps.copy(runner, say=lambda line: bar.write(line), show=show)
    return DONE


def _switch(runner: Runner) -> int:
    steps.switch(runner)
    return DONE


def _back(runner: Runner) -> int:
    steps.back(runner)
    return DONE


def _finish(runner: Runner) -> int:
    steps.finish(runner, has_backup=os.environ.get("BACKUP") == "done", has_old_clients=os.environ.get("OLD_CLIENTS") != "none")
    return DONE


def _abort(runner: Runner) -> int:
    steps.abort(runner)
    return DONE


def _status(runner: Runner) -> int:
    found = steps.status(runner)
    print(found)
    folder = BUILD / "rollout"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status.json").write_text(json.dumps({"phase": found.phase, **found.facts}, indent=2, default=str) + "\n")
    return DONE


def _sql(runner: Runner) -> int:
    to = os.environ.get("TO", "").strip()
    if not to:
        print("Say where the files go: make rollout STEP=sql TO=path/to/a/folder.", file=sys.stderr)
        return FAILED
    for path in write_sql(runner, Path(to)):
        print(path)
    return DONE


STEPS: dict[str, Callable[[Runner], int]] = {
    "plan": _plan,
    "start": _start,
    "copy": _copy,
    "switch": _switch,
    "back": _back,
    "finish": _finish,
    "abort": _abort,
    "status": _status,
    "sql": _sql,
}
READING = ("plan", "status", "sql")
