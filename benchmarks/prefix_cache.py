"""How many prompt tokens a server reuses in a conversation with tools: this library and llama-server's own chat endpoint.

    python benchmarks/prefix_cache.py

Both sides use the same llama-server, weights, questions and tool results. The model's output goes back into the conversation,
as in an agent. llama-server itself reports the numbers: the tokens of the prompt, and how many of them it reused from the
previous request. Each side has its own server with one slot.

The chat template does the same as Gemma 4's, but was written for this script. llama-server gives it the results of calls as
`tool_responses` of the message that made the calls. The last token of each step was generated but never read as input, so one
token is lost each time. More are lost if the next prompt does not begin with the same tokens.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from gemma_tools import create_model
from gemma_tools.data import tiny_path
from support.servers.llama import llama_server

TEMPLATE = """{%- macro value(it) -%}
{%- if it is string -%}{{ '<|"|>' + it + '<|"|>' }}
{%- elif it is mapping -%}
{{ '{' }}
{%- for key, inner in it|dictsort -%}{{ key }}:{{ value(inner) }}{{ ',' if not loop.last }}{%- endfor -%} {{ '}' }}
{%- else -%}{{ it|tojson }}
{%- endif -%}
{%- endmacro -%}
{{- bos_token + '<|turn>system\\n' -}}
{%- for tool in tools or [] -%}
{%- set function = tool['function'] -%}
<|tool>declaration:{{ function['name'] }}{description:<|"|>{{ function['description'] }}<|"|>,parameters:{properties:{
{%- for key, schema in function['parameters']['properties']|dictsort -%}
{{ key }}:{description:<|"|>{{ schema['description'] }}<|"|>,
{{- 'type:' -}}
<|"|>{{ schema['type']|upper }}<|"|>}{{ ',' if not loop.last }}
{%- endfor -%}
},required:[
{%- for key in function['parameters']['required'] -%}<|"|>{{ key }}<|"|>{{ ',' if not loop.last }}{%- endfor -%}
],type:<|"|>OBJECT<|"|>}}<tool|>
{%- endfor -%}
{{- '<turn|>\\n' -}}
{%- set state = namespace(waiting=false) -%}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{{- '' if state.waiting else '<|turn>model\\n' -}}
{%- for call in message['tool_calls'] or [] -%}
{{- '<|tool_call>call:' + call['function']['name'] + value(call['function']['arguments']) + '<tool_call|>' -}}
{%- endfor -%}
{%- for result in message['tool_responses'] or [] -%}
{{- '<|tool_response>response:' + result['name'] + '{value:' + value(result['response']) + '}<tool_response|>' -}}
{%- endfor -%}
{%- set state.waiting = message['tool_responses'] and not message['content'] -%}
{%- if not state.waiting -%}{{- (message['content'] or '') + '<turn|>\\n' -}}{%- endif -%}
{%- else -%}
{{- '<|turn>' + message['role'] + '\\n' + message['content'] + '<turn|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not state.waiting -%}{{- '<|turn>model\\n' -}}{%- endif -%}
"""


def _tool(name: str, description: str, **properties: tuple[str, str]) -> dict[str, Any]:
    described = {key: {"type": kind, "description": text} for key, (kind, text) in properties.items()}
    parameters = {"type": "object", "properties": described, "required": list(described)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    _tool("get_weather", "Gets the current weather for a city.", city=("string", "The city name")),
    _tool("set_timer", "Starts a timer in minutes.", minutes=("integer", "Number of minutes")),
    _tool("track_package", "Tracks a package by its id.", id=("string", "The tracking id")),
]
STEPS = (
    ("what is the weather in Paris?", "rain"),
    ("set a timer for 12 minutes", "started"),
    ("where is my package AB-1234?", "delivered"),
    ("weather in Oslo please", "snow"),
    ("start a 5 minute timer", "started"),
)
"""Questions, and the results of the tools that they call. Each question makes two steps: the call and the answer."""


@dataclass(frozen=True)
class Step:
    """Tokens of one request's prompt: all, those that were reused, and known ones that had to be read again."""

    kind: str
    prompt: int
    reused: int
    lost: int


def conversation(ask: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> Iterator[Step]:
    """The ten steps; `ask` answers messages with a chat completion."""
    messages: list[dict[str, Any]] = []
    known = 0
    for question, result in STEPS:
        messages.append({"role": "user", "content": question})
        for kind in ("call", "answer"):
            answer = ask(messages)
            usage = answer["usage"]
            reused = usage["prompt_tokens_details"]["cached_tokens"]
            yield Step(kind, usage["prompt_tokens"], reused, known - reused)
            known = usage["total_tokens"]
            message = answer["choices"][0]["message"]
            calls = message.get("tool_calls") or []
            assert bool(calls) == (kind == "call"), message
            messages.append({"role": "assistant", "content": message.get("content") or "", "tool_calls": calls or None})
            for call in calls:
                name = call["function"]["name"]
                messages.append({"role": "tool", "tool_call_id": call["id"], "name": name, "content": result})


def ours() -> list[Step]:
    """The steps of our Gemma 4 backend."""
    with llama_server(tiny_path(), slots=1) as url, create_model("tiny-gemma4", engine="llama-server", url=url) as model:
        settings = {"tools": TOOLS, "temperature": 0, "max_tokens": 60, "stream": False}
        return list(conversation(lambda messages: json.loads(model.run(messages, **settings).model_dump_json())))


def theirs() -> list[Step]:
    """The steps of llama-server's own chat endpoint."""
    with llama_server(tiny_path(), slots=1, chat_template=TEMPLATE) as url, httpx.Client(base_url=url, timeout=60) as client:
        settings = {"tools": TOOLS, "temperature": 0, "max_tokens": 60}

        def ask(messages: list[dict[str, Any]]) -> dict[str, Any]:
            answer = client.post("/v1/chat/completions", json={"messages": messages, **settings}).raise_for_status()
            found: dict[str, Any] = answer.json()
            return found

        return list(conversation(ask))


def main() -> None:
    """Print the table."""
    sides = ours(), theirs()
    columns = f"{'prompt':>8}{'reused':>8}{'lost':>6}" + "  "
    print(f"{'':13}{'ours':>22}  {'chat endpoint':>22}")
    print(f"{'step':>4} {'kind':8}" + columns * 2)
    for number, pair in enumerate(zip(*sides, strict=True), 1):
        print(f"{number:4} {pair[0].kind:8}" + "".join(f"{s.prompt:8}{s.reused:8}{s.lost:6}  " for s in pair))
    totals = (
        f"{sum(s.prompt for s in side):8}{sum(s.reused for s in side):8}{sum(s.lost for s in side):6}  " for side in sides
    )
    print(f"{'':4} {'all':8}" + "".join(totals))


if __name__ == "__main__":
    main()
