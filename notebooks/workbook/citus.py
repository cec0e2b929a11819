"""v2 on several machines: a Citus cluster's coordinator at CITUS_URL, and v2 converted in place to distributed tables."""

import atexit
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import CursorResult

from . import server
from .actors import ADMIN, OWNER, Actor
from .checks import CHECKS, look
from .clients import ACTORS, Answer, declared
from .database import Database, Transaction, assume, clone, driver, drop, send
from .errors import WorkbookError
from .paths import DATA, SQL, read_csv
from .server import EmbeddedServer
from .tables import Table

FOLDER = SQL / "citus"
"""The conversion: one file an object, in the order of their names."""
CHANGES = DATA / "citus.csv"
EXCEPTIONS = DATA / "citus_checks.csv"
REASONS = {
    "conflict": "ON CONFLICT names the learner first, as the key does",
    "learner": "user_id goes with the row, or with the call",
    "moves": "nothing; Citus itself refuses what v2's trigger refuses",
    "role": "the role is set by set_config(), and the claims by SET LOCAL",
}
"""Why a statement of data/citus.csv is another one, or gets another answer."""


def use() -> list[tuple[str, int]]:
    """Let this process's databases live on the coordinator at CITUS_URL; return the cluster's workers.

    Raises:
        WorkbookError: CITUS_URL is missing, or names no coordinator of a Citus cluster with workers.
    """
    given = os.environ.get("CITUS_URL")
    if not given:
        raise WorkbookError("CITUS_URL names no coordinator; CONTRIBUTING.md says how to get a Citus.")
    os.environ["DATABASE_URL"] = given
    server.url.cache_clear()
    return workers()


def workers() -> list[tuple[str, int]]:
    """Return host and port of each worker that the coordinator's own database knows, in the order of their ports."""
    with _maintenance() as connection:
        try:
            found = connection.execute(
                "select nodename, nodeport from pg_dist_node where groupid > 0 and noderole = 'primary' order by groupid"
            ).fetchall()
        except psycopg.errors.UndefinedTable:
            found = []
    if len(found) < 2:
        raise WorkbookError("CITUS_URL names no coordinator with two workers; CONTRIBUTING.md says how to get one.")
    return found


def files() -> list[str]:
    """Return the conversion's files in their order, as paths below sql/."""
    return [f"citus/{path.name}" for path in sorted(FOLDER.glob("*.sql"))]


def distributed(database: Database, nodes: list[tuple[str, int]]) -> "Distributed":
    """Convert a clone of v2 in place into distributed tables on these workers; return the same database."""
    joined(database, nodes)
    convert(database)
    return Distributed(database.name)


def joined(database: Database, nodes: list[tuple[str, int]]) -> None:
    """Make the database a coordinator's, with a database of the same name on each of these workers."""
    for node in nodes:
        add_worker(database, node, is_first=node == nodes[0])


def add_worker(database: Database, node: tuple[str, int], *, is_first: bool = False) -> None:
    """Give the database one more worker, which has no shards yet."""
    host, port = node
    _on_worker(node, f'create database "{database.name}"', "postgres")
    if not _remote:
        atexit.register(_drop_remote)
    _remote.append((node, database.name))
    _on_worker(node, "create extension citus", database.name)
    with database.connect() as connection:
        if is_first:
            connection.execute("create extension citus")
            (own,) = connection.execute("select inet_server_addr(), current_setting('port')::integer").fetchall()
            connection.execute("select citus_set_coordinator_host(%s, %s)", [_coordinator_host(), own[1]])
        connection.execute("select citus_add_node(%s, %s)", [host, port])
        if connection.execute("select to_regproc('private.admit_learners_on_workers')::text").fetchall() != [(None,)]:
            connection.execute("select private.admit_learners_on_workers()")


