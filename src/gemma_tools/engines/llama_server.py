"""llama.cpp's own HTTP server: `/completion`, `/tokenize` and `/props`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from gemma_tools.engines.answers import MAX_ANSWER_BYTES, MAX_LINE_BYTES, Size
from gemma_tools.engines.base import (
    Cancellation,
    Capabilities,
    Constraint,
    Engine,
    Generation,
    GenerationRequest,
    Pieces,
    Sampling,
    Usage,
)
from gemma_tools.engines.faults import http_fault, refuse_half_characters, status_fault
from gemma_tools.engines.http import HttpServer, Response
from gemma_tools.engines.llama_media import media_prompt, refuse_unseen
from gemma_tools.engines.longer import BY_SERVER
from gemma_tools.engines.numbers import token_biases
from gemma_tools.engines.refusals import error_in, words_of
from gemma_tools.engines.remote import Answer, Bounds, Patience, Remote, checked_url
from gemma_tools.errors import ContextExceeded, EngineError, EngineProtocolError, EngineRejected, InvalidRequest, ModelNotFound
from gemma_tools.prompt import Prompt, Segment, TextGuard

_FIELDS = {
    "max_tokens": "n_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
"""Settings, and their names in `/completion`."""

_EXTRA = frozenset(
    {
        "adaptive_decay",
        "adaptive_target",
        "cache_prompt",
        "dry_allowed_length",
        "dry_base",
        "dry_multiplier",
        "dry_penalty_last_n",
        "dry_sequence_breakers",
        "dynatemp_exponent",
        "dynatemp_range",
        "id_slot",
        "ignore_eos",
        "lora",
        "min_keep",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "n_cache_reuse",
        "n_discard",
        "n_keep",
        "repeat_last_n",
        "samplers",
        "t_max_predict_ms",
        "top_n_sigma",
        "typical_p",
        "xtc_probability",
        "xtc_threshold",
    }
)
"""The fields of `/completion` that `Sampling.extra` may contain: llama-server itself silently ignores unknown ones."""

_CAPABILITIES = Capabilities(
    settings=frozenset(_FIELDS) | {"logit_bias", "logprobs"},
    constraints=frozenset({"gbnf", "lark", "json_schema"}),
    token_ids=True,
    images=True,
    audio=True,
)


_START = re.compile(r"^start: (.*)$", re.MULTILINE)
_MARK = "zqzq"
"""Text that no model writes after the prompt "a"."""
_MOST_READ = 256
_LARK_QUESTION = {
    "prompt": "",
    "n_predict": 0,
    "json_schema": {"type": "unheard of"},
    "grammar_lazy": True,
    "grammar_triggers": [],
}
"""A request that fails before anything is generated; its error shows whether the server was built with llguidance.

With llguidance any schema becomes Lark (common/json-schema-to-grammar.cpp), and the error is about the missing trigger; without
llguidance it is about the schema. Servers of 2025 do not need the trigger, and show the Lark in `generation_settings`.
"""


_UNREAD = "Failed to load image or audio file"
"""The server's message about an image or an audio file that it cannot decode."""


