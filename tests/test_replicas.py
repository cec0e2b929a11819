"""Replicas: they never outlive the process that made them, hold what the primary holds, and say how far behind they are."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from helpers import Run, is_one_sentence, schema
from workbook import ADMIN, SERVICE, replicas
from workbook.database import clone
from workbook.errors import WorkbookError
from workbook.paths import BUILD, NOTEBOOKS, ROOT
from workbook.replicas import Replicated
from workbook.server import EmbeddedServer

GENEROUS_S = 40
"""Within which a server has ended whose process was killed: it lingers for 4 s, and other tests run beside this one."""

OLDEST = BUILD / "postgresql-15"
RELEASES = [
    "",
    pytest.param(
        "15",
        marks=[pytest.mark.slow, pytest.mark.skipif(not OLDEST.exists(), reason="PostgreSQL 15 is not in build/postgresql-15")],
    ),
]


@pytest.fixture(scope="module", params=RELEASES, ids=["this release", "15"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Replicated]:
    """A primary with one replica."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setenv("PG", request.param)
        with replicas.start(1) as started:
            yield started


# --- What outlives whom ---------------------------------------------------------------------------------------


@pytest.fixture
def home(own_server: EmbeddedServer) -> Path:
    """A folder for the servers of a process of the test's own."""
    own_server._make_home()
    return own_server.home


def left_in(home: Path) -> list[psutil.Process]:
    """Return the living processes of the servers in a folder, and their keepers."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if process.status() != psutil.STATUS_ZOMBIE and (
                f"{home}/" in words or f"{home}/" in process.cwd() or f"{home} " in words
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def all_end(home: Path) -> bool:
    """Wait for all of them to end by themselves."""
    deadline = time.monotonic() + GENEROUS_S
    while (left := left_in(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not left


def maker(home: Path, then: str) -> subprocess.Popen[str]:
    """Start a process that starts a primary and a replica in a folder, says so, and goes on with something."""
    code = (
        "import os, signal, time; from pathlib import Path; from workbook import replicas, server\n"
        f"server._home = lambda *_: Path({str(home)!r})\n"
        "print('begins', flush=True)\n"
        f"{then}"
    )
    environment = {**os.environ, "PYTHONPATH": str(NOTEBOOKS)}
    started = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )
    assert started.stdout and started.stdout.readline() == "begins\n"
    return started


RUNNING = "cluster = replicas.start(1)\nprint('runs', flush=True)\ntime.sleep(600)"


def running(home: Path, then: str = RUNNING) -> subprocess.Popen[str]:
    started = maker(home, then)
    assert started.stdout and started.stdout.readline() == "runs\n", started.stderr and started.stderr.read()
    names = sorted(path.name for path in home.glob("data-*"))
    assert names == ["data-01", "data-0p"]
    return started


@pytest.mark.parametrize("by", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)], ids=lambda by: by.name)
def test_of_a_killed_process_no_server_is_left(by: signal.Signals, home: Path) -> None:
    process = running(home)
    # Else this test would see nothing end.
    assert len(left_in(home)) > 10
    process.send_signal(by)
    process.communicate()
    assert all_end(home)


def test_of_an_interrupted_process_nothing_is_left(home: Path) -> None:
    process = running(home, "with replicas.start(1):\n    print('runs', flush=True)\n    time.sleep(600)")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=GENEROUS_S)
    assert "KeyboardInterrupt" in said
    assert not list(home.glob("data-*")) and all_end(home)


@pytest.mark.slow
def test_without_a_with_nothing_is_left_either(home: Path) -> None:
    process = running(home, "cluster = replicas.start(1)\nprint('runs', flush=True)\ntime.sleep(1)")
    process.communicate(timeout=GENEROUS_S)
    assert not list(home.glob("data-*")) and all_end(home)


@pytest.mark.slow
def test_with_a_replica_that_hangs_and_commits_that_wait_no_server_is_left(home: Path) -> None:
    waiting = """cluster = replicas.start(1)
