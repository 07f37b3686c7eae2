"""What tests of engines share."""

from __future__ import annotations

import pytest

from gemma_tools.engines import Cancellation


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which are not made."""
    made: list[float] = []
    monkeypatch.setattr(Cancellation, "wait", lambda self, seconds: made.append(seconds))
    return made
