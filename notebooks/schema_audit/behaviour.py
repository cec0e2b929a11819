"""What only trying shows: statements on rows of the audit's own, in a transaction that is rolled back."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from .catalog import NotSeen, Nowhere
from .rules.data_integrity import counters_of
from .rules.design import ORDER
from .shape import called
from .subject import Subject, listed_values, users_table


class Stage:
    """A learner of the audit's own with a session, in a transaction that ends in a rollback."""

    def __init__(self, connection: psycopg.Connection, db: Subject) -> None:
        """Sign the learner up and open the session.

        Raises:
            psycopg.Error: the database refuses; the caller rolls back.
        """
        self.connection, self.db = connection, db
        self.user, self.session = uuid4(), uuid4()
        self.sign_up(self.user, f"audit-{self.user.hex[:8]}@example.org")
        values = {"id": self.session, "user_id": self.user}
        if db.sessions.has("scenario_id") and "scenarios" in db.tables:
            values["scenario_id"] = self.value("select {c.id} from {scenarios} order by 1 limit 1")
        names = ", ".join(f"{{s.{name}}}" for name in values)
        self.run(f"insert into {{sessions}} ({names}) values ({', '.join(['%s'] * len(values))})", *values.values())

    def sign_up(self, user: UUID, email: str | None) -> None:
        """Add an account, as the platform does."""
        users = self.users()
        self.connection.execute(f"insert into {users} (id, email) values (%s, %s)", [user, email])

    def write(self, text: str) -> sql.Composed:
        """Fill the actual names into a statement: `{messages}` is a table, `{m.content}` one of its columns.

        Raises:
            NotSeen: the database has no such column.
        """
        names = {name: sql.Identifier(found.table.schema, found.table.name) for name, found in self.db.tables.items()}
        for letter, table in {"p": "profiles", "c": "scenarios", "s": "sessions", "m": "messages", "l": "logs"}.items():
            if table in self.db.tables:
                columns = self.db.tables[table].columns
                names |= {f"{letter}.{name}": sql.Identifier(actual) for name, actual in columns.items()}
        try:
            return sql.SQL(text).format(**names)
        except KeyError as missing:
            raise Nowhere(f"the database has nothing like {missing.args[0]}") from None

    def run(self, text: str, *values: object, learner: bool = False) -> psycopg.Cursor:
        """Send a statement as the backend, or as the learner."""
        role = "authenticated" if learner else "service_role"
        if role not in self.db.catalog.roles:
            raise NotSeen(f"there is no role {role}")
        self.connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        claims = f'{{"role": "{role}", "sub": "{self.user}"}}'
        self.connection.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        try:
            return self.connection.execute(self.write(text), values or None)
        finally:
            if self.connection.info.transaction_status != psycopg.pq.TransactionStatus.INERROR:
                self.connection.execute("reset role")

    def value(self, text: str, *values: object) -> Any:
        """Return the one value that a query of the administrator answers with."""
        rows = self.connection.execute(self.write(text), values or None).fetchall()
        if not rows:
            raise NotSeen("there is no row to try it with")
        return rows[0][0]

    def users(self) -> str:
        """Return what the platform's table of accounts is called."""
        ((name,),) = self.connection.execute("select %s::regclass::text", [users_table(self.db)]).fetchall()
        return name

    def accepts(self, text: str, *values: object, learner: bool = False) -> bool:
        """Try a statement and undo it; tell whether it was taken."""
        try:
            with self.connection.transaction(force_rollback=True):
                self.run(text, *values, learner=learner)
        except psycopg.Error:
            return False
        return True


Probe = Callable[[Stage], str | None]
"""Tries a flaw on the stage; returns what it saw of it in a few words, or None."""

PROBES: dict[int, Probe] = {}


def probe(number: int) -> Callable[[Probe], Probe]:
    """Enter the probe of an issue."""
    return lambda function: PROBES.setdefault(number, function)


@contextmanager
def stage(connection: psycopg.Connection, db: Subject) -> Iterator[Stage]:
    """Set a stage, and roll all of it back."""
    with connection.transaction(force_rollback=True):
        yield Stage(connection, db)


MESSAGE = "insert into {messages} ({m.session_id}, {m.role}, {m.chat_type}, {m.content}) values (%s, 'user', 'main', 'Ja, gern.')"
COMPLETE = "update {sessions} set {s.is_completed} = true where {s.id} = %s"


@probe(1)
def completion_without_moment(on: Stage) -> str | None:
    """Complete the session by update, and insert one that is completed already: both have their moment."""
    on.run(COMPLETE, on.session)
    if on.value("select {s.completed_at} is null from {sessions} where {s.id} = %s", on.session):
        return "a completed session without a moment"
    opened = "insert into {sessions} ({s.user_id}, {s.scenario_id}, {s.is_completed})"
    if not on.accepts(
        f"{opened} select {{s.user_id}}, {{s.scenario_id}}, true from {{sessions}} where {{s.id}} = %s", on.session
    ):
        return "an inserted completion is refused, not dated"
    open_with_moment = "update {sessions} set {s.completed_at} = null where {s.id} = %s"
    return "a completed session may lose its moment" if on.accepts(open_with_moment, on.session) else None


