"""A primary and its replicas: servers of one process, which go with it, however it ends.

They lie beside the embedded server, and are made anew each time: v1 with all fixes on the primary, and pg_basebackup from there.
"""

import atexit
import ctypes
import fcntl
import os
import re
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import TextIO
from uuid import uuid4

import psutil
import psycopg
from sqlalchemy import URL

from . import keeper, privileges
from .actors import ADMIN, ANNA, SERVICE, Actor
from .bench import _load, bystander, record
from .database import STATES, Database, Refusal, _fill, assume, send
from .errors import WorkbookError
from .measure import rows
from .paths import SQL
from .pgbench import pgbench
from .server import EmbeddedServer, _clear_errors, _last_line, libpq_url
from .tables import Table

DATABASE = "maraum"
"""What the database of v2 is called on these servers."""

SETTINGS = """
# What is received may be passed on to replicas, and as rows to subscribers.
wal_level = logical
max_wal_senders = 10
max_replication_slots = 10
# A subscription copies several tables at once.
max_logical_replication_workers = 8
max_sync_workers_per_subscription = 4
# A slot keeps the log for a replica that has gone, up to here.
max_slot_wal_keep_size = 1GB
hot_standby = on
# A replica says at least once a second how far it is.
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 100ms
# In a file below the data, which goes with it.
dynamic_shared_memory_type = mmap
"""
"""Beside those of the embedded server; in the file that ALTER SYSTEM writes, and that a copy takes along."""

BENCHMARK = "16_replicas"
LONGEST_WAIT_S = 30


# --- The servers ----------------------------------------------------------------------------------------------


class Elsewhere(Database):
    """A database of another server than the one at `server.url`: for statements and load, not to be copied or dropped."""

    def __init__(self, address: URL) -> None:
        assert address.database
        self.name = address.database
        self.url = libpq_url(address)


@dataclass(frozen=True)
class Node(EmbeddedServer):
    """One of the servers; its files are named after its label, and lie beside those of the embedded server."""

    label: str = ""
    name: str = ""
    """What it is called in the demonstrations and in pg_stat_replication, such as replica_1."""
    source: "Node | None" = None
    """The server that it is a copy of and follows; None where it is the primary."""

    @property
    def _name(self) -> str:
        # Short, because a socket's path has 107 bytes at the most.
        return self.label

    @property
    def database(self) -> Database:
        """The database of v2."""
        return Elsewhere(self.url.set(database=DATABASE))

    @property
    def conninfo(self) -> str:
        """How another server reaches it for streaming; its own name has to be added."""
        return f"host={self.socket} user={self.url.username}"

    def _create_data(self) -> None:
        # Before the server: whoever is killed from here on has one that stops it. It waits until the start has ended.
        self._have_keeper()
        if self.source is None:
            super()._create_data()
            self._settings(SETTINGS)
            return
        self._own_folder(self.data)
        result = self._run(
            "pg_basebackup",
            f"--pgdata={self.data}",
            f"--dbname={self.source.conninfo}",
            "--checkpoint=fast",
            "--no-sync",
            "--write-recovery-conf",
            "--create-slot",
            f"--slot={self.name}",
        )
        if result.returncode != 0:
            raise WorkbookError(f"{self.name} could not be copied from {self.source.name}: {_last_line(result.stderr)}.")
        (self.data / "server.log").unlink(missing_ok=True)
        # In the place of what pg_basebackup writes, of which an older libpq of the system does not know every word.
        self._settings(f"primary_conninfo = '{self._upstream}'\n")

    @property
    def _upstream(self) -> str:
        assert self.source
        return f"{self.source.conninfo} application_name={self.name}"

    def _settings(self, text: str) -> None:
        with open(self.data / "postgresql.auto.conf", "a") as file:
            file.write(text)

    def set(self, **settings: str) -> None:
        """Change settings that need no restart: `set(hot_standby_feedback="on")`."""
        with psycopg.connect(libpq_url(self.url), autocommit=True) as connection:
            for name, value in settings.items():
                psycopg.ClientCursor(connection).execute(f"alter system set {name} = %s", [value])
            connection.execute("select pg_reload_conf()")

    def cut(self) -> None:
        """Cut the line to the server that it follows, and return when nothing comes any more.

        Raises:
            WorkbookError: the line stays.
        """
        self.set(primary_conninfo="")
        until(self.database, "not exists (select from pg_stat_wal_receiver)")

    def follow(self) -> None:
        """Join the line again, and return when the log comes again.

        Raises:
            WorkbookError: it does not.
        """
        self.set(primary_conninfo=self._upstream)
        until(self.database, "exists (select from pg_stat_wal_receiver where status = 'streaming')")

    def pause(self) -> None:
        """Let a replica go on receiving the log, and replay no more of it.

        Raises:
            WorkbookError: it goes on.
        """
        self.database.run("select pg_wal_replay_pause()", ADMIN)
        until(self.database, "pg_get_wal_replay_pause_state() = 'paused'")

    def resume(self) -> None:
        """Let it replay again."""
        self.database.run("select pg_wal_replay_resume()", ADMIN)

    def kill(self) -> None:
        """End all its processes at once with SIGKILL, as a machine that loses its power."""
        memory = self._shared_memory()
        while processes := self._processes():
            for process in processes:
                with suppress(psutil.Error):
                    psutil.Process(process).kill()
            time.sleep(0.01)
        if memory is not None:
            # What the machine would have lost, and what only a new start of this server would remove.
            ctypes.CDLL(None).shmctl(memory, 0, None)

    def _shared_memory(self) -> int | None:
        """Return the number of the piece of System V memory by which the running server tells that it runs."""
        if keeper.running_pid(self.data) is None:
            return None
        # The seventh line is its key and its number.
        lines = (self.data / "postmaster.pid").read_text().splitlines()
        return int(lines[6].split()[1]) if len(lines) > 6 and len(lines[6].split()) == 2 else None

    def promote(self) -> None:
        """Make a replica a primary.

        Raises:
            WorkbookError: it does not become one.
        """
        if not self.database.value("select pg_promote()", ADMIN):
            raise WorkbookError(f"{self.name} did not become a primary; read {self.log}.")

    def pin(self, core: int | None) -> None:
        """Let it run on one core only, or on all again; where the system knows such a thing.

        A connection that is made later runs there too.
        """
        for process in self._processes():
            with suppress(psutil.Error, AttributeError):
                psutil.Process(process).cpu_affinity([] if core is None else [core])

    def discard(self) -> None:
        """End it without waiting for anybody, and remove its data."""
        self.leave()
        with _clear_errors(self.home), self._locked():
            self.kill()
            for folder in (self.data, self.data.with_name(f"{self.data.name}.new"), self.socket):
                shutil.rmtree(folder, ignore_errors=True)


