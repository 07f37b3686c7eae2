"""What holds for every test, however the suite was started."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# A busy machine is no fault: nothing is held to a time, not even the making of examples.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_configure() -> None:
    """Listen to Ctrl-C again: a shell starts what it puts in the background with SIGINT ignored, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
