"""Who may do what: data/privileges.csv against the catalog, and every cell of the matrix tried for real."""

from dataclasses import dataclass
from functools import cache

import psycopg

from .actors import ADMIN, ANNA, ANON, BEN, SERVICE, Actor
from .database import Database, assume, send
from .paths import DATA, read_csv
from .tables import Table

COMMANDS = ("select", "insert", "update", "delete", "truncate")


@dataclass(frozen=True)
class Privilege:
    """One thing that a role may do, and on which rows."""

    role: str
    object: str
    """A table, view, sequence or function of schema public; a function with its argument types."""
    command: str
    columns: tuple[str, ...]
    """Empty where it is all columns."""
    rows: str
    """own, active, all, or empty where there are none."""


@cache
def declared() -> tuple[Privilege, ...]:
    """Return what data/privileges.csv lists."""
    return tuple(
        Privilege(row["role"], row["object"], row["command"], tuple(row["columns"].split()), row["rows"])
        for row in read_csv(DATA / "privileges.csv")
    )


# What PostgreSQL grants by itself counts too, such as EXECUTE to everybody.
_HELD = """
with granted as (
    select relation.relname::text as object, acl.grantee, acl.privilege_type, null::text as column_name
    from pg_class as relation
    cross join aclexplode(coalesce(
        relation.relacl, acldefault(case relation.relkind when 'S' then 's' else 'r' end::"char", relation.relowner)
    )) as acl
    where relation.relnamespace = 'public'::regnamespace
        and relation.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        and acl.grantee <> relation.relowner
    union all
    select relation.relname, acl.grantee, acl.privilege_type, attribute.attname
    from pg_class as relation
    join pg_attribute as attribute on attribute.attrelid = relation.oid and not attribute.attisdropped
    cross join aclexplode(attribute.attacl) as acl
    where relation.relnamespace = 'public'::regnamespace
        and acl.grantee <> relation.relowner
    union all
    select
        function.proname || '(' || oidvectortypes(function.proargtypes) || ')',
        acl.grantee,
        acl.privilege_type,
        null
    from pg_proc as function
    cross join aclexplode(coalesce(function.proacl, acldefault('f', function.proowner))) as acl
    where function.pronamespace = 'public'::regnamespace
        and acl.grantee <> function.proowner
)
select
    coalesce(pg_roles.rolname, 'public') as role,
    replace(object, ', ', ',') as object,
    lower(privilege_type) as command,
    coalesce(column_name, '') as column_name
from granted
left join pg_roles on pg_roles.oid = grantee
order by 1, 2, 3, 4
"""


def compare(database: Database) -> Table:
    """Compare what the catalog grants in schema public with what data/privileges.csv lists.

    Returns:
        What only one of them has: role, object, command, column (empty for all), and `granted` or `declared`.
    """
    granted = set(database.run(_HELD, ADMIN).itertuples(index=False, name=None))
    wanted = {
        (privilege.role, privilege.object, privilege.command, column)
        for privilege in declared()
        for column in privilege.columns or ("",)
    }
    rows = [(*entry, "granted") for entry in granted - wanted] + [(*entry, "declared") for entry in wanted - granted]
    return Table.of(sorted(rows), ["role", "object", "command", "column", "only"])


# --- Tried for real -------------------------------------------------------------------------------------------

VISITORS: dict[str, Actor] = {"Anna, her own": ANNA, "Ben, Anna's": BEN, "visitor": ANON, "service role": SERVICE}
"""Who tries each statement, always on Anna's rows, and what the grid calls them."""