class Replicated:
    """A primary and its replicas, which belong to this process alone: they go with `close`, or when the process ends.

    Where it ends without a chance to clean up, each server's keeper stops it some seconds later, and whoever starts servers next
    removes what it left.
    """

    def __init__(self, place: TextIO, primary: Node, replicas: list[Node]) -> None:
        self._place = place
        self._process = os.getpid()
        self.primary = primary
        self.replicas = replicas

    def __enter__(self) -> "Replicated":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def nodes(self) -> list[Node]:
        """All servers, the primary first."""
        return [self.primary, *self.replicas]

    def close(self) -> None:
        """Stop all servers and remove their data."""
        if self._place.closed or self._process != os.getpid():
            return
        # The replicas first: none of them then tries to reach a primary that has gone.
        for node in reversed(self.nodes):
            node.discard()
        self._place.close()
        atexit.unregister(self.close)


def start(replicas: int = 2, messages: int = 0) -> Replicated:
    """Start a primary that holds v2, and replicas that stream from it.

    Args:
        replicas: how many.
        messages: how many messages v2 holds beside the seed rows, a hundred a learner.

    Raises:
        WorkbookError: a server does not start here.
    """
    checkout = EmbeddedServer.of_checkout()
    checkout.program("pg_basebackup")
    place, number = _place(checkout)

    def node(letter: str, name: str, source: Node | None = None) -> Node:
        return Node(
            checkout.home,
            checkout.archive,
            checkout.account,
            durable=checkout.durable,
            linger_s=LINGER_S,
            label=f"{number}{letter}",
            name=name,
            source=source,
        )

    primary = node("p", "primary")
    cluster = Replicated(place, primary, [node(str(n), f"replica_{n}", primary) for n in range(1, replicas + 1)])
    atexit.register(cluster.close)
    try:
        for left in (primary, *(node(str(n), f"replica_{n}") for n in range(1, MOST_REPLICAS + 1))):
            # Of a run that was killed.
            left.discard()
        primary.start()
        _build(primary, messages)
        for replica in cluster.replicas:
            replica.start()
            until(primary.database, f"exists (select from pg_stat_replication where application_name = '{replica.name}')")
        for replica in cluster.replicas:
            wait_for(replica.database, position(primary.database))
    except BaseException:
        cluster.close()
        raise
    return cluster


