"""What the tests of a rollout share: a v1 to begin with, clients that write into it, and how two databases are compared."""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import psycopg
from helpers import schema
from workbook import Database, rehearsal, rollout

TABLES = ("profiles", "scenarios", "sessions", "messages", "logs")

# Several pages of each table, with few rows on each, so that batches end in the middle of everything.
SPREAD = """
insert into auth.users (id, email)
select md5('user' || n)::uuid, format('p%s@example.org', n) from generate_series(1, 24) as n;
insert into public.scenarios (id, title, emoji, initial_message_main, initial_message_helper)
select n, format('Scenario %s', n), '🙂', repeat(md5(n::text), 60), 'Ask me.' from generate_series(20, 27) as n;
insert into public.sessions (id, user_id, scenario_id, is_completed, completed_at, created_at, started_at)
select md5('session' || n)::uuid, md5('user' || n % 24 + 1)::uuid, 20 + n % 6, n > 24,
    case when n > 24 then now() - interval '1 day' end, now() - interval '2 days', now() - interval '2 days'
from generate_series(1, 72) as n;
insert into public.messages (id, session_id, role, chat_type, content)
select md5('message' || n)::uuid, md5('session' || n % 72 + 1)::uuid, 'user', case when n % 3 = 0 then 'helper' else 'main' end,
    (select string_agg(md5(n::text || part), '') from generate_series(1, 40) as part)
from generate_series(1, 150) as n;
insert into public.logs (id, level, event_type, user_id, session_id, metadata)
select md5('log' || n)::uuid, 'info', 'user_logout', md5('user' || n % 24 + 1)::uuid, md5('session' || n % 72 + 1)::uuid,
    jsonb_build_object('much', (select string_agg(md5(n::text || part), '') from generate_series(1, 50) as part))
from generate_series(1, 60) as n;
"""

