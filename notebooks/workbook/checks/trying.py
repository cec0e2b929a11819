"""What the checks try things with: statements that are undone, a message, a look at indexes and columns."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg

from ..actors import ADMIN, SERVICE, Actor
from ..catalogue import registrar
from ..database import Database, Transaction

Check = Callable[[Database], str | None]
"""Tries the flaw on a database that it may change; returns what it saw of it in a few words, or None."""

CHECKS: dict[int, Check] = {}
check = registrar(CHECKS)


class _Undo(Exception):
    """Rolls a transaction back."""


@contextmanager
def undone(database: Database, actor: Actor) -> Iterator[Transaction]:
    """Act as somebody in a transaction that is rolled back at its end."""
    with suppress(_Undo), database.transaction(actor) as transaction:
        yield transaction
        raise _Undo


def accepts(database: Database, sql: str, actor: Actor = SERVICE, **values: object) -> bool:
    """Try a statement and undo it; return whether the database takes it."""
    try:
        with undone(database, actor) as transaction:
            transaction.run(sql, **values)
        return True
    except psycopg.Error:
        return False


def message(role: str = "user", chat: str = "main") -> str:
    """Return a message in Anna's open session, as a client sends it."""
    columns = "session_id, role, chat_type, content"
    return f"insert into public.messages ({columns}) values (:anna_open, '{role}', '{chat}', 'Ja, gern.')"


def assistant(database: Database) -> str:
    """Return the role that the character speaks in: v1 calls it scenario."""
    return "assistant" if accepts(database, message("assistant")) else "scenario"


def has_index(database: Database, table: str, *columns: str, method: str = "btree") -> bool:
    """Tell whether an index of a table begins with these columns."""
    return database.value(
        """
        select exists (
            select
            from pg_index
            join pg_class as index on index.oid = indexrelid
            join pg_am on pg_am.oid = index.relam
            where indrelid = cast(:table_name as regclass)
                and amname = :method
                and (
                    select array_agg(attname::text order by place)
                    from unnest(indkey::smallint[]) with ordinality as key (attnum, place)
                    join pg_attribute on attrelid = indrelid and pg_attribute.attnum = key.attnum
                    where place <= :width
                ) = :columns
        )""",
        ADMIN,
        table_name=f"public.{table}",
        method=method,
        width=len(columns),
        columns=list(columns),
    )


def has_column(database: Database, table: str, column: str) -> bool:
    """Tell whether a table has a column."""
    return database.value(
        "select exists (select from information_schema.columns"
        " where table_schema = 'public' and table_name = :table_name and column_name = :column_name)",
        ADMIN,
        table_name=table,
        column_name=column,
    )


def completion(database: Database) -> str:
    """Return how a client completes Anna's open session: in v1 it has to bring the moment along."""
    needs_moment = database.value("select to_regprocedure('private.set_session_completion()') is null")
    moment = ", completed_at = now()" if needs_moment else ""
    return f"update public.sessions set is_completed = true{moment} where id = :anna_open"