LINGER_S = 4
"""For how long a server goes on whose process has been killed."""
MOST_REPLICAS = 3


def _place(checkout: EmbeddedServer) -> tuple[TextIO, int]:
    """Return the number under which this process may name its files, with the lock that keeps it for its life."""
    checkout._make_home()
    for number in count():
        place = open(checkout.home / f"replicas-{number}", "a")
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return place, number
        except BlockingIOError:
            place.close()
    raise AssertionError


def _build(primary: Node, messages: int) -> None:
    """Make v2 as everywhere: the stand-in for the platform, v1 with its rows, and all fixes."""
    with psycopg.connect(libpq_url(primary.url), autocommit=True) as connection:
        connection.execute((SQL / "platform" / "roles.sql").read_text())
        connection.execute(f"create database {DATABASE} owner workbook_owner template template0")
    database = primary.database
    _fill(database, "seed")
    database.apply_up_to(STATES["v2"])
    if messages:
        _load(database, messages, "load_v2.sql")
    database.run((SQL / "bench/12_writes/open_sessions.sql").read_text(), ADMIN, sessions=SESSIONS)
    with database.connect() as connection:
        connection.execute("vacuum (analyze)")


SESSIONS = 200
"""Open sessions for the load; see bench/12_writes/open_sessions.sql."""


# --- How far a replica is -------------------------------------------------------------------------------------


def until(database: Database, condition: str, timeout_s: float = LONGEST_WAIT_S) -> float:
    """Wait until a condition holds, asking every few milliseconds as the server's administrator.

    Returns:
        How long that took, in milliseconds.

    Raises:
        WorkbookError: it does not hold in time.
    """
    start = time.perf_counter()
    with database.connect() as connection:
        while connection.execute(f"select {condition}").fetchone() != (True,):
            if time.perf_counter() - start > timeout_s:
                raise WorkbookError(f"After {timeout_s:g} s it still does not hold that {' '.join(condition.split())}.")
            time.sleep(0.001)
    return 1000 * (time.perf_counter() - start)


def position(database: Database) -> str:
    """Return the place in the log (LSN) up to which a server has written it; behind all that was committed before."""
    return str(database.value("select pg_current_wal_lsn()", ADMIN))


def wait_for(replica: Database, lsn: str, timeout_s: float = LONGEST_WAIT_S) -> float:
    """Wait until a replica has replayed the log up to this place.

    Returns:
        How long that took, in milliseconds.

    Raises:
        WorkbookError: it does not in time.
    """
    return until(replica, f"pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn", timeout_s)


def is_replayed(replica: Database, lsn: str, within_s: float) -> bool:
    """Tell whether a replica has replayed the log up to this place before so much time is over."""
    try:
        wait_for(replica, lsn, within_s)
    except WorkbookError:
        return False
    return True


def carried_over(publisher: Database, subscription: str) -> None:
    """Wait until a subscription has applied all that was committed on the publisher so far.

    Raises:
        WorkbookError: it does not in time.
    """
    place = position(publisher)
    until(
        publisher,
        f"exists (select from pg_stat_replication where application_name = '{subscription}' and replay_lsn >= '{place}')",
    )


BEHIND = """
select
    application_name as replica,
    (pg_current_wal_lsn() - sent_lsn)::bigint as not_sent,
    (pg_current_wal_lsn() - flush_lsn)::bigint as not_kept,
    (pg_current_wal_lsn() - replay_lsn)::bigint as not_replayed,
    1000 * extract(epoch from replay_lag)::float as replay_ms
from pg_stat_replication
order by 1
"""
"""How many bytes of the log each replica has not been sent, has not kept and has not replayed, and the last measured delay."""


def lag(primary: Database) -> Table:
    """Return how far each replica is behind: bytes not sent, not kept, not replayed; see BEHIND."""
    return primary.run(BEHIND, ADMIN).drop(columns="replay_ms")


