"""Whether calls are the ones that a case expects: the rules of the Berkeley Function Calling Leaderboard for Python.

The facts are those of `bfcl_eval/eval_checker/ast_eval/ast_checker.py` (bfcl-eval 2026.3.23, Apache 2.0):

- The number of calls is that of the answers. Each answer, in turn, takes the first call left that fits it.
- No required argument is missing, none is given that the tool or the answer does not have, and one that is left out must have
  "" among its values.
- An argument has the type that the tool declares (an integer goes for a number), or that of its first value in the answer.
- Strings are compared without case, blanks and the characters `,./-_*^`, and with one kind of quotation mark, also where they
  stand in an array or an object. Arrays and objects are looked into one level deep.

With `Case.exact` a value must equal one of the answer's to the last character; the other rules are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from gemma_tools.bench.cases import Case, ExpectedCall

_TYPES: Final = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict}
_PLAIN: Final = str.maketrans({**dict.fromkeys(" ,./-_*^"), "'": '"'})


class MadeCall(NamedTuple):
    """A call that a model made; `arguments` is None where they are not a JSON object."""

    name: str
    arguments: Mapping[str, Any] | None


def fault_of(case: Case, calls: Sequence[MadeCall], content: str | None = None) -> str | None:
    """Why this is not what the case expects, in one sentence; None: it is right."""
    if len(calls) != len(case.calls):
        return f"{_counted(len(calls))} made, {_counted(len(case.calls))} expected"
    left = list(calls)
    for wanted in case.calls:
        faults = [_call_fault(case, wanted, call) for call in left]
        if None not in faults:
            return faults[0] if len(case.calls) == 1 else f"the expected call of {wanted.name} is missing: {faults[0]}"
        del left[faults.index(None)]
    said = (content or "").casefold()
    missing = [text for text in case.says if text.casefold() not in said]
    return f"the answer does not contain {missing[0]!r}" if missing else None


def names_fit(case: Case, calls: Sequence[MadeCall]) -> bool:
    """Whether the tools that were called are the expected ones, each as often as it should be."""
    return sorted(call.name for call in calls) == sorted(call.name for call in case.calls)


def _counted(count: int) -> str:
    return {0: "no call", 1: "1 call"}.get(count, f"{count} calls")


def _call_fault(case: Case, wanted: ExpectedCall, call: MadeCall) -> str | None:
    if call.name != wanted.name:
        return f"{call.name} was called, but {wanted.name} was expected"
    if call.arguments is None:
        return "the arguments are not a JSON object"
    schema = _parameters(case, wanted.name)
    properties = schema.get("properties") or {}
    for key in schema.get("required") or ():
        if key not in call.arguments:
            return f"{key} is required, but missing"
    for key, value in call.arguments.items():
        if key not in properties or key not in wanted.arguments:
            return f"{key} should not be given"
        accepted = wanted.arguments[key]
        fits = any(_same(value, one) for one in accepted) if case.exact else _accepts(value, accepted, properties[key])
        if not fits:
            return f"{key} is {value!r}, and expected is {' or '.join(map(repr, accepted))}"
    for key, accepted in wanted.arguments.items():
        if key not in call.arguments and "" not in accepted:
            return f"{key} is missing"
    return None


def _parameters(case: Case, name: str) -> Mapping[str, Any]:
    functions = (tool["function"] for tool in case.tools)
    return next((function.get("parameters") or {} for function in functions if function["name"] == name), {})


def _same(value: Any, one: Any) -> bool:
    """Whether two JSON values are equal; a boolean is not a number. No deeper than `one` is."""
    if isinstance(value, dict) and isinstance(one, Mapping):
        return value.keys() == one.keys() and all(_same(value[key], one[key]) for key in one)
    if isinstance(value, list) and isinstance(one, Sequence) and not isinstance(one, str):
        return len(value) == len(one) and all(map(_same, value, one))
    return isinstance(value, bool) == isinstance(one, bool) and bool(value == one)


def _type(schema: Any) -> type | None:
    named = schema.get("type") if isinstance(schema, Mapping) else None
    return _TYPES.get(named) if isinstance(named, str) else None


def _accepts(value: Any, accepted: Sequence[Any], schema: Any) -> bool:
    """Whether BFCL takes `value`, by the type that is declared for it and the values that are right."""
    expected = _type(schema) or str  # what has no type BFCL reads as text, or as what the answer holds
    found = float if expected is float and type(value) is int else type(value)
    first = next((type(one) for one in accepted if one != ""), None)
    nested = _type(schema.get("items")) if expected is list else None
    if found is expected:
        if nested and not any(_has_type(value, one, nested) for one in accepted):
            return False
    elif found is not first:
        return False
    if found is not expected or first not in (None, expected):  # the answer is of another type than the tool declares
        return value in accepted
    if expected is dict:
        return any(_is_object(value, one) for one in accepted)
    if nested is dict:
        return any(isinstance(one, list | str) and _is_objects(value, one) for one in accepted)
    if expected is str:
        return _standard(value) in [_standard(one) for one in accepted if isinstance(one, str)]
    if expected is list:
        return _standards(value) in [_standards(one) for one in accepted if isinstance(one, list | str)]
    return value in accepted


def _has_type(items: Sequence[Any], answer: Any, expected: type) -> bool:
    """Whether each item has the type that is declared for it, or that of the answer's first."""
    if not isinstance(answer, list):
        return True
    first = next((type(one) for one in answer if one != ""), None)
    return all(type(item) in (expected, first) for item in items)


def _is_object(value: Mapping[str, Any], answer: Any) -> bool:
    """Whether each member is one of those that the answer has for it, and none is missing that must be there."""
    if not isinstance(answer, Mapping):
        return False
    if not all(key in answer and _standard(item) in _standards(answer[key]) for key, item in value.items()):
        return False
    return all(key in value or "" in accepted for key, accepted in answer.items())


def _is_objects(values: Sequence[Any], answer: Sequence[Any]) -> bool:
    if len(values) != len(answer):
        return False
    return all(isinstance(value, Mapping) and _is_object(value, one) for value, one in zip(values, answer, strict=True))


def _standard(value: Any) -> Any:
    """A text as BFCL compares it; any other value as it is."""
    return value.translate(_PLAIN).lower() if isinstance(value, str) else value


def _standards(values: Any) -> list[Any]:
    return [_standard(value) for value in values] if isinstance(values, list | str) else [values]
