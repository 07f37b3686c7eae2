"""What holds for every test, however the suite was started."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from support.engines import BUILT_IN, INSTALLED

if TYPE_CHECKING:
    from support.observed import Collected

# A busy machine is no fault: nothing is held to a time, not even the making of examples.
settings.register_profile(
    "suite",
    max_examples=int(os.environ.get("GEMMA_TOOLS_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")


def pytest_configure() -> None:
    """Listen to Ctrl-C again: a shell starts what it puts in the background with SIGINT ignored, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the suites that run on all engines run on one that the tests do not install; see `support.engines`."""
    parser.addoption("--engine", action="append", choices=sorted(INSTALLED), help="run on this engine, which is installed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test with the argument `engine_name` each of the engines, and one with `installed_name` each of `--engine`."""
    chosen = metafunc.config.getoption("engine") or []
    for argument, names in (("engine_name", chosen or sorted(BUILT_IN)), ("installed_name", chosen)):
        if argument in metafunc.fixturenames:
            metafunc.parametrize(argument, names, scope="module")


@pytest.fixture(scope="session", autouse=True)
def given_environment() -> Iterator[Mapping[str, str]]:
    """The environment as it was given. The tests trust one certificate: a client reads all of them whenever it is made."""
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(Path(__file__).with_name("data") / "authority.pem"))
        yield before


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Collected:
    """What OpenTelemetry is told from now on."""
    from support.observed import collector

    monkeypatch.delenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", raising=False)
    told = collector()
    told.clear()
    return told
