"""What the databases begin with is the same at each moment of the year; `make test CLOCK=…` tries a moment."""

import re
from datetime import timedelta

import pytest
from workbook import clone, database
from workbook.paths import DATA, ROOT

OLDEST_CLOCK = "2024"
"""CLOCK goes no further back, see `server.parse_clock`."""


@pytest.mark.parametrize("data", ["seed", "dirty"])
def test_completions_are_of_today_or_more_than_a_week_old(data: str) -> None:
    v1 = clone(data=data)
    found = "select count(*) from sessions where is_completed and completed_at is not null and {}"
    assert v1.value(found.format("completed_at > now() - interval '7 days' and completed_at::date <> now()::date")) == 0
    assert v1.value(found.format("completed_at < now() - interval '7 days'")) > 0


def test_weeks_of_dirty_profiles_never_end_right_by_chance() -> None:
    in_new_york = "week_reset_date = date_trunc('week', now()) + interval '7 days 05:00'"
    ends = clone(data="dirty").run(
        "select"
        f" count(*) filter (where week_reset_date > now() + interval '7 days' and not {in_new_york}) as too_late,"
        " count(*) filter (where week_reset_date < now() - interval '7 days') as missed,"
        f" count(*) filter (where {in_new_york}) as in_new_york"
        " from profiles where id::text like 'd0%'"
    )
    assert ends.iloc[0].tolist() == [7, 1, 1]


def test_fixed_dates_are_older_than_any_clock() -> None:
    files = [*DATA.glob("*.sql"), *(ROOT / "sql" / "exercises").glob("*.sql"), *(ROOT / "sql" / "bench").glob("*.sql")]
    dates = [found for file in files for found in re.findall(r"'(\d{4}-\d\d-\d\d)", file.read_text())]
    assert dates and max(dates) < OLDEST_CLOCK


def test_clone_whose_making_crosses_midnight_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    today = database._today
    seen = []

    def clock(connection: object) -> object:
        seen.append(today(connection))
        return seen[-1] - timedelta(days=1) if len(seen) == 1 else seen[-1]

    monkeypatch.setattr(database, "_today", clock)
    before = len(database._clones)
    made = clone(data="empty")
    first, *_, last = database._clones[before:]
    assert made.name == last
    with made.connect() as connection:
        exists = "select exists (select from pg_database where datname = %s)"
        assert connection.execute(exists, [last]).fetchone() == (True,)
        assert connection.execute(exists, [first]).fetchone() == (False,)
    assert made.value("select min(created_at) > now() - interval '1 day' from scenarios")


def test_templates_of_two_days_differ() -> None:
    with clone(data="empty").connect() as connection:
        day = database._today(connection)
    assert database._template_version(day) != database._template_version(day + timedelta(days=1))