cluster.primary.set(synchronous_standby_names="replica_1", synchronous_commit="remote_apply")
cluster.replicas[0].pause()
with replicas.writers(cluster.primary.database, 2):
    replicas.until(cluster.primary.database, "count(*) = 2 from pg_stat_activity where wait_event = 'SyncRep'")
    print('runs', flush=True)
    time.sleep(600)"""
    process = running(home, waiting)
    process.kill()
    process.communicate()
    assert all_end(home)


MOMENTS = random.Random(16).sample(range(50, 3000, 50), 6)
"""Milliseconds after which a start is cut off: 3 seconds is about what it takes."""


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT], ids=lambda by: by.name)
@pytest.mark.parametrize("moment", MOMENTS)
def test_of_a_start_that_is_cut_off_no_server_is_left(moment: int, by: signal.Signals, home: Path) -> None:
    process = maker(home, RUNNING)
    time.sleep(moment / 1000)
    process.send_signal(by)
    process.communicate()
    assert all_end(home)


@pytest.mark.slow
def test_the_next_one_removes_what_a_killed_one_left(home: Path) -> None:
    process = running(home)
    process.kill()
    process.communicate()
    assert list(home.glob("data-*"))
    done = running(home, "cluster = replicas.start(1)\nprint('runs', flush=True)\ntime.sleep(1)")
    done.communicate(timeout=GENEROUS_S)
    assert not list(home.glob("data-*")) and all_end(home)


def test_a_start_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[replicas.Node] = []

    def fail(primary: replicas.Node, messages: int) -> None:
        seen.append(primary)
        raise WorkbookError("No.")

    monkeypatch.setattr(replicas, "_build", fail)
    with pytest.raises(WorkbookError, match="No."):
        replicas.start(1)
    assert seen[0]._pid() is None and not seen[0].data.exists()


@pytest.mark.slow
def test_two_at_once_do_not_meet(cluster: Replicated) -> None:
    with replicas.start(0) as other:
        assert other.primary.data != cluster.primary.data and other.primary.socket != cluster.primary.socket
    assert cluster.primary._pid() and cluster.replicas[0]._pid()


@pytest.mark.slow
def test_a_fork_does_not_close_what_its_parent_uses(run_python: Run) -> None:
    code = """import os
