"""v2 on several machines: a Citus cluster's coordinator at CITUS_URL, and v2 converted in place to distributed tables."""

import atexit
import os
import subprocess
from contextlib import suppress

import psycopg
from psycopg.conninfo import make_conninfo

from . import server
from .database import Database, clone, drop
from .errors import WorkbookError
from .paths import SQL
from .server import EmbeddedServer

FOLDER = SQL / "citus"
"""The conversion: one file an object, in the order of their names."""


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


def distributed(database: Database, nodes: list[tuple[str, int]]) -> Database:
    """Convert a clone of v2 in place into distributed tables on these workers; return the same database."""
    joined(database, nodes)
    convert(database)
    return database


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


def convert(database: Database) -> None:
    """Run the conversion's files, as the cluster's administrator: the owner may not make the platform's functions on workers.

    By psql, which sends one statement at a time: Citus hands a statement on with all that was sent along.

    Raises:
        WorkbookError: a file stops; nothing of it stays.
    """
    for path in files():
        psql = [EmbeddedServer.of_checkout().program("psql"), "--no-psqlrc", "--quiet", "--single-transaction"]
        done = subprocess.run(
            [*psql, "--set=ON_ERROR_STOP=1", "--output=/dev/null", f"--file={SQL / path}", database.url],
            env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning -c timezone=UTC"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise WorkbookError(f"{path} stops: {done.stderr.strip()}")


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
