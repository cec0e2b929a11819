"""The exercises: solutions of more than one kind solve them, and each usual mistake gets the sentence that helps."""

import os
import re

import pytest
import workbook as wb
from helpers import is_one_sentence
from workbook import exercises
from workbook.errors import WorkbookError
from workbook.exercises import CHECKS, check, solution
from workbook.paths import SQL


def policy(rule: str, then: str = "create index on public.bookmarks (user_id)", before: str = "") -> str:
    """Return an attempt at exercise 1."""
    enabled = "alter table public.bookmarks enable row level security"
    return f"{before}; {enabled}; create policy bookmarks_own on public.bookmarks {rule}; {then}".removeprefix("; ")


def my_id(kind: str, language: str = "sql", body: str = "select auth.uid()") -> str:
    made = f"create function public.my_id() returns uuid language {language} {kind} as $$ {body} $$"
    return f"{made}; grant execute on function public.my_id() to authenticated"


OWN = "user_id = (select auth.uid())"
TOKEN = "(current_setting('request.jwt.claims', true)::json ->> 'sub')::uuid"
PLPGSQL = ("plpgsql", "begin return auth.uid(); end")


def index(columns: str, rest: str = "") -> str:
    """Return an attempt at exercise 2."""
    return f"create index on public.sessions {columns} {rest}"


PREFIX = "drop index public.sessions_scenario_id_is_completed_idx"


def page(condition: str, order: str = "sent_at, id", limit: int = 7, columns: str = "id, sent_at") -> str:
    """Return an attempt at exercise 3."""
    which = f"session_id = :session and chat_type = 'helper' and {condition}"
    return f"select {columns} from public.messages where {which} order by {order} limit {limit}"


def hint(lock: str, whose: str = "where user_id = learner", declared: str = "", answer: str = "return false") -> str:
    """Return an attempt at exercise 4."""
    return f"""create function public.use_hint(learner uuid) returns boolean language plpgsql as $$ {declared} begin
        {lock}
        if (select count(*) from public.hints {whose}) >= 3 then {answer}; end if;
        insert into public.hints (user_id) values (learner);
        return true;
    end $$"""


OLD = "where sent_at < now() - interval '12 months'"
OLDER = "from public.messages where sent_at < now() - interval '12 months'"

FILTER = """
    create or replace view public.my_sessions {} as
    select id, user_id, is_completed, started_at, (select title from public.scenarios where scenarios.id = scenario_id) as title
    from public.sessions
    where user_id = (select auth.uid()) or (select auth.role()) = 'service_role'"""
BARRIER = "with (security_barrier = true)"
READ_ONLY = "; revoke insert, update, delete on public.my_sessions from anon, authenticated"

SAVE = "update public.notes set body = :body, version = {} where {}"
LOADED = "session_id = :session and version = :version"


def forget(*statements: str) -> str:
    """Return an attempt at exercise 8."""
    return f"""create function public.forget_learner(learner uuid) returns void language plpgsql set search_path = '' as $$
    begin {"; ".join(statements)}; end $$"""


ERASE = "perform public.erase_user(learner)"
EXPORTS = "delete from public.session_exports where session_id in (select id from public.sessions where user_id = learner)"
LIVING = "select id from public.messages where user_id = learner"
ALL = f"{LIVING} union all select id from public.messages_archive where user_id = learner"
SEARCH = "delete from public.search_texts where message_id in ({})"

PATIENT = "set lock_timeout = '1s'; "
RULE = "add constraint messages_client check (client_message_id is null or role = 'user')"
ADD, ADD_NOT_VALID = f"alter table public.messages {RULE}; ", f"alter table public.messages {RULE} not valid; "
VALIDATE = "alter table public.messages validate constraint messages_client; "
INDEX = "create index concurrently on public.messages (deleted_at); "


def shared(rule: str, before: str = "") -> str:
    """Return an attempt at exercise 10."""
    return f"""{before} drop policy words_select_shared on public.words;
        create policy shared on public.words for select to authenticated using ({rule})"""


