"""The conformance vectors, where they lie beside the checkout."""

from __future__ import annotations

import pytest

from gemma_tools.formats import get_format
from support import vectors
from support.outputs import FORMATS


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [None, 1, 7])
def test_outputs_mean_what_the_vectors_say(name, size):
    format = get_format(name)
    wrong = []
    for vector in vectors.read(f"parse/{name}*.jsonl"):
        text, expected, context = vector["raw"], vector["expected"], vector.get("context") or {}
        parser = format.parser(vector["tools"], opens="reasoning" if context.get("reasoning_open") else "content")
        for start in range(0, len(text), size or len(text) or 1):
            parser.feed(text[start : start + (size or len(text))])
        parser.close("length" if vector["kind"] == "truncated" else "stop")
        reply = parser.reply
        found = (
            (reply.content or "").strip(),
            (reply.reasoning or "").strip(),
            [{"name": call.name, "arguments": call.arguments} for call in reply.tool_calls],
            reply.finish_reason,
        )
        said = [(expected[key] or "").strip() for key in ("content", "reasoning")]
        if found != (*said, expected["tool_calls"], expected["finish_reason"]):
            wrong.append(vector["id"])
    assert wrong == []
