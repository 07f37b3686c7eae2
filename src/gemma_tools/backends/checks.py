"""Whether an answer keeps what the request asked for: arguments by their schemas, and answers that must be JSON.

JSON Schema is checked by `jsonschema` (the extra `validation`); a `$ref` that leads out of the schema is never followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Final

from gemma_tools.errors import InvalidRequest, MissingDependency
from gemma_tools.reply import Problem, Reply
from gemma_tools.request import ResponseFormat, Tool

_PATTERN_SECONDS: Final = 0.5
"""How long one pattern of a schema may take on one text. Callers choose both, and some pairs would take for ever."""
_FENCED = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)


def can_validate() -> bool:
    """Whether the `validation` extra is installed."""
    return find_spec("jsonschema") is not None


def check_schema(schema: Mapping[str, Any], param: str) -> None:
    """See that `schema` can be used for checking.

    Raises:
        InvalidRequest: it is no JSON Schema; `param` is the field that it came in.
        MissingDependency: the `validation` extra is not installed.
    """
    fault = _validator(json.dumps(schema))[1]
    if fault:
        raise InvalidRequest(f"not a JSON Schema: {fault}", param=param, code="invalid_schema")


def argument_problems(reply: Reply, tools: Sequence[Tool]) -> tuple[Problem, ...]:
    """What breaks its tool's schema in the calls of `reply`: one problem a call, whose `text` is the arguments."""
    schemas = {tool.name: tool.parameters for tool in tools}
    problems = []
    for index, call in enumerate(reply.tool_calls):
        schema = schemas.get(call.name)
        fault = schema_fault(call.arguments_json, schema) if schema else None
        if fault:
            problems.append(Problem("invalid_arguments", f"{call.name}: {fault}", call.arguments_json, index))
    return tuple(problems)


def schema_fault(text: str, schema: Mapping[str, Any]) -> str | None:
    """Why the JSON `text` does not fit `schema`, in one sentence; None if it does."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}"
    validator, fault = _validator(json.dumps(schema))
    if fault:
        return f"its schema is no JSON Schema: {fault}"
    try:
        first = next(validator.iter_errors(value), None)
    except Exception as error:  # a reference that leads nowhere, an unusable pattern, too deep a value
        return f"it cannot be checked: {error}"
    return None if first is None else f"{first.json_path}: {first.message}"


def answer_fault(text: str, wanted: ResponseFormat) -> str | None:
    """Why the answer `text` is not the JSON that was asked for, in one sentence; None if it is."""
    if wanted.schema is not None:
        return schema_fault(text, wanted.schema)
    try:
        return None if isinstance(json.loads(text), dict) else "it is JSON, but no object"
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}"


def json_text(text: str | None) -> str:
    """The JSON in an answer, without the fences or the words around it; the answer itself where none is found."""
    answer = (text or "").strip()
    for candidate in (answer, *_FENCED.findall(answer)):
        if _is_json(candidate):
            return str(candidate).strip()
    start = min((found for found in map(answer.find, "{[") if found >= 0), default=-1)
    if start >= 0:
        try:
            end = json.JSONDecoder().raw_decode(answer, start)[1]
        except (ValueError, RecursionError):
            return answer
        return answer[start:end]
    return answer


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


@lru_cache(maxsize=256)
def _validator(schema_json: str) -> tuple[Any, str | None]:
    """A validator for a schema, and why the schema cannot be used, if so."""
    try:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import extend, validator_for
        from referencing import Registry
    except ImportError as error:
        raise MissingDependency("jsonschema", "validation", "Checking an answer against a schema") from error

    schema = json.loads(schema_json)
    if '"unevaluatedProperties"' in schema_json and '"patternProperties"' in schema_json:
        return None, "unevaluatedProperties is not checked beside patternProperties"
    kind: Any = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        return None, error.message
    bounded = {"pattern": _pattern, "patternProperties": _pattern_properties, "additionalProperties": _additional_properties}
    make: Any = extend
    return make(kind, bounded)(schema, registry=Registry()), None


def _matches(pattern: str, text: str) -> bool:
    """Whether `pattern` is found in `text`; other threads run on meanwhile.

    Raises:
        TimeoutError: it took too long.
    """
    import regex

    return regex.search(pattern, text, timeout=_PATTERN_SECONDS, concurrent=True) is not None


def _pattern(validator: Any, pattern: str, instance: object, schema: Any) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: object, schema: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for pattern, inner in patterns.items():
            for key, value in instance.items():
                if _matches(pattern, key):
                    yield from validator.descend(value, inner, path=key, schema_path=pattern)


def _additional_properties(validator: Any, inner: Any, instance: object, schema: Mapping[str, Any]) -> Iterator[Any]:
    from jsonschema.exceptions import ValidationError

    if not isinstance(instance, dict):
        return
    patterns = schema.get("patternProperties", {})
    declared = schema.get("properties", {})
    extra = [key for key in instance if key not in declared and not any(_matches(pattern, key) for pattern in patterns)]
    if isinstance(inner, dict):
        for key in extra:
            yield from validator.descend(instance[key], inner, path=key)
    elif inner is False and extra:
        yield ValidationError(f"Additional properties are not allowed ({', '.join(map(repr, extra))})")