MEMBER = "select list_id from public.list_members where user_id = (select auth.uid())"
MY_LISTS = """create function public.my_lists() returns integer[] language sql stable security definer set search_path = ''
    as $$ select array(select list_id from public.list_members where user_id = auth.uid()) $$;
    grant execute on function public.my_lists() to authenticated;"""
IS_MEMBER = """create function public.is_member(list integer) returns boolean language plpgsql stable set search_path = ''
    as $$ begin return exists (select from public.list_members where list_id = list and user_id = auth.uid()); end $$;
    grant execute on function public.is_member(integer) to authenticated;"""

MISTAKES = {
    1: [
        ("select 1", "Anna sees everybody's bookmarks"),
        ("alter table public.bookmarks enable row level security", "Anna sees 0 of their"),
        (policy("for select using (true)"), "Anna sees everybody's bookmarks"),
        (policy(f"for select using ({OWN})"), "Anna cannot add"),
        (policy(f"using ({OWN}) with check (true)"), "in Ben's name"),
        (policy("using (auth.uid() = user_id)"), "for each row in `(auth.uid() = user_id)`"),
        (policy(f"using (user_id = {TOKEN})"), "for each row"),
        (policy(f"using (user_id = auth.uid()) with check ({OWN})"), "for each row"),
        (policy(f"using ({OWN}) with check (user_id = auth.uid())"), "for each row"),
        (policy("using (user_id = public.my_id())", before=my_id("stable")), "for each row"),
        (policy("using (user_id = public.my_id())", before=my_id("stable", *PLPGSQL)), "for each row in `(user_id = my_id())`"),
        (policy("using ((select auth.uid() = user_id))"), "for each row"),
        (policy("using (user_id = public.my_id())", before=my_id("immutable", *PLPGSQL)), "a plan that is kept shows Ben"),
        (policy(f"using ({OWN})", then="select 1"), "no index begins with user_id"),
        (policy(f"using ({OWN})", then="create index on public.bookmarks (created_at, user_id)"), "no index begins with user_id"),
        (policy("using (user_id in (select auth.uid()))"), "or the policy hides the column"),
        (policy("using (user_id::text = (select auth.uid())::text)"), "or the policy hides the column"),
        (
            policy(f"for select using ({OWN})")
            + f"; create policy adding on bookmarks for insert with check ({OWN})"
            + "; create policy deleting on bookmarks for delete using ((select auth.uid()) is not null)",
            "Ben deletes Anna's",
        ),
    ],
    2: [
        ("select 1", "there are 0"),
        (index("(scenario_id)"), "for scenario 1 still sorts"),
        (index("(completed_at desc)"), "rows to show ten"),
        (index("(completed_at desc, scenario_id)", "where is_completed"), "walks past others"),
        (index("(scenario_id, completed_at desc)", "where scenario_id = 2 and is_completed"), "for scenario 1 still sorts"),
        (index("(completed_at desc)", "where scenario_id = 2 and is_completed"), "for scenario 1 still sorts"),
        (index("(scenario_id, completed_at desc nulls last)"), "still sorts"),
        (index("(scenario_id, completed_at)") + "; " + index("(completed_at)"), "there are 2"),
        (f"{PREFIX}; {index('(scenario_id, completed_at desc)', 'where is_completed')}", "other queries need it"),
        (f"drop index public.idx_sessions_history; {index('(scenario_id, completed_at desc)')}", "other queries need it"),
    ],
    3: [
        (page("sent_at > :sent_at", "sent_at"), "on no page"),
        (page("sent_at >= :sent_at", "sent_at"), "never end"),
        (page("(sent_at, id) >= (:sent_at, :id)"), "never end"),
        (page("(sent_at, id) > (:sent_at, :id)", limit=70), "seven fit"),
        (page("(sent_at, id) > (:sent_at, :id)", "sent_at + interval '0', id"), "sorts all messages"),
        (page("id > :id", "id"), "in the order in which they were sent"),
        (page("sent_at >= :sent_at and id > :id"), "on no page"),
        (page("(sent_at > :sent_at or (sent_at = :sent_at and id > :id))"), "the last page reads"),
        (page("(sent_at, id) > (:sent_at, :id)", columns="id"), "columns id and sent_at"),
        (page("(sent_at, id) > (:sent_at, :id)").replace("and chat_type = 'helper'", ""), "in the helper chat"),
    ],
    4: [
        (hint(""), "gets 4 hints"),
        (hint("perform from public.hints where user_id = learner for update;"), "gets 4 hints"),
        (hint("perform from public.profiles where id = learner for key share;"), "gets 4 hints"),
        (hint("perform from public.profiles where id = learner for update nowait;"), "four devices at once hear"),
        (hint("if not pg_try_advisory_xact_lock(1) then return false; end if;"), "four devices at once hear"),
        (hint("perform from public.profiles where id = learner for update skip locked;"), "gets 4 hints"),
        (hint("lock table public.hints;"), "Ben waits for Anna's tap"),
        (hint("perform pg_advisory_xact_lock(1);"), "Ben waits for Anna's tap"),
        (hint("perform from public.profiles where id = learner for update;", ""), "Ben gets no hint"),
        (
            hint("perform from public.profiles where id = learner for update;", answer="return null"),
            "four devices at once hear None",
        ),
        (hint("perform from public.profiles where id = learner for update;").replace(">= 3", ">= 4"), "gets 4 hints"),
    ],
    5: [
        (f"delete from messages {OLD}", "there are"),
        (f"insert into old_messages select * from messages {OLD}; delete from messages {OLD}", "visible in the archive"),
        (f"insert into old_messages select * from messages {OLD}", "PostgreSQL says 23505"),
        ("select from nowhere", "refused: 42P01"),
        (solution(5).replace("12", "11"), "moved"),
        (solution(5).replace("12", "14"), "moved"),
        (
            f"insert into old_messages select * {OLDER} and deleted_at is null; delete from messages {OLD}",
            "visible in the archive",
        ),
        (
            f"insert into old_messages select * {OLDER}; delete from messages where id in (select id from old_messages)",
            "visible in the archive",
        ),
        (
            solution(5).replace(
                "select * from moved",
                "(id, session_id, user_id, role, chat_type, content, sent_at)"
                " select id, session_id, user_id, role, chat_type, left(content, 9), sent_at from moved",
            ),
            "does not say any more",
        ),
        (
            solution(5)
            .replace("*\n)", "*\n), unhidden as (select 1)")
            .replace(
                "select * from moved",
                "select id, session_id, role, chat_type, content, sent_at, user_id, now(), 'old', client_message_id from moved",
            ),
            "that nobody hid",
        ),
    ],
    6: [
        ("select 1", "Anna sees everybody's sessions"),
        ("alter view public.my_sessions set (security_barrier = true)", "Anna sees everybody's sessions"),
        ("alter view public.my_sessions set (security_invoker = false)", "Anna sees everybody's sessions"),
        ("alter table public.sessions force row level security", "Anna sees 0 of their"),
        ("revoke select on public.my_sessions from anon, authenticated", "permission denied for view my_sessions"),
        (FILTER.format(BARRIER), "Anna may delete a completed session"),
        (FILTER.format("") + READ_ONLY, "needs security_barrier"),
        (FILTER.format(BARRIER).replace("or (select auth.role()) = 'service_role'", "") + READ_ONLY, "the backend does not see"),
        (FILTER.format(BARRIER) + " or is_completed" + READ_ONLY, "Ben sees 1 of their 1 sessions, and 1 of others"),
        (
            "drop view public.my_sessions; create view public.my_sessions with (security_invoker = true) as"
            " select id, user_id, is_completed from public.sessions;"
            " grant select on public.my_sessions to authenticated, service_role",
            "has to keep its columns",
        ),
        (FILTER.format(BARRIER) + " or (select auth.uid()) is null" + READ_ONLY, "a visitor sees sessions"),
    ],
    7: [
        (SAVE.format("version + 1", "session_id = :session"), "overwrites that save"),
        (SAVE.format(":version + 1", "session_id = :session"), "overwrites that save"),
        (SAVE.format("version", LOADED), "the version stays the same"),
        (SAVE.format("version + 1", "session_id = :session and version >= :version"), "overwrites that save"),
        (SAVE.format("version + 1", "version = :version"), "another session's note"),
        (SAVE.format("version + 1", f"session_id in (select session_id from public.notes where {LOADED})"), "sub-select"),
        (
            f"with loaded as (select session_id from public.notes where {LOADED}) update public.notes set body = :body,"
            " version = version + 1 from loaded where notes.session_id = loaded.session_id",
            "sub-select",
        ),
        (
            f"do $$ begin if exists (select from public.notes where {LOADED}) then"
            " update public.notes set body = :body, version = version + 1 where session_id = :session; end if; end $$",
            "told",
        ),
        (SAVE.format("version + 1", "false"), "does not arrive"),
        (
            SAVE.format("version + 1", "session_id = :session").replace(
                ":body", "case when version = :version then :body else body end"
            ),
            "is told that it did",
        ),
    ],
    8: [
        (forget(ERASE), "still in search_texts, session_exports"),
        (forget(SEARCH.format(ALL), ERASE), "still in session_exports"),
        (forget(SEARCH.format(LIVING), EXPORTS, ERASE), "still in search_texts"),
        (forget(SEARCH.format(ALL), EXPORTS), "still in messages"),
        (forget("truncate public.search_texts, public.session_exports", ERASE), "Ben wrote is gone"),
        (forget("delete from public.search_texts", EXPORTS, ERASE), "gone from search_texts"),
        (forget(SEARCH.format(ALL), "delete from public.session_exports", ERASE), "gone from session_exports"),
        (
            forget(ERASE, EXPORTS, SEARCH.format(ALL).replace("message_id", "content").replace("select id", "select content")),
            "still in search_texts",
        ),
        (forget(SEARCH.format(ALL), EXPORTS, ERASE.replace("learner", "null")), "still in messages"),
        (
            forget(
                SEARCH.format(ALL),
                EXPORTS,
                "delete from public.messages where user_id = learner",
                "delete from public.messages_archive where user_id = learner",
            ),
            "still alive",
        ),
    ],
    9: [
        ("select 1", "may have a client's number"),
        (PATIENT + ADD + INDEX, "reads all messages while nobody may write"),
        (ADD_NOT_VALID + VALIDATE + INDEX, "as long as it likes"),
        ("set local lock_timeout = '1s'; " + ADD_NOT_VALID + VALIDATE + INDEX, "as long as it likes"),
        (PATIENT + ADD_NOT_VALID + INDEX, "until it is validated"),
        (PATIENT + ADD_NOT_VALID + VALIDATE, "no index begins with deleted_at"),
        (PATIENT + ADD_NOT_VALID + VALIDATE + INDEX.replace("concurrently", ""), "`create index on public.messages"),
        (f"{PATIENT} begin; {ADD_NOT_VALID} {VALIDATE} commit; {INDEX}", "validate constraint messages_client;` reads all"),
        (f"{PATIENT} begin; {ADD_NOT_VALID}", "is not committed"),
        (f"{PATIENT} alter table public.messages alter column content type varchar(8000);", "writes the whole table anew"),
        (f"{PATIENT} begin; {INDEX}", "PostgreSQL says 25001"),
        (PATIENT + ADD_NOT_VALID.replace("role = 'user'", "true") + VALIDATE + INDEX, "may have a client's number"),
    ],
    10: [
        ("select 1", "looks at each row"),
        (shared(f"list_id in ({MEMBER})"), "looks at each row"),
        (shared(f"list_id = any({MEMBER})"), "looks at each row"),
        (shared("public.is_member(list_id)", IS_MEMBER), "looks at each row"),
        (shared("(select public.is_member(list_id))", IS_MEMBER), "looks at each row"),
        (shared("true"), "of lists that are not theirs"),
        (shared("list_id in (7, 77)"), "Ben sees"),
        (shared(f"list_id = ({MEMBER} limit 1)"), "Anna sees 100 of their 200 words"),
        (shared(f"list_id::text = any(array(select list_id::text from ({MEMBER}) as mine))"), "looks at each row"),
        (
            shared(
                "list_id = any(array(select list_id from public.list_members))",
                "drop policy list_members_select_own on public.list_members; create policy everything on public.list_members"
                " using (true);",
            ),
            "of lists that are not theirs",
        ),
    ],
}
"""By exercise: attempts that go wrong, and a part of the sentence that each gets."""

