"""The one process that carries a rollout on: its connection, its lock, and its patience with others."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from ..errors import WorkbookError
from ..paths import SQL

LOCK_PATIENCE_SECONDS = 10
"""How long a runner waits for another one to be gone: the server may still end the last statement of one that was killed."""
PATIENCE_SECONDS = 120
"""How long a step goes on asking for a lock, a moment at a time, before it gives up."""


class Refused(WorkbookError):
    """A step that does not come now, or not yet: nothing was changed, and the message says what helps."""


class Runner:
    """The one process that carries a rollout on, by a connection that holds an advisory lock."""

    def __init__(self, url: str) -> None:
        """Connect as whoever owns v1's tables.

        Args:
            url: a libpq URL of a plain login that owns the schema, or may become its owner.

        Raises:
            WorkbookError: there is no such database, no v1 or v2 in it, or the login may not act as the owner.
        """
        self.url = url
        try:
            # A pooler would lose prepared statements too.
            self.connection = psycopg.connect(url, autocommit=True, prepare_threshold=None, application_name="workbook rollout")
        except psycopg.OperationalError as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
            raise WorkbookError(f"The database cannot be reached ({reason}); check DATABASE_URL.") from None
        self._become_owner()

    def close(self) -> None:
        """Let go of the database and of the lock."""
        self.connection.close()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def one(self, statement: str, *values: object) -> Any:
        """Send a statement and return the one value of its one row."""
        row = self.connection.execute(statement, values or None).fetchone()
        return row[0] if row else None

    def _become_owner(self) -> None:
        if self.connection.info.server_version < 150000:
            raise WorkbookError("The rollout needs PostgreSQL 15 or newer; upgrade the server first.")
        owner = self.one("select pg_get_userbyid(relowner) from pg_class where oid = to_regclass('public.messages')")
        if owner is None:
            raise WorkbookError("There is no table public.messages here; give the URL of the database that has v1.")
        try:
            self.connection.execute(sql.SQL("set role {}").format(sql.Identifier(owner)))
        except psycopg.Error:
            raise WorkbookError(
                f"The tables belong to {owner}, and the login may not act as that role; log in as {owner}."
            ) from None
        for setting in ("statement_timeout = 0", "row_security = off", "timezone = 'UTC'", "search_path = ''", "lock_timeout = 0",
                        "idle_in_transaction_session_timeout = 0", "vacuum_cost_delay = '2ms'",
                        "client_min_messages = error", "datestyle = 'ISO'",
                        "intervalstyle = 'postgres'", "bytea_output = 'hex'", "standard_conforming_strings = on",
                        "client_encoding = 'UTF8'", "default_transaction_isolation = 'read committed'",
                        "default_transaction_read_only = off", "default_transaction_deferrable = off",
                        "check_function_bodies = on"):  # fmt: skip
            self.connection.execute(f"set {setting}")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the rollout's advisory lock.

        Raises:
            WorkbookError: another runner holds it, or a pooler gives each transaction another connection.
        """
        # The server may still be busy with the last statement of a runner that was killed.
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while not self.one("select pg_try_advisory_lock(hashtextextended('workbook rollout', 0))"):
            if time.monotonic() > deadline:
                raise Refused("Another runner is at work on this database; wait until it has ended.")
            time.sleep(0.2)
        backends = {self.one("select pg_backend_pid()") for _ in range(5)}
        held = self.one("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid() and granted")
        if len(backends) > 1 or not held:
            raise WorkbookError(
                "DATABASE_URL goes through a pooler in transaction mode, which keeps no lock between two statements; "
                "take the direct connection, or the pooler's session mode."
            )
        try:
            yield
        finally:
            if not self.connection.closed:
                self.connection.execute("select pg_advisory_unlock(hashtextextended('workbook rollout', 0))")

    @property
    def phase(self) -> str:
        """Where the rollout is: none, starting, started, linked, switched or returned."""
        if self.one("select to_regclass('rollout.state')") is None:
            return "none"
        return str(self.one("select phase from rollout.state"))

    def patiently(self, act: Callable[[], None], what: str) -> int:
        """Do something that needs a lock of clients' tables, a moment at a time, until it is done.

        Returns:
            How many times it had to be tried.

        Raises:
            WorkbookError: somebody holds what it needs for all of the time.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        attempt = 0
        while True:
            attempt += 1
            try:
                act()
                return attempt
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, psycopg.errors.QueryCanceled):
                if time.monotonic() > deadline:
                    raise Refused(
                        f"{what} did not get its locks within {PATIENCE_SECONDS} s; look in pg_stat_activity for a transaction "
                        "that stays open, and run the step again."
                    ) from None
                # Longer each time, and never in step with anybody else.
                time.sleep(random.uniform(0.05, min(0.1 * attempt, 1.5)))

    def run(self, statement: str, *values: object) -> None:
        """Run statements in one transaction."""
        with self.connection.transaction():
            self.connection.execute(statement, values or None)


def sql_file(name: str) -> str:
    """Return one of the rollout's SQL files."""
    return (SQL / "rollout" / name).read_text()


_IS_V1 = """
select exists (
    select from pg_attribute where attrelid = to_regclass('public.messages') and attname = 'timestamp' and not attisdropped
)
"""


def is_v1(runner: Runner) -> bool:
    """Tell whether v1's messages stand in public."""
    return bool(runner.one(_IS_V1))
