"""Requests, and ways to look at their answers, for the tests of backends."""

from __future__ import annotations

from typing import Any

from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gemma_tools import FunctionGemmaModel
from gemma_tools.testing import ScriptedEngine


def tool(name: str, description: str, **properties: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {key: {"type": "string", "description": text} for key, text in properties.items()},
        "required": list(properties),
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


WEATHER = tool("get_weather", "Gets the current weather for a city.", city="The city name")
ALARM = tool("set_alarm", "Sets an alarm at a time.", time="The alarm time")
PARIS = "<start_function_call>call:get_weather{city:<escape>Paris<escape>}<end_function_call>"
OSLO = PARIS.replace("Paris", "Oslo")


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def calls(answer: ChatCompletion) -> list[tuple[str, str]]:
    return [(call.function.name, call.function.arguments) for call in answer.choices[0].message.tool_calls or ()]


def facts(answer: ChatCompletion) -> dict[str, Any]:
    """What two answers to one request have in common: all but ids and times."""
    value = answer.model_dump(exclude={"id", "created"}, exclude_none=True)
    for choice in value["choices"]:
        choice["message"].pop("refusal", None)
        for call in choice["message"].get("tool_calls", ()):
            call.pop("id")
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
    value["usage"].pop("prompt_tokens_details", None)  # how much was cached depends on what ran before
    return value


def accumulated(chunks: list[ChatCompletionChunk]) -> ChatCompletion:
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(chunk)
    return ChatCompletion.model_validate(state.current_completion_snapshot.model_dump())


def scripted(*answers: Any, family: type[Any] = FunctionGemmaModel, cut: int = 3, **options: Any) -> Any:
    return family("scripted", engine=ScriptedEngine(answers, cut=cut), **options)
