"""`max_calls`: after so many calls a parser reads no more, and says that it is finished."""

from __future__ import annotations

from typing import Any

import pytest

from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format

FORMATS = ("functiongemma", "gemma3", "gemma4")


@pytest.mark.parametrize("recovery", ["strict", "schema", "eager"])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("value", "code"), [(0, "invalid_value"), (-3, "invalid_value"), (True, "invalid_type"), ("2", "invalid_type")]
)
def test_max_calls_is_an_integer_from_one(name: str, recovery: Any, value: Any, code: str) -> None:
    format = get_format(name, recovery=recovery)
    for ask in (
        lambda: format.parser([], max_calls=value),
        lambda: format.parse("", [], max_calls=value),
        lambda: format.grammar([], max_calls=value),
    ):
        with pytest.raises(InvalidRequest) as caught:
            ask()
        assert (caught.value.param, caught.value.code) == ("max_calls", code)
