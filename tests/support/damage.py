"""Strategies for values and bytes that are almost right: something good, hurt in a few places."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st


def _deep() -> Any:
    value: Any = []
    for _ in range(300):
        value = [value]
    return value


oddities = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["", "\ud800", "\x00", "auto", "<bos>", "<|turn>", "x" * 5000, 10**30, -1, 1e308],
    ),
    # Made anew each time: what is drawn may be hurt again.
    st.sampled_from([list, dict, lambda: [None], lambda: {"a": 1}]).map(lambda make: make()),
    st.builds(_deep),
    st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=3),
    st.lists(st.none() | st.integers() | st.text(max_size=5), max_size=3),
)
"""Values that stand where others are expected."""


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in `value` with one of its keys or indices."""
    stack = [value]
    while stack:
        item = stack.pop()
        keys: Sequence[Any] = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key in keys:
            yield item, key
            stack.append(item[key])


@st.composite
def hurt_values(draw: Any, good: st.SearchStrategy[Any]) -> Any:
    """A value of `good` in which up to three members are replaced, removed, doubled or added."""
    value = copy.deepcopy(draw(good))
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(value))
        if not places:
            return draw(oddities)
        container, key = places[draw(st.integers(0, len(places) - 1))]
        change = draw(st.sampled_from(["replace", "replace", "remove", "double", "add"]))
        if change == "replace":
            container[key] = draw(oddities)
        elif change == "remove":
            del container[key]
        elif change == "add" and isinstance(container, dict):
            container[draw(st.text(max_size=6))] = draw(oddities)
        elif isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
    return value


@st.composite
def hurt_bytes(draw: Any, good: st.SearchStrategy[bytes], marks: Sequence[bytes] = ()) -> bytes:
    """Bytes of `good` in which up to three places are cut out, overwritten, filled or doubled; `marks` may be put in."""
    data = draw(good)
    put_in = st.binary(max_size=9) | st.sampled_from([b"\xff" * 8, b"\x00" * 8, *marks])
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(1, 40))
        change = draw(st.sampled_from(["cut", "put", "write", "double", "end"]))
        new = draw(put_in) if change in ("put", "write") else b""
        data = {
            "cut": data[:at] + data[at + size :],
            "put": data[:at] + new + data[at:],
            "write": data[:at] + new + data[at + len(new) :],
            "double": data[: at + size] + data[at:],
            "end": data[:at],
        }[change]
    return data
