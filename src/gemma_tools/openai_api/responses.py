"""POST /v1/responses, answered without state: the request becomes a chat request, its answer output items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemma_tools.engines.base import Cancellation
from gemma_tools.errors import InvalidRequest
from gemma_tools.openai_api.chat import ask
from gemma_tools.openai_api.relay import relayed
from gemma_tools.openai_api.responses_input import in_responses_words, to_chat
from gemma_tools.openai_api.responses_output import ResponseWriter
from gemma_tools.openai_api.wire import ApiResponse, Body, Facts, Responder
from gemma_tools.validation import parse_request


def answer(
    body: Mapping[str, Any], models: Mapping[str, Responder], facts: Facts, cancel: Cancellation | None
) -> ApiResponse[Body]:
    """Answer the Responses request `body`."""
    chat = to_chat(body)
    try:
        reply = ask(parse_request(chat), models, facts, cancel)
    except InvalidRequest as error:
        raise in_responses_words(error) from error
    return relayed(reply, ResponseWriter(body), facts)
