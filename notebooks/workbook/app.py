"""The app beside a rollout: learners, their backends, Auth and a report, in a process of their own.

`traffic.running` starts it. It needs nothing of the package, so that it starts at once and has a clock of its own. Commands come
in as lines of JSON and are answered by a line each; every request becomes a line of JSON in the output file as it ends.
"""

import argparse
import asyncio
import gc
import json
import random
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import md5
from secrets import token_hex
from typing import Any, TextIO

import psycopg
from psycopg import AsyncConnection, sql

Facts = list[dict[str, object]]
"""What a write leaves behind, as `traffic.Traffic.acknowledged` tells it."""
Rows = list[tuple[Any, ...]]
"""What a request that went well brought."""
Wrote = Callable[[Rows], Facts]
"""Tells from a request's rows what it leaves behind."""

THINK_S = (0.2, 0.6)
"""How long a learner waits between two requests, at random."""
BETWEEN_MESSAGES_S = 0.65
"""How long after the answer to a message a session's next one comes at the soonest: v2 admits one in half a second."""
AUTH_S = (0.4, 1.2)
REPORTS_S = (4.0, 8.0)
BACKENDS = 2
LONGEST = 8000
"""Characters of a message that v2 keeps."""
PATIENCE_S = 20
"""How long requests may take to end when the app stops."""

SEED = 1
"""What the clients choose by. Names and texts differ in each run all the same."""

NO_CONNECTION = "08006"
CANCELED = "57014"


# --- The app's statements, in v1's words and in v2's ----------------------------------------------------------


@dataclass(frozen=True)
class Words:
    """What clients of one version say. They find their tables by the search path, as the API sets it for each request."""

    version: str
    search_path: str
    sessions: str
    page: str
    profile: str
    start: str
    send: str
    complete: str
    abandon: str
    reply: str
    log: str
    edit: str
    scenario: str
    scenario_id: int
    """The scenario that backends of this version edit, so that no two edit the same."""


OLD = Words(
    version="old",
    # A schema that is not there is passed over in silence, so old clients speak to public before there is a compat_v1.
    search_path="compat_v1, public",
    sessions="""select sessions.id, sessions.is_completed, sessions.started_at, scenarios.title
        from sessions left join scenarios on scenarios.id = sessions.scenario_id
        where sessions.user_id = %s order by sessions.started_at desc limit 20""",
    page="""select id, role, content, timestamp from messages
        where session_id = %s and chat_type = %s order by timestamp limit 50""",
    profile="select id, email, completed_scenario_count, current_week_completion_count from profiles where id = %s",
    start="insert into sessions (user_id, scenario_id) values (%s, %s) returning id",
    send="""insert into messages (session_id, role, chat_type, content) values (%s, 'user', %s, %s)
        returning id, timestamp""",
    complete="update sessions set is_completed = true where id = %s returning id, is_completed",
    abandon="delete from sessions where id = %s returning id",
    reply="insert into messages (session_id, role, chat_type, content) values (%s, %s, %s, %s) returning id, timestamp",
    log="""insert into logs (level, event_type, user_id, session_id, metadata) values ('info', %s, %s, %s, %s)
        returning id""",
    edit="update sessions set last_activity_at = now() where id = %s returning last_activity_at",
    scenario="update scenarios set initial_message_helper = %s where id = %s returning id",
    scenario_id=1,
)

NEW = replace(
    OLD,
    version="new",
    search_path="public",
    page="""select id, role, content, sent_at from messages
        where session_id = %s and chat_type = %s order by sent_at, id limit 50""",
    send="""insert into messages (session_id, role, chat_type, content, client_message_id)
        values (%s, 'user', %s, %s, %s) on conflict (session_id, client_message_id) do nothing returning id, sent_at""",
    reply="insert into messages (session_id, role, chat_type, content) values (%s, %s, %s, %s) returning id, sent_at",
    scenario_id=2,
)

SENT_BEFORE = "select id, sent_at from public.messages where session_id = %s and client_message_id = %s"
CHUNK = """insert into public.message_chunks (message_id, seq, session_id, chat_type, content)
    values (%s, %s, %s, %s, %s) returning message_id"""
