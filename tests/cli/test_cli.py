"""The command line through its own face: what it prints, and that every error is one line and a non-zero exit."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from threading import Thread
from typing import Any

import pytest

import gemma_tools
from gemma_tools import get_format, register_engine
from gemma_tools.cli import main
from gemma_tools.data import tiny_path
from gemma_tools.errors import EngineError
from gemma_tools.testing import ScriptedEngine
from gemma_tools.tokens import GemmaTokenizer
from support.cli import Ran, lines
from support.gguf_files import gemma4_projector, lora_adapter
from support.media import picture, png
from support.servers.loopback import Faulty, chunked

ROOT = Path(__file__).parents[2]
WEATHER = ROOT / "examples" / "weather.json"
REQUEST: dict[str, Any] = json.loads(WEATHER.read_text(encoding="utf-8"))
CALL = "<start_function_call>call:get_weather{city:<escape>Lisbon<escape>}<end_function_call>"


def test_complete_prints_a_completion(run: Callable[..., Ran]) -> None:
    ran = run("complete", WEATHER)
    assert (ran.status, ran.err) == (0, "")
    completion = json.loads(ran.out)
    call = completion["choices"][0]["message"]["tool_calls"][0]["function"]
    assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Lisbon"})


def test_complete_takes_the_words_of_the_user_and_settings_as_options(run: Callable[..., Ran]) -> None:
    ran = run("complete", "--model", "tiny", "--prompt", "hello", "--temperature", 0, "--max-tokens", 3, "--context", 512)
    assert (ran.status, ran.err) == (0, "")
    answer = json.loads(ran.out)
    assert (answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]) == ("length", 3)


def test_an_option_that_the_engine_does_not_have_is_refused(run: Callable[..., Ran]) -> None:
    ran = run("complete", "--model", "gemma4:e2b", "--engine", "llama-server", "--prompt", "hello", "--threads", 2)
    assert (ran.status, ran.out) == (1, "")
    assert "threads" in ran.err


def test_the_version(run: Callable[..., Ran]) -> None:
    ran = run("--version")
    assert (ran.status, ran.out) == (0, f"gemma-tools {gemma_tools.__version__}\n")


def test_complete_reads_standard_input_and_takes_the_model_from_the_command_line(run: Callable[..., Ran]) -> None:
    request = {**REQUEST, "model": "no-such-model"}
    ran = run("complete", "--model", "tiny", "-", stdin=json.dumps(request))
    assert ran.status == 0
    assert json.loads(ran.out)["choices"][0]["finish_reason"] == "tool_calls"


def test_complete_with_a_projector_and_an_adapter(run: Callable[..., Ran], tmp_path: Path) -> None:
    projector, adapter = gemma4_projector(tmp_path / "mmproj.gguf"), lora_adapter(tmp_path / "mine.gguf")
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture(png())]}]
    request = json.dumps({"model": "tiny-gemma4", "messages": messages, "temperature": 0, "max_tokens": 8})
    refused = run("complete", stdin=request)
    assert refused.status == 1
    assert "mmproj=" in refused.err
    answers = []
    for more in ((), ("--lora", adapter), ("--lora", f"{adapter}=0")):
        ran = run("complete", "--mmproj", projector, *more, stdin=request)
        assert (ran.status, ran.err) == (0, "")
        answers.append(json.loads(ran.out))
    assert answers[0]["usage"]["prompt_tokens"] > 80
    plain, changed, unchanged = (answer["choices"][0]["message"] for answer in answers)
    assert plain == unchanged != changed


def test_complete_by_a_chat_endpoint(run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    said = b'data: {"choices": [{"index": 0, "delta": {"content": "Hello!"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    monkeypatch.setenv("OPENAI_CHAT_API_KEY", "k1")
    with Faulty([chunked(said)]) as server:
        request = json.dumps({"messages": REQUEST["messages"], "model": "gemma-3-27b-it"})
        ran = run("complete", "--engine", "openai-chat", "--url", server.url, stdin=request)
    assert json.loads(ran.out)["choices"][0]["message"]["content"] == "Hello!"
    assert b"authorization: bearer k1" in server.requests[0].lower()


@pytest.mark.parametrize("by", ["option", "request"])
def test_complete_streams_one_chunk_a_line(run: Callable[..., Ran], by: str) -> None:
    ran = (
        run("complete", "--stream", WEATHER)
        if by == "option"
        else run("complete", stdin=json.dumps({**REQUEST, "stream": True}))
    )
    assert ran.status == 0
    chunks = lines(ran.out)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    deltas = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls") or ()]
    assert json.loads("".join(delta["function"]["arguments"] or "" for delta in deltas)) == {"city": "Lisbon"}


@pytest.mark.parametrize("format", ["functiongemma", "gemma3", "gemma4"])
def test_render_prints_the_prompt_and_nothing_else(run: Callable[..., Ran], format: str) -> None:
    ran = run("render", "--format", format, WEATHER)
    assert ran == Ran(0, get_format(format).render(REQUEST["messages"], REQUEST["tools"]).text, "")


def test_options_reach_the_format_and_the_rendering(run: Callable[..., Ran]) -> None:
    ran = run("render", "-f", "gemma4", "-o", "variant=large", "-o", "enable_thinking=true", WEATHER)
    expected = get_format("gemma4", variant="large").render(REQUEST["messages"], REQUEST["tools"], enable_thinking=True)
    assert ran.out == expected.text
    assert ran.out != run("render", "-f", "gemma4", WEATHER).out


def test_render_obeys_the_tool_choice_of_the_request(run: Callable[..., Ran]) -> None:
    ran = run("render", "-f", "gemma4", stdin=json.dumps({**REQUEST, "tool_choice": "none"}))
    assert "get_weather" not in ran.out


def test_render_shows_what_the_format_cannot_say(run: Callable[..., Ran]) -> None:
    either = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {"it": either}}}}
    warnings = get_format("functiongemma").render(REQUEST["messages"], [tool]).warnings
    assert warnings
    ran = run("render", "-f", "functiongemma", stdin=json.dumps({**REQUEST, "tools": [tool]}))
    assert ran.status == 0
    assert ran.err.splitlines() == [f"gemma-tools: warning: {warning}" for warning in warnings]


def test_render_takes_a_batch(run: Callable[..., Ran]) -> None:
    batch = [
        {"id": 1, "format": "functiongemma", **REQUEST, "options": {"add_generation_prompt": False}, "note": "ä"},
        {"id": 2, **REQUEST},
    ]
    ran = run("render", "--jsonl", "--format", "gemma4", "-", stdin="\n".join(map(json.dumps, batch)) + "\n\n")
    assert (ran.status, ran.err) == (0, "")
    first, second = lines(ran.out)
    rendered = get_format("functiongemma").render(REQUEST["messages"], REQUEST["tools"], add_generation_prompt=False)
    assert first == {**batch[0], "prompt": rendered.text, "warnings": list(rendered.warnings)}
    assert second["prompt"] == get_format("gemma4").render(REQUEST["messages"], REQUEST["tools"]).text


def test_parse_prints_what_was_read(run: Callable[..., Ran]) -> None:
    ran = run("parse", "--format", "functiongemma", "--tools", WEATHER, stdin="Let me see." + CALL)
    assert (ran.status, ran.err) == (0, "")
    assert json.loads(ran.out) == {
        "content": "Let me see.",
        "reasoning": None,
        "tool_calls": [{"name": "get_weather", "arguments": {"city": "Lisbon"}}],
        "finish_reason": "tool_calls",
        "problems": [],
    }


def test_parse_takes_a_list_of_tools_and_reports_problems(run: Callable[..., Ran], tmp_path: Path) -> None:
    tools = tmp_path / "tools.json"
    tools.write_text("[]")
    parsed = json.loads(run("parse", "--format", "functiongemma", "--tools", tools, stdin=CALL).out)
    assert parsed["tool_calls"] == []
    assert CALL in (parsed["content"] or "") + "".join(problem["text"] for problem in parsed["problems"])


def test_parse_says_where_a_problem_lies(run: Callable[..., Ran]) -> None:
    raw = f"Sure.{CALL.removesuffix('<end_function_call>')} So."
    [line] = lines(
        run("parse", "--jsonl", "-f", "functiongemma", stdin=json.dumps({"raw": raw, "tools": REQUEST["tools"]})).out
    )
    [problem] = line["result"]["problems"]
    assert problem.keys() == {"kind", "message", "text", "index", "start", "end"}
    assert (problem["kind"], problem["index"]) == ("end_tag_missing", 0)
    assert 0 < problem["start"] <= problem["end"] <= len(raw)


def test_parse_is_told_where_the_text_begins_and_how_it_ended(run: Callable[..., Ran]) -> None:
    ran = run("parse", "-f", "gemma4", "--opens", "reasoning", "--finish", "length", stdin="I think")
    parsed = json.loads(ran.out)
    assert (parsed["reasoning"], parsed["content"], parsed["finish_reason"]) == ("I think", None, "length")


def test_parse_takes_a_batch(run: Callable[..., Ran]) -> None:
    batch = [
        {"id": "a", "format": "functiongemma", "tools": REQUEST["tools"], "raw": CALL, "expected": {"content": None}},
        {"id": "b", "format": "gemma4", "raw": "I think", "context": {"reasoning_open": True}, "kind": "truncated"},
        {"id": "c", "raw": "hello"},
    ]
    ran = run("parse", "--jsonl", "--format", "gemma3", stdin="\n".join(map(json.dumps, batch)))
    assert ran.status == 0
    done = lines(ran.out)
    assert [{key: line[key] for key in given} for line, given in zip(done, batch, strict=True)] == batch
    assert done[0]["result"]["tool_calls"] == [{"name": "get_weather", "arguments": {"city": "Lisbon"}}]
    assert (done[1]["result"]["reasoning"], done[1]["result"]["finish_reason"]) == ("I think", "length")
    assert done[2]["result"]["content"] == "hello"


def test_a_bad_line_does_not_stop_a_batch(run: Callable[..., Ran]) -> None:
    ran = run("parse", "--jsonl", "-f", "gemma4", stdin='{"raw": "one"}\n{"raw": \n[]\n{"raw": 3}\n{"raw": "two"}\n')
    first, *bad, last = lines(ran.out)
    assert (first["result"]["content"], last["result"]["content"]) == ("one", "two")
    assert ["error" in line and "result" not in line for line in bad] == [True] * 3
    assert bad[2]["error"]["param"] == "raw"
    assert ran.status == 1
    assert ran.err.startswith("gemma-tools: 3 of 5 lines failed, first -, line 2: not valid JSON: Expecting value")
    assert ran.err.count("\n") == 1


def test_nesting_of_any_depth_is_printed(run: Callable[..., Ran]) -> None:
    deep = "[" * 5000 + "]" * 5000
    raw = f"<start_function_call>call:f{{a:{deep}}}<end_function_call>"
    assert f'"arguments": {{"a": {deep}}}' in run("parse", "--jsonl", "-f", "functiongemma", stdin=json.dumps({"raw": raw})).out
    assert run("parse", "-f", "functiongemma", stdin=raw).status == 0


def test_text_without_utf8_comes_out_as_its_escape(run: Callable[..., Ran]) -> None:
    ran = run("parse", "--jsonl", "-f", "gemma4", stdin=r'{"raw": "\ud83d \ud83d\ude00"}')
    assert r"\ud83d 😀" in ran.out
    assert json.loads(ran.out)["result"]["content"] == "\ud83d 😀"


@pytest.mark.parametrize("member", ["raw", "tools", "context", "options", "format"])
@pytest.mark.parametrize("value", [3, [1], True])
def test_a_line_with_a_wrong_member_is_reported_by_its_name(run: Callable[..., Ran], member: str, value: object) -> None:
    ran = run("parse", "--jsonl", "-f", "gemma4", stdin=json.dumps({"raw": "hello", member: value}))
    assert ran.status == 1
    [line] = lines(ran.out)
    assert line.keys() == {"raw", member, "error"}
    assert line["error"]["param"].startswith(member)


@pytest.fixture
def garbage() -> Any:
    """A port that answers, but not in HTTP."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1)
            self.request.sendall(b"220 smtp.example.org at your service\r\n")

    with TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def closed() -> str:
    """An address where nothing listens."""
    with TCPServer(("127.0.0.1", 0), BaseRequestHandler) as server:
        return f"http://127.0.0.1:{server.server_address[1]}"


