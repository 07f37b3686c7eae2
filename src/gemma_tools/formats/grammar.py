"""Grammars of valid calls in each format's own notation, as GBNF for llama.cpp and as Lark for llguidance.

An engine that generates under such a grammar can only write calls of declared tools whose arguments have the shape of the
tools' schemas. `Grammar.losses` names what of the schemas the grammar does not hold; docs/grammar.md lists what it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

from gemma_tools.coerce import quote_json
from gemma_tools.formats.base import Opens
from gemma_tools.formats.dialect import Dialect
from gemma_tools.formats.grammars.charset import ALL, Ranges, each, minus
from gemma_tools.formats.grammars.containers import Brackets
from gemma_tools.formats.grammars.gbnf import print_gbnf
from gemma_tools.formats.grammars.lark import print_lark
from gemma_tools.formats.grammars.nodes import EMPTY, Chars, Free, Lit, Node, Rules, Token, alt, optional, repeat, seq
from gemma_tools.formats.grammars.notation import Brace, Json, Keywords, Notation, Python
from gemma_tools.formats.grammars.schema import Bounds, SchemaReader
from gemma_tools.request import RawChoice, RawTool, Tool, validate_choice, validate_tools

MOST_CALLS: Final = 64
"""Calls in one reply, so that a model cannot go on calling for ever."""


@dataclass(frozen=True)
class Grammar:
    """What a reply may be. `gbnf` and `lark` say the same in the notations of llama.cpp and of llguidance.

    Control tokens are token literals in both (`<escape>`): the engine's model must have them in its vocabulary.
    """

    rules: Mapping[str, Node] = field(repr=False)
    """The rules by name, `root` first, as the printers take them."""
    controls: tuple[str, ...] = field(repr=False)
    losses: tuple[str, ...] = ()
    """What of the tools' schemas is not held, one sentence each."""

    @cached_property
    def gbnf(self) -> str:
        """The grammar for llama.cpp. Its start rule is `root`."""
        return print_gbnf(self.rules, self.controls)

    @cached_property
    def lark(self) -> str:
        """The grammar for llguidance; its first line tells llama.cpp what it is. Its start rule is `start`."""
        return print_lark(self.rules)


def brace_grammar(
    dialect: Dialect,
    tools: Sequence[RawTool],
    *,
    tool_choice: RawChoice = "auto",
    parallel: bool = True,
    opens: Opens = "content",
    bounds: Bounds,
) -> Grammar:
    """The grammar of FunctionGemma's or Gemma 4's replies.

    Where the family thinks, a thought may come first; with `opens="reasoning"` the reply begins inside one. "auto" allows
    text before and after the calls, "required" only calls, and "none" only text. The opener of a tool's response, with which
    the model asks for the results, may follow the last call.

    Raises:
        InvalidRequest: `tools` or `tool_choice` are not OpenAI's.
    """
    draft = _Draft(dialect.tokens, tools, tool_choice)
    notation = Brace(draft.rules, (dialect.delimiter, *dialect.stop), dialect.delimiter)
    text = draft.text()
    calls = [
        seq(Token(dialect.start), draft.call(tool, notation, notation, f"call:{tool.name}{{", "}", bounds), Token(dialect.end))
        for tool in draft.tools
    ]
    call = draft.rules.add("call", alt(*calls)) if calls else EMPTY
    several = repeat(call, 1, MOST_CALLS if parallel else 1)
    waiting = optional(Token(dialect.stop[-1]))
    reply: Node = text
    if draft.mode == "required":
        reply = seq(several, waiting)
    elif calls:
        reply = seq(text, optional(seq(several, alt(waiting, text))))
    if dialect.channel is not None:
        opener, closer = dialect.channel
        inside = seq(text, Token(closer))
        reply = seq(inside if opens == "reasoning" else optional(seq(Token(opener), Lit("thought\n"), inside)), reply)
    return draft.grammar(reply)


