"""Every engine with the tiny model behind it, for the suites and the benchmark that run on all of them.

`INSTALLED` are real runtimes and servers that the tests do not install: `nox -s engines` installs one and runs the suites on
it with `--engine NAME`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gemma_tools.data import tiny_path
from gemma_tools.engines import Engine, create_engine
from gemma_tools.prompt import Prompt
from support.servers.llama import TINY_CONTROL, llama_server
from support.servers.ollama import ollama_server
from support.servers.process import Process, running
from support.servers.templates import FUNCTIONGEMMA
from support.tiny import endless, endless_chat
from support.weights import tiny_litertlm, tiny_mlx, tiny_safetensors


@dataclass(frozen=True)
class Opened:
    """An engine's model, or the server that has it, for as long as a test needs it."""

    make: Callable[..., Engine]
    """Makes a new engine; takes options of the engine."""
    server: Process | None = None
    """The real server's process."""
    bounded: bool = True
    """Whether it refuses a prompt that is longer than the context. mlx-lm reads on, for minutes."""
    context: int = 4096
    """How many tokens of a prompt and its answer it takes."""
    endless: Callable[[], Prompt] = endless
    """A prompt that its model never ends to answer."""


SMALL = 2048
"""The context of the engines that the tests have at hand: a prompt that fills it is read in half a second."""


@contextmanager
def _llama_cpp(model: str) -> Iterator[Opened]:
    yield Opened(partial(create_engine, model, threads=1, context=SMALL), context=SMALL)


@contextmanager
def _llama_server(control: bool) -> Iterator[Opened]:
    with llama_server(TINY_CONTROL if control else tiny_path(), context=SMALL) as url:
        yield Opened(partial(create_engine, "llama-server", url=url), context=SMALL)


@contextmanager
def _openai(control: bool) -> Iterator[Opened]:
    with llama_server(TINY_CONTROL if control else tiny_path(), context=SMALL) as url:
        yield Opened(partial(create_engine, "openai", model="tiny", url=f"{url}/v1", server="llama-server"), context=SMALL)


@contextmanager
def _openai_chat() -> Iterator[Opened]:
    with llama_server(tiny_path(), context=SMALL, chat_template=FUNCTIONGEMMA) as url:
        make = partial(create_engine, "openai-chat", model="tiny", url=f"{url}/v1", server="llama-server")
        yield Opened(make, context=SMALL, endless=endless_chat)


@contextmanager
def _ollama() -> Iterator[Opened]:
    with llama_server(tiny_path(), context=SMALL) as llama, ollama_server(llama) as url:
        yield Opened(partial(create_engine, "ollama", model="tiny", url=url), context=SMALL)


@contextmanager
def _transformers() -> Iterator[Opened]:
    yield Opened(partial(create_engine, "transformers", model=str(tiny_safetensors()), device="cpu"))


@contextmanager
def _litert_lm() -> Iterator[Opened]:
    yield Opened(partial(create_engine, str(tiny_litertlm()), threads=1))


@contextmanager
def _mlx_lm() -> Iterator[Opened]:
    folder = str(tiny_mlx())
    command = [sys.executable, "-m", "mlx_lm", "server", "--model", folder, "--host", "127.0.0.1", "--port", "{port}"]
    with running(command, ready="/health") as server:
        yield Opened(partial(create_engine, "mlx-lm", model=folder, url=f"{server.url}/v1"), server, bounded=False)


def vllm_server(*more: str) -> AbstractContextManager[Process]:
    """vLLM with the tiny model as `tiny`; `more` are options of `vllm serve`."""
    options = {
        "--served-model-name": "tiny",
        "--host": "127.0.0.1",
        "--port": "{port}",
        "--max-model-len": "4096",
        "--max-num-seqs": "8",
        "--dtype": "float32",
        "--gpu-memory-utilization": "0.2",
        "--block-size": "32",
    }
    command = [str(Path(sys.executable).with_name("vllm")), "serve", str(tiny_safetensors())]
    command += [*sum(options.items(), ()), "--enforce-eager", "--enable-prompt-tokens-details", *more]
    # Its CPU part dies of a seed in a request whose prompt it reads in several parts ("CPU Generator does not use offset").
    command += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", options["--max-model-len"]]
    return running(command, ready="/health", env=_VLLM_ENVIRONMENT)


@contextmanager
def _vllm() -> Iterator[Opened]:
    with vllm_server() as server:
        yield Opened(partial(create_engine, "vllm", model="tiny", url=f"{server.url}/v1"), server)


_VLLM_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}

BUILT_IN = {
    "llama.cpp": partial(_llama_cpp, "tiny"),
    "llama.cpp-control": partial(_llama_cpp, str(TINY_CONTROL)),
    "llama-server": partial(_llama_server, control=False),
    "llama-server-control": partial(_llama_server, control=True),
    "ollama": _ollama,
    "openai": partial(_openai, control=False),
    "openai-control": partial(_openai, control=True),
    "openai-chat": _openai_chat,
}
"""The engines that the tests have at hand, all of them on llama.cpp in the end."""

INSTALLED = {
    "litert-lm": _litert_lm,
    "transformers": _transformers,
    "mlx-lm": _mlx_lm,
    "vllm": _vllm,
}
"""The engines that `nox -s engines` installs."""


def opened(name: str) -> AbstractContextManager[Opened]:
    """The engine called `name`; its server runs while the context is open."""
    return {**BUILT_IN, **INSTALLED}[name]()
