"""What writing costs where the server waits for the disk, logs whole pages and vacuums by itself, as production does.

`make bench` runs this in a process of its own, with DURABLE=1: v1 and v2 on one such server. The runs go into
data/benchmarks, and the notebook of the writes shows them.
"""

import statistics
from collections.abc import Callable

from tqdm import tqdm

from .actors import ADMIN, ANNA, SERVICE, Actor
from .bench import commits_us, loaded, record
from .database import Database, clone
from .measure import heap_only, rows, seconds
from .paths import SQL
from .pgbench import pgbench

BENCHMARK = "12_durable"
VERSIONS = ("v1", "v2")
ASSISTANT = {"v1": "scenario", "v2": "assistant"}
RUNS = 7
SIZES = (1, 2, 100, 1000, 10_000)
"""Rows of a statement."""
CLIENTS = (1, 8, 32)


def measure() -> None:
    """Measure each part and record it."""
    parts: tuple[Callable[[], None], ...] = (_traffic, _latencies, _in_the_server, _bulk, _weight, _log, _heap_only, _streaming)
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
    rate, lasting = rows((50, 2), (150, 8), (150, 20))
    sessions = 2000
    databases = _loaded(sessions)
    for clients in CLIENTS:
        felt: dict[tuple[str, str], list[float]] = {}
        for version, database in databases.items():
            load = pgbench(
                database,
                "12_writes/any_session.sql",
                clients=clients,
                transactions=rate * lasting // clients,
                rate=rate,
                sessions=sessions,
                role=ASSISTANT[version],
            )
            cuts = statistics.quantiles(load.latencies_ms, n=100)
            for share in (50, 95, 99):
                felt[f"latency at {rate} a second, {clients} clients, {share} %", version] = [cuts[share - 1]]
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
        for size in SIZES:
            each: dict[tuple[str, str], list[float]] = {}
            # A statement of one row is over too soon for one to be timed.
            repeated = max(1, min(50, 1000 // size))
            for run in range(1 + (RUNS if size < 10_000 else 3)):
                for version, database in databases.items():
                    with database.connect() as connection:
                        connection.execute("set role service_role")
                        statement = insert.format(sessions, ASSISTANT[version], size)
                        took = seconds(lambda: [connection.execute(statement) for _ in range(repeated)])  # noqa: B023
                    if run:
                        each.setdefault((f"{size} rows a statement, {into}", version), []).append(1e6 * took / size / repeated)
            record(BENCHMARK, _size(), each, unit="us")
    _drop(databases)


def _weight() -> None:
    """Bytes of a message, fresh from the loading, and after as many again in the order of chance."""
    size = _size()
    more = {
        "v1": """insert into public.messages (session_id, role, chat_type, content)
            select session_id, role, chat_type, content from public.messages order by random()""",
        "v2": """insert into public.messages (session_id, user_id, role, chat_type, content, client_message_id)
            select session_id, user_id, role, chat_type, content,
                case when client_message_id is not null then gen_random_uuid() end
            from public.messages order by random()""",
    }
    total = "select pg_relation_size('public.messages') + pg_indexes_size('public.messages')"
    weights: dict[tuple[str, str], list[float]] = {}
    for version in VERSIONS:
        database = loaded(size, version).copy()
        with database.connect() as connection:
            connection.execute("vacuum full public.messages")
        weights["bytes a message, fresh", version] = [database.value(total, ADMIN) / size]
        database.run("set local session_replication_role = replica; " + more[version], ADMIN)
        weights["bytes a message, grown", version] = [database.value(total, ADMIN) / (2 * size)]
        database.drop()
    record(BENCHMARK, size, weights, unit="bytes")


def _log() -> None:
    """Bytes of log a message, into sessions everywhere in a table that is larger than the server's memory."""
    times, sessions = rows(400, 8000, 16_000), rows(400, 10_000, 10_000)
    databases = _loaded(sessions)
    written: dict[tuple[str, str], list[float]] = {}
    for _ in range(3):
        for version, database in databases.items():
            with database.connect() as connection:
                connection.execute("checkpoint")
                before = _position(database)
                pgbench(
                    database,
                    "12_writes/any_session.sql",
                    clients=8,
                    transactions=times // 8,
                    sessions=sessions,
                    role=ASSISTANT[version],
                )
            each = (_position(database) - before) / times
            written.setdefault(("log a message", version), []).append(each)
    record(BENCHMARK, _size(), written, unit="bytes")
    _drop(databases)


def _position(database: Database) -> int:
    return int(database.value("select pg_current_wal_lsn() - '0/0'::pg_lsn", ADMIN))


def _heap_only() -> None:
    """The share of the sessions' updates that touch no index, and beside somebody who keeps a transaction open."""
    times, sessions = rows(400, 8000, 8000), 200
    shares: dict[tuple[str, str], list[float]] = {}
    databases = _loaded(sessions)
    for version, database in databases.items():
        for question in ("heap-only updates", "heap-only updates beside an open transaction"):
            before = heap_only(database, "public.sessions")
            with database.connect() as bystander:
                if "open transaction" in question:
                    bystander.execute("begin isolation level repeatable read")
                    bystander.execute("select count(*) from public.scenarios")
                pgbench(database, "12_writes/any_session.sql", transactions=times, sessions=sessions, role=ASSISTANT[version])
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
