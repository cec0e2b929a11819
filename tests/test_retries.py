"""Messages in their order, pages of them as the learner reads them, and whatever is sent twice."""

from collections.abc import Iterator

import pytest
import workbook as wb
from helpers import Rehearsal, rehearsal
from workbook import ADMIN, ANNA, BEN, SERVICE, Actor, Database, clone, fixes

LAST = fixes.all_fixes()[-1].number


@pytest.fixture(scope="module")
def v2() -> Database:
    return clone(LAST)


@pytest.fixture
def fixed(v2: Database) -> Iterator[Rehearsal]:
    with rehearsal(v2) as actors:
        yield actors


@pytest.fixture
def own() -> Iterator[Database]:
    """A clone for two connections that commit."""
    database = clone(LAST)
    yield database
    database.drop()


# --- Order --------------------------------------------------------------------------------------------------------

INSERT = "insert into messages (session_id, role, chat_type, content)"
TURN = """
    (s, 'user', 'main', n || ' question'), (s, 'assistant', 'main', n || ' reply')"""
TURNS = {
    "two rows": (2, f"{INSERT} values {TURN}"),
    "three rows": (3, f"{INSERT} values {TURN}, (s, 'assistant', 'helper', n || ' that was a hint')"),
    "as PostgREST sends it": (
        2,
        f"{INSERT} select session_id, role, chat_type, content"
        " from json_populate_recordset(null::public.messages, json_build_array("
        " json_build_object('session_id', s, 'role', 'user', 'chat_type', 'main', 'content', n || ' question'),"
        " json_build_object('session_id', s, 'role', 'assistant', 'chat_type', 'main', 'content', n || ' reply')))",
    ),
    "two statements": (
        2,
        f"{INSERT} values (s, 'user', 'main', n || ' question'); {INSERT} values (s, 'assistant', 'main', n || ' reply')",
    ),
    "streamed": (
        2,
        f"{INSERT} values (s, 'user', 'main', n || ' question');"
        " insert into message_chunks (message_id, seq, session_id, chat_type, content)"
        " values (reply, 1, s, 'main', n || ' re'), (reply, 2, s, 'main', 'ply'); perform finalize_message(reply)",
    ),
    "two streamed": (
        2,
        "insert into message_chunks (message_id, seq, session_id, chat_type, content)"
        " values (reply, 1, s, 'main', n || ' question'), (gen_random_uuid(), 1, s, 'helper', n || ' reply');"
        " perform finalize_message(message_id) from message_chunks order by message_chunks.created_at desc",
    ),
}


class TestOrder:
    @pytest.mark.parametrize(("rows", "turn"), TURNS.values(), ids=TURNS)
    def test_of_one_request_is_kept_each_time(self, fixed: Rehearsal, rows: int, turn: str) -> None:
        fixed.run(
            f"""
            do $$
            declare
                s constant uuid := :ben_open;
                reply uuid;
            begin
                for n in 1000 .. 1099 loop
                    reply := gen_random_uuid();
                    {turn};
                    update sessions set last_message_at = null where id = s;
                end loop;
            end $$""",
            SERVICE,
        )
        said = fixed.run("select content from messages where session_id = :ben_open and content ~ '^1' order by sent_at, id")
        words = said["content"].tolist()
        assert len(words) == 100 * rows
        moved = [word for word, right in zip(words, sorted(words), strict=True) if word != right]
        assert not moved, f"{len(moved)} of {len(words)} messages are out of place"

    @pytest.mark.parametrize("table, column", [("messages", "sent_at"), ("message_chunks", "created_at")])
    def test_is_by_the_clock(self, fixed: Rehearsal, table: str, column: str) -> None:
        default = "select pg_get_expr(adbin, adrelid) from pg_attrdef join pg_attribute on attrelid = adrelid and attnum = adnum"
        found = fixed.value(
            f"{default} where adrelid = cast(:table as regclass) and attname = :column", table=table, column=column
        )
        assert found == "clock_timestamp()"

    def test_goes_by_what_a_backend_says(self, fixed: Rehearsal) -> None:
        fixed.run(f"{INSERT[:-1]}, sent_at) values (:ben_open, 'assistant', 'main', 'x', '2026-01-01 00:00+00')", SERVICE)
        assert fixed.value("select sent_at = '2026-01-01 00:00+00' from messages where content = 'x'")


