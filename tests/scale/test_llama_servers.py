"""llama-servers after SGLang's router, one of which is killed while requests run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gemma_tools import FunctionGemmaModel
from gemma_tools.engines import create_engine
from support.chat import tool, user
from support.cluster import EXAMPLES
from support.load import begun, outcomes
from support.servers.process import Process, running

TESTS = Path(__file__).parents[1]
VERBS = ("bake", "sail", "paint")  # an odd number: a rota would send each to another server every time


@pytest.fixture
def servers() -> Iterator[list[Process]]:
    """Two llama-servers with the tiny model."""
    command = [sys.executable, "-m", "support.servers.llama", "{port}"]
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with ExitStack() as stack:
        yield [stack.enter_context(running(command, ready="/health", env={"PYTHONPATH": path})) for _ in range(2)]


@pytest.fixture
def model(servers: list[Process]) -> Iterator[FunctionGemmaModel]:
    """The model of both servers, by the router."""
    pytest.importorskip("sglang_router", reason="nox -s scale installs it")
    command = ["sh", str(EXAMPLES / "llama_router.sh"), "{port}", *(server.url for server in servers)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with (
        running(command, ready="/v1/models", env={"PATH": path}) as router,
        create_engine("openai", model="tiny", url=f"{router.url}/v1", server="llama-server") as engine,
    ):
        yield FunctionGemmaModel("tiny", engine=engine)


def test_answers_are_right_while_a_server_is_killed(servers: list[Process], model: FunctionGemmaModel) -> None:
    found = outcomes(model.run, lambda: servers[0].signal(signal.SIGKILL), broken=begun)
    print(dict(found))
    assert found.keys() <= {"right", "right when asked again"}


def test_a_conversation_stays_where_its_beginning_is(model: FunctionGemmaModel) -> None:
    sets = [[tool(f"{verb}_{n}", f"Can {verb} what you like.", what=f"What to {verb}") for n in range(6)] for verb in VERBS]
    later, cached = 0, 0
    for turn in range(4):
        for tools in sets:
            asked = [message for n in range(turn) for message in (*user(f"number {n}?"), {"role": "assistant", "content": "."})]
            usage = model.run([*asked, *user(f"number {turn}?")], tools=tools, temperature=0, max_tokens=4).usage
            assert usage
            assert usage.prompt_tokens_details
            later += usage.prompt_tokens if turn else 0
            cached += (usage.prompt_tokens_details.cached_tokens or 0) if turn else 0
    print(f"{cached} of {later} prompt tokens of later turns were in the cache")
    assert cached > 0.8 * later
