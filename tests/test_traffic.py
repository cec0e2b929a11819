"""Traffic beside a rollout: an app at work loses nothing, and whatever is lost behind its back is found."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pandas as pd
import psycopg
import pytest
from helpers import ask
from workbook import ADMIN, Database, WorkbookError, clone, database, sql, traffic
from workbook.server import EmbeddedServer, libpq_url
from workbook.traffic import Traffic

pytestmark = pytest.mark.slow

SHORT_S = 2.5


def works_for(state: str, seconds: float = SHORT_S, **clients: bool) -> tuple[Database, Traffic]:
    of = clone(state)
    with traffic.running(of, learners=10, report_s=0.5, **clients) as app:
        time.sleep(seconds)
    return of, app


@pytest.fixture(scope="module")
def v1() -> tuple[Database, Traffic]:
    return works_for("v1", dirty=True)


@pytest.fixture(scope="module")
def v2() -> tuple[Database, Traffic]:
    return works_for("v2", old=False, new=True)


@pytest.fixture(params=["v1", "v2"])
def either(request: pytest.FixtureRequest) -> tuple[Database, Traffic]:
    return request.getfixturevalue(request.param)


def newest(app: Traffic, kind: str) -> dict:
    """Return the last write of a kind that nobody has taken back."""
    facts = app.acknowledged.query("outcome == 'acknowledged'")["fact"].tolist()
    gone = {fact.get("session", fact.get("id")) for fact in facts if fact["kind"] in ("deletion", "user deletion")}
    gone |= {fact["id"] for fact in facts if fact["kind"] == "session" and fact["user"] in gone}
    left = [fact for fact in facts if fact["kind"] == kind and not gone & {fact.get("id"), fact.get("session")}]
    assert left, f"nobody wrote: {kind}"
    return left[-1]


def lost_after(either: tuple[Database, Traffic], statement: str, **values: object) -> list[str]:
    """Change a copy behind the app's back, and return what it finds lost."""
    original, app = either
    copy = original.copy()
    copy.run(f"set local session_replication_role = replica; {statement}", ADMIN, **values)
    lost = app.lost(copy)
    copy.drop()
    return lost


def test_nothing_fails_and_nothing_is_lost(either: tuple[Database, Traffic]) -> None:
    of, app = either
    requests = app.requests
    assert requests[requests["sqlstate"].notna()].empty
    assert app.lost(of) == []
    assert {"backend", "sign-up", "report"} < set(requests["who"])
    assert {"message", "session", "log", "sign-up"} <= set(app.acknowledged["kind"])
    assert (requests["attempt"] == 1).all()
    assert (requests["latency_ms"] > 0).all()


def test_a_missing_message(either: tuple[Database, Traffic]) -> None:
    message = newest(either[1], "message")
    lost = lost_after(either, "delete from public.messages where id = :id", id=message["id"])
    assert f"message {message['id']} is missing" in lost


def test_another_text(either: tuple[Database, Traffic]) -> None:
    message = newest(either[1], "message")
    lost = lost_after(either, "update public.messages set content = content || '!' where id = :id", id=message["id"])
    assert lost == [f"message {message['id']} has another text"]


def test_a_doubled_log(either: tuple[Database, Traffic]) -> None:
    log = newest(either[1], "log")
    double = """insert into public.logs (level, event_type, user_id, session_id, metadata, created_at)
        select level, event_type, user_id, session_id, metadata, created_at from public.logs where id = :id"""
    assert lost_after(either, double, id=log["id"]) == [f"log {log['id']} is doubled"]


def test_a_doubled_message(either: tuple[Database, Traffic]) -> None:
    of, app = either
    message = newest(app, "message")
    columns = "session_id, role, chat_type, content" + (
        ", user_id" if of.value("select to_regclass('event_types')", ADMIN) else ""
    )
    double = f"insert into public.messages ({columns}) select {columns} from public.messages where id = :id"
    assert f"message {message['id']} is doubled" in lost_after(either, double, id=message["id"])


def test_a_wrong_count(either: tuple[Database, Traffic]) -> None:
    session = newest(either[1], "session")
    wrong = "update public.sessions set message_count_main = message_count_main + 1 where id = :id"
    (sentence,) = lost_after(either, wrong, id=session["id"])
    assert sentence.startswith(f"session {session['id']} counts ")


def test_a_session_that_is_gone(either: tuple[Database, Traffic]) -> None:
    session = newest(either[1], "session")
    lost = lost_after(either, "delete from public.sessions where id = :id", id=session["id"])
    assert f"session {session['id']} is missing" in lost


def test_a_learner_who_is_gone(either: tuple[Database, Traffic]) -> None:
    user = newest(either[1], "sign-up")
    lost = lost_after(either, "delete from public.profiles where id = :id", id=user["id"])
    assert f"profile {user['id']} is missing" in lost


def test_an_old_address(either: tuple[Database, Traffic]) -> None:
    user = newest(either[1], "sign-up")
    lost = lost_after(either, "update auth.users set email = 'else@traffic.example' where id = :id", id=user["id"])
    assert f"user {user['id']} has the address else@traffic.example" in lost


