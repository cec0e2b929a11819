"""What a team has added to v1 goes through the rollout as it goes through the fixes, or the plan names it and what helps."""

from collections.abc import Iterator

import pytest
import rollouts
from team import database_at, roles
from test_extended import ADDITIONS, OTHER_ROLE, ROLE, Addition
from workbook import Actor, Database


@pytest.fixture(scope="module", autouse=True)
def _roles() -> Iterator[None]:
    with roles(ROLE, OTHER_ROLE):
        yield


FROM_V1 = [addition for addition in ADDITIONS if addition.from_v1]
# One of each sort is asked each time.
QUICK = {
    "30-column_and_a_row's_value",
    "30-identity_column",
    "30-publication",
    "30-row_trigger",
    "30-view",
    "29-kind_of_event",
    "07-index_on_what_is_renamed",
    "05-grant_of_the_column",
    "13-default_of_role",
    "22-trigger_that_counts",
    "40-foreign_key_to_sessions",
    "40-foreign_key_that_restricts",
}
ROUNDS = 4
"""How many times a plan may name something more: a fix stops at the first thing that it meets."""


def clear_the_way(database: Database, actor: Actor) -> None:
    """Do as the plan says until nothing stops the rollout."""
    for _ in range(ROUNDS):
        obstacles = rollouts.stops(database)
        if not obstacles:
            return
        statements = rollouts.statements_that_help(obstacles)
        assert statements, f"no statement helps: {[str(obstacle) for obstacle in obstacles]}"
        for statement in statements:
            database.run(statement, actor)
    pytest.fail(f"still stopped: {[str(obstacle) for obstacle in obstacles]}", pytrace=False)


@pytest.mark.parametrize(
    "addition",
    [pytest.param(addition, id=addition.id, marks=[] if addition.id in QUICK else [pytest.mark.slow]) for addition in FROM_V1],
)
def test_goes_the_way_of_the_fixes_or_is_named(addition: Addition) -> None:
    with database_at("v1") as database:
        database.run(addition.add, addition.actor)
        clear_the_way(database, addition.actor)
        assert not (stop := rollouts.fixes_stop(database)), f"the rollout goes where a fix stops: {stop}"
        if wrong := rollouts.wrong_with(database):
            pytest.fail("\n".join(wrong), pytrace=False)
