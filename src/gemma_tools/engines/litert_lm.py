"""LiteRT-LM, Google's runtime for models on devices, in this process: `.litertlm` files.

Its session interface takes a raw prompt, shows special tokens as text, and streams one chunk per token. Facts that shape this
engine, as of litert-lm-api 0.18.1:

- A generation continues, in a thread of the runtime, until it is told to stop, whether anybody reads it or not.
- It adds the start token of the model's file to every prompt, and none if the file names none.
- Without a seed it samples with the seed 0, and without a `top_k` it keeps only one token.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Any

from gemma_tools.engines.base import Cancellation, Capabilities, Engine, Generation, GenerationRequest, Pieces, Sampling, Usage
from gemma_tools.engines.faults import refuse_half_characters
from gemma_tools.engines.hub import check_name, located
from gemma_tools.engines.longer import BY_OPTION, OF_MODEL
from gemma_tools.engines.numbers import check_least
from gemma_tools.engines.progress import loading
from gemma_tools.engines.stopping import until
from gemma_tools.errors import (
    ContextExceeded,
    EngineRejected,
    EngineUnavailable,
    InvalidRequest,
    MissingDependency,
    ModelNotFound,
)
from gemma_tools.generators import Returning
from gemma_tools.prompt import BOS

_CAPABILITIES = Capabilities(settings=frozenset({"max_tokens", "temperature", "top_p", "top_k", "seed"}))
_ALL = 1 << 20
"""A `top_k` that keeps every token: more than any vocabulary has."""


class LiteRTLMEngine(Engine):
    """Runs the `.litertlm` file `model` on `device`, "cpu" or "gpu"; "hf:owner/repo/file.litertlm" is downloaded once.

    `context` is the maximum of prompt and answer tokens together; the file sets the default and the maximum. `threads` is for
    the CPU; None leaves it to the runtime. `cache_dir` is where the runtime caches compiled code for the next start: by default
    next to the model's file; ":nocache" turns the cache off.

    Several threads may generate at once, each in its own session; there is no prompt cache. Sampling settings that a request
    does not set come from the model's file.

    Raises:
        MissingDependency: litert-lm-api is not installed.
        ModelNotFound: the file does not exist, or the runtime cannot load it.
        InvalidRequest: an option with an impossible value.
    """

    name = "litert-lm"

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        context: int | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        self.check(model, device, threads, context)
        import litert_lm

        litert_lm.set_min_log_severity(litert_lm.LogSeverity.FATAL)
        path = str(located(model, self.name))
        try:
            with litert_lm.ModelInfo(path) as info:
                if info.llm is None:
                    raise ModelNotFound(f"{model} does not contain a language model", engine=self.name)
                self._defaults = info.llm.default_sampler_params
                self._longest: int = info.max_context_tokens
                self._context: int = min(context or self._longest, self._longest)
            with loading(Path(path)):
                loaded = litert_lm.Engine(
                    path,
                    backend=litert_lm.Backend.CPU(thread_count=threads) if device == "cpu" else litert_lm.Backend.GPU(),
                    max_num_tokens=self._context,
                    cache_dir=None if cache_dir is None else str(cache_dir),
                    enable_benchmark=True,  # counts the tokens of the output, and changes nothing else
                )
        except (RuntimeError, OSError, ValueError) as error:
            raise ModelNotFound(f"{model} cannot be loaded: {error}", engine=self.name) from None
        self._adds_bos = loaded.bos_token_id is not None
        self._loaded = _Loaded(loaded)
        self._finalizer = weakref.finalize(self, self._loaded.close)

    @staticmethod
    def check(
        model: str | Path,
        device: str = "cpu",
        threads: int | None = None,
        context: int | None = None,
        cache_dir: object = None,
    ) -> None:
        """Check the arguments, as far as possible without downloading or loading anything.

        Raises:
            InvalidRequest, MissingDependency: as the class.
        """
        if find_spec("litert_lm") is None:
            raise MissingDependency("litert-lm-api", "litert-lm", "running a .litertlm file")
        if device not in ("cpu", "gpu"):
            raise InvalidRequest('must be "cpu" or "gpu"', param="device")
        check_least(1, threads=threads, context=context)
        check_name(model)

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""
        return _CAPABILITIES

    @property
    def context_length(self) -> int:
        """The maximum of prompt and answer tokens together."""
        return self._context

    @property
    def longer_context(self) -> str:
        """The option, unless the file sets the limit."""
        return OF_MODEL if self._context == self._longest else BY_OPTION

    def count_tokens(self, text: str) -> int:
        """The number of tokens in `text`, including special tokens."""
        return len(self._loaded.tokenize(text.encode(errors="replace").decode()))

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """See `Engine.generate`."""
        refuse_half_characters(request.prompt.text)
        self.refuse_unsupported(request)
        if extra := request.sampling.extra:
            raise InvalidRequest("this engine does not have this setting", param=next(iter(extra)))
        sampler = _sampler(request.sampling, self._defaults)
        text, most, cancel = request.prompt.text, request.sampling.max_tokens, cancel or Cancellation()
        size = self.count_tokens(text)
        room = self._context - size
        if room <= 0:
            message = f"the prompt has {size} tokens, but the context is only {self._context}"
            raise ContextExceeded(message, engine=self.name, prompt_tokens=size, context=self._context)
        run = self._loaded.run(text.removeprefix(BOS) if self._adds_bos else text, sampler, most)
        pieces = Returning(until(run.pieces(), request.stops))
        try:
            with cancel.calling(run.stop):
                yield from pieces
            stopped = run.stopped
        finally:
            run.stop()
        if pieces.value or cancel.cancelled:
            usage = Usage(prompt_tokens=size, completion_tokens=run.shown, cached_tokens=0)
            return Generation(usage=usage, stopped=None if cancel.cancelled else request.own_stop(pieces.value))
        if stopped:
            raise EngineUnavailable("the engine was closed", engine=self.name, text=run.text)
        # An answer that ends normally ends with a token that is counted, but not shown.
        cut = run.tokens >= min(room, most or room) and run.shown != run.tokens - 1
        usage = Usage(prompt_tokens=size, completion_tokens=run.tokens, cached_tokens=0)
        return Generation(finish="length" if cut else "stop", usage=usage)

    def close(self) -> None:
        """Stop running generations, and release the model."""
        self._finalizer()


def _sampler(sampling: Sampling, default: Any) -> Any:
    """The runtime's form of `sampling`; settings that it leaves open come from `default`, the settings of the model's file."""
    from litert_lm import SamplerConfig

    top_k = default.top_k if sampling.top_k is None else sampling.top_k
    try:
        return SamplerConfig(
            temperature=default.temperature if sampling.temperature is None else sampling.temperature,
            top_k=top_k or _ALL,
            top_p=(default.top_p or 1.0) if sampling.top_p is None else sampling.top_p,
            seed=random.getrandbits(31) if sampling.seed is None else sampling.seed,
        )
    except ValueError as error:  # it begins with the setting's name
        name, _, fault = str(error).partition(" ")
        raise InvalidRequest(fault, param=name) from None


class _Loaded:
    """A loaded model and its generations. It has no reference to the engine, which can so be freed by garbage collection."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._lock = Lock()
        self._runs: set[_Run] = set()

    def tokenize(self, text: str) -> list[int]:
        with self._lock:
            ids: list[int] = self._open().tokenize(text)
        return ids

    def run(self, prompt: str, sampler: Any, most: int | None) -> _Run:
        """Start to continue `prompt`."""
        with self._lock:
            options = {"sampler_config": sampler, "max_output_tokens": most}
            run = _Run(self._open().create_session(apply_prompt_template=False, **options), prompt, self._runs.discard)
            self._runs.add(run)
            run.start()
        return run

    def close(self) -> None:
        """Stop all generations and wait for their end, then free the model: no session may outlive it."""
        with self._lock:
            model, self._model = self._model, None
            runs = list(self._runs)
        for run in runs:
            run.stop()
        for run in runs:
            if run is not current_thread():  # if the garbage collector runs in it
                run.join()
        if model is not None:
            model.close()

    def _open(self) -> Any:
        if self._model is None:
            raise EngineUnavailable("the engine is closed", engine=LiteRTLMEngine.name)
        return self._model


