"""Made-up conversations with tools, as OpenAI messages, and what a model is to learn from them.

Everything is drawn from a `random.Random`, so a seed gives the same examples again. About a sixth of all values, chosen by a
hash, belongs to the test split and is never trained on: a model that gets those right copies, it does not remember.
"""

from __future__ import annotations

import hashlib
import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from gemma_tools.formats import get_format

HERE = Path(__file__).parent
Split = Literal["train", "test"]
Family = Literal["functiongemma", "gemma4"]
Mode = Literal["call", "two calls", "no tool fits", "small talk", "answer", "next request"]
Pool = Literal["known", "held out", "verb-noun", "held-out verb-noun", "invented", "mixed"]

JSON_TYPES = {"int": "integer", "number": "number", "bool": "boolean", "list": "array"}
"""The JSON type of a kind of value; all other kinds are strings."""

WAITS = {"functiongemma": "<start_function_response>", "gemma4": "<|tool_response>"}
"""What a model writes after its calls, when it waits for their results."""

DEVELOPER_TEXTS = {
    "functiongemma": ("You are a model that can do function calling with the following functions",),
    "gemma4": (None, "You are a helpful assistant."),
}
OPENINGS = ("", "", "", "please ", "can you ", "could you please ", "hey, ", "I would like you to ")
CLOSINGS = ("", "", "", ".", " please", " thanks", "!")
SMALL_TALK = {
    "hello": "Hello! How can I help you?",
    "hi there": "Hello! How can I help you?",
    "good morning": "Hello! How can I help you?",
    "thank you": "You are welcome!",
    "thanks a lot": "You are welcome!",
    "who are you?": "I am a tiny Gemma test model.",
    "what can you do?": "I can call the tools you give me.",
    "bye": "Goodbye!",
}
NO_TOOL_FITS = "I cannot do that with the tools I have."
RESULT_FIELDS = {
    "temperature": "number",
    "status": "word",
    "price": "number",
    "result": "text",
    "total": "number",
    "condition": "word",
    "count": "int",
    "id": "id",
    "message": "text",
    "distance": "number",
}
VERB_NOUN_PARAMETERS = {
    "city": ("city", "in"),
    "date": ("date", "on"),
    "time": ("time", "at"),
    "email": ("email", "for"),
    "name": ("person", "with"),
    "owner": ("person", "owned by"),
    "title": ("title", "called"),
    "count": ("int", "with count"),
    "limit": ("int", "up to"),
    "price": ("number", "at price"),
    "code": ("code", "with code"),
    "id": ("id", "number"),
    "topic": ("word", "about"),
    "color": ("word", "with color"),
    "note": ("text", "with note"),
    "weight": ("number", "of weight"),
    "speed": ("number", "at speed"),
    "level": ("int", "at level"),
}
"""Parameters of the tools that are made of a verb and a noun: the kind of value, and how people say it."""


@dataclass(frozen=True)
class Parameter:
    """A parameter under one of several names."""

    names: tuple[str, ...]
    kind: str
    description: str


@dataclass(frozen=True)
class Tool:
    """A tool under one of several names; `phrases` are what people say, `{0}` being the first parameter's value."""

    names: tuple[str, ...]
    description: str
    parameters: tuple[Parameter, ...]
    phrases: tuple[str, ...]

    def declared(self) -> dict[str, Any]:
        """The tool as OpenAI code declares it, under its first names."""
        properties = {}
        for parameter in self.parameters:
            schema: dict[str, Any] = {"type": JSON_TYPES.get(parameter.kind, "string"), "description": parameter.description}
            if parameter.kind == "list":
                schema["items"] = {"type": "string"}
            properties[parameter.names[0]] = schema
        parameters = {"type": "object", "properties": properties, "required": list(properties)}
        return {
            "type": "function",
            "function": {"name": self.names[0], "description": self.description, "parameters": parameters},
        }