@probe(2)
def week_not_aligned(on: Stage) -> str | None:
    """Sign somebody up from New York: their week ends on a Monday, 00:00 UTC."""
    on.connection.execute("set local timezone = 'America/New_York'")
    user = uuid4()
    on.sign_up(user, f"audit-{user.hex[:8]}@example.org")
    is_aligned = (
        "select {p.week_reset_date} = (date_trunc('week', now() at time zone 'UTC') + interval '7 days') at time zone 'UTC'"
        " from {profiles} where {p.id} = %s"
    )
    return None if on.value(is_aligned, user) else "a week ends at another moment than Monday 00:00 UTC"


@probe(3)
def message_after_completion(on: Stage) -> str | None:
    """Complete the session and send a message; before, one must be taken."""
    if not on.accepts(MESSAGE, on.session, learner=True):
        return "a learner cannot write into an open session"
    on.run(COMPLETE, on.session)
    if on.accepts(MESSAGE, on.session, learner=True):
        return "a message enters a completed session"
    return "the backend's message enters a completed session" if on.accepts(MESSAGE, on.session) else None


@probe(8)
def impossible_times_and_counts(on: Stage) -> str | None:
    """Complete a session before it began, and give it -3 messages."""
    changes = {
        "an end before the start": "{s.is_completed} = true, {s.completed_at} = {s.started_at} - interval '1 minute'",
        "-3 main messages": "{s.message_count_main} = -3",
        "-3 helper messages": "{s.message_count_helper} = -3",
    }
    taken = [
        what
        for what, change in changes.items()
        if on.accepts(f"update {{sessions}} set {change} where {{s.id}} = %s", on.session)
    ]
    return f"accepted: {', '.join(taken)}" if taken else None


@probe(9)
def completion_not_counted(on: Stage) -> str | None:
    """Complete the session, twice: the profile counts one."""
    for _ in range(2):
        on.run(COMPLETE, on.session)
    counted = on.value("select {p.completed_scenario_count} from {profiles} where {p.id} = %s", on.user)
    return None if counted == 1 else f"one completion counts as {counted}"


@probe(10)
def week_counts_wrong(on: Stage) -> str | None:
    """Complete the session in a week whose reset was missed: the new week has one completion, also when it is deleted."""
    on.run(
        "update {profiles} set {p.current_week_completion_count} = 3, {p.week_reset_date} = now() - interval '3 days'"
        " where {p.id} = %s",
        on.user,
    )
    on.run(COMPLETE, on.session)
    count = "select {p.current_week_completion_count} from {profiles} where {p.id} = %s"
    if (counted := on.value(count, on.user)) != 1:
        return f"a week with one completion counts {counted}"
    on.run("delete from {sessions} where {s.id} = %s", on.session)
    return None if on.value(count, on.user) == 1 else "deleting a session frees a place in the week"


@probe(11)
def messages_not_counted(on: Stage) -> str | None:
    """Send one message of each kind that is taken, by each role: the session's counters grow by one together."""
    names = [f"{{s.{name}}}" for name in counters_of(on.db)]
    counted = f"select {' + '.join(names)} from {{sessions}} where {{s.id}} = %s"
    kinds = listed_values(on.db, on.db.messages, "chat_type") if on.db.messages.has("chat_type") else []
    send = MESSAGE if kinds else MESSAGE.replace(" {m.chat_type},", "").replace(" 'main',", "")
    for kind in kinds or [""]:
        for role in listed_values(on.db, on.db.messages, "role") or ["user"]:
            text = send.replace("'user'", f"'{role}'").replace("'main'", f"'{kind}'")
            with on.connection.transaction(force_rollback=True):
                before = on.value(counted, on.session)
                try:
                    on.run(text, on.session)
                except psycopg.Error:
                    continue
                if on.value(counted, on.session) != before + 1:
                    return f"a message of {role}{f' in {kind}' if kind else ''} is not counted"
    return None


@probe(15)
def message_too_long(on: Stage) -> str | None:
    """Send a million characters, and an ordinary sentence, which must be taken."""
    if on.accepts(MESSAGE.replace("'Ja, gern.'", "repeat('x', 1000000)"), on.session):
        return "a message of a million characters"
    return None if on.accepts(MESSAGE, on.session) else "an ordinary message is refused"


@probe(16)
def emoji_of_any_size(on: Stage) -> str | None:
    """Give a scenario no emoji, a novel, and two long real ones, which must be taken."""
    change = "update {scenarios} set {c.emoji} = %s where {c.id} = (select {c.id} from {scenarios} order by 1 limit 1)"
    if any(on.accepts(change, emoji) for emoji in ("", "🛒" * 1000)):
        return "an emoji column takes a novel or nothing"
    real = [emoji for emoji in ("👨‍👩‍👧‍👦", "🧑🏿‍❤️‍💋‍🧑🏿") if not on.accepts(change, emoji)]
    return f"real emoji are refused: {' '.join(real)}" if real else None


