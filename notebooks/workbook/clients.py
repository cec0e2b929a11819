"""What the app sends: each statement of data/clients.csv, tried on v1 and after every fix."""

import csv
import io
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

import psycopg

from . import fixes
from .actors import ADMIN, ANNA, ANON, OWNER, SERVICE, Actor
from .database import Database, assume, clone, send
from .errors import WorkbookError
from .paths import DATA, read_csv
from .tables import Table

FILE = DATA / "clients.csv"

ACTORS: dict[str, Actor] = {
    "learner": ANNA,
    "visitor": ANON,
    "backend": SERVICE,
    "job": OWNER,
    "migration": OWNER,
    "admin": ADMIN,
}
"""Who sends a statement: a job runs as whoever scheduled it, and the admin stands for the sign-up service and the dashboard."""


@dataclass(frozen=True)
class Client:
    """One statement that v1's app sends, and what the fixes make of it; the fields are the file's columns."""

    id: str
    who: str
    what: str
    """One sentence: what the app does."""
    statement: str
    until: str
    """The first fix after which it no longer works; empty where it works on v2."""
    sqlstate: str
    """What it gets then; `no rows`, `other rows` or `other columns` where nothing is refused and the answer is another."""
    pauses: str
    """Where it fails for some fixes and works again, such as `03-45 PT409`; mostly empty."""
    instead: str
    works: str
    """The statement to send instead."""


COLUMNS = tuple(Client.__dataclass_fields__)


def declared() -> tuple[Client, ...]:
    """Return what data/clients.csv lists, in its order."""
    return tuple(Client(**row) for row in read_csv(FILE))


# --- Trying ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a statement got: rows as dictionaries of texts, or a number of rows changed, or a refusal."""

    sqlstate: str = ""
    rows: tuple[dict[str, str], ...] = ()
    count: int = 0
    """Rows returned or changed."""

    def differs_from(self, reference: "Answer") -> str:
        """Say how this is not the answer that v1 gave, which may miss columns that came later; empty where it is."""
        if self.sqlstate:
            return self.sqlstate
        if self.count == 0 < reference.count:
            return "no rows"
        if self.rows and reference.rows and reference.rows[0].keys() - self.rows[0].keys():
            return "other columns"
        same = self.count == reference.count and all(
            old.items() <= new.items() for old, new in zip(reference.rows, self.rows, strict=True)
        )
        return "" if same else "other rows"


def connected(database: Database) -> psycopg.Connection:
    """Open a connection with the search_path that the API sets for its clients."""
    connection = database.connect()
    connection.execute("set search_path = public, extensions")
    return connection


def answer(connection: psycopg.Connection, statement: str, actor: Actor) -> Answer:
    """Send a statement as somebody, and undo it; of several at once the last one's answer counts."""
    try:
        with connection.transaction(force_rollback=True):
            assume(connection, actor)
            cursor = send(connection, statement, {})
            while cursor.nextset():
                pass
            if cursor.description is None:
                return Answer(count=cursor.rowcount)
            names = [column.name for column in cursor.description]
            rows = tuple(dict(zip(names, map(str, row), strict=True)) for row in cursor.fetchall())
            return Answer(rows=rows, count=len(rows))
    except psycopg.Error as error:
        if not error.sqlstate:
            raise
        return Answer(sqlstate=error.sqlstate)


def v1() -> Database:
    """Return a clone of v1 whose rows are what the statements ask for."""
    database = clone("v1")
    database.run((DATA / "clients_v1.sql").read_text(), ADMIN)
    return database


def v2() -> Database:
    """Return the same rows with all fixes."""
    database = v1()
    database.apply_up_to(fixes.all_fixes()[-1].number)
    return database


def _answers(connection: psycopg.Connection, statements: tuple[Client, ...]) -> dict[str, Answer]:
    """Try all statements in one state."""
    return {client.id: answer(connection, client.statement, ACTORS[client.who]) for client in statements}


@cache
def attempt() -> tuple[Client, ...]:
    """Try each statement on v1 and after every fix, and return the list as it should be.

    Raises:
        WorkbookError: a statement does not work on v1, so it is nothing that the app sends.
    """
    statements = declared()
    outcomes: dict[str, list[tuple[int, str]]] = {client.id: [] for client in statements}
    database = v1()
    # One connection for all states, as a pool keeps one while migrations go by.
    with connected(database) as connection:
        reference = _answers(connection, statements)
        for client in statements:
            if reference[client.id].sqlstate:
                raise WorkbookError(
                    f"The statement {client.id} of data/clients.csv gets {reference[client.id].sqlstate} on v1; "
                    "list what v1's app can send."
                )
        for fix in fixes.all_fixes():
            database.apply(fix.number)
            for name, now in _answers(connection, statements).items():
                outcomes[name].append((fix.number, now.differs_from(reference[name])))
    return tuple(_judged(client, outcomes[client.id]) for client in statements)


def _judged(client: Client, outcomes: list[tuple[int, str]]) -> Client:
    """Fill in what was tried: the stretch of fixes that lasts to the end, and those that do not."""
    stretches = [list(stretch) for _, stretch in groupby(outcomes, key=lambda outcome: bool(outcome[1]))]
    failing = [stretch for stretch in stretches if stretch[0][1]]
    lasts = failing and failing[-1][-1] == outcomes[-1]
    (until, sqlstate) = failing.pop()[0] if lasts else ("", "")
    pauses = [f"{stretch[0][0]:02}-{stretch[-1][0]:02} {stretch[0][1]}" for stretch in failing]
    return replace(client, until=str(until), sqlstate=sqlstate, pauses="; ".join(pauses))


# --- The file and its table -----------------------------------------------------------------------------------


def written(statements: tuple[Client, ...]) -> str:
    """Write the list as the file has it."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows([getattr(client, column) for column in COLUMNS] for client in statements)
    return text.getvalue()


def refresh() -> None:
    """Try everything, and write into data/clients.csv since which fix each statement fails, and how."""
    FILE.write_text(written(attempt()))


def table() -> Table:
    """Return what the app has to change, in the order of the fixes: what it does, until when, what it gets, what to do."""
    broken = sorted((client for client in declared() if client.until), key=lambda client: int(client.until))
    rows = [(client.who, client.what, f"{int(client.until):02}", client.sqlstate, client.instead) for client in broken]
    return Table.of(rows, ["who", "what the app does", "until", "then", "instead"])


def kept() -> Table:
    """Return what the app may go on sending: who, what, and where it does not work between two fixes."""
    rows = [(client.who, client.what, client.pauses) for client in declared() if not client.until]
    return Table.of(rows, ["who", "what the app does", "but not"])
