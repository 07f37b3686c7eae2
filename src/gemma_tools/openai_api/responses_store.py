"""Responses in memory, so that later requests can refer to them and their items by id."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from time import monotonic
from typing import Any, Final, NamedTuple
from uuid import uuid4

from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import to_json
from gemma_tools.openai_api.errors import Refused, refuse
from gemma_tools.validation.values import shown

Json = Mapping[str, Any]


class Kept(NamedTuple):
    """One response, and its input items: those of the previous responses, and its own."""

    response: Json
    items: tuple[Json, ...]
    size: int
    """In bytes, as JSON."""
    until: float


class ResponseStore:
    """The last responses: `most` of them, `most_bytes` in all as JSON, each for `seconds`. The oldest are removed first.

    Each belongs to one client, and does not exist for others. Thread-safe.
    """

    def __init__(
        self, *, most: int = 1000, most_bytes: int = 64 * 2**20, seconds: float = 86400, clock: Callable[[], float] = monotonic
    ) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._clock = clock
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, str], Kept] = OrderedDict()
        self._holders: dict[tuple[str, str], tuple[str, str]] = {}
        """By client and the id of an item: the last response that contains it."""
        self._bytes = 0

    def keep(self, caller: str, response: Json, items: Iterable[Json]) -> None:
        """Store `response`, and its input `items`. One that is larger than all the space is not stored."""
        given = tuple({**item, "id": item.get("id") or new_id(str(item.get("type") or "message"))} for item in items)
        size = len(to_json(response).encode(errors="replace")) + len(to_json(given).encode(errors="replace"))
        if size > self._most_bytes:
            return
        key = (caller, str(response["id"]))
        with self._lock:
            self._kept[key] = Kept(response, given, size, self._clock() + self._seconds)
            self._bytes += size
            self._holders |= dict.fromkeys(_items(caller, self._kept[key]), key)
            self._expire()

    def find(self, caller: str, id: str) -> Kept | None:
        """The response with this id."""
        with self._lock:
            self._expire()
            return self._kept.get((caller, id))

    def item(self, caller: str, id: str) -> Json | None:
        """The item with this id, from an answer or an input."""
        with self._lock:
            self._expire()
            holder = self._holders.get((caller, id))
            return None if holder is None else _items(caller, self._kept[holder])[caller, id]

    def delete(self, caller: str, id: str) -> bool:
        """Delete the response with this id; False if there is none."""
        with self._lock:
            self._expire()
            found = (caller, id) in self._kept
            if found:
                self._forget((caller, id))
            return found

    def _expire(self) -> None:
        now = self._clock()
        while self._kept:
            key, oldest = next(iter(self._kept.items()))
            if len(self._kept) <= self._most and self._bytes <= self._most_bytes and oldest.until > now:
                return
            self._forget(key)

    def _forget(self, key: tuple[str, str]) -> None:
        kept = self._kept.pop(key)
        self._bytes -= kept.size
        for item in _items(key[0], kept):
            if self._holders.get(item) == key:
                del self._holders[item]


def _items(caller: str, kept: Kept) -> dict[tuple[str, str], Json]:
    return {(caller, str(item["id"])): item for item in (*kept.items, *kept.response["output"])}


@dataclass(frozen=True, slots=True)
class Memory:
    """The stored responses of one client."""

    store: ResponseStore | None
    caller: str

    def response(self, id: object) -> Kept:
        """The response with this id, for a request with its path; refused with a 404 if there is none."""
        kept = None if self.store is None else self.store.find(self.caller, str(id))
        if kept is None:
            raise self._missing(id)
        return kept

    def before(self, id: object) -> tuple[Json, ...]:
        """The conversation up to and including the response with this id.

        Raises:
            InvalidRequest: there is no such response, or responses are not stored.
        """
        if self.store is None:
            raise InvalidRequest(_NO_STORE, param="previous_response_id", code="unsupported_parameter")
        kept = self.store.find(self.caller, str(id))
        if kept is None:
            message = f"no response {shown(id)} is stored here: send the whole conversation in `input`"
            raise InvalidRequest(message, param="previous_response_id", code="previous_response_not_found")
        return (*kept.items, *kept.response["output"])

    def item(self, id: object, param: str) -> Json:
        """The item with this id.

        Raises:
            InvalidRequest: responses are not stored.
            Refused: there is no such item; a 404.
        """
        if self.store is None:
            raise InvalidRequest(_NO_STORE, param=param, code="unsupported_value")
        item = self.store.item(self.caller, str(id))
        if item is None:
            raise refuse(404, f"no item {shown(id)} is stored here: send the item itself", code="item_not_found", param=param)
        return item

    def delete(self, id: str) -> None:
        """Delete the response with this id; refused with a 404 if there is none."""
        if self.store is None or not self.store.delete(self.caller, id):
            raise self._missing(id)

    def _missing(self, id: object) -> Refused:
        message = f"no response {shown(id)} is stored here" if self.store else "responses are not stored here"
        return refuse(404, message, code="response_not_found")


_NO_STORE: Final = "responses are not stored here; send the whole conversation in `input`"


_PREFIXES: Final = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}


def new_id(kind: str) -> str:
    """A new id for an item of this type."""
    return f"{_PREFIXES.get(kind, 'item')}_{uuid4().hex}"


def whole_item(item: Json) -> dict[str, Any]:
    """An item of a request as the API lists it: with a type, a status, and its text as parts."""
    kind = str(item.get("type") or "message")
    whole = {**item, "type": kind}
    if kind != "reasoning":
        whole["status"] = item.get("status") or "completed"
    if kind == "message" and isinstance(item.get("content"), str):
        assistant = item.get("role") == "assistant"
        part = {"type": "output_text", "annotations": []} if assistant else {"type": "input_text"}
        whole["content"] = [{**part, "text": item["content"]}]
    return whole
