"""Requests with images and audio, answered by a model of llama.cpp: all that holds for text holds for them, too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from gemma_tools import Gemma3Model, Gemma4Model, create_model
from gemma_tools.backends.gemma import GemmaBackend
from gemma_tools.data import tiny_path
from gemma_tools.engines import Cancellation, GenerationRequest, create_engine
from gemma_tools.engines.base import Pieces
from gemma_tools.engines.llama_cpp import LlamaCppEngine
from gemma_tools.errors import ContextExceeded, InvalidRequest
from support.chat import ALARM, WEATHER, accumulated, calls, facts
from support.gguf_files import gemma3_projector, gemma4_projector
from support.media import BLUE, GREEN, RED, picture, png, sound, wav
from support.servers.llama import llama_server
from support.serving import serving

SETTINGS = {"temperature": 0, "max_tokens": 40}


@pytest.fixture(scope="module")
def projector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gemma4_projector(tmp_path_factory.mktemp("projectors") / "mmproj.gguf")


@pytest.fixture(scope="module", params=["in process", "llama-server"])
def model(request: pytest.FixtureRequest, projector: Path) -> Iterator[GemmaBackend]:
    if request.param == "in process":
        with Gemma4Model("tiny", SETTINGS, mmproj=projector, context=4096, threads=1) as model:
            yield model
    else:
        with (
            llama_server(tiny_path(), mmproj=projector) as url,
            Gemma4Model("tiny", SETTINGS, url=url, engine="llama-server") as model,
        ):
            yield model


def user(*parts: str | dict[str, Any]) -> dict[str, Any]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content}


def test_a_picture_question(model: GemmaBackend) -> None:
    without = model.run([user("What is this?")])
    answer = model.run([user("What is this?", picture(png()))])
    assert answer.usage is not None
    assert without.usage is not None
    assert answer.usage.prompt_tokens > without.usage.prompt_tokens + 10
    assert answer.usage.completion_tokens > 0
    again = model.run([user("What is this?", picture(png()))])
    assert facts(again) == facts(answer)
    assert again.usage is not None
    assert again.usage.prompt_tokens_details is not None
    assert again.usage.prompt_tokens_details.cached_tokens == answer.usage.prompt_tokens - 1
    stream = model.run([user("What is this?", picture(png()))], stream=True, stream_options={"include_usage": True})
    assert facts(accumulated(list(stream))) == facts(answer)


def test_a_sound_is_heard(model: GemmaBackend) -> None:
    lengths = [model.run([user("Write this down.", sound(wav(seconds)))], max_tokens=1).usage for seconds in (1, 2)]
    assert lengths[0] is not None
    assert lengths[1] is not None
    assert lengths[1].prompt_tokens - lengths[0].prompt_tokens == 25


def test_calls_are_forced_as_ever(model: GemmaBackend) -> None:
    request = [user("Wake me at this time.", picture(png()))]
    answer = model.run(request, tools=[WEATHER, ALARM], tool_choice={"type": "function", "function": {"name": "set_alarm"}})
    [(name, arguments)] = calls(answer)
    assert name == "set_alarm"
    assert list(json.loads(arguments)) == ["time"]


def test_structured_answers_are_bound_as_ever(model: GemmaBackend) -> None:
    schema = {"type": "object", "properties": {"cat": {"type": "boolean"}}, "required": ["cat"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "seen", "schema": schema}}
    answer = model.run([user("Is this a cat?", picture(png()))], form).choices[0].message.content
    assert answer is not None
    assert jsonschema_rs.is_valid(schema, json.loads(answer))


def test_a_tool_loop_with_pictures_in_results(model: GemmaBackend) -> None:
    """What was read once is not read again, and the pictures stand where they belong."""
    asked: list[dict[str, Any]] = [user("What do you see there?", picture(png(RED)))]
    for color in (GREEN, BLUE):
        call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
        result = [{"type": "text", "text": "a photo"}, picture(png(color))]
        before = model.run(asked, tools=[WEATHER], max_tokens=1).usage
        asked += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": result},
        ]
        after = model.run(asked, tools=[WEATHER], max_tokens=1).usage
        assert before is not None
        assert after is not None
        assert after.prompt_tokens_details is not None
        assert (after.prompt_tokens_details.cached_tokens or 0) >= before.prompt_tokens - 8  # the beginning of the model's turn


class Recording(LlamaCppEngine):
    """Keeps what it sends for a prompt with media."""

    sent: Any = None

    def _encode_media(self, *arguments: Any) -> Any:
        self.sent = super()._encode_media(*arguments)
        return self.sent


def test_pictures_in_results_keep_their_places(projector: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "get_photo", "arguments": "{}"}}
    messages = [
        user("A", picture(png(RED)), "B"),
        {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": "2"}]},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "second"}, picture(png(BLUE))]},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "first"}, picture(png(GREEN))]},
        user("C", sound(wav())),
    ]
    with Recording("tiny", threads=1, mmproj=projector) as engine:
        model = Gemma4Model("tiny", {"max_tokens": 1}, engine=engine)
        model.run(messages)
        prompt = model.prompt(_request(messages))
        sent = engine.sent
    places = re.split("<__media_[A-Za-z0-9]+__>", sent["prompt_string"])
    assert len(places) == 5
    data = dict(zip(sent["multimodal_data"], places, strict=False))
    order = [data[_base64(picture(png(color)))] for color in (RED, GREEN, BLUE)]
    assert order[0].endswith("A")
    assert "first" in order[1]
    assert "second" in order[2]
    assert sent["multimodal_data"][3] == sound(wav())["input_audio"]["data"]
    assert places[3].endswith("C")
    assert prompt.text.removeprefix("<bos>") == "".join(
        text + placeholder for text, placeholder in zip(places, ["<|image|>"] * 3 + ["<|audio|>", ""], strict=True)
    )


def _base64(part: dict[str, Any]) -> str:
    return str(part["image_url"]["url"].partition(",")[2])


def _request(messages: list[dict[str, Any]]) -> Any:
    from gemma_tools.validation import parse_request

    return parse_request({"model": "tiny", "messages": messages})


def test_prompts_are_sent_as_text_and_later_ones_as_ids_again(projector: Path) -> None:
    asked: list[GenerationRequest] = []

    class Watching(LlamaCppEngine):
        def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
            asked.append(request)
            return super().generate(request, cancel=cancel)

    with Watching("tiny", threads=1, mmproj=projector) as engine:
        model = Gemma4Model("tiny", {"max_tokens": 3}, engine=engine)
        for messages in ([user("Hello")], [user("Hello", picture(png()))], [user("Hello")]):
            model.run(messages)
    assert [request.tokenizer is not None for request in asked] == [True, False, True]
    assert [bool(request.prompt.known[0]) for request in asked] == [True, False, True]


def test_a_model_without_a_projector() -> None:
    with (
        Gemma4Model("tiny", SETTINGS, threads=1) as model,
        pytest.raises(InvalidRequest, match=r"part 0 .*takes no image.*mmproj="),
    ):
        model.run([user("What is this?", picture(png()))])


def test_with_a_projector_that_only_sees(tmp_path: Path) -> None:
    with Gemma3Model(
        "tiny", SETTINGS, engine="tiny", variant="3n", threads=1, mmproj=gemma3_projector(tmp_path / "p.gguf")
    ) as model:
        assert model.run([user("What is this?", picture(png()))]).usage
        with pytest.raises(InvalidRequest, match=r"takes no audio: its projector does not support it"):
            model.run([user("What is this?", sound(wav()))])


def test_a_server_without_a_projector() -> None:
    with llama_server(tiny_path()) as url, Gemma4Model("tiny", SETTINGS, url=url, engine="llama-server") as model:
        for stream in (False, True):
            with pytest.raises(InvalidRequest, match="--mmproj"):
                model.run([user("What is this?", picture(png()))], stream=stream)


def test_a_picture_that_does_not_fit_the_context(projector: Path) -> None:
    with Gemma4Model("tiny", SETTINGS, threads=1, mmproj=projector, context=256) as model:
        assert model.token_limit == 256
        with pytest.raises(ContextExceeded) as caught:
            model.run([user("What is this?", picture(png(width=1024, height=1024)))])
        assert (caught.value.context, (caught.value.prompt_tokens or 0) > 256) == (256, True)
        assert model.run([user("What is this?", picture(png()))], max_tokens=1).usage


def test_through_our_server(projector: Path) -> None:
    with create_model("tiny-gemma4", threads=1, mmproj=projector) as backend, serving(backend) as url:
        body = {"model": "m", "messages": [user("What is this?", picture(png()))], "max_tokens": 8}
        answer = httpx.post(f"{url}/chat/completions", json=body, timeout=60).json()
        assert answer["usage"]["prompt_tokens"] > 80
        long = {
            "role": "user",
            "content": [{"type": "input_text", "text": "Hi"}, {"type": "input_image", "image_url": _uri(png())}],
        }
        response = httpx.post(
            f"{url}/responses", json={"model": "m", "input": [long], "max_output_tokens": 8}, timeout=60
        ).json()
        assert response["usage"]["input_tokens"] > 80
        broken = {"model": "m", "messages": [user("What is this?", picture(png()[:50]))], "stream": True}
        refused = httpx.post(f"{url}/chat/completions", json=broken, timeout=60)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_media")


def _uri(data: bytes) -> str:
    return str(picture(data)["image_url"]["url"])


def test_options_of_the_engine_go_to_the_engine(projector: Path) -> None:
    with create_model("tiny", context=512, threads=1) as model:
        assert model.token_limit == 512
    with pytest.raises(InvalidRequest, match="ollama does not have this option") as caught:
        create_model("gemma3:4b", mmproj=projector)
    assert caught.value.param == "mmproj"
    with (
        create_engine("tiny", threads=1) as engine,
        pytest.raises(InvalidRequest, match="when you create the engine") as caught,
    ):
        create_model("tiny", engine=engine, lora=["x.gguf"])
    assert caught.value.param == "lora"
