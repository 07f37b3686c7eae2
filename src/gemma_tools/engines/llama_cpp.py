"""llama.cpp inside this process, with xllamacpp: no compiler, and no server to start.

xllamacpp contains the whole llama-server and always opens its HTTP port, on the loopback interface. This engine uses that port
(with a random key that nobody else knows) instead of xllamacpp's own call with a callback: HTTP can be cancelled at any moment,
even while a long prompt is read, runs no Python inside the C++ threads, and needs no second implementation.
"""

from __future__ import annotations

import ctypes
import math
import os
import secrets
import signal
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from gemma_tools.data import tiny_path
from gemma_tools.engines.adapters import Adapter, scaled
from gemma_tools.engines.base import Capabilities
from gemma_tools.engines.cores import compute_threads
from gemma_tools.engines.hub import check_name, located
from gemma_tools.engines.llama_server import LlamaServerEngine
from gemma_tools.engines.longer import BY_OPTION, OF_MODEL
from gemma_tools.engines.numbers import check_least
from gemma_tools.engines.progress import loading
from gemma_tools.engines.remote import Bounds
from gemma_tools.errors import InvalidRequest, MissingDependency, ModelNotFound

_LEAST = {"gpu_layers": -1, "cache_ram": 0}
"""The least value of those options that are integers and may be less than 1."""


class LlamaCppEngine(LlamaServerEngine):
    """Runs a GGUF model in this process.

    `model` is the path of a .gguf file, "tiny" (the model that ships with this package), or "hf:owner/repo/file.gguf", which is
    downloaded from the Hugging Face Hub once. `context` is the number of tokens for each of the `parallel` prompts that run at
    the same time (the model's own limit if that is lower). The default for `threads` is one thread less than the usable cores
    (`gemma_tools.engines.cores`), and one for "tiny". `gpu_layers` is the number of the model's layers on a GPU: -1 means all,
    and None as many as fit. `mmproj` is the model's projector, a .gguf file with which it takes images, and audio if the
    projector supports it. `lora` are adapters, each a .gguf file or a pair of a file and its scale (default 1). Both may also
    be "hf:owner/repo/file.gguf". `cache_ram` is the memory in MiB for conversations besides the `parallel` ones, so their next
    prompts need not be read again; 0 keeps none.

    Loading takes as long as reading the file, and no other Python code runs meanwhile; Ctrl-C then ends the whole
    program at once.

    Raises:
        MissingDependency: xllamacpp, or for "hf:" huggingface_hub, is not installed.
        ModelNotFound: the file does not exist, or llama.cpp cannot load it.
    """

    name = "llama.cpp"

    def __init__(
        self,
        model: str | Path = "tiny",
        *,
        context: int = 8192,
        parallel: int = 2,
        threads: int | None = None,
        gpu_layers: int | None = None,
        mmproj: str | Path | None = None,
        lora: Sequence[Adapter] = (),
        cache_ram: int = 1024,
    ) -> None:
        numbers = {"context": context, "parallel": parallel, "threads": threads}
        self.check(model, mmproj, lora, gpu_layers=gpu_layers, cache_ram=cache_ram, **numbers)
        if threads is None:
            # llama.cpp's threads wait for each other in a busy loop, which on a busy machine costs far more than they save.
            threads = 1 if model == "tiny" else compute_threads()
        self._wanted = context
        key = secrets.token_urlsafe()
        self._file = tiny_path() if model == "tiny" else located(model, self.name)
        projector = None if mmproj is None else located(mmproj, self.name, "mmproj")
        adapters = [(located(path, self.name, "lora"), scale) for path, scale in scaled(lora)]
        server = _open(
            self._file,
            key,
            context=context,
            parallel=parallel,
            threads=threads,
            gpu_layers=gpu_layers,
            projector=projector,
            adapters=adapters,
            cache_ram=cache_ram,
        )
        super().__init__(server.listening_address, api_key=key, timeout=math.inf, max_retries=0)
        self._remote.held.append(server)
        # One task must go through its queue: freeing a server whose queue does not run yet would hang.
        self._remote.call(self._wait)
        takes = self._remote.call(partial(self._json, "/props")).get("modalities", {})
        hint = "pass the model's projector as mmproj=" if mmproj is None else "its projector does not support it"
        self._can = replace(
            super().capabilities, images=bool(takes.get("vision")), audio=bool(takes.get("audio")), media_hint=hint
        )

    @staticmethod
    def check(
        model: str | Path = "tiny", mmproj: str | Path | None = None, lora: Sequence[Adapter] = (), **numbers: int | None
    ) -> None:
        """Check the arguments, as far as possible without downloading or loading anything.

        Raises:
            InvalidRequest, MissingDependency, ModelNotFound: as the class.
        """
        for name, number in numbers.items():
            check_least(_LEAST.get(name, 1), **{name: number})
        if find_spec("xllamacpp") is None:
            raise MissingDependency("xllamacpp", "local", "running a model in this process")
        files = {"model": [model], "mmproj": [mmproj] if mmproj else [], "lora": [file for file, _ in scaled(lora)]}
        for param, named in files.items():
            for file in named:
                if not isinstance(file, str | Path):
                    raise InvalidRequest(f"must be the path of a file, got {file!r}", param=param, code="invalid_type")
                if check_name(file, param) is None and file != "tiny":
                    _check_file(Path(file).expanduser())

    @property
    def capabilities(self) -> Capabilities:
        """What this engine supports; images and audio, if its projector does."""
        return replace(self._as_found(self._can), nests_lark=_LARK.open_to(self))

    @property
    def vocabulary(self) -> Path:
        """The model's file."""
        return self._file

    @property
    def longer_context(self) -> str:
        """The option, unless the model itself sets the limit."""
        return OF_MODEL if (self.context_length or 0) < self._wanted else BY_OPTION

    def _wait(self, bounds: Bounds) -> None:
        """Wait until the server works. Only its worker thread knows the state of its slots."""
        with self._http.ask("/slots", bounds) as response:
            response.read()

    def close(self) -> None:
        """Stop the model and free it."""
        super().close()
        _LARK.leave(self)

    def _prefers_lark(self, bounds: Bounds) -> bool:
        return _LARK.take(self) and self._takes_lark(bounds)

    def _takes_lark(self, bounds: Bounds) -> bool:
        _LARK.take(self)
        return super()._takes_lark(bounds)