# One row of Anna's, or one that belongs to everybody, for each table; and the statements that touch it. Each attempt is
# set up by the administrator and rolled back.
_SETUP = {
    "event_types": "insert into public.event_types (code, description) values ('lesson_rated', 'For the matrix.')",
    "logs": "insert into public.logs (id, level, event_type, user_id) values (:reply, 'info', 'user_logout', :anna)",
    "message_chunks": "insert into public.message_chunks (message_id, seq, session_id, chat_type, content)"
    " values (:reply, 1, :anna_open, 'main', 'Vier')",
    "messages": "insert into public.messages (id, session_id, role, chat_type, content)"
    " values (:reply, :anna_open, 'assistant', 'main', 'Vier')",
    "messages_archive": "insert into public.messages_archive (id, session_id, user_id, role, chat_type, content, sent_at)"
    " values (:reply, :anna_open, :anna, 'assistant', 'main', 'Vier', now())",
    "profiles": "",
    "public_scenarios": "",
    "scenarios": "insert into public.scenarios (id, code, title, emoji, initial_message_main, initial_message_helper)"
    " values (900, 'matrix', 'For the matrix', '🧪', '', '')",
    "sessions": "",
}
_FIND = {
    "event_types": "code = 'lesson_rated'",
    "logs": "id = :reply",
    "message_chunks": "message_id = :reply",
    "messages": "id = :reply",
    "messages_archive": "id = :reply",
    "profiles": "id = :anna",
    "public_scenarios": "id = 1",
    "scenarios": "id = 900",
    "sessions": "id = :anna_open",
}
_CHANGE = {
    "event_types": "description = 'Changed.'",
    "logs": "level = 'warn'",
    "message_chunks": "created_at = now()",
    "messages": "deleted_at = now()",
    "messages_archive": "deleted_at = now()",
    "profiles": "current_week_completion_count = 0",
    "public_scenarios": "title = 'Changed'",
    "scenarios": "title = 'Changed'",
    "sessions": "is_completed = true",
}
_NEW = {
    "event_types": "(code, description) values ('matrix_tried', 'New.')",
    "logs": "(level, event_type, user_id) values ('info', 'user_logout', :anna)",
    "message_chunks": "(message_id, seq, session_id, chat_type, content) values (:reply, 2, :anna_open, 'main', 'fünfzig')",
    "messages": "(session_id, role, chat_type, content) values (:anna_open, 'user', 'main', 'Ja')",
    "messages_archive": "(id, session_id, user_id, role, chat_type, content, sent_at)"
    " values (:cem, :anna_open, :anna, 'user', 'main', 'Ja', now())",
    "profiles": "(id, email, week_reset_date) values (:cem, 'cem@example.org', now())",
    "public_scenarios": "(title, emoji) values ('New', '🧪')",
    "scenarios": "(code, title, emoji, initial_message_main, initial_message_helper) values ('new', 'New', '🧪', '', '')",
    "sessions": "(user_id, scenario_id) values (:anna, 2)",
}
TABLES = tuple(_FIND)


def _statement(table: str, command: str) -> str:
    match command:
        case "select":
            # A column that everybody who may read the table at all may read.
            return f"select {_FIND[table].split(' ')[0]} from public.{table} where {_FIND[table]}"
        case "insert":
            return f"insert into public.{table} {_NEW[table]}"
        case "update":
            return f"update public.{table} set {_CHANGE[table]} where {_FIND[table]}"
        case "delete":
            return f"delete from public.{table} where {_FIND[table]}"
        case _:
            return f"truncate public.{table} cascade"


def _try(connection: psycopg.Connection, table: str, command: str, actor: Actor) -> str:
    """Try one statement and undo it: allowed, no row (it runs and finds none) or refused."""
    with connection.transaction(force_rollback=True):
        send(connection, _SETUP[table], {})
        if (table, command) == ("sessions", "insert"):
            # A learner has one open session at the most.
            send(connection, "update public.sessions set is_completed = true where id = :anna_open", {})
        assume(connection, actor)
        try:
            with connection.transaction():
                cursor = send(connection, _statement(table, command), {})
                return "allowed" if command == "truncate" or cursor.rowcount else "no row"
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.WrongObjectType, psycopg.errors.FeatureNotSupported):
            return "refused"


def try_all(database: Database) -> Table:
    """Try every command on every table as everybody, on Anna's rows, each undone at once.

    Returns:
        One row for each attempt: table, command, visitor, outcome (allowed, no row, refused).
    """
    with database.connect() as connection:
        rows = [
            (table, command, visitor, _try(connection, table, command, actor))
            for table in TABLES
            for visitor, actor in VISITORS.items()
            for command in COMMANDS
        ]
    return Table.of(rows, ["table", "command", "visitor", "outcome"])


def expected() -> dict[tuple[str, str, str], bool]:
    """Return which attempts of `try_all` data/privileges.csv allows, by table, command and visitor."""
    may = {(privilege.role, privilege.object, privilege.command): privilege.rows for privilege in declared()}
    return {
        (table, command, visitor): rows is not None and (rows != "own" or actor is ANNA)
        for table in TABLES
        for visitor, actor in VISITORS.items()
        for command in COMMANDS
        for rows in [may.get((actor.role or "", table, command))]
    }