FINALIZE = "select public.finalize_message(%s)"
REPLY_WITH_TWO_TIMES = """insert into messages (session_id, role, chat_type, content, timestamp, created_at)
    values (%s, %s, %s, %s, now(), now() + interval '3 seconds') returning id, timestamp"""
# A slice of the keys: none of a report's statements is slow by itself, and one snapshot holds them together.
REPORT = """select chat_type, count(*), sum(char_length(content)) from messages
    where id >= %s and id <= %s group by chat_type"""
ESTABLISHED = """select profiles.id from public.profiles join auth.users on users.id = profiles.id
    where to_jsonb(profiles) ->> 'deleted_at' is null order by md5(concat(profiles.id, %s::text)) limit %s"""
SIGN_UP = "insert into auth.users (email) values (%s) returning id"
CHANGE_ADDRESS = "update auth.users set email = %s where id = %s returning id"
DELETE_USER = "delete from auth.users where id = %s returning id"

SAYINGS = (
    "Ich hätte gern ein Kilo Äpfel, bitte.",
    "Was kostet das zusammen? Ich habe nur einen großen Schein.",
    "What does „scharf“ mean here, and is it polite to ask?",
    "Ja, gern. Und noch etwas: Wann macht ihr heute zu? 🥙",
)


# --- Requests -------------------------------------------------------------------------------------------------


@dataclass
class User:
    """A learner's account."""

    id: str
    signed_up: bool = False
    """Whether the traffic has signed it up itself."""
    sessions: int = 0
    """How many sessions it has started in the traffic."""


@dataclass
class Session:
    """The open session of a learner."""

    id: str
    messages: int = 0
    said_at: float = -1e9
    """When the last message was answered, on this process's clock."""


@dataclass
class Job:
    """A reply that a learner waits for."""

    user: str
    session: str
    chat: str
    late: bool = False
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Client:
    """One connection, and the requests of whoever uses it."""

    def __init__(self, app: "App", who: str, role: str | None, search_path: str | None = None) -> None:
        self._app = app
        self._who = who
        self._role = role
        self._search_path = search_path
        self._connection: AsyncConnection | None = None
        self.is_unknown = False
        """Whether nobody can say if the last request was committed."""
        self.was_cut_off = False
        """Whether the last request lost its connection."""

    async def connect(self) -> AsyncConnection:
        """Return the connection, opened anew where it has broken."""
        if self._connection is None or self._connection.closed:
            self._connection = await AsyncConnection.connect(
                self._app.url,
                autocommit=True,
                connect_timeout=10,
                options="-c timezone=UTC",
                application_name=f"traffic: {self._who}",
            )
        return self._connection

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def request(
        self,
        what: str,
        statement: str,
        values: Sequence[object] = (),
        *,
        user: str | None = None,
        one: bool = True,
        wrote: Wrote | None = None,
        attempt: int = 1,
    ) -> Rows | None:
        """Send one statement in a transaction, as the API does, and write down what became of it.

        Args:
            what: the kind of statement.
            user: whose token it comes with.
            one: whether it must find one row; with another number the request is rolled back, and has failed.
            wrote: what it leaves behind.
            attempt: the how-manieth time it is sent.

        Returns:
            Its rows; None where it failed, or where it is unknown whether it was committed.
        """

        async def work(connection: AsyncConnection) -> Rows:
            rows = await (await connection.execute(statement, values)).fetchall()
            if one and len(rows) != 1:
                raise psycopg.errors.NoData(f"one row was expected, and {len(rows)} came")
            return rows

        return await self.measure(what, self._beginning("begin", user), work, wrote, attempt)

    async def measure(
        self,
        what: str,
        beginning: str,
        work: Callable[[AsyncConnection], Awaitable[Rows]],
        wrote: Wrote | None = None,
        attempt: int = 1,
    ) -> Rows | None:
        """Do some work in a transaction, and write down what became of it; see `request`."""
        rows: Rows = []
        facts: Facts = []
        sqlstate = message = None
        self.is_unknown = self.was_cut_off = committing = False
        start, clock = time.time(), time.perf_counter()
        try:
            connection = await self.connect()
            await connection.execute(beginning)
            rows = await work(connection)
            facts = wrote(rows) if wrote else []
            committing = True
            await connection.execute("commit")
        except psycopg.Error as error:
            sqlstate = error.sqlstate or NO_CONNECTION
            message = error.diag.message_primary or str(error).strip().partition("\n")[0]
            await self._roll_back()
            self.was_cut_off = self._connection is None
        except asyncio.CancelledError:
            sqlstate, message = CANCELED, "the app stopped before the answer came"
            if self._connection is not None:
                await self._connection.close()
                self._connection = None
            self.was_cut_off = True
            raise
        finally:
            latency_ms = 1000 * (time.perf_counter() - clock)
            self.is_unknown = committing and self.was_cut_off
            outcome = "acknowledged" if sqlstate is None else "unknown" if self.is_unknown else "failed"
            self._app.write(
                start=start,
                latency_ms=round(latency_ms, 3),
                who=self._who,
                what=what,
                sqlstate=sqlstate,
                message=message,
                attempt=attempt,
                outcome=outcome,
                wrote=facts if outcome != "failed" else [],
            )
        return rows if sqlstate is None else None

    async def report(self, seconds: float) -> None:
        """Read slices of all messages from one snapshot, for so many seconds."""
        until = time.perf_counter() + seconds

        async def work(connection: AsyncConnection) -> Rows:
            rows: Rows = []
            while time.perf_counter() < until and not self._app.stopping.is_set():
                digits = f"{self._app.random.randrange(256):02x}"
                bounds = [digits.ljust(32, "0"), digits.ljust(32, "f")]
                began = time.perf_counter()
                rows += await (await connection.execute(REPORT, bounds)).fetchall()
                # No more than half of a processor.
                await asyncio.sleep(max(0.02, time.perf_counter() - began))
            return rows

        await self.measure("report", self._beginning("begin isolation level repeatable read"), work)

    def _beginning(self, begin: str, user: str | None = None) -> str:
        parts = [begin]
        if self._search_path:
            parts.append(f"set local search_path = {self._search_path}")
        if self._role:
            claims = json.dumps({"role": self._role, **({"sub": user} if user else {})})
            parts.append(f'set local "request.jwt.claims" = {sql.Literal(claims).as_string(None)}')
            parts.append(f"set local role {self._role}")
        return "; ".join(parts)

    async def _roll_back(self) -> None:
        """End the transaction, or forget a connection that has broken."""
        connection = self._connection
        if connection is None:
            return
        with suppress(psycopg.Error):
            if not connection.closed:
                await connection.execute("rollback")
        if connection.closed:
            self._connection = None


