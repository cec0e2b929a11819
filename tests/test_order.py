"""Which fixes stand alone is as data/order.csv says, and what fixes cost is published for each."""

import pytest
from workbook import costs, fixes, order

QUICK = (1, 13, 31)


@pytest.mark.parametrize(
    "number",
    [pytest.param(number, marks=[] if number in QUICK else pytest.mark.slow) for number in order.outcomes()],
)
def test_a_fix_alone_comes_out_as_the_list_says(number: int) -> None:
    assert order.alone(number) == order.outcomes()[number]


def test_lists_have_every_fix() -> None:
    numbers = [fix.number for fix in fixes.all_fixes()]
    assert list(order.outcomes()) == numbers[1:]
    assert list(costs.costs()) == numbers
    assert set(costs.message_costs()) == set(numbers[1:])
