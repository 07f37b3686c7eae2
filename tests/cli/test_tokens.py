"""`gemma-tools tokens`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemma_tools import get_format
from gemma_tools.data import tiny_path
from gemma_tools.tokens import EstimatedTokenCounter, GemmaTokenizer, TokenizerCounter
from support.cli import Ran

WEATHER = Path(__file__).parents[2] / "examples" / "weather.json"
REQUEST: dict[str, Any] = json.loads(WEATHER.read_text(encoding="utf-8"))
TOKENIZER = GemmaTokenizer.from_file(tiny_path())


def exact(format: str) -> int:
    return TokenizerCounter(get_format(format), TOKENIZER).count_tokens_from_messages(REQUEST["messages"], REQUEST["tools"])


def test_a_request_is_counted_part_by_part(run: Callable[..., Ran]) -> None:
    ran = run("tokens", "--json", WEATHER)
    assert (ran.status, ran.err) == (0, "")
    told = json.loads(ran.out)
    assert (told["total"], told["exact"]) == (exact("functiongemma"), True)
    assert [part["part"] for part in told["parts"]] == ["messages[0] user", "tools", "the model's turn"]
    assert sum(part["tokens"] for part in told["parts"]) == told["total"] == len(told["tokens"])
    assert told["tokens"][0] == {"id": TOKENIZER.id("<bos>"), "text": "<bos>", "special": True}


def test_the_table_has_every_part(run: Callable[..., Ran]) -> None:
    ran = run("tokens", "-f", "gemma4", "--tokenizer", tiny_path(), stdin=json.dumps(REQUEST))
    assert ran.status == 0
    for words in ("messages[0] user", "tools", "the model's turn", "total", str(exact("gemma4"))):
        assert words in ran.out
    assert "estimate" not in ran.out
    assert "get_weather" not in ran.out


def test_without_a_file_it_is_an_estimate_and_says_so(run: Callable[..., Ran]) -> None:
    request = json.dumps({**REQUEST, "model": "gemma4:31b"})
    told = json.loads(run("tokens", "--json", stdin=request).out)
    prompt = get_format("gemma4", variant="large").render(REQUEST["messages"], REQUEST["tools"])
    assert told["total"] == EstimatedTokenCounter(get_format("gemma4")).count_prompt(prompt)
    assert told["exact"] is False
    assert "tokens" not in told
    assert "an estimate: --tokenizer FILE" in run("tokens", stdin=request).out


def test_texts(run: Callable[..., Ran], tmp_path: Path) -> None:
    text = "How high is the tide?\n<start_of_turn>"
    (tmp_path / "note.txt").write_text(text, encoding="utf-8")
    for ran in (
        run("tokens", "--json", "--model", "tiny", "--text", text),
        run("tokens", "--json", "--model", "tiny", tmp_path / "note.txt"),
        run("tokens", "--json", "--model", "tiny", stdin=text),
    ):
        told = json.loads(ran.out)
        assert [token["id"] for token in told["tokens"]] == TOKENIZER.encode(text)
        assert told["parts"] == [{"part": "text", "tokens": len(TOKENIZER.encode(text))}]
    assert json.loads(run("tokens", "--json", "--text", "How high?").out)["exact"] is False


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (["--tokenizer", "missing.gguf"], json.dumps(REQUEST), "missing.gguf"),
        ([], json.dumps({**REQUEST, "model": None}), "name the format"),
        ([], json.dumps({**REQUEST, "messages": 3}), "messages"),
        (["--model", "gpt-2"], json.dumps(REQUEST), "gpt-2"),
    ],
)
def test_errors_are_one_line(run: Callable[..., Ran], arguments: list[str], stdin: str, words: str) -> None:
    ran = run("tokens", *arguments, stdin=stdin)
    assert (ran.status, ran.out) == (1, "")
    assert words in ran.err
    assert ran.err.count("\n") == 1


def test_what_is_named_json_must_be_a_request(run: Callable[..., Ran], tmp_path: Path) -> None:
    for content, words in (("[1]", "an OpenAI request"), ("{", "not valid JSON")):
        (tmp_path / "request.json").write_text(content, encoding="utf-8")
        ran = run("tokens", tmp_path / "request.json")
        assert (ran.status, ran.out) == (1, "")
        assert words in ran.err


def test_a_terminal_shows_the_tokens_and_obeys_none() -> None:
    main, terminal = pty.openpty()
    with os.fdopen(main, "rb", buffering=0) as screen:
        command = [sys.executable, "-m", "gemma_tools", "tokens", "--model", "tiny", "--text", "tide \x1b[2J <b>"]
        ran = subprocess.Popen(command, stdout=terminal, env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"})
        os.close(terminal)
        shown = b""
        try:
            while piece := screen.read(65536):
                shown += piece
        except OSError:  # the terminal is gone
            pass
        assert ran.wait() == 0
    assert b"\x1b[2J" not in shown
    assert b"<0x1B>" in shown
    assert shown.count(b"\x1b[48;5;") >= len(TOKENIZER.encode("tide \x1b[2J <b>")) - 1
