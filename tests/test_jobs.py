"""Jobs beside whoever else is there: nobody waits for them for long, and each says what it left undone."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from helpers import Rehearsal, rehearsal
from workbook import ADMIN, OWNER, SERVICE, Actor, Database, clone, fixes
from workbook.database import assume

LAST = fixes.all_fixes()[-1].number
LONGEST_WAIT_S = 1.0
"""Far from the 200 ms that a job aims at, and from the seconds that it once took."""
LOG_JOB = "select to_jsonb(delete_old_logs())"
READ_LOGS = "select count(*) from logs"
WRITE_PROFILE = "update profiles set week_reset_date = week_reset_date where id = 'b0000000-0000-4000-8000-000000000000'"
WRITE_SESSION = "update sessions set last_activity_at = now() where id = 'b0000000-0000-4000-8000-000000000001'"
WRITE_LOG = "insert into logs (level, event_type) values ('info', 'user_logout')"
PARTITIONS = """
    select inhrelid::regclass::text as name
    from pg_inherits
    where inhparent = 'logs'::regclass and inhrelid <> 'private.logs_default'::regclass
    order by 1"""


@pytest.fixture(scope="module")
def v2() -> Database:
    return clone(LAST)


@pytest.fixture
def fixed(v2: Database) -> Iterator[Rehearsal]:
    with rehearsal(v2) as actors:
        yield actors


@pytest.fixture
def own() -> Iterator[Database]:
    """A clone for several connections that commit."""
    database = clone(LAST)
    yield database
    database.drop()


def partitions(database: Database | Rehearsal) -> list[str]:
    """Return the partitions of logs but the default one, by name."""
    return database.run(PARTITIONS)["name"].tolist()


def drop_last_partition(database: Database | Rehearsal) -> str:
    """Drop the last month to come, and return its name."""
    last = partitions(database)[-1]
    database.run(f"drop table {last}")
    return last


def make_partition(
    database: Database | Rehearsal, name: str, begins: str = "2020-01-01", ends: str = "2020-02-01", actor: Actor = OWNER
) -> None:
    """Attach a partition of logs as somebody does by hand."""
    database.run(
        f"create table {name} partition of public.logs for values from ('{begins} 00:00+00') to ('{ends} 00:00+00')", actor
    )


def log_at(database: Database | Rehearsal, at: str, rows: int = 1) -> None:
    """Store logs of a moment."""
    database.run(
        "insert into logs (level, event_type, created_at) select 'info', 'user_logout', :at from generate_series(1, :rows)",
        SERVICE,
        at=at,
        rows=rows,
    )


@contextmanager
def holding(database: Database, statement: str, actor: Actor = SERVICE) -> Iterator[None]:
    """Keep a transaction open in which somebody has sent a statement."""
    with database.connect() as connection, connection.transaction(force_rollback=True):
        assume(connection, actor)
        connection.execute(statement)
        yield


class Bystanders:
    """Others who go on with their work while a job runs, and the longest that each had to wait, in seconds."""

    def __init__(self, database: Database, work: dict[str, str]) -> None:
        self._database = database
        self._work = work
        self._is_over = threading.Event()
        self.waited_s = dict.fromkeys(work, 0.0)

    def _go_on(self, name: str) -> None:
        with self._database.connect() as connection:
            while not self._is_over.is_set():
                began = time.monotonic()
                with connection.transaction():
                    assume(connection, SERVICE)
                    connection.execute(self._work[name])
                self.waited_s[name] = max(self.waited_s[name], time.monotonic() - began)
                time.sleep(0.005)

    def while_running[Result](self, work: Callable[[], Result]) -> tuple[Result, float]:
        """Do some work meanwhile; return its result and how long it took, in seconds."""
        with ThreadPoolExecutor(len(self._work)) as pool:
            going = [pool.submit(self._go_on, name) for name in self._work]
            try:
                time.sleep(0.05)
                began = time.monotonic()
                result = work()
                took_s = time.monotonic() - began
            finally:
                self._is_over.set()
            for one in going:
                one.result()
        return result, took_s


EVERYBODY = {"reader of logs": READ_LOGS, "profile": WRITE_PROFILE, "session": WRITE_SESSION, "writer of logs": WRITE_LOG}


def run_beside(database: Database, call: str = LOG_JOB) -> dict:
    """Run a job while everybody goes on with their work, and assert that nobody waits for long, the job itself included."""
    others = Bystanders(database, EVERYBODY)
    result, took_s = others.while_running(lambda: database.value(call, SERVICE))
    late = {
        name: round(waited_s, 2) for name, waited_s in {**others.waited_s, "job": took_s}.items() if waited_s > LONGEST_WAIT_S
    }
    assert not late, f"waited too long, in seconds: {late}"
    return result


class TestLogJobBesideAReader:
    @pytest.mark.parametrize(
        "statement",
        [READ_LOGS, "select from profiles for key share", "select from private.logs_default", WRITE_LOG],
        ids=["reads logs", "holds profiles", "reads the default partition", "writes a log"],
    )
    def test_says_which_month_has_no_partition(self, own: Database, statement: str) -> None:
        last = drop_last_partition(own)
        with holding(own, statement, ADMIN):
            result = run_beside(own)
        month = last.removeprefix("private.logs_y").replace("m", "-")
        if result["remaining"]:
            assert (result["status"], result["remaining"]) == ("ok", 1)
            assert month in result["error"], result["error"]
        else:
            # Whoever was in the way was not.
            assert last in partitions(own)
        again = own.value(LOG_JOB, SERVICE)
        assert (again["status"], again["remaining"], again["error"]) == ("ok", 0, None)
        assert last in partitions(own)

    def test_says_so_in_its_log(self, own: Database) -> None:
        drop_last_partition(own)
        with holding(own, READ_LOGS):
            result = own.value(LOG_JOB, SERVICE)
        assert result["remaining"] == 1 and result["error"]
        logged = own.run("select level, message, metadata from logs where event_type = 'cleanup_job_executed'")
        assert logged["metadata"].tolist() == [result]
        assert result["error"] in logged["message"].iloc[0]

    def test_keeps_an_old_month_for_the_next_run(self, own: Database) -> None:
        make_partition(own, "private.logs_y2020m01")
        log_at(own, "2020-01-15", rows=100)
        with holding(own, READ_LOGS):
            result = run_beside(own)
        assert result["status"] == "ok" and result["remaining"] > 0 and "logs_y2020m01" in result["error"]
        assert result["affected"] + own.value("select count(*) from logs where created_at < '2021-01-01'") == 100
        again = own.value(LOG_JOB, SERVICE)
        assert (again["remaining"], again["error"], result["affected"] + again["affected"]) == (0, None, 100)
        assert "private.logs_y2020m01" not in partitions(own)

    def test_with_nothing_to_make_or_drop_is_done(self, own: Database) -> None:
        with holding(own, READ_LOGS):
            result = run_beside(own)
        assert (result["status"], result["affected"], result["remaining"], result["error"]) == ("ok", 0, 0, None)

    def test_drops_many_old_months_in_as_many_runs_as_it_takes(self, own: Database) -> None:
        for year in (2018, 2019):
            for month in range(1, 12):
                make_partition(own, f"private.logs_y{year}m{month:02}", f"{year}-{month:02}-01", f"{year}-{month + 1:02}-01")
                log_at(own, f"{year}-{month:02}-15", rows=10)
        results = [run_beside(own)]
        while results[-1]["remaining"] and len(results) < 22:
            results.append(run_beside(own))
        assert {result["status"] for result in results} == {"ok"}
        assert sum(result["affected"] for result in results) == 220
        assert [name for name in partitions(own) if name < "private.logs_y2020"] == []

    def test_beside_another_run_leaves_the_work_to_it(self, own: Database) -> None:
        log_at(own, "2020-01-15")
        with holding(own, "select delete_old_logs()"):
            result = run_beside(own)
        assert (result["status"], result["affected"]) == ("ok", 0)
        assert result["remaining"] > 0 and result["error"]


ROWS = 120_000


@pytest.fixture(scope="module")
def full() -> Iterator[Database]:
    """Three months ran without a partition, and their logs lie in the default one."""
    database = clone(LAST)
    for name in partitions(database):
        database.run(f"drop table {name}")
    database.run(
        """
        set local session_replication_role = replica;
        insert into private.logs_default (level, event_type, created_at)
        select 'info', 'user_logout', now() + (number % 3) * interval '1 month'
        from generate_series(1, :rows) as number""",
        ADMIN,
        rows=ROWS,
    )
    yield database
    database.drop()


class TestFullDefaultPartition:
    def test_is_left_to_age_and_holds_nobody_up(self, full: Database) -> None:
        result = run_beside(full)
        assert result["status"] == "ok" and result["remaining"] >= 3
        for ahead in range(3):
            month = full.value("select to_char(now() at time zone 'UTC' + make_interval(months => :n), 'YYYY-MM')", n=ahead)
            assert month in result["error"], result["error"]
            assert not [name for name in partitions(full) if month.replace("-", "m") in name]
        # Its own rows stay where they are; those that were written meanwhile come on top.
        assert full.value("select count(*) from private.logs_default where session_id is null and user_id is null") >= ROWS

    def test_of_old_rows_is_emptied_and_holds_nobody_up(self, full: Database) -> None:
        full.run("delete from private.logs_default where created_at >= now() - interval '1 month'", ADMIN)
        log_at(full, "2020-01-15", rows=20_000)
        result = run_beside(full)
        assert result["affected"] == 20_000
        assert full.value("select count(*) from logs where created_at < '2021-01-01'") == 0


STRANGERS = {
    "named as ours": "private.logs_y2020m01",
    "under another name": "private.january",
    "in another schema": "archive.logs_y2020m01",
    "in public": "public.old_logs",
}


class TestPartitionOfSomebodyElse:
    @pytest.mark.parametrize("name", STRANGERS.values(), ids=STRANGERS)
    def test_is_emptied_and_told_of(self, fixed: Rehearsal, name: str) -> None:
        fixed.run("create schema archive", ADMIN)
        make_partition(fixed, name, actor=ADMIN)
        make_partition(fixed, "private.logs_y2020m02", "2020-02-01", "2020-03-01")
        for at in ("2020-01-15", "2020-02-15"):
            log_at(fixed, at, rows=10)
        last = drop_last_partition(fixed)
        result = fixed.value(LOG_JOB, SERVICE)
        assert (result["status"], result["affected"]) == ("ok", 20), result["error"]
        assert result["remaining"] == 1 and name.split(".")[1] in result["error"]
        assert fixed.value("select count(*) from logs where created_at < '2021-01-01'") == 0
        assert last in partitions(fixed) and "private.logs_y2020m02" not in partitions(fixed)

    @pytest.mark.parametrize("name", STRANGERS.values(), ids=STRANGERS)
    def test_of_the_owners_is_dropped_whatever_its_name(self, fixed: Rehearsal, name: str) -> None:
        fixed.run("create schema archive authorization workbook_owner", ADMIN)
        make_partition(fixed, name)
        log_at(fixed, "2020-01-15", rows=10)
        result = fixed.value(LOG_JOB, SERVICE)
        assert (result["status"], result["affected"], result["remaining"], result["error"]) == ("ok", 10, 0, None)
        assert name.removeprefix("public.") not in partitions(fixed)

    def test_that_something_depends_on_does_not_stop_the_job(self, fixed: Rehearsal) -> None:
        make_partition(fixed, "private.logs_y2020m01")
        fixed.run("create view public.january as select * from private.logs_y2020m01")
        log_at(fixed, "2020-01-15", rows=10)
        last = drop_last_partition(fixed)
        result = fixed.value(LOG_JOB, SERVICE)
        assert (result["status"], result["remaining"]) == ("ok", 1) and "logs_y2020m01" in result["error"]
        assert last in partitions(fixed)
        assert result["affected"] + fixed.value("select count(*) from logs where created_at < '2021-01-01'") == 10

    def test_that_reaches_into_these_days_loses_old_rows_only(self, fixed: Rehearsal) -> None:
        make_partition(fixed, "private.years", "2020-01-01", fixed.value("select current_date - 40").isoformat())
        log_at(fixed, "2020-01-15", rows=10)
        log_at(fixed, fixed.value("select (now() - interval '29 days')::text"), rows=5)
        result = fixed.value(LOG_JOB, SERVICE)
        assert (result["status"], result["affected"]) == ("ok", 10)
        assert fixed.value("select count(*) from logs where event_type = 'user_logout'") == 5


class TestPartitionByHand:
    @pytest.mark.parametrize("name", STRANGERS.values(), ids=STRANGERS)
    @pytest.mark.parametrize("actor", [OWNER, ADMIN], ids=["owner", "administrator"])
    def test_of_a_coming_month_serves_as_ours(self, fixed: Rehearsal, name: str, actor: Actor) -> None:
        fixed.run("create schema archive authorization workbook_owner", ADMIN)
        begins, ends = span_of(fixed, drop_last_partition(fixed))
        make_partition(fixed, name, begins, ends, actor)
        before = partitions(fixed)
        result = fixed.value(LOG_JOB, SERVICE)
        assert (result["status"], result["remaining"], result["error"]) == ("ok", 0, None)
        assert partitions(fixed) == before

    @pytest.mark.parametrize(
        ("begins_after", "ends_after"), [("10 days", "20 days"), ("-15 days", "5 days"), ("-20 days", "50 days")]
    )
    def test_of_another_span_is_no_error(self, fixed: Rehearsal, begins_after: str, ends_after: str) -> None:
        gone = [drop_last_partition(fixed) for _ in range(3)]
        begins, _ = span_of(fixed, gone[1])
        moments = [
            fixed.value(f"select (date '{begins}' + interval '{after}')::date::text") for after in (begins_after, ends_after)
        ]
        make_partition(fixed, "private.by_hand", *moments)
        result = fixed.value(LOG_JOB, SERVICE)
        assert result["status"] == "ok" and "private.by_hand" in partitions(fixed)
        assert fixed.value(LOG_JOB, SERVICE)["status"] == "ok"

    def test_with_a_name_of_ours_for_another_month_is_no_error(self, fixed: Rehearsal) -> None:
        last = drop_last_partition(fixed)
        make_partition(fixed, last)
        result = fixed.value(LOG_JOB, SERVICE)
        assert result["status"] == "ok"

    def test_a_plain_table_with_a_name_of_ours_is_told_of(self, fixed: Rehearsal) -> None:
        last = drop_last_partition(fixed)
        fixed.run(f"create table {last} (note text); insert into {last} values ('mine')")
        result = fixed.value(LOG_JOB, SERVICE)
        assert (result["status"], result["remaining"]) == ("ok", 1) and result["error"]
        assert fixed.value(f"select note from {last}") == "mine"


def span_of(database: Database | Rehearsal, partition: str) -> tuple[str, str]:
    """Return the first day of a month's partition and of the next month."""
    first = partition.removeprefix("private.logs_y").replace("m", "-") + "-01"
    return first, database.value(f"select (date '{first}' + interval '1 month')::date::text")


