"""The bytes that a worker holds in all."""

from __future__ import annotations

import pytest

from services.gateway.edge.buffer_budget import BufferBudget


def test_bytes_beyond_the_limit_are_refused_and_not_counted() -> None:
    budget = BufferBudget(100)
    assert budget.take(60)
    assert not budget.take(41)
    assert budget.held_bytes == 60
    assert budget.take(40)


def test_what_is_given_back_can_be_taken_again() -> None:
    budget = BufferBudget(100)
    assert budget.take(100)
    budget.give_back(100)
    assert budget.held_bytes == 0
    assert budget.take(100)


def test_giving_back_more_than_was_taken_is_a_defect() -> None:
    budget = BufferBudget(100)
    assert budget.take(10)
    with pytest.raises(ValueError, match="11 bytes are given back"):
        budget.give_back(11)