@contextmanager
def watched(primary: Database, every_s: float = 0.01) -> Iterator[list[tuple[float, str, int, float]]]:
    """Note how far the replicas are behind, again and again.

    Yields:
        For each look and replica: the seconds since the beginning, the replica, the bytes that it has not replayed, and its
        replay lag in milliseconds, 0 where there is nothing to replay.
    """
    seen: list[tuple[float, str, int, float]] = []
    connected, done = threading.Event(), threading.Event()
    began = time.perf_counter()

    def look() -> None:
        with primary.connect() as connection:
            connected.set()
            while not done.is_set():
                for replica, _, _, behind, delay in connection.execute(BEHIND).fetchall():
                    seen.append((time.perf_counter() - began, replica, behind, delay or 0.0))
                time.sleep(every_s)

    thread = threading.Thread(target=look)
    thread.start()
    connected.wait()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


# --- Load -----------------------------------------------------------------------------------------------------

REPLY = f"""insert into public.messages (session_id, role, chat_type, content)
    values (md5('open session ' || floor({SESSIONS} * random())::integer)::uuid, 'assistant', 'main', 'Gern.')"""
"""A reply into any of the open sessions."""


def read(servers: list[Node], transactions: int, learners: int, cores: list[int] | None = None) -> float:
    """Let six clients read learners' newest messages, under the policies; each server gets as many of them.

    Args:
        transactions: how many all clients read together.
        learners: of how many learners.
        cores: the core for the clients of each server; any where it is not given.

    Returns:
        Transactions a second, of all together, until the slowest is ready.
    """
    clients = READERS // len(servers)
    each = transactions // READERS

    def work(place: int) -> float:
        if cores and hasattr(os, "sched_setaffinity"):
            # Of this thread alone, and so of the program that it starts.
            os.sched_setaffinity(0, {cores[place]})
        database = servers[place].database
        load = pgbench(database, "09_rls/newest.sql", clients=clients, transactions=each, actor=ANNA, n=0, learners=learners)
        return each * clients / load.per_second

    with ThreadPoolExecutor(len(servers)) as pool:
        return each * clients * len(servers) / max(pool.map(work, range(len(servers))))


READERS = 6
"""Clients of `read`, which one, two and three servers can share."""


