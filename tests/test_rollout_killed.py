"""A runner or the server dies in the middle of a rollout: the same step goes on, and nothing is lost, doubled or half done."""

import multiprocessing
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psycopg
import pytest
from helpers import ask, schema
from test_killed import PATIENCE_S, OwnDatabase
from workbook import ADMIN, Database, WorkbookError, clone, database, fixes, rollout, sql
from workbook.rollout import steps
from workbook.rollout.rehearsal import owner_url, quiet
from workbook.server import EmbeddedServer
from writers import SPREAD, Writer, differences, running, v1_rows, v2_schema

pytestmark = pytest.mark.slow

LAST = fixes.all_fixes()[-1].number
KILLS = 20

STEPS: dict[str, Callable[[rollout.Runner], object]] = {
    "start": lambda runner: steps.start(runner, quiet),
    "copy": lambda runner: steps.copy(runner, quiet),
    "switch": lambda runner: steps.switch(runner, quiet),
    "back": lambda runner: steps.back(runner, quiet),
    "finish": lambda runner: steps.finish(runner, quiet, has_backup=True, has_old_clients=False),
    "abort": lambda runner: steps.abort(runner, quiet),
}
LASTS_S = {"start": 1.5, "copy": 0.6, "switch": 0.1, "back": 0.15, "finish": 0.1, "abort": 0.15}
"""About how long each takes: the moment of a death lies within."""
IS_OVER = {"start": "started", "copy": "linked", "switch": "switched", "back": "none", "finish": "none", "abort": "none"}
WAYS = [
    ("start", "copy", "switch", "finish"),
    ("start", "copy", "switch", "back"),
    ("start", "copy", "abort"),
    ("start", "abort"),
]


def take(step: str, url: str) -> None:
    """Take a step; its end may be a death."""
    with rollout.Runner(url) as runner, runner.alone():
        STEPS[step](runner)


def phase(of: Database) -> str:
    """Return where the rollout is; between the two halves of finish it is nowhere else than before."""
    with rollout.Runner(owner_url(of)) as runner:
        is_half = runner.phase == "none" and runner.one("select to_regnamespace('compat_v1') is not null")
        return "switched" if is_half else runner.phase


# --- Who dies -----------------------------------------------------------------------------------------------------


def kill_runner(step: str, of: Database, after_s: float) -> bool:
    """Have a process take a step and kill it; return whether it was in the middle of it."""
    runner = multiprocessing.get_context("fork").Process(target=take, args=(step, owner_url(of)))
    runner.start()
    runner.join(after_s)
    is_in_the_middle = runner.is_alive()
    if runner.pid and is_in_the_middle:
        os.kill(runner.pid, signal.SIGKILL)
    runner.join()
    return is_in_the_middle


def kill_server(own: EmbeddedServer, step: str, of: Database, after_s: float) -> bool:
    """Take a step, kill all of the server meanwhile, and start it again; return whether it was in the middle of it."""
    found: list[BaseException] = []

    def work() -> None:
        try:
            take(step, owner_url(of))
        except (psycopg.Error, WorkbookError) as error:
            found.append(error)

    runner = threading.Thread(target=work)
    runner.start()
    runner.join(after_s)
    is_in_the_middle = runner.is_alive()
    for pid in (own._pid(), *own._processes()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    runner.join(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while own._processes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert own.start()
    assert is_in_the_middle or not found, f"{step}: {found}"
    return is_in_the_middle


# --- What is left -------------------------------------------------------------------------------------------------


def go(
    live: Database,
    copy_of: Callable[[Database], Database],
    way: tuple[str, ...],
    kill: Callable[[str, float], bool],
    seed: int,
    kills: int,
) -> None:
    """Go a way through the rollout, with deaths in each step, and compare what it leads to."""
    chance = random.Random(seed)
    since = live.value("select now()")
    v1_schema = schema(live)
    frozen, before = None, v1_rows(live)
    for step in way:
        if step in ("switch", "abort"):
            before = v1_rows(live)
        if step == "switch":
            frozen = copy_of(live)
        for _ in range(kills):
            if phase(live) == IS_OVER[step]:
                break
            kill(step, chance.random() * LASTS_S[step])
            if step in ("start", "copy"):
                writer = Writer(live.url, chance)
                writer.write(3)
                writer.close()
        if phase(live) != IS_OVER[step]:
            take(step, owner_url(live))
        assert phase(live) == IS_OVER[step]
    if way[-1] == "finish":
        assert frozen
        take("abort", owner_url(frozen))
        frozen.apply_up_to(LAST)
        told = differences(live, frozen, since)
        assert not told, "\n".join(told)
        assert v2_schema(live) == v2_schema(frozen)
    else:
        assert v1_rows(live) == before
        # Temporary tables of a server that died stay in its catalog until autovacuum comes, which does not run here.
        left = [row for row in schema(live) if not re.search("rollout_kept|pg_temp", row[1])]
        assert left == v1_schema


@pytest.fixture(scope="module")
def spread() -> Database:
    made = clone("v1", "dirty")
    made.run(SPREAD, ADMIN)
    return made


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("way", "seed"),
    [
        pytest.param(way, seed, marks=[pytest.mark.slow] if seed or way[-1] != "finish" else [])
        for seed in range(3)
        for way in WAYS
    ],
)
def test_the_runner_is_killed(spread: Database, way: tuple[str, ...], seed: int) -> None:
    live = spread.copy()
    kills = KILLS // 4 if seed else 2
    go(live, Database.copy, way, lambda step, after_s: kill_runner(step, live, after_s), seed, kills)
    live.drop()


@pytest.fixture(scope="module")
def own(lasting_server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """A server with a template spread: v1 with rows that break rules."""
    ask(lasting_server, sql("platform/roles.sql"))
    made = OwnDatabase(lasting_server, "spread")
    database._fill(made, "dirty")
    made.run(SPREAD, ADMIN)
    yield lasting_server


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(int(os.environ.get("ROLLOUT_SERVER_SEEDS", "1"))))
@pytest.mark.parametrize("way", WAYS)
def test_the_server_is_killed(own: EmbeddedServer, way: tuple[str, ...], seed: int) -> None:
    live = OwnDatabase(own, f"live_{way[-1]}_{len(way)}_{seed}", "spread")

    def copy_of(of: Database) -> Database:
        return OwnDatabase(own, f"frozen_{of.name}", of.name)

    go(live, copy_of, way, lambda step, after_s: kill_server(own, step, live, after_s), seed, KILLS // 4)


# --- Who comes at the wrong time ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_runner(spread: Database) -> None:
    live = spread.copy()
    refusal = r"^Another runner is at work on this database; [^\n]*\.$"
    with running(live), rollout.Runner(owner_url(live)) as second, pytest.raises(rollout.Refused, match=refusal), second.alone():
        pass
    live.drop()


def test_each_step_at_the_wrong_time(spread: Database) -> None:
    live = spread.copy()
    wrong = {
        "none": ("copy", "switch", "back", "finish"),
        "started": ("switch", "back", "finish"),
        "linked": ("back", "finish"),
        "switched": ("copy", "abort"),
    }
    for now, comes in {"none": "start", "started": "copy", "linked": "switch", "switched": "back"}.items():
        with running(live) as runner:
            assert runner.phase == now
            before = schema(live), v1_rows(live)
            for step in wrong[now]:
                with pytest.raises(rollout.Refused, match=r"^[^\n]*\.$"):
                    STEPS[step](runner)
            assert (schema(live), v1_rows(live)) == before
        take(comes, owner_url(live))
    assert phase(live) == "none"
    live.drop()
