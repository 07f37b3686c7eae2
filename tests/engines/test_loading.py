"""Ctrl-C while a model is loaded in this process, and after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_tools.engines import create_engine

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")

LOADS = """
import ctypes, signal, sys, xllamacpp
def load(params):
    print("loading", flush=True)
    ctypes.PyDLL(None).sleep(1000)  # with the interpreter's lock held, as in xllamacpp
xllamacpp.Server = load
"""


MAKE = "from gemma_tools import create_model; "


def interrupted(then: str, request: Path) -> tuple[int, str]:
    """The exit code and the last output of a process that is interrupted while it loads; `then` says how it loads."""
    with subprocess.Popen(
        [sys.executable, "-c", LOADS + then, str(request)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    return process.returncode, rest


@pytest.mark.parametrize(
    "then",
    [
        MAKE + "create_model('tiny')",
        "from gemma_tools.cli.app import run; run(['complete', sys.argv[1]])",
        MAKE + "from threading import Thread; Thread(target=create_model, args=['tiny']).start()",
    ],
    ids=["Python", "command line", "thread"],
)
def test_an_interrupt_ends_the_program_at_once(then: str, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text('{"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}')
    assert interrupted(then, request) == (-signal.SIGINT, "")


def test_a_program_that_ignores_interrupts_goes_on() -> None:
    code = LOADS.replace("1000", "1") + "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code = code.replace("ctypes.PyDLL(None).sleep(1)", "signal.raise_signal(signal.SIGINT); print('on'); sys.exit(3)")
    with subprocess.Popen([sys.executable, "-c", f"{code}{MAKE}create_model('tiny')"], stdout=subprocess.PIPE) as process:
        assert process.communicate()[0] == b"loading\non\n"
    assert process.returncode == 3


def test_interrupts_are_python_s_again_once_it_is_loaded() -> None:
    with create_engine("tiny"), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