@dataclass(frozen=True)
class Example:
    """A conversation, and the reply that is right; `target` is the same as text of the family's format."""

    family: Family
    mode: Mode
    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...]
    reply: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The text that the model is given."""
        return get_format(self.family).render(self.messages, self.tools).text

    @property
    def target(self) -> str:
        """The text that the model is to write, up to the token that ends its turn."""
        if not self.reply.get("tool_calls"):
            return str(self.reply["content"]) + {"functiongemma": "<end_of_turn>", "gemma4": "<turn|>"}[self.family]
        whole = get_format(self.family).render([*self.messages, self.reply], self.tools, add_generation_prompt=False).text
        return whole[len(self.prompt) :].removesuffix(WAITS[self.family]) + WAITS[self.family]


@cache
def words() -> dict[str, tuple[str, ...]]:
    """The lists of `words.txt` by name."""
    lists: dict[str, list[str]] = {}
    for line in _lines("words.txt"):
        if line.endswith(":"):
            current = lists.setdefault(line[:-1], [])
        else:
            current.extend(line.split())
    return {name: tuple(values) for name, values in lists.items()}


@cache
def read_tools(file: str) -> tuple[Tool, ...]:
    """The tools of a file such as `tools.txt`."""
    blocks: list[list[str]] = []
    for line in _lines(file):
        if line.startswith(" "):
            blocks[-1].append(line.strip())
        else:
            blocks.append([line])
    return tuple(map(_tool, blocks))


def _lines(file: str) -> Iterator[str]:
    text = (HERE / file).read_text(encoding="utf-8")
    return (line for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _tool(block: list[str]) -> Tool:
    names, description, *rest = block
    parameters = []
    for line in rest:
        if not line.startswith(">"):
            aliases, _, about = line.partition(": ")
            kind, _, text = about.partition(", ")
            parameters.append(Parameter(tuple(aliases.split(", ")), kind, text))
    phrases = tuple(line[2:] for line in rest if line.startswith(">"))
    return Tool(tuple(names.split(", ")), description, tuple(parameters), phrases)


def in_test_split(value: object) -> bool:
    """Whether a value is kept from training."""
    return hashlib.md5(f"value {value}".encode()).digest()[0] < 40


def verb_noun_held_out(verb: str, noun: str) -> bool:
    """Whether a pair of verb and noun is kept from training."""
    return hashlib.md5(f"{verb} {noun}".encode()).digest()[0] < 30


class Source:
    """Draws values, tools and whole examples of one split from a random generator."""

    def __init__(self, rng: random.Random, split: Split = "train") -> None:
        self.rng = rng
        self.split = split

    def value(self, kind: str) -> Any:
        """A value of a kind, from this split; a bool or a list is made of what is in it."""
        if kind == "bool":
            return self.rng.random() < 0.5
        if kind == "list":
            return [self.value("word") for _ in range(self.rng.randint(1, 3))]
        for _ in range(400):
            value = KINDS[kind](self)
            if in_test_split(value) == (self.split == "test"):
                break
        return value

    def word(self, name: str) -> str:
        """A word of one of the lists."""
        return self.rng.choice(words()[name])

    def invented_word(self, *, syllables: tuple[int, int] = (2, 3)) -> str:
        """A word that does not exist."""
        if self.rng.random() < 0.15:
            return "".join(self.rng.choices(string.ascii_lowercase, k=self.rng.randint(3, 7)))
        return "".join(self.word("syllables") for _ in range(self.rng.randint(*syllables)))

    def tool(self, pool: Pool) -> Tool:
        """A tool with one of its names; in the mixed pool a few get names that exist nowhere else."""
        if pool == "mixed":
            chosen = self.rng.choices(("known", "verb-noun", "invented"), (0.65, 0.175, 0.175))[0]
            tool = self.tool(chosen)
            return self._renamed(tool) if chosen == "known" and self.rng.random() < 0.12 else tool
        if pool in ("known", "held out"):
            tool = self.rng.choice(read_tools("tools.txt" if pool == "known" else "tools_held_out.txt"))
        else:
            tool = self._verb_noun_tool(pool)
        parameters = tuple(replace(p, names=(self.rng.choice(p.names),)) for p in tool.parameters)
        return replace(tool, names=(self.rng.choice(tool.names),), parameters=parameters)

    def tools(self, pool: Pool, count: int) -> list[Tool]:
        """Tools that differ in name and description."""
        chosen: dict[str, Tool] = {}
        while len(chosen) < count:
            tool = self.tool(pool)
            if all(tool.names[0] != other.names[0] for other in chosen.values()):
                chosen.setdefault(tool.description, tool)
        return list(chosen.values())

    def _renamed(self, tool: Tool) -> Tool:
        names = {self.invented_word() for _ in tool.parameters}
        if len(names) < len(tool.parameters):
            return tool
        parameters = tuple(replace(p, names=(name,)) for p, name in zip(tool.parameters, sorted(names), strict=True))
        return replace(tool, names=(f"{self.invented_word()}_{self.word('tool_nouns')}",), parameters=parameters)

    def _verb_noun_tool(self, pool: Pool) -> Tool:
        while True:
            verb = self.word("tool_verbs")
            noun = self.invented_word() if pool == "invented" else self.word("tool_nouns")
            if pool == "invented" or verb_noun_held_out(verb, noun) == (pool == "held-out verb-noun"):
                break
        chosen = self.rng.sample(list(VERB_NOUN_PARAMETERS.items()), self.rng.choice((1, 1, 2, 2, 3)))
        does = verb.capitalize()
        said = "".join(f" {phrase} {{{i}}}" for i, (_, (_, phrase)) in enumerate(chosen))
        return Tool(
            names=(f"{verb}_{noun}" if self.rng.random() < 0.7 else f"{noun}_{verb}",),
            description=self.rng.choice((f"{does}s a {noun}.", f"{does} the {noun}.", f"{verb} {noun}")),
            parameters=tuple(Parameter((name,), kind, f"The {name}") for name, (kind, _) in chosen),
            phrases=(f"{verb} the {noun}{said}", f"{verb} a {noun}{said}"),
        )

    def request(self, tool: Tool) -> tuple[str, dict[str, Any]]:
        """What a person says to have a tool called, and the arguments that are meant."""
        arguments = {parameter.names[0]: self.value(parameter.kind) for parameter in tool.parameters}
        return self.rng.choice(tool.phrases).format(*map(_spoken, arguments.values())), arguments

    def polite(self, text: str) -> str:
        """The same, as people dress it up."""
        text = self.rng.choice(OPENINGS) + text + self.rng.choice(CLOSINGS)
        return text[0].upper() + text[1:] if self.rng.random() < 0.4 else text

    def result(self) -> tuple[str, str]:
        """A tool's result, as plain text or JSON, and the sentence that tells it."""
        if self.rng.random() < 0.35:
            value = _spoken(self.value(self.rng.choice(("text", "number", "word", "id"))))
            return value, f"The result is {value}."
        fields = sorted(self.rng.sample(list(RESULT_FIELDS), self.rng.choice((1, 1, 2))))
        values = {field: self.value(RESULT_FIELDS[field]) for field in fields}
        sentence = " and the ".join(f"{field} is {_spoken(value)}" for field, value in values.items())
        return json.dumps(values), f"The {sentence}."

    def example(
        self, *, family: Family | None = None, mode: Mode | None = None, pool: Pool = "mixed", tools: int | None = None
    ) -> Example:
        """One example; what is not said is drawn."""
        rng = self.rng
        family = family or rng.choices(("functiongemma", "gemma4"), (0.6, 0.4))[0]
        mode = mode or rng.choices(tuple(MODES), (0.52, 0.15, 0.08, 0.05, 0.12, 0.08))[0]
        offered = self.tools(pool, tools or rng.choices((1, 2, 3, 4), (0.4, 0.3, 0.2, 0.1))[0])
        messages, reply = MODES[mode](self, offered)
        if text := rng.choice(DEVELOPER_TEXTS[family]):
            messages.insert(0, {"role": "system", "content": text})
        return Example(family, mode, tuple(messages), tuple(tool.declared() for tool in offered), reply)


