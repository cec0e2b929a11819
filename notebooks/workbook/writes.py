"""What writing costs where the server waits for the disk, logs whole pages and vacuums by itself, as production does.

`make bench` runs this in a process of its own, with DURABLE=1: v1 and v2 on one such server. The runs go into
data/benchmarks, and the notebook of the writes shows them.
"""

import statistics
from collections.abc import Callable

from tqdm import tqdm

from .actors import ADMIN, ANNA, SERVICE, Actor
from .bench import about, bystander, commits_us, loaded, published, record
from .database import Database, clone
from .measure import heap_only, interleaved_ms, rows, seconds
from .paths import SQL
from .pgbench import Load, pgbench

BENCHMARK = "12_durable"
VERSIONS = ("v1", "v2")
ASSISTANT = {"v1": "scenario", "v2": "assistant"}
RUNS = 7
SIZES = (1, 2, 100, 1000, 10_000)
"""Rows of a statement."""
RESETS = {
    "v1, one statement": ("v1", "select public.reset_weekly_limits()"),
    "v2, batches": ("v2", "call private.run_weekly_reset()"),
}
"""State and statement of the Monday job, by arm."""
FINISH = """update public.profiles set completed_scenario_count = completed_scenario_count + 1
    where id = (select md5('writer ' || floor({} * random())::integer)::uuid)"""
"""What a learner needs of their profile meanwhile; how many there are goes in."""
JSON_INDEXES = {
    "no index": "drop index public.logs_metadata_idx",
    "jsonb_path_ops": "",
    "jsonb_ops": "drop index public.logs_metadata_idx; create index logs_metadata_idx on public.logs using gin (metadata)",
}
"""What each arm changes after fix 23."""
LOGS = """insert into public.logs (level, event_type, metadata) select 'info', 'api_call_completed',
    jsonb_build_object('code', 'E' || n % 1000, 'attempt', n % 3, 'model', 'large') from generate_series(1, 2000) as n;
    select gin_clean_pending_list(indexrelid) from pg_index where indexrelid = to_regclass('public.logs_metadata_idx')"""
"""A batch of logs, put in order at once."""
CLIENTS = (1, 8, 32)


def measure() -> None:
    """Measure each part and record it."""
    parts: tuple[Callable[[], None], ...] = (
        _traffic,
        _latencies,
        _in_the_server,
        _bulk,
        _weight,
        _log,
        _heap_only,
        _streaming,
        _monday,
        _json_index,
    )
    for part in tqdm(parts, desc="durable", unit=" parts"):
        part()


def _open(database: Database, sessions: int) -> Database:
    """Give the database so many open sessions, and the statistics that production would have."""
    database.run((SQL / "bench/12_writes/open_sessions.sql").read_text(), ADMIN, sessions=sessions)
    _tidy(database)
    return database