def failed(ran: Ran, *fragments: object) -> None:
    """The command failed in one line that holds these."""
    assert ran.status in (1, 2)
    assert ran.out == ""
    assert ran.err.startswith("gemma-tools: ")
    assert ran.err.count("\n") == 1
    assert "GEMMA_TOOLS_TRACEBACK" not in ran.err
    for fragment in fragments:
        assert str(fragment) in ran.err


def changed(**fields: Any) -> str:
    """The example request with other fields, as JSON."""
    return json.dumps({**REQUEST, **fields})


UNNAMED = {"type": "function", "function": {"description": "A tool without a name."}}
LONG = [{"role": "user", "content": "weather " * 20_000}]


@pytest.mark.parametrize("command", [["complete"], ["render", "--format", "functiongemma"]], ids=["complete", "render"])
@pytest.mark.parametrize(
    ("stdin", "fragments"),
    [
        ('{"model": "tiny",\n "messages": [}', ["not valid JSON", "line 2, column 15"]),
        ("", ["not valid JSON"]),
        ("[1, 2]", ["object"]),
        (b'{"model": "\xff"}', ["UTF-8"]),
        (changed(messages=[{"role": "wizard", "content": "hi"}]), ["messages[0].role", "wizard"]),
        (changed(messages=None), ["messages"]),
        (changed(tools=[UNNAMED]), ["tools[0]", "name"]),
        (changed(tools="all"), ["tools"]),
    ],
    ids=["cut", "empty", "list", "bytes", "role", "no-messages", "unnamed-tool", "tools"],
)
def test_a_bad_request_is_one_clear_error(
    run: Callable[..., Ran], command: list[str], stdin: str | bytes, fragments: list[str]
) -> None:
    failed(run(*command, "-", stdin=stdin), *fragments)


