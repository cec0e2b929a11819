"""Traffic beside a rollout: what its clients felt, and whether all that was acknowledged to them is there in the end.

The clients are those of `app.py`, in a process of their own. This module starts and stops it, and compares its ledger with the
database, whether v1 or v2 stands there.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg

from .database import Database
from .errors import WorkbookError
from .paths import NOTEBOOKS
from .tables import Table

BUCKET_S = 0.1
"""Width of a point of the timeline."""
PATIENCE_S = 100
"""How long the process may take to end; its clients have 20 s a side."""
REPORT = "report"

_REQUEST = ["start", "latency_ms", "who", "what", "sqlstate", "message", "attempt"]


class Traffic:
    """The clients of an app, while they work and afterwards."""

    def __init__(self, process: subprocess.Popen[str], output: Path, errors: Path) -> None:
        self.phases: list[tuple[str, float]] = [("before", 0.0)]
        """Each phase and when it began, in seconds since the epoch; the first one has no beginning."""
        self._process = process
        self._output = output
        self._errors = errors
        self._lines: list[dict[str, Any]] | None = None
        self._await()

    def phase(self, name: str) -> None:
        """Say that a phase begins. From "switch" on the clients store nothing more that v2 forbids; it returns when that is so.

        Raises:
            WorkbookError: the clients have stopped.
        """
        if self._lines is not None:
            raise self._failure()
        if name == "switch":
            self._tell({"do": "stay clean"})
        self.phases.append((name, time.time()))

    def new_clients(self, on: bool) -> None:
        """Let the clients that speak v2's words begin, or end once each has its answer.

        Raises:
            WorkbookError: the clients have stopped.
        """
        self._tell({"do": "turn", "version": "new", "on": on})

    def stop(self) -> None:
        """End when each client has its answer, or after 20 s without one. A second call does nothing.

        Raises:
            WorkbookError: a client has failed in a way that no server had said.
        """
        if self._lines is not None:
            return
        try:
            if self._process.stdin and self._process.poll() is None:
                try:
                    self._process.stdin.write(json.dumps({"do": "stop"}) + "\n")
                    self._process.stdin.close()
                except BrokenPipeError:
                    pass
            self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._lines = self._read()
        if self._process.returncode:
            raise self._failure()

    @property
    def requests(self) -> pd.DataFrame:
        """What was sent, in the order in which it ended, also while the clients still work.

        Returns:
            A row a request: `start` (seconds since the epoch), `latency_ms`, `who` ("old learner", "new learner", "backend",
            "sign-up", "deletion" or "report"), `what` (the kind of statement), `sqlstate` and `message` (null where it went
            well), `attempt` (2 where a message was sent again), and `phase`, the one in which it spent most of its time.
        """
        frame = pd.DataFrame(self._now(), columns=_REQUEST)
        frame["phase"] = _phases(frame, self.phases)
        return frame

    @property
    def acknowledged(self) -> pd.DataFrame:
        """What was written, in the order in which it was acknowledged.

        Returns:
            A row a write: `at` (seconds since the epoch), `who`, `kind` ("message", "session", "completion", "deletion",
            "activity", "log", "sign-up", "address", "user deletion" or "scenario"), `outcome` ("acknowledged", or "unknown" where
            the connection broke during the commit) and `fact`, a dictionary of what has to be seen of it.
        """
        return pd.DataFrame(
            [
                (line["start"] + line["latency_ms"] / 1000, line["who"], fact["kind"], line["outcome"], fact)
                for line in self._now()
                for fact in line["wrote"]
            ],
            columns=["at", "who", "kind", "outcome", "fact"],
        )

    def lost(self, database: Database) -> list[str]:
        """Compare what was acknowledged with the database, v1 or v2, whichever stands there now.

        A later change that was acknowledged counts instead of an earlier one; of an unknown one, both outcomes are fine.

        Returns:
            A sentence for each row that is missing, doubled or different; empty where nothing is.

        Raises:
            WorkbookError: the clients still work, or the database is neither v1 nor v2.
        """
        if self._lines is None:
            raise WorkbookError("The clients still work: ask what is lost after they have stopped.")
        ledger = _Ledger(was_v2=any(name == "switch" for name, _ in self.phases))
        for write in self.acknowledged.itertuples():
            ledger.note(write.fact, write.outcome == "acknowledged")
        with database.connect() as connection:
            return ledger.compare(connection)

    def _now(self) -> list[dict[str, Any]]:
        return self._read() if self._lines is None else self._lines

    def _read(self) -> list[dict[str, Any]]:
        # The last line may be on its way.
        return [json.loads(line) for line in self._output.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def _tell(self, command: dict[str, object]) -> None:
        try:
            assert self._process.stdin
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise self._failure() from None
        self._await()

    def _await(self) -> None:
        """Wait until the clients have done as told."""
        assert self._process.stdout
        if not self._process.stdout.readline():
            self._process.wait(PATIENCE_S)
            raise self._failure()

    def _failure(self) -> WorkbookError:
        # Its folder goes after the clients.
        said = self._errors.read_text().strip().splitlines() if self._errors.exists() else []
        return WorkbookError(f"The clients have stopped: {said[-1] if said else 'they were told to'}.")


@contextmanager
def running(
    database: Database,
    *,
    learners: int = 12,
    dirty: bool = False,
    report_s: float = 3.0,
    old: bool = True,
    new: bool = False,
) -> Iterator[Traffic]:
    """Let an app's clients work beside what the block does; at its end they stop.

    Args:
        learners: how many there are, half of them old and half of them new clients.
        dirty: whether old backends store what v2 forbids, until the phase "switch".
        report_s: how long a report keeps its snapshot, in seconds; 0 for no report.
        old: whether old clients work from the beginning.
        new: whether new ones do.

    Raises:
        WorkbookError: the clients cannot begin, or one of them has failed in a way that no server had said.
    """
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder) / "requests", Path(folder) / "errors"
        output.touch()
        command = [sys.executable, "-P", str(NOTEBOOKS / "workbook" / "app.py"), f"--url={database.url}", f"--output={output}"]
        command += [f"--learners={learners}", f"--report={report_s}"]
        command += [f"--{name}" for name, chosen in (("dirty", dirty), ("old", old), ("new", new)) if chosen]
        with errors.open("w") as written:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=written, text=True)
        try:
            clients = Traffic(process, output, errors)
            try:
                yield clients
            finally:
                clients.stop()
        finally:
            process.kill()
            process.wait()


# --- Figures --------------------------------------------------------------------------------------------------


def _phases(requests: pd.DataFrame, phases: list[tuple[str, float]]) -> list[str]:
    """Return the phase in which each request spent most of its time."""
    starts = requests["start"].to_numpy(float)
    # Whatever began at a moment belongs there, though it took no time.
    ends = starts + np.maximum(requests["latency_ms"].to_numpy(float), 1e-3) / 1000
    edges = [*(began for _, began in phases), np.inf]
    overlaps = [np.minimum(ends, until) - np.maximum(starts, since) for since, until in zip(edges, edges[1:], strict=False)]
    names = [name for name, _ in phases]
    return [names[place] for place in np.argmax(overlaps, axis=0)] if len(requests) else []


def summary(requests: pd.DataFrame) -> Table:
    """Return what clients felt, a row a phase, reports left out.

    Args:
        requests: `Traffic.requests`.

    Returns:
        The phase, how many requests it had, how many failed, and their median, 99th percentile and longest, in milliseconds.
    """
    felt = requests[requests["who"] != REPORT]
    rows = [
        (
            phase,
            len(of_phase),
            int(of_phase["sqlstate"].notna().sum()),
            *(round(float(of_phase["latency_ms"].quantile(share)), 1) for share in (0.5, 0.99, 1)),
        )
        for phase, of_phase in felt.groupby("phase", sort=False)
    ]
    return Table.of(rows, ["phase", "requests", "failed", "median_ms", "p99_ms", "longest_ms"])


def timeline(requests: pd.DataFrame, phases: list[tuple[str, float]]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the worst latency in each tenth of a second, for a chart.

    Args:
        requests: `Traffic.requests`.
        phases: `Traffic.phases`.

    Returns:
        The worst latency in milliseconds, by the seconds since the first request and by who sent it, not a number where nobody
        sent anything; and at which of these seconds each phase began. A request stands where it began, reports nowhere.
    """
    felt = requests[requests["who"] != REPORT]
    origin = float(requests["start"].min()) if len(requests) else 0.0
    bucket = ((felt["start"] - origin) // BUCKET_S).astype(int)
    worst = felt.groupby([bucket.rename("seconds"), "who"])["latency_ms"].max().unstack("who")
    worst = worst.reindex(range(bucket.max() + 1) if len(bucket) else [])
    worst.index = pd.Index(np.round(worst.index.to_numpy(float) * BUCKET_S, 1), name="seconds")
    return worst, {name: max(0.0, began - origin) for name, began in phases}


# --- What has to be there in the end --------------------------------------------------------------------------


@dataclass
class _User:
    exists: str
    emails: set[str]
    """Which it may have now."""
    ever: set[str]
    """Which it has had: v1's profile keeps an old one."""


@dataclass
class _Session:
    exists: str = "yes"
    user: str | None = None
    scenario: int | None = None
    """Null where somebody else started it."""
    completed: set[bool] | None = None
    """What is_completed may be; null where nobody has said."""
    active_at: str = ""
    messages: list[str] = field(default_factory=list)


_V1 = {
    "messages": """select id::text, session_id::text, role, chat_type, md5(content), timestamp
        from public.messages where session_id = any (%(sessions)s::uuid[]) or id = any (%(messages)s::uuid[])""",
    "sessions": """select id::text, user_id::text, scenario_id, is_completed, completed_at, last_activity_at,
        message_count_main, message_count_helper, null from public.sessions where id = any (%(sessions)s::uuid[])""",
    "profiles": """select id::text, email, completed_scenario_count, false from public.profiles
        where id = any (%(users)s::uuid[])""",
}
_V2 = {
    "messages": """select id::text, session_id::text, role::text, chat_type::text, md5(content), sent_at
        from public.messages where session_id = any (%(sessions)s::uuid[]) or id = any (%(messages)s::uuid[])
        union all select id::text, session_id::text, role::text, chat_type::text, md5(content), sent_at
        from public.messages_archive where session_id = any (%(sessions)s::uuid[]) or id = any (%(messages)s::uuid[])""",
    "sessions": """select id::text, user_id::text, scenario_id, is_completed, completed_at, last_activity_at,
        message_count_main, message_count_helper, closed_at from public.sessions where id = any (%(sessions)s::uuid[])""",
    "profiles": """select id::text, email::text, completed_scenario_count, deleted_at is not null from public.profiles
        where id = any (%(users)s::uuid[])""",
}
_BOTH = {
    "users": "select id::text, email from auth.users where id = any (%(users)s::uuid[])",
    "logs": """select id::text, metadata ->> 'token', level, event_type from public.logs
        where id = any (%(logs)s::uuid[]) or metadata ->> 'token' = any (%(tokens)s::text[])""",
    "scenarios": "select id, initial_message_helper from public.scenarios",
}
_WHICH = """select
    exists (
        select from pg_attribute where attrelid = to_regclass('public.messages') and attname = 'timestamp' and not attisdropped
    ),
    to_regclass('public.messages_archive') is not null and exists (
        select from pg_attribute
        where attrelid = to_regclass('public.messages') and attname = 'client_message_id' and not attisdropped
    )"""


class _Ledger:
    """What was acknowledged, and what follows from it."""

    def __init__(self, was_v2: bool) -> None:
        self._was_v2 = was_v2
        self._messages: dict[str, tuple[dict[str, Any], bool]] = {}
        self._logs: dict[str, tuple[dict[str, Any], bool]] = {}
        self._sessions: dict[str, _Session] = {}
        self._users: dict[str, _User] = {}
        self._scenarios: dict[int, set[str]] = {}
        self._lost: list[str] = []

    def note(self, fact: dict[str, Any], is_sure: bool) -> None:
        """Take one write into the account."""
        match fact["kind"]:
            case "message":
                self._messages[fact["id"]] = fact, is_sure
                self._session(fact["session"]).messages.append(fact["id"])
            case "session":
                session = self._sessions[fact["id"]] = self._sessions.get(fact["id"], _Session())
                session.exists = "yes" if is_sure else "maybe"
                session.user, session.scenario, session.completed = fact["user"], fact["scenario"], {False}
            case "completion":
                session = self._session(fact["session"])
                session.user = fact["user"]
                session.completed = {True} if is_sure else {False, True}
                if is_sure and session.exists == "maybe":
                    session.exists = "yes"
            case "deletion":
                self._session(fact["session"]).exists = "no" if is_sure else "maybe"
            case "activity":
                session = self._session(fact["session"])
                session.active_at = max(session.active_at, fact["at"]) if is_sure else session.active_at
            case "log":
                self._logs[fact["token"]] = fact, is_sure
            case "sign-up":
                self._users[fact["id"]] = _User("yes" if is_sure else "maybe", {fact["email"]}, {fact["email"]})
            case "address":
                user = self._users[fact["id"]]
                user.emails = {fact["email"]} if is_sure else {*user.emails, fact["email"]}
                user.ever.add(fact["email"])
            case "user deletion":
                self._users[fact["id"]].exists = "no" if is_sure else "maybe"
            case "scenario":
                before = set() if is_sure else self._scenarios.get(fact["id"], set())
                # Of the first one, nobody knows what stood there before.
                if is_sure or before:
                    self._scenarios[fact["id"]] = {*before, fact["text"]}

    def compare(self, connection: psycopg.Connection) -> list[str]:
        """Return a sentence for each row that is not as it was acknowledged; all is read from one snapshot."""
        self._lost = []
        connection.execute("begin isolation level repeatable read read only")
        ((is_v1, is_v2),) = connection.execute(_WHICH).fetchall()
        if is_v1 == is_v2:
            raise WorkbookError("The database is neither v1 nor v2: apply the fixes that are missing, and ask again.")
        values: dict[str, object] = {
            "sessions": list(self._sessions),
            "messages": list(self._messages),
            "users": list(self._users),
            "logs": [fact["id"] for fact, _ in self._logs.values()],
            "tokens": list(self._logs),
        }
        found = {
            table: connection.execute(query, values).fetchall() for table, query in {**_BOTH, **(_V1 if is_v1 else _V2)}.items()
        }
        connection.execute("commit")
        self._compare_users(found, is_v2)
        profiles = {row[0]: row for row in found["profiles"]}
        sessions = {row[0]: row for row in found["sessions"]}
        by_session: dict[str, list[tuple]] = {}
        for row in found["messages"]:
            by_session.setdefault(row[1], []).append(row)
        for session_id, session in self._sessions.items():
            self._compare_session(session_id, session, sessions.get(session_id), profiles, is_v2)
            if session_id in sessions:
                self._compare_messages(session_id, session, sessions[session_id], by_session.get(session_id, []), is_v2)
            elif by_session.get(session_id):
                self._say(f"session {session_id} is gone, and {len(by_session[session_id])} of its messages are there")
        elsewhere = [
            row for row in found["messages"] if row[0] in self._messages and self._messages[row[0]][0]["session"] != row[1]
        ]
        for row in elsewhere:
            self._say(f"message {row[0]} stands in another session, {row[1]}")
        self._compare_logs(found["logs"])
        texts: dict[int, str] = dict(found["scenarios"])
        for scenario, allowed in self._scenarios.items():
            if texts.get(scenario) not in allowed:
                self._say(f"scenario {scenario} has another text")
        return self._lost

    def _session(self, session_id: str) -> _Session:
        return self._sessions.setdefault(session_id, _Session())

    def _say(self, sentence: str) -> None:
        self._lost.append(sentence)

    def _compare_users(self, found: dict[str, list[tuple]], is_v2: bool) -> None:
        accounts: dict[str, str] = dict(found["users"])
        profiles = {row[0]: row[1:] for row in found["profiles"]}
        for user_id, user in self._users.items():
            is_there, profile = user_id in accounts, profiles.get(user_id)
            if user.exists != "maybe" and is_there != (user.exists == "yes"):
                self._say(f"user {user_id} is {'still there' if is_there else 'missing'}")
            elif not is_there:
                # Deleted before the switch, nothing of it is left; after it, its profile without an address.
                if profile and not (is_v2 and profile[0] is None and profile[2]):
                    self._say(f"user {user_id} is deleted, and the profile {profile[0] or 'without an address'} is in use")
                continue
            elif accounts[user_id] not in user.emails:
                self._say(f"user {user_id} has the address {accounts[user_id]}")
            elif profile is None:
                self._say(f"profile {user_id} is missing")
                continue
            elif profile[0] not in (user.emails if is_v2 else user.ever) or profile[2]:
                self._say(f"profile {user_id} has the address {profile[0]}")
            if is_v2 and profile:
                done = [session.completed for session in self._sessions.values() if session.user == user_id and session.completed]
                sure, maybe = sum(states == {True} for states in done), sum(len(states) == 2 for states in done)
                if not sure <= profile[1] <= sure + maybe:
                    self._say(f"profile {user_id} counts {profile[1]} completions, and {sure} were acknowledged")

    def _compare_session(
        self, session_id: str, session: _Session, row: tuple | None, profiles: dict[str, tuple], is_v2: bool
    ) -> None:
        user = self._users.get(session.user or "")
        if row is None:
            went_along = user is not None and user.exists != "yes" and session.user not in profiles
            if session.exists == "yes" and not went_along:
                self._say(f"session {session_id} is missing")
            return
        _, user_id, scenario, is_completed, completed_at, active_at, _, _, closed_at = row
        if session.exists == "no":
            self._say(f"session {session_id} is still there")
        if session.scenario is not None and (user_id, scenario) != (session.user, session.scenario):
            self._say(f"session {session_id} is of learner {user_id} and scenario {scenario}")
        if session.completed is not None and is_completed not in session.completed:
            self._say(f"session {session_id} is {'completed' if is_completed else 'open'}")
        if is_v2 and is_completed and completed_at is None:
            self._say(f"session {session_id} is completed at no time")
        if is_v2 and user_id in profiles and profiles[user_id][3] and closed_at is None:
            self._say(f"session {session_id} of a deleted learner is not closed")
        if session.active_at and active_at.isoformat() < session.active_at:
            self._say(f"session {session_id} was last active at {active_at}, before the acknowledged {session.active_at}")

    def _compare_messages(self, session_id: str, session: _Session, row: tuple, messages: list[tuple], is_v2: bool) -> None:
        times = Counter(message[0] for message in messages)
        texts = Counter(message[4] for message in messages)
        by_id = {message[0]: message for message in messages}
        for message_id in dict.fromkeys(session.messages):
            fact, is_sure = self._messages[message_id]
            if message_id not in by_id:
                if is_sure:
                    self._say(f"message {message_id} is missing")
                continue
            _, _, role, chat, content, at = by_id[message_id]
            if times[message_id] > 1 or texts[content] > 1:
                self._say(f"message {message_id} is doubled")
            if role not in self._roles(fact, is_v2) or chat != fact["chat"]:
                self._say(f"message {message_id} has the role {role} in the chat {chat}")
            # Going back to v1 does not make a text longer again.
            contents = {fact["cut"]} if is_v2 else {fact["whole"], fact["cut"]} if self._was_v2 else {fact["whole"]}
            if content not in contents:
                self._say(f"message {message_id} has another text")
            if fact["at"] and at.isoformat() != fact["at"]:
                self._say(f"message {message_id} is of {at}, and not of {fact['at']}")
        if session.scenario is None:
            # Somebody else started it, and has written into it.
            return
        for message_id in by_id.keys() - set(session.messages):
            self._say(f"message {message_id} in session {session_id} is nobody's")
        for chat, counted in (("main", row[6]), ("helper", row[7])):
            there = sum(message[3] == chat for message in messages)
            if counted != there:
                self._say(f"session {session_id} counts {counted} messages in {chat}, and {there} are there")

    def _roles(self, fact: dict[str, Any], is_v2: bool) -> set[str]:
        """Return the roles that a message may have in the end, as the version says them."""
        if fact["role"] == "user":
            return {"user"}
        if is_v2:
            return {"assistant"}
        by_chat = "scenario" if fact["chat"] == "main" else "helper"
        if fact["role"] == "assistant":
            return {by_chat}
        return {fact["role"], by_chat} if self._was_v2 else {fact["role"]}

    def _compare_logs(self, logs: list[tuple]) -> None:
        by_token: dict[str, list[tuple]] = {}
        for row in logs:
            by_token.setdefault(row[1], []).append(row)
        known = Counter(row[0] for row in logs)
        for token, (fact, is_sure) in self._logs.items():
            rows = by_token.get(token, [])
            if not rows:
                if is_sure or known[fact["id"]]:
                    self._say(f"log {fact['id']} is {'different' if known[fact['id']] else 'missing'}")
            elif len(rows) > 1 or known[fact["id"]] > 1:
                self._say(f"log {fact['id']} is doubled")
            elif (rows[0][0], rows[0][2], rows[0][3]) != (fact["id"], "info", fact["event"]):
                self._say(f"log {fact['id']} is different")
