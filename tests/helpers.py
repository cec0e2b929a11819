"""Functions that several test files use."""

import json
import random
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection
from workbook import OWNER, Actor, Database
from workbook.database import OWNER_ROLE, Refusal, Transaction, assume, driver
from workbook.server import EmbeddedServer, libpq_url


def ask(own: EmbeddedServer, sql: str) -> object:
    """Send a statement to a test's own server and return the one value of its answer, if it has one."""
    with psycopg.connect(libpq_url(own.url), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


def listen(own: EmbeddedServer, password: str) -> int:
    """Let a server listen on loopback too, for the schema's owner with a password; return its port."""
    with socket.socket() as probe:
        # Below the ports that the system hands out to whoever connects to something.
        while True:
            port = random.randrange(20000, 32768)
            try:
                probe.bind(("127.0.0.1", port))
                break
            except OSError:
                continue
    ask(own, f"alter role {OWNER_ROLE} login password '{password}'")
    ask(own, "alter system set listen_addresses = '127.0.0.1'")
    ask(own, f"alter system set port = {port}")
    own.stop()
    (own.data / "pg_hba.conf").write_text(f"local all all trust\nhost all {OWNER_ROLE} 127.0.0.1/32 scram-sha-256\n")
    own.start()
    return port


def advice(cli: Path, port: int, database: str, password: str, folder: Path) -> list[dict]:
    """Return what Supabase's advisors say of a database on loopback, warnings and errors."""
    address = f"postgresql://{OWNER_ROLE}:{password}@127.0.0.1:{port}/{database}?sslmode=disable"
    done = subprocess.run(
        [cli, "db", "advisors", "--db-url", address, "--output-format", "json"],
        cwd=folder,
        env={"HOME": str(folder), "DO_NOT_TRACK": "1", "SUPABASE_TELEMETRY_DISABLED": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["results"]


def is_one_sentence(error: Exception) -> bool:
    """Tell whether an error is fit for the reader."""
    text = str(error)
    return "\n" not in text and text.endswith(".") and "Traceback" not in text


# Names instead of numbers throughout: the numbers of objects differ from one database to the next. Who was granted
# something first makes no difference, nor whether what PostgreSQL grants by itself is spelled out.
_SCHEMA = """
with here as (
    select oid, nspname from pg_namespace where nspname in ('public', 'private', 'auth', 'supabase_migrations')
)
select 'schema' as kind, nspname as name, concat_ws(
    ' ', nspowner::regrole, array(select unnest(coalesce(nspacl, acldefault('n', nspowner)))::text order by 1)
) as definition
from pg_namespace join here using (oid, nspname)
union all
select 'extension', extname, concat_ws(' ', extversion, extnamespace::regnamespace)
from pg_extension
union all
select
    concat('relation ', relkind), oid::regclass::text,
    concat_ws(
        ' ', relowner::regrole,
        array(
            select unnest(coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner)))::text
            order by 1
        ),
        reloptions, relpersistence, relrowsecurity, relforcerowsecurity, relispartition,
        pg_get_expr(relpartbound, oid), pg_get_partkeydef(oid),
        case when relkind in ('v', 'm') then pg_get_viewdef(oid) end
    )
from pg_class
where relnamespace in (select oid from here)
union all
select
    'column', format('%s %s', attrelid::regclass, attname),
    concat_ws(
        ' ', attnum, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attcollation::regcollation,
        attstorage, attacl, pg_get_expr(adbin, adrelid)
    )
from pg_attribute
join pg_class on pg_class.oid = attrelid
left join pg_attrdef on adrelid = attrelid and adnum = attnum
where relnamespace in (select oid from here) and attnum > 0 and not attisdropped
union all
select
    'constraint', format('%s %s', coalesce(nullif(conrelid, 0)::regclass::text, contypid::regtype::text), conname),
    concat_ws(' ', pg_get_constraintdef(oid), convalidated)
from pg_constraint
where connamespace in (select oid from here)
union all
select 'index', indexrelid::regclass::text, concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid)
from pg_index
join pg_class on pg_class.oid = indexrelid
where relnamespace in (select oid from here)
union all
select 'trigger', format('%s %s', tgrelid::regclass, tgname), concat_ws(' ', pg_get_triggerdef(pg_trigger.oid), tgenabled)
from pg_trigger
join pg_class on pg_class.oid = tgrelid
where relnamespace in (select oid from here) and not tgisinternal
union all
select 'policy', format('%s.%s %s', schemaname, tablename, policyname), pg_policies::text
from pg_policies
union all
select
    'function', oid::regprocedure::text,
    concat_ws(
        ' ', proowner::regrole, array(select unnest(coalesce(proacl, acldefault('f', proowner)))::text order by 1),
        pg_get_functiondef(oid)
    )
from pg_proc
where pronamespace in (select oid from here)
union all
select 'enum', enumtypid::regtype::text, string_agg(enumlabel, ' ' order by enumsortorder)
from pg_enum
group by enumtypid
union all
select
    'default privileges', concat_ws(' ', defaclrole::regrole, nullif(defaclnamespace, 0)::regnamespace, defaclobjtype),
    defaclacl::text
from pg_default_acl
union all
select 'comment', concat_ws(' ', object.type, object.identity), description
from pg_description
cross join pg_identify_object(classoid, objoid, objsubid) as object
where objoid >= 16384  -- made since initdb
order by 1, 2, 3
"""


def schema(database: Database) -> list[tuple[str, str, str]]:
    """Return all that makes up a database's schema, an object a row: kind, name, definition."""
    with database.connect() as connection:
        return connection.execute(_SCHEMA).fetchall()


Run = Callable[..., subprocess.CompletedProcess[str]]


class Rehearsal:
    """Actors who take turns in one transaction of a database that others use after them; each turn is as good as a transaction.

    All turns share one moment (now()), and locks that one of them takes stay until the end.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = driver(connection)
        self._turn = Transaction(connection)

    @contextmanager
    def turn(self, actor: Actor = OWNER, login: str | None = None) -> Iterator[Transaction]:
        """Act as somebody, and undo it on an error; a login is the role that the connection would be of."""
        self.connection.execute("reset session authorization; set local role none; reset all")
        with self.connection.transaction():
            if login:
                self.connection.execute(f"set local session authorization {login}")
            if login and actor.role == login:
                psycopg.ClientCursor(self.connection).execute('set local "request.jwt.claims" = %s', [actor.claims])
            else:
                assume(self.connection, actor)
            yield self._turn

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Undo whatever is done within."""
        with self.connection.transaction(force_rollback=True):
            yield

    def run(self, sql: str, actor: Actor = OWNER, **values: object) -> Any:
        """Send a statement; see `Transaction.run`."""
        with self.turn(actor) as turn:
            return turn.run(sql, **values)

    def value(self, sql: str, actor: Actor = OWNER, **values: object) -> Any:
        """Send a statement and return the one value that it answers with."""
        with self.turn(actor) as turn:
            return turn.value(sql, **values)

    def outcome(self, sql: str, actor: Actor = OWNER, login: str | None = None, **values: object) -> str:
        """Send a statement and return its command tag, its one value, or the SQLSTATE that it is refused with."""
        try:
            with self.turn(actor, login) as turn:
                answer = turn.run(sql, **values)
        except psycopg.Error as error:
            return error.sqlstate or str(error)
        return answer if isinstance(answer, str) else str(answer.iloc[0, 0]) if answer.size == 1 else f"{len(answer)} rows"

    def refused(self, sql: str, actor: Actor = OWNER, *, code: str, **values: object) -> Refusal:
        """Send a statement that must be refused with this SQLSTATE; see `Database.refused`."""
        try:
            with self.turn(actor) as turn:
                turn.run(sql, **values)
                raise AssertionError(f"the statement was accepted, and should be refused with {code}")
        except psycopg.Error as error:
            refusal = Refusal.of(error)
        assert refusal.sqlstate == code, f"expected {code}, got {refusal}"
        return refusal


@contextmanager
def rehearsal(database: Database) -> Iterator[Rehearsal]:
    """Let actors take turns in a transaction that is rolled back in the end, so that many tests may use one clone."""
    with database.engine.connect() as connection, driver(connection).transaction(force_rollback=True):
        yield Rehearsal(connection)
