"""Generators that return a value."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from gemma_tools.generators import Returning, drain


def count(log: list[str]) -> Generator[int, None, str]:
    try:
        yield 1
        yield 2
        return "done"
    finally:
        log.append("closed")


def test_a_loop_gives_the_items_and_then_the_value() -> None:
    log: list[str] = []
    with Returning(count(log)) as numbers:
        assert list(numbers) == [1, 2]
    assert (numbers.value, log) == ("done", ["closed"])


def test_a_loop_that_is_left_closes_the_generator() -> None:
    log: list[str] = []
    with Returning(count(log)) as numbers:
        for _ in numbers:
            break
    assert log == ["closed"]
    assert not hasattr(numbers, "value")


def test_a_failure_in_the_loop_closes_the_generator_at_once() -> None:
    log: list[str] = []

    def fail() -> None:
        with Returning(count(log)) as numbers:
            for number in numbers:
                number / 0

    with pytest.raises(ZeroDivisionError):  # which holds the frames, and all that is in them
        fail()
    assert log == ["closed"]


def test_drain_gives_the_value_alone() -> None:
    log: list[str] = []
    assert drain(count(log)) == "done"
    assert log == ["closed"]