# --- Who sends them -------------------------------------------------------------------------------------------


class Learner:
    """Somebody who uses the app: one client, one user at a time."""

    def __init__(self, app: "App", side: "Side") -> None:
        self._app = app
        self._side = side
        self._words = side.words
        self._client = Client(app, f"{side.words.version} learner", "authenticated", side.words.search_path)
        self._user: User | None = None
        self._session: Session | None = None
        self._known: list[str] = []

    async def run(self) -> None:
        """Use the app until its side stops."""
        with suppress(psycopg.Error):
            await self._client.connect()
        while not self._side.stopping.is_set():
            await self._think()
            # Not all at once, as a last request.
            if self._side.stopping.is_set():
                break
            if self._user is None:
                self._user = self._app.take_user()
            if self._user is None:
                continue
            if self._session is None:
                await self._find_session(self._user)
            else:
                await self._go_on(self._user, self._session)
        if self._user:
            self._app.leave(self._user)
        await self._client.close()

    async def _think(self) -> None:
        await pause(self._side.stopping, self._app.random.uniform(*THINK_S))

    async def _find_session(self, user: User) -> None:
        """Take up the session that is open, or start one."""
        listed = await self._client.request("list sessions", self._words.sessions, [user.id], user=user.id, one=False)
        if listed is None:
            return
        self._known = [str(row[0]) for row in listed]
        if still_open := [str(row[0]) for row in listed if not row[1]]:
            self._session = Session(still_open[0], said_at=time.perf_counter())
            return
        await self._think()
        if self._side.stopping.is_set():
            return
        scenario = self._app.random.randint(1, 3)
        wrote = fact("session", id=FIRST, user=user.id, scenario=scenario)
        started = await self._client.request("start session", self._words.start, [user.id, scenario], user=user.id, wrote=wrote)
        if started:
            self._session = Session(str(started[0][0]))
            user.sessions += 1

    async def _go_on(self, user: User, session: Session) -> None:
        chance = self._app.random.random()
        if chance < 0.3:
            which = self._app.random.choice([session.id, *self._known[:1]])
            chat = self._app.random.choice(["main", "main", "helper"])
            await self._client.request("read a page", self._words.page, [which, chat], user=user.id, one=False)
        elif chance < 0.4:
            await self._client.request("list sessions", self._words.sessions, [user.id], user=user.id, one=False)
        elif chance < 0.5:
            await self._client.request("read profile", self._words.profile, [user.id], user=user.id)
        elif session.messages < 2 or chance < 0.85:
            await self._say(user, session)
        elif chance < 0.98:
            await self._complete(user, session)
        else:
            await self._abandon(user, session)

    async def _say(self, user: User, session: Session) -> None:
        """Send a message, and wait for the reply."""
        await asyncio.sleep(max(0.0, session.said_at + BETWEEN_MESSAGES_S - time.perf_counter()))
        chat = self._app.random.choice(["main", "main", "main", "helper"])
        content = self._app.say()
        values: list[object] = [session.id, chat, content]
        wrote = stored(session.id, "user", chat, content)
        if self._words is NEW:
            sent = await self._send_once(user, session, values, wrote)
        else:
            sent = await self._client.request("send message", self._words.send, values, user=user.id, wrote=wrote)
        session.said_at = time.perf_counter()
        if sent is None:
            # It may be over, or somebody else's by now.
            self._session = None
            return
        session.messages += 1
        await self._side.ask(Job(user.id, session.id, chat))

    async def _send_once(self, user: User, session: Session, values: list[object], wrote: Wrote) -> Rows | None:
        """Send a message under an id, and again where its answer was lost: v2 stores it once."""
        client_message_id = str(uuid.UUID(int=self._app.random.getrandbits(128), version=4))
        known = [session.id, client_message_id]
        for attempt in (1, 2):
            sent = await self._client.request(
                "send message",
                self._words.send,
                [*values, client_message_id],
                user=user.id,
                one=False,
                wrote=lambda rows: wrote(rows) if rows else [],
                attempt=attempt,
            )
            if sent == []:
                return await self._client.request("find message", SENT_BEFORE, known, user=user.id, wrote=wrote)
            if sent or not self._client.is_unknown:
                return sent
            await pause(self._side.stopping, BETWEEN_MESSAGES_S)
        return None

    async def _complete(self, user: User, session: Session) -> None:
        wrote = fact("completion", session=session.id, user=user.id)
        done = await self._client.request("complete session", self._words.complete, [session.id], user=user.id, wrote=wrote)
        self._session = None
        if done and self._app.dirty and self._words is OLD and self._app.random.random() < 0.2:
            await self._side.ask(Job(user.id, session.id, "main", late=True))
        self._change_user(user)

    async def _abandon(self, user: User, session: Session) -> None:
        wrote = fact("deletion", session=session.id)
        await self._client.request("delete session", self._words.abandon, [session.id], user=user.id, wrote=wrote)
        self._session = None
        self._change_user(user)

    def _change_user(self, user: User) -> None:
        """Let somebody else have the device, now and then."""
        if self._app.random.random() < 0.4:
            self._app.leave(user)
            self._user = None