class LlamaServerEngine(Engine):
    """Runs prompts on an existing llama-server at `url`; `api_key` if it was started with one.

    It takes the images and audio that the server's projector supports; the server is asked at each request that has media. A
    `/v1` at the end of `url`, which other clients need, does no harm. Any number of threads may use the engine; the server
    works on as many prompts at once as it has slots. `timeout` is the longest silence in seconds, `max_retries` how often a
    request is repeated before any data has arrived. An answer is refused if one of its lines is longer than `max_line_bytes`,
    or all of it longer than `max_answer_bytes`.
    """

    name = "llama-server"

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        api_key: str | None = None,
        timeout: float | None = None,
        max_retries: int = 3,
        max_line_bytes: int = MAX_LINE_BYTES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._url = checked_url(url).removesuffix("/v1")
        size = Size(max_line_bytes, max_answer_bytes)
        self._http = HttpServer(self._url, {"Authorization": f"Bearer {api_key}"} if api_key else {}, size)
        fault = partial(http_fault, where=f"{self.name} at {self._url}")
        self._remote = Remote(self.name, Patience(timeout, max_retries), fault)
        self._ids: dict[tuple[str, ...], dict[str, int]] = {}
        self._lark: bool | None = None
        self._read: dict[str, bool] = {}
        self._nests_lark = True
        """Whether a grammar may be sent only as Lark, as far as it is known."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine supports; images and audio, if the server has a projector."""
        return self._as_found(_CAPABILITIES)

    def _as_found(self, can: Capabilities) -> Capabilities:
        """`can` without what the server turned out not to support."""
        return can if self._nests_lark else replace(can, constraints=can.constraints - {"lark"})

    def refuse_unsupported(self, request: GenerationRequest) -> None:
        """See `Engine.refuse_unsupported`. The server is asked whether it takes the request's images and audio."""
        super().refuse_unsupported(request)
        if request.prompt.media:
            refuse_unseen(request.prompt.media, self._remote.call(partial(self._json, "/props")), self.name)

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """See `Engine.generate`."""
        refuse_half_characters(request.prompt.text)
        super().refuse_unsupported(request)
        body = {
            "stream": True,
            "cache_prompt": True,
            "preserved_tokens": list(request.prompt.controls),
            "stop": list(request.stops),
            **_sampling(request.sampling),
        }
        if request.tokenizer:
            body |= {"prompt": request.prompt.token_ids(request.tokenizer), "return_tokens": True}
        return self._remote.play(partial(self._ask, request, body), cancel)

    @property
    def context_length(self) -> int | None:
        """The context of one slot in tokens.

        Raises:
            EngineError: the server cannot be asked.
        """
        properties = self._remote.call(partial(self._json, "/props"))
        length = properties.get("default_generation_settings", {}).get("n_ctx")
        return length if isinstance(length, int) else None

    @property
    def longer_context(self) -> str:
        """How to restart the server with a larger context."""
        return BY_SERVER["llama-server"]

    def count_tokens(self, text: str) -> int:
        """The number of tokens in `text`, including special tokens.

        Raises:
            EngineError: the server cannot be asked.
        """
        return len(self.encode(text))

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`, including special tokens. Raises what `count_tokens` raises."""
        sendable = text.encode(errors="replace").decode()
        return self._remote.call(partial(self._tokenize, sendable, parse_special=True))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids. Raises what `count_tokens` raises."""
        answer = self._remote.call(partial(self._json, "/detokenize", body={"tokens": list(ids)}))
        return str(answer["content"])

    def close(self) -> None:
        """Stop this engine's requests, and close its connections. The server continues."""
        self._remote.close()

    def _ask(self, request: GenerationRequest, body: Mapping[str, Any], bounds: Bounds) -> Answer[str]:
        if request.sampling.logit_bias:  # the server ignores ids that it does not have
            token_biases(request.sampling.logit_bias, self._vocabulary_size(bounds))
        ids = self._control_ids(request.prompt.controls, bounds)
        spellings = {number: text for text, number in ids.items()}
        top = request.sampling.logprobs
        logprobs: list[Mapping[str, Any]] = []
        read = None
        if request.tokenizer:
            known = request.prompt.control_ids(request.tokenizer)
            _check_same(ids, known)
            read = _Reader(known)
        else:
            body = {**body, "prompt": self._encode(request.prompt, ids, bounds)}
        if request.constraint is not None:
            body = {**body, **self._held(request.constraint, request.prompt.controls, ids, bounds)}
        with self._http.ask("/completion", bounds, body) as response:
            _refuse_error(response)
            for data in _events(response):
                if top is not None:
                    logprobs += (_logprob(entry, top, spellings) for entry in data.get("completion_probabilities", ()))
                if read and request.on_ids:
                    request.on_ids(data["tokens"])
                yield read.feed(data) if read else data["content"]
                if data["stop"]:
                    yield read.guard.close() if read else ""
                    yield _generation(data, request, tuple(logprobs))

    def _encode(self, prompt: Prompt, ids: Mapping[str, int], bounds: Bounds) -> object:
        """The prompt for `/completion`: with one BOS, and no text that is read as a token.

        The server adds the model's BOS before a string, but not before a list that begins with an id. In a string it finds
        every token of the vocabulary, even those that the format does not know. So a prompt with a `<` in its texts is split
        here, without special tokens. (Tokens of type USER_DEFINED are found even then, so the guarded text is split.)
        """
        if prompt.media:
            return self._encode_media(prompt, ids, bounds)
        if prompt.plain:
            first = next(filter(prompt.text.startswith, ids), None)
            return prompt.text if first is None else [ids[first], prompt.text.removeprefix(first)]
        mixed = [ids.get(s.text, s.text) if s.control else prompt.guard(s.text) for s in prompt.segments]
        return [*self._tokenize(mixed, bounds, parse_special=False, add_special=True)]

    def _encode_media(self, prompt: Prompt, ids: Mapping[str, int], bounds: Bounds) -> Mapping[str, object]:
        """A prompt with images or audio for `/completion`: one string, in which every special token is found."""
        properties = self._json("/props", bounds)  # each time: a restarted server has another marker
        refuse_unseen(prompt.media, properties, self.name)
        added = self._tokenize("", bounds, parse_special=True, add_special=True)
        begins = {control for control, number in ids.items() if [number] == added[:1]}
        return media_prompt(prompt, properties, begins=begins, spelled=self._spelled(prompt, bounds))

    def _spelled(self, prompt: Prompt, bounds: Bounds) -> set[str]:
        """The tokens that appear in a prompt's texts and that its format does not know: they are found only by a search."""
        texts = [prompt.guard(segment.text) for segment in prompt.segments if not segment.control and "<" in segment.text]
        if not texts:
            return set()
        mixed = [part for text in texts for part in (text, 0)]
        found = self._tokenize(mixed, bounds, parse_special=True, with_pieces=True)
        more = Counter(token["id"] for token in found)
        more.subtract(self._tokenize(mixed, bounds, parse_special=False))
        pieces = (token["piece"] for token in found if more[token["id"]] > 0)
        return {piece for piece in pieces if isinstance(piece, str) and piece[:1] + piece[-1:] == "<>"}

    def _held(
        self, constraint: Constraint, controls: tuple[str, ...], ids: Mapping[str, int], bounds: Bounds
    ) -> dict[str, Any]:
        """The constraint for `/completion`. If a grammar has both notations, Lark if the server supports it: it is cheaper.

        GBNF is tried on each token of the vocabulary whenever the model's choice does not fit, and splits words in a way that
        no training text does.
        """
        lark = None if constraint.lark is None else _with_ids(constraint.lark, controls, ids)
        alone = constraint.gbnf is None
        if lark is not None and (self._takes_lark(bounds) if alone else self._prefers_lark(bounds)):
            if alone and not self._reads(lark, bounds):
                raise InvalidRequest("llama.cpp cannot read the Lark grammar", param="constraint", code="invalid_grammar")
            return {"grammar": lark}
        if constraint.gbnf is not None:
            return {"grammar": constraint.gbnf}
        if constraint.lark is not None:
            self._nests_lark = False
            raise EngineRejected(
                "it does not support this Lark grammar: llguidance is missing, or the vocabulary lacks a special token"
            )
        return {"json_schema": constraint.json_schema}

    def _takes_lark(self, bounds: Bounds) -> bool:
        """Whether the server was built with llguidance. A server without it crashes when it gets Lark."""
        if self._lark is None:
            with self._http.ask("/completion", bounds, _LARK_QUESTION) as response:
                if response.status != 400:
                    _refuse_error(response)
                answer = response.read()
            self._lark = b"grammar_triggers" in answer or b"%llguidance" in answer
        return self._lark

    def _prefers_lark(self, bounds: Bounds) -> bool:
        """Whether Lark is sent if GBNF is also possible."""
        return self._takes_lark(bounds)

    def _reads(self, lark: str, bounds: Bounds) -> bool:
        """Whether llama.cpp can parse a request's own grammar. It silently ignores a grammar that it cannot parse."""
        if lark not in self._read:
            asked = _START.sub(lambda start: f'start: "{_MARK}" ({start[1]})?', lark, count=1)
            written = self._json("/completion", bounds, {"prompt": "a", "n_predict": 8, "temperature": 0, "grammar": asked})
            if len(self._read) >= _MOST_READ:
                self._read.clear()
            self._read[lark] = str(written.get("content")).startswith(_MARK)
        return self._read[lark]

    def _control_ids(self, controls: tuple[str, ...], bounds: Bounds) -> dict[str, int]:
        """The ids of the special tokens that the model's vocabulary has."""
        if (known := self._ids.get(controls)) is None:
            tokens = self._tokenize("".join(controls), bounds, parse_special=True, with_pieces=True)
            wanted = frozenset(controls)
            known = self._ids[controls] = {t["piece"]: t["id"] for t in tokens if t["piece"] in wanted}
        return known

    def _vocabulary_size(self, bounds: Bounds) -> int | None:
        """How many tokens the model has; None where the server does not say so."""
        try:
            [model] = self._json("/v1/models", bounds)["data"]
            size = model["meta"]["n_vocab"]
        except (ModelNotFound, EngineRejected, EngineProtocolError, LookupError, ValueError, TypeError):
            return None
        return size if isinstance(size, int) else None

    def _tokenize(self, content: str | list[int | str], bounds: Bounds, **options: bool) -> list[Any]:
        answer = self._json("/tokenize", bounds, {"content": content, **options})
        tokens = answer["tokens"]
        if not isinstance(tokens, list):
            raise EngineProtocolError("/tokenize did not return a list of tokens")
        return tokens

    def _json(self, path: str, bounds: Bounds, body: object = None) -> dict[str, Any]:
        with self._http.ask(path, bounds, body) as response:
            _refuse_error(response)
            answer = json.loads(response.read())
        if not isinstance(answer, dict):
            raise EngineProtocolError(f"{path} did not return a JSON object")
        return answer


def _check_same(theirs: Mapping[str, int], ours: Mapping[str, int]) -> None:
    """Refuse a tokenizer that does not belong to the server's model."""
    for control in theirs.keys() & ours.keys():
        if theirs[control] != ours[control]:
            message = (
                f"it does not belong to the server's model: {control} is {ours[control]} in it, and {theirs[control]} there"
            )
            raise InvalidRequest(message, param="tokenizer")


class _Reader:
    """Text in which special tokens are distinguished from ordinary text by the ids that come with it.

    The server sends one message per token, but holds back text that may become a stop sequence: the id of a special token may
    arrive before its text.
    """

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.guard = TextGuard(ids)
        self._spellings = {number: control for control, number in ids.items()}
        self._told: list[str] = []

    def feed(self, data: Mapping[str, Any]) -> str:
        """The text of one message."""
        self._told += (self._spellings[number] for number in data["tokens"] if number in self._spellings)
        return self.guard.feed(self._segments(data["content"]))

    def _segments(self, text: str) -> Iterator[Segment]:
        while self._told and self._told[0] in text:
            before, control, text = text.partition(self._told.pop(0))
            yield from (Segment(before, False), Segment(control, True))
        yield Segment(text, False)


def _sampling(sampling: Sampling) -> dict[str, Any]:
    body = dict(sampling.extra)
    if unknown := sorted(body.keys() - _EXTRA):
        raise InvalidRequest(f"not a setting of llama.cpp; known settings: {', '.join(sorted(_EXTRA))}", param=unknown[0])
    for name, field in _FIELDS.items():
        if (value := getattr(sampling, name)) is not None:
            body[field] = value
    if sampling.logprobs is not None:
        body["n_probs"] = max(1, sampling.logprobs)
    if biases := token_biases(sampling.logit_bias):
        body["logit_bias"] = [[token, bias if bias > -100 else False] for token, bias in biases.items()]
    return body


def _with_ids(lark: str, controls: tuple[str, ...], ids: Mapping[str, int]) -> str | None:
    """`lark` with its special tokens as ids, because llama.cpp knows names only for tokens of type CONTROL.

    None if the vocabulary lacks one: llama.cpp ignores a grammar with an unknown name, without an error.
    """
    if not controls:
        return lark
    spelled = re.compile(rf"""({"|".join(map(re.escape, controls))})|"(?:\\.|[^"\\])*"|/(?:\\.|[^/\\])*/""")
    if not ids.keys() >= {found[1] for found in spelled.finditer(lark) if found[1]}:
        return None
    return spelled.sub(lambda found: f"<[{ids[found[1]]}]>" if found[1] else found[0], lark)


def _refuse_error(response: Response) -> None:
    if response.status == 200:
        return
    raise _refusal(error_in(response.read().decode(errors="replace")), response)


def _refusal(error: object, response: Response) -> EngineError | InvalidRequest:
    """What an error means that came with a status, or in a stream that had begun."""
    message = words_of(error)
    if message == _UNREAD:
        reads = "it reads PNG, JPEG, GIF and BMP, WAV, MP3 and FLAC, and WebP if ffmpeg is installed"
        return InvalidRequest(
            f"llama.cpp cannot read an image or an audio file; {reads}", param="messages", code="invalid_media"
        )
    if isinstance(error, Mapping) and error.get("type") == "exceed_context_size_error":
        return ContextExceeded(message, prompt_tokens=error.get("n_prompt_tokens"), context=error.get("n_ctx"))
    if response.status == 200:
        return EngineRejected(f"{response.url}: {message}")
    return status_fault(response.status, message, response.url, response.headers)


def _events(response: Response) -> Iterator[dict[str, Any]]:
    for line in response.lines():
        kind, _, value = line.partition(b":")
        if kind not in (b"data", b"error"):
            continue
        data = json.loads(value)
        error = data if kind == b"error" else data.get("error")
        if error:
            raise _refusal(error, response)
        yield data


def _logprob(entry: Mapping[str, Any], top: int, spellings: Mapping[int, str]) -> Mapping[str, Any]:
    others = entry["top_logprobs"][:top]
    return {**_token(entry, spellings), "top_logprobs": [_token(other, spellings) for other in others]}


def _token(entry: Mapping[str, Any], spellings: Mapping[int, str]) -> dict[str, Any]:
    """An entry in OpenAI's format; the server writes special tokens among the alternatives as empty strings."""
    text = entry["token"] or spellings.get(entry["id"], "")
    return {"token": text, "logprob": entry["logprob"], "bytes": entry["bytes"] or list(text.encode())}


def _generation(data: Mapping[str, Any], request: GenerationRequest, logprobs: Iterable[Mapping[str, Any]]) -> Generation:
    return Generation(
        finish="length" if data["stop_type"] == "limit" else "stop",
        usage=Usage(
            prompt_tokens=data.get("tokens_evaluated"),
            completion_tokens=data.get("tokens_predicted"),
            cached_tokens=data.get("timings", {}).get("cache_n"),
        ),
        stopped=request.own_stop(data.get("stopping_word")),
        logprobs=tuple(logprobs),
    )