@contextmanager
def writers(database: Database, clients: int = 4, setup: str = "") -> Iterator[list[str]]:
    """Let clients write messages as fast as the server acknowledges them, until the end or until the server is gone.

    Args:
        setup: a statement for each connection first.

    Yields:
        The id of each message that was acknowledged, as the client gave it.
    """
    acknowledged: list[str] = []
    done = threading.Event()
    insert = """insert into public.messages (session_id, role, chat_type, content, client_message_id)
        values (md5('open session ' || %s)::uuid, 'assistant', 'main', 'Gern.', %s)"""

    def write(client: int) -> None:
        with suppress(psycopg.OperationalError), database.connect() as connection:
            if setup:
                connection.execute(setup)
            connection.execute("set role service_role")
            for number in count():
                if done.is_set():
                    return
                key = str(uuid4())
                connection.execute(insert, [str((client + clients * number) % SESSIONS), key])
                acknowledged.append(key)

    threads = [threading.Thread(target=write, args=[client]) for client in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield acknowledged
    finally:
        done.set()
        for thread in threads:
            thread.join()


def reaches(acknowledged: list[str], number: int) -> None:
    """Wait until so many messages have been acknowledged to the writers.

    Raises:
        WorkbookError: they are not in time.
    """
    deadline = time.monotonic() + LONGEST_WAIT_S
    while len(acknowledged) < number:
        if time.monotonic() > deadline:
            raise WorkbookError(f"After {LONGEST_WAIT_S} s only {len(acknowledged)} of {number} messages are acknowledged.")
        time.sleep(0.001)


def missing(database: Database, acknowledged: list[str]) -> int:
    """Return how many of these messages a database does not hold."""
    found = database.value(
        "select count(*) from public.messages where client_message_id = any (cast(:keys as uuid[]))", ADMIN, keys=acknowledged
    )
    return len(acknowledged) - int(found)


WAYS = {
    "at once": "local",
    "after its commit's place": "local",
    "after remote_apply": "remote_apply",
}
"""When a client reads on a replica what it has just written, and the synchronous_commit that it writes with."""


def own_reads(primary: Database, replica: Database, way: str, times: int) -> tuple[int, list[float]]:
    """Write a message on the primary and read it on the replica, again and again.

    Args:
        way: one of WAYS.

    Returns:
        How often the message was not there, and the milliseconds from the beginning of the write to the end of the read.
    """
    early, took = 0, []
    insert = """insert into public.messages (session_id, role, chat_type, content, client_message_id)
        values (md5('open session ' || %s)::uuid, 'assistant', 'main', 'Gern.', %s)"""
    find = "select from public.messages where session_id = md5('open session ' || %s)::uuid and client_message_id = %s"
    with primary.connect() as writing, replica.connect() as reading:
        writing.execute(f"set synchronous_commit = {WAYS[way]}")
        for connection in (writing, reading):
            connection.execute("set role service_role")
        for number in range(times):
            message = [str(number % SESSIONS), uuid4()]
            start = time.perf_counter()
            writing.execute(insert, message)
            if way == "after its commit's place":
                ((place,),) = writing.execute("select pg_current_wal_lsn()").fetchall()
                while reading.execute("select pg_last_wal_replay_lsn() >= %s::pg_lsn", [place]).fetchone() != (True,):
                    time.sleep(0.0005)
            early += not reading.execute(find, message).fetchall()
            took.append(1000 * (time.perf_counter() - start))
    return early, took


# --- Long reads -----------------------------------------------------------------------------------------------


@contextmanager
def reading(replica: Database) -> Iterator[Future]:
    """Let somebody send a query that takes long; at the end it is cancelled.

    Yields:
        What becomes of it; see `settled`.
    """
    with replica.connect() as connection, ThreadPoolExecutor(1) as pool:
        connection.execute("set role service_role")
        report = pool.submit(connection.execute, "select count(*), pg_sleep(60) from public.profiles")
        try:
            until(
                replica,
                f"backend_xmin is not null from pg_stat_activity where pid = {connection.info.backend_pid} and state = 'active'",
            )
            yield report
        finally:
            if not report.done():
                connection.cancel_safe()


def settled(report: Future, within_s: float) -> str:
    """Say what has become of a query: `goes on`, or what it was refused with."""
    try:
        report.result(within_s)
    except TimeoutError:
        return "goes on"
    except psycopg.Error as error:
        return str(Refusal.of(error)).splitlines()[0]
    return "done"


def vacuum(database: Database, table: str) -> int:
    """Vacuum a table and return how many dead rows had to stay, because somebody may still see them."""
    said: list[str] = []
    with database.connect() as connection:
        connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        connection.execute(f"vacuum (verbose) {table}")
    # The table's and its TOAST table's.
    return sum(int(stayed) for stayed in re.findall(r"(\d+) are dead but not yet removable", "\n".join(said)))


# --- Privileges -----------------------------------------------------------------------------------------------


def try_privileges(primary: Database, replica: Database) -> Table:
    """Try what `privileges.try_all` tries on a replica; the rows for it are made on the primary, and removed again.

    Returns:
        One row for each attempt: table, command, visitor, outcome (allowed, no row, refused; read-only where the replica takes
        no write from anybody, and looks at no privilege first).
    """
    rows = []
    for table in privileges.TABLES:
        if setup := privileges._SETUP[table]:
            primary.run(setup, ADMIN)
        wait_for(replica, position(primary))
        with replica.connect() as connection:
            rows += [
                (table, command, visitor, _try(connection, table, command, actor))
                for visitor, actor in privileges.VISITORS.items()
                for command in privileges.COMMANDS
            ]
        if setup:
            # Triggers are off: a message that was said stays.
            removal = f"delete from public.{table} where {privileges._FIND[table]}"
            primary.run(f"set local session_replication_role = replica; {removal}", ADMIN)
    return Table.of(rows, ["table", "command", "visitor", "outcome"])


def _try(connection: psycopg.Connection, table: str, command: str, actor: Actor) -> str:
    with connection.transaction(force_rollback=True):
        assume(connection, actor)
        try:
            cursor = send(connection, privileges._statement(table, command), {})
            return "allowed" if cursor.rowcount else "no row"
        except psycopg.errors.ReadOnlySqlTransaction:
            return "read-only"
        except psycopg.errors.InsufficientPrivilege:
            return "refused"


# --- What is published ----------------------------------------------------------------------------------------

READS = {"the primary alone": 1, "and 1 replica": 2, "and 2 replicas": 3}
"""How many servers answer, by arm."""
LEVELS = ("off", "local", "remote_write", "on", "remote_apply")
RUNS = 7


def measure() -> None:
    """Measure what replicas gain and cost, and record it; in a process with DURABLE=1, as `writes.measure`."""
    messages = rows(5_000, 1_000_000, 1_000_000)
    with start(2, messages) as cluster:
        for part in (_reads, _lags, _commits, _own_reads):
            part(cluster, messages)


def _reads(cluster: Replicated, messages: int) -> None:
    """Reads beside somebody who writes, on two cores for all, and with the primary on a core of its own."""
    transactions = rows(600, 12_000, 12_000)
    for layout in ("all cores for all", "a core a server"):
        is_pinned = layout == "a core a server"
        if is_pinned:
            for place, node in enumerate(cluster.nodes):
                node.pin(place % 2)
        per_second: dict[tuple[str, str], list[float]] = {}
        for run in range(RUNS + 1):
            for arm, servers in READS.items():
                # Two cores are two servers.
                if is_pinned and servers > 2:
                    continue
                with bystander(cluster.primary.database, REPLY, SERVICE):
                    found = read(
                        cluster.nodes[:servers], transactions, messages // 100, cores=[0, 1][:servers] if is_pinned else None
                    )
                if run:
                    per_second.setdefault((f"reads a second, {layout}", arm), []).append(found)
        record(BENCHMARK, messages, per_second, unit="reads/s")
    for node in cluster.nodes:
        node.pin(None)


def _lags(cluster: Replicated, messages: int) -> None:
    """How far the replicas are behind beside the writes of notebook 12: at a rate, and as fast as possible."""
    rate, lasting = rows(50, 150, 150), rows(1, 10, 10)
    primary = cluster.primary.database
    behind: dict[str, dict[tuple[str, str], list[float]]] = {"bytes": {}, "ms": {}}
    written: dict[tuple[str, str], list[float]] = {}
    for load, clients, transactions, paced in (
        (f"{rate} messages a second", 8, rate * lasting, rate),
        ("8 clients at full speed", 8, rows(200, 12_000, 12_000), None),
        ("32 clients at full speed", 32, rows(320, 12_000, 12_000), None),
    ):
        with watched(primary) as seen:
            said = pgbench(
                primary,
                "12_writes/next_session.sql",
                clients=clients,
                transactions=transactions // clients,
                rate=paced,
                n=0,
                sessions=SESSIONS,
                role="assistant",
            )
        for place, what in ((2, "bytes behind"), (3, "ms behind")):
            cuts = statistics.quantiles([float(look[place]) for look in seen], n=100)
            for share in (50, 95, 99):
                behind[what.split()[0]][f"{what}, {share} %", load] = [cuts[share - 1]]
        written["messages a second beside it", load] = [said.per_second]
        _caught_up(cluster)
    for unit, found in behind.items():
        record(BENCHMARK, messages, found, unit=unit)
    record(BENCHMARK, messages, written, unit="messages/s")


def _commits(cluster: Replicated, messages: int) -> None:
    """What a commit takes, by how much of the replicas it waits for."""
    cluster.primary.set(synchronous_standby_names="FIRST 2 (replica_1, replica_2)")
    took: dict[tuple[str, str], list[float]] = {}
    times = rows(20, 300, 300)
    for run in range(RUNS + 1):
        for level in LEVELS:
            with cluster.primary.database.connect() as connection:
                connection.execute(f"set synchronous_commit = {level}")
                connection.execute("set role service_role")
                found = []
                for _ in range(times):
                    begin = time.perf_counter()
                    connection.execute(REPLY)
                    found.append(1000 * (time.perf_counter() - begin))
            if run:
                took.setdefault(("ms a message", level), []).append(statistics.median(found))
    record(BENCHMARK, messages, took)
    cluster.primary.set(synchronous_standby_names="")


def _own_reads(cluster: Replicated, messages: int) -> None:
    """How often somebody does not find what they have just written, beside others who write."""
    cluster.primary.set(synchronous_standby_names="replica_1")
    primary, replica = cluster.primary.database, cluster.replicas[0].database
    times = rows(20, 300, 300)
    early: dict[tuple[str, str], list[float]] = {}
    took: dict[tuple[str, str], list[float]] = {}
    for run in range(RUNS + 1):
        for way in WAYS:
            with writers(primary, 2, "set synchronous_commit = local"):
                misses, each = own_reads(primary, replica, way, times)
            if run:
                early.setdefault(("own messages not found", way), []).append(100 * misses / times)
                took.setdefault(("ms to write and read", way), []).append(statistics.median(each))
            _caught_up(cluster)
    record(BENCHMARK, messages, early, unit="%")
    record(BENCHMARK, messages, took)
    cluster.primary.set(synchronous_standby_names="")


def _caught_up(cluster: Replicated) -> None:
    place = position(cluster.primary.database)
    for replica in cluster.replicas:
        wait_for(replica.database, place)
