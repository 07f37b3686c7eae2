"""Every wellformed call of the vectors whose arguments are valid is in the grammar of its tools, and no invalid one is."""

from __future__ import annotations

from itertools import islice
from typing import Any

import jsonschema_rs
import pytest

from gemma_tools.formats import get_format
from support.grammar_tools import ALL, ANGLE, takes, write
from support.vectors import read


def _ordered(value: Any, schema: Any) -> Any:
    """`value` with its keys in the schema's order, which the grammar takes where the format keeps the caller's; `<` is text."""
    if isinstance(value, list):
        return [_ordered(item, schema.get("items") or {}) for item in value]
    if isinstance(value, str):
        return value.replace("<", ANGLE)
    if not isinstance(value, dict):
        return value
    declared = schema.get("properties") or {}
    names = [*(name for name in declared if name in value), *(name for name in value if name not in declared)]
    return {name: _ordered(value[name], declared.get(name) or {}) for name in names}


def _spells_a_stop(value: Any, stops: tuple[str, ...]) -> bool:
    if isinstance(value, dict):
        return any(_spells_a_stop(item, stops) for item in value.values())
    if isinstance(value, list):
        return any(_spells_a_stop(item, stops) for item in value)
    return isinstance(value, str) and any(stop in value for stop in stops)


@pytest.mark.parametrize("notation", ALL)
def test_valid_calls_are_taken_and_invalid_ones_refused(notation: str) -> None:
    family, options = ALL[notation]
    format = get_format(family, **options)
    wrong: list[tuple[str, bool]] = []
    taken = refused = 0
    for vector in islice(read(f"parse/{family}.jsonl"), 0, None, 3):  # a grammar takes its time
        declared = {t["function"]["name"]: t["function"].get("parameters") or {} for t in vector["tools"] or ()}
        calls = vector["expected"]["tool_calls"] or ()
        if vector["kind"] != "wellformed" or any(call["name"] not in declared for call in calls):
            continue
        grammar = format.grammar(vector["tools"], tool_choice="required") if calls else None
        for call in calls:
            schema, arguments = declared[call["name"]], call["arguments"]
            # Where a stop token is spelt, generation ends, whatever a grammar says.
            if _spells_a_stop(arguments, getattr(format, "stop", ())):
                continue
            valid = jsonschema_rs.is_valid(schema, arguments)
            text = write(family, call["name"], _ordered(arguments, schema), **options)
            assert grammar is not None
            if takes(grammar, text) != valid:
                wrong.append((vector["id"], valid))
            taken, refused = taken + valid, refused + (not valid)
    assert wrong == []
    assert taken > 150
    assert refused >= 1


@pytest.mark.parametrize("notation", ALL)
def test_damaged_calls_are_refused(notation: str) -> None:
    """What the vectors call malformed is not in the grammar, unless the damage left a call that is valid as it stands."""
    family, options = ALL[notation]
    format = get_format(family, **options)
    strict = get_format(family, **{**options, "recovery": "strict"})
    wrong, refused = [], 0
    for vector in read(f"parse/{family}.jsonl"):
        if vector["kind"] not in ("malformed", "truncated") or not vector["tools"]:
            continue
        text = vector["raw"]
        reply = strict.parse(text, vector["tools"])
        if takes(format.grammar(vector["tools"], tool_choice="required"), text):
            if reply.content is not None or reply.problems or not reply.tool_calls:
                wrong.append(vector["id"])
        else:
            refused += 1
    assert wrong == []
    assert refused > 8