# {user}, {session}, {message}, {log} and {scenario} are ids of rows that are there, each another one; {new} is nobody's.
USERS = [
    "insert into auth.users (id, email) values ({new}, {address})",
    "insert into auth.users (id, email, is_sso_user) values ({new}, {address}, true);"
    "delete from public.profiles where id = {new}",
    "update auth.users set email = {address}, is_sso_user = true where id = {user}",
    "update auth.users set email = {address} where id = {user}",
    "update auth.users set email = null where id = {user}",
    "update auth.users set email = '  ' where id = {user}",
    "update auth.users set email = upper(email) where id = {user}",
    "update auth.users set deleted_at = now() where id = {user}",
    "update auth.users set deleted_at = null where deleted_at is not null",
    "update auth.users set is_sso_user = true where id in ({user}, {user2});"
    "update auth.users as mine set email = other.email from auth.users as other "
    "where (mine.id, other.id) in (({user}, {user2}), ({user2}, {user}))",
    "delete from auth.users where id = {user}",
    "delete from auth.users where id = {user}; insert into auth.users (id, email) values ({user}, {address})",
    "delete from public.profiles where id = {user}",
    "insert into public.profiles (id, email, week_reset_date) select id, {address}, {moment} from auth.users "
    "where not exists (select from public.profiles where profiles.id = users.id) limit 1",
    "update public.profiles set email = {address} where id = {user}",
    "update public.profiles set completed_scenario_count = {small}, current_week_completion_count = {small} where id = {user}",
    "update public.profiles set week_reset_date = {moment} where id = {user}",
    "update public.profiles set created_at = {moment} where id = {user}",
    "update public.profiles set id = users.id from auth.users where profiles.id = {user} "
    "and not exists (select from public.profiles as other where other.id = users.id)",
    "select public.reset_weekly_limits()",
]
SESSIONS = [
    "insert into public.sessions (id, user_id, scenario_id) values ({new}, {user}, {scenario})",
    "insert into public.sessions (id, user_id, scenario_id, is_completed, started_at, completed_at) "
    "values ({new}, {user}, {scenario}, true, {moment}, {moment})",
    "update public.sessions set is_completed = true, completed_at = now() where id = {session}",
    "update public.sessions set is_completed = true where id = {session}",
    "update public.sessions set is_completed = false where id = {session}",
    "update public.sessions set is_completed = false, completed_at = null, duration_seconds = null where id = {session}",
    "update public.sessions set is_completed = true, completed_at = now() where user_id = {user} and not is_completed;"
    "insert into public.sessions (id, user_id, scenario_id) values ({new}, {user}, {scenario})",
    "update public.sessions set is_completed = true, completed_at = now() where user_id = {user} and not is_completed;"
    "update public.sessions set is_completed = false where user_id = {user} and id = "
    "(select id from public.sessions where user_id = {user} order by md5(id::text || {salt}) limit 1)",
    "update public.sessions set user_id = {user} where id = {session}",
    "update public.sessions set user_id = {user} where user_id = {user2} and is_completed",
    "update public.sessions set user_id = {user} where user_id = {user2}; delete from public.profiles where id = {user2}",
    "update public.sessions set message_count_main = -{small}, message_count_helper = {small} where id = {session}",
    "update public.sessions set duration_seconds = {small} - 4 where id = {session}",
    "update public.sessions set started_at = {moment} where id = {session}",
    "update public.sessions set created_at = started_at where id = {session}",
    "update public.sessions set completed_at = {moment} where id = {session} and is_completed",
    "update public.sessions set last_activity_at = {moment} where id = {session}",
    "update public.sessions set scenario_id = {scenario} where id = {session}",
    "delete from public.sessions where id = {session}",
    "delete from public.sessions where id = {session};"
    "insert into public.sessions (id, user_id, scenario_id, is_completed) values ({session}, {user}, {scenario}, {flag})",
    "delete from public.messages where session_id = {session}; update public.sessions set id = {new} where id = {session}",
    "select public.delete_expired_sessions()",
    # Two learners' open sessions change places, and three go round.
    "update public.sessions set is_completed = true where user_id in ({user}, {user2}) and not is_completed;"
    "update public.sessions set user_id = case user_id when {user} then {user2}::uuid else {user}::uuid end "
    "where user_id in ({user}, {user2});"
    "update public.sessions set is_completed = false where id in "
    "(select distinct on (user_id) id from public.sessions where user_id in ({user}, {user2}) order by user_id, started_at desc)",
    "update public.sessions set is_completed = true where user_id in ({user}, {user2}, {user3}) and not is_completed;"
    "update public.sessions set user_id = case user_id when {user} then {user2}::uuid when {user2} then {user3}::uuid "
    "else {user}::uuid end where user_id in ({user}, {user2}, {user3});"
    "update public.sessions set is_completed = false where id in (select distinct on (user_id) id from public.sessions "
    "where user_id in ({user}, {user2}, {user3}) order by user_id, started_at desc)",
]
MESSAGES = [
    "insert into public.messages (id, session_id, role, chat_type, content) values ({new}, {session}, {role}, {chat}, {content})",
    "insert into public.messages (id, session_id, role, chat_type, content) "
    "select md5(n || {salt})::uuid, {session}, {role}, {chat}, {content} from generate_series(1, 5) as n",
    "delete from public.messages where id = {message}",
    "delete from public.messages where session_id = {session}",
    "delete from public.messages where id = {message}; insert into public.messages (id, session_id, role, chat_type, content) "
    "values ({message}, {session}, {role}, {chat}, {content})",
    "update public.messages set session_id = {session} where id = {message}",
    "update public.messages set session_id = {session} where session_id = {session2}",
    "update public.messages set chat_type = {chat} where id = {message}",
    "update public.messages set role = {role} where id = {message}",
    "update public.messages set content = {content} where id = {message}",
    "update public.messages set content = repeat('ü', 8001) where id = {message}",
    "update public.messages set timestamp = {moment} where id = {message}",
    "update public.messages set id = {new} where id = {message}",
    "update public.sessions set user_id = {user} where id = {session};"
    "update public.messages set session_id = {session} where id = {message}",
]
SCENARIOS = [
    "insert into public.scenarios (id, title, emoji, initial_message_main, initial_message_helper) "
    "values (100 + {small}, {title}, '🙂', 'Guten Tag!', 'Ask me.')",
    "update public.scenarios set title = {title} where id = {scenario}",
    "update public.scenarios set emoji = repeat('👩🏽', {small} * 4) where id = {scenario}",
    "update public.scenarios set is_active = not is_active where id = {scenario}",
    "delete from public.scenarios where id = {scenario}",
    "update public.scenarios set id = 200 + id where id = {scenario}",
    "update public.sessions set scenario_id = {scenario} where scenario_id = {scenario2};"
    "delete from public.scenarios where id = {scenario2}",
    "update public.scenarios as mine set title = other.title from public.scenarios as other "
    "where (mine.id, other.id) in (({scenario}, {scenario2}), ({scenario2}, {scenario}))",
]
LOGS = [
    "insert into public.logs (id, level, event_type, user_id, session_id, created_at) "
    "values ({new}, 'warn', 'unknown_error', {user}, {session}, {moment})",
    "update public.logs set created_at = {moment} where id = {log}",
    "update public.logs set created_at = now() + interval '900 days' where id = {log}",
    "update public.logs set user_id = {user}, session_id = {session} where id = {log}",
    "update public.logs set id = {new} where id = {log}",
    "delete from public.logs where id = {log}",
]
SELDOM = [
    "truncate public.messages",
    "truncate public.logs",
    "truncate public.sessions cascade",
    "truncate public.scenarios cascade",
    "truncate public.profiles cascade",
]
VACUUMS = [
    f"vacuum {how} public.{table}" for how in ("", "full") for table in ("profiles", "sessions", "messages", "logs", "scenarios")
]