class Backend:
    """The app's server: it stores replies and logs, and edits a session or a scenario now and then."""

    def __init__(self, app: "App", side: "Side") -> None:
        self._app = app
        self._side = side
        self._words = side.words
        self._client = Client(app, "backend", "service_role", side.words.search_path)

    async def run(self) -> None:
        """Answer until nobody asks any more."""
        with suppress(psycopg.Error):
            await self._client.connect()
        while (job := await self._side.jobs.get()) is not None:
            try:
                await self._answer(job)
            finally:
                if not job.done.done():
                    job.done.set_result(None)
        await self._client.close()

    async def _answer(self, job: Job) -> None:
        if self._app.dirty and self._words is OLD and (job.late or self._app.random.random() < 0.2):
            await self._reply_as_v1_lets(job)
        elif job.late:
            return
        elif self._words is NEW and self._app.random.random() < 0.25:
            await self._stream(job)
        else:
            role = ("scenario" if job.chat == "main" else "helper") if self._words is OLD else "assistant"
            await self._store(job, self._words.reply, role, job.chat, self._app.say())
        await self._log(job)
        if self._app.random.random() < 0.1:
            await self._client.request(
                "edit session",
                self._words.edit,
                [job.session],
                wrote=lambda rows: [{"kind": "activity", "session": job.session, "at": rows[0][0].isoformat()}],
            )
        if self._app.random.random() < 0.03:
            scenario, text = self._words.scenario_id, f"Ask me what a word means. ({self._app.token()})"
            wrote = fact("scenario", id=scenario, text=text)
            await self._client.request("edit scenario", self._words.scenario, [text, scenario], wrote=wrote)

    async def _store(self, job: Job, statement: str, role: str, chat: str, content: str) -> None:
        wrote = stored(job.session, role, chat, content)
        await self._client.request("store reply", statement, [job.session, role, chat, content], wrote=wrote)

    async def _reply_as_v1_lets(self, job: Job) -> None:
        """Store what v2 forbids: the other chat's role, too long a text, two different times, or a reply that comes too late."""
        kind = "late" if job.late else self._app.random.choice(["role", "length", "times"])
        role = "scenario" if (job.chat == "main") != (kind == "role") else "helper"
        content = self._app.say() + (" Ä" * LONGEST if kind == "length" else "")
        self._app.dirty_requests += 1
        try:
            statement = REPLY_WITH_TWO_TIMES if kind == "times" else self._words.reply
            await self._store(job, statement, role, job.chat, content)
        finally:
            self._app.dirty_requests -= 1

    async def _stream(self, job: Job) -> None:
        """Store a reply fragment by fragment."""
        message = str(uuid.UUID(int=self._app.random.getrandbits(128), version=4))
        parts = [self._app.say(), " Gern geschehen."]
        for seq, part in enumerate(parts, start=1):
            written = await self._client.request("store fragment", CHUNK, [message, seq, job.session, job.chat, part])
            if written is None:
                return
        whole = message_fact(message, job.session, "assistant", job.chat, "".join(parts), None)
        await self._client.request("finalize reply", FINALIZE, [message], wrote=lambda _: [whole])

    async def _log(self, job: Job) -> None:
        token, event = self._app.token(), "api_call_completed"
        values = [event, job.user, job.session, json.dumps({"token": token, "attempt": 1})]
        wrote = fact("log", id=FIRST, token=token, event=event)
        await self._client.request("write log", self._words.log, values, wrote=wrote)