def test_a_completion_that_nobody_counted(v2: tuple[Database, Traffic]) -> None:
    user = newest(v2[1], "sign-up")
    wrong = "update public.profiles set completed_scenario_count = completed_scenario_count + 1 where id = :id"
    (sentence,) = lost_after(v2, wrong, id=user["id"])
    assert sentence.startswith(f"profile {user['id']} counts ")


def test_figures(v1: tuple[Database, Traffic]) -> None:
    _, app = v1
    requests = app.requests
    (row,) = traffic.summary(requests).itertuples()
    felt = requests[requests["who"] != "report"]
    assert (row.phase, row.requests, row.failed) == ("before", len(felt), 0)
    assert row.median_ms <= row.p99_ms <= row.longest_ms < requests["latency_ms"].max()
    worst, phases = traffic.timeline(requests, app.phases)
    assert phases == {"before": 0.0}
    assert worst.max().max() == felt["latency_ms"].max()
    assert "report" not in worst.columns


def test_a_request_belongs_to_the_phase_that_it_spent_most_time_in() -> None:
    requests = pd.DataFrame({"start": [1.0, 9.9, 9.9, 10.0], "latency_ms": [10.0, 50.0, 900.0, 0.0]})
    assert traffic._phases(requests, [("before", 0.0), ("switch", 10.0)]) == ["before", "before", "switch", "switch"]


@pytest.mark.slow
def test_fixes_beside_old_clients() -> None:
    """With nothing between them and the fixes, old clients fail; what was acknowledged is there, repaired as the fixes say."""
    of = clone("v1")
    with traffic.running(of, dirty=True) as app:
        time.sleep(6)
        app.phase("switch")
        of.apply_up_to(54)
        app.phase("after")
        app.new_clients(True)
        time.sleep(4)
        app.new_clients(False)
    requests = app.requests
    assert app.lost(of) == []
    assert set(requests[requests["sqlstate"].notna()]["who"]) <= {"old learner", "backend", "report"}
    assert "42703" in set(requests["sqlstate"])
    assert traffic.summary(requests)["phase"].tolist() == ["before", "switch", "after"]
    with pytest.raises(WorkbookError, match="have stopped"):
        app.new_clients(True)


@contextmanager
def held_commits(of: Database) -> Iterator[None]:
    """Let every commit of a message wait until the block ends."""
    of.run(
        """create function public.hold() returns trigger language plpgsql security definer
            as $$ begin perform pg_advisory_xact_lock_shared(1); return null; end $$;
        create constraint trigger hold after insert on public.messages deferrable initially deferred
        for each row execute function public.hold()"""
    )
    with of.connect() as holder:
        holder.execute("select pg_advisory_lock(1)")
        yield


@pytest.mark.slow
def test_connections_that_break() -> None:
    """A new client sends a message again where its answer was lost, and it is stored once."""
    of = clone("v2")
    with traffic.running(of, report_s=0, old=False, new=True) as app:
        time.sleep(2)
        for _ in range(3):
            with held_commits(of):
                time.sleep(1.5)
                of.run(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'traffic: new learner'",
                    ADMIN,
                )
            of.run("drop function public.hold() cascade")
            time.sleep(1.5)
    again = app.requests.query("attempt == 2")
    assert len(again) > 0
    assert again["sqlstate"].isna().all()
    assert "unknown" in set(app.acknowledged["outcome"])
    assert set(app.requests["sqlstate"].dropna()) <= {"57P01", "08006"}
    assert app.lost(of) == []


@pytest.mark.slow
def test_a_server_that_is_killed(lasting_server: EmbeddedServer) -> None:
    """Who was about to commit cannot know what became of it; all else is known, and everybody goes on."""
    own = lasting_server
    ask(own, sql("platform/roles.sql"))
    ask(own, f"create database killed owner {database.OWNER_ROLE} template template0")
    killed = Database("killed")
    killed.url = libpq_url(own.url.set(database="killed"))
    database._fill(killed, "seed")
    with traffic.running(killed, learners=8, report_s=0.5) as app:
        time.sleep(1)
        with suppress(psycopg.OperationalError), held_commits(killed):
            time.sleep(2)
            for pid in (own._pid(), *own._processes()):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        while own._processes():
            time.sleep(0.01)
        time.sleep(0.5)
        app.phase("again")
        assert own.start()
        killed.run("drop function public.hold() cascade")
        time.sleep(4)
    outcomes = app.acknowledged.query("kind == 'message'")["outcome"].value_counts()
    assert outcomes["unknown"] > 0
    assert outcomes["acknowledged"] > 0
    assert app.lost(killed) == []
    after = app.requests.query("phase == 'again'")
    assert after["sqlstate"].isna().sum() > 20


def test_clients_that_cannot_begin() -> None:
    with pytest.raises(WorkbookError, match="does not exist"), traffic.running(Database("wb_nowhere")):
        pass
