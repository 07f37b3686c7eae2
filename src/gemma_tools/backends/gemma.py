"""One of Gemma's formats on an engine: the backend of all three families.

The work is written once, as a blocking generator of events (`_attempt`). Whole answers, streams and their async versions all
use that generator, so they cannot differ.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, Unpack, cast

from gemma_tools.backends.base import BaseModelBackend
from gemma_tools.backends.chat import HIDDEN_TOKENS, MEDIA_BY_CHAT, ChatReader, chat_of, needs_chat, reader_of, text_of
from gemma_tools.backends.chat_plan import chat_plan
from gemma_tools.backends.config import FormatOptions, ModelConfig
from gemma_tools.backends.exchange import Exchange
from gemma_tools.backends.plan import OnInvalid, Plan, make_plan
from gemma_tools.backends.room import advising, fitted_plan, least_of_media, refuse_too_long
from gemma_tools.backends.sizes import refuse_large_grammar, refuse_large_schemas
from gemma_tools.backends.verdict import Verdict, judge
from gemma_tools.completion import Answer, Heading, TokenUse, Turn, chunks, completion
from gemma_tools.display import card, facts
from gemma_tools.engines import create_engine, engine_options
from gemma_tools.engines.base import (
    Cancellation,
    ChatEngine,
    ChatPiece,
    Constraint,
    Engine,
    Generation,
    GenerationRequest,
    Pieces,
    Sampling,
    Usage,
)
from gemma_tools.engines.drive import acall, adrive
from gemma_tools.engines.stopping import until
from gemma_tools.errors import EngineError, EngineRejected, InvalidRequest, UnusableAnswer
from gemma_tools.formats import get_format
from gemma_tools.formats.base import Format, Recovery, ReplyParser
from gemma_tools.formats.options import check_option
from gemma_tools.generators import Returning, drain
from gemma_tools.log import log_content, logger
from gemma_tools.media import MediaPolicy, load_media, refuse_media
from gemma_tools.models import model_file, ollama_name
from gemma_tools.observe import (
    Answered,
    Begun,
    Generated,
    GenerationWork,
    ModelRequest,
    Retried,
    announced,
    listening,
    observed,
    tell,
)
from gemma_tools.prompt import Prompt
from gemma_tools.reply import ContentDelta, Event, ReasoningDelta, Reply, ToolCallStarted
from gemma_tools.request import MEDIA_PARTS, ChatRequest, Message
from gemma_tools.tokens import BaseTokenCounter, GemmaTokenizer, token_counter
from gemma_tools.tokens.written import WrittenIds

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

    from gemma_tools.backends.base import AsyncResponse, Response, Stream
    from gemma_tools.engines.adapters import Adapter


P = TypeVar("P")
R = TypeVar("R")

_DRAWING = ("temperature", "top_p", "top_k", "min_p", "seed")
_NOT_HERE = "unsupported_parameter"
_PENALTIES = ("presence_penalty", "frequency_penalty")


class GemmaBackend(BaseModelBackend):
    """A format and an engine, as the families use them. A subclass sets its format and its configuration."""

    format_name: ClassVar[str]
    config_type: ClassVar[type[ModelConfig]] = ModelConfig
    format_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    warnings: tuple[str, ...] = ()
    """Warnings about the model; the `warnings` of every completion begin with them."""

    def __init__(
        self,
        model_type: str,
        model_config_dict: Mapping[str, Any] | None = None,
        api_key: str | None = None,
        url: str | None = None,
        token_counter: BaseTokenCounter | None = None,
        timeout: float | None = None,
        max_retries: int = 3,
        *,
        engine: Engine | str | None = None,
        recovery: Recovery = "schema",
        stream_arguments: Literal["whole", "live"] | None = None,
        on_invalid: OnInvalid | None = None,
        tokenizer: GemmaTokenizer | str | Path | None = None,
        allow_remote_media: bool = False,
        allow_file_media: bool = False,
        context: int | None = None,
        threads: int | None = None,
        gpu_layers: int | None = None,
        mmproj: str | Path | None = None,
        lora: Sequence[Adapter] = (),
        parallel: int | None = None,
        cache_ram: int | None = None,
        max_line_bytes: int | None = None,
        max_answer_bytes: int | None = None,
        way: Literal["auto", "native", "prompted"] | None = None,
        server: str | None = None,
        **format_options: Unpack[FormatOptions],
    ) -> None:
        """Connect the family's format to an engine.

        Args:
            model_type: the model's name, as the engine knows it.
            model_config_dict: settings, validated by the family's configuration class.
            api_key: for an engine on a server that requires one.
            url: the address of the engine's server; see the engine for its default.
            token_counter: your own counter, instead of the engine's.
            timeout: seconds to wait for the engine; by default MODEL_TIMEOUT from the environment, or 180.
            max_retries: how often a lost connection is retried, as long as nothing was generated.
            engine: your own engine object (you close it), or an engine's name; by default a model file and `tiny` run in this
                process, and everything else in Ollama.
            recovery: how much damaged output is read as calls: "strict", "schema" or "eager".
            stream_arguments: "whole" streams a call when it is complete, "live" while it is written.
            on_invalid: what happens to a call whose arguments do not match their schema: "report" adds a problem to the
                message, "retry" shows the model its error (and raises after three rounds), "raise" raises UnusableAnswer. The
                default is "report" if the extra `validation` is installed; a strict tool without a grammar is retried.
            tokenizer: the model's tokenizer, or its file (see `GemmaTokenizer.from_file`), for an engine without the
                model's file: engines that take token ids get the prompt as ids, and tokens are counted exactly.
            allow_remote_media: download images from http(s) URLs, only from public addresses.
            allow_file_media: read images from local files.
            context: tokens of the context, if the engine is created here and has the option; so are the next ten.
            threads: how many threads it uses.
            gpu_layers: how many layers of the model are on the GPU.
            mmproj: the projector with which a llama.cpp model takes images and audio, a GGUF file.
            lora: adapters for a llama.cpp model, GGUF files or pairs of a file and a scale.
            parallel: how many prompts a llama.cpp model processes at the same time.
            cache_ram: mebibytes of older conversations that llama.cpp keeps.
            max_line_bytes: the longest line of a server's answer.
            max_answer_bytes: the longest answer of a server.
            way: how a chat endpoint gets tools: in their own field ("native"), in the text ("prompted"), or either ("auto").
            server: the kind of server, for an endpoint with OpenAI's protocol: "vllm", "llama-server", ...
            format_options: options of the format; see `get_format`.

        Raises:
            InvalidRequest: an unknown setting or an impossible value.
            UnknownName: there is no engine with that name.
        """
        super().__init__(model_type, model_config_dict, api_key, url, token_counter, timeout, max_retries)
        self.config = self.config_type.of(self.model_config_dict)
        self.format: Format = get_format(self.format_name, recovery=recovery, **{**self.format_defaults, **format_options})
        check_option("stream_arguments", stream_arguments, (None, "whole", "live"))
        check_option("on_invalid", on_invalid, (None, "report", "retry", "raise"))
        self._calls = stream_arguments or self.config.stream_arguments
        self._on_invalid = on_invalid
        self._media = MediaPolicy(allow_remote=allow_remote_media, allow_files=allow_file_media)
        self._tokenizer = tokenizer if isinstance(tokenizer, GemmaTokenizer | None) else GemmaTokenizer.from_file(tokenizer)
        self._written = WrittenIds()
        self._owns_engine = not isinstance(engine, Engine)
        given = {
            "context": context,
            "threads": threads,
            "gpu_layers": gpu_layers,
            "mmproj": mmproj,
            "lora": lora or None,
            "parallel": parallel,
            "cache_ram": cache_ram,
            "max_line_bytes": max_line_bytes,
            "max_answer_bytes": max_answer_bytes,
            "way": way,
            "server": server,
        }
        given = {name: value for name, value in given.items() if value is not None}
        self.engine: Engine = self._engine(engine, given)
        self.given: Mapping[str, Any] = given if on_invalid is None else {"on_invalid": on_invalid, **given}
        """The engine's options and `on_invalid`, as they were given."""

    _make_engine: ClassVar[Callable[..., Engine]] = staticmethod(create_engine)

    def __repr__(self) -> str:
        # Some engines have to ask a server for the context, so it is shown only when it is known.
        context = vars(self).get("_context")
        known = f", context {context:,}" if context else ""
        return f"<{type(self).__name__} {self.model_type} on {self.engine.name}{known}>"

    def _repr_html_(self) -> str:
        context = vars(self).get("_context")
        told = {"model": self.model_type, "engine": self.engine.name, "format": self.format.name}
        return card(facts({**told, "context": context and f"{context:,} tokens"}))

    def warn(self, sentence: str) -> None:
        """Log a warning about the model, and add it to `warnings`."""
        logger.warning("%s", sentence)
        self.warnings += (sentence,)

    @property
    def token_counter(self) -> BaseTokenCounter:
        """The counter that was passed, else the engine's own, else the tokenizer's, else an estimate (not `exact`)."""
        return self._token_counter or self._engine_counter

    @cached_property
    def tokenizer(self) -> GemmaTokenizer | None:
        """The model's tokenizer: the one that was passed, else that of the engine's file; None if there is none."""
        return self._tokenizer or GemmaTokenizer.of(self.engine)

    @property
    def token_limit(self) -> int | None:
        """The engine's context in tokens; None if the engine does not report it."""
        return self.engine.context_length

    @property
    def stream(self) -> bool:
        """Whether `run` streams by default."""
        return self.config.stream

    def close(self) -> None:
        """Close the engine, unless it was passed as an object."""
        if self._owns_engine:
            self.engine.close()

    def _run(self, request: ChatRequest, cancel: Cancellation) -> Response:
        turns, heading = self._turns(request, cancel), self._heading(request)
        tell(Begun(heading.id))
        if request.stream:
            return chunks(heading, turns, calls=self._calls, include_usage=request.include_usage)
        return completion(heading, turns)

    async def _arun(self, request: ChatRequest, cancel: Cancellation) -> AsyncResponse:
        if not request.stream:
            return cast("ChatCompletion", await acall(lambda cancel: self.respond(request, cancel=cancel), cancel))
        stream = await acall(lambda _: self.respond(request, cancel=cancel))
        return adrive(lambda _: cast("Stream", stream), cancel)

    def _heading(self, request: ChatRequest) -> Heading:
        return Heading(model=request.model or self.model_type, legacy=request.legacy_functions)

    def _turns(self, request: ChatRequest, cancel: Cancellation) -> Iterator[Turn]:
        """One turn for each choice; a request that cannot be honoured is refused before the first one."""
        if (other := self.engine.for_media) is not None and _has_media(request):
            return self._on(other, MEDIA_BY_CHAT)._turns(request, cancel)
        plan = self._plan(request, thinking=self._thinks(request))
        sampling = self._sampling(request)
        asked = GenerationRequest(plan.prompt, sampling, stop=request.stop or self.config.stops, constraint=plan.constraint)
        self.engine.refuse_unsupported(asked)
        return (self._turn(request, plan, _reseeded(asked, index), cancel) for index in range(request.n))

    def _on(self, engine: Engine, warning: str) -> Self:
        """This backend on another engine with the same model; every answer has a warning about that."""
        other = copy(self)
        other.engine, other.warnings = engine, (*self.warnings, warning)
        return other

    def _thinks(self, request: ChatRequest) -> bool:
        return bool(request.enable_thinking)

    def answers(self, request: ChatRequest, *, cancel: Cancellation | None = None) -> list[Answer]:
        """The source of `respond`'s completion: each choice as it was parsed, with the model's output.

        Raises what `run` raises.
        """
        work = ModelRequest(operation="chat", model=self.model_type, request=request)
        return observed(work, lambda: [drain(turn) for turn in self._turns(request, cancel or Cancellation())])

    def complete(self, text: str, request: ChatRequest, index: int = 0, *, cancel: Cancellation | None = None) -> Pieces:
        """Continue the raw prompt `text`, up to a token that ends a turn of this family or starts a result.

        Raises:
            InvalidRequest: the engine cannot honour a setting.
            EngineError: the engine failed.
        """

        if not self.engine.capabilities.raw_prompt:
            message = f"the engine {self.engine.name} does not take prompts: it has only a chat endpoint"
            raise InvalidRequest(message, param="prompt", code="unsupported_value")

        def completed() -> Pieces:
            prompt = Prompt(text, self.format.controls, stop=self.format.stop)
            constraint = Constraint(gbnf=request.grammar) if request.grammar is not None else None
            stop = request.stop or self.config.stops
            asked = GenerationRequest(prompt, self._sampling(request), stop=stop, constraint=constraint)
            if request.prompt_logprobs and "prompt_logprobs" not in self.engine.capabilities.settings:
                message = f"the engine {self.engine.name} does not return log probabilities of the prompt (vLLM does)"
                raise InvalidRequest(f"{message}: leave out echo or logprobs", param="logprobs", code=_NOT_HERE)
            self.engine.refuse_unsupported(asked)
            return self._completed(_reseeded(asked, index), cancel or Cancellation())

        work = ModelRequest(operation="text_completion", model=self.model_type, request=request, prompt=text)
        return observed(work, completed)

    def _completed(self, asked: GenerationRequest, cancel: Cancellation) -> Pieces:
        generation, answer = yield from observed(self._generation(None), partial(self._continued, asked, cancel))
        tell(_answered(answer.reply, answer.tokens))
        used = Usage(
            prompt_tokens=answer.tokens.prompt,
            completion_tokens=answer.tokens.completion,
            cached_tokens=answer.tokens.cached,
        )
        return replace(generation, usage=used)

    def _continued(self, asked: GenerationRequest, cancel: Cancellation) -> Generator[str, None, tuple[Generation, Answer]]:
        """The engine's output, without a stop token at its end."""
        written: list[str] = []
        with advising(self.engine), Returning(self._generate(asked, cancel)) as pieces:
            rest = iter(pieces)
            for piece in until(rest, asked.prompt.stop):
                written.append(piece)
                yield piece
            for _ in rest:
                pass
        generation, text = pieces.value, "".join(written)
        reply = Reply(content=text, finish_reason=generation.finish)
        answer = Answer(reply=reply, text=text, tokens=self._tokens(asked.prompt, text, reply, generation.usage))
        tell(_generated(reply, answer.tokens, None))
        return generation, answer

    def prompt(self, request: ChatRequest) -> Prompt:
        """The prompt of `request`, as the model would read it; with `fit`, of the rest of the conversation.

        Raises:
            InvalidRequest: the request cannot be honoured.
        """
        return self._plan_of(request, thinking=self._thinks(request)).prompt

    def _plan_of(self, request: ChatRequest, *, thinking: bool) -> Plan:
        def planned(messages: Sequence[Message]) -> Plan:
            asked = replace(request, messages=tuple(messages))
            can = self.engine.capabilities
            make = make_plan if can.raw_prompt or not can.chat else chat_plan
            plan = make(asked, self.format, can, thinking=thinking, on_invalid=self._on_invalid)
            refuse_large_grammar(plan.constraint, request, self.config)
            return plan

        refuse_large_schemas(request, self.config)
        return self._fitted(planned, request) if self.config.fit else planned(request.messages)

    def _plan(self, request: ChatRequest, *, thinking: bool) -> Plan:
        plan = self._plan_of(request, thinking=thinking)
        counter = self.token_counter
        if counter.exact and self._context is not None:  # an estimate never refuses a prompt
            # A token has at least one byte, so most prompts need not be counted.
            size = len(plan.prompt.text.encode(errors="replace")) + least_of_media(plan.prompt, self.format)
            if size >= self._context:
                refuse_too_long(plan.prompt, counter, self.engine)
        prompt = self._with_media(plan.prompt) if plan.prompt.media else plan.prompt
        return replace(plan, prompt=prompt, warnings=self.warnings + request.warnings + plan.warnings)

    def _fitted(self, planned: Callable[[Sequence[Message]], Plan], request: ChatRequest) -> Plan:
        context = self.token_limit
        if context is None:
            message = f"the engine {self.engine.name} does not report its context, so `fit` cannot work: leave it out"
            raise InvalidRequest(message, param="model_config_dict.fit")
        answer = self.config.limit if request.max_tokens is None else request.max_tokens
        return fitted_plan(planned, request.messages, counter=self.token_counter, context=context, answer=answer)

    def _with_media(self, prompt: Prompt) -> Prompt:
        can = self.engine.capabilities
        for number, part in enumerate(prompt.media):
            kind = MEDIA_PARTS.get(str(part.get("type")))
            if not {"image": can.images, "audio": can.audio}.get(str(kind)):
                hint = can.media_hint and f": {can.media_hint}"
                raise refuse_media(part, number, f"the engine {self.engine.name} takes no {kind}{hint}")
        return replace(prompt, media=load_media(prompt.media, self._media))

    def _sampling(self, request: ChatRequest) -> Sampling:
        """The request's values, else the configuration's, else the family's defaults as far as the engine supports them."""
        config = self.config
        can = self.engine.capabilities.settings
        settings: dict[str, Any] = {"max_tokens": config.limit}
        for name in (*_DRAWING, *_PENALTIES, "repeat_penalty"):
            if name in config.model_fields_set or name in can:
                settings[name] = getattr(config, name)
        for name in ("max_tokens", *_DRAWING, "repeat_penalty"):
            if (value := getattr(request, name)) is not None:
                settings[name] = value
        for name in (*_PENALTIES, "logit_bias"):
            if value := getattr(request, name):  # a penalty of 0 has no effect, so the engine need not support it
                settings[name] = value
        if request.logprobs:
            settings["logprobs"] = request.top_logprobs or 0
        if request.prompt_logprobs:
            settings["prompt_logprobs"] = True
        return Sampling(**settings, extra=config.engine_options)

    def _turn(self, request: ChatRequest, plan: Plan, asked: GenerationRequest, cancel: Cancellation) -> Turn:
        """One choice: asked for again while it does not satisfy the plan and the model can be shown its error."""
        spent = TokenUse(prompt=0, completion=0)
        earlier: list[Event] = []
        rounds = plan.rounds
        retry: str | None = None
        while True:
            rounds -= 1
            sent: list[Event] = []
            held: list[Event] = []
            attempt = observed(self._generation(retry), partial(self._judged, plan, asked, cancel))
            try:
                answer, verdict = yield from _holding(attempt, plan.held, sent, held)
            except EngineRejected:
                if plan.fits(self.engine.capabilities):
                    raise
                # The engine has found out that it does not support something, so another plan is needed.
                plan = self._plan(request, thinking=plan.thinking)
                asked, rounds = replace(asked, prompt=plan.prompt, constraint=plan.constraint), rounds + 1
                retry = "constraint_refused"
                tell(Retried(retry))
                continue
            spent += answer.tokens
            if verdict.fault is None:
                yield from (event for event in held if not (verdict.rewritten and isinstance(event, ContentDelta)))
                if verdict.rewritten:
                    yield ContentDelta(verdict.reply.content or "")
                reply = _preceded(verdict.reply, earlier)
                _log(self.model_type, reply, spent)
                tell(_answered(reply, spent))
                return replace(answer, reply=reply, tokens=spent)
            if not (rounds and verdict.again):
                raise UnusableAnswer(verdict.fault, text=answer.text)
            logger.info("%s: asking again", self.model_type)
            retry = verdict.cause
            tell(Retried(retry))
            earlier += sent
            request = replace(request, messages=(*request.messages, *verdict.again), continues=False)
            plan = self._plan(request, thinking=False)
            asked = replace(asked, prompt=plan.prompt, constraint=plan.constraint)

    def _generation(self, retry: str | None) -> GenerationWork:
        return GenerationWork(model=self.model_type, engine=self.engine.name, retry=retry)

    def _judged(
        self, plan: Plan, asked: GenerationRequest, cancel: Cancellation
    ) -> Generator[Event, None, tuple[Answer, Verdict]]:
        """Ask the model once, and compare its answer with the plan."""
        try:
            with advising(self.engine):
                answer = yield from self._attempt(plan, asked, cancel)
        except EngineError as error:
            self._show(plan, asked, text=error.text or None, error=str(error))
            raise
        verdict = judge(plan, answer.reply)
        self._show(plan, asked, answer=answer, reply=verdict.reply, text=answer.text, error=verdict.fault or "")
        tell(_generated(verdict.reply, answer.tokens, verdict.cause if verdict.fault else None))
        return answer, verdict

    def _show(
        self,
        plan: Plan,
        asked: GenerationRequest,
        *,
        text: str | None,
        error: str,
        answer: Answer | None = None,
        reply: Reply | None = None,
    ) -> None:
        """Call `on_exchange`, if it is set. `reply` is the answer's, with the problems that were found after parsing."""
        if self.on_exchange is None:
            return
        tokenizer = self._tokenizer_for(asked)
        prompt = self._written.recall(plan.prompt, tokenizer) if tokenizer else plan.prompt
        exchange = Exchange(
            model=self.model_type,
            format=self.format,
            prompt=replace(prompt, media=(), known=(prompt.known[0], array("i", prompt.known[1]))),
            declared=plan.declared,
            tools=plan.tools,
            max_calls=plan.max_calls,
            guarded=_guarded(prompt, tokenizer),
            text=text,
            finish="length" if answer and answer.reply.finish_reason == "length" else "stop",
            reply=replace(answer.reply, problems=reply.problems) if answer and reply else None,
            tokens=answer.tokens if answer else None,
            warnings=answer.warnings if answer else plan.warnings,
            error=error,
            tokenizer=self.tokenizer,
        )
        self.on_exchange(exchange)

    def _attempt(self, plan: Plan, asked: GenerationRequest, cancel: Cancellation) -> Turn:
        """Ask the model once and parse its output."""
        if (chat := needs_chat(self.engine, plan)) is not None:
            return (yield from self._chat_attempt(chat, plan, asked, cancel))
        prompt = plan.prompt
        log_content("prompt", prompt.text)
        # A prompt sent as ids is not guarded; the engine guards the model's output.
        tokenizer = self._tokenizer_for(asked if plan.thought_end is None else replace(asked, constraint=None))
        guarded = _guarded(prompt, tokenizer)
        ids: list[int] = []
        if tokenizer:
            prompt = self._written.recall(prompt, tokenizer)
            asked = replace(asked, prompt=prompt, on_ids=ids.extend)
        parser = self.format.parser(plan.tools, opens=prompt.opens, guarded=guarded, max_calls=plan.max_calls)
        written: list[str] = []

        def take(text: str) -> list[Event]:
            written.append(text)
            return parser.feed(text)

        yield from take(prompt.prefill)
        pieces = self._pieces(asked, plan.thought_end, cancel)
        generation = yield from _read(pieces, take, parser)
        if tokenizer:
            self._written.add(prompt, ids, tokenizer)
        return self._answer(plan, parser.reply, "".join(written), generation)

    def _chat_attempt(self, engine: ChatEngine, plan: Plan, asked: GenerationRequest, cancel: Cancellation) -> Turn:
        """Ask the engine's own chat endpoint once."""
        reader = reader_of(plan, self.format)
        written: list[str] = []

        def take(piece: ChatPiece) -> list[Event]:
            written.append(text_of(piece))
            return reader.feed(piece)

        log_content("prompt", plan.prompt.text)
        chat = chat_of(plan, think=plan.thinking if self.format.thought else None)
        pieces = engine.chat(asked, chat, cancel=cancel)
        generation = yield from _read(announced(pieces) if listening() else pieces, take, reader)
        if plan.way == "raw":
            plan = replace(plan, warnings=(*plan.warnings, HIDDEN_TOKENS))
        return replace(self._answer(plan, reader.reply, "".join(written), generation), by_chat=True)

    def _answer(self, plan: Plan, reply: Reply, text: str, generation: Generation) -> Answer:
        log_content("output", text)
        return Answer(
            reply=reply,
            text=text,
            tokens=self._tokens(plan.prompt, text, reply, generation.usage),
            logprobs=generation.logprobs,
            stopped=generation.stopped,
            warnings=plan.warnings,
        )

    def _pieces(self, asked: GenerationRequest, thought_end: str | None, cancel: Cancellation) -> Pieces:
        """The model's output. With `thought_end` a thought is generated first, unconstrained, and then the answer."""
        prompt, end = asked.prompt, thought_end
        if end is None:
            return (yield from self._generate(asked, cancel))
        # Any special token ends the thought: otherwise it would end the turn or begin a call, and the answer would be lost.
        stops = (*prompt.stop, end, *self.format.controls)
        thinking = replace(asked, prompt=replace(prompt, stop=stops), constraint=None)
        written: list[str] = []
        with Returning(self._generate(thinking, cancel)) as pieces:
            rest = iter(pieces)
            for piece in until(rest, stops):
                written.append(piece)
                yield piece
            for _ in rest:
                pass
        first, thought = pieces.value, "".join(written)
        used = self.token_counter.count(thought) if first.usage.completion_tokens is None else first.usage.completion_tokens
        most = asked.sampling.max_tokens
        left = None if most is None else most - used
        if first.finish == "length" or (left is not None and left <= 0):
            return replace(first, finish="length")
        yield end
        bound = replace(asked, prompt=prompt.begun(thought + end), sampling=replace(asked.sampling, max_tokens=left))
        second = yield from self._generate(bound, cancel)
        total = None if second.usage.completion_tokens is None else used + second.usage.completion_tokens
        return replace(second, usage=replace(first.usage, completion_tokens=total), logprobs=first.logprobs + second.logprobs)

    def _generate(self, asked: GenerationRequest, cancel: Cancellation) -> Pieces:
        pieces = self.engine.generate(replace(asked, tokenizer=self._tokenizer_for(asked)), cancel=cancel)
        return announced(pieces) if listening() else pieces

    def _tokenizer_for(self, asked: GenerationRequest) -> GemmaTokenizer | None:
        """The tokenizer, if the prompt must be sent as ids.

        With a constraint, special tokens may be written as text; then the prompt is text, too. The same applies if the
        vocabulary in the engine's own file lacks a special token; a tokenizer that was passed must have them all.
        """
        if asked.constraint is not None or asked.prompt.media or not self.engine.capabilities.token_ids:
            return None
        found = self.tokenizer
        if found is None or self._tokenizer is not None:
            return found
        return found if asked.prompt.control_tokens <= found.controls else None

    def _tokens(self, prompt: Prompt, text: str, reply: Reply, usage: Usage) -> TokenUse:
        """The engine's counts; counts that it does not report are computed here."""
        counter = self.token_counter
        asked, written, thought = usage.prompt_tokens, usage.completion_tokens, reply.reasoning
        completion = counter.count(text.removeprefix(prompt.prefill)) if written is None else written
        return TokenUse(
            prompt=counter.count_prompt(prompt) if asked is None else asked,
            completion=completion,
            cached=usage.cached_tokens,
            # No engine reports it, and an estimate may be high.
            reasoning=min(counter.count(thought), completion) if thought else 0,
            estimated=(asked is None or written is None or thought is not None) and not counter.exact,
        )

    def _engine(self, engine: Engine | str | None, given: Mapping[str, Any]) -> Engine:
        if not isinstance(engine, Engine):
            return self._create_engine(engine, given)
        for option in given:
            raise InvalidRequest(f"pass it to the engine {engine.name} when you create the engine", param=option)
        return engine

    def _create_engine(self, name: str | None, given: Mapping[str, Any]) -> Engine:
        """The engine called `name`, with this backend's options that it takes; the default is in `gemma_tools.models`.

        `given` are options of the engine itself.
        """
        if not isinstance(name, str | None):
            raise InvalidRequest("must be an engine, or the name of an engine", param="engine", code="invalid_type")
        model = self.model_type
        place = name or model
        if place.lower().endswith(".litertlm"):
            name, model = "litert-lm", place
        file = model_file(model if name in (None, "llama.cpp") else name)
        if file is not None:
            name, model = "llama.cpp", file
        elif name in (None, "ollama"):
            name, model = "ollama", ollama_name(model)
        takes = engine_options(name)
        for option in given.keys() - takes:
            raise InvalidRequest(f"the engine {name} does not have this option", param=option, code="unsupported_value")
        wanted = {"model": model, "api_key": self.api_key, "timeout": self.timeout, "max_retries": self.max_retries}
        options = {**{option: value for option, value in wanted.items() if option in takes}, **given}
        if self.url is not None:
            options["url"] = self.url
        return self._make_engine(name, **options)

    @cached_property
    def _context(self) -> int | None:
        """The engine's context, as it was on first access."""
        return self.engine.context_length

    @cached_property
    def _engine_counter(self) -> BaseTokenCounter:
        return token_counter(self.format, self.engine, self._tokenizer)


