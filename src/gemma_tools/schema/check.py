"""Whether a JSON value matches a schema, and if not, why, in one sentence.

`jsonschema_rs` (the extra `validation`), a compiled validator, does the work. This module adds limits: schemas are read like in
the rest of this package (types in capitals, `nullable`), nothing is downloaded, a pattern may take a limited number of steps,
and a value so deep that the native stack could overflow is not validated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NoReturn

from gemma_tools.errors import MissingDependency
from gemma_tools.jsontext import is_mapping, read_json
from gemma_tools.schema.refs import DATA, Document
from gemma_tools.schema.types import Schema, normal

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError, Validator

_MOST_STEPS: Final = 100_000
"""The maximum backtracking of a pattern on one text; some milliseconds. Clients choose both, and some pairs would never end."""
_DEEPEST: Final = 128
"""The maximum nesting of arrays and objects in a value."""
_MOST_HOPS: Final = 3000
_MOST_FRAMES: Final = 16_000
"""The depth of a value, times the parts of its schema that may be checked on one level. A native stack of 8 MB allows about
twice as many.
"""
_LONGEST: Final = 400
"""Characters of a message, which quotes values and patterns."""
_DRAFTS: Final = ("draft-04", "draft-06", "draft-07", "2019-09", "2020-12")
_MAPS: Final = frozenset(("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"))
"""Keywords whose value contains schemas by name."""
_NO_SCHEMAS: Final = DATA | {"required", "dependentRequired", "type"}
_HOPS: Final = frozenset(("$ref", "$dynamicRef", "$recursiveRef", "not", "if", "then", "else"))
_BRANCHES: Final = frozenset(("allOf", "anyOf", "oneOf", "dependentSchemas", "dependencies"))


def can_check() -> bool:
    """Whether the extra `validation` is installed."""
    return find_spec("jsonschema_rs") is not None


def schema_fault(schema: Schema) -> str | None:
    """Why values cannot be validated against `schema`: the error, and its position; None if they can.

    Raises:
        MissingDependency: the extra `validation` is not installed.
    """
    return _prepared(schema)[2]


def value_fault(text: str, schema: Schema) -> str | None:
    """Why the JSON `text` does not match `schema`; None if it does.

    Raises:
        MissingDependency: the extra `validation` is not installed.
    """
    try:
        value = read_json(text)
    except ValueError as error:
        return f"it is not valid JSON: {error}"
    validator, hops, fault = _prepared(schema)
    if validator is None:
        return f"its schema is not valid: {fault}"
    # Brackets are fast to count, and there are at least as many as levels.
    brackets = text.count("{") + text.count("[")
    most = min(_DEEPEST, _MOST_FRAMES // (1 + hops))
    if brackets > most and _depth(value) > most:
        return f"it cannot be checked: it is nested deeper than {most} levels"
    from jsonschema_rs import ValidationError

    try:
        validator.validate(value)
    except ValidationError as error:
        return _said(error)
    except (ValueError, RecursionError) as error:  # text that UTF-8 cannot carry
        return f"it cannot be checked: {error}"
    return None


def _prepared(schema: Schema) -> tuple[Validator | None, int, str | None]:
    try:
        text = json.dumps(schema)
    except RecursionError:
        return None, 0, "it is nested too deeply"
    return _built(text)


@lru_cache(maxsize=256)
def _built(text: str) -> tuple[Validator | None, int, str | None]:
    """A validator, the maximum number of steps for one level of a value, and why there is none, if so."""
    try:
        from jsonschema_rs import FancyRegexOptions, ValidationError, validator_for
    except ImportError:
        raise MissingDependency("jsonschema_rs", "validation", "Checking an answer against a schema") from None

    schema, hops = _normalised(json.loads(text))
    if hops > _MOST_HOPS:
        return None, hops, f"it has more than {_MOST_HOPS} references and branches"
    options = FancyRegexOptions(backtrack_limit=_MOST_STEPS)
    try:
        return validator_for(schema, retriever=_refuse, pattern_options=options, validate_formats=False), hops, None
    except ValidationError as error:
        return None, hops, _lost_reference(schema) or _said(error)
    except ValueError as error:
        return None, hops, str(error)


def _refuse(reference: str) -> NoReturn:
    raise ValueError(f"{reference} leads out of the schema, and is not downloaded")


def _normalised(schema: Any) -> tuple[Any, int]:
    """A schema for `jsonschema_rs`, as a copy, and how many of its parts can be checked on one level of a value."""
    result, hops = [schema], 0
    stack: list[tuple[Any, Any, bool]] = [(result, 0, False)]
    while stack:
        container, key, named = stack.pop()
        value = container[key]
        if is_mapping(value):
            copy = container[key] = dict(value if named else normal(value))
            for keyword, inner in copy.items():
                if named or keyword not in _NO_SCHEMAS:
                    stack.append((copy, keyword, not named and keyword in _MAPS))
                if not named:
                    hops += len(inner) if keyword in _BRANCHES and isinstance(inner, (list, Mapping)) else keyword in _HOPS
        elif isinstance(value, list):
            container[key] = list(value)
            stack.extend((container[key], i, False) for i in range(len(value)))
    root = result[0]
    if is_mapping(root) and isinstance(root.get("$schema"), str) and not any(name in root["$schema"] for name in _DRAFTS):
        del root["$schema"]  # type: ignore[attr-defined]  # a dialect of others is read as the newest draft
    return root, hops


def _lost_reference(schema: Any) -> str | None:
    """The error for the first reference that cannot be resolved."""
    document, stack = Document(schema), [schema]
    while stack:
        node = stack.pop()
        if is_mapping(node):
            reference = node.get("$ref")
            if isinstance(reference, str) and document.lookup(reference) is None:
                where = "nowhere in the schema" if reference.startswith("#") else "out of the schema, and is not downloaded"
                return f"$ref {reference!r} leads {where}"
            stack.extend(value for key, value in node.items() if key not in DATA)
        elif isinstance(node, list):
            stack.extend(node)
    return None


def _said(error: ValidationError) -> str:
    """One sentence: the position, and the error."""
    where = _path(error.instance_path)
    if error.kind.name == "backtrackLimitExceeded" or "backtracking" in error.message:
        return f"{where}: it cannot be checked: the pattern at {_path(error.schema_path)} of the schema takes too many steps"
    message = error.message
    branches = getattr(error.kind, "context", None)
    if branches:
        message += " (" + "; ".join(branch[0].message for branch in branches if branch) + ")"
    return f"{where}: {_short(message)}"


def _short(message: str) -> str:
    half = _LONGEST // 2
    return message if len(message) <= _LONGEST else f"{message[:half]}…{message[-half:]}"


def _path(steps: list[str | int]) -> str:
    """A JSON path: `$.tags[0]['first name']`."""
    written = (f"[{s}]" if isinstance(s, int) else f".{s}" if s.isidentifier() else f"[{s!r}]" for s in steps)
    return "$" + "".join(written)


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level := [
        child
        for item in level
        if isinstance(item, (dict, list))
        for child in (item.values() if isinstance(item, dict) else item)
    ]:
        depth += 1
    return depth