@pytest.mark.parametrize(
    ("arguments", "stdin", "fragments"),
    [
        (["complete", "nowhere.json"], "", ["nowhere.json"]),
        (["complete", "."], "", ["directory"]),
        (["complete"], changed(model=None), ["model", "--model"]),
        (["complete"], changed(model="no-such-model"), ["no-such-model", "functiongemma"]),
        (["complete"], changed(model="./nowhere.gguf"), ["nowhere.gguf"]),
        (["complete", "--engine", "steam"], changed(), ["steam"]),
        (["complete"], changed(messages=LONG), ["context"]),
        (["complete", "--stream"], changed(messages=LONG), ["context"]),
        (["render"], changed(), ["--format"]),
        (["render", "-f", "latin"], changed(), ["latin", "gemma4"]),
        (["render", "-f", "gemma4", "-o", "nonsense=1"], changed(), ["nonsense"]),
        (["render", "-f", "gemma4", "-o", "variant"], changed(), ["NAME=VALUE"]),
        (["render", "-f", "gemma4", "-o", "enable_thinking=maybe"], changed(), ["enable_thinking", "boolean"]),
        (["render", "-f", "gemma4"], changed(options=3), ["options"]),
        (["parse"], "hello", ["--format"]),
        (["parse", "-f", "gemma4", "--tools", "nowhere.json"], "hello", ["nowhere.json"]),
        (["parse", "-f", "gemma4", "--finish", "soon"], "hello", ["--finish"]),
        (["parse", "-f", "gemma4"], b"\xff", ["UTF-8"]),
        (["chat", "no-such-model"], "hello", ["no-such-model"]),
        (["chat", "--tools", "nowhere.py"], "hello", ["nowhere.py"]),
        (["sing"], "", ["sing"]),
        (["complete", "--loud"], "", ["--loud"]),
    ],
)
def test_bad_input_is_one_clear_error(
    run: Callable[..., Ran], arguments: list[str], stdin: str | bytes, fragments: list[str]
) -> None:
    failed(run(*arguments, stdin=stdin), *fragments)


