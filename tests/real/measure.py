"""Gemma 3 270M behind llama.cpp in this process: prints the tables of docs/real.md.

    python tests/real/measure.py [--questions 100] [--chat 20] [PART ...]

The parts are load, cost, calls, loop, at-once, chat and evaluation. One thread; times are CPU time where it is not said
otherwise, and ratios are taken in turns, so that a busy machine does little harm.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import jsonschema_rs

from gemma_tools import Gemma3Model
from gemma_tools.bench import Result, as_markdown, bfcl_cases, evaluate, sample
from gemma_tools.engines import Constraint, GenerationRequest, Sampling
from gemma_tools.engines.llama_cpp import LlamaCppEngine
from gemma_tools.errors import UnusableAnswer
from gemma_tools.grammar import Grammar, answer_grammar
from gemma_tools.jsontext import to_json
from gemma_tools.prompt import Prompt

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.bfcl import Question, questions
from support.real import gemma_file
from support.servers.llama import llama_server

MOST = 120
"""Tokens of an answer."""
THEIRS = 60
"""Tokens of an answer of llama-server's own; a call that has not begun by then does not come."""
TEMPLATE = """{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else
message['role']) + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{
'<start_of_turn>model\\n' }}{% endif %}"""
"""What Gemma 3's own template makes of text; it has no tools."""


def cpu() -> float:
    """Seconds of CPU that this process has used, all of its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def memory() -> int:
    """What this process holds in memory, in MB."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() // 2**20


def row(*cells: object) -> None:
    """Print one row of a table, at once: a run takes long."""
    print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |", flush=True)


def table(*heads: str) -> None:
    """Begin a table."""
    print()
    row(*heads)
    row(*("---" for _ in heads))


@dataclass
class Cost:
    """What answers have cost: CPU of the first piece and of those after it."""

    first: list[float] = field(default_factory=list)
    rest: float = 0.0
    tokens: int = 0

    def add(self, model: Gemma3Model, prompt: Prompt, constraint: Constraint | None, most: int) -> int:
        """Generate once, and tell how many tokens came."""
        sampling = Sampling(temperature=0, max_tokens=most)
        begun = cpu()
        pieces = model.engine.generate(GenerationRequest(prompt, sampling, constraint=constraint))
        next(pieces)
        after = cpu()
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                count = end.value.usage.completion_tokens
                break
        self.first.append(after - begun)
        self.rest += cpu() - after
        self.tokens += count - 1
        return count

    @property
    def token(self) -> float:
        """Milliseconds of CPU a token."""
        return 1000 * self.rest / max(1, self.tokens)


def cost(model: Gemma3Model, count: int) -> None:
    """A token without a grammar, under Lark and under GBNF, in turns on the same questions."""
    table("under a grammar", "answers", "tokens", "ms a token", "times a free one", "ms to the first", "times a free one")
    for title, choice in (("required", "required"), ("auto", "auto"), ("a JSON answer", None)):
        costs = {"none": Cost(), "lark": Cost(), "gbnf": Cost()}
        for question in questions("simple", count):
            prompt, grammar = _bound(model, question, choice)
            both = Constraint(lark=grammar.lark, gbnf=grammar.gbnf)  # Lark alone is a caller's, and is tried out first
            Cost().add(model, prompt, None, 1)  # the prompt is in the cache from now on
            most = costs["lark"].add(model, prompt, both, 60)
            costs["none"].add(model, prompt, None, most)
            costs["gbnf"].add(model, prompt, Constraint(gbnf=grammar.gbnf), 60)
        free = costs["none"]
        for name, spent in costs.items():
            first, usual = (1000 * sum(c.first) / len(c.first) for c in (spent, free))
            row(f"{title}, {name}", count, spent.tokens, spent.token, spent.token / free.token, first, first / usual)


def _bound(model: Gemma3Model, question: Question, choice: str | None) -> tuple[Prompt, Grammar]:
    if choice is not None:
        grammar = model.format.grammar(question.tools, tool_choice=choice, parallel=False)
        return model.format.render(question.messages, question.tools), grammar
    schema = question.tools[0]["function"]["parameters"]
    return model.format.render(question.messages), answer_grammar(schema, model.format.controls)


