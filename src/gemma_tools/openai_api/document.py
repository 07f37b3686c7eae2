"""GET /openapi.json: the OpenAPI document of this API.

The fields of a chat request are those of `policy.RequestBody`, with their types, bounds and notes. The openai package's own
types describe messages, tools and answers.
"""

from __future__ import annotations

from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from openai.types import Completion, Model
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
    ChatCompletionStreamOptionsParam,
)
from openai.types.chat.completion_create_params import ResponseFormat
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.json_schema import models_json_schema

from gemma_tools import __version__
from gemma_tools.openai_api.responses_input import ACCEPTED, HONOURED
from gemma_tools.policy import FIELD_POLICY, RequestBody

_DESCRIBED_BY_OPENAI: Final[dict[str, Any]] = {
    "messages": list[ChatCompletionMessageParam],
    "tools": list[ChatCompletionFunctionToolParam] | None,
    "response_format": ResponseFormat | None,
    "stream_options": ChatCompletionStreamOptionsParam | None,
    "modalities": list[Literal["text"]] | None,
    "audio": None,
}
_RESPONSES_ONLY: Final[dict[str, Any]] = {
    "include": list[str] | None,
    "input": str | list[dict[str, Any]],
    "instructions": str | None,
    "max_output_tokens": int | None,
    "previous_response_id": str | None,
    "reasoning": dict[str, Any] | None,
    "text": dict[str, Any] | None,
    "tools": list[dict[str, Any]] | None,
}
_PAGE: Final[list[dict[str, Any]]] = [
    {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}},
    {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"], "default": "desc"}},
    {"name": "after", "in": "query", "schema": {"type": "string"}},
]
_OPEN: Final = ConfigDict(extra="allow")
"""Unknown parts of a request are left out, and the answer reports them."""


class Fault(BaseModel):
    """The error: `param` names the field, `code` the kind."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every error response."""

    error: Fault


class ModelList(BaseModel):
    """The available models."""

    object: str
    data: list[Model]


@cache
def document() -> dict[str, Any]:
    """The document, as JSON values. It is made only once: do not change it."""
    chat, responses = _chat_request(), _responses_request()
    answers = (ChatCompletion, ChatCompletionChunk, Completion, ModelList, Model, ErrorBody)
    models = [(chat, "validation"), (responses, "validation"), *((answer, "serialization") for answer in answers)]
    names, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]

    def content(kind: str, model: type[BaseModel]) -> dict[str, Any]:
        schema = names[model, "validation" if model in (chat, responses) else "serialization"]
        return {kind: {"schema": schema}}

    def operation(summary: str, success: dict[str, Any], asked: type[BaseModel] | None = None, **more: Any) -> dict[str, Any]:
        body = {"requestBody": {"required": True, "content": content("application/json", asked)}} if asked else {}
        failure = {"description": "An error", "content": content("application/json", ErrorBody)}
        answers = {"200": {"description": "The answer", "content": success}, "default": failure}
        return {"summary": summary, **body, **more, "responses": answers}

    completion = content("application/json", ChatCompletion) | content("text/event-stream", ChatCompletionChunk)
    message = {"application/json": {"schema": {"type": "object", "description": "Anthropic's Message object"}}}
    counted = {"application/json": {"schema": {"type": "object", "properties": {"input_tokens": {"type": "integer"}}}}}
    told = {"application/json": {"schema": {"type": "object"}}}
    text = content("application/json", Completion)
    response = {"application/json": {"schema": {"type": "object", "description": "OpenAI's Response object"}}}
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    id = {**name, "name": "id"}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "gemma_tools",
            "version": __version__,
            "description": "Gemma models for code that speaks OpenAI's API.",
        },
        "paths": {
            "/v1/chat/completions": {"post": operation("Answer a conversation", completion, chat)},
            "/v1/responses": {"post": operation("Answer a conversation with the Responses API", response, responses)},
            "/v1/responses/{id}": {
                "get": operation("Get a stored response", response, parameters=[id]),
                "delete": operation("Delete a stored response", told, parameters=[id]),
            },
            "/v1/responses/{id}/input_items": {
                "get": operation("List the input items of a response", told, parameters=[id, *_PAGE]),
            },
            "/v1/chat/completions/input_tokens": {"post": operation("Count the tokens of a chat request", counted, chat)},
            "/v1/completions": {"post": operation("Continue a raw prompt", text)},
            "/v1/responses/input_tokens": {"post": operation("Count the tokens of a Responses request", counted, responses)},
            "/v1/messages": {"post": operation("Answer a conversation with Anthropic's Messages API", message)},
            "/v1/messages/count_tokens": {"post": operation("Count the tokens of a Messages request", counted)},
            "/apply-template": {"post": operation("Show the prompt of a chat request", told, chat)},
            "/tokenize": {"post": operation("The token ids of a text", told)},
            "/detokenize": {"post": operation("The text of token ids", told)},
            "/v1/models": {"get": operation("List the models", content("application/json", ModelList))},
            "/v1/models/{model}": {"get": operation("Look up a model", content("application/json", Model), parameters=[name])},
        },
        "components": {"schemas": definitions["$defs"]},
    }


def _chat_request() -> type[BaseModel]:
    fields = {name: _field(name) for name, policy in FIELD_POLICY.items() if policy.treatment != "left out"}
    return create_model("ChatRequest", __config__=_OPEN, **fields)


def _responses_request() -> type[BaseModel]:
    shared = {name: _field(name) for name in sorted((HONOURED | ACCEPTED) & FIELD_POLICY.keys())}
    own = {name: (kind, ... if name == "input" else None) for name, kind in _RESPONSES_ONLY.items()}
    others: dict[str, Any] = dict.fromkeys(sorted(ACCEPTED - FIELD_POLICY.keys()), (Any, None))
    return create_model("ResponsesRequest", __config__=_OPEN, **{**others, **shared, **own})


def _field(name: str) -> Any:
    """A field for pydantic's `create_model`: its type, and its note and bounds."""
    policy, kind = FIELD_POLICY[name], _DESCRIBED_BY_OPENAI.get(name, _TYPES[name])
    kinds = set(get_args(kind)) if get_origin(kind) in (Union, UnionType) else {kind}
    bounds: dict[str, Any] = {"ge": policy.low, "le": policy.high} if kinds & {int, float} else {}
    if name in ("messages", "model"):
        return kind, Field(description=policy.note)
    if name in _UNLIMITED:
        return Annotated[int, Field(**bounds)] | Literal[-1] | None, Field(default=None, description=policy.note)
    return kind, Field(default=None, description=policy.note, **bounds)


_UNLIMITED: Final = ("max_tokens", "max_completion_tokens", "top_k")
"""Fields for which -1 means no limit."""
_TYPES: Final = get_type_hints(RequestBody)
