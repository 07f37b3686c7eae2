"""A server stops working for a reader who left."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from gemma_tools.data import tiny_path
from gemma_tools.engines import Cancellation, GenerationRequest, create_engine
from support.servers.llama import llama_server
from support.servers.ollama import ollama_server
from support.tiny import GREEDY, endless


@pytest.mark.parametrize("name", ["llama-server", "ollama", "openai"])
@pytest.mark.parametrize("leave", ["close", "cancel"])
def test_a_server_works_no_longer_for_a_reader_who_left(name: str, leave: str) -> None:
    with llama_server(tiny_path(), slots=1) as llama, ollama_server(llama) as ollama:
        options = {
            "llama-server": {"url": llama},
            "ollama": {"url": ollama, "model": "tiny"},
            "openai": {"url": f"{llama}/v1", "model": "tiny", "server": "llama-server"},
        }
        with create_engine(name, **options[name]) as engine:
            cancel = Cancellation()
            pieces = engine.generate(GenerationRequest(endless(), replace(GREEDY, max_tokens=3900)), cancel=cancel)
            next(pieces)
            pieces.close() if leave == "close" else cancel.cancel()
            while httpx.get(f"{llama}/slots").json()[0]["is_processing"]:
                pass
        metrics = dict(line.split(" ") for line in httpx.get(f"{llama}/metrics").text.splitlines() if line[0] != "#")
        assert 0 < float(metrics["llamacpp:tokens_predicted_total"]) < 3000