class _Run(Thread):
    """One generation, in its own thread: the runtime reads a prompt to its end before it notices a stop."""

    def __init__(self, session: Any, prompt: str, ended: Callable[[_Run], None]) -> None:
        super().__init__(name="gemma_tools-litert-lm", daemon=True)
        self.text = ""
        """The text that was shown."""
        self.shown = 0
        """The number of shown tokens: each is a chunk."""
        self.tokens = 0
        """The number of generated tokens, with the one that ended the text; known after a normal end."""
        self.stopped = False
        """Whether it was stopped."""
        self._session = session
        self._prompt = prompt
        self._ended = ended
        self._lock = Lock()
        self._heard: SimpleQueue[str | Exception | None] = SimpleQueue()

    def pieces(self) -> Iterator[str]:
        """The text as it arrives."""
        while (piece := self._heard.get()) is not None and not self.stopped:
            if isinstance(piece, Exception):
                raise EngineRejected(f"LiteRT-LM failed: {piece}", engine=LiteRTLMEngine.name, text=self.text) from piece
            self.text += piece
            self.shown += 1
            yield piece

    def stop(self) -> None:
        """Stop, from any thread and at any time."""
        self.stopped = True
        self._heard.put(None)
        with self._lock:
            if self._session is not None:
                self._session.cancel_process()

    def run(self) -> None:
        """What the thread does."""
        session = self._session
        try:
            session.run_prefill([self._prompt])
            for part in () if self.stopped else session.run_decode_async():
                if self.stopped:  # repeated, because it ignores a stop before it begins
                    session.cancel_process()
                else:
                    self._heard.put(part.texts[0])
            if not self.stopped:
                self.tokens = session.get_benchmark_info().last_decode_token_count
            self._heard.put(None)
        except Exception as error:
            self._heard.put(error)
        finally:
            with self._lock:
                self._session = None
            session.close()
            self._ended(self)