def _spoken(value: Any) -> str:
    """A value as people say it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return value[0] if len(value) == 1 else f"{', '.join(value[:-1])} and {value[-1]}"
    return str(value)


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _calls(*calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    listed = [
        {"id": f"call_{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "content": None, "tool_calls": listed}


Turn = tuple[list[dict[str, Any]], dict[str, Any]]
"""The messages of an example, and the reply to them."""


def _one_call(source: Source, tools: list[Tool]) -> Turn:
    tool = source.rng.choice(tools)
    text, arguments = source.request(tool)
    return [_user(source.polite(text))], _calls((tool.names[0], arguments))


def _two_calls(source: Source, tools: list[Tool]) -> Turn:
    first, second = source.rng.choice(tools), source.rng.choice(tools)
    text, arguments = source.request(first)
    more, more_arguments = source.request(second)
    text = text.rstrip("?") + source.rng.choice((" and ", " and also ", ", then ")) + more
    return [_user(source.polite(text))], _calls((first.names[0], arguments), (second.names[0], more_arguments))


def _no_tool_fits(source: Source, tools: list[Tool]) -> Turn:
    taken = {tool.description for tool in tools}
    while (other := source.tool("mixed")).description in taken:
        pass
    return [_user(source.polite(source.request(other)[0]))], _says(NO_TOOL_FITS)


def _small_talk(source: Source, tools: list[Tool]) -> Turn:
    text, answer = source.rng.choice(list(SMALL_TALK.items()))
    return [_user(text.capitalize() if source.rng.random() < 0.5 else text)], _says(answer)


def _answer(source: Source, tools: list[Tool]) -> Turn:
    messages, call = _one_call(source, tools)
    result, sentence = source.result()
    return [*messages, call, {"role": "tool", "tool_call_id": "call_0", "content": result}], _says(sentence)


def _next_request(source: Source, tools: list[Tool]) -> Turn:
    messages, answer = _answer(source, tools)
    more, call = _one_call(source, tools)
    return [*messages, answer, *more], call


MODES: dict[Mode, Callable[[Source, list[Tool]], Turn]] = {
    "call": _one_call,
    "two calls": _two_calls,
    "no tool fits": _no_tool_fits,
    "small talk": _small_talk,
    "answer": _answer,
    "next request": _next_request,
}


def _name(source: Source, listed: str, *, known: float) -> str:
    return source.word(listed) if source.rng.random() < known else source.invented_word().capitalize()


def _city(source: Source) -> str:
    city = _name(source, "cities", known=0.45)
    return f"{city} {source.invented_word().capitalize()}" if source.rng.random() < 0.08 else city


def _person(source: Source) -> str:
    name = _name(source, "names", known=0.5)
    return f"{name} {source.invented_word().capitalize()}" if source.rng.random() < 0.25 else name


def _email(source: Source) -> str:
    rng = source.rng
    local = _name(source, "names", known=0.5).lower()
    tail = rng.choice(("", "", f".{source.invented_word()}", str(rng.randint(1, 99))))
    domain = source.invented_word() if rng.random() < 0.5 else source.word("domains")
    return f"{local}{tail}@{domain}.{rng.choice(('com', 'org', 'net', 'io'))}"


def _date(source: Source) -> str:
    rng = source.rng
    drawn = rng.random()
    if drawn < 0.4:
        return f"{rng.randint(2020, 2031)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    if drawn < 0.7:
        return f"{source.word('months')} {rng.randint(1, 28)}"
    return source.word("days")


def _time(source: Source) -> str:
    rng = source.rng
    if rng.random() < 0.6:
        return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
    return f"{rng.randint(1, 12)} {rng.choice(('am', 'pm'))}"


def _number(source: Source) -> int | float:
    rng = source.rng
    if rng.random() < 0.5:
        return rng.randint(1, 999)
    value = round(rng.uniform(0, 10 ** rng.randint(1, 3)), rng.choice((1, 2)))
    return int(value) if value.is_integer() else value


def _text(source: Source) -> str:
    drawn = source.rng.random()
    if drawn < 0.5:
        return f"{source.word('verbs')} the {source.word('adjectives')} {source.word('nouns')}"
    if drawn < 0.75:
        return f"{source.word('adjectives')} {source.word('nouns')} {source.invented_word()}"
    return " ".join(_word(source) for _ in range(source.rng.randint(2, 4)))


def _word(source: Source) -> str:
    return source.word("nouns") if source.rng.random() < 0.5 else source.invented_word()


def _code(source: Source) -> str:
    if source.rng.random() < 0.6:
        return source.word("currencies")
    return "".join(source.rng.choices(string.ascii_uppercase, k=3))


def _id(source: Source) -> str:
    letters = "".join(source.rng.choices(string.ascii_uppercase, k=2))
    return letters + "-" + "".join(source.rng.choices(string.digits, k=source.rng.randint(3, 5)))


KINDS: dict[str, Callable[[Source], Any]] = {
    "city": _city,
    "person": _person,
    "email": _email,
    "date": _date,
    "time": _time,
    "int": lambda source: source.rng.randint(1, 10 ** source.rng.randint(1, 4)),
    "number": _number,
    "text": _text,
    "word": _word,
    "title": lambda source: " ".join(_word(source).capitalize() for _ in range(source.rng.randint(1, 3))),
    "code": _code,
    "id": _id,
}
"""How a value of each kind is made."""


def main() -> None:
    """Show a few examples."""
    source = Source(random.Random(1))
    for mode in MODES:
        example = source.example(mode=mode)
        print(f"{mode}\n{example.prompt}\n=> {example.target}\n")


if __name__ == "__main__":
    main()
