"""What holds for every test, however the suite was started."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Listen to Ctrl-C again: a shell starts what it puts in the background with SIGINT ignored, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
