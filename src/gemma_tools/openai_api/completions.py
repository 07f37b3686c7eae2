"""POST /v1/completions: a raw prompt, without turns, tools or a template; plain, or as server-sent events.

The fields are those of https://platform.openai.com/docs/api-reference/completions. Sampling is read as in a chat request.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from secrets import token_hex
from typing import Any, Final

from gemma_tools.errors import InvalidRequest
from gemma_tools.generators import Returning
from gemma_tools.openai_api.errors import failure_of
from gemma_tools.openai_api.wire import DONE, STREAM_HEADERS, ApiResponse, Body, Call, Responder, dump, event
from gemma_tools.request import ChatRequest
from gemma_tools.validation import check_flag, check_integer
from gemma_tools.validation.values import wrong_type

_OWN: Final = frozenset(("prompt", "echo", "suffix", "best_of", "logprobs"))
_MOST_TOKENS: Final = 16
"""The default of OpenAI's endpoint."""
_CHAT_ONLY: Final = ("messages", "tools", "tool_choice", "functions", "function_call", "response_format")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A completions request: its prompts, each to be continued `request.n` times, and the fields that chat requests have."""

    prompts: tuple[str, ...]
    echo: bool
    request: ChatRequest
    only_echo: bool
    """The request wants no answer tokens: one is requested, the minimum of engines, and dropped."""


def answer(body: Mapping[str, Any], call: Call) -> ApiResponse[Body]:
    """Continue each prompt of `body`."""
    body = {name: value for name, value in body.items() if value is not None}
    request = call.parse(_as_chat(body))
    model = call.responder(request.model)
    echo = check_flag(body.get("echo"), "echo") or False
    request = replace(request, prompt_logprobs=echo and request.logprobs)
    asked = _Asked(_prompts(body.get("prompt"), model), echo, request, only_echo=echo and body.get("max_tokens") == 0)
    call.facts.model, call.facts.stream = request.model, request.stream
    pieces = _pieces(asked, model, call)
    if request.stream:
        first = next(pieces)  # a request that fails before it still gets its own status
        return ApiResponse(200, _events(first, pieces, asked, call), STREAM_HEADERS, call.facts)
    choices: dict[int, Json] = {}
    usage: Json = {}
    for piece in pieces:
        for choice in piece["choices"]:
            known = choices.setdefault(choice["index"], {**choice, "text": ""})
            choices[choice["index"]] = {**choice, "text": known["text"] + choice["text"]}
        usage = piece.get("usage") or usage
    heading = {key: piece[key] for key in ("id", "object", "created", "model")}
    return ApiResponse(200, dump({**heading, "choices": list(choices.values()), "usage": usage}), facts=call.facts)


def _as_chat(body: Mapping[str, Any]) -> Json:
    """The chat request with the same sampling. Its message is a stand-in for the prompt, which no template may change."""
    for name in ("suffix", "best_of"):
        if body.get(name) not in (None, "", 1, body.get("n")):
            raise InvalidRequest("this is not supported", param=name, code="unsupported_parameter")
    for name in _CHAT_ONLY:
        if name in body:
            raise InvalidRequest("this field is for chat completions: a raw prompt has no turns", param=name)
    chat: Json = {name: value for name, value in body.items() if name not in _OWN}
    logprobs = body.get("logprobs")
    if logprobs is not None and logprobs is not False:
        chat |= {"logprobs": True, "top_logprobs": check_integer(0 if logprobs is True else logprobs, "logprobs", 0, 20)}
    if chat.get("max_tokens") == 0 and body.get("echo") is True:
        chat["max_tokens"] = 1
    return {"max_tokens": _MOST_TOKENS, **chat, "messages": [{"role": "user", "content": "-"}]}


def _prompts(given: Any, model: Responder) -> tuple[str, ...]:
    """The prompts as texts: one, several, or token ids of one or of several."""
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, (list, tuple)) or not given:
        raise wrong_type("a string, token ids, or an array of these that is not empty", given, "prompt")
    if isinstance(given[0], int):
        return (_decoded(given, "prompt", model),)
    return tuple(one if isinstance(one, str) else _decoded(one, f"prompt[{i}]", model) for i, one in enumerate(given))


def _decoded(ids: Any, param: str, model: Responder) -> str:
    if not isinstance(ids, (list, tuple)) or any(isinstance(id, bool) or not isinstance(id, int) for id in ids):
        raise wrong_type("a string or an array of token ids", ids, param)
    return model.token_counter.decode(ids)


def _pieces(asked: _Asked, model: Responder, call: Call) -> Generator[Json, None, None]:
    """The chunks of all choices, one choice after the other; the last has no choices and the usage."""
    heading = {"id": f"cmpl-{token_hex(12)}", "object": "text_completion", "created": int(time.time())}
    heading |= {"model": asked.request.model}
    prompt_tokens = completion_tokens = 0
    for index in range(len(asked.prompts) * asked.request.n):
        prompt = asked.prompts[index // asked.request.n]

        def choice(text: str, finish: str | None = None, logprobs: Any = None, index: int = index) -> Json:
            return {**heading, "choices": [{"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}]}

        with Returning(model.complete(prompt, asked.request, index % asked.request.n, cancel=call.cancel)) as texts:
            if asked.echo:
                yield choice(prompt)
            for text in texts:
                call.facts.chunks += 1
                if not asked.only_echo:
                    yield choice(text)
        generation = texts.value
        usage = generation.usage
        prompt_tokens += (usage.prompt_tokens or 0) if index % asked.request.n == 0 else 0
        entries = generation.prompt_logprobs + (() if asked.only_echo else generation.logprobs)
        offset = len(prompt) if asked.echo and not generation.prompt_logprobs else 0
        completion_tokens += 0 if asked.only_echo else usage.completion_tokens or 0
        call.facts.finish_reason = generation.finish
        yield choice("", generation.finish, _logprobs(entries, offset))
    call.facts.prompt_tokens, call.facts.completion_tokens = prompt_tokens, completion_tokens
    total = prompt_tokens + completion_tokens
    counts = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}
    yield {**heading, "choices": [], "usage": counts}


def _logprobs(entries: Sequence[Mapping[str, Any]], offset: int) -> Json | None:
    """Chat's entries, one per token, in the columns of this endpoint."""
    if not entries:
        return None
    tokens = [entry["token"] for entry in entries]
    offsets = list(accumulate(map(len, tokens[:-1]), initial=offset))
    top = [
        None if entry["logprob"] is None else {one["token"]: one["logprob"] for one in entry.get("top_logprobs", ())}
        for entry in entries
    ]
    probabilities = [entry["logprob"] for entry in entries]
    return {"tokens": tokens, "token_logprobs": probabilities, "top_logprobs": top, "text_offset": offsets}


def _events(first: Json, rest: Generator[Json, None, None], asked: _Asked, call: Call) -> Generator[bytes, None, None]:
    with closing(rest):
        try:
            for piece in chain((first,), rest):
                if piece["choices"] or asked.request.include_usage:
                    yield event(piece)
        except Exception as error:
            failure = failure_of(error)
            call.facts.error = failure.code
            yield event({"error": failure.error})
        else:
            yield DONE
