"""The catalogue: 46 issues, each fact of them in one place."""

from pathlib import Path

import pytest
from workbook import book, catalogue, report, writes
from workbook.errors import WorkbookError
from workbook.paths import ROOT


def test_numbers_run_from_1_to_46() -> None:
    assert [issue.number for issue in catalogue.all_issues()] == list(range(1, 47))


def test_severities_tags_and_categories_are_known() -> None:
    names = {category.name for category in catalogue.all_categories()}
    for issue in catalogue.all_issues():
        assert issue.severity in catalogue.SEVERITIES
        assert set(issue.tags) <= {"double_trouble", "new"}
        assert issue.category in names
        assert issue.title and issue.symptom


def test_touching_is_mutual_or_at_least_known() -> None:
    numbers = {issue.number for issue in catalogue.all_issues()}
    for issue in catalogue.all_issues():
        assert set(issue.touches) <= numbers - {issue.number}


def test_readme_lists_the_issues_as_they_are() -> None:
    assert catalogue.readme_index() in (ROOT / "README.md").read_text()


def test_readme_says_what_a_message_costs_by_the_published_runs() -> None:
    assert writes.summary() in (ROOT / "README.md").read_text()


def test_book_that_cannot_be_written() -> None:
    # Not even root may make a folder there.
    with pytest.raises(WorkbookError, match=r"^The pages cannot be written to /proc/book .+\.$"):
        book.build(report.stored()[:1], Path("/proc/book"))


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(WorkbookError, match="1 to 46"):
        catalogue.issue(99)
    with pytest.raises(WorkbookError, match="Critical, Data integrity"):
        catalogue.issue_table("Criticla")
