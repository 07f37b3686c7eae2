"""The genuine llama-server HTTP API on a free port, with the tiny model."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

TINY_CONTROL = Path(__file__).parents[2] / "data" / "tiny-control.gguf"
"""The tiny model with its markers typed CONTROL, so that llama.cpp hides them unless it is asked not to."""


@contextmanager
def llama_server(
    model: Path,
    *,
    slots: int = 2,
    context: int = 4096,
    chat_template: str = "",
    port: int = 0,
    mmproj: Path | None = None,
) -> Iterator[str]:
    """Serve `model` at `port`, 0 for any; yields the address. A Jinja `chat_template` is for the server's own chat endpoint."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_ctx = context * slots
    params.n_parallel = slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.swa_full = True
    params.chat_template = chat_template
    params.mmproj.path = str(mmproj or "")
    params.warmup = False
    params.verbosity = 0
    params.endpoint_metrics = True
    params.port = port
    server = xllamacpp.Server(params)
    with urllib.request.urlopen(f"{server.listening_address}/health"):
        pass  # a server that never answered anything cannot be freed
    yield server.listening_address
    del server


if __name__ == "__main__":  # a process that a test can kill: python -m support.servers.llama PORT
    with llama_server(TINY_CONTROL, slots=4, port=int(sys.argv[1])):
        Event().wait()
