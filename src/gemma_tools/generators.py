"""Generators that return a value: how to loop over one and also get the value."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Generic, Self, TypeVar

Y = TypeVar("Y")
R = TypeVar("R")


class Returning(Generic[Y, R]):
    """Loops over `generator` once and keeps its return value in `value`; as a context manager it closes the generator."""

    value: R
    """The generator's return value. It is available after the loop has ended normally."""

    def __init__(self, generator: Generator[Y, Any, R]) -> None:
        self._generator = generator

    def __iter__(self) -> Iterator[Y]:
        self.value = yield from self._generator

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._generator.close()


def drain(generator: Generator[Any, Any, R]) -> R:
    """Run `generator` to its end, and return its return value."""
    with Returning(generator) as running:
        for _ in running:
            pass
    return running.value
