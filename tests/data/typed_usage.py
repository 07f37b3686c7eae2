"""What type checkers say of code that uses this package: this file passes `mypy --strict` and pyright.

A line that must not pass carries `type: ignore`. Both checkers are told to complain about one that is not needed.
"""

from __future__ import annotations

from typing import assert_type

from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from pydantic import BaseModel

from gemma_tools import FunctionGemmaModel, Gemma3Model, Gemma4Model, create_model
from gemma_tools.backends.base import AsyncResponse, AsyncStream, BaseModelBackend, Response, Stream

MESSAGES = [{"role": "user", "content": "What is the weather in Lisbon?"}]


class Weather(BaseModel):
    """An answer's shape."""

    city: str


def answers(model: BaseModelBackend, decided_elsewhere: bool) -> None:
    """`stream` decides what comes back."""
    assert_type(model.run(MESSAGES), ChatCompletion)
    assert_type(model.run(MESSAGES, stream=False), ChatCompletion)
    assert_type(model.run(MESSAGES, stream=True), Stream)
    assert_type(model.run(MESSAGES, stream=decided_elsewhere), Response)
    assert_type(model.run(MESSAGES, stream=None), Response)
    for chunk in model.run(MESSAGES, stream=True, stream_options={"include_usage": True}):
        print(chunk.choices[0].delta.content)
    model.run(MESSAGES, stream=True).close()


async def awaited_answers(model: BaseModelBackend, decided_elsewhere: bool) -> None:
    """The same, awaited."""
    assert_type(await model.arun(MESSAGES), ChatCompletion)
    assert_type(await model.arun(MESSAGES, stream=True), AsyncStream)
    assert_type(await model.arun(MESSAGES, stream=decided_elsewhere), AsyncResponse)
    async for chunk in await model.arun(MESSAGES, stream=True):
        print(chunk.choices[0].delta.content)
    await model.arun(MESSAGES, temprature=0)  # type: ignore[call-overload]


def fields(model: BaseModelBackend) -> None:
    """The fields of a request have names and types."""
    model.run(MESSAGES, Weather, None, temperature=0, top_p=None, max_tokens=64, stop=["\n"], seed=1, n=2)
    model.run(MESSAGES, tool_choice={"type": "function", "function": {"name": "f"}}, parallel_tool_calls=False)
    model.run(MESSAGES, reasoning_effort="high", chat_template_kwargs={"enable_thinking": True}, logit_bias={7: -100})
    model.run(MESSAGES, temprature=0)  # type: ignore[call-overload]
    model.run(MESSAGES, temperature="0")  # type: ignore[call-overload]
    model.run(MESSAGES, tool_choice="sometimes")  # type: ignore[call-overload]
    model.run(MESSAGES, stream="yes")  # type: ignore[call-overload]
    model.run(MESSAGES, audio={})  # type: ignore[call-overload]
    model.run("What is the weather in Lisbon?")  # type: ignore[arg-type]


def conversations(model: BaseModelBackend, typed: list[ChatCompletionMessageParam]) -> None:
    """Messages are dicts, those that the openai package types, and its own objects."""
    reply = model.run(typed).choices[0].message
    model.run([*typed, reply, {"role": "user", "content": "And tomorrow?"}])


def models() -> None:
    """Settings and options have names and types, too."""
    create_model("tiny", temperature=0, max_tokens=64, stream_arguments="live", engine="llama.cpp", timeout=5)
    create_model("gemma4:e2b", variant="small", exact=True, recovery="eager", enable_thinking=True)
    FunctionGemmaModel("functiongemma", {"temperature": 0}, default_instruction=False, on_invalid="retry")
    Gemma3Model("gemma3:4b", tool_style="json", allow_file_media=True)
    Gemma4Model("gemma4:e2b", url="http://localhost:11434", variant="large")
    create_model("tiny", temprature=0)  # type: ignore[call-arg]
    create_model("tiny", temperature="0")  # type: ignore[arg-type]
    create_model("tiny", recovery="always")  # type: ignore[arg-type]
    FunctionGemmaModel("functiongemma", recovry="eager")  # type: ignore[call-arg]
    Gemma3Model("gemma3:4b", tool_style="xml")  # type: ignore[arg-type]
    Gemma4Model("gemma4:e2b", temperature=0)  # type: ignore[call-arg]
