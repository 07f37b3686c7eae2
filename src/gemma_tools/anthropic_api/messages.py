"""POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemma_tools.anthropic_api.messages_input import in_messages_words, to_chat
from gemma_tools.anthropic_api.messages_output import MessageWriter
from gemma_tools.errors import InvalidRequest
from gemma_tools.openai_api.chat import ask
from gemma_tools.openai_api.relay import relayed
from gemma_tools.openai_api.wire import ApiResponse, Body, Call, dump


def answer(body: Mapping[str, Any], call: Call) -> ApiResponse[Body]:
    """Answer the Messages request `body`."""
    chat, warnings = to_chat(body)
    try:
        request = call.parse(chat, warnings)
        return relayed(ask(request, call), MessageWriter(request.model), call.facts)
    except InvalidRequest as error:
        raise in_messages_words(error) from None


def count(body: Mapping[str, Any], call: Call) -> ApiResponse[Body]:
    """Count the tokens in the prompt of the Messages request `body`."""
    chat, warnings = to_chat(body)
    try:
        request = call.parse(chat, warnings)
        model = call.responder(request.model)
        tokens = model.token_counter.count_prompt(model.prompt(request))
    except InvalidRequest as error:
        raise in_messages_words(error) from None
    return ApiResponse(200, dump({"input_tokens": tokens}), facts=call.facts)