def gemma3_grammar(
    style: Literal["pythonic", "json"],
    controls: tuple[str, ...],
    tools: Sequence[RawTool],
    *,
    tool_choice: RawChoice = "auto",
    parallel: bool = True,
    bounds: Bounds,
) -> Grammar:
    """The grammar of Gemma 3's replies in one tool style; `controls` are the spellings of its control tokens.

    Its calls are text like any other. With "auto" a reply is either calls from its first character to its last, or text that
    does not begin as calls do: with a square bracket, or in JSON with any bracket.

    Raises:
        InvalidRequest: `tools` or `tool_choice` are not OpenAI's.
    """
    draft = _Draft(controls, tools, tool_choice)
    most = MOST_CALLS - 1 if parallel else 0
    if style == "pythonic":
        values, keys = Python(draft.rules, controls), Keywords(draft.rules, controls)
        calls = [draft.call(tool, values, keys, f"{tool.name}(", ")", bounds) for tool in draft.tools]
        call = draft.rules.add("call", alt(*calls)) if calls else EMPTY
        written = seq(Lit("["), call, repeat(seq(Lit(", "), call), 0, most), Lit("]"))
    else:
        json = Json(draft.rules, controls)
        opening = '{{"name": {}, "parameters": {{'
        calls = [draft.call(tool, json, json, opening.format(quote_json(tool.name)), "}}", bounds) for tool in draft.tools]
        call = draft.rules.add("call", alt(*calls)) if calls else EMPTY
        several = seq(Lit("["), call, repeat(seq(Lit(", "), call), 1, most), Lit("]")) if most else EMPTY
        written = alt(call, several) if most else call
    if draft.mode == "required":
        return draft.grammar(written)
    if not calls:
        return draft.grammar(draft.text())
    return draft.grammar(alt(written, draft.text(not_first=each("[" if style == "pythonic" else "[{"))))


ANSWER_BOUNDS: Final = Bounds(string=4096, items=256)
"""An answer is longer than a call's arguments, and still has an end."""


def answer_grammar(schema: Mapping[str, Any], controls: tuple[str, ...], *, bounds: Bounds = ANSWER_BOUNDS) -> Grammar:
    """The grammar of answers that are JSON, without white space that says nothing, and fit `schema`.

    `controls` are the spellings of the format's control tokens, which no string holds.
    """
    draft = _Draft(controls, (), "none")
    return draft.grammar(draft.value(schema, bounds))


class _Draft:
    """A grammar while it is made."""

    def __init__(self, controls: tuple[str, ...], tools: Sequence[RawTool], tool_choice: RawChoice) -> None:
        declared = validate_tools(tools)
        choice = validate_choice(tool_choice, declared)
        self.mode = choice.mode
        self.tools: list[Tool] = []
        if choice.mode != "none":
            self.tools += [tool for tool in declared if choice.names is None or tool.name in choice.names]
        self.rules = Rules()
        self._root = self.rules.reserve("root")
        self._controls = controls
        self._losses: dict[str, None] = {}

    def call(self, tool: Tool, values: Notation, keys: Notation, opening: str, closing: str, bounds: Bounds) -> Node:
        """One tool's name and arguments; `keys` writes the names of the arguments."""
        reader = SchemaReader(tool.parameters or {}, values, bounds, self._losses)
        return reader.arguments(tool.name, Brackets(Lit(opening), Lit(closing), keys))

    def value(self, schema: Mapping[str, Any], bounds: Bounds) -> Node:
        """A JSON value of `schema`."""
        return SchemaReader(schema, Json(self.rules, self._controls), bounds, self._losses).value("the answer")

    def text(self, not_first: Ranges = ()) -> Node:
        """Any text, or none, without control tokens; its first character none of `not_first`."""
        if not not_first:
            return optional(self.rules.add("TEXT", Free(ALL, (), 1, None, self._controls)))
        rest = self.rules.add("TEXT", Free(ALL, (), 0, None, self._controls))
        begun = each("<" + "".join(spelling[1] for spelling in self._controls))
        first = alt(Chars(minus(ALL, (*not_first, *each("<")))), seq(Lit("<"), Chars(minus(ALL, begun))))
        return optional(self.rules.add("TEXT", seq(first, rest)))

    def grammar(self, reply: Node) -> Grammar:
        """The finished grammar."""
        self.rules.bodies[self._root.name] = reply
        return Grammar(self.rules.reachable(self._root.name), self._controls, tuple(self._losses))
