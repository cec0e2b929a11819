"""Databases to demonstrate on: templates, clones, and statements sent as somebody."""

import atexit
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property, lru_cache
from itertools import count
from secrets import token_hex
from typing import Any

import psycopg
from IPython.display import Markdown
from sqlalchemy import Connection, CursorResult, Engine, NullPool, create_engine, text
from sqlalchemy.dialects.postgresql import CITEXT
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.engine.interfaces import Compiled
from sqlalchemy.exc import StatementError

from . import fixes, proposal, server
from .actors import ADMIN, NAMES, OWNER, Actor
from .errors import WorkbookError
from .paths import DATA, SQL
from .tables import Table

PREFIX = "wb_"
OWNER_ROLE = "workbook_owner"
_OPTIONS = "-c timezone=UTC"

DATA_SETS = {
    "seed": ["seed_v1.sql"],
    "dirty": ["seed_v1.sql", "dirty_v1.sql"],
    "empty": [],
}
"""The rows that a clone may start with, and the files below data/ that hold them."""


# --- Statements -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """A statement that the database refused."""

    sqlstate: str | None
    name: str | None
    """The constraint that refused it, or the message where none did."""
    hint: str | None

    def __repr__(self) -> str:
        advice = f"\n  hint: {self.hint}" if self.hint else ""
        return f"refused: {self.sqlstate} {self.name}{advice}"

    @staticmethod
    def of(error: psycopg.Error) -> "Refusal":
        """Read what the server said."""
        diagnosis = error.diag
        return Refusal(error.sqlstate, diagnosis.constraint_name or diagnosis.message_primary, diagnosis.message_hint)


class Transaction:
    """An open transaction of one actor."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: str, **values: object) -> Any:
        """Send a statement; `:name` takes a value given here or, failing that, an id from data/names.csv.

        The rules are those of SQLAlchemy's `text()`: a value is cast by `cast(:n as integer)`, and a colon that begins no
        name is written `\\:`.

        Returns:
            The rows, or the command tag (`UPDATE 1`) of a statement that returns none.
        """
        result = self._execute(sql, values)
        if not result.returns_rows:
            return result.context.cursor.tag
        return Table.of(list(result), list(result.keys()))

    def value(self, sql: str, **values: object) -> Any:
        """Send a statement and return the one value that it answers with."""
        ((value,),) = self._execute(sql, values)
        return value

    def _execute(self, sql: str, values: dict[str, object]) -> CursorResult:
        with _plain_errors():
            return self._connection.execute(text(sql), {**NAMES, **values})


def send(connection: psycopg.Connection, sql: str, values: dict[str, object]) -> psycopg.Cursor:
    """Send a statement as `Transaction.run` does, through a connection of psycopg's own; see `Database.connect`."""
    statement = _compiled(sql)
    return _Cursor(connection).execute(statement.string, statement.construct_params({**NAMES, **values}))


@lru_cache
def _compiled(sql: str) -> Compiled:
    return text(sql).compile(dialect=_dialect())


@cache
def _dialect() -> PGDialect:
    """Return what SQLAlchemy knows of the server: it asks once a process, where `create_engine` would ask once a clone."""
    engine = create_engine("postgresql+psycopg://", creator=_maintenance, poolclass=NullPool, use_native_hstore=False)
    engine.connect().close()
    assert isinstance(engine.dialect, PGDialect)
    # An extension's type is known by its bare name alone.
    engine.dialect.ischema_names = {**engine.dialect.ischema_names, "extensions.citext": CITEXT}
    return engine.dialect


