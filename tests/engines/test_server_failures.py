"""What a real server's failures become; `nox -s engines` installs the servers, and these tests are skipped without one."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from gemma_tools.engines import Engine, GenerationRequest
from gemma_tools.errors import ContextExceeded, EngineProtocolError, EngineUnavailable, ModelNotFound
from gemma_tools.prompt import Prompt
from support.engines import Opened, opened
from support.servers.process import Process
from support.tiny import CONTROLS, GREEDY, PARIS, endless, play, weather, written


@pytest.fixture(scope="module")
def model(installed_name: str) -> Iterator[Opened]:
    with opened(installed_name) as model:
        yield model


@pytest.fixture
def server(model: Opened) -> Process:
    if model.server is None:
        pytest.skip("this engine has no server")
    return model.server


@pytest.fixture
def engine(model: Opened) -> Iterator[Engine]:
    with model.make(max_retries=0, timeout=60) as engine:
        yield engine


def test_a_model_that_the_server_does_not_have(server: Process, model: Opened) -> None:
    with model.make(model="nowhere/nothing", max_retries=0) as engine, pytest.raises(ModelNotFound):
        play(engine.generate(GenerationRequest(weather(), GREEDY)))


def test_a_prompt_that_is_too_long_leaves_the_server_well(model: Opened, server: Process, engine: Engine) -> None:
    if not model.bounded:
        pytest.skip("the server has no bound")
    with pytest.raises(ContextExceeded):
        play(engine.generate(GenerationRequest(Prompt("<bos>" + "a " * 9000, CONTROLS), GREEDY)))
    assert written(engine, weather()).startswith(PARIS)


def test_a_server_that_is_killed_in_the_stream(server: Process, engine: Engine) -> None:
    """The last test: the server is gone after it. mlx-lm speaks HTTP/1.0, in which an answer that breaks off just ends."""
    pieces = engine.generate(GenerationRequest(endless(), GREEDY))
    first = next(pieces)
    server.signal(signal.SIGKILL)
    with pytest.raises((EngineUnavailable, EngineProtocolError)) as caught:
        play(pieces)
    assert caught.value.text.startswith(first)
    with pytest.raises(EngineUnavailable):
        play(engine.generate(GenerationRequest(weather(), GREEDY)))
