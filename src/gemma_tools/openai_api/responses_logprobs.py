"""The log probabilities of the tokens in the text of a response.

The model's tokens are known for its whole output; a response reports them next to its text, without those of
thoughts and calls.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

Entry = Mapping[str, Any]


def of_text(entries: Sequence[Entry], text: str, earlier: Iterable[str]) -> list[dict[str, Any]]:
    """Those of chat's `entries` whose tokens write `text`, which comes after the texts `earlier`.

    Nothing if the tokens do not contain the text, as in an answer that had to be repaired.
    """
    written = [bytes(entry.get("bytes") or entry["token"].encode(errors="replace")) for entry in entries]
    whole, start = b"".join(written), 0
    for one in earlier:
        found = whole.find(one.encode(errors="replace"), start)
        start = found + len(one.encode(errors="replace")) if found >= 0 else start
    wanted = text.encode(errors="replace")
    at = whole.find(wanted, start)
    if at < 0 or not wanted:
        return []
    ends = list(accumulate(map(len, written)))
    return [_entry(entry) for entry in entries[bisect_right(ends, at) : bisect_left(ends, at + len(wanted)) + 1]]


def in_event(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The same in the form of stream events."""
    return [{**_plain(entry), "top_logprobs": [_plain(other) for other in entry["top_logprobs"]]} for entry in entries]


def _entry(entry: Entry) -> dict[str, Any]:
    return {**_scored(entry), "top_logprobs": [_scored(other) for other in entry.get("top_logprobs", ())]}


def _scored(entry: Entry) -> dict[str, Any]:
    return {"token": entry["token"], "bytes": list(entry.get("bytes") or ()), "logprob": entry["logprob"]}


def _plain(entry: Entry) -> dict[str, Any]:
    return {"token": entry["token"], "logprob": entry["logprob"]}
