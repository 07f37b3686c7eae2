"""Ollama's `/api/generate` in front of a real llama-server, translated as Ollama itself does since mid-2026.

It strips one leading BOS, renames the options, and in raw mode sends no `preserved_tokens`, so that markers typed CONTROL
do not reach the text. A prompt that is too long is an error with `truncate: false`, and else cut without a word. Without
`think: false` the text comes in the field `thinking`, as it does for a model whose template has thoughts.
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


def ollama_server(
    llama: str,
    *,
    repeats: int | None = None,
    says_so: bool = False,
    logprobs: bool = True,
    seen: list[dict[str, Any]] | None = None,
) -> AbstractContextManager[str]:
    """Serve as Ollama on top of the llama-server at `llama`.

    Once more than `repeats` equal tokens have come in a row (None: never), the answer ends: with an error if the server
    `says_so`, as since September 2026, and else without its last line. A server before 0.12.11 does not answer `logprobs`.
    `seen` takes the bodies of the requests.
    """

    class Handler(JsonHandler):
        def do_POST(self) -> None:
            request = self.body()
            if seen is not None:
                seen.append(request)
            if request["model"] != MODEL:
                return self.answer(404, {"error": f"model '{request['model']}' not found"})
            if self.path == "/api/generate":
                return self._generate(request)
            return self.answer(404, {"error": "not found"})

        def _generate(self, request: dict[str, Any]) -> None:
            if request.get("raw") and any(request.get(name) for name in ("template", "system", "context")):
                return self.answer(400, {"error": "raw mode does not support template, system, or context"})
            if request.get("truncate") is not False:
                request["prompt"] = _cut(llama, request["prompt"])
            if not logprobs:
                request.pop("logprobs", None)
            with httpx.stream("POST", f"{llama}/completion", json=_translated(request), timeout=60) as answer:
                if not answer.is_success:
                    answer.read()
                    return self.answer(answer.status_code, {"error": answer.json()["error"]["message"]})
                lines = _lines(answer, "response" if request.get("think") is False else "thinking")
                self.answer_lines(lines if repeats is None else _given_up(lines, repeats, says_so))

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


def _cut(llama: str, prompt: str) -> str:
    """The end of a prompt that is longer than the context."""
    context = httpx.get(f"{llama}/slots").json()[0]["n_ctx"]
    tokens = httpx.post(f"{llama}/tokenize", json={"content": prompt, "parse_special": True}).json()["tokens"]
    if len(tokens) < context:
        return prompt
    end = httpx.post(f"{llama}/detokenize", json={"tokens": tokens[-context // 2 :]}).json()
    return str(end["content"])


def _given_up(lines: Iterator[dict[str, Any]], repeats: int, says_so: bool) -> Iterator[dict[str, Any]]:
    last, times = "", 0
    for line in lines:
        text = line["response"].strip()
        last, times = (last, times + 1) if text == last else (text, 0)
        if times > repeats:
            yield from [{"error": "prediction aborted, token repeat limit reached"}] if says_so else []
            return
        yield line


def _lines(answer: httpx.Response, field: str) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if not line.startswith("data:"):
            continue
        data = json.loads(line[5:])
        part = {"model": MODEL, "created_at": "2026-11-20T00:00:00Z", "response": "", "done": data["stop"]}
        part[field] = data["content"]
        if data.get("completion_probabilities"):
            part["logprobs"] = data["completion_probabilities"]
        if data["stop"]:
            part |= {
                "done_reason": "length" if data["stop_type"] == "limit" else "stop",
                "prompt_eval_count": data["tokens_evaluated"],
                "eval_count": data["tokens_predicted"],
            }
        yield part
