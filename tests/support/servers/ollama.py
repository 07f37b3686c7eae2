"""Ollama's `/api/generate` in front of a real llama-server, translated as Ollama itself does since mid-2026.

It strips one leading BOS, renames the options, and in raw mode sends no `preserved_tokens`, so that markers typed CONTROL
do not reach the text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx

from support.servers.loopback import JsonHandler, serving

MODEL = "tiny"
_NAMES = {"num_predict": "n_predict", "num_keep": "n_keep"}
_KEPT = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "seed",
    "stop",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "repeat_last_n",
    "typical_p",
)


def ollama_server(llama: str) -> AbstractContextManager[str]:
    """Serve as Ollama on top of the llama-server at `llama`."""

    class Handler(JsonHandler):
        def do_POST(self) -> None:
            request = self.body()
            if request["model"] != MODEL:
                return self.answer(404, {"error": f"model '{request['model']}' not found"})
            if self.path == "/api/generate":
                return self._generate(request)
            return self.answer(404, {"error": "not found"})

        def _generate(self, request: dict[str, Any]) -> None:
            if request.get("raw") and any(request.get(name) for name in ("template", "system", "context")):
                return self.answer(400, {"error": "raw mode does not support template, system, or context"})
            with httpx.stream("POST", f"{llama}/completion", json=_translated(request), timeout=60) as answer:
                if not answer.is_success:
                    answer.read()
                    return self.answer(answer.status_code, {"error": answer.json()["error"]["message"]})
                self.answer_lines(_lines(answer))

    return serving(Handler)


def _translated(request: dict[str, Any]) -> dict[str, Any]:
    options = request.get("options") or {}
    wanted = {_NAMES.get(name, name): value for name, value in options.items() if name in (*_NAMES, *_KEPT)}
    form = request.get("format")
    if form == "json":
        wanted["json_schema"] = {"type": "object"}
    elif form:
        wanted["json_schema"] = form
    if request.get("logprobs"):
        wanted["n_probs"] = max(1, request.get("top_logprobs") or 0)
    return {"prompt": request["prompt"].removeprefix("<bos>"), "stream": True, "cache_prompt": True, **wanted}


def _lines(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if not line.startswith("data:"):
            continue
        data = json.loads(line[5:])
        part = {"model": MODEL, "created_at": "2026-11-20T00:00:00Z", "response": data["content"], "done": data["stop"]}
        if data.get("completion_probabilities"):
            part["logprobs"] = data["completion_probabilities"]
        if data["stop"]:
            part |= {
                "done_reason": "length" if data["stop_type"] == "limit" else "stop",
                "prompt_eval_count": data["tokens_evaluated"],
                "eval_count": data["tokens_predicted"],
            }
        yield part
