"""The curl commands of the README, as they are written, against a server."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from gemma_tools import BaseModelBackend, Gemma3Model, create_model
from gemma_tools.testing import ScriptedEngine
from support.serving import named, serving

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Server\n")[2].partition("\n## ")[0]
TRY, TRIAL, SERVE, *COMMANDS = re.findall(r"^```sh\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
LISTING, QUESTION, SCRIPT, STREAM = COMMANDS


def run(command: str) -> str:
    """What a curl command prints; where there is no curl, its request is made without."""
    words = shlex.split(command)
    assert words[0] == "curl"
    if shutil.which("curl"):
        return subprocess.run(command, shell=True, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    headers = dict(words[i + 1].split(": ") for i, word in enumerate(words) if word == "-H")
    url = next(word for word in words if word.startswith("http"))
    body = words[words.index("-d") + 1] if "-d" in words else None
    if body and body.startswith("@"):
        body = (ROOT / body[1:]).read_text(encoding="utf-8")
    return httpx.request("POST" if body else "GET", url, content=body, headers=headers).text


def run_all(backend: BaseModelBackend) -> list[str]:
    """What the commands print, run against a server that is started as the README says, on a free port."""
    options = shlex.split(SERVE)
    settings = {
        "run_tools": options[options.index("--run-tools") + 1].split(","),
        "scripts_dir": str(ROOT / options[options.index("--scripts-dir") + 1]),
        "models": {"gemma-3-4b-it": {"model": named(backend)}},
    }
    with serving(**settings) as url:
        return [run(command.replace("http://127.0.0.1:1337/v1", url)) for command in COMMANDS]


def text_of(printed: str) -> Any:
    return json.loads(printed)["choices"][0]["message"]["content"]


def test_the_server_is_started_as_a_command_that_there_is() -> None:
    assert shlex.split(SERVE)[:4] == ["gemma-tools", "serve", "--model", "gemma-3-4b-it=gemma3:4b"]


def test_the_small_model_shows_the_server() -> None:
    command, serve, *models = shlex.split(TRY)
    assert (command, serve) == ("gemma-tools", "serve")
    with serving(models=models) as url:
        answer = json.loads(run(TRIAL.replace("http://127.0.0.1:1337/v1", url)))
    [call] = answer["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("get_weather", {"city": "Lisbon"})
    assert "warnings" not in answer


def test_the_commands_do_what_the_readme_says() -> None:
    pytest.importorskip("psutil")
    calls = [
        '```tool_code\nget_system_info(info_type="cpu")\n```',
        '```tool_code\nexecute_python(script_name="sample_script.py", arguments="test")\n```',
    ]
    engine = ScriptedEngine([calls[0], "It is 3 %.", calls[1], "It printed its name.", "One, two, three, four, five."])
    listing, question, script, stream = run_all(Gemma3Model("x", engine=engine))
    assert all("warnings" not in json.loads(printed) for printed in (question, script))
    assert [model["id"] for model in json.loads(listing)["data"]] == ["gemma-3-4b-it"]
    assert text_of(question) == "It is 3 %."
    assert '"percent"' in engine.asked[1].prompt.text
    assert "Run sample_script.py with the argument test" in engine.asked[2].prompt.text
    assert text_of(script) == "It printed its name."
    assert "sample_script.py got test on Python" in engine.asked[3].prompt.text
    *events, done, _ = stream.split("\n\n")
    assert done == "data: [DONE]"
    deltas = [json.loads(event.removeprefix("data: "))["choices"][0]["delta"] for event in events]
    assert "".join(delta.get("content") or "" for delta in deltas) == "One, two, three, four, five."


def test_the_commands_work_with_a_real_model() -> None:
    pytest.importorskip("psutil")
    with create_model("tiny", temperature=0, max_tokens=64) as model:
        listing, question, script, stream = run_all(model)
    assert json.loads(listing)["object"] == "list"
    assert all(json.loads(printed)["object"] == "chat.completion" for printed in (question, script))
    assert stream.endswith("data: [DONE]\n\n")