class Writer:
    """Clients of v1 that write whatever v1 lets them, by the numbers of one seed."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self.chance = chance
        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute("set lock_timeout = '50ms'; set timezone = 'UTC'")
        self.is_open = False
        self.log: list[str] = []

    def one_of(self, rows: str) -> str:
        """Return the id of one of these rows, as SQL."""
        found = self.connection.execute(f"select id::text from {rows} order by id").fetchall()
        return f"'{self.chance.choice(found)[0]}'" if found else "null"

    def statement(self) -> str:
        """Make one up."""
        chance = self.chance
        # Whoever truncates keeps everybody waiting, the runner as well, so nobody takes long about it.
        weights = [6, 8, 5, 3, 2, 0 if self.is_open else 0.15]
        kind = chance.choices([USERS, SESSIONS, MESSAGES, SCENARIOS, LOGS, SELDOM], weights)[0]
        address = chance.choice(["p{}@example.org", "P{}@example.org", "{}@duplicate.invalid"]).format(chance.randrange(12))
        back = f"now() - interval '{chance.choice([0, 1, 3, 9, 40, 400, 2000])} days {chance.randrange(100)} minutes'"
        return chance.choice(kind).format(
            user=self.one_of("auth.users"), user2=self.one_of("public.profiles"), user3=self.one_of("public.profiles"),
            session=self.one_of("public.sessions"), session2=self.one_of("public.sessions"),
            message=self.one_of("public.messages"), log=self.one_of("public.logs"),
            scenario=self.one_of("public.scenarios"), scenario2=self.one_of("public.scenarios"),
            new=f"'{random.Random(chance.random()).getrandbits(128):032x}'", salt=f"'{chance.random()}'",
            address=f"'{chance.choice([address, address, address, ' '])}'", moment=f"({back})", small=chance.randrange(5),
            flag=chance.choice(["true", "false"]), role=f"'{chance.choice(['user', 'scenario', 'helper'])}'",
            chat=f"'{chance.choice(['main', 'helper'])}'", content=f"repeat('x', {chance.choice([1, 300, 8000, 8001])})",
            title=f"'{chance.choice(['A', 'A', 'B', 'Late Night Kebab', 'High School Party', 'Scenario 20', '!'])}'",
        )  # fmt: skip

    def write(self, count: int = 1) -> None:
        """Send some statements; v1 may refuse each."""
        for _ in range(count):
            try:
                with self.connection.transaction():
                    statement = self.statement()
                    self.connection.execute(statement)
                self.log.append(statement)
            except psycopg.Error:
                pass

    def act(self) -> None:
        """Write for a while, in transactions or not, vacuum, or leave a transaction open."""
        how = self.chance.random()
        if self.is_open:
            self.write(self.chance.randrange(3))
            if how < 0.4:
                self.is_open = False
                self.send("commit" if how < 0.3 else "rollback")
        elif how < 0.15:
            self.is_open = True
            self.send("begin")
            self.write(2)
        elif how < 0.2:
            self.send(self.chance.choice(VACUUMS))
        else:
            self.write(self.chance.randrange(1, 5))

    def send(self, statement: str) -> None:
        """Send a statement by itself."""
        with suppress(psycopg.Error):
            self.connection.execute(statement)
            self.log.append(statement)

    def close(self) -> None:
        """Commit and go."""
        if not self.connection.closed:
            self.connection.execute("commit")
            self.connection.close()


@contextmanager
def running(of: Database) -> Iterator[rollout.Runner]:
    """Be the one runner, and wait for nobody's lock for ever."""
    with rehearsal.runner(of) as runner:
        runner.connection.execute("set lock_timeout = '10s'")
        yield runner


