"""Whether calls are the expected ones: the rules of the Berkeley Function Calling Leaderboard for Python.

The facts are those of `bfcl_eval/eval_checker/ast_eval/ast_checker.py` (bfcl-eval 2026.3.23, Apache 2.0):

- The number of calls must be that of the answers. Each answer, in turn, takes the first remaining call that matches it.
- No required argument is missing, no argument is given that the tool or the answer does not have, and an argument that is left
  out must have "" among its values.
- An argument has the type that the tool declares (an integer counts as a number), or that of its first value in the answer.
- Strings are compared without case, spaces and the characters `,./-_*^`, and with one kind of quotation mark, also inside an
  array or an object. Arrays and objects are compared one level deep.

With `Case.exact` a value must be exactly equal to one of the answer's; the other rules are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from gemma_tools.bench.cases import Case, ExpectedCall

_TYPES: Final = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list, "object": dict}
_PLAIN: Final = str.maketrans({**dict.fromkeys(" ,./-_*^"), "'": '"'})


class MadeCall(NamedTuple):
    """A call of a model; `arguments` is None if they are not a JSON object."""

    name: str
    arguments: Mapping[str, Any] | None


def fault_of(case: Case, calls: Sequence[MadeCall], content: str | None = None) -> str | None:
    """Why this is not the expected answer, in one sentence; None: it is correct."""
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
    """Whether the called tools are the expected ones, each with the expected number of calls."""
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
    """Whether BFCL accepts `value`, by its declared type and the correct values."""
    expected = _type(schema) or str  # BFCL reads a value without a type as text, or as the type of the answer
    found = float if expected is float and type(value) is int else type(value)
    first = next((type(one) for one in accepted if one != ""), None)
    nested = _type(schema.get("items")) if expected is list else None
    if found is expected:
        if nested and not any(_has_type(value, one, nested) for one in accepted):
            return False
    elif found is not first:
        return False
    if found is not expected or first not in (None, expected):  # the answer has another type than the tool declares
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
    """Whether each item has its declared type, or that of the answer's first item."""
    if not isinstance(answer, list):
        return True
    first = next((type(one) for one in answer if one != ""), None)
    return all(type(item) in (expected, first) for item in items)


def _is_object(value: Mapping[str, Any], answer: Any) -> bool:
    """Whether each member is one of the answer's values for it, and no required one is missing.

    A member of BFCL's answers is always the list of its values. Other files may have the only value itself.
    """
    if not isinstance(answer, Mapping):
        return False
    accepted = {key: one if isinstance(one, list) else [one] for key, one in answer.items()}
    if not all(key in accepted and _standard(item) in _standards(accepted[key]) for key, item in value.items()):
        return False
    return all(key in value or "" in values for key, values in accepted.items())


def _is_objects(values: Sequence[Any], answer: Sequence[Any]) -> bool:
    if len(values) != len(answer):
        return False
    return all(isinstance(value, Mapping) and _is_object(value, one) for value, one in zip(values, answer, strict=True))


def _standard(value: Any) -> Any:
    """A text in the form that BFCL compares; any other value unchanged."""
    return value.translate(_PLAIN).lower() if isinstance(value, str) else value


def _standards(values: Any) -> list[Any]:
    return [_standard(value) for value in values] if isinstance(values, list | str) else [values]