def convert(database: Database) -> None:
    """Run the conversion's files, as the cluster's administrator: the owner may not make the platform's functions on workers.

    By psql, which sends one statement at a time: Citus hands a statement on with all that was sent along.

    Raises:
        WorkbookError: a file stops; nothing of it stays.
    """
    for path in files():
        psql = [str(EmbeddedServer.of_checkout().program("psql")), "--no-psqlrc", "--quiet", "--single-transaction"]
        done = subprocess.run(
            [*psql, "--set=ON_ERROR_STOP=1", "--output=/dev/null", f"--file={SQL / path}", database.url],
            env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning -c timezone=UTC"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise WorkbookError(f"{path} stops: {done.stderr.strip()}")


# --- The contract ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A statement of data/clients.csv that is another on Citus; the fields are the columns of data/citus.csv."""

    id: str
    which: str
    """`statement` or `works`: the column of data/clients.csv that it stands for."""
    why: str
    """The name of a reason in REASONS."""
    send: str
    """What to send instead."""
    gets: str
    """Where even that gets another answer: the SQLSTATE."""


def changes() -> tuple[Change, ...]:
    """Return what data/citus.csv lists, in its order."""
    return tuple(Change(**row) for row in read_csv(CHANGES))


class Distributed(Database):
    """A database of the cluster: a client's claims come with SET LOCAL, which goes to the workers, and its role does not."""

    @contextmanager
    def transaction(self, actor: Actor = OWNER) -> Iterator[Transaction]:
        """Act as somebody in one transaction; see `Database.transaction`."""
        with super().transaction(ADMIN) as transaction:
            become(driver(transaction._connection), actor)
            yield _Sent(transaction._connection)


class _Sent(Transaction):
    """Sends the messages of this workbook's checks as a client of v2 on Citus does: with their user."""

    def _execute(self, sql: str, values: dict[str, object]) -> CursorResult:
        return super()._execute(with_user(sql), values)


_MESSAGE = re.compile(r"(insert into public\.message(?:s|_chunks) \()(?!user_id)([^;]*)", re.DOTALL)
_ROW = re.compile(r"\((?=[^();]*:(anna|ben)_\w+)")


def with_user(sql: str) -> str:
    """Add its user to a message into a session that is called by name, such as :anna_open."""

    def added(found: re.Match[str]) -> str:
        return f"{found[1]}user_id, {_ROW.sub(lambda row: f'(:{row[1]}, ', found[2])}" if _ROW.search(found[2]) else found[0]

    return _MESSAGE.sub(added, sql).replace("(session_id, client_message_id) do", "(user_id, session_id, client_message_id) do")


def become(connection: psycopg.Connection, actor: Actor) -> None:
    """Become somebody until the transaction ends, as an API before Citus does for each request."""
    claims = 'set local "request.jwt.claims" = %s'
    psycopg.ClientCursor(connection).execute(claims, [actor.claims])
    connection.execute("select set_config('role', %s, true)", [actor.role or "none"])


def parts(statement: str) -> list[str]:
    """Split what a client sends into single statements; Citus takes DDL alone only."""
    pieces = re.split(r"; (?=(?:[^$]*\$\$[^$]*\$\$)*[^$]*$)", statement)
    return [piece for piece in pieces if piece.strip()]


def answer(database: Database, statements: list[str], actor: Actor, *, commits: bool = False) -> Answer:
    """Send statements as somebody; the last one's answer counts.

    Args:
        commits: each in a transaction of its own, which stays; else all in one, which is undone.
    """
    last = Answer()
    assumed = become if isinstance(database, Distributed) else assume
    with database.connect() as connection:
        connection.execute("set search_path = public, extensions")
        try:
            for group in [[one] for one in statements] if commits else [statements]:
                with connection.transaction(force_rollback=not commits):
                    assumed(connection, actor)
                    for one in group:
                        last = _read(send(connection, one, {}))
        except psycopg.Error as error:
            return Answer(sqlstate=error.sqlstate or str(error))
    return last


def _read(cursor: psycopg.Cursor) -> Answer:
    if cursor.description is None:
        return Answer(count=max(cursor.rowcount, 0))
    names = [column.name for column in cursor.description]
    rows = tuple(dict(zip(names, map(str, row), strict=True)) for row in cursor.fetchall())
    return Answer(rows=rows, count=len(rows))


def contract(plain: Database, spread: Database) -> Table:
    """Send every statement of the contract to v2 on one machine and to v2 on several.

    What differs between two runs on one machine, such as a new id, is left out of the comparison. What the platform sends, such
    as a sign-up, comes last, and each statement in a transaction of its own, on both sides alike.

    Returns:
        One row a statement: id, which, who, why it is changed, what it gets on one machine, and whether the answer is the same.
    """
    changed = {(change.id, change.which): change for change in changes()}
    # As it was: an answer that stays goes to a copy.
    asked = [(client, which) for client in declared() for which in ("statement", "works") if getattr(client, which)]
    asked.sort(key=lambda one: one[0].who == "admin")
    rows = []
    for client, which in asked:
        change = changed.get((client.id, which))
        sent = getattr(client, which)
        actor, commits = ACTORS[client.who], client.who == "admin"
        expected = answer(plain, parts(sent), actor, commits=commits)
        again = expected if commits else answer(plain, parts(sent), actor)
        got = answer(spread, parts(change.send if change else sent), actor, commits=commits)
        if commits:
            for database in (plain, spread):
                _forget_cem(database)
        same = _masked(expected, again) == _masked(got, again, expected)
        rows.append(
            (client.id, which, client.who, change.why if change else "", expected.sqlstate or "answered", got.sqlstate, same)
        )
    return Table.of(rows, ["id", "which", "who", "changed", "on one machine", "on Citus", "same"])


def _masked(answer: Answer, *others: Answer) -> tuple[str, int, list[list[tuple[str, str]]]]:
    """Return an answer without the values that differ from run to run."""
    kept = []
    base, *_ = others
    reference = others[-1] if len(others) > 1 else answer
    for place, row in enumerate(answer.rows):
        stable = {
            name
            for name, value in (reference.rows[place] if place < len(reference.rows) else row).items()
            if place >= len(base.rows) or base.rows[place].get(name) == value
        }
        kept.append(sorted((name, value) for name, value in row.items() if name in stable and not _is_clock(value)))
    return answer.sqlstate, answer.count, kept


def _is_clock(value: str) -> bool:
    """Tell whether a value is a moment of the present year or an id that was made now."""
    return (
        value.startswith(datetime.now(UTC).strftime("%Y-")) or re.fullmatch(r"01[0-9a-f]{6}-[0-9a-f]{4}-7.*", value) is not None
    )


def _forget_cem(database: Database) -> None:
    database.run("delete from auth.users where id = :cem", ADMIN)
    database.run("delete from public.profiles where id = :cem", ADMIN)


# --- The checks -------------------------------------------------------------------------------------------------


def not_applicable() -> dict[int, str]:
    """Return the issues whose check cannot be asked of v2 on Citus, with the reason, from data/citus_checks.csv."""
    return {int(row["issue"]): row["why"] for row in read_csv(EXCEPTIONS)}


def checks(nodes: list[tuple[str, int]]) -> Table:
    """Run every issue's check against v2 on these workers.

    They share one database. A check that sees something there, where others have been before it, gets a fresh one to itself.

    Returns:
        One row an issue: its number, what its check saw, or `gone`, and why it does not apply.
    """
    reasons = not_applicable()
    shared = distributed(clone("v2"), nodes)
    rows = []
    # The one that erases a learner comes last.
    for number in sorted(CHECKS, key=lambda number: (number == 35, number)):
        seen = _seen(number, shared)
        if seen is not None:
            own = distributed(clone("v2"), nodes)
            seen = _seen(number, own)
            own.drop()
        rows.append((number, seen or "gone", reasons.get(number, "")))
    return Table.of(sorted(rows), ["issue", "seen", "why it does not apply"])


def _seen(number: int, database: Database) -> str | None:
    try:
        return look(number, database)
    except (psycopg.Error, WorkbookError) as error:
        return str(error).splitlines()[0]


# --- Where rows are, and what a statement asks -------------------------------------------------------------------


def rows_per_worker(database: Database, table: str) -> Table:
    """Return shards and rows of a distributed table, one row a worker, in the order of the workers."""
    return database.run(
        """
        select
            'worker ' || dense_rank() over (order by nodeport, nodename) as worker,
            count(*) as shards,
            cast(sum(rows) as bigint) as rows
        from (
            select nodename, nodeport, cast(result as bigint) as rows
            from run_command_on_shards(cast(:table_name as regclass), 'select count(*) from %s') as counted
            join pg_dist_shard_placement using (shardid)
        ) as shard
        group by nodename, nodeport
        order by 1""",
        ADMIN,
        table_name=table,
    )


def tasks(database: Database, statement: str, actor: Actor) -> int:
    """Return how many shards a statement asks; it is explained and not run."""
    with database.transaction(actor) as transaction:
        plan = transaction.value(f"explain (format json) {statement}")
    found = re.search(r"'Task Count': (\d+)", str(plan))
    return int(found[1]) if found else 0


def statements_per_worker(database: Database) -> list[int]:
    """Return how many transactions each worker has ended in this database, in the order of the workers."""
    found = database.run(
        "select result from run_command_on_workers("
        "'select xact_commit from pg_stat_database where datname = current_database()')",
        ADMIN,
    )
    return [int(result) for result in found["result"]]


# --- Beside writers ---------------------------------------------------------------------------------------------


@dataclass
class Writes:
    """What clients wrote beside something: ids that were acknowledged, refusals, and how long each write took."""

    acknowledged: list[tuple[str, str]]
    """User and message."""
    refused: list[str]
    waits_ms: list[float]

    def lost(self, database: Database) -> int:
        """Return how many acknowledged messages are not there."""
        found = set(
            database.run("select cast(id as text) as id from public.messages where content = 'acknowledged'", ADMIN)["id"]
        )
        return len({message for _, message in self.acknowledged} - found)


@contextmanager
def writing(database: Database, sessions: int, clients: int = 4) -> Iterator[Writes]:
    """Let a backend's clients reply to open sessions, one message a transaction, and try again after a refusal.

    Args:
        sessions: how many there are; see sql/bench/12_writes/open_sessions.sql.
    """
    seen, done = Writes([], [], []), threading.Event()
    insert = """insert into public.messages (user_id, id, session_id, role, chat_type, content)
        values (
            md5('writer ' || %(n)s)::uuid, %(id)s, md5('open session ' || %(n)s)::uuid, 'assistant', 'main', 'acknowledged'
        )"""

    def write(client: int) -> None:
        n = client
        connection: psycopg.Connection | None = None
        while not done.is_set():
            n = (n + clients) % sessions
            message, began = str(uuid4()), time.perf_counter()
            is_there = False
            while not is_there and not done.is_set():
                try:
                    if connection is None or connection.closed:
                        connection = database.connect()
                        connection.execute("set role service_role")
                    connection.execute(insert, {"n": n, "id": message})
                    is_there = True
                except psycopg.errors.UniqueViolation:
                    # A first try that was cut off after its commit.
                    is_there = True
                except psycopg.Error as error:
                    seen.refused.append(error.sqlstate or "connection")
                    if connection is not None and error.sqlstate is None:
                        connection.close()
                    time.sleep(0.05)
            if is_there:
                seen.acknowledged.append((str(n), message))
                seen.waits_ms.append(1000 * (time.perf_counter() - began))
        if connection is not None:
            connection.close()

    threads = [threading.Thread(target=write, args=[client]) for client in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in threads:
            thread.join()


def rebalance(database: Database) -> None:
    """Move shards until each worker has its share, while clients write."""
    with database.connect() as connection:
        connection.execute("select rebalance_table_shards(shard_transfer_mode => 'force_logical')")


def kill(node: tuple[str, int]) -> float:
    """End a process of a worker's server with SIGKILL: the server ends all others, and replays its log.

    Returns:
        The seconds until it answers again.

    Raises:
        WorkbookError: it does not within two minutes.
    """
    began = time.perf_counter()
    with suppress(psycopg.Error):
        _on_worker(node, "copy (select 1) to program 'kill -9 $PPID'", "postgres")
    while time.perf_counter() - began < 120:
        time.sleep(0.1)
        with suppress(psycopg.Error):
            _on_worker(node, "set timezone to 'UTC'", "postgres")
            return time.perf_counter() - began
    raise WorkbookError("The worker was killed and does not answer again; look into its log.")


def headers() -> Table:
    """Return what the conversion's files say of themselves: object, what changes, why, and what a client has to do."""
    rows = []
    for path in files():
        head = (SQL / path).read_text().split("\n\n")[0]
        lines = " ".join(line.removeprefix("--").strip() for line in head.splitlines()[1:])
        found = re.fullmatch(r"What changes: (.*) Why: (.*) Locks: (.*) Clients: (.*)", lines)
        assert found, path
        rows.append((head.splitlines()[0].removeprefix("-- "), found[1], found[2], found[4]))
    return Table.of(rows, ["object", "what changes", "why", "clients"])


# --- The nodes ------------------------------------------------------------------------------------------------

_remote: list[tuple[tuple[str, int], str]] = []
"""Databases that this process made on workers, with their nodes."""


def _maintenance() -> psycopg.Connection:
    return psycopg.connect(server.libpq_url(server.url()), autocommit=True)


def _coordinator_host() -> str:
    """Return under which name the workers reach the coordinator."""
    with _maintenance() as connection:
        ((host,),) = connection.execute("select nodename from pg_dist_node where groupid = 0").fetchall()
    return host


def _on_worker(node: tuple[str, int], statement: str, database: str) -> None:
    """Send a statement to a worker by way of the coordinator, which alone need be in reach."""
    address = make_conninfo(host=node[0], port=node[1], dbname=database)
    with _maintenance() as connection:
        connection.execute("select dblink_exec(%s, %s)", [address, statement])


def _drop_remote() -> None:
    """Drop this process's databases on all nodes; a worker that is away keeps its own."""
    for _, name in dict.fromkeys((None, name) for _, name in _remote):
        with suppress(psycopg.Error, WorkbookError):
            drop(name)
    for node, name in _remote:
        with suppress(psycopg.Error):
            _on_worker(node, f'drop database if exists "{name}" with (force)', "postgres")
