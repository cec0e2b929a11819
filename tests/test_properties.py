"""Random statements of everybody against v2: whatever they try, and in whatever order, these properties hold after each."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import Phase, configuration, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from workbook import ADMIN, ANNA, ANON, BEN, SERVICE, Actor, clone, fixes
from workbook.database import assume, send

LAST = fixes.all_fixes()[-1].number

Row = dict[str, object]
Rows = dict[str, dict[str, Row]]
"""Rows as JSON, by table and key."""

LEARNER_TABLES = ["profiles", "scenarios", "sessions", "messages", "message_chunks", "logs"]
TABLES = [*LEARNER_TABLES, "messages_archive", "event_types"]
DRIFT = "private.completion_drift"
KEYS = {"message_chunks": "concat_ws(' ', message_id, seq)", "event_types": "code", DRIFT: "user_id"}
SEEN = {
    ADMIN: [*TABLES, DRIFT],
    ANNA: LEARNER_TABLES,
    BEN: LEARNER_TABLES,
    ANON: ["public_scenarios"],
}
"""Which rows are looked at after each statement, as whom."""

# What clients try beside the plain statements that have a rule of their own. Few of these do anything, and none may do harm.
MESSAGE = "insert into messages (session_id, role, chat_type, content) values (:session, 'user', 'main', 'x')"
CLIENT_TRICKS = [
    # Messages of a forged origin
    "insert into messages (session_id, user_id, role, chat_type, content) values (:session, :me, 'user', 'main', 'x')",
    "insert into messages (session_id, user_id, role, chat_type, content) values (:session, :other, 'user', 'main', 'x')",
    "insert into messages (id, session_id, role, chat_type, content) values (:reply, :session, 'user', 'main', 'x')",
    "insert into messages (session_id, role, chat_type, content) values (:session, 'assistant', 'main', 'x')",
    "insert into messages (session_id, role, chat_type, content, sent_at) values (:session, 'user', 'main', 'x', '2020-01-01')",
    "insert into messages (session_id, role, chat_type, content, deleted_at) values (:session, 'user', 'main', 'x', now())",
    # Many at once
    "insert into messages (session_id, role, chat_type, content) select id, 'user', 'main', 'to all' from sessions",
    "insert into messages (session_id, role, chat_type, content)"
    " select id, 'user', 'main', 'to the open ones' from sessions where not is_completed",
    "insert into messages (session_id, role, chat_type, content)"
    " select :session, 'user', 'main', n::text from generate_series(1, 3) as n",
    "insert into messages (session_id, role, chat_type, content) select session_id, role, chat_type, content from messages",
    f"with first as ({MESSAGE} returning id) {MESSAGE}",
    # In the same statement as the end of the session
    "with done as (update sessions set is_completed = true where id = :session returning id)"
    " insert into messages (session_id, role, chat_type, content) select id, 'user', 'main', 'last word' from done",
    f"with sent as ({MESSAGE} returning session_id) update sessions set is_completed = true from sent where id = sent.session_id",
    f"with sent as ({MESSAGE} returning session_id) delete from sessions using sent where id = sent.session_id",
    "with gone as (delete from sessions where id = :session returning id)"
    " insert into messages (session_id, role, chat_type, content) select id, 'user', 'main', 'last word' from gone",
    # By other commands
    "merge into messages using (select 1) as one on false when not matched then"
    " insert (session_id, role, chat_type, content) values (:session, 'user', 'main', 'x')",
    "insert into messages (session_id, role, chat_type, content, client_message_id) values (:session, 'user', 'main', 'x', :key)"
    " on conflict (session_id, client_message_id) do update set content = excluded.content",
    # Changes of messages
    "update messages set content = 'rewritten' where id = :message",
    "update messages set content = '', deleted_at = now() where id = :message",
    "update messages set session_id = :session where id = :message",
    "delete from messages where id = :message",
    "truncate messages",
    # Sessions
    "insert into sessions (user_id, scenario_id) values (:other, 1)",
    "insert into sessions (user_id, scenario_id) values (:me, 1), (:other, 1)",
    "insert into sessions (user_id, scenario_id) values (:me, 1), (:me, 2)",
    "insert into sessions (id, user_id, scenario_id) values (:reply, :me, 1)",
    "insert into sessions (user_id, scenario_id, is_completed) values (:me, 1, true)",
    "insert into sessions (user_id, scenario_id, message_count_main) values (:me, 1, 7)",
    "insert into sessions (user_id, scenario_id) values (:me, 1) on conflict (id) do update set is_completed = true",
    "update sessions set is_completed = true",
    "update sessions set user_id = :me where id = :session",
    "merge into sessions using (select 1) as one on id = :session when matched then update set is_completed = true",
    "delete from sessions",
    "truncate sessions cascade",
    # Replies
    "insert into message_chunks (message_id, seq, session_id, user_id, chat_type, content)"
    " values (:reply, 1, :session, :me, 'main', 'x')",
    "update message_chunks set content = 'x'",
    "delete from message_chunks",
    "select finalize_message(:reply)",
    # Everything else
    "update profiles set completed_scenario_count = 99, current_week_completion_count = 0 where id = :me",
    "update profiles set email = 'x@example.org'",
    "delete from profiles",
    "insert into profiles (id, email, week_reset_date) values (:reply, 'x@example.org', now())",
    "insert into logs (level, event_type, user_id) values ('info', 'user_logout', :me)",
    "update logs set user_id = :other",
    "delete from logs",
    "truncate logs",
    "update scenarios set title = 'x' where id = 1",
    "delete from scenarios",
    "insert into event_types (code, description) values ('x', 'x')",
    "insert into messages_archive select * from messages",
    "select erase_user(:other)",
    "select delete_expired_sessions()",
    "select delete_old_logs()",
    "select reset_weekly_limits()",
    "select archive_old_messages(1)",
]

# What clients try to set in a session beside its completion.
SESSION_CHANGES = [
    "is_completed = false",
    "is_completed = true, completed_at = '2020-01-01'",
    "message_count_main = 99",
    "message_count_helper = 99, is_completed = true",
    "last_message_at = null",
    "user_id = :other",
]

# The service role may write all rows, but neither what was said nor the past.
SERVICE_TRICKS = [
    "update messages set content = 'rewritten' where id = :message",
    "update messages set content = '' where id = :message",
    "update messages set content = 'rewritten', deleted_at = now() where id = :message",
    "update messages set deleted_at = null, deleted_reason = null, content = 'restored' where id = :message",
    "update messages set session_id = :session where id = :message",
    "update messages set (session_id, user_id) = (select id, user_id from sessions where id = :session) where id = :message",
    "update messages set user_id = :other where id = :message",
    "update messages set role = case role when 'user' then 'assistant' else 'user' end::message_role where id = :message",
    "update messages set sent_at = now() where id = :message",
    "update messages set id = :reply where id = :message",
    "update messages set client_message_id = :key where id = :message",
    "insert into messages (id, session_id, role, chat_type, content) values (:message, :session, 'user', 'main', 'rewritten')"
    " on conflict (id) do update set content = excluded.content",
    "insert into messages (session_id, role, chat_type, content, client_message_id) values (:session, 'user', 'main', 'x', :key)"
    " on conflict (session_id, client_message_id) do update set content = excluded.content",
    "merge into messages using (select 1) as one on id = :message when matched then update set content = 'rewritten'",
    "insert into messages (session_id, role, chat_type, content) select id, 'assistant', 'main', 'to all' from sessions",
    "insert into messages (session_id, user_id, role, chat_type, content) values (:session, :other, 'user', 'helper', 'x')",
    "with done as (update sessions set is_completed = true where id = :session returning id)"
    " insert into messages (session_id, role, chat_type, content) select id, 'assistant', 'main', 'last word' from done",
    "update sessions set is_completed = false where id = :session",
    "update sessions set is_completed = false, completed_at = null where id = :session",
    "insert into sessions (id, user_id, scenario_id) values (:session, :other, 1)"
    " on conflict (id) do update set is_completed = false",
    "insert into messages (id, session_id, role, chat_type, content) values (:reply, :session, 'assistant', 'main', 'x')",
    "update message_chunks set session_id = :session",
    "update message_chunks set (session_id, user_id) = (select id, user_id from sessions where id = :session)",
    "update message_chunks set content = 'x'",
    "update sessions set user_id = :other where id = :session",
    "truncate messages",
    "truncate sessions cascade",
]

LEARNERS = st.sampled_from([ANNA, BEN])
CLIENTS = st.sampled_from([ANNA, BEN, ANON])
CHATS = st.sampled_from(["main", "helper"])
PLACES = st.integers(0, 7)
"""Which of the sessions, messages, replies or keys: counted from the oldest, and round again where there are fewer."""

REPLIES = [f"e0000000-0000-4000-8000-{number:012}" for number in range(1, 4)]
NOBODY = "d0000000-0000-4000-8000-000000000000"
RETRY_KEYS = [f"f0000000-0000-4000-8000-{number:012}" for number in range(1, 4)]


class Chat(RuleBasedStateMachine):
    """Everybody acts on one database; what must be true is remembered here, beside it."""

    mutation = ""
    """SQL that damages the schema, to see that it is noticed."""

    def __init__(self) -> None:
        super().__init__()
        self.database = clone(LAST)
        self.connection = self.database.connect()
        if self.mutation:
            self.connection.execute(self.mutation)
        self.actor = ADMIN
        self.seen = self.look()
        self.before = self.truth
        self.arrived = Counter((row["session_id"], row["chat_type"]) for row in self.truth["messages"].values())
        self.completions = Counter(row["user_id"] for row in self.truth["sessions"].values() if row["is_completed"])
        self.in_time = {
            session_id: self.messages_of(session_id) for session_id, row in self.truth["sessions"].items() if row["is_completed"]
        }

    def teardown(self) -> None:
        """Drop the database."""
        self.connection.close()
        self.database.drop()

    # --- What the machine does and knows ---------------------------------------------------------------------------

    @property
    def truth(self) -> Rows:
        """All rows, as the administrator sees them."""
        return self.seen[ADMIN]

    def look(self) -> dict[Actor, Rows]:
        """Return the rows that each actor sees, asked for all at once: it happens after every statement."""
        statements = ["begin"]
        for actor, tables in SEEN.items():
            rows = [f"(select json_object_agg({KEYS.get(table, 'id')}, to_json(t)) from {table} as t)" for table in tables]
            statements += [
                f"set local \"request.jwt.claims\" = '{actor.claims}'",
                f"set local role {actor.role or 'none'}",
                f"select {', '.join(rows)}",
            ]
        cursor = self.connection.execute("; ".join([*statements, "commit"]))
        answers = [result.fetchone() for result in cursor.results() if result.description]
        return {
            actor: {table: rows or {} for table, rows in zip(tables, answer, strict=True)}
            for (actor, tables), answer in zip(SEEN.items(), answers, strict=True)
        }

    def act(self, actor: Actor, sql: str, legal: bool = False, **values: object) -> psycopg.Cursor | psycopg.Error:
        """Send a statement, which must be accepted where it is legal, and remember what it changed."""
        self.actor, self.before = actor, self.truth
        try:
            with self.connection.transaction():
                assume(self.connection, actor)
                outcome = send(self.connection, sql, values)
        except psycopg.Error as error:
            assert not legal, f"{actor.label} may not do what is legal: {error}"
            return error
        self.seen = self.look()
        self.remember()
        return outcome

    def remember(self) -> None:
        """Count the messages that arrived and the sessions that were completed, and note which messages came in time."""
        known = every_message(self.before)
        self.arrived.update(
            (row["session_id"], row["chat_type"]) for key, row in every_message(self.truth).items() if key not in known
        )
        for session_id, row in self.truth["sessions"].items():
            was = self.before["sessions"].get(session_id)
            if row["is_completed"] and not (was and was["is_completed"]):
                self.completions[row["user_id"]] += 1
                self.in_time[session_id] = self.messages_of(session_id) | self.streaming(session_id)

    def pass_time(self) -> None:
        """Let a second pass for the limit of messages."""
        self.connection.execute(
            "begin; set local session_replication_role = replica;"
            " update sessions set last_message_at = last_message_at - interval '1 second'; commit"
        )
        self.seen = self.look()

    def messages_of(self, session_id: str) -> set[str]:
        """Return the ids of a session's messages."""
        return {key for key, row in every_message(self.truth).items() if row["session_id"] == session_id}

    def streaming(self, session_id: str) -> set[str]:
        """Return the ids of the replies that have fragments in a session."""
        return {row["message_id"] for row in self.truth["message_chunks"].values() if row["session_id"] == session_id}

    def fragments(self, reply: str) -> dict[int, Row]:
        """Return the fragments of a reply by their place."""
        chunks = [row for row in self.truth["message_chunks"].values() if row["message_id"] == reply]
        return {row["seq"]: row for row in sorted(chunks, key=lambda row: row["seq"])}

    def exists(self, message: str) -> bool:
        """Tell whether there is a message with this id."""
        return message in every_message(self.truth)

    def is_living(self, user_id: str) -> bool:
        """Tell whether a learner has an account."""
        return self.truth["profiles"][user_id]["deleted_at"] is None

    def session(self, place: int) -> Row:
        """Return one of the sessions."""
        rows = sorted(self.truth["sessions"].values(), key=lambda row: (row["started_at"], row["id"]))
        return rows[place % len(rows)]

    def message(self, place: int) -> str:
        """Return the id of one of the messages."""
        rows = sorted(self.truth["messages"].values(), key=lambda row: (row["sent_at"], row["content"], row["id"]))
        return rows[place % len(rows)]["id"] if rows else NOBODY

    def is_open_to(self, actor: Actor, session: Row) -> bool:
        """Tell whether a learner may write into a session, complete it and delete it."""
        return session["user_id"] == actor.user_id and not session["is_completed"] and self.is_living(actor.user_id)

    # --- Learners ---------------------------------------------------------------------------------------------------

    @rule(actor=LEARNERS, scenario=st.integers(1, 3))
    def start_session(self, actor: Actor, scenario: int) -> None:
        has_one = any(self.is_open_to(actor, session) for session in self.truth["sessions"].values())
        self.act(
            actor,
            "insert into sessions (user_id, scenario_id) values (:me, :scenario)",
            legal=self.is_living(actor.user_id) and not has_one,
            me=actor.user_id,
            scenario=scenario,
        )

    @rule(actor=CLIENTS, place=PLACES, chat=CHATS, in_peace=st.booleans())
    def write(self, actor: Actor, place: int, chat: str, in_peace: bool) -> None:
        session = self.session(place)
        if in_peace:
            self.pass_time()
        self.act(
            actor,
            "insert into messages (session_id, role, chat_type, content) values (:session, 'user', :chat, 'Hallo!')",
            legal=in_peace and self.is_open_to(actor, session),
            session=session["id"],
            chat=chat,
        )

    @rule(actor=LEARNERS)
    def write_in_a_hurry(self, actor: Actor) -> None:
        for session in filter(lambda session: self.is_open_to(actor, session), self.truth["sessions"].values()):
            self.pass_time()
            self.act(actor, MESSAGE, legal=True, session=session["id"])
            self.act(actor, MESSAGE, session=session["id"])

    @rule(actor=CLIENTS, place=PLACES, key=st.sampled_from(RETRY_KEYS))
    def write_once(self, actor: Actor, place: int, key: str) -> None:
        session = self.session(place)
        self.pass_time()
        messages = self.truth["messages"].values()
        is_retry = (session["id"], key) in {(row["session_id"], row["client_message_id"]) for row in messages}
        is_own = session["user_id"] == actor.user_id and self.is_living(session["user_id"])
        self.act(
            actor,
            "insert into messages (session_id, role, chat_type, content, client_message_id)"
            " values (:session, 'user', 'main', 'Hallo?', :key) on conflict (session_id, client_message_id) do nothing",
            legal=is_own and (is_retry or not session["is_completed"]),
            session=session["id"],
            key=key,
        )
        assert not is_retry or self.truth == self.before, "a retry changes something"

    @rule(actor=CLIENTS, place=PLACES)
    def complete(self, actor: Actor, place: int) -> None:
        session = self.session(place)
        outcome = self.act(actor, "update sessions set is_completed = true where id = :session", session=session["id"])
        if self.is_open_to(actor, session):
            assert self.truth["sessions"][session["id"]]["is_completed"], f"a session could not be completed: {outcome}"

    @rule(actor=CLIENTS, place=PLACES)
    def give_up(self, actor: Actor, place: int) -> None:
        session = self.session(place)
        outcome = self.act(actor, "delete from sessions where id = :session", session=session["id"])
        is_gone = session["id"] not in self.truth["sessions"]
        assert is_gone == self.is_open_to(actor, session), f"a session was deleted: {is_gone}\n{outcome}"

    @rule(actor=CLIENTS, sql=st.sampled_from(CLIENT_TRICKS), place=PLACES, message=PLACES, key=PLACES, in_peace=st.booleans())
    def client_trick(self, actor: Actor, sql: str, place: int, message: int, key: int, in_peace: bool) -> None:
        if in_peace:
            self.pass_time()
        self.act(actor, sql, **self.names(actor, place, message, key))

    @rule(actor=CLIENTS, change=st.sampled_from(SESSION_CHANGES))
    def change_open_sessions(self, actor: Actor, change: str) -> None:
        self.act(actor, f"update sessions set {change} where not is_completed", **self.names(actor, 0, 0, 0))

    @rule(actor=CLIENTS, table=st.sampled_from([*TABLES, "private.repairs", "auth.users", DRIFT]))
    def read(self, actor: Actor, table: str) -> None:
        outcome = self.act(actor, f"select * from {table}")
        may = actor is not ANON and table in LEARNER_TABLES
        assert may != isinstance(outcome, psycopg.Error), f"{actor.label} reads {table}: {outcome}"

    def names(self, actor: Actor, place: int, message: int, key: int) -> Row:
        """Return what the names in a trick stand for."""
        return {
            "me": actor.user_id or ANNA.user_id,
            "other": (ANNA if actor is BEN else BEN).user_id,
            "session": self.session(place)["id"],
            "message": self.message(message),
            "reply": REPLIES[key % len(REPLIES)],
            "key": RETRY_KEYS[key % len(RETRY_KEYS)],
        }

    # --- The service role -------------------------------------------------------------------------------------------

    @rule(reply=st.sampled_from(REPLIES), seq=st.integers(0, 3), place=PLACES, chat=CHATS)
    def stream(self, reply: str, seq: int, place: int, chat: str) -> None:
        session, earlier = self.session(place), list(self.fragments(reply).values())
        if earlier:
            is_legal = (earlier[0]["session_id"], earlier[0]["chat_type"]) == (session["id"], chat)
            is_legal &= seq not in self.fragments(reply)
        else:
            is_legal = not session["is_completed"] and not self.exists(reply) and self.is_living(session["user_id"])
        self.act(
            SERVICE,
            "insert into message_chunks (message_id, seq, session_id, chat_type, content)"
            " values (:reply, :seq, :session, :chat, :text)",
            reply=reply,
            seq=seq,
            legal=is_legal,
            session=session["id"],
            chat=chat,
            text=f"{seq} ",
        )

    @rule(reply=st.sampled_from(REPLIES))
    def finalize(self, reply: str) -> None:
        chunks, existed = self.fragments(reply), self.exists(reply)
        places = list(chunks)
        is_whole = places in (list(range(len(places))), list(range(1, len(places) + 1))) and places != []
        sql = "select finalize_message(:reply)"
        if is_whole:
            self.act(SERVICE, sql, legal=True, reply=reply)
            assert self.truth["messages"][reply]["content"] == "".join(row["content"] for row in chunks.values())
            assert not self.fragments(reply)
        elif existed and not chunks:
            self.act(SERVICE, sql, legal=True, reply=reply)
            assert self.truth == self.before, "finalizing again changes something"
        else:
            assert isinstance(self.act(SERVICE, sql, reply=reply), psycopg.Error), "a reply with gaps was finalized"

    @rule(message=PLACES, hidden=st.booleans())
    def hide(self, message: int, hidden: bool) -> None:
        row = self.truth["messages"].get(self.message(message), {})
        self.act(
            SERVICE,
            "update messages set deleted_at = case when :hidden then now() end, deleted_reason = null where id = :message",
            legal=hidden or row.get("content") != "",
            hidden=hidden,
            message=self.message(message),
        )

    @rule(message=PLACES)
    def erase(self, message: int) -> None:
        self.act(
            SERVICE,
            "update messages set content = '', deleted_at = now(), deleted_reason = 'asked' where id = :message",
            legal=True,
            message=self.message(message),
        )

    @rule(place=PLACES, sent_at=st.sampled_from(["2020-01-01", "2026-01-01"]))
    def import_message(self, place: int, sent_at: str) -> None:
        session = self.session(place)
        is_legal = not session["is_completed"] and self.is_living(session["user_id"])
        self.act(
            SERVICE,
            "insert into messages (session_id, role, chat_type, content, sent_at)"
            " values (:session, 'assistant', 'helper', 'Damals', :sent_at)",
            legal=is_legal,
            session=session["id"],
            sent_at=sent_at,
        )

    @rule(user=LEARNERS)
    def import_completed_session(self, user: Actor) -> None:
        sql = "insert into sessions (user_id, scenario_id, is_completed) values (:user, 2, true)"
        self.act(SERVICE, sql, legal=self.is_living(user.user_id), user=user.user_id)

    @rule(place=PLACES)
    def log(self, place: int) -> None:
        self.act(
            SERVICE,
            "insert into logs (level, event_type, user_id, session_id) values ('info', 'session_restored', :user, :session)",
            legal=True,
            user=self.session(place)["user_id"],
            session=self.session(place)["id"],
        )

    @rule(message=PLACES)
    def delete_message(self, message: int) -> None:
        self.act(SERVICE, "delete from messages where id = :message", legal=True, message=self.message(message))

    @rule(place=PLACES)
    def grow_old(self, place: int) -> None:
        self.act(
            SERVICE,
            "update sessions set last_activity_at = now() - interval '8 days' where id = :session",
            legal=True,
            session=self.session(place)["id"],
        )

    @rule(
        job=st.sampled_from(
            [
                "delete_expired_sessions()",
                "delete_old_logs()",
                "reset_weekly_limits()",
                "archive_old_messages(1)",
                "erase_user(:anna)",
                "erase_user(:ben)",
            ]
        )
    )
    def run_job(self, job: str) -> None:
        ((status, error),) = self.act(SERVICE, f"select status, error from {job}", legal=True).fetchall()
        assert status == "ok", f"a job failed: {error}"

    @rule(sql=st.sampled_from(SERVICE_TRICKS), user=LEARNERS, place=PLACES, message=PLACES, key=PLACES)
    def service_trick(self, sql: str, user: Actor, place: int, message: int, key: int) -> None:
        self.act(SERVICE, sql, **self.names(user, place, message, key))

    # --- What is true after each statement --------------------------------------------------------------------------

    @invariant()
    def learners_see_their_own_rows(self) -> None:
        for learner in (ANNA, BEN):
            for table in LEARNER_TABLES:
                expected = {key: row for key, row in self.truth[table].items() if is_visible(table, row, learner)}
                assert self.seen[learner][table] == expected, f"{learner.label} sees other {table} than their own"

    @invariant()
    def visitors_see_public_scenarios(self) -> None:
        columns = ("id", "code", "title", "emoji", "sort_order")
        active = {key: row for key, row in self.truth["scenarios"].items() if row["is_active"]}
        expected = {key: {column: row[column] for column in columns} for key, row in active.items()}
        assert self.seen[ANON]["public_scenarios"] == expected, "a visitor sees other scenarios"

    @invariant()
    def clients_change_their_own_rows_only(self) -> None:
        if self.actor in (ANNA, BEN, ANON):
            for table in TABLES:
                before, after = (others(rows[table], self.actor) for rows in (self.before, self.truth))
                assert before == after, f"{self.actor.label} changed somebody else's {table}"

    @invariant()
    def clients_write_as_themselves_and_now(self) -> None:
        if self.actor in (ANNA, BEN, ANON):
            for key in self.truth["messages"].keys() - self.before["messages"].keys():
                row = self.truth["messages"][key]
                ((now,),) = self.connection.execute("select clock_timestamp()").fetchall()
                is_now = timedelta() <= now - moment(row["sent_at"]) < timedelta(minutes=1)
                assert row["role"] == "user" and is_now and row["deleted_at"] is None, f"{self.actor.label} forged {row}"

    @invariant()
    def completed_sessions_take_no_messages(self) -> None:
        for row in self.truth["messages"].values():
            session_id = row["session_id"]
            if self.truth["sessions"][session_id]["is_completed"]:
                assert row["id"] in self.in_time[session_id], f"a message came after completion: {row}"

    @invariant()
    def completion_is_final(self) -> None:
        for session_id, was in self.before["sessions"].items():
            if was["is_completed"] and session_id in self.truth["sessions"]:
                assert self.truth["sessions"][session_id]["is_completed"], "a session was opened again"

    @invariant()
    def counts_are_true(self) -> None:
        for session_id, row in self.truth["sessions"].items():
            stored = (row["message_count_main"], row["message_count_helper"])
            arrived = tuple(self.arrived[session_id, chat] for chat in ("main", "helper"))
            assert stored == arrived, f"a session counts {stored} messages, and {arrived} arrived"
        for user_id, row in self.truth["profiles"].items():
            stored = row["completed_scenario_count"]
            assert stored == self.completions[user_id], f"a profile counts {stored}, not {self.completions[user_id]} completions"
        for row in self.truth[DRIFT].values():
            is_low = row["completed_scenario_count"] < row["completed_sessions"]
            is_low |= row["current_week_completion_count"] < row["completed_this_week"]
            assert not is_low, f"a stored count is too low: {row}"

    @invariant()
    def messages_do_not_change(self) -> None:
        before, after = every_message(self.before), every_message(self.truth)
        for key in before.keys() & after.keys():
            old, new = before[key], after[key]
            is_erased = new["content"] == "" and new["deleted_at"] is not None
            assert new["content"] == old["content"] or is_erased, f"a message was rewritten: {old} became {new}"
            facts = old.keys() & new.keys() - {"content", "deleted_at", "deleted_reason"}
            assert all(old[fact] == new[fact] for fact in facts), f"a message was changed: {old} became {new}"

    @invariant()
    def messages_belong_to_their_session(self) -> None:
        rows = [*self.truth["messages"].values(), *self.truth["messages_archive"].values()]
        for row in rows:
            assert row["user_id"] == self.truth["sessions"][row["session_id"]]["user_id"], f"a message of nobody's session: {row}"
            assert row["role"] in ("user", "assistant")
        keys = Counter((row["session_id"], row["client_message_id"]) for row in rows if row["client_message_id"])
        assert all(times == 1 for times in keys.values()), f"a message arrived twice: {keys}"

    @invariant()
    def learners_take_their_time(self) -> None:
        for session_id, row in self.truth["sessions"].items():
            was = self.before["sessions"].get(session_id)
            moments = [was and was["last_message_at"], row["last_message_at"]]
            if all(moments) and moments[0] != moments[1]:
                gap = moment(moments[1]) - moment(moments[0])
                assert gap >= timedelta(milliseconds=500), f"two messages came within {gap}"


