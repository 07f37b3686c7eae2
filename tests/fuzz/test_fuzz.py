"""Whatever comes in, nothing raw comes out: one property for everything that reads what others wrote.

They run with the suite, on a few examples each; `nox -s fuzz` drives the same functions by atheris, which looks for
the branches that were not taken yet, for as long as it is given. What it finds is kept here, as an `@example` or a
row of `tests/data/replies`.
"""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from gemma_tools import FunctionGemmaModel, Gemma3Model, Gemma4Model
from gemma_tools.data import tiny_path
from gemma_tools.engines import GenerationRequest
from gemma_tools.errors import EngineError, InvalidRequest, ModelNotFound, UnknownName
from gemma_tools.formats import get_format
from gemma_tools.gguf import read_header
from gemma_tools.models import family_of_path
from gemma_tools.openai_api.wire import ApiRequest
from gemma_tools.routes import handle
from gemma_tools.testing import ScriptedEngine
from gemma_tools.tokens import GemmaTokenizer
from gemma_tools.tools import run_tools
from support.damage import hurt_bytes, hurt_values
from support.gguf_files import ARRAY, gguf_header
from support.gguf_headers import gguf_files
from support.outputs import FORMATS, TOOLS, damage, output, pieces, words
from support.outputs import calls as typed_calls
from support.servers.loopback import Faulty
from support.tiny import GREEDY, small_talk
from support.vocabularies import sentencepiece_model, tokenizer_json
from support.wires import TOKENIZED, WIRES

LEVELS = ("strict", "schema", "eager")
FAMILIES = {"functiongemma": FunctionGemmaModel, "gemma3": Gemma3Model, "gemma4": Gemma4Model}


@st.composite
def outputs(draw: Any, name: str) -> str:
    """What a model of the format might write: calls and text, mostly hurt."""
    made = draw(st.lists(typed_calls, max_size=3))
    text = output(get_format(name), made, draw(words)) if made else draw(words)
    return damage(name, text, draw(st.randoms(use_true_random=False))) if draw(st.integers(0, 3)) else text


@given(st.data())
def test_model_outputs(data: st.DataObject) -> None:
    """Any output is read, the same whole and in pieces, into declared calls with JSON arguments."""
    name = data.draw(st.sampled_from(FORMATS))
    format = get_format(name, recovery=data.draw(st.sampled_from(LEVELS)))
    text = data.draw(outputs(name) | st.text())
    tools = data.draw(st.sampled_from([TOOLS, TOOLS, [], None]))
    opens, finish = data.draw(st.sampled_from(["content", "reasoning"])), data.draw(st.sampled_from(["stop", "length"]))
    whole = format.parse(text, tools, opens=opens, finish=finish)
    parser = format.parser(tools, opens=opens)
    for piece in pieces(text, data.draw(st.randoms(use_true_random=False))):
        parser.feed(piece)
    parser.close(finish)
    assert parser.reply == whole
    for call in whole.tool_calls:
        assert isinstance(json.loads(call.arguments_json), dict)
        assert tools is None or call.name in {tool["function"]["name"] for tool in tools}


CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Book a table."}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "book_table", "arguments": '{"name": "Ann"}'}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": '{"ok": true}'},
    {"role": "user", "content": "And the tide?"},
]
BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/chat/completions": [
        {
            "model": "m",
            "messages": CONVERSATION,
            "tools": TOOLS,
            "tool_choice": "required",
            "temperature": 0.5,
            "stop": ["X"],
            "max_tokens": 64,
            "n": 1,
            "logit_bias": {"5": 1},
            "parallel_tool_calls": False,
        },
        {
            "model": "m",
            "messages": CONVERSATION,
            "stream": True,
            "stream_options": {"include_usage": True},
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": TOOLS[0]["function"]["parameters"]},
            },
        },
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Hi"}],
            "functions": [TOOLS[1]["function"]],
            "function_call": "auto",
        },
    ],
    "/v1/responses": [
        {
            "model": "m",
            "instructions": "Be brief.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Book"}]},
                {"type": "function_call", "call_id": "c1", "name": "book_table", "arguments": '{"name": "Ann"}'},
                {"type": "function_call_output", "call_id": "c1", "output": "ok"},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "I think."}]},
            ],
            "tools": [{"type": "function", **TOOLS[0]["function"]}, {"type": "custom", "name": "sql"}, {"type": "web_search"}],
            "tool_choice": "auto",
            "reasoning": {"effort": "low"},
            "text": {"format": {"type": "text"}},
            "metadata": {"a": "b"},
            "stream": False,
        },
        {"model": "m", "input": "Hi", "stream": True, "max_output_tokens": 9},
    ],
    "/v1/messages": [
        {
            "model": "m",
            "max_tokens": 64,
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "user", "content": "Book"},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "c1", "name": "book_table", "input": {"name": "Ann"}}],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "ok"}]},
            ],
            "tools": [{"name": "book_table", "description": "", "input_schema": TOOLS[0]["function"]["parameters"]}],
            "tool_choice": {"type": "any"},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "stop_sequences": ["X"],
            "stream": True,
        }
    ],
    "/v1/completions": [{"model": "m", "prompt": ["a", "b"], "max_tokens": 4, "logprobs": 1, "stream": True, "stop": "x"}],
    "/tokenize": [{"model": "m", "content": "a <bos> b"}],
    "/apply-template": [{"model": "m", "messages": CONVERSATION, "tools": TOOLS}],
    "/v1/chat/completions/input_tokens": [{"model": "m", "messages": CONVERSATION}],
    "/v1/messages/count_tokens": [{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}],
}


@given(st.data())
def test_request_bodies(data: st.DataObject) -> None:
    """Any body is answered in JSON, or in events of JSON, and is never a fault of ours."""
    path = data.draw(st.sampled_from(sorted(BODIES)))
    body = data.draw(hurt_values(st.sampled_from(BODIES[path])))
    family = FAMILIES[data.draw(st.sampled_from(sorted(FAMILIES)))]
    text = data.draw(outputs("functiongemma"))
    model = family("m", engine=ScriptedEngine([text] * 8, cut=5))
    response = handle(ApiRequest("POST", path, json.dumps(body).encode()), {"m": model})
    whole = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    assert response.status in (200, 400, 404, 501) or (response.status == 502 and b"unusable_answer" in whole), whole
    assert b"internal_error" not in whole
    lines = [line.removeprefix(b"data: ") for line in whole.split(b"\n") if line.startswith(b"data: ")]
    for line in lines if whole.startswith((b"data:", b"event:")) else [whole]:
        if line != b"[DONE]":
            json.loads(line, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not valid JSON")


SCHEMAS: list[Any] = [
    TOOLS[0]["function"]["parameters"],
    {
        "type": "object",
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "v": {"type": "integer"}}}},
        "properties": {
            "tree": {"$ref": "#/$defs/node"},
            "kind": {"enum": ["a", "b", None]},
            "when": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
            "size": {"type": "number", "minimum": 0, "multipleOf": 0.5},
            "code": {"type": "string", "pattern": "^[A-Z]{2}\\d+$", "minLength": 2, "maxLength": 9},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
            "more": {"oneOf": [{"const": 1}, {"allOf": [{"type": "string"}, {"not": {"const": ""}}]}]},
        },
        "required": ["tree", "kind"],
        "additionalProperties": False,
    },
]


@given(st.data())
def test_schemas(data: st.DataObject) -> None:
    """Any schema is declared, made a grammar in all notations, and read back by; or refused."""
    schema = data.draw(hurt_values(st.sampled_from(SCHEMAS)))
    tools = [{"type": "function", "function": {"name": "f", "description": "F.", "parameters": schema}}]
    format = get_format(data.draw(st.sampled_from(FORMATS)))
    try:
        prompt = format.render([{"role": "user", "content": "go"}], tools)
        grammar = format.grammar(tools, tool_choice=data.draw(st.sampled_from(["auto", "required"])))
        texts = prompt.text, grammar.gbnf, grammar.lark, grammar.ebnf
    except InvalidRequest as refused:
        texts = (refused.param or "",)
    assert all(texts)
    format.parse(data.draw(outputs(format.name)), tools)


MARKS = (b"data: ", b"\n\n", b"\r\n", b"null", b"{}", b"[]", b'"', b"error: ", b'{"error":"no"}', b"-1", b"1e999", b"[DONE]")