RIGHT = {
    1: [
        policy(f"for all to authenticated using ({OWN})"),
        policy(f"using ((select auth.uid()) is not null and {OWN})"),
        policy("using (user_id = any (array(select auth.uid())))"),
        policy(f"using (user_id = (select {TOKEN}))"),
        policy("using (user_id = (select public.my_id()))", before=my_id("stable")),
        policy(f"using ({OWN})", "create index on public.bookmarks using hash (user_id)"),
        policy(
            f"using ({OWN})", "alter table public.bookmarks drop constraint bookmarks_pkey, add primary key (user_id, message_id)"
        ),
    ],
    2: [
        index("(scenario_id, is_completed, completed_at)"),
        index("(scenario_id, completed_at) include (id)", "where is_completed"),
        index("(scenario_id, completed_at desc)"),
        f"{PREFIX}; {index('(scenario_id, is_completed, completed_at desc)')}",
        f"{index('(scenario_id, is_completed, completed_at desc)')}; {PREFIX}",
        index("(scenario_id, completed_at desc)", "where is_completed").replace("index", "index concurrently"),
    ],
    3: [
        page("(sent_at, id) > (:sent_at, :id)", columns="*"),
        page("(sent_at, id) > (:sent_at, :id)", limit=3),
        page("sent_at >= :sent_at and (sent_at > :sent_at or id > :id)"),
        page("row(sent_at, id) > row(:sent_at, :id)", columns="content, sent_at, id"),
    ],
    4: [
        hint("perform from public.profiles where id = learner for update;"),
        hint("perform pg_advisory_xact_lock(hashtextextended(learner::text, 0));"),
        hint("update public.profiles set updated_at = now() where id = learner;"),
        """alter table public.hints add column slot integer; create unique index on public.hints (user_id, slot);
        create function public.use_hint(learner uuid) returns boolean language plpgsql as $$ begin
            for n in 1..3 loop
                insert into public.hints (user_id, slot)
                select learner, n where (select count(*) from public.hints where user_id = learner) < 3
                on conflict do nothing;
                if found then return true; end if;
            end loop;
            return false;
        end $$""",
    ],
    5: [
        f"lock table messages in share row exclusive mode; insert into old_messages select * {OLDER}; delete {OLDER}",
        f"""with old as (select id {OLDER} for update), moved as (delete from messages using old where messages.id = old.id
        returning messages.*) insert into old_messages table moved""",
        f"""do $$ declare message messages; begin
            for message in delete {OLDER} returning * loop insert into old_messages values (message.*); end loop;
        end $$""",
    ],
    6: [
        FILTER.format("with (security_invoker = true)").partition("where user_id")[0],
        FILTER.format(BARRIER) + READ_ONLY,
        "alter view public.my_sessions set (security_invoker = on); revoke all on public.my_sessions from anon",
    ],
    7: [
        SAVE.format(":version + 1", LOADED),
        SAVE.format("version + 1", LOADED) + " returning version",
        f"""with loaded as (select session_id from public.notes where {LOADED} for update) update public.notes
        set body = :body, version = version + 1 from loaded where notes.session_id = loaded.session_id""",
        f"""do $$ begin
            {SAVE.format("version + 1", LOADED)};
            if not found then raise exception 'the note has changed' using errcode = 'PT409'; end if;
        end $$""",
    ],
    8: [
        forget(SEARCH.format(ALL), EXPORTS, ERASE),
        forget(ERASE, EXPORTS, SEARCH.format(ALL)),
        forget(
            f"update public.search_texts set content = '' where message_id in ({ALL})",
            "update public.session_exports set document = '{}' where session_id in"
            " (select id from public.sessions where user_id = learner)",
            ERASE,
        ),
    ],
    9: [
        INDEX + PATIENT + ADD_NOT_VALID + VALIDATE,
        f"begin; set local lock_timeout = '1s'; {ADD_NOT_VALID} commit; begin; {VALIDATE} commit; {INDEX}",
        f"-- two; steps\n{PATIENT} {ADD_NOT_VALID} {VALIDATE} {INDEX.replace('(deleted_at)', '(deleted_at, id)')}",
    ],
    10: [
        shared("list_id = any((select public.my_lists())::integer[])", MY_LISTS),
        shared(f"list_id = any(array({MEMBER.replace('(select auth.uid())', 'auth.uid()')}))"),
        shared(f"list_id = any((select array_agg(list_id) from ({MEMBER}) as mine)::integer[])"),
    ],
}
"""By exercise: attempts that are right without being the solution."""


