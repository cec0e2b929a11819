"""What the app has to change: the list is as tried, and what it says to do instead works."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from workbook import ANNA, Database, client_table, clients, fixes
from workbook.clients import ACTORS, Answer, Client
from workbook.errors import WorkbookError

DECLARED = clients.declared()
BROKEN = [client for client in DECLARED if client.until]
WORDS = {"no rows", "other rows", "other columns"}


def header(fix: fixes.Fix) -> str:
    return fix.text.split("\n\n")[0]


@pytest.fixture(scope="module")
def v2() -> Database:
    return clients.v2()


@pytest.fixture(scope="module")
def on_v2(v2: Database) -> Iterator[psycopg.Connection]:
    with clients.connected(v2) as connection:
        yield connection


class TestList:
    @pytest.mark.slow
    def test_is_what_happens_when_each_statement_is_tried(self) -> None:
        tried = clients.attempt()
        stale = [now for declared, now in zip(DECLARED, tried, strict=True) if now != declared]
        assert not stale, f"data/clients.csv is stale; `make refresh` writes these rows:\n{clients.written(tuple(stale))}"

    def test_is_written_by_refresh(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert clients.FILE.read_text() == clients.written(DECLARED)
        copy = tmp_path / "clients.csv"
        copy.write_text(clients.FILE.read_text())
        monkeypatch.setattr(clients, "FILE", copy)
        clients.refresh()
        assert copy.read_text() == clients.written(clients.attempt())

    def test_has_what_learners_visitors_backend_and_jobs_send(self) -> None:
        assert len({client.id for client in DECLARED}) == len(DECLARED) >= 50
        assert {client.who for client in DECLARED} == set(ACTORS)
        # What goes on working is on the list too.
        assert len(DECLARED) > len(BROKEN) > 40

    @pytest.mark.parametrize("client", DECLARED, ids=lambda client: client.id)
    def test_row_is_whole(self, client: Client) -> None:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", client.id)
        assert re.fullmatch(r"[A-Z][^.]*\.", client.what.replace("auth.", "auth ").replace("public.", "public "))
        assert bool(client.until) == bool(client.sqlstate)
        assert bool(client.works) == bool(client.instead)
        assert not client.until or client.works
        assert not client.works or client.until or client.pauses
        assert not client.sqlstate or client.sqlstate in WORDS or re.fullmatch(r"[0-9A-Z]{5}", client.sqlstate)
        assert not client.instead or client.instead.endswith(".")

    def test_says_how_a_statement_fails_and_whether_it_works_again(self) -> None:
        def judged(*outcomes: str) -> tuple[str, str, str]:
            client = clients._judged(DECLARED[0], list(enumerate(outcomes)))
            return client.until, client.sqlstate, client.pauses

        assert judged("", "", "") == ("", "", "")
        assert judged("", "42703", "42501") == ("1", "42703", "")
        assert judged("", "PT409", "PT409", "") == ("", "", "01-02 PT409")
        assert judged("PT409", "", "no rows") == ("2", "no rows", "00-00 PT409")

    def test_tells_another_answer_from_the_same(self) -> None:
        old = Answer(rows=({"id": "1", "role": "user"},), count=1)
        assert old.differs_from(old) == ""
        assert Answer(rows=({"id": "1", "role": "user", "code": "x"},), count=1).differs_from(old) == ""
        assert Answer(rows=({"id": "1", "role": "assistant"},), count=1).differs_from(old) == "other rows"
        assert Answer(rows=({"id": "1", "role": "user"},) * 2, count=2).differs_from(old) == "other rows"
        assert Answer(rows=({"id": "1"},), count=1).differs_from(old) == "other columns"
        assert Answer().differs_from(old) == Answer(count=0).differs_from(Answer(count=1)) == "no rows"
        assert Answer(count=2).differs_from(Answer(count=1)) == "other rows"
        assert Answer(sqlstate="42501").differs_from(old) == "42501"

    def test_takes_only_what_works_on_v1(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        wrong = tmp_path / "clients.csv"
        wrong.write_text(clients.written((Client("no-such", "learner", "Reads.", "select nothing", "", "", "", "", ""),)))
        monkeypatch.setattr(clients, "FILE", wrong)
        with pytest.raises(WorkbookError, match="The statement no-such of data/clients.csv gets 42703 on v1"):
            clients.attempt.__wrapped__()


class TestInstead:
    @pytest.mark.parametrize("client", [client for client in DECLARED if client.works], ids=lambda client: client.id)
    def test_works_on_v2_for_the_same_sender(self, client: Client, on_v2: psycopg.Connection) -> None:
        answer = clients.answer(on_v2, client.works, ACTORS[client.who])
        assert answer.sqlstate == ""
        assert answer.count > 0

    def test_v1_answers_each_statement_with_a_row_or_changes_one(self) -> None:
        with clients.connected(clients.v1()) as connection:
            answers = {client.id: clients.answer(connection, client.statement, ACTORS[client.who]) for client in DECLARED}
        assert {name for name, answer in answers.items() if answer.sqlstate or not answer.count} == set()

    def test_milliseconds_repeat_a_row_and_the_text_does_not(self, v2: Database) -> None:
        """A client's Date has milliseconds, the column microseconds."""
        messages = v2.run("select id::text, to_json(sent_at)#>>'{}' as sent_at from public.messages order by sent_at, id", ANNA)
        last_id, sent_at = messages.iloc[1]
        cut = datetime.fromisoformat(sent_at).isoformat(timespec="milliseconds")
        assert cut != sent_at
        page = """
            select id::text
            from public.messages
            where sent_at > :moment or (sent_at = :moment and id > :id)
            order by sent_at, id
            limit 2"""
        wrong, right = (v2.run(page, ANNA, moment=moment, id=last_id)["id"].tolist() for moment in (cut, sent_at))
        assert wrong[0] == last_id
        assert right == messages["id"].tolist()[2:4]

    def test_a_retry_that_updates_is_refused_to_a_learner(self, v2: Database) -> None:
        insert = (
            "insert into public.messages (session_id, role, chat_type, content, client_message_id)"
            " values (:anna_open, 'user', 'main', 'Ja, gern.', :reply) on conflict (session_id, client_message_id) "
        )
        v2.refused(f"{insert} do update set content = excluded.content", ANNA, code="42501")


class TestTable:
    def test_shows_each_statement_that_breaks_once_in_the_order_of_the_fixes(self) -> None:
        table = client_table()
        assert sorted(table["what the app does"]) == sorted(client.what for client in BROKEN)
        assert table["until"].tolist() == sorted(table["until"])

    def test_the_rest_is_what_may_stay(self) -> None:
        kept = clients.kept()["what the app does"].tolist()
        assert kept == [client.what for client in DECLARED if not client.until]


@pytest.mark.parametrize("fix", fixes.all_fixes(), ids=lambda fix: fix.name)
def test_header_says_what_changes_for_a_client_and_nothing_where_nothing_does(fix: fixes.Fix) -> None:
    changes = {int(client.until) for client in BROKEN}
    pauses = {int(pause[:2]) for client in DECLARED for pause in client.pauses.split("; ") if pause}
    said = re.findall(r"^-- Clients: .+", header(fix), re.MULTILINE)
    assert len(said) == (fix.number in changes | pauses)
    # Below what it repairs, and no longer than two lines.
    assert not said or re.search(r"\n-- Clients: .+(\n-- .+)?$", header(fix))
