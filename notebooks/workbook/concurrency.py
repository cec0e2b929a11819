"""Several connections at once, one step at a time: A does this, B does that, now A commits."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import psycopg

from .actors import Actor
from .database import Database, Refusal, assume, send
from .errors import WorkbookError

is_quiet: ContextVar[bool] = ContextVar("is_quiet", default=False)
"""Whether steps are played without being printed, as a check wants it."""

DEADLOCK_TIMEOUT_MS = 50
LONGEST_STEP_S = 20


@dataclass
class Step:
    """One statement of one connection. `outcome` is a command tag, a value, a Refusal, or None as long as it waits."""

    waited_for: str | None = None
    outcome: str | Refusal | None = None

    @property
    def waited(self) -> bool:
        """Whether it had to wait for another connection."""
        return self.waited_for is not None

    @property
    def refused(self) -> str | None:
        """The SQLSTATE that it was refused with, if it was."""
        return self.outcome.sqlstate if isinstance(self.outcome, Refusal) else None


class Side:
    """One of the connections. Calling it sends a statement and returns when it is done or waits for another side."""

    def __init__(self, name: str, database: Database, actor: Actor, stage: "_Stage") -> None:
        self.name = name
        self._actor = actor
        self._stage = stage
        self._connection = database.connect()
        self._connection.execute(f"set deadlock_timeout = '{DEADLOCK_TIMEOUT_MS}ms'")
        self._worker = ThreadPoolExecutor(max_workers=1)
        self.pid = self._connection.info.backend_pid
        self.running: Future | None = None
        self.step = Step()

    def __call__(self, sql: str, **values: object) -> Step:
        """Send a statement, in this side's transaction, which begins by itself; `:name` works as in `Database.run`."""
        return self._stage.play(self, " ".join(sql.split()), lambda: self._send(sql, values))

    def commit(self) -> Step:
        """Commit this side's transaction."""
        return self._stage.play(self, "commit", lambda: self._end("commit"))

    def rollback(self) -> Step:
        """Roll this side's transaction back."""
        return self._stage.play(self, "rollback", lambda: self._end("rollback"))

    def submit(self, work) -> None:
        """Start work on this side's connection."""
        self.running = self._worker.submit(work)

    def close(self) -> None:
        """Leave: whatever is open is rolled back."""
        if self.running:
            self._connection.cancel_safe()
        self._worker.shutdown()
        self._connection.close()

    def _send(self, sql: str, values: dict[str, object]) -> str | None:
        if self._connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self._connection.execute("begin")
            assume(self._connection, self._actor)
        cursor = send(self._connection, sql, values)
        if cursor.description is None:
            return cursor.statusmessage
        rows = cursor.fetchall()
        return str(rows[0][0]) if len(rows) == 1 and len(rows[0]) == 1 else f"{len(rows)} rows"

    def _end(self, command: str) -> str | None:
        return self._connection.execute(command).statusmessage


class _Stage:
    """Knows all sides, plays their steps, and prints each as it ends or begins to wait."""

    def __init__(self, observer: psycopg.Connection) -> None:
        self.observer = observer
        self.sides: list[Side] = []

    def play(self, side: Side, shown: str, work) -> Step:
        if side.running:
            raise WorkbookError(f"{side.name} still waits for {side.step.waited_for}; let that side commit first.")
        side.step = step = Step()
        side.submit(work)
        self._settle(side)
        shown = shown if len(shown) <= 60 else f"{shown[:59]}…"
        self._print(side, shown)
        # Whoever waited may go on now.
        for other in self.sides:
            if other is not side and other.running and self._settle(other):
                self._print(other, "… goes on")
        return step

    def _settle(self, side: Side) -> bool:
        """Watch a side until it is done, or waits for another one without a deadlock; return whether it is done."""
        deadline = time.monotonic() + LONGEST_STEP_S
        future = side.running
        while future and time.monotonic() < deadline:
            if future.done():
                side.running = None
                try:
                    side.step.outcome = future.result()
                except psycopg.Error as error:
                    side.step.outcome = Refusal.of(error)
                return True
            blockers = self._blockers(side)
            if blockers and not any(side in self._blockers(blocker) for blocker in blockers):
                side.step.waited_for = " and ".join(blocker.name for blocker in blockers)
                # PostgreSQL looks for a deadlock once, this long into a wait: whoever closes a circle later is the victim.
                time.sleep(2 * DEADLOCK_TIMEOUT_MS / 1000)
                if not future.done():
                    return False
            time.sleep(0.002)
        raise WorkbookError(f"{side.name} neither finished within {LONGEST_STEP_S} s nor waits for another side.")

    def _blockers(self, side: Side) -> list[Side]:
        ((pids,),) = self.observer.execute("select pg_blocking_pids(%s)", [side.pid]).fetchall()
        return [other for other in self.sides if other.pid in pids]

    def _print(self, side: Side, shown: str) -> None:
        if is_quiet.get():
            return
        width = max(len(other.name) for other in self.sides)
        outcome = side.step.outcome
        if outcome is None:
            outcome = f"waits for {side.step.waited_for}"
        elif isinstance(outcome, Refusal):
            outcome = f"refused: {outcome.sqlstate} {outcome.name}"
        print(f"{side.name:<{width}}  {shown:<60}  {outcome}")


@contextmanager
def concurrently(database: Database, **actors: Actor) -> Iterator[tuple[Side, ...]]:
    """Open a connection for each named actor: `with concurrently(db, app=ANNA, job=SERVICE) as (app, job)`.

    Each step runs to its end, or until it waits for a lock of another side, before the next one starts, so the
    interleaving is the same in every run. Only where two sides wait for one row, PostgreSQL decides who is first.
    At the end whatever is open is rolled back.
    """
    with ExitStack() as stack:
        observer = stack.enter_context(database.connect())
        stage = _Stage(observer)
        for name, actor in actors.items():
            side = Side(name, database, actor, stage)
            stack.callback(side.close)
            stage.sides.append(side)
        yield tuple(stage.sides)
