"""Size limits for the tools, schemas and grammars of a request, because the work grows with their size."""

from __future__ import annotations

import marshal
from functools import lru_cache

from gemma_tools.backends.config import ModelConfig
from gemma_tools.engines.base import Constraint
from gemma_tools.errors import InvalidRequest
from gemma_tools.request import ChatRequest


def refuse_large_schemas(request: ChatRequest, config: ModelConfig) -> None:
    """Check that the tools and schemas of `request` are within the limits of `config`.

    Raises:
        InvalidRequest: there are too many tools, or their schemas are too large.
    """
    if len(request.tools) > config.max_tools:
        raise _too_large(f"there are {len(request.tools)} tools", "tools", "max_tools", config.max_tools)
    left = config.max_schema_size
    for tool in request.tools:
        left -= _size(tool.function) if tool.key is None else _size_of_key(tool.key)
        if left < 0:
            raise _too_large("all tools together are too large", "tools", "max_schema_size", config.max_schema_size)
    wanted = request.response_format
    if wanted is not None and wanted.schema is not None and _size(wanted.schema) > left:
        where = "response_format.json_schema.schema"
        raise _too_large("with all tools it is too large", where, "max_schema_size", config.max_schema_size)


def refuse_large_grammar(constraint: Constraint | None, request: ChatRequest, config: ModelConfig) -> None:
    """Check that the grammars of `constraint`, which were made for `request`, are within the limits of `config`.

    Raises:
        InvalidRequest: one is too large; `param` is its source.
    """
    texts = (constraint.gbnf, constraint.lark, constraint.ebnf) if constraint else ()
    size = max((len(text) for text in texts if text is not None), default=0)
    if size > config.max_grammar_size:
        param = "grammar" if request.grammar is not None else "tools" if request.tools else "response_format"
        raise _too_large(f"its grammar has {size} characters", param, "max_grammar_size", config.max_grammar_size)


def _too_large(what: str, param: str, setting: str, most: int) -> InvalidRequest:
    message = f"{what}; the limit is {most} (the model's setting {setting})"
    return InvalidRequest(message, param=param, code="too_large")


@lru_cache(maxsize=1024)
def _size_of_key(key: bytes) -> int:
    return _size(marshal.loads(key)["function"])


def _size(schema: object) -> int:
    """The number of values in it, plus the characters in its texts and names."""
    size = 0
    stack = [schema]
    while stack:
        value = stack.pop()
        size += 1
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, dict):
            size += sum(map(len, value))
            stack.extend(value.values())
        elif isinstance(value, (list, tuple)):
            stack.extend(value)
    return size
