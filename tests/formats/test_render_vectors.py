"""Every vector of the official templates, to the character."""

from __future__ import annotations

import pytest

from gemma_tools.formats import get_format
from support import vectors


@pytest.mark.parametrize("name", ["functiongemma", "gemma4"])
def test_vectors(name: str) -> None:
    misses = []
    for case in vectors.read(f"render/{name}.jsonl"):
        options = dict(case["options"])
        made_with = {key: options.pop(key) for key in ("variant", "tool_content") if key in options}
        exact = "content-after-tool-response" in (case.get("quirks") or ())
        prompt = get_format(name, exact=exact, **made_with).render(case["messages"], case["tools"], **options)
        if prompt.text != case["prompt"] or "".join(segment.text for segment in prompt.segments) != case["prompt"]:
            misses.append(case["id"])
    assert not misses