class _Cursor(psycopg.ClientCursor):
    """Fills values in on this side, so that DDL and several statements at once may have some too."""

    tag: str | None = None
    """The command tag, kept when SQLAlchemy closes the cursor of a statement without rows."""

    def close(self) -> None:
        self.tag = self.statusmessage
        super().close()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Let psycopg's errors through as they are: they say what the server said.

    Raises:
        WorkbookError: a statement names a value that it is not given.
    """
    try:
        yield
    except StatementError as error:
        if isinstance(error.orig, psycopg.Error):
            raise error.orig from None
        raise WorkbookError(f"{error.orig}; a colon that begins no name is written \\:.") from None


class Database:
    """A clone that belongs to this process alone, and goes when the process ends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.url = server.libpq_url(server.url().set(database=name))

    @cached_property
    def engine(self) -> Engine:
        """SQLAlchemy's way in, as the server's administrator: `pd.read_sql("select …", db.engine)`."""

        def connect() -> Any:
            return psycopg.connect(self.url, options=_OPTIONS, cursor_factory=_Cursor)

        # A connection of its own each time: nothing of one demonstration leaks into the next, or stands in a clone's way.
        return Engine(NullPool(connect, dialect=_dialect()), _dialect(), server.url().set(database=self.name))

    @contextmanager
    def transaction(self, actor: Actor = OWNER) -> Iterator[Transaction]:
        """Act as somebody in one transaction, committed at the end and rolled back on any error."""
        with _plain_errors(), self.engine.begin() as connection:
            assume(driver(connection), actor)
            yield Transaction(connection)

    def run(self, sql: str, actor: Actor = OWNER, **values: object) -> Any:
        """Send a statement in a transaction of its own; see `Transaction.run`."""
        with self.transaction(actor) as transaction:
            return transaction.run(sql, **values)

    def value(self, sql: str, actor: Actor = OWNER, **values: object) -> Any:
        """Send a statement in a transaction of its own and return the one value that it answers with."""
        with self.transaction(actor) as transaction:
            return transaction.value(sql, **values)

    def refused(self, sql: str, actor: Actor = OWNER, *, code: str, **values: object) -> Refusal:
        """Send a statement that must be refused with this SQLSTATE; nothing of it stays.

        Raises:
            AssertionError: it succeeds, or is refused for another reason.
        """
        try:
            with self.transaction(actor) as transaction:
                transaction.run(sql, **values)
                raise AssertionError(f"the statement was accepted, and should be refused with {code}")
        except psycopg.Error as error:
            refusal = Refusal.of(error)
        assert refusal.sqlstate == code, f"expected {code}, got {refusal}"
        return refusal

    def apply(self, number: int) -> fixes.Applied:
        """Apply the fix with this number, which must be the next one.

        Raises:
            WorkbookError: it is not the next one, or it fails; nothing of it stays.
        """
        with self.connect() as connection:
            return fixes.apply(connection, fixes.find(number))

    def apply_up_to(self, number: int) -> list[fixes.Applied]:
        """Apply every fix that is missing, up to this one."""
        with self.connect() as connection:
            done = fixes.applied_numbers(connection)
            return [fixes.apply(connection, fix) for fix in fixes.up_to(number) if fix.number not in done]

    def run_file(self, path: str, actor: Actor = OWNER) -> Markdown:
        """Run a file below sql/ in one transaction, and return it to be shown."""
        with self.connect() as connection, connection.transaction():
            assume(connection, actor)
            connection.execute((SQL / path).read_text())
        return fixes.show_sql(path)

    def apply_proposal(self) -> Table:
        """Apply the review's own statements one by one, and return what became of each; see `proposal.apply`."""
        with self.connect() as connection:
            return proposal.apply(connection)

    def repairs(self, issue: int) -> Table:
        """Return how many rows this fix repaired, by table."""
        return self.run(
            "select table_name, count(*) as rows from private.repairs where issue = :issue group by 1 order by 1", issue=issue
        )

    def connect(self) -> psycopg.Connection:
        """Open psycopg's own connection of the server's administrator, in autocommit: for scripts, COPY and notifications."""
        return psycopg.connect(self.url, autocommit=True, options=_OPTIONS)

    def copy(self) -> "Database":
        """Return a clone of this one; nobody may be connected to it."""
        return Database(_create(self.name))

    def drop(self) -> None:
        """Drop the clone."""
        drop(self.name)


def driver(connection: Connection) -> psycopg.Connection:
    """Return what SQLAlchemy's connection is of psycopg's."""
    found = connection.connection.driver_connection
    assert isinstance(found, psycopg.Connection)
    return found


def assume(connection: psycopg.Connection, actor: Actor) -> None:
    """Become somebody until the transaction ends, as the API does for each request."""
    # SET and not set_config(): a SELECT would be the transaction's first query, which fixes its isolation level.
    become = 'set local "request.jwt.claims" = %s; set local role %s'
    psycopg.ClientCursor(connection).execute(become, [actor.claims, actor.role or "none"])