def every_message(rows: Rows) -> dict[str, Row]:
    """Return the messages, also those in the archive."""
    return {**rows["messages"], **rows["messages_archive"]}


def owner(row: Row) -> object:
    """Return whose row it is; a profile is its learner's."""
    return row.get("user_id", row.get("id"))


def others(rows: dict[str, Row], actor: Actor) -> dict[str, Row]:
    """Return the rows that are not an actor's own."""
    return {key: row for key, row in rows.items() if owner(row) != actor.user_id}


def is_visible(table: str, row: Row, learner: Actor) -> bool:
    """Tell whether a learner may see a row: scenarios, and what is their own and not deleted."""
    return table == "scenarios" or (owner(row) == learner.user_id and row.get("deleted_at") is None)


def moment(text: str) -> datetime:
    """Read a moment as JSON holds it."""
    return datetime.fromisoformat(text)


# --- The tests ------------------------------------------------------------------------------------------------------

REPEATABLE = settings(max_examples=25, stateful_step_count=40, deadline=None, derandomize=True, database=None)
FIRST_FAILURE = settings(REPEATABLE, max_examples=60, phases=[Phase.generate], report_multiple_bugs=False, print_blob=False)
"""Enough to see that there is one: it is not made smaller."""

# A damage to the schema, and what is said of it.
WITHOUT = "do $$ begin execute replace(pg_get_functiondef('private.{}()'::regprocedure), '{}', '{}'); end $$"
MUTATIONS = {
    "messages in completed sessions": (
        WITHOUT.format("admit_message", "not is_completed", "true"),
        "a message came after completion",
    ),
    "no rate limit": (
        WITHOUT.format("admit_message", "1 second", "-1 hour"),
        "two messages came within",
    ),
    "messages that change": ("drop trigger messages_immutable on messages", "a message was (rewritten|changed)"),
    "messages for everybody": (
        "drop policy messages_select_own on messages;"
        " create policy messages_select_own on messages for select to authenticated using (true)",
        "sees other messages than their own",
    ),
    "all columns of a session": ("grant update on sessions to authenticated", "a session counts"),
    "completions uncounted": ("drop trigger sessions_count_completed on sessions", "a profile counts"),
}


@pytest.fixture(autouse=True)
def no_files_in_the_checkout(tmp_path: Path) -> Iterator[None]:
    """Let hypothesis keep its files elsewhere."""
    configuration.set_hypothesis_home_dir(tmp_path)
    yield
    configuration.set_hypothesis_home_dir(None)


def test_properties_hold() -> None:
    run_state_machine_as_test(Chat, settings=REPEATABLE)


@pytest.mark.parametrize(("mutation", "complaint"), MUTATIONS.values(), ids=MUTATIONS)
def test_damage_is_noticed(mutation: str, complaint: str) -> None:
    damaged = type("DamagedChat", (Chat,), {"mutation": mutation})
    with pytest.raises(AssertionError, match=complaint):
        run_state_machine_as_test(damaged, settings=FIRST_FAILURE)