class _LarkSeat:
    """The engine in this process that may use Lark if it also supports GBNF.

    llama.cpp keeps one llguidance tokenizer per process, without a lock, and identifies its vocabulary by address
    (common/llguidance.cpp). Building it costs 2 seconds for Gemma's vocabulary: two alternating engines would pay that each
    time. And after one is closed, another model's vocabulary may have that address: only the same file may follow.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._file: Path | None = None
        self._engine: weakref.ref[LlamaCppEngine] | None = None

    def take(self, engine: LlamaCppEngine) -> bool:
        """Whether `engine` has the seat now."""
        with self._lock:
            holder = self._engine and self._engine()
            if holder is None and self._file in (None, engine.vocabulary):
                self._file, self._engine, holder = engine.vocabulary, weakref.ref(engine), engine
            return holder is engine

    def open_to(self, engine: LlamaCppEngine) -> bool:
        """Whether `engine` could take the seat now."""
        with self._lock:
            holder = self._engine and self._engine()
            return holder is engine or (holder is None and self._file in (None, engine.vocabulary))

    def leave(self, engine: LlamaCppEngine) -> None:
        """Free the seat, if it is that of `engine`."""
        with self._lock:
            if self._engine and self._engine() is engine:
                self._engine = None


_LARK = _LarkSeat()


def _open(
    path: Path,
    key: str,
    *,
    context: int,
    parallel: int,
    threads: int | None,
    gpu_layers: int | None,
    projector: Path | None,
    adapters: Sequence[tuple[Path, float]],
    cache_ram: int,
) -> Any:
    import xllamacpp

    others = [*([projector] if projector else []), *(adapter for adapter, _ in adapters)]
    for file in (path, *others):
        _check_file(file)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.api_keys = [key]
    params.n_ctx = context * parallel
    params.n_parallel = parallel
    params.swa_full = True  # else a conversation's next prompt is read again from an earlier point
    params.cache_ram_mib = cache_ram  # llama.cpp's own default is 8 GiB
    params.warmup = False
    params.verbosity = 0
    if threads is not None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    if gpu_layers is not None:
        params.n_gpu_layers = gpu_layers if gpu_layers >= 0 else _ALL_LAYERS
        params.mmproj_use_gpu = gpu_layers != 0
    if projector:
        params.mmproj.path = str(projector)
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), scale) for adapter, scale in adapters]
    try:
        with loading(path), _ended_by_interrupts():
            return xllamacpp.Server(params)
    except RuntimeError as error:
        together = f" with {' and '.join(map(str, others))}: was it made for this model?" if others else f": {error}"
        raise ModelNotFound(f"llama.cpp cannot load {path}{together}", engine=LlamaCppEngine.name) from None


_LOADING = Lock()


@contextmanager
def _ended_by_interrupts() -> Iterator[None]:
    """Let Ctrl-C end this process, as it ends a program that is not Python's.

    xllamacpp holds the interpreter's lock while it loads, so no Python signal handler could run until it is done, in any
    thread. So the system's own handler replaces it. A process that ignores Ctrl-C continues to ignore it.
    """
    if os.name != "posix" or not callable(signal.getsignal(signal.SIGINT)):
        yield
        return
    handler = ctypes.CDLL(None).signal
    handler.argtypes, handler.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    with _LOADING:  # else one would restore the other's handler
        before = handler(signal.SIGINT, None)
        try:
            yield
        finally:
            handler(signal.SIGINT, before)
            signal.siginterrupt(signal.SIGINT, True)  # as Python sets it; C's `signal` restarts the calls


_ALL_LAYERS = -2
"""llama.cpp's value for all layers; -1 is its own choice, which is used here if nothing is passed (common/common.h)."""


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelNotFound(f"{path} cannot be read: {error.strerror}", engine=LlamaCppEngine.name) from None
    if magic != b"GGUF":
        raise ModelNotFound(f"{path} is not a GGUF file", engine=LlamaCppEngine.name)