# --- Templates and clones -------------------------------------------------------------------------------------


def clone(state: str | int = "v1", data: str = "seed") -> Database:
    """Return a database of your own, cloned from a template that is built on first use.

    Args:
        state: "v1", "proposed" (v1 with the review's own statements), "v2" (v1 with all fixes), or the number of the last fix.
        data: the rows that v1 held before the fixes: "seed", "dirty" (the seed and the rows that break rules) or "empty".

    Raises:
        WorkbookError: there is no such state or data set, or the server refuses.
    """
    if data not in DATA_SETS:
        raise WorkbookError(f"There is no data set {data!r}; take one of {', '.join(DATA_SETS)}.")
    if state not in STATES and not isinstance(state, int):
        raise WorkbookError(f'There is no state {state!r}; take "v1", "proposed", "v2" or the number of a fix.')
    number = fixes.find(state).number if isinstance(state, int) else STATES[state]
    is_kept = number in (*STATES.values(), fixes.all_fixes()[-1].number)
    kept = number if is_kept else number - (number - V1) % TEMPLATE_STEP
    with _clear_errors(), _maintenance() as connection:
        while True:
            day = _today(connection)
            database = Database(_create(_template(data, kept, day)))
            if number != kept:
                database.apply_up_to(number)
            if _today(connection) == day:
                return database
            # Midnight has passed meanwhile: the rows may be of two days.
            database.drop()


def drop(name: str) -> None:
    """Drop a database that the workbook created, and no other.

    Raises:
        WorkbookError: it is not the workbook's own.
    """
    with _maintenance() as connection:
        found = connection.execute(
            "select pg_get_userbyid(datdba) from pg_catalog.pg_database where datname = %s", [name]
        ).fetchone()
        if found is None:
            return
        if not name.startswith(PREFIX) or found[0] != OWNER_ROLE:
            raise WorkbookError(f"The database {name} is not one that the workbook created, so it is not dropped.")
        connection.execute(f'drop database if exists "{name}" with (force)')


def sweep() -> int:
    """Drop what ended runs left behind, their clones and the templates of other days or other SQL; return how many."""
    dropped = 0
    with _maintenance() as connection:
        current = _template_version(_today(connection))
        names = connection.execute(
            "select datname from pg_catalog.pg_database where pg_get_userbyid(datdba) = %s and datname ~ %s order by 1",
            [OWNER_ROLE, f"^{PREFIX}[ct]_[0-9a-f]{{8}}_"],
        ).fetchall()
        # Looked up after the names: a run says that it lives before it creates anything.
        alive = {run for (run,) in connection.execute(_LIVING_RUNS, [len(_SIGN_OF_LIFE), f"{_SIGN_OF_LIFE}%"])}
    for (name,) in names:
        _, kind, version, *_ = name.split("_")
        is_abandoned_clone = kind == "c" and version not in alive
        # Another run may be cloning a template: only who is alone clears them away.
        is_old_template = kind == "t" and version != current and alive <= {_this_run()}
        if is_abandoned_clone or is_old_template:
            # Another run may sweep at the same time, and be first.
            with suppress(psycopg.Error):
                drop(name)
                dropped += 1
    return dropped


@cache
def _sweep_once() -> None:
    _this_run()
    sweep()


# A run shows up in the server's list of connections, which is one for all databases, for as long as it lives.
_SIGN_OF_LIFE = "workbook run "
_LIVING_RUNS = "select substr(application_name, %s + 1) from pg_stat_activity where application_name like %s"


@cache
def _this_run() -> str:
    """Return this process's name in its clones, and say that it lives."""
    run = token_hex(4)
    global _guard
    _guard = psycopg.connect(server.libpq_url(server.url()), autocommit=True, application_name=f"{_SIGN_OF_LIFE}{run}")
    atexit.register(_end_run)
    return run


_guard: psycopg.Connection | None = None
_clones: list[str] = []
_numbers = count()
_process = os.getpid()


def _end_run() -> None:
    if os.getpid() != _process:
        return
    try:
        for name in _clones:
            drop(name)
        if _guard:
            _guard.close()
    except (psycopg.Error, WorkbookError):
        # The server has gone first; the next run sweeps.
        pass