def _read(
    parts: Generator[P, None, Generation],
    take: Callable[[P], list[Event]],
    reader: ReplyParser | ChatReader,
) -> Generator[Event, None, Generation]:
    """The events that `take` makes from `parts` until `reader` is finished, and those of its end. The engine then stops."""
    generation = Generation()
    with Returning(parts) as pieces:
        for piece in pieces:
            yield from take(piece)
            if reader.finished:
                break
        else:
            generation = pieces.value
    yield from reader.close(generation.finish)
    return generation


def _guarded(prompt: Prompt, tokenizer: GemmaTokenizer | None) -> frozenset[str]:
    """The special tokens that are text if they are broken: those of the prompt, and with ids all that the engine guards."""
    return prompt.guarded.union(prompt.control_ids(tokenizer) if tokenizer else ())


def _holding(
    turn: Generator[Event, None, R], what: Literal["nothing", "calls", "all"], sent: list[Event], held: list[Event]
) -> Generator[Event, None, R]:
    """Pass events on and keep them in `sent`, except those that `what` says to hold: they are added to `held`."""
    with Returning(turn) as events:
        for event in events:
            if held or what == "all" or (what == "calls" and isinstance(event, ToolCallStarted)):
                held.append(event)
            else:
                sent.append(event)
                yield event
    return events.value