# --- Pages --------------------------------------------------------------------------------------------------------

MOST_BUFFERS = 40
"""v1 reads 8 to 16 for a page and more for a deep one of the oldest session, whose messages lie on a hundred pages."""
PAGE = "select id, content, sent_at from messages where session_id = :anna_open{} order by sent_at desc, id desc limit 50"
CHATS = {"main": " and chat_type = 'main'", "helper": " and chat_type = 'helper'", "both": ""}
FROM = {
    "newest": "",
    "row comparison": " and (sent_at, id) < (:at, :id)",
    "PostgREST": " and sent_at <= :at and (sent_at < :at or (sent_at = :at and id < :id))",
}


@pytest.fixture(scope="module", params=["newest", "oldest"])
def long_session(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A session of 5,000 messages, its two chats in turn, and 80 others of 250: all of them older than it, or newer."""
    database = clone(LAST)
    database.run(
        f"""
        set local session_replication_role = replica;
        create temporary table play on commit drop as
        select cast(:anna_open as uuid) as id, cast(:anna as uuid) as user_id, 5000 as messages, now() - interval '200 days' as at
        union all
        select gen_random_uuid(), case day % 2 when 0 then cast(:anna as uuid) else :ben end, 250,
            now() - interval '200 days' {"-" if request.param == "newest" else "+"} day * interval '1 day'
        from generate_series(1, 80) as day;
        insert into sessions (id, user_id, scenario_id, is_completed, started_at, completed_at)
        select id, user_id, 1, true, at, at + interval '2 hours' from play where messages < 5000;
        insert into messages (session_id, user_id, role, chat_type, content, sent_at)
        select play.id, play.user_id, 'user', case number % 2 when 0 then 'main' else 'helper' end::chat_type,
            'Message ' || number || repeat('.', 40), at + number * interval '1 second'
        from play
        cross join generate_series(1, messages) as number
        order by at, number""",
        ADMIN,
    )
    # As on a server with SSDs. Where a page out of order costs four times as much, the planner takes the index by user and moment
    # for the first page of the oldest session, and reads past all newer ones.
    database.run(f'alter database "{database.name}" set random_page_cost = 1.1', ADMIN)
    with database.connect() as connection:
        connection.execute("vacuum analyze messages")
    yield database
    database.drop()


class TestPages:
    @pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
    @pytest.mark.parametrize("start", FROM.values(), ids=FROM)
    def test_cost_the_learner_little(self, long_session: Database, chat: str, start: str) -> None:
        at, id = long_session.run(
            "select sent_at, id from messages where session_id = :anna_open"
            " and content ~ '^Message' order by sent_at desc, id desc offset 4000 limit 1"
        ).iloc[0]
        found = wb.plan(long_session, PAGE.format(chat + start), ANNA, at=at, id=id)
        assert found["rows read"].iloc[0] == 50
        assert found["buffers"].iloc[0] <= MOST_BUFFERS, f"\n{found}"

    def test_follow_each_other_without_gap_or_repeat(self, long_session: Database) -> None:
        with rehearsal(long_session) as actors:
            actors.run(
                """
                set local session_replication_role = replica;
                delete from messages where session_id = :anna_open and sent_at < (
                    select max(sent_at) - interval '10 minutes'
                    from messages
                    where session_id = :anna_open and content ~ '^Message'
                );
                update messages set sent_at = date_trunc('minute', sent_at) where session_id = :anna_open""",
                ADMIN,
            )
            main = "select id from messages where session_id = :anna_open and chat_type = 'main' order by sent_at desc, id desc"
            everything = actors.run(main)["id"].tolist()
            assert len(everything) > 200
            for start in (FROM["row comparison"], FROM["PostgREST"]):
                seen, at, id = [], "infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff"
                while len(page := actors.run(PAGE.format(CHATS["main"] + start), ANNA, at=at, id=id)):
                    seen += page["id"].tolist()
                    at, id = page["sent_at"].iloc[-1], page["id"].iloc[-1]
                assert seen == everything


# --- Retries ------------------------------------------------------------------------------------------------------

COMPLETE = "update sessions set is_completed = true where id = :anna_open"
KEY = "e1000000-0000-4000-8000-000000000000"
BY_ID = "insert into messages (id, session_id, role, chat_type, content) values (:id, {session}, '{role}', '{chat}', '{text}')"
BY_KEY = (
    "insert into messages (session_id, role, chat_type, content, client_message_id)"
    " values ({session}, '{role}', '{chat}', '{text}', :id)"
)
SENT = {"session": ":anna_open", "role": "user", "chat": "main", "text": "Ein Kilo, bitte."}
BY_ID_NOTHING, BY_KEY_NOTHING = "on conflict (id) do nothing", "on conflict (session_id, client_message_id) do nothing"
ANY_NOTHING = "on conflict do nothing"
RETRIES = {
    "backend, by id": (BY_ID, BY_ID_NOTHING, SERVICE),
    "backend, by key": (BY_KEY, BY_KEY_NOTHING, SERVICE),
    "learner, by key": (BY_KEY, BY_KEY_NOTHING, ANNA),
}
OTHERWISE = [
    {"text": "Zwei Kilo, bitte."},
    {"text": "Ein Kilo, bitte. "},
    {"text": "EIN KILO, BITTE."},
    {"chat": "helper"},
    {"role": "assistant"},
]
"""What makes a message another one."""
STORED = """
    select jsonb_agg(line order by line)
    from (
        select to_jsonb(messages) || jsonb_build_object('at', ctid::text, 'by', xmin::text) from messages
        union all select to_jsonb(sessions) || jsonb_build_object('at', ctid::text, 'by', xmin::text) from sessions
        union all select to_jsonb(message_chunks) || jsonb_build_object('at', ctid::text, 'by', xmin::text) from message_chunks
    ) as line (line)"""
"""Every row of messages, sessions and fragments, and which version of it: a written row is another one."""


@pytest.fixture(params=["open", "completed"])
def state(request: pytest.FixtureRequest) -> str:
    return request.param


def store(actors: Rehearsal, statement: str, actor: Actor, state: str) -> None:
    """Send a message for the first time, and complete its session where the state says so."""
    actors.run(statement.format(**SENT), actor, id=KEY)
    if state == "completed":
        actors.run(COMPLETE, ANNA)


@pytest.mark.parametrize(("statement", "nothing", "actor"), RETRIES.values(), ids=RETRIES)
class TestRetry:
    def test_succeeds_and_writes_nothing(self, fixed: Rehearsal, statement: str, nothing: str, actor: Actor, state: str) -> None:
        store(fixed, statement, actor, state)
        before = fixed.value(STORED)
        for end in (nothing, ANY_NOTHING, nothing):
            assert fixed.outcome(f"{statement.format(**SENT)} {end}", actor, id=KEY) == "INSERT 0 0"
        assert fixed.value(STORED) == before

    def test_without_on_conflict_hears_of_the_first(
        self, fixed: Rehearsal, statement: str, nothing: str, actor: Actor, state: str
    ) -> None:
        store(fixed, statement, actor, state)
        before = fixed.value(STORED)
        assert fixed.outcome(statement.format(**SENT), actor, id=KEY) == "23505"
        assert fixed.value(STORED) == before

    @pytest.mark.parametrize("end", ["nothing", "any conflict", "plain"])
    def test_with_other_words_is_refused(
        self, fixed: Rehearsal, statement: str, nothing: str, actor: Actor, state: str, end: str
    ) -> None:
        end = {"nothing": nothing, "any conflict": ANY_NOTHING, "plain": ""}[end]
        store(fixed, statement, actor, state)
        before = fixed.value(STORED)
        answers = [fixed.outcome(f"{statement.format(**SENT | other)} {end}", actor, id=KEY) for other in OTHERWISE]
        # A learner speaks as nobody else, whatever the key: the policy may be the one to say so.
        speaks_as_another = answers[-1].replace("42501", "PT409") if actor is ANNA else answers[-1]
        assert [*answers[:-1], speaks_as_another] == ["PT409"] * len(OTHERWISE)
        assert fixed.value(STORED) == before


class TestRetryOf:
    @pytest.mark.parametrize("nothing", ["", BY_ID_NOTHING, ANY_NOTHING])
    def test_an_id_in_another_session_is_refused(self, fixed: Rehearsal, nothing: str, state: str) -> None:
        store(fixed, BY_ID, SERVICE, state)
        before = fixed.value(STORED)
        assert fixed.outcome(BY_ID.format(**SENT | {"session": ":ben_open"}) + nothing, SERVICE, id=KEY) == "PT409"
        assert fixed.value(STORED) == before

    def test_a_key_in_another_session_is_another_message(self, fixed: Rehearsal) -> None:
        store(fixed, BY_KEY, ANNA, "open")
        again = BY_KEY.format(**SENT | {"session": ":ben_open", "text": "Was anderes"})
        assert fixed.outcome(f"{again} {BY_KEY_NOTHING}", BEN, id=KEY) == "INSERT 0 1"

    def test_a_message_after_completion_needs_one(self, fixed: Rehearsal) -> None:
        store(fixed, BY_KEY, ANNA, "completed")
        fresh = BY_KEY.format(**SENT)
        assert fixed.outcome(f"{fresh} {BY_KEY_NOTHING}", ANNA, id=KEY.replace("e1", "e2")) == "PT409"
        assert fixed.outcome(f"{BY_ID.format(**SENT)} {BY_ID_NOTHING}", SERVICE, id=KEY.replace("e1", "e2")) == "PT409"

    def test_a_learners_message_does_not_move_the_limit(self, fixed: Rehearsal) -> None:
        store(fixed, BY_KEY, ANNA, "open")
        send = f"{BY_KEY.format(**SENT)} {BY_KEY_NOTHING}"
        keys = (KEY, KEY.replace("e1", "e2"), KEY)
        assert [fixed.outcome(send, ANNA, id=key) for key in keys] == ["INSERT 0 0", "PT429", "INSERT 0 0"]

    def test_one_among_new_messages_stores_the_new_ones(self, fixed: Rehearsal) -> None:
        store(fixed, BY_KEY, SERVICE, "open")
        fixed.run("update sessions set last_message_at = null", SERVICE)
        main = "select message_count_main from sessions where id = :anna_open"
        before = fixed.value(main)
        new = (
            "(:anna_open, 'user', 'main', 'Neu', gen_random_uuid()), (:anna_open, 'assistant', 'main', 'Auch', gen_random_uuid())"
        )
        batch = f"{BY_KEY.format(**SENT)}, {new} {BY_KEY_NOTHING}"
        assert fixed.outcome(batch, SERVICE, id=KEY) == "INSERT 0 2"
        assert fixed.value(main) == before + 2

    @pytest.mark.parametrize(("text", "outcome"), [("Ein Kilo, bitte.", "INSERT 0 1"), ("Zwei Kilo, bitte.", "PT409")])
    @pytest.mark.parametrize("actor", [ANNA, SERVICE], ids=["learner", "backend"])
    def test_itself_in_one_request(self, fixed: Rehearsal, actor: Actor, text: str, outcome: str) -> None:
        twice = f"{BY_KEY.format(**SENT)}, (:anna_open, 'user', 'main', '{text}', :id) {BY_KEY_NOTHING}"
        assert fixed.outcome(twice, actor, id=KEY) == outcome

    def test_a_finished_reply_by_its_id(self, fixed: Rehearsal, state: str) -> None:
        for seq, text in enumerate(("Ein Kilo", ", bitte.")):
            fixed.run(CHUNK, SERVICE, seq=seq, text=text)
        fixed.run("select finalize_message(:reply)", SERVICE)
        if state == "completed":
            fixed.run(COMPLETE, ANNA)
        before = fixed.value(STORED)
        reply = BY_ID.replace(":id", ":reply")
        assert fixed.outcome(reply.format(**SENT | {"role": "assistant"}) + BY_ID_NOTHING, SERVICE) == "INSERT 0 0"
        assert fixed.outcome(reply.format(**SENT | {"role": "assistant", "text": "x"}) + BY_ID_NOTHING, SERVICE) == "PT409"
        assert fixed.value("select finalize_message(:reply)::text", SERVICE) == wb.actors.NAMES["reply"]
        assert fixed.value(STORED) == before

    def test_somebody_elses_message_tells_nothing(self, fixed: Rehearsal, state: str) -> None:
        store(fixed, BY_KEY, ANNA, state)
        for sent in (SENT, SENT | {"text": "x"}):
            for end in (BY_KEY_NOTHING, ""):
                assert fixed.outcome(f"{BY_KEY.format(**sent)} {end}", BEN, id=KEY) == "42501"

    @pytest.mark.parametrize(("statement", "nothing", "actor"), RETRIES.values(), ids=RETRIES)
    @pytest.mark.parametrize(
        ("text", "end", "outcome"),
        [
            ("Ein Kilo, bitte.", "commit", "INSERT 0 0"),
            ("Zwei Kilo, bitte.", "commit", "PT409"),
            ("Ein Kilo, bitte.", "rollback", "INSERT 0 1"),
        ],
        ids=["same", "other words", "first gives up"],
    )
    def test_a_message_that_is_under_way(
        self, own: Database, statement: str, nothing: str, actor: Actor, text: str, end: str, outcome: str
    ) -> None:
        with wb.concurrently(own, first=actor, second=actor) as (first, second):
            first(f"{statement.format(**SENT)} {nothing}", id=KEY)
            waiting = second(f"{statement.format(**SENT | {'text': text})} {nothing}", id=KEY)
            assert waiting.waited
            getattr(first, end)()
            assert outcome in (waiting.outcome, waiting.refused), waiting

    def test_a_message_while_the_session_is_completed(self, own: Database) -> None:
        own.run(BY_KEY.format(**SENT), ANNA, id=KEY)
        with wb.concurrently(own, laptop=ANNA, phone=ANNA) as (laptop, phone):
            laptop(COMPLETE)
            waiting = phone(f"{BY_KEY.format(**SENT)} {BY_KEY_NOTHING}", id=KEY)
            laptop.commit()
            assert waiting.outcome == "INSERT 0 0"


CHUNK = (
    "insert into message_chunks (message_id, seq, session_id, chat_type, content)"
    " values (:reply, :seq, :anna_open, 'main', :text)"
)
UPSERTS = {
    "upsert": "on conflict (message_id, seq) do update set content = excluded.content",
    "upsert of all columns": "on conflict (message_id, seq) do update set message_id = excluded.message_id, seq = excluded.seq,"
    " session_id = excluded.session_id, chat_type = excluded.chat_type, content = excluded.content",
    "do nothing": "on conflict (message_id, seq) do nothing",
    "do nothing, any conflict": "on conflict do nothing",
}


@pytest.mark.parametrize("end", UPSERTS.values(), ids=UPSERTS)
class TestRetryOfFragment:
    def test_succeeds_and_writes_nothing(self, fixed: Rehearsal, end: str, state: str) -> None:
        for seq in (1, 2):
            fixed.run(CHUNK, SERVICE, seq=seq, text=f"Teil {seq}")
        if state == "completed":
            fixed.run(COMPLETE, ANNA)
        before = fixed.value(STORED)
        for seq in (1, 2, 1):
            assert fixed.outcome(f"{CHUNK} {end}", SERVICE, seq=seq, text=f"Teil {seq}") in ("INSERT 0 0", "INSERT 0 1")
        assert fixed.value(STORED) == before

    def test_with_another_text_is_refused(self, fixed: Rehearsal, end: str, state: str) -> None:
        fixed.run(CHUNK, SERVICE, seq=1, text="Teil 1")
        if state == "completed":
            fixed.run(COMPLETE, ANNA)
        before = fixed.value(STORED)
        others = ("Anderer Teil", "", "teil 1", "Teil 1 ")
        assert [fixed.outcome(f"{CHUNK} {end}", SERVICE, seq=1, text=text) for text in others] == ["PT409"] * 4
        assert fixed.value(STORED) == before

    def test_among_new_ones_stores_the_new_ones(self, fixed: Rehearsal, end: str) -> None:
        fixed.run(CHUNK, SERVICE, seq=1, text="eins ")
        fixed.run(f"{CHUNK}, (:reply, 2, :anna_open, 'main', 'zwei') {end}", SERVICE, seq=1, text="eins ")
        fixed.run("select finalize_message(:reply)", SERVICE)
        assert fixed.value("select content from messages where id = :reply") == "eins zwei"

    @pytest.mark.parametrize(("text", "refused"), [("eins", None), ("zwei", "PT409")])
    def test_that_is_under_way(self, own: Database, end: str, text: str, refused: str | None) -> None:
        with wb.concurrently(own, first=SERVICE, second=SERVICE) as (first, second):
            first(f"{CHUNK} {end}", seq=1, text="eins")
            waiting = second(f"{CHUNK} {end}", seq=1, text=text)
            assert waiting.waited
            first.commit()
        found = own.run("select content from message_chunks")
        assert (waiting.refused, found["content"].tolist()) == (refused, ["eins"])