@pytest.mark.parametrize("number", CHECKS)
def test_solution_solves_it(number: int) -> None:
    assert repr(check(number, solution(number))) == f"exercise {number} is solved"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "attempt", "sentence"), [(number, *mistake) for number, mistakes in MISTAKES.items() for mistake in mistakes]
)
def test_mistake_gets_its_sentence(number: int, attempt: str, sentence: str) -> None:
    verdict = check(number, attempt)
    assert not verdict.solved
    assert sentence in verdict.problem


@pytest.mark.slow
@pytest.mark.parametrize(("number", "attempt"), [(number, right) for number, rights in RIGHT.items() for right in rights])
def test_other_solution_is_right_too(number: int, attempt: str) -> None:
    assert check(number, attempt).problem is None


def test_each_exercise_has_its_files_mistakes_and_other_solutions() -> None:
    files = {path.name for path in (SQL / "exercises").iterdir()}
    assert files == {f"{number}_{what}.sql" for number in CHECKS for what in ("given", "solution")}
    assert all(len(MISTAKES[number]) >= 5 and len(RIGHT[number]) >= 2 for number in CHECKS)


def test_summary_counts_what_was_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exercises, "_solved", set())
    assert exercises.summary().startswith(f"0 of {len(CHECKS)} solved; still to do: 1, 2, 3")
    check(6, solution(6))
    check(6, "select 1")
    assert exercises.summary().startswith(f"1 of {len(CHECKS)} solved; still to do: 1, 2, 3, 4, 5, 7")
    exercises._solved.update(CHECKS)
    assert exercises.summary() == f"{len(CHECKS)} of {len(CHECKS)} solved"


def test_long_check_says_that_it_works(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(exercises, "LONG_S", 0)
    for is_pytest in (True, False):
        with monkeypatch.context() as patch:
            if not is_pytest:
                patch.delitem(os.environ, "PYTEST_VERSION")
            check(6, "select 1")
            assert bool(re.search("checking exercise 6", capsys.readouterr().err)) != is_pytest


def test_unknown_exercise() -> None:
    with pytest.raises(WorkbookError, match="There is no exercise 11; take one of 1, 2, 3, 4, 5") as caught:
        wb.exercises.show(11)
    assert is_one_sentence(caught.value)
