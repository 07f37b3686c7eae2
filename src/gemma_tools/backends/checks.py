"""Whether an answer keeps what the request asked for: arguments by their schemas, and answers that must be JSON.

JSON Schema is checked by `jsonschema` (the extra `validation`); a `$ref` that leads out of the schema is never followed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from gemma_tools.errors import InvalidRequest, MissingDependency
from gemma_tools.reply import Problem, Reply
from gemma_tools.request import ResponseFormat, Tool

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
        from jsonschema.validators import validator_for
        from referencing import Registry
    except ImportError as error:
        raise MissingDependency("jsonschema", "validation", "Checking an answer against a schema") from error

    schema = json.loads(schema_json)
    kind: Any = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        return None, error.message
    return kind(schema, registry=Registry()), None