def test_an_engine_that_is_not_running_is_one_clear_error(run: Callable[..., Ran], closed: str) -> None:
    failed(run("complete", "--model", "functiongemma", "--url", closed, WEATHER), closed)


def test_a_port_that_answers_garbage_is_one_clear_error(run: Callable[..., Ran], garbage: str) -> None:
    failed(run("complete", "--model", "functiongemma", "--url", garbage, WEATHER))


def test_without_its_extra_the_command_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit, match=r"^the gemma-tools command needs typer: pip install 'gemma-tools\[cli\]'$"):
        main()


def test_an_error_that_should_not_happen_is_one_line_too(run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("gemma_tools.cli.options.get_format", broken)
    ran = run("render", "-f", "gemma4", WEATHER)
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "unexpected ZeroDivisionError: a fault of ours" in ran.err
    monkeypatch.setenv("GEMMA_TOOLS_TRACEBACK", "1")
    monkeypatch.setattr("sys.argv", ["gemma-tools", "render", "-f", "gemma4", str(WEATHER)])
    with pytest.raises(ZeroDivisionError):
        main()


def test_without_arguments_it_explains_itself(run: Callable[..., Ran]) -> None:
    ran = run()
    assert ran.status == 0
    for command in ("complete", "render", "parse", "chat"):
        assert command in ran.out


def play(*answers: str | EngineError) -> tuple[ScriptedEngine, list[str]]:
    """An engine that plays these, and the arguments that make `chat` use it."""
    engine = ScriptedEngine(answers)
    register_engine("played", lambda: engine)
    return engine, ["functiongemma", "--engine", "played"]


def test_chat_runs_tools_and_goes_on(run: Callable[..., Ran]) -> None:
    question = "What is the weather in Lisbon?\n"
    ran = run("chat", "--model", "tiny", "--tools", ROOT / "examples" / "tools.py", stdin=question * 2)
    assert (ran.status, ran.err) == (0, "")
    shown = ['→ get_weather {"city": "Lisbon"}', "← get_weather sunny"]
    printed = ran.out.splitlines()
    assert printed[:2] == shown
    assert "sunny" in printed[2]
    assert printed[3:5] == shown


def test_chat_asks_for_the_results_of_tools_that_are_only_declared(run: Callable[..., Ran]) -> None:
    engine, model = play(CALL, "It is wet.")
    ran = run(
        "chat", *model, "--tools", WEATHER, "--system", "Be brief.", stdin="What is the weather in Lisbon?\nwet as ever\n\n"
    )
    assert ran == Ran(0, '→ get_weather {"city": "Lisbon"}\nIt is wet.\n', "")
    assert "Be brief." in engine.asked[0].prompt.text
    assert "wet as ever" in engine.asked[1].prompt.text


def test_chat_shows_no_terminal_codes_of_a_tool_or_a_model(run: Callable[..., Ran], tmp_path: Path) -> None:
    tools = tmp_path / "tools.py"
    tools.write_text("def get_weather(city: str) -> str:\n    return '\\x1b[2Jwet'\n")
    _, model = play(CALL, "\x1b[31mIt is wet.")
    ran = run("chat", *model, "--tools", tools, stdin="What is the weather in Lisbon?\n")
    assert ran == Ran(0, '→ get_weather {"city": "Lisbon"}\n← get_weather [2Jwet\n[31mIt is wet.\n', "")


def test_chat_says_why_a_reply_is_empty(run: Callable[..., Ran]) -> None:
    _, model = play(CALL, CALL)
    ran = run("chat", *model, stdin="hello\nhello\n")
    assert ran == Ran(0, "(undeclared: no tool named 'get_weather' is declared)\n" * 2, "")


def test_chat_shows_each_warning_once(run: Callable[..., Ran]) -> None:
    _, model = play("Hello!", "Hello!")
    ran = run("chat", "gemma-3-270m", *model[1:], stdin="hello\nhello\n")
    first, warning, second = ran.out.splitlines()
    assert (first, second) == ("Hello!", "Hello!")
    assert warning.startswith("(warning: gemma-3-270m is a base model")


def test_chat_from_a_file_ends_with_the_first_error(run: Callable[..., Ran]) -> None:
    _, model = play("Hello!", EngineError("the engine is tired"), "never said")
    ran = run("chat", *model, stdin="hello\nhello\nhello\n")
    assert ran == Ran(1, "Hello!\n", "gemma-tools: the engine is tired\n")


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Run the command as a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "gemma_tools", *arguments], stdin=subprocess.PIPE, **options)


