"""A request before a model reads it: its prompt, its tokens, and their number.

`/tokenize`, `/detokenize` and `/apply-template` have the names and fields of llama.cpp's server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemma_tools.errors import InvalidRequest
from gemma_tools.openai_api.responses import memory_of
from gemma_tools.openai_api.responses_input import items_of, to_chat
from gemma_tools.openai_api.wire import ApiResponse, Body, Call, Responder, dump
from gemma_tools.request import ChatRequest
from gemma_tools.validation.values import as_array, check_flag, check_text, wrong_type

Json = Mapping[str, Any]


def count_chat(body: Json, call: Call) -> ApiResponse[Body]:
    """The number of tokens in the prompt of a chat request."""
    return ApiResponse(200, dump(_counted(call.parse(body), call)), facts=call.facts)


def count_responses(body: Json, call: Call) -> ApiResponse[Body]:
    """The number of tokens in the prompt of a Responses request."""
    translated = to_chat(body, items_of(body, memory_of(call)))
    try:
        request = call.parse(translated.chat, translated.warnings(call.settings.unknown))
        return ApiResponse(200, dump(_counted(request, call)), facts=call.facts)
    except InvalidRequest as error:
        raise translated.in_responses_words(error) from None


def apply_template(body: Json, call: Call) -> ApiResponse[Body]:
    """The prompt of a chat request, as text and as segments, and what it could not express."""
    request = call.parse(body)
    prompt = call.responder(request.model).prompt(request)
    told = {
        "prompt": prompt.text,
        "segments": [{"text": segment.text, "control": segment.control} for segment in prompt.segments],
        "stop": list(prompt.stop),
        "warnings": list(prompt.warnings),
    }
    return ApiResponse(200, dump(told), facts=call.facts)


def tokenize(body: Json, call: Call) -> ApiResponse[Body]:
    """The token ids of `content`, with `with_pieces` each with its text. Special tokens in it are read as special tokens."""
    counter = call.responder(_name(body, call.models)).token_counter
    content = check_text(body.get("content"), "content")
    if content is None:
        raise InvalidRequest("the text is missing", param="content", code="missing_required_parameter")
    if not counter.exact:
        raise InvalidRequest("this model's tokenizer is not available, so its tokens are unknown", param="model")
    ids = counter.encode(content)
    if not check_flag(body.get("with_pieces"), "with_pieces"):
        return ApiResponse(200, dump({"tokens": ids}), facts=call.facts)
    return ApiResponse(200, dump({"tokens": [{"id": id, "piece": counter.decode([id])} for id in ids]}), facts=call.facts)


def detokenize(body: Json, call: Call) -> ApiResponse[Body]:
    """The text of the token ids in `tokens`."""
    ids = as_array(body.get("tokens"), "tokens")
    for i, id in enumerate(ids):
        if isinstance(id, bool) or not isinstance(id, int):
            raise wrong_type("a token id", id, f"tokens[{i}]")
    counter = call.responder(_name(body, call.models)).token_counter
    return ApiResponse(200, dump({"content": counter.decode(ids)}), facts=call.facts)


def _counted(request: ChatRequest, call: Call) -> dict[str, Any]:
    model = call.responder(request.model)
    counter = model.token_counter
    told = {"object": "response.input_tokens", "input_tokens": counter.count_prompt(model.prompt(request))}
    return told if counter.exact else told | {"estimated": True}


def _name(body: Json, models: Mapping[str, Responder]) -> str | None:
    """The model in `body`; the only one, if there is one: llama.cpp's clients name none."""
    return check_text(body.get("model"), "model") or (next(iter(models)) if len(models) == 1 else None)
