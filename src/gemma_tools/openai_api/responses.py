"""POST /v1/responses, answered without state: the request becomes a chat request, its answer output items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemma_tools.errors import InvalidRequest
from gemma_tools.openai_api.chat import ask
from gemma_tools.openai_api.relay import relayed
from gemma_tools.openai_api.responses_input import in_responses_words, to_chat
from gemma_tools.openai_api.responses_output import ResponseWriter
from gemma_tools.openai_api.wire import ApiResponse, Body, Call


def answer(body: Mapping[str, Any], call: Call) -> ApiResponse[Body]:
    """Answer the Responses request `body`."""
    chat = to_chat(body)
    try:
        reply = ask(call.parse(chat), call)
    except InvalidRequest as error:
        raise in_responses_words(error) from error
    return relayed(reply, ResponseWriter(body), call.facts)