def test_ctrl_c_ends_it_in_one_line() -> None:
    with start("parse", "--jsonl", "-f", "gemma4", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"raw": "hello"}\n')
        process.stdin.flush()
        assert process.stdout.readline()  # it is at work now, and waits for the next line
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read().strip() == b"gemma-tools: interrupted"
    assert process.returncode == 130


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    with start("parse", "--jsonl", "-f", "gemma4", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b'{"raw": "hello"}\n')
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b'{"raw": "hello"}\n')
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_batch_shows_its_progress_on_a_terminal_only() -> None:
    terminal, end = pty.openpty()
    with start("parse", "--jsonl", "-f", "gemma4", stdout=subprocess.PIPE, stderr=end) as process:
        out, _ = process.communicate(b'{"raw": "hello"}\n' * 3)
    os.close(end)
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(terminal)
    assert process.returncode == 0
    assert [line["result"]["content"] for line in lines(out.decode())] == ["hello"] * 3
    assert b"Parsing" in shown


CHAT = {
    "messages": [
        {"role": "user", "content": "hi <end_of_turn>"},
        {"role": "assistant", "content": "hello", "reasoning": "greet"},
        {"role": "user", "content": "bye"},
        {"role": "assistant", "content": "so long"},
    ]
}


def test_export_training_prints_text_with_spans(run: Callable[..., Ran]) -> None:
    ran = run("export-training", "--format", "gemma4", stdin=json.dumps(CHAT))
    [row] = lines(ran.out)
    assert row["text"] == get_format("gemma4").render(CHAT["messages"], add_generation_prompt=False).text
    assert [row["text"][begin:end] for begin, end in row["spans"]] == ["hello<turn|>", "so long<turn|>"]
    assert (ran.status, ran.err) == (0, "")