class Auth:
    """The platform's accounts: sign-ups, changes of address, deletions."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self._accounts = Client(app, "sign-up", None)
        self._deletions = Client(app, "deletion", None)

    async def run(self) -> None:
        """Look after accounts until the app stops."""
        while not self._app.stopping.is_set():
            await pause(self._app.stopping, self._app.random.uniform(*AUTH_S))
            if self._app.stopping.is_set():
                break
            chance = self._app.random.random()
            if chance < 0.5 and len(self._app.fresh) < 8:
                await self.sign_up()
            elif chance < 0.75 and self._app.signed_up:
                await self._change_address(self._app.random.choice(self._app.signed_up))
            elif user := self._app.take_user_to_delete():
                await self._delete(user)
        for client in (self._accounts, self._deletions):
            await client.close()

    async def sign_up(self) -> None:
        """Sign a new user up."""
        email = f"{self._app.token()}@traffic.example"
        rows = await self._accounts.request("sign up", SIGN_UP, [email], wrote=fact("sign-up", id=FIRST, email=email))
        if rows:
            user = User(str(rows[0][0]), signed_up=True)
            self._app.fresh.append(user)
            self._app.signed_up.append(user)

    async def _change_address(self, user: User) -> None:
        email = f"{self._app.token()}@traffic.example"
        wrote = fact("address", id=user.id, email=email)
        await self._accounts.request("change address", CHANGE_ADDRESS, [email, user.id], wrote=wrote)

    async def _delete(self, user: User) -> None:
        # Whoever was deleted, or may have been, never comes back.
        self._app.signed_up.remove(user)
        await self._deletions.request("delete user", DELETE_USER, [user.id], wrote=fact("user deletion", id=user.id))


class Side:
    """The learners and backends of one version, who come and go together."""

    def __init__(self, app: "App", words: Words, learners: int) -> None:
        self.words = words
        self.stopping = asyncio.Event()
        self.jobs: asyncio.Queue[Job | None] = asyncio.Queue()
        self._learners = [asyncio.create_task(Learner(app, self).run()) for _ in range(learners)]
        self._backends = [asyncio.create_task(Backend(app, self).run()) for _ in range(BACKENDS)]

    async def ask(self, job: Job) -> None:
        """Ask the backend for a reply, and wait for it."""
        await self.jobs.put(job)
        await job.done

    async def stop(self) -> None:
        """End when each has the answer to what they have asked.

        Raises:
            TimeoutError: some have not after `PATIENCE_S`; their requests are given up.
            Exception: whatever made a client fail that no server had said.
        """
        self.stopping.set()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*self._learners)
                for _ in self._backends:
                    await self.jobs.put(None)
                await asyncio.gather(*self._backends)
        finally:
            for task in (*self._learners, *self._backends):
                task.cancel()
            await asyncio.gather(*self._learners, *self._backends, return_exceptions=True)

    def failed(self) -> BaseException | None:
        """Return what ended one of the clients before its time, if anything has."""
        return failure([*self._learners, *self._backends])


class App:
    """All clients, and what they have in common."""

    def __init__(self, options: argparse.Namespace, output: TextIO) -> None:
        self.url: str = options.url
        self.random = random.Random(SEED)
        self.dirty: bool = options.dirty
        self.dirty_requests = 0
        """How many requests with what v2 forbids are under way."""
        self.stopping = asyncio.Event()
        self.fresh: list[User] = []
        self.signed_up: list[User] = []
        """Those of the traffic's own sign-ups who have not been deleted."""
        self._resting: list[User] = []
        self._left: list[User] = []
        self._options = options
        self._output = output
        self._run = token_hex(4)
        self._tokens = 0
        self._sides: dict[str, Side] = {}
        self._auth = Auth(self)
        self._others: list[asyncio.Task[None]] = []

    # What the clients need.

    def write(self, **request: object) -> None:
        """Write down a request that has ended."""
        self._output.write(json.dumps(request) + "\n")

    def token(self) -> str:
        """Return a text that no other row of any run has."""
        self._tokens += 1
        return f"{self._run}-{self._tokens}"

    def say(self) -> str:
        """Return the text of a message, which is like no other."""
        return f"{self.random.choice(SAYINGS)} ({self.token()})"

    def take_user(self) -> User | None:
        """Return a user for a learner's device; None as long as all are in use."""
        pools = [pool for pool in (self.fresh, self._resting, self._left) if pool]
        if not pools:
            return None
        # Newcomers first, half of the time.
        pool = pools[0] if self.random.random() < 0.5 else self.random.choice(pools)
        return pool.pop(self.random.randrange(len(pool)))

    def leave(self, user: User) -> None:
        """Take a user back whose device another one gets."""
        (self._left if user.signed_up else self._resting).append(user)

    def take_user_to_delete(self) -> User | None:
        """Return a user of the traffic's own whom nobody is using, with few sessions: v1 reads all logs for each of them."""
        spare = [user for user in self._left if user.sessions <= 1] or self.fresh[3:]
        if not spare:
            return None
        user = self.random.choice(spare)
        (self._left if user in self._left else self.fresh).remove(user)
        return user

    # What the commands ask for.

    async def begin(self) -> None:
        """Find users, and let everybody begin."""
        half = (self._options.learners + 1) // 2
        wanted = self._options.learners + 4
        async with await AsyncConnection.connect(self.url, autocommit=True) as connection:
            found = await (await connection.execute(ESTABLISHED, [str(SEED), wanted])).fetchall()
        self._resting = [User(str(row[0])) for row in found]
        while len(self._resting) + len(self.fresh) < wanted:
            before = len(self.fresh)
            await self._auth.sign_up()
            if len(self.fresh) == before:
                raise RuntimeError("nobody can sign up")
        self._halves = {"old": half, "new": max(1, self._options.learners - half)}
        # What is here now stays, and is not looked through again.
        gc.collect()
        gc.freeze()
        gc.disable()
        if self._options.old:
            await self.turn("old", True)
        if self._options.new:
            await self.turn("new", True)
        self._others = [asyncio.create_task(self._auth.run())]
        if self._options.report:
            self._others.append(asyncio.create_task(self._report()))

    async def turn(self, version: str, on: bool) -> None:
        """Let the clients of a version begin, or end."""
        if on and version not in self._sides:
            self._sides[version] = Side(self, {"old": OLD, "new": NEW}[version], self._halves[version])
        elif not on and version in self._sides:
            with suppress(TimeoutError):
                await self._sides.pop(version).stop()

    async def stay_clean(self) -> None:
        """Store nothing more that v2 forbids, and wait for what is under way."""
        self.dirty = False
        while self.dirty_requests:
            await asyncio.sleep(0.005)

    async def end(self) -> None:
        """Let all requests end, and stop."""
        self.stopping.set()
        try:
            for version in list(self._sides):
                await self.turn(version, False)
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await asyncio.gather(*self._others)
        finally:
            for task in self._others:
                task.cancel()
            await asyncio.gather(*self._others, return_exceptions=True)

    def failed(self) -> BaseException | None:
        """Return what ended one of the clients before its time, if anything has."""
        return failure(self._others) or next(filter(None, (side.failed() for side in self._sides.values())), None)

    async def _report(self) -> None:
        client = Client(self, "report", "service_role", OLD.search_path)
        while not self.stopping.is_set():
            await pause(self.stopping, self.random.uniform(*REPORTS_S) / 4)
            if not self.stopping.is_set():
                await client.report(self._options.report)
            await pause(self.stopping, self.random.uniform(*REPORTS_S))
        await client.close()


