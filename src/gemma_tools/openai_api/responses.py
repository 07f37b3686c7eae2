"""POST /v1/responses: the request becomes a chat request, and its answer becomes output items. And stored responses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from gemma_tools.errors import InvalidRequest
from gemma_tools.openai_api.chat import ask
from gemma_tools.openai_api.errors import refuse
from gemma_tools.openai_api.relay import relayed
from gemma_tools.openai_api.responses_input import items_of, to_chat
from gemma_tools.openai_api.responses_output import ResponseWriter
from gemma_tools.openai_api.responses_store import Kept, Memory, whole_item
from gemma_tools.openai_api.wire import ApiRequest, ApiResponse, Body, Call, dump
from gemma_tools.validation.values import check_flag, shown


def answer(body: Mapping[str, Any], call: Call) -> ApiResponse[Body]:
    """Answer the Responses request `body`."""
    memory = memory_of(call)
    items = items_of(body, memory)
    translated = to_chat(body, items)
    keep = None
    if memory.store is not None and check_flag(body.get("store"), "store") is not False:
        keep = partial(memory.store.keep, memory.caller, items=[item for item, _ in items])
    try:
        request = call.parse(translated.chat, translated.warnings(call.settings.unknown))
        reply = ask(request, call)
    except InvalidRequest as error:
        raise translated.in_responses_words(error) from None
    return relayed(reply, ResponseWriter(body, translated.offer, keep), call.facts)


def memory_of(call: Call) -> Memory:
    """The stored responses that the request can refer to."""
    return Memory(call.settings.store, call.caller)


def stored(request: ApiRequest, place: str, call: Call) -> ApiResponse[Body]:
    """Get, list or delete stored responses: `place` is the path after `/responses/`."""
    memory, (id, _, rest) = memory_of(call), place.partition("/")
    query = {name: values[-1] for name, values in parse_qs(request.query).items()}
    if rest == "input_items":
        told: Any = _listed(memory.response(id), query)
    elif rest:
        raise refuse(404, f"there is nothing at {request.path}", code="not_found")
    elif request.method == "DELETE":
        memory.delete(id)
        told = {"id": id, "object": "response", "deleted": True}
    elif query.get("stream") == "true":
        raise refuse(400, "a stored response cannot be streamed", code="unsupported_parameter", param="stream")
    else:
        told = memory.response(id).response
    return ApiResponse(200, dump(told), facts=call.facts)


def _listed(kept: Kept, query: Mapping[str, str]) -> dict[str, Any]:
    """A page of the input items of a response, the last one first unless `order` is "asc"."""
    limit, order, after = query.get("limit", "20"), query.get("order", "desc"), query.get("after")
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= 100):
        raise InvalidRequest("must be a number from 1 to 100", param="limit")
    if order not in ("asc", "desc"):
        raise InvalidRequest("must be asc or desc", param="order")
    items = list(kept.items if order == "asc" else reversed(kept.items))
    if after is not None:
        start = next((i for i, item in enumerate(items) if item["id"] == after), None)
        if start is None:
            raise InvalidRequest(f"there is no item {shown(after)}", param="after")
        items = items[start + 1 :]
    page = [whole_item(item) for item in items[: int(limit)]]
    ids = [item["id"] for item in page] or [None]
    more = len(items) > len(page)
    return {"object": "list", "data": page, "first_id": ids[0], "last_id": ids[-1], "has_more": more}