# --- Comparing ----------------------------------------------------------------------------------------------------


def rows(of: Database, query: str) -> dict[tuple, dict[str, Any]]:
    """Return rows by their first three columns, each a dictionary."""
    with of.connect() as connection:
        cursor = connection.execute(query)
        names = [column.name for column in cursor.description or ()]
        found = [dict(zip(names, row, strict=True)) for row in cursor]
    keys = names[:3] if names[0] == "issue" else names[:2] if names[0] == "user_id" else names[:1]
    return {tuple(str(row[name]) for name in keys): row for row in found}


V2 = {
    "profiles": "select * from public.profiles",
    "scenarios": "select * from public.scenarios",
    "sessions": "select * from public.sessions",
    "messages": "select * from public.messages",
    "messages_archive": "select * from public.messages_archive",
    "message_chunks": "select * from public.message_chunks",
    "logs": "select * from public.logs",
    "event_types": "select code, description from public.event_types",
    "repairs": "select issue, table_name, row_id, before - 'updated_at' as before from private.repairs",
    "addresses_to_forget": "select user_id, email from private.addresses_to_forget",
}
# Where now() of the run stands.
MOMENTS = ("updated_at", "closed_at", "deleted_at", "created_at")


def are_of_the_run(one: Any, other: Any, since: datetime) -> bool:
    return one is not None and other is not None and one >= since and other >= since


def image(before: dict[str, Any], since: datetime) -> dict[str, Any]:
    """Return a before-image without what says now() of the run: a profile that a fix had made itself."""
    return {name: value for name, value in before.items() if name != "created_at" or datetime.fromisoformat(value) < since}


def differences(found: Database, expected: Database, since: datetime) -> list[str]:
    """Say where two databases with v2 differ, by row and column, so that a seed can be followed; moments of the run are alike."""
    told = []
    for table, query in V2.items():
        ours, theirs = rows(found, query), rows(expected, query)
        told += [f"{table} {key} is missing" for key in theirs.keys() - ours.keys()]
        told += [f"{table} {key} is one too many: {ours[key]}"[:600] for key in ours.keys() - theirs.keys()]
        for key in ours.keys() & theirs.keys():
            for row in (ours[key], theirs[key]):
                if table == "repairs":
                    row["before"] = image(row["before"], since)
            for name, value in theirs[key].items():
                mine = ours[key][name]
                if mine != value and not (name in MOMENTS and are_of_the_run(mine, value, since)):
                    told.append(f"{table} {key} {name}: {str(mine)[:300]} instead of {str(value)[:300]}")
    return told


def v2_schema(of: Database) -> list[tuple[str, str, str]]:
    """Return the schema without columns' numbers, and without what is only of one month of logs."""
    return [
        (kind, name, definition.split(" ", 1)[1] if kind == "column" else definition)
        for kind, name, definition in schema(of)
        # A server that died leaves temporary tables until autovacuum comes.
        if not re.search("logs_y20|pg_temp", name)
    ]


def v1_rows(of: Database) -> dict[str, dict[str, dict[str, Any]]]:
    return {table: {key[0]: row for key, row in rows(of, f"select * from public.{table}").items()} for table in TABLES}