from workbook import ADMIN, replicas
with replicas.start(0) as cluster:
    child = os.fork()
    if child == 0:
        cluster.close()
        os._exit(0)
    os.waitpid(child, 0)
    print(cluster.primary.database.value("select 'lives'", ADMIN))"""
    assert run_python(code).stdout == "lives\n"


# --- The same, and how far behind -----------------------------------------------------------------------------


def test_the_primary_holds_v2_and_the_replica_all_of_it(cluster: Replicated) -> None:
    held = schema(cluster.primary.database)
    assert schema(cluster.replicas[0].database) == held
    with clone("v2").connect() as connection:
        major = connection.info.server_version // 10_000
    if cluster.primary.major == str(major):
        assert held == schema(clone("v2"))


def test_a_replica_takes_no_writes(cluster: Replicated) -> None:
    cluster.replicas[0].database.refused(replicas.REPLY, SERVICE, code="25006")


def test_a_place_in_the_log_lies_behind_what_was_committed(cluster: Replicated) -> None:
    primary, replica = cluster.primary.database, cluster.replicas[0]
    replica.pause()
    before = replicas.position(primary)
    assert replicas.is_replayed(replica.database, before, 5)
    with replicas.writers(primary, 1) as acknowledged:
        replicas.reaches(acknowledged, 5)
    after = replicas.position(primary)
    assert replicas.missing(primary, acknowledged) == 0
    assert replicas.missing(replica.database, acknowledged) == len(acknowledged)
    assert not replicas.is_replayed(replica.database, after, 0.1)
    with pytest.raises(WorkbookError, match="still does not hold") as caught:
        replicas.wait_for(replica.database, after, 0.1)
    assert is_one_sentence(caught.value)
    replica.resume()
    assert replicas.wait_for(replica.database, after) >= 0
    assert replicas.missing(replica.database, acknowledged) == 0


def test_lag_counts_bytes(cluster: Replicated) -> None:
    primary, replica = cluster.primary.database, cluster.replicas[0]
    replicas.wait_for(replica.database, replicas.position(primary))
    replica.pause()
    before = replicas.position(primary)
    primary.run(replicas.REPLY, SERVICE)
    replicas.until(primary, "not exists (select from pg_stat_replication where flush_lsn < pg_current_wal_lsn())")
    (line,) = replicas.lag(primary).to_dict("records")
    written = primary.value("select pg_current_wal_lsn() - cast(:before as pg_lsn)", ADMIN, before=before)
    assert line["replica"] == "replica_1" and line["not_kept"] == 0 and line["not_replayed"] >= written > 0
    with replicas.watched(primary) as looks:
        time.sleep(0.1)
    assert looks and all(name == "replica_1" and behind >= written for _, name, behind, _ in looks)
    replica.resume()
    replicas.wait_for(replica.database, replicas.position(primary))


def test_one_finds_what_one_has_written(cluster: Replicated) -> None:
    primary, replica = cluster.primary, cluster.replicas[0]
    for way in ("after its commit's place", "after remote_apply"):
        primary.set(synchronous_standby_names="replica_1" if "remote" in way else "")
        missed, took = replicas.own_reads(primary.database, replica.database, way, 20)
        assert (missed, len(took)) == (0, 20)
    primary.set(synchronous_standby_names="")


def test_own_reads_notice_a_message_that_is_not_there(cluster: Replicated) -> None:
    replica = cluster.replicas[0]
    replica.pause()
    assert replicas.own_reads(cluster.primary.database, replica.database, "at once", 5)[0] == 5
    replica.resume()


def test_a_cut_line_is_cut_until_it_is_joined(cluster: Replicated) -> None:
    primary, replica = cluster.primary.database, cluster.replicas[0]
    replica.cut()
    primary.run(replicas.REPLY, SERVICE)
    assert not replicas.is_replayed(replica.database, replicas.position(primary), 0.3)
    replica.follow()
    assert replicas.is_replayed(replica.database, replicas.position(primary), 10)


def test_reads_are_counted(cluster: Replicated) -> None:
    assert replicas.read(cluster.nodes, 40, learners=1) > 0


def test_a_report_goes_on_until_it_is_cancelled(cluster: Replicated) -> None:
    with replicas.reading(cluster.replicas[0].database) as report:
        assert replicas.settled(report, 0.1) == "goes on"
    with pytest.raises(psycopg.errors.QueryCanceled):
        report.result(10)


def test_vacuum_says_what_has_to_stay(cluster: Replicated) -> None:
    primary = cluster.primary.database
    change = "update public.profiles set completed_scenario_count = completed_scenario_count"
    with primary.connect() as reader:
        reader.execute("begin isolation level repeatable read")
        reader.execute("select count(*) from public.profiles")
        primary.run(change, ADMIN)
        assert replicas.vacuum(primary, "public.profiles") == primary.value("select count(*) from public.profiles", ADMIN)
    assert replicas.vacuum(primary, "public.profiles") == 0


def test_privileges_on_a_replica_are_tried_and_leave_nothing(cluster: Replicated) -> None:
    primary, replica = cluster.primary.database, cluster.replicas[0].database
    counts = "select (select count(*) from public.messages), (select count(*) from public.logs)"
    before = primary.run(counts, ADMIN).values.tolist()
    attempts = replicas.try_privileges(primary, replica)
    allowed = attempts[attempts["outcome"] == "allowed"]
    assert set(allowed["command"]) == {"select"} and ("messages", "Anna, her own") in set(
        zip(allowed["table"], allowed["visitor"], strict=True)
    )
    assert ("messages", "Ben, Anna's") not in set(zip(allowed["table"], allowed["visitor"], strict=True))
    assert primary.run(counts, ADMIN).values.tolist() == before
    # A hole on the primary is one on the replica.
    primary.run("alter table public.messages disable row level security")
    seen = replicas.try_privileges(primary, replica)
    primary.run("alter table public.messages enable row level security")
    leaked = seen[(seen["table"] == "messages") & (seen["visitor"] == "Ben, Anna's") & (seen["command"] == "select")]
    assert list(leaked["outcome"]) == ["allowed"]


def test_failover_loses_what_a_replica_has_not_received_and_nothing_else(cluster: Replicated) -> None:
    primary, replica = cluster.primary, cluster.replicas[0]
    primary.set(synchronous_standby_names="replica_1", synchronous_commit="remote_apply")
    with replicas.writers(primary.database, 2) as kept:
        replicas.reaches(kept, 20)
    primary.set(synchronous_standby_names="")
    replica.cut()
    with replicas.writers(primary.database, 2) as lost:
        replicas.reaches(lost, 20)
        primary.kill()
    assert primary._pid() is None
    replica.promote()
    assert replicas.missing(replica.database, kept) == 0
    assert replicas.missing(replica.database, lost) == len(lost) >= 20
    replica.database.run(replicas.REPLY, SERVICE)
