"""Whether an answer satisfies the request: arguments against their schemas, and answers that must be JSON.

`gemma_tools.schema.check` (the extra `validation`) checks JSON Schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import read_json
from gemma_tools.reply import Problem, Reply
from gemma_tools.request import ResponseFormat, Tool
from gemma_tools.schema.check import schema_fault, value_fault

_FENCED = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)


def check_schema(schema: Mapping[str, Any], param: str) -> None:
    """Check that `schema` can be used for validation.

    Raises:
        InvalidRequest: it cannot; `param` is the field that contained it.
        MissingDependency: the `validation` extra is not installed.
    """
    fault = schema_fault(schema)
    if fault:
        raise InvalidRequest(f"invalid schema: {fault}", param=param, code="invalid_schema")


def argument_problems(reply: Reply, tools: Sequence[Tool]) -> tuple[Problem, ...]:
    """The invalid arguments in the calls of `reply`: one problem per call, whose `text` is the arguments."""
    schemas = {tool.name: tool.parameters for tool in tools}
    problems = []
    for index, call in enumerate(reply.tool_calls):
        schema = schemas.get(call.name)
        fault = value_fault(call.arguments_json, schema) if schema else None
        if fault:
            problems.append(Problem("invalid_arguments", f"{call.name}: {fault}", call.arguments_json, index))
    return tuple(problems)


def answer_fault(text: str, wanted: ResponseFormat) -> str | None:
    """Why the answer `text` is not the requested JSON, in one sentence; None if it is."""
    if wanted.schema is not None:
        return value_fault(text, wanted.schema)
    try:
        return None if isinstance(read_json(text), dict) else "it is valid JSON, but not an object"
    except ValueError as error:
        return f"it is not valid JSON: {error}"


def json_text(text: str | None) -> str:
    """The JSON in an answer, without fences or words around it; the answer itself if there is none."""
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