def _preceded(reply: Reply, earlier: Sequence[Event]) -> Reply:
    """`reply` after the text of rounds whose calls were refused: it was already sent, so it is part of the answer."""
    content = "".join(event.text for event in earlier if isinstance(event, ContentDelta)) + (reply.content or "")
    reasoning = "".join(event.text for event in earlier if isinstance(event, ReasoningDelta)) + (reply.reasoning or "")
    return replace(reply, content=content or None, reasoning=reasoning or None)


def _has_media(request: ChatRequest) -> bool:
    return any(
        part["type"] in MEDIA_PARTS
        for message in request.messages
        if isinstance(message.content, tuple)
        for part in message.content
    )


def _reseeded(asked: GenerationRequest, index: int) -> GenerationRequest:
    """The request for the choice `index`: with the same seed all choices would be equal."""
    seed = asked.sampling.seed
    return asked if seed is None else replace(asked, sampling=replace(asked.sampling, seed=seed + index))


def _generated(reply: Reply, tokens: TokenUse, refused: str | None) -> Generated:
    return Generated(
        reply=reply,
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        cached_tokens=tokens.cached,
        refused=refused,
    )


def _answered(reply: Reply, tokens: TokenUse) -> Answered:
    return Answered(reply=reply, prompt_tokens=tokens.prompt, completion_tokens=tokens.completion, cached_tokens=tokens.cached)


def _log(model: str, reply: Reply, tokens: TokenUse) -> None:
    logger.info(
        "%s: answered, finish %s, %d calls, %d problems, %d prompt tokens, %d completion tokens",
        model,
        reply.finish_reason,
        len(reply.tool_calls),
        len(reply.problems),
        tokens.prompt,
        tokens.completion,
    )