OLD_MESSAGES = "set local session_replication_role = replica; update messages set sent_at = now() - interval '2 years'"


def outcomes(actors: Rehearsal, call: str, runs: int) -> list[tuple[int, int | None]]:
    """Run a job several times; return how many rows each run did and how many it left."""
    results = [actors.value(f"select to_jsonb({call})", SERVICE) for _ in range(runs)]
    assert {result["status"] for result in results} == {"ok"}, results
    return [(result["affected"], result["remaining"]) for result in results]


class TestRemaining:
    def test_of_the_archive(self, fixed: Rehearsal) -> None:
        count = fixed.value("select count(*) from messages")
        fixed.run(OLD_MESSAGES, ADMIN)
        assert outcomes(fixed, f"archive_old_messages(12, {count - 2})", 3) == [(count - 2, None), (2, 0), (0, 0)]

    def test_of_the_weekly_reset(self, fixed: Rehearsal) -> None:
        fixed.run("update profiles set week_reset_date = now() - interval '1 day'", SERVICE)
        assert outcomes(fixed, "reset_weekly_limits(1)", 3) == [(1, None), (1, None), (0, 0)]

    def test_of_expired_sessions(self, fixed: Rehearsal) -> None:
        fixed.run("update sessions set last_activity_at = now() - interval '8 days'", SERVICE)
        assert outcomes(fixed, "delete_expired_sessions()", 2) == [(2, 0), (0, 0)]

    @pytest.mark.parametrize(
        ("prepare", "hold", "call", "done"),
        [
            (
                OLD_MESSAGES,
                "select from sessions where id = 'b0000000-0000-4000-8000-000000000001' for update",
                "archive_old_messages()",
                8,
            ),
            (
                "update profiles set week_reset_date = now() - interval '1 day'",
                "select from profiles where email::text = 'anna@example.org' for update",
                "reset_weekly_limits()",
                1,
            ),
            (
                "update sessions set last_activity_at = now() - interval '8 days'",
                "select from sessions where id = 'b0000000-0000-4000-8000-000000000001' for update",
                "delete_expired_sessions()",
                1,
            ),
        ],
        ids=["archive", "weekly reset", "expired sessions"],
    )
    def test_counts_what_somebody_holds(self, own: Database, prepare: str, hold: str, call: str, done: int) -> None:
        own.run(prepare, ADMIN)
        with holding(own, hold):
            result = own.value(f"select to_jsonb({call})", SERVICE)
            assert result["remaining"] > 0 and result["affected"] == done and result["error"], result
        again = own.value(f"select to_jsonb({call})", SERVICE)
        assert (again["affected"], again["remaining"], again["error"]) == (result["remaining"], 0, None)

    @pytest.mark.parametrize("call", ["reset_weekly_limits(0)", "archive_old_messages(12, null)", "erase_user(:cem)"])
    def test_of_a_failed_run_is_unknown(self, fixed: Rehearsal, call: str) -> None:
        result = fixed.value(f"select to_jsonb({call})", SERVICE)
        assert (result["status"], result["affected"], result["remaining"]) == ("failed", 0, None) and result["error"]

    def test_weekly_reset_ends_beside_somebody_who_holds_a_profile(self, own: Database) -> None:
        own.run("update profiles set week_reset_date = now() - interval '1 day'", SERVICE)
        with holding(own, "select from profiles where email::text = 'anna@example.org' for update"), own.connect() as scheduler:
            scheduler.execute("set statement_timeout = '5s'; set role workbook_owner")
            scheduler.execute("call private.run_weekly_reset(1)")
        assert own.value("select count(*) from profiles where week_reset_date <= now()") == 1


