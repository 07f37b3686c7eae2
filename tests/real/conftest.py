"""Gemma 3 270M, which the nox session `real` installs; elsewhere these tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_tools import Gemma3Model
from gemma_tools.engines.llama_cpp import LlamaCppEngine
from support.gguf_files import gemma3_projector
from support.real import gemma_file


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's file, put together from its packages and checked."""
    path = gemma_file(tmp_path_factory.mktemp("real"))
    if path is None:
        pytest.skip("nox -s real installs the model")
    return path


@pytest.fixture(scope="package")
def seeing(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gemma3Model]:
    """The model with a projector that makes as many tokens of a picture as Gemma 3's; its weights are drawn at random."""
    projector = gemma3_projector(tmp_path_factory.mktemp("real") / "mmproj.gguf", width=640, side=896, merge=4)
    with Gemma3Model(str(gguf), context=1024, threads=1, mmproj=projector) as model:
        yield model


@pytest.fixture(scope="package")
def model(gguf: Path) -> Iterator[Gemma3Model]:
    """The model in this process: two prompts at once, of 1024 tokens each."""
    with LlamaCppEngine(gguf, context=1024, parallel=2, threads=1) as engine:
        yield Gemma3Model(str(gguf), engine=engine)
