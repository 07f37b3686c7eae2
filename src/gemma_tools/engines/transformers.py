"""Models in this process with transformers and torch, for weights without a GGUF file.

It generates token by token itself instead of calling `model.generate`. That method would need a separate thread to stream,
could be stopped only from within, and samples from torch's single global random generator, so seeds would not work with two
generations at the same time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from gemma_tools.engines.base import Cancellation, Capabilities, Engine, Generation, GenerationRequest, Pieces, Sampling, Usage
from gemma_tools.engines.faults import refuse_half_characters
from gemma_tools.engines.guidance import Guide, guided_vocabulary
from gemma_tools.engines.longer import OF_MODEL
from gemma_tools.engines.numbers import token_biases
from gemma_tools.engines.stopping import until
from gemma_tools.errors import (
    ContextExceeded,
    EngineError,
    EngineRejected,
    EngineUnavailable,
    InvalidRequest,
    MissingDependency,
    ModelNotFound,
)
from gemma_tools.prompt import Prompt, TextGuard, Tokenizer

if TYPE_CHECKING:
    import torch

_CHUNK = 512
"""How many tokens of a prompt are read at once; a cancellation is noticed in between."""

_CAPABILITIES = Capabilities(
    settings=frozenset(
        {
            "max_tokens",
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "seed",
            "repeat_penalty",
            "presence_penalty",
            "frequency_penalty",
            "logit_bias",
            "logprobs",
        }
    ),
    constraints=frozenset({"lark", "json_schema"}),
    token_ids=True,
)


class TransformersEngine(Engine):
    """Runs the causal language model `model`, a directory or a name on the Hugging Face Hub, on `device`.

    The default `device` is "cuda" if there is one, else "cpu". Several threads may generate at once, each with its own cache;
    there is no prompt cache.

    Raises:
        MissingDependency: torch or transformers is not installed.
        ModelNotFound: the model does not exist, or cannot be loaded.
    """

    name = "transformers"

    def __init__(self, model: str | Path, *, device: str | None = None) -> None:
        self.check(model)
        import torch
        import transformers

        try:
            loaded = transformers.AutoModelForCausalLM.from_pretrained(model, dtype="auto")
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(model)
            self._folder = Path(model) if Path(model).is_dir() else None
        except (OSError, ValueError, ImportError) as error:
            raise ModelNotFound(f"{model} cannot be loaded: {error}", engine=self.name) from None
        self._model: Any = loaded.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._vocabulary: Any = None
        self._lock = Lock()  # a tokenizer is not thread-safe while its settings change from call to call

    @staticmethod
    def check(model: str | Path, device: str | None = None) -> None:
        """Check that the dependencies are installed; whether the model exists is known when it is loaded.

        Raises:
            MissingDependency: torch or transformers is not installed.
        """
        for package in ("torch", "transformers"):
            if find_spec(package) is None:
                raise MissingDependency(package, "transformers", "the transformers engine")

    @property
    def capabilities(self) -> Capabilities:
        """What this engine supports."""
        return _CAPABILITIES

    @property
    def vocabulary(self) -> Path | None:
        """The model's directory; None for a name on the Hub."""
        return self._folder

    @property
    def context_length(self) -> int | None:
        """The number of positions of the model."""
        length = self._loaded().config.get_text_config().max_position_embeddings
        return int(length)

    @property
    def longer_context(self) -> str:
        """It is a limit of the model itself."""
        return OF_MODEL

    def count_tokens(self, text: str) -> int:
        """The number of tokens in `text`, including special tokens."""
        return len(self.encode(text))

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`, including special tokens."""
        return self._split(text.encode(errors="replace").decode(), special=True)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        return self._text(ids)

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """See `Engine.generate`."""
        refuse_half_characters(request.prompt.text)
        self.refuse_unsupported(request)
        if extra := request.sampling.extra:
            raise InvalidRequest("this engine does not have this setting", param=next(iter(extra)))
        prompt, tokenizer = request.prompt, request.tokenizer
        ids = prompt.token_ids(tokenizer) if tokenizer else self._encode(prompt)
        guide = Guide(self._guided(), request.constraint, self.name) if request.constraint else None
        run = _Run(self, ids, request.sampling, self._ends(prompt), cancel or Cancellation(), guide)
        pieces = _read(run.tokens(), request, tokenizer) if tokenizer else run.pieces()
        try:
            stopped = yield from until(pieces, request.stops)
        except EngineError as error:
            error.text = self._text(run.written)
            raise
        except RuntimeError as error:  # any torch error, including out of memory
            raise EngineRejected(f"torch failed: {error}", engine=self.name, text=self._text(run.written)) from error
        return replace(run.generation("stop" if stopped else run.finish), stopped=request.own_stop(stopped))

    def close(self) -> None:
        """Free the model; running generations end with an error."""
        self._model = None

    def _loaded(self) -> Any:
        if self._model is None:
            raise EngineUnavailable("the engine is closed", engine=self.name)
        return self._model

    def _guided(self) -> Any:
        model = self._loaded()
        with self._lock:
            if self._vocabulary is None:
                size = model.get_input_embeddings().num_embeddings
                self._vocabulary = guided_vocabulary(self._tokenizer, size, self._model_ends())
        return self._vocabulary

    def _model_ends(self) -> list[int]:
        """The tokens that end a text, as the model's own files say."""
        told = self._loaded().generation_config.eos_token_id
        return [told] if isinstance(told, int) else list(told or ())

    def _ends(self, prompt: Prompt) -> frozenset[int]:
        known = self._tokenizer.get_vocab()
        return frozenset([*self._model_ends(), *(known[token] for token in prompt.stop if token in known)])

    def _encode(self, prompt: Prompt) -> list[int]:
        """The prompt's tokens: in text between special tokens no special tokens are searched."""
        if prompt.plain:
            return self._split(prompt.text, special=True)
        pieces = (self._split(s.text if s.control else prompt.guard(s.text), special=s.control) for s in prompt.segments)
        return [token for piece in pieces for token in piece]

    def _split(self, text: str, *, special: bool) -> list[int]:
        with self._lock:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not special)
        return ids

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text


def _read(tokens: Iterator[int], request: GenerationRequest, tokenizer: Tokenizer) -> Iterator[str]:
    """The text of `tokens` in complete characters, with special tokens distinguished from text that looks like them."""
    decoder, guard = tokenizer.decoder(), TextGuard(request.prompt.control_ids(tokenizer))
    for token in tokens:
        if request.on_ids:
            request.on_ids((token,))
        yield guard.feed(decoder.feed((token,)))
    yield guard.feed(decoder.close()) + guard.close()


@dataclass
class _Run:
    """One generation, token by token."""

    engine: TransformersEngine
    prompt: list[int]
    sampling: Sampling
    ends: frozenset[int]
    cancel: Cancellation
    guide: Guide | None
    written: list[int] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish: Literal["stop", "length"] = "length"

    def generation(self, finish: Literal["stop", "length"]) -> Generation:
        """How it ended."""
        usage = Usage(prompt_tokens=len(self.prompt), completion_tokens=len(self.written), cached_tokens=0)
        return Generation(finish=finish, usage=usage, logprobs=tuple(self.logprobs))

    def pieces(self) -> Iterator[str]:
        """The text in complete characters."""
        whole = start = 0
        for _ in self.tokens():
            before = self.engine._text(self.written[start:whole])
            now = self.engine._text(self.written[start:])
            if not now.endswith("\ufffd"):
                start, whole = whole, len(self.written)
                if now != before:
                    yield now.removeprefix(before)

    def tokens(self) -> Iterator[int]:
        """The sampled tokens, up to the token that ends the answer, which is not shown."""
        context = self.engine.context_length
        assert context is not None
        if len(self.prompt) >= context:
            raise ContextExceeded(
                f"the prompt has {len(self.prompt)} tokens, but the context is only {context}",
                engine=self.engine.name,
                prompt_tokens=len(self.prompt),
                context=context,
            )
        limit = context - len(self.prompt)
        if self.sampling.max_tokens is not None:
            limit = min(limit, self.sampling.max_tokens)
        for token in self._tokens(limit):
            self.written.append(token)
            if token in self.ends:
                self.finish = "stop"
                return
            yield token
        if self.cancel.cancelled:
            self.finish = "stop"

    def _tokens(self, limit: int) -> Iterator[int]:
        import torch
        from transformers import DynamicCache

        model = self.engine._loaded()
        cache = DynamicCache(config=model.config)
        # Its name until transformers 5.24, and from then on.
        named = "cache" if "cache" in signature(model.forward).parameters else "past_key_values"
        draw = _Draw(self.sampling, model)
        ids = self.prompt
        for _ in range(limit):
            for at in range(0, len(ids), _CHUNK):
                if self.cancel.cancelled:
                    return
                model = self.engine._loaded()
                with torch.inference_mode():
                    read = torch.tensor([ids[at : at + _CHUNK]], device=model.device)
                    out = model(input_ids=read, use_cache=True, logits_to_keep=1, **{named: cache})
                    logits = out.logits[0, -1].float()
            token = draw(self.guide.masked(logits) if self.guide else logits, self.prompt, self.written)
            if self.guide:
                self.guide.take(token)
            if self.sampling.logprobs is not None:
                self.logprobs.append(self._logprob(logits, token, self.sampling.logprobs))
            yield token
            ids = [token]

    def _logprob(self, logits: torch.Tensor, token: int, top: int) -> dict[str, Any]:
        scores = logits.log_softmax(-1)
        best = scores.topk(top) if top else None
        others = zip(best.indices.tolist(), best.values.tolist(), strict=True) if best else ()
        return {
            **self._scored(token, scores[token].item()),
            "top_logprobs": [self._scored(other, score) for other, score in others],
        }

    def _scored(self, token: int, score: float) -> dict[str, Any]:
        text = self.engine._text([token])
        return {"token": text, "logprob": score, "bytes": list(text.encode())}


class _Draw:
    """Samples the next token; settings that the request leaves open come from the model's generation config."""

    def __init__(self, sampling: Sampling, model: Any) -> None:
        import torch
        from transformers.generation import logits_process as steps

        config = model.generation_config
        default = config if config.do_sample else None

        def chosen(name: str) -> Any:
            value = getattr(sampling, name)
            return getattr(default, name, None) if value is None else value

        self._sampling = sampling
        self._biases = token_biases(sampling.logit_bias, model.config.get_text_config().vocab_size)
        self._temperature: float = chosen("temperature") or 0.0
        self._steps: list[Any] = []
        if (top_k := chosen("top_k")) and top_k > 0:
            self._steps.append(steps.TopKLogitsWarper(top_k))
        if (top_p := chosen("top_p")) is not None and top_p < 1:
            self._steps.append(steps.TopPLogitsWarper(top_p))
        if min_p := chosen("min_p"):
            self._steps.append(steps.MinPLogitsWarper(min_p))
        self._random = torch.Generator(device=model.device)
        if sampling.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(sampling.seed)

    def __call__(self, logits: torch.Tensor, prompt: list[int], written: list[int]) -> int:
        import torch

        scores = self._penalised(logits, prompt, written)
        if self._temperature <= 0:
            return int(scores.argmax())
        scores = scores[None] / self._temperature
        for step in self._steps:
            scores = step(None, scores)
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self._random))

    def _penalised(self, logits: torch.Tensor, prompt: list[int], written: list[int]) -> torch.Tensor:
        sampling, scores = self._sampling, logits.clone()
        if sampling.repeat_penalty is not None:
            seen = list({*prompt, *written})
            old = scores[seen]
            scores[seen] = old.where(old < 0, old / sampling.repeat_penalty).where(old >= 0, old * sampling.repeat_penalty)
        for token, times in Counter(written).items():
            scores[token] -= (sampling.presence_penalty or 0) + times * (sampling.frequency_penalty or 0)
        for token, bias in self._biases.items():
            scores[token] += bias
        return scores