FIRST = object()
"""Stands in a fact for the first value of the request's row: the id of what it made."""


def fact(kind: str, **facts: object) -> Wrote:
    """Return what tells that a write of a kind has been."""
    return lambda rows: [{"kind": kind} | {name: str(rows[0][0]) if value is FIRST else value for name, value in facts.items()}]


def stored(session: str, role: str, chat: str, content: str) -> Wrote:
    """Return what tells from a row with id and time that a message was stored."""

    def wrote(rows: Rows) -> Facts:
        ((message, at),) = rows
        return [message_fact(str(message), session, role, chat, content, at.isoformat())]

    return wrote


def message_fact(message: str, session: str, role: str, chat: str, content: str, at: str | None) -> dict[str, object]:
    """Return what has to be seen of a message in the end."""
    whole, cut = (md5(text.encode()).hexdigest() for text in (content, content[:LONGEST]))
    return {
        "kind": "message",
        "id": message,
        "session": session,
        "role": role,
        "chat": chat,
        "whole": whole,
        "cut": cut,
        "at": at,
    }


def failure(tasks: Sequence[asyncio.Task[None]]) -> BaseException | None:
    """Return what the first of the tasks failed with, if one has."""
    return next((task.exception() for task in tasks if task.done() and not task.cancelled() and task.exception()), None)


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Wait so many seconds, or until somebody says stop."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()