def _create(template: str | None) -> str:
    """Create a clone of the template, or of an empty database, and return its name."""
    name = f"{PREFIX}c_{_this_run()}_{next(_numbers)}"
    _clones.append(name)
    with _maintenance() as connection:
        ((fsync,),) = connection.execute("show fsync").fetchall()
        strategy = "file_copy" if fsync == "off" else "wal_log"
        connection.execute(f'create database "{name}" owner {OWNER_ROLE} template {template or "template0"} strategy {strategy}')
    return name


def _today(connection: psycopg.Connection) -> date:
    """Return the server's date in UTC: its clock dates the rows, not the client's."""
    ((today,),) = connection.execute("select cast(now() at time zone 'UTC' as date)").fetchall()
    return today


def _template_version(day: date) -> str:
    """Return what tells a day's templates of these SQL files from all others: seed rows are dated from their day."""
    digest = hashlib.sha256(day.isoformat().encode())
    for path in sorted(
        [
            *SQL.glob("platform/*.sql"),
            *SQL.glob("v1/*.sql"),
            *SQL.glob("proposed/*.sql"),
            *SQL.glob("fixes/*.sql"),
            *DATA.glob("*.csv"),
            *DATA.glob("*.sql"),
        ]
    ):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:8]


V1, PROPOSED = -1, -2
"""Stand for v1, and for v1 as the review would have it, where a state is a number: that of the last fix."""

STATES = {"v1": V1, "proposed": PROPOSED, "v2": fixes.all_fixes()[-1].number}

TEMPLATE_STEP = 5
"""Every how many fixes a state is kept as a template, and the last one: each takes 9 MB of disk, each fix some milliseconds."""


def _template(data: str, number: int, day: date) -> str:
    """Return a day's template with this data set and the fixes up to this one, building it where it is missing."""
    word = {V1: "v1", PROPOSED: "proposed"}.get(number, number)
    name = f"{PREFIX}t_{_template_version(day)}_{data}_{word}"
    _sweep_once()
    with _maintenance() as connection:
        # Several kernels may want the same template at once: the first builds it, the others wait.
        connection.execute("select pg_advisory_lock(hashtextextended(%s, 0))", [name])
        if not _exists(connection, name):
            if number == V1:
                connection.execute((SQL / "platform" / "roles.sql").read_text())
                unfinished = _create(None)
                _fill(Database(unfinished), data)
            elif number == PROPOSED:
                unfinished = _create(_template(data, V1, day))
                with Database(unfinished).connect() as proposed:
                    proposal.apply(proposed)
            else:
                unfinished = _create(_template(data, number - ((number - V1) % TEMPLATE_STEP or TEMPLATE_STEP), day))
                Database(unfinished).apply_up_to(number)
            # Renamed only when it is whole: an interrupted build leaves a clone, which the next run sweeps.
            try:
                connection.execute(f'alter database "{unfinished}" rename to "{name}"')
            except psycopg.errors.DuplicateDatabase:
                # Built by a run with another maintenance database, whose lock this one does not see.
                return name
            _clones.remove(unfinished)
    return name


def _exists(connection: psycopg.Connection, name: str) -> bool:
    ((exists,),) = connection.execute("select exists (select from pg_catalog.pg_database where datname = %s)", [name]).fetchall()
    return exists


def _fill(database: Database, data: str) -> None:
    database.run_file("platform/database.sql", ADMIN)
    with database.connect() as connection:
        connection.execute("set role workbook_owner")
        connection.execute((SQL / "v1" / "schema.sql").read_text())
    for file in DATA_SETS[data]:
        database.run((DATA / file).read_text(), ADMIN)


def _maintenance() -> psycopg.Connection:
    return psycopg.connect(server.libpq_url(server.url()), autocommit=True)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Turn the server's own refusals, which the reader can do something about, into a sentence."""
    try:
        yield
    except psycopg.Error as error:
        match error.sqlstate:
            case "55000" if error.diag.message_hint:
                advice = error.diag.message_hint
            case "53100":
                advice = "The server's disk is full: free some space and try again."
            case _:
                raise
        raise WorkbookError(f"The server refuses: {error.diag.message_primary}. {advice}") from None