@given(st.data())
def test_answers_of_servers(data: st.DataObject) -> None:
    """Any stream of a server is text and an end, or an error of ours."""
    wire = data.draw(st.sampled_from([*WIRES.values()]))
    good = wire.piece("a") + wire.piece("b") + wire.last
    body = data.draw(hurt_bytes(st.sampled_from([good, wire.piece("a") + wire.error("no")]), MARKS))
    status = data.draw(st.sampled_from([b"200 OK", b"200 OK", b"200 OK", b"400 Bad", b"500 Bad"]))
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nConnection: close\r\n\r\n" % (status, wire.kind)
    first = [[TOKENIZED]] if wire.asks_first else []
    said: list[Any] = []
    with Faulty(*first, [head + body]) as server, wire.make(server.url, max_retries=0, timeout=60) as engine:
        try:
            said += engine.generate(GenerationRequest(small_talk(), GREEDY))
        except EngineError as error:
            said.append(error.text)
    assert all(isinstance(piece, str) for piece in said)


@cache
def _head_of_tiny() -> bytes:
    """A GGUF file without its weights: what is read of it is the header, and the vocabulary in it."""
    data = tiny_path().read_bytes()
    return data[: data.rindex(b"output_norm") if b"output_norm" in data else 400_000]


@cache
def _vocabularies() -> dict[str, bytes]:
    return {
        "model.gguf": _head_of_tiny(),
        "tokenizer.json": tokenizer_json().read_bytes(),
        "tokenizer.model": sentencepiece_model().read_bytes(),
    }


TOKENIZER: dict[str, Any] = {
    "added_tokens": [{"id": 0, "content": "<bos>", "special": True}, {"id": 5, "content": "<b>", "special": False}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}]},
    "model": {
        "type": "BPE",
        "byte_fallback": True,
        "vocab": {"<bos>": 0, "a": 1, "b": 2, "ab": 3, "<0x0A>": 4, "<b>": 5, "aba": 6},
        "merges": ["a b", ["ab", "a"]],
    },
}
"""A `tokenizer.json`, small enough that what is hurt is most often read."""


@given(st.data())
def test_files_of_models(data: st.DataObject) -> None:
    """Any file is a tokenizer that reads what it wrote, or is refused."""
    name = data.draw(st.sampled_from(["model.gguf", "tokenizer.json", "tokenizer.model"]))
    contents = hurt_bytes(st.just(_vocabularies()[name])) | st.binary(max_size=64)
    if name == "tokenizer.json":
        contents |= hurt_values(st.just(TOKENIZER)).map(lambda value: json.dumps(value).encode())
    content = data.draw(contents)
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        with suppress(InvalidRequest, ModelNotFound):
            tokenizer = GemmaTokenizer.from_file(path)
            tokenizer.decode(tokenizer.encode("Kalo mi 12 <b>"))


GGUF_MARKS = [*(struct.pack("<I", kind) for kind in range(14)), struct.pack("<Q", 1 << 27)]


@example(gguf_header({"a": (ARRAY, (ARRAY, [(4, [1])]))}))
@given(hurt_bytes(gguf_files(), GGUF_MARKS))
def test_gguf_headers(content: bytes) -> None:
    """Any file has a header, a family and a tokenizer, or is refused."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.gguf")
        path.write_bytes(content)
        with suppress(ModelNotFound):
            read_header(path)
        with suppress(ModelNotFound, UnknownName):
            family_of_path(str(path))
        with suppress(ModelNotFound, InvalidRequest):
            tokenizer = GemmaTokenizer.from_file(path)
            tokenizer.decode(tokenizer.encode("ab abc <b>\n\né"))
            tokenizer.decode(range(len(tokenizer)))


def book_table(name: str, guests: int = 1) -> str:
    """Reserve a table.

    Args:
        name: Who comes.
        guests: How many.
    """
    return f"{name}, {guests}"


@given(st.data())
def test_tool_loops(data: st.DataObject) -> None:
    """Whatever the model writes, the loop ends, and its transcript is a conversation that can go on."""
    name = data.draw(st.sampled_from(FORMATS))
    answers = data.draw(st.lists(outputs(name), min_size=1, max_size=4))
    model = FAMILIES[name]("m", engine=ScriptedEngine([*answers, "done"] + ["done"] * 8, cut=7))
    transcript = run_tools(model, [{"role": "user", "content": "go"}], [book_table], max_rounds=4)
    assert str(transcript)
    assert transcript._repr_html_()
    get_format(name).render([*transcript.messages, {"role": "user", "content": "And now?"}])