@probe(17)
def doubled_title(on: Stage) -> str | None:
    """Give all scenarios one title."""
    if on.value("select count(*) < 2 from {scenarios}"):
        raise NotSeen("there are less than two scenarios")
    return "two scenarios with one title" if on.accepts("update {scenarios} set {c.title} = 'Audit'") else None


@probe(25)
def profile_without_address(on: Stage) -> str | None:
    """Sign somebody up with no address, an empty one and a blank one."""
    taken = []
    for name, email in {"null": None, "empty": "", "blank": " \t"}.items():
        try:
            with on.connection.transaction(force_rollback=True):
                on.sign_up(uuid4(), email)
            taken.append(name)
        except psycopg.Error:
            continue
    return f"a profile with an address that is {' or '.join(taken)}" if taken else None


@probe(35)
def deletion_takes_history(on: Stage) -> str | None:
    """Delete the account: its messages stay."""
    on.run(MESSAGE, on.session)
    try:
        with on.connection.transaction():
            on.connection.execute(f"delete from {on.users()} where id = %s", [on.user])
    except psycopg.Error:
        return "an account with history cannot be deleted"
    left = on.value("select count(*) from {messages} where {m.session_id} = %s", on.session)
    return None if left else "deleting an account deletes its history"


@probe(37)
def message_is_rewritten(on: Stage) -> str | None:
    """Rewrite a message, say that another spoke, date it back; also while it is deleted."""
    on.run(MESSAGE, on.session)
    change = "update {messages} set {m.content} = 'Nein.' where {m.session_id} = %s"
    date = next((name for name in ("sent_at", "timestamp") if on.db.messages.has(name)), "created_at")
    others = ("{m.role} = 'assistant'", f"{{m.{date}}} = {{m.{date}}} - interval '1 day'")
    for text in (change, *(change.replace("{m.content} = 'Nein.'", other) for other in others)):
        if on.accepts(text, on.session):
            return "the service role rewrites a message"
    if on.db.messages.has("deleted_at") and on.accepts(change.replace(" where", ", {m.deleted_at} = now() where"), on.session):
        return "a message is rewritten while it is deleted"
    return None


@probe(38)
def scenarios_have_no_order(on: Stage) -> str | None:
    """Read whether the scenarios' places differ."""
    places = called(on.db.scenarios.table.columns, ORDER)
    if not places:
        raise Nowhere("scenarios have no column for a place")
    count = sql.SQL("select count(*) - count(distinct {}) from {{scenarios}}").format(sql.Identifier(places[0]))
    shared = on.value(count.as_string())
    return f"{shared} scenarios share a place in the order" if shared else None


@probe(42)
def addresses_differ(on: Stage) -> str | None:
    """Change the address where the learner signs in, and sign somebody up with the same one in capitals."""
    users = on.users()
    email = f"new-{on.user.hex[:8]}@example.org"
    on.connection.execute(f"update {users} set email = %s where id = %s", [email, on.user])
    if on.value("select {p.email}::text from {profiles} where {p.id} = %s", on.user) != email:
        return "the profile keeps the old address"
    try:
        with on.connection.transaction(force_rollback=True):
            on.sign_up(uuid4(), email.upper())
    except psycopg.Error:
        return None
    return "two living profiles share an address"


@probe(43)
def messages_without_limit(on: Stage) -> str | None:
    """Send two messages at once, and after a moment another one, which must be taken."""
    on.run(MESSAGE, on.session, learner=True)
    if on.accepts(MESSAGE, on.session, learner=True):
        return "a second message in the same moment"
    time.sleep(0.55)
    return None if on.accepts(MESSAGE, on.session, learner=True) else "half a second later a message is still refused"


@probe(45)
def failure_leaves_no_trace(on: Stage) -> str | None:
    """Let a clean-up job meet an error on the audit's own session: the log must say so."""
    job = next((job for job in on.db.jobs() if job.schema in on.db.home and "session" in job.name), None)
    if job is None:
        raise NotSeen("no job that cleans up sessions")
    on.run("update {sessions} set {s.last_activity_at} = now() - interval '8 days' where {s.id} = %s", on.session)
    on.connection.execute(
        "create function pg_temp.refuse() returns trigger language plpgsql as $$ begin raise exception 'the disk is full'; end $$"
    )
    on.connection.execute(
        on.write("create trigger audit_refuse before delete on {sessions} for each row execute function pg_temp.refuse()")
    )
    errors = "select count(*) from {logs} where {l.level} = 'error'"
    before = on.value(errors)
    try:
        with on.connection.transaction():
            on.run(f"select {job.schema}.{job.name}()")
    except psycopg.Error:
        return "a failed job leaves no trace"
    return None if on.value(errors) > before else "a failed job says that it is well"