def test_export_training_prints_ids_with_labels(run: Callable[..., Ran]) -> None:
    ran = run("export-training", "-f", "functiongemma", "--tokenizer", tiny_path(), stdin=json.dumps(CHAT))
    [row] = lines(ran.out)
    tokenizer = GemmaTokenizer.from_file(tiny_path())
    prompt = get_format("functiongemma").render(CHAT["messages"], add_generation_prompt=False)
    assert row["input_ids"] == prompt.token_ids(tokenizer)
    assert tokenizer.decode(label for label in row["labels"] if label != -100) == "hello<end_of_turn>so long<end_of_turn>"
    assert "messages[1].reasoning: FunctionGemma has no thought channel" in ran.err


def test_export_training_prints_a_row_for_each_exchange(run: Callable[..., Ran]) -> None:
    ran = run("export-training", "-f", "gemma4", "--each-exchange", stdin=json.dumps(CHAT))
    parts = [[row["text"][begin:end] for begin, end in row["spans"]] for row in lines(ran.out)]
    assert parts == [["<|channel>thought\ngreet\n<channel|>hello<turn|>"], ["so long<turn|>"]]


def test_export_training_leaves_out_what_fails_and_says_so(run: Callable[..., Ran]) -> None:
    asked = {"messages": CHAT["messages"][:1]}
    chats = [asked, CHAT, {**CHAT, "options": {"add_generation_prompt": True}}]
    ran = run("export-training", "-f", "gemma4", stdin="\n".join(map(json.dumps, chats)))
    assert (ran.status, len(lines(ran.out))) == (1, 1)
    assert "2 of 3 lines failed, first -, line 1: messages: the model writes nothing" in ran.err
