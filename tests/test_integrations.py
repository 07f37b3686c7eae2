"""Adapters for frameworks. What they do with their frameworks is shown by the pages that the nox session `frameworks` runs."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest

from gemma_tools.errors import MissingDependency


def test_a_framework_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gemma_tools.integrations.camel", raising=False)
    monkeypatch.setitem(sys.modules, "camel", None)
    with pytest.raises(MissingDependency, match=r"pip install 'gemma-tools\[camel\]'"):
        import_module("gemma_tools.integrations.camel")