def _tidy(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("vacuum (analyze) public.messages, public.sessions, public.profiles")


def _loaded(sessions: int) -> dict[str, Database]:
    return {version: _open(loaded(_size(), version).copy(), sessions) for version in VERSIONS}


def _say(database: Database, version: str, sessions: int, messages: int, clients: int = 8, rate: int | None = None) -> Load:
    """Let clients reply to any of the open sessions, whose keys are as the version's table makes them."""
    return pgbench(
        database,
        "12_writes/any_session.sql",
        clients=clients,
        transactions=messages // clients,
        rate=rate,
        sessions=sessions,
        role=ASSISTANT[version],
        ordered=int(version == "v2"),
    )


def _in_order(databases: dict[str, Database]) -> None:
    """Give v2's open sessions keys in the order of time, as its table does."""
    databases["v2"].run(
        """set local session_replication_role = replica;
        update public.sessions
        set id = ('01980000-0000-7000-8000-' || lpad(substring(email from '\\d+'), 12, '0'))::uuid
        from public.profiles
        where profiles.id = user_id
            and email like 'writer%'""",
        ADMIN,
    )
    _tidy(databases["v2"])


def _size() -> int:
    return rows(5_000, 1_000_000, 1_000_000)


def _drop(databases: dict[str, Database]) -> None:
    for database in databases.values():
        database.drop()


def _traffic() -> None:
    times = rows(160, 800, 1600)
    sessions = 8 * times
    databases = _loaded(sessions)
    traffic: dict[str, tuple[str, Actor, int]] = {
        "a learner's request": ("learner", ANNA, 1),
        "the backend's insert": ("next_session", SERVICE, 1),
        "8 clients, one session": ("one_session", SERVICE, 8),
    }
    for question, (script, actor, clients) in traffic.items():
        per_second: dict[tuple[str, str], list[float]] = {}
        for run in range(RUNS + 1):
            for version, database in databases.items():
                load = pgbench(
                    database,
                    f"12_writes/{script}.sql",
                    clients=clients,
                    transactions=times // clients,
                    actor=actor,
                    n=run * times,
                    sessions=sessions,
                    role=ASSISTANT[version],
                )
                if run:
                    per_second.setdefault((question, version), []).append(load.per_second)
        record(BENCHMARK, _size(), per_second, unit="messages/s")
    _drop(databases)


def _latencies() -> None:
    """At a rate that both versions can keep up with: what is felt, and not what is possible."""
    rate, lasting = rows((50, 2), (150, 6), (150, 20))
    sessions = 2000
    databases = _loaded(sessions)
    _in_order(databases)
    for clients in CLIENTS:
        felt: dict[tuple[str, str], list[float]] = {}
        for _ in range(3):
            for version, database in databases.items():
                load = _say(database, version, sessions, rate * lasting, clients, rate)
                cuts = statistics.quantiles(load.latencies_ms, n=100)
                for share in (50, 95, 99):
                    felt.setdefault((f"latency at {rate} a second, {clients} clients, {share} %", version), []).append(
                        cuts[share - 1]
                    )
        record(BENCHMARK, _size(), felt)
    _drop(databases)


def _in_the_server() -> None:
    each = rows(100, 2000, 2000)
    databases = _loaded(2 * RUNS * each)
    insert = """insert into public.messages (session_id, role, chat_type, content)
        values (md5('open session ' || i)::uuid, '{}', 'main', 'Gern, das macht vier Euro fünfzig.')"""
    statements = {version: insert.format(ASSISTANT[version]) for version in VERSIONS}
    taken = commits_us(databases, statements, SERVICE, times=each, runs=RUNS)
    record(BENCHMARK, _size(), {("the backend's insert, in the server", arm): runs for arm, runs in taken.items()}, unit="us")
    _drop(databases)


def _bulk() -> None:
    databases = _loaded(100)
    insert = """insert into public.messages (session_id, role, chat_type, content)
        select md5('open session ' || n % {})::uuid, '{}', 'main', 'Gern.' from generate_series(1, {}) as n"""
    for sessions, into in ((1, "one session"), (50, "50 sessions in turn")):
        for size in SIZES[: rows(4, 5, 5)]:
            each: dict[tuple[str, str], list[float]] = {}
            # A statement of one row is over too soon for one to be timed.
            repeated = max(1, min(50, 1000 // size))
            for run in range(1 + (RUNS if size < 10_000 else 3)):
                for version, database in databases.items():
                    with database.connect() as connection:
                        connection.execute("set role service_role")
                        statement = insert.format(sessions, ASSISTANT[version], size)
                        # A new connection plans first.
                        for _ in range(min(repeated, 10)):
                            connection.execute(statement)
                        took = seconds(lambda: [connection.execute(statement) for _ in range(repeated)])  # noqa: B023
                    if run:
                        each.setdefault((f"{size} rows a statement, {into}", version), []).append(1e6 * took / size / repeated)
            record(BENCHMARK, _size(), each, unit="us")
    _drop(databases)


GROWTH = {
    "as sessions come and go": "n + random() * {} / 10",
    "to any old session": "random()",
}
"""What orders the messages that come after the loading: their session's number, a tenth of them open at a time, or chance."""


def _weight() -> None:
    """Bytes of a message, fresh from the loading, and after as many again, with nothing built anew."""
    size = _size()
    insert = {
        "v1": """insert into public.messages (session_id, role, chat_type, content, timestamp, created_at)
            select session_id, case k % 2 when 0 then 'user' else 'scenario' end, 'main', content, moment, moment from said""",
        "v2": """insert into public.messages (session_id, user_id, role, chat_type, content, client_message_id, sent_at)
            select
                session_id, user_id, (case k % 2 when 0 then 'user' else 'assistant' end)::public.message_role, 'main',
                content, case k % 2 when 0 then gen_random_uuid() end, moment
            from said""",
    }
    # The keys of new sessions are as each version's table makes them.
    new = {"v1": "md5('new ' || n)::uuid", "v2": "('01980000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid"}
    said = """set local session_replication_role = replica;
        with said as (
            select {session} as session_id, md5('learner ' || n)::uuid as user_id, k,
                'Ich hätte gern ein Kilo Äpfel, bitte.' as content,
                timestamptz '2021-01-01' + row_number() over (order by {order}) * interval '1 millisecond' as moment
            from generate_series(1, {sessions}) as n
            cross join generate_series(1, 100) as k
            order by moment
        )
        """
    total = "select pg_relation_size('public.messages') + pg_indexes_size('public.messages')"
    weights: dict[tuple[str, str], list[float]] = {}
    for version in VERSIONS:
        for growth, order in GROWTH.items():
            database = loaded(size, version).copy()
            with database.connect() as connection:
                connection.execute("vacuum full public.messages")
            weights["bytes a message, fresh", version] = [database.value(total, ADMIN) / size]
            session = new[version] if growth == "as sessions come and go" else "md5('session ' || n)::uuid"
            load = said.format(session=session, order=order.format(size // 100), sessions=size // 100)
            database.run(load + insert[version], ADMIN)
            weights[f"bytes a message, as many more {growth}", version] = [database.value(total, ADMIN) / (2 * size)]
            database.drop()
    record(BENCHMARK, size, weights, unit="bytes")


def _log() -> None:
    """Bytes of log a message, into sessions everywhere in a table that is larger than the server's memory."""
    times, sessions = rows(400, 8000, 16_000), rows(400, 10_000, 10_000)
    databases = _loaded(sessions)
    _in_order(databases)
    written: dict[tuple[str, str], list[float]] = {}
    for _ in range(3):
        for version, database in databases.items():
            with database.connect() as connection:
                connection.execute("checkpoint")
            before = _position(database)
            _say(database, version, sessions, times)
            each = (_position(database) - before) / times
            written.setdefault(("log a message", version), []).append(each)
    record(BENCHMARK, _size(), written, unit="bytes")
    _drop(databases)


def _position(database: Database) -> int:
    return int(database.value("select pg_current_wal_lsn() - '0/0'::pg_lsn", ADMIN))


def _heap_only() -> None:
    """The share of the sessions' updates that touch no index, and beside somebody who keeps a transaction open."""
    rate, lasting = rows((200, 2), (150, 20), (150, 20))
    sessions = 2000
    shares: dict[tuple[str, str], list[float]] = {}
    databases = _loaded(sessions)
    _in_order(databases)
    for version, database in databases.items():
        for question in ("heap-only updates", "heap-only updates beside an open transaction"):
            before = heap_only(database, "public.sessions")
            with database.connect() as idle:
                if "open transaction" in question:
                    idle.execute("begin isolation level repeatable read")
                    idle.execute("select count(*) from public.scenarios")
                _say(database, version, sessions, rate * lasting, rate=rate)
            after = heap_only(database, "public.sessions")
            updates, untouched = (now - was for now, was in zip(after, before, strict=True))
            shares[question, version] = [100 * untouched / updates]
    record(BENCHMARK, _size(), shares, unit="%")
    _drop(databases)


def _streaming() -> None:
    """Bytes of log for a reply of 300 fragments, by option A of issue 4 and by option B."""
    length, replies = 300, rows(1, 5, 5)
    written: dict[tuple[str, str], list[float]] = {}
    for arm, state, file in (("A: update", 3, "04_stream_by_updates"), ("B: chunks", "v2", "04_stream_by_chunks")):
        database = clone(state)
        if state == 3:
            database.run_file("alternatives/04_streaming_with_updates.sql")
        before = _position(database)
        call = f"perform pg_temp.stream(i / {length}, 1 + i % {length}, {length})"
        setup = (SQL / "bench" / f"{file}.sql").read_text()
        commits_us({arm: database}, call, SERVICE, times=replies * length, runs=1, setup=setup)
        written["log a reply of 300 fragments", arm] = [(_position(database) - before) / (2 * replies)]
        database.drop()
    record(BENCHMARK, length, written, unit="bytes")


def reset_weeks(learners: int) -> dict[str, list[tuple[float, float]]]:
    """Run the Monday job of v1 and of v2 while learners finish scenarios.

    Returns:
        What these felt, by arm: seconds since the beginning, and the milliseconds that an update took.
    """
    felt: dict[str, list[tuple[float, float]]] = {}
    for arm, (state, job) in RESETS.items():
        database = _open(clone(state), learners)
        database.run("update profiles set week_reset_date = now() - interval '1 hour'", ADMIN)
        with database.connect() as scheduler, bystander(database, FINISH.format(learners), SERVICE) as felt[arm]:
            scheduler.execute("set role workbook_owner")
            scheduler.execute(job)
        if database.value("select count(*) from profiles where week_reset_date < now()", ADMIN):
            raise AssertionError(f"{arm} left weeks that are over")
        database.drop()
    return felt


def _monday() -> None:
    learners = rows(5_000, 100_000, 100_000)
    slowest: dict[tuple[str, str], list[float]] = {}
    for _ in range(3):
        for arm, dots in reset_weeks(learners).items():
            slowest.setdefault(("the slowest update beside the reset", arm), []).append(max(took for _, took in dots))
    record(BENCHMARK, learners, slowest)


def insert_logs() -> dict[str, list[float]]:
    """Time batches of logs with each kind of index over their metadata, in milliseconds."""
    databases = {kind: clone(23) for kind in JSON_INDEXES}
    for kind, ddl in JSON_INDEXES.items():
        if ddl:
            databases[kind].run(ddl)
    return interleaved_ms(databases, LOGS, ADMIN)


def _json_index() -> None:
    record(BENCHMARK, 2000, {("insert logs", kind): runs for kind, runs in insert_logs().items()})


def summary() -> str:
    """Return what a message costs now, in a sentence of Markdown for the README, from the published runs."""

    def against(question: str, arm: str = "v2", base: str = "v1", benchmark: str = BENCHMARK, size: int = 10**6) -> float:
        found = published(benchmark, question)
        return statistics.median(found[arm][size]) / statistics.median(found[base][size])

    faster = against("newest", "v1", "v2", "09_rls", 10**7)
    requests, inserts, met = (
        f"{against(kind):.0%}" for kind in ("a learner's request", "the backend's insert", "8 clients, one session")
    )
    weighs, writes = (f"{against(what):.2f}" for what in ("bytes a message, fresh", "log a message"))
    return (
        f"As production runs, with a disk to wait for, v2 takes {requests} of the learners' messages a second that v1 takes, "
        f"{inserts} of the backend's, and {met} where eight clients meet in one session. A message weighs {weighs} times as much "
        f"and writes {writes} times the log. At ten million messages a learner's newest ones come {about(faster)} times as fast."
    )