def test_result_has_its_columns_in_order(fixed: Rehearsal) -> None:
    columns = fixed.value(
        "select array_agg(attname::text order by attnum) from pg_attribute"
        " where attrelid = 'private.job_result'::regclass and attnum > 0 and not attisdropped"
    )
    assert columns == ["job_id", "job", "status", "affected", "window_start", "window_end", "error", "remaining"]


NO_TIMEOUT = "set local statement_timeout = 0;"


class TestLongFix:
    def test_has_as_long_as_it_takes(self) -> None:
        def first(fix: fixes.Fix) -> str:
            return next(line for line in fix.body.splitlines() if line.strip() and not line.startswith("--"))

        assert [fix.name for fix in fixes.all_fixes() if first(fix) != NO_TIMEOUT] == []

    def test_is_not_cancelled_by_the_platforms_timeout(self) -> None:
        slow = clone(1)
        slow.run(
            "create function public.dawdle() returns trigger language plpgsql as"
            " $$ begin perform pg_sleep(0.2); return new; end $$;"
            " create trigger dawdle before update on public.profiles for each row execute function public.dawdle()"
        )
        text = fixes.find(2).text
        with slow.connect() as owner:
            owner.execute("set role workbook_owner; set statement_timeout = '100ms'")
            with pytest.raises(psycopg.errors.QueryCanceled):
                owner.execute(text.replace(NO_TIMEOUT, ""))
            owner.execute("rollback")
            owner.execute(text)
            assert owner.execute("show statement_timeout").fetchone() == ("100ms",)