# --- The process ----------------------------------------------------------------------------------------------


async def serve(options: argparse.Namespace) -> None:
    """Run the app as the commands on standard input say, until one says stop or there is nobody to say it."""
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    # Each line goes out by itself: what ended before this process does is known.
    with open(options.output, "w", buffering=1) as output:
        app = App(options, output)
        try:
            await app.begin()
            print(json.dumps({"done": "begin"}), flush=True)
            while line := await commands.readline():
                command = json.loads(line)
                if failed := app.failed():
                    raise failed
                match command["do"]:
                    case "stay clean":
                        await app.stay_clean()
                    case "turn":
                        await app.turn(command["version"], command["on"])
                    case "stop":
                        break
                print(json.dumps({"done": command["do"]}), flush=True)
        finally:
            await app.end()


def main() -> None:
    """Read the arguments, and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--url", required=True, help="login of a superuser, in words of libpq")
    parser.add_argument("--learners", type=int, default=12)
    parser.add_argument("--output", required=True, help="file for the requests, a line of JSON each")
    parser.add_argument("--report", type=float, default=3.0, help="seconds that the report takes; 0 for none")
    parser.add_argument("--dirty", action="store_true", help="store what v2 forbids, until told to stay clean")
    parser.add_argument("--old", action="store_true", help="begin with old clients")
    parser.add_argument("--new", action="store_true", help="begin with new clients")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
