"""Tools: those of `tools.txt`, which people speak about in several ways, and any number that are made up of words.

Names and parameters of made-up tools can only be copied from their declarations, and what they are for is told by words that
the declaration and the request share, or by words of like meaning.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from values import ENUMS, JSON_TYPES, Values, lines, spoken

Pool = Literal["known", "held out", "held-out verb-noun", "mixed"]

FRAGMENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "city": (("city", "location", "place", "town", "destination"), ("in {}", "for {}", "near {}", "to {}", "at {}")),
    "date": (("date", "day", "when", "start", "until"), ("on {}", "for {}", "from {}", "until {}")),
    "time": (("time", "at", "hour", "start_time"), ("at {}", "from {}", "before {}")),
    "email": (("email", "to", "recipient", "address"), ("to {}", "for {}", "and mail it to {}")),
    "person": (("name", "person", "owner", "user", "guest"), ("for {}", "with {}", "of {}", "owned by {}", "and tell {}")),
    "title": (("title", "label", "heading"), ("called {}", "with the title {}", "named {}")),
    "int": (("count", "limit", "number", "level", "copies", "minutes", "size", "hours", "days", "pages", "people"), ()),
    "number": (("price", "amount", "weight", "speed", "length", "value"), ()),
    "code": (("code", "currency", "symbol", "country"), ("with code {}", "in {}", "code {}")),
    "id": (("id", "order_id", "reference", "ticket"), ("{}", "number {}", "with the id {}", "{}")),
    "word": (("topic", "kind", "type", "category", "material", "color"), ("about {}", "made of {}", "of kind {}", "as {}")),
    "text": (("note", "text", "reason", "description"), ("with note {}", "saying {}", "because {}", "about {}")),
    "sentence": (("message", "content", "comment", "query"), (": {}", "saying: {}", "with the text \"{}\"", "\"{}\"")),
    "slug": (("branch", "key", "service", "file"), ("{}", "named {}", "called {}")),
    "path": (("path", "file", "folder"), ("in {}", "from {}", "to {}", "{}")),
    "url": (("url", "link", "page"), ("at {}", "from {}", "{}")),
    "phone": (("phone", "number", "caller"), ("for {}", "to {}", "with the number {}")),
    "version": (("version", "release"), ("version {}", "at {}", "in version {}")),
    "size": (("size", "format"), ("in {}", "{}", "of {} size")),
    "vehicle": (("vehicle", "by", "transport"), ("by {}", "with the {}")),
    "colour": (("colour", "color", "paint"), ("in {}", "that is {}")),
    "order": (("order", "sorting"), ("{}", "in {} order")),
    "urgency": (("urgency", "priority"), ("with {} priority", "as {}")),
    "bool": (("active", "force", "silent", "public"), ()),
    "list": (("items", "names", "tags"), ("with {}", "for {}")),
}  # fmt: skip
"""What parameters of a kind of value are called, and how people say their values."""

DESCRIPTIONS = (
    "{3} a {2}.",
    "{1} the {2}.",
    "{0} {2}",
    "{3} {2}s.",
    "Use this to {0} a {2}.",
    "{3} a {2} for the user.",
    "{3} the {2}.",
)
USUAL = ("get_weather", "get_time", "get_forecast", "set_alarm", "get_system_info", "execute_python")
"""The tools of the README and of many examples; a quarter of the known tools in training are these."""
LIKE = 0.5
"""How many tools are chosen because they are like the first: the model must learn to tell them apart."""
REQUESTS = ("{} the {}", "{} a {}", "{} my {}", "{} {}", "I want to {} the {}", "{} this {}")
"""How a made-up tool is described, and asked for."""
OBJECTS = (
    "{0} {{0}}",
    "{0} the {{0}}",
    "I want to {0} {{0}}",
    "{0} {1} {{0}}",
    "{0} the {1} {{0}}",
    "{0} my {1} {{0}}",
    "{0} {{0}}, the {1}",
)
"""How it is asked for if its first parameter says which thing is meant."""
OBJECT_KINDS = ("word", "word", "title", "person", "id", "slug", "path", "zip")


@dataclass(frozen=True)
class Parameter:
    """A parameter under one of several names; one that is not `required` may be left unsaid."""

    names: tuple[str, ...]
    kind: str
    description: str
    required: bool = True


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
            schema: dict[str, Any] = {"type": JSON_TYPES.get(parameter.kind, "string")}
            if parameter.description:
                schema["description"] = parameter.description
            if parameter.kind == "list":
                schema["items"] = {"type": "string"}
            if parameter.kind in ENUMS:
                schema["enum"] = list(ENUMS[parameter.kind])
            properties[parameter.names[0]] = schema
        parameters: dict[str, Any] = {"type": "object", "properties": properties}
        if required := [parameter.names[0] for parameter in self.parameters if parameter.required]:
            parameters["required"] = required
        return {
            "type": "function",
            "function": {"name": self.names[0], "description": self.description, "parameters": parameters},
        }


def same(tool: Tool, other: Tool) -> bool:
    """Whether two tools do the same: a request may be meant for either."""
    return tool.description == other.description or not set(tool.phrases).isdisjoint(other.phrases)


def held_out(text: str) -> bool:
    """Whether a wording, or a pair of verb and noun, is kept from training."""
    return hashlib.md5(text.encode()).digest()[0] < 30


@cache
def read_tools(file: str) -> tuple[Tool, ...]:
    """The tools of a file such as `tools.txt`."""
    blocks: list[list[str]] = []
    for line in lines(file):
        if line.startswith(" "):
            blocks[-1].append(line.strip())
        else:
            blocks.append([line])
    return tuple(map(_tool, blocks))


def _tool(block: list[str]) -> Tool:
    names, description, *rest = block
    parameters = []
    for line in rest:
        if not line.startswith(">"):
            aliases, _, about = line.partition(": ")
            kind, _, text = about.partition(", ")
            parameters.append(Parameter(tuple(aliases.rstrip("?").split(", ")), kind, text, not aliases.endswith("?")))
    phrases = tuple(line[2:] for line in rest if line.startswith(">"))
    return Tool(tuple(names.split(", ")), description, tuple(parameters), phrases)


def _third_person(verb: str) -> str:
    """As in a description: "Looks for"."""
    first, *rest = verb.capitalize().split(" ")
    if first[-1] == "y" and first[-2] not in "aeiou":
        first = first[:-1] + "ies"
    else:
        first += "es" if first.endswith(("s", "sh", "ch", "x", "z")) else "s"
    return " ".join([first, *rest])


class Tools(Values):
    """Draws tools, and requests for them."""

    def tool(self, pool: Pool) -> Tool:
        """A tool with one of its names."""
        if pool == "mixed":
            if self.rng.random() < 0.5:
                return self._made_up(held=False)
            tool = self._known()
            return self._renamed(tool) if self.rng.random() < 0.3 else tool
        if pool == "held-out verb-noun":
            return self._made_up(held=True)
        return self._known() if pool == "known" else self._named(self.rng.choice(read_tools("tools_held_out.txt")))

    def tools(self, pool: Pool, count: int) -> list[Tool]:
        """Tools that differ in name and description; `LIKE` of them are like the first."""
        chosen: list[Tool] = []
        while len(chosen) < count:
            like = chosen and self.rng.random() < LIKE
            tool = self._like(chosen[0], pool) if like else self.tool(pool)
            if not any(tool.names[0] == other.names[0] or same(tool, other) for other in chosen):
                chosen.append(tool)
        return chosen

    def _like(self, other: Tool, pool: Pool) -> Tool:
        """A tool with a kind of parameter that another has, if one comes soon."""
        kinds = {parameter.kind for parameter in other.parameters}
        for _ in range(12):
            tool = self.tool(pool)
            if kinds & {parameter.kind for parameter in tool.parameters}:
                break
        return tool

    def request(self, tool: Tool) -> tuple[str, dict[str, Any]]:
        """What a person says to have a tool called, and the arguments that are meant."""
        values = [None if parameter.kind == "unsaid" else self.value(parameter.kind) for parameter in tool.parameters]
        test = [phrase for phrase in tool.phrases if held_out(phrase)]
        train = [phrase for phrase in tool.phrases if not held_out(phrase)]
        phrase = self.rng.choice((test or train) if self.split == "test" else (train or test))
        said = zip(tool.parameters, values, strict=True)
        arguments = {parameter.names[0]: value for i, (parameter, value) in enumerate(said) if f"{{{i}}}" in phrase}
        return phrase.format(*(self._said(*said) for said in zip(tool.parameters, values, strict=True))), arguments

    def _said(self, parameter: Parameter, value: Any) -> str:
        """A value as a person writes it: one of an enum may have capitals, which its declaration has not."""
        if parameter.kind in ENUMS and self.rng.random() < 0.2:
            return self.rng.choice((value.upper(), value.capitalize()))
        return spoken(value)

    def _known(self) -> Tool:
        tools = read_tools("tools.txt")
        if self.split == "train" and self.rng.random() < 0.25:
            tools = tuple(tool for tool in tools if tool.names[0] in USUAL)
        return self._named(self.rng.choice(tools))

    def _named(self, tool: Tool) -> Tool:
        parameters = tuple(replace(p, names=(self.rng.choice(p.names),)) for p in tool.parameters)
        return replace(tool, names=(self.rng.choice(tool.names),), parameters=parameters)

    def _renamed(self, tool: Tool) -> Tool:
        """The same tool under names that exist nowhere else."""
        names: dict[str, None] = {}
        while len(names) < len(tool.parameters):
            names.setdefault(self._identifier())
        parameters = tuple(replace(p, names=(name,)) for p, name in zip(tool.parameters, names, strict=True))
        return replace(tool, names=(self._joined([self.mixed_ascii(), self._identifier()]),), parameters=parameters)

    def mixed_ascii(self) -> str:
        """A word that may exist, for a name."""
        return self.noun() if self.rng.random() < 0.5 else self.invented_word()

    def _identifier(self) -> str:
        return self._joined([self.mixed_ascii() for _ in range(self.rng.choice((1, 1, 1, 2)))])

    def _joined(self, parts: list[str]) -> str:
        if self.rng.random() < 0.15:
            return parts[0] + "".join(part.capitalize() for part in parts[1:])
        return ("_" if self.rng.random() < 0.9 else "-").join(parts)

    def _made_up(self, *, held: bool) -> Tool:
        rng = self.rng
        while True:
            group = self.word("groups").split("/") if rng.random() < 0.75 else [self.word("tool_verbs")]
            said = rng.choice(group)
            verb = said if rng.random() < 0.6 else rng.choice(group)
            noun = self.noun() if rng.random() < 0.7 else self.invented_word()
            if held_out(f"{verb} {noun}") == held:
                break
        said, does, thing = said.replace("_", " "), verb.replace("_", " "), noun
        if rng.random() < 0.2:
            thing = f"{self.word('adjectives')} {noun}"
        request, about = rng.choice(REQUESTS).format(said, thing), None
        if rng.random() < 0.4:
            request, about = rng.choice(OBJECTS).format(said, thing), self._object(noun)
        parameters, fragments = self._parameters(rng.choice((0, 1, 1, 1, 2, 2, 2, 3)) - bool(about), about)
        return Tool(
            names=(self._name_of(verb, thing.replace(" ", "_")),),
            description=rng.choice(DESCRIPTIONS).format(does, does.capitalize(), thing, _third_person(does)),
            parameters=parameters,
            phrases=(request + fragments,),
        )

    def _name_of(self, verb: str, noun: str) -> str:
        drawn = self.rng.random()
        if drawn < 0.12:
            return self._joined([self.invented_word() for _ in range(self.rng.choice((1, 2)))])
        if drawn < 0.2:
            return self._joined([self.invented_word(), verb, noun])
        return self._joined([verb, noun] if drawn < 0.75 else [noun, verb])

    def _object(self, noun: str) -> Parameter:
        """The parameter that says which thing is meant."""
        name = self.rng.choice((noun, noun, f"{noun}_id", f"{noun}_name", "name", "id", "which"))
        kind = "id" if name.endswith("id") else self.rng.choice(OBJECT_KINDS)
        return Parameter((name,), kind, self.rng.choice(("", f"The {noun}", f"The {name.replace('_', ' ')}", f"Which {noun}")))

    def _parameters(self, count: int, first: Parameter | None = None) -> tuple[tuple[Parameter, ...], str]:
        """Parameters after the first, and the fragments by which a request says them, in any order."""
        rng = self.rng
        parameters = {first.names[0]: first} if first else {}
        fragments = []
        for kind in rng.sample(list(FRAGMENTS), max(count, 0)):
            names, phrases = FRAGMENTS[kind]
            name = rng.choice(names) if rng.random() < 0.6 else self._identifier()
            if name in parameters:
                continue
            unsaid = rng.random() < 0.08
            place = f"{{{len(parameters)}}}"
            word = name.replace("_", " ")
            plain = (
                f"with {word} {{}}",
                f"{word} {{}}",
                f"and {word} {{}}",
                f"with a {word} of {{}}",
                f"{word}: {{}}",
                f"{word}={{}}",
                *((f"{{}} {word}", f"for {{}} {word}", f"{{}} {word}") if kind in ("int", "number") else ()),
            )
            phrase = rng.choice(phrases if phrases and name in names and rng.random() < 0.7 else plain)
            if not unsaid:
                fragments.append(phrase.replace("{}", place))
            about = rng.choice(
                (f"The {word}", f"{word.capitalize()}", f"The {word} to use", f"The {kind}" if name not in names else "", "")
            )
            parameters[name] = Parameter((name,), kind, about, required=not unsaid and rng.random() < 0.85)
        rng.shuffle(fragments)
        return tuple(parameters.values()), "".join(part if part.startswith(":") else f" {part}" for part in fragments)
