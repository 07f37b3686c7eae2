"""A short training run on exported rows: it lowers the loss on what the model writes, and no other token is learned."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from gemma_tools.data import tiny_path
from gemma_tools.formats import get_format
from gemma_tools.tokens import GemmaTokenizer, to_training
from gemma_tools.tokens.training import IGNORED

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Gets the current weather for a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CITIES = ("Paris", "Lisbon", "Oslo", "Rome", "Lima", "Cairo")


def conversation(city: str) -> list[dict[str, Any]]:
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": city}}}
    return [
        {"role": "user", "content": f"what is the weather in {city}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": f"sunny in {city}"},
        {"role": "assistant", "content": f"It is sunny in {city}."},
    ]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Random weights in the shape of the tiny model."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "training")
    from model import make  # type: ignore[import-not-found]

    torch.manual_seed(0)
    torch.set_num_threads(1)
    yield make(len(GemmaTokenizer.from_file(tiny_path())))
    sys.modules.pop("model", None)


def test_a_short_run_learns_what_the_model_writes_and_nothing_else(model: Any) -> None:
    tokenizer = GemmaTokenizer.from_file(tiny_path())
    rows = [to_training(conversation(city), [TOOL], tokenizer, format=get_format("functiongemma")) for city in CITIES]
    batches = [(torch.tensor([row.input_ids]), torch.tensor([row.labels])) for row in rows]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for ids, labels in batches * 3:
        out = model(input_ids=ids, labels=labels)
        out.logits.retain_grad()
        out.loss.backward()
        pulled = out.logits.grad[0, :-1].abs().sum(dim=-1) > 0
        assert pulled.tolist() == (labels[0, 1:] != IGNORED).tolist()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(out.loss.item())
    assert losses[-1] < losses[0] / 2