def calls(model: Gemma3Model, count: int) -> None:
    """What comes of BFCL's questions: every call and every JSON answer is checked against its schema."""
    table("BFCL", "questions", "valid", "cut at the limit", "invalid", "no call", "right", "seconds of CPU")
    named = lambda q: {"type": "function", "function": {"name": q.name}}  # noqa: E731
    for title, kind, fields in (
        ("required", "simple", lambda q: {"tools": q.tools, "tool_choice": "required"}),
        ("named, of two to four tools", "multiple", lambda q: {"tools": q.tools, "tool_choice": named(q)}),
        ("strict, in auto", "simple", lambda q: {"tools": _strict(q), "max_tokens": 24}),
        ("json_schema", "simple", lambda q: {"response_format": _json_schema(q)}),
    ):
        begun, found = cpu(), Counter[str]()
        for done, question in enumerate(questions(kind, count), 1):
            found.update(_asked(model, question, fields(question)))
            print(f"\r{title}: {done} of {count}, {dict(found)}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        outcomes = (found[name] for name in ("valid", "cut", "invalid", "no call", "right"))
        row(title, count, *outcomes, cpu() - begun)


def _strict(question: Question) -> list[dict[str, Any]]:
    return [{**tool, "function": {**tool["function"], "strict": True}} for tool in question.tools]


def _json_schema(question: Question) -> dict[str, Any]:
    schema = question.tools[0]["function"]["parameters"]
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def _asked(model: Gemma3Model, question: Question, fields: Mapping[str, Any]) -> Iterator[str]:
    """What came of one question, in words that can be counted."""
    try:
        completion = model.run(question.messages, **{"temperature": 0, "max_tokens": MOST, **fields})
    except UnusableAnswer:
        yield "invalid"
        return
    choice = completion.choices[0]
    if "response_format" in fields:
        schema = question.tools[0]["function"]["parameters"]
        whole = choice.finish_reason == "stop"
        yield ("valid" if _fits(schema, choice.message.content or "") else "invalid") if whole else "cut"
        return
    made = [(call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
    yield from _judged(question, made, choice.finish_reason)


def _judged(question: Question, made: list[tuple[str, str]], finish: str | None) -> Iterator[str]:
    names = {tool["function"]["name"] for tool in question.tools}
    if not made:
        yield "cut" if finish == "length" else "no call"
        return
    good = all(name in names and _fits(question.schema(name), arguments) for name, arguments in made)
    yield "valid" if good else "invalid"
    if good and len(made) == 1 and question.answered_by(made[0][0], json.loads(made[0][1])):
        yield "right"


def _fits(schema: Mapping[str, Any], text: str) -> bool:
    try:
        return jsonschema_rs.is_valid(dict(schema), json.loads(text))
    except ValueError:
        return False


def loop(model: Gemma3Model, steps: int = 10) -> None:
    """A tool loop that grows by a call and its result: what of each prompt is read again."""
    table("step of a tool loop", "prompt tokens", "read", "from the cache", "seconds of CPU")
    question = questions("simple", 1)[0]
    name = question.tools[0]["function"]["name"]
    messages = [*question.messages]
    for step in range(1, steps + 1):
        begun = cpu()
        usage = model.run(messages, tools=question.tools, max_tokens=1, temperature=0).usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        cached = usage.prompt_tokens_details.cached_tokens or 0
        row(step, usage.prompt_tokens, usage.prompt_tokens - cached, cached, cpu() - begun)
        call = {"id": f"c{step}", "type": "function", "function": {"name": name, "arguments": to_json({"base": step})}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{step}", "content": f"unknown, try {step + 1}"})


def at_once(model: Gemma3Model) -> None:
    """The same eight requests one after the other, two at once and eight at once, on two slots."""
    table("requests at once", "valid", "cut at the limit", "invalid", "seconds", "seconds of CPU")
    asked = questions("simple", 8)
    fields = {"tool_choice": "required", "max_tokens": 40}
    for threads in (1, 2, 8):
        begun, wall, found = cpu(), time.perf_counter(), Counter[str]()
        with ThreadPoolExecutor(threads) as pool:
            answers = pool.map(lambda question: [*_asked(model, question, {"tools": question.tools, **fields})], asked)
            for answer in answers:
                found.update(answer)
        row(threads, found["valid"], found["cut"], found["invalid"], time.perf_counter() - wall, cpu() - begun)


def chat(path: Path, model: Gemma3Model, count: int) -> None:
    """llama-server's own chat endpoint beside this library, on the same weights and questions, a call required."""
    table("required, on the same questions", "questions", "valid", "cut at the limit", "invalid", "no call", "right")
    asked, found = questions("simple", count), Counter[str]()
    for question in asked:
        found.update(_asked(model, question, {"tools": question.tools, "tool_choice": "required"}))
    row("gemma_tools", count, *(found[name] for name in ("valid", "cut", "invalid", "no call", "right")))
    for title, template in (("llama-server, as the file has it", ""), ("llama-server, Gemma 3's template", TEMPLATE)):
        found = Counter[str]()
        with llama_server(path, slots=1, context=2048, chat_template=template) as url:
            for question in asked:
                body = {"messages": question.messages, "tools": question.tools, "tool_choice": "required"}
                answer = httpx.post(
                    f"{url}/v1/chat/completions", json={**body, "temperature": 0, "max_tokens": THEIRS}, timeout=None
                ).json()
                found.update(_theirs(question, answer))
        row(title, count, *(found[name] for name in ("valid", "cut", "invalid", "no call", "right")))


def evaluation(path: Path, model: Gemma3Model, count: int) -> None:
    """What `gemma-tools bench model --suite bfcl --force --against` prints, against llama-server's own chat endpoint."""
    with llama_server(path, slots=1, context=2048) as url:
        cases = sample(bfcl_cases(), count)
        found = evaluate(model, cases, ways=["force"], against=url, max_tokens=THEIRS, progress=_told)
    print(file=sys.stderr)
    print(f"\n{as_markdown([found])}", flush=True)


def _told(result: Result) -> None:
    print(f"\r{result.case.id}, {result.way}          ", end="", file=sys.stderr, flush=True)


def _theirs(question: Question, answer: Mapping[str, Any]) -> Iterator[str]:
    if "error" in answer:
        yield "invalid"
        return
    choice = answer["choices"][0]
    made = [(call["function"]["name"], call["function"]["arguments"]) for call in choice["message"].get("tool_calls") or ()]
    yield from _judged(question, made, "stop")  # an answer without a call is none, however long it was let run


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--chat", type=int, default=20)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        path = gemma_file(Path(folder))
        if path is None:
            sys.exit("the model is not installed: nox -s real")
        before, begun, wall = memory(), cpu(), time.perf_counter()
        with LlamaCppEngine(path, context=2048, parallel=2, threads=1) as engine:
            loaded = cpu() - begun, time.perf_counter() - wall, memory() - before
            model = Gemma3Model(str(path), engine=engine)
            parts: dict[str, Callable[[], None]] = {
                "load": lambda: load(model, loaded),
                "cost": lambda: cost(model, max(1, options.questions // 10)),
                "calls": lambda: calls(model, options.questions),
                "loop": lambda: loop(model),
                "at-once": lambda: at_once(model),
                "chat": lambda: chat(path, model, options.chat),
                "evaluation": lambda: evaluation(path, model, options.chat),
            }
            versions = ", ".join(f"{name} {version(name)}" for name in ("gemma-tools", "xllamacpp", "bfcl-eval"))
            print(f"{time.strftime('%Y-%m-%d')}, {_processor()}, Python {platform.python_version()}, {versions}")
            for name in options.parts or parts:
                parts[name]()


def load(model: Gemma3Model, loaded: tuple[float, float, int]) -> None:
    """What it costs until the first answer."""
    table("once", "seconds of CPU", "seconds", "MB")
    row("loading the model", *loaded)
    for title, constraint in (
        ("the first answer", None),
        ("the first under Lark", Constraint(lark='%llguidance {}\nstart: "a"')),
    ):
        before, begun, wall = memory(), cpu(), time.perf_counter()
        prompt = model.format.render([{"role": "user", "content": "How high is the tide in Brest?"}])
        Cost().add(model, prompt, constraint, 2)
        row(title, cpu() - begun, time.perf_counter() - wall, memory() - before)
    begun, wall, before = cpu(), time.perf_counter(), memory()
    model.token_counter.count("tide")
    assert model.tokenizer is not None
    model.tokenizer.encode("tide")
    row("the tokenizer", cpu() - begun, time.perf_counter() - wall, memory() - before)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()


if __name__ == "__main__":
    main()
