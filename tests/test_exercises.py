"""The exercises: their solutions solve them, and each usual mistake gets the sentence that helps."""

import pytest
import workbook as wb
from helpers import is_one_sentence
from workbook.errors import WorkbookError
from workbook.exercises import CHECKS, check, solution

POLICY = """
    alter table public.bookmarks enable row level security;
    create policy bookmarks_own on public.bookmarks {}"""
HINT = """
    create function public.use_hint(learner uuid) returns boolean language plpgsql as $$ begin
        {}
        if (select count(*) from public.hints {}) >= 3 then return false; end if;
        insert into public.hints (user_id) values (learner);
        return true;
    end $$"""
PAGE = "select id, sent_at from messages where session_id = :session and chat_type = 'helper' and {} limit 7"
OLD = "where sent_at < now() - interval '12 months'"

MISTAKES = [
    (1, "select 1", "Anna sees everybody's bookmarks"),
    (1, "alter table public.bookmarks enable row level security", "Anna sees 0 of her"),
    (1, POLICY.format("for select using (true)"), "Anna sees everybody's bookmarks"),
    (1, POLICY.format("for select using (user_id = (select auth.uid()))"), "Anna cannot add"),
    (1, POLICY.format("using (user_id = (select auth.uid())) with check (true)"), "in Ben's name"),
    (1, POLICY.format("using (auth.uid() = user_id)"), "for each row"),
    (1, POLICY.format("using (user_id = (select auth.uid()))"), "no index begins with user_id"),
    (
        1,
        POLICY.format("for select using (user_id = (select auth.uid()))")
        + "; create policy adding on bookmarks for insert with check (user_id = (select auth.uid()))"
        + "; create policy deleting on bookmarks for delete using ((select auth.uid()) is not null)",
        "Ben deletes Anna's",
    ),
    (1, POLICY.format("using (user_id = auth.uid()) with check (user_id = (select auth.uid()))"), "for each row"),
    (2, "create index on public.sessions (completed_at desc, scenario_id) where is_completed", "walks past others"),
    (3, PAGE.format("id > :id order by id"), "in the order in which they were sent"),
    (
        5,
        f"with moved as (delete from messages {OLD} returning *) insert into old_messages select * from moved".replace(
            "12", "11"
        ),
        "moved",
    ),
    (2, "select 1", "there are 0"),
    (2, "create index on public.sessions (scenario_id)", "still sorts"),
    (2, "create index on public.sessions (completed_at desc)", "rows to show ten"),
    (3, PAGE.format("sent_at > :sent_at order by sent_at"), "on no page"),
    (3, PAGE.format("sent_at >= :sent_at order by sent_at"), "never end"),
    (3, PAGE.format("(sent_at, id) > (:sent_at, :id) order by sent_at, id").replace("7", "70"), "seven fit"),
    (3, PAGE.format("(sent_at, id) > (:sent_at, :id) order by sent_at + interval '0', id"), "sorts all messages"),
    (4, HINT.format("", "where user_id = learner"), "gets 4 hints"),
    (4, HINT.format("lock table public.hints;", ""), "Ben gets no hint"),
    (5, f"delete from messages {OLD}", "there are"),
    (5, f"insert into old_messages select * from messages {OLD}; delete from messages {OLD}", "visible in the archive"),
    (5, f"insert into old_messages select * from messages {OLD}", "PostgreSQL says 23505"),
    (5, "select from nowhere", "refused: 42P01"),
]


@pytest.mark.parametrize("number", sorted(CHECKS))
def test_solution_solves_it(number: int) -> None:
    assert repr(check(number, solution(number))) == f"exercise {number} is solved"


@pytest.mark.slow
@pytest.mark.parametrize("number, attempt, sentence", MISTAKES)
def test_mistake_gets_its_sentence(number: int, attempt: str, sentence: str) -> None:
    verdict = check(number, attempt)
    assert not verdict.solved
    assert sentence in verdict.problem


def test_unknown_exercise() -> None:
    with pytest.raises(WorkbookError, match="There is no exercise 6; take one of 1, 2, 3, 4, 5") as caught:
        wb.exercises.show(6)
    assert is_one_sentence(caught.value)
