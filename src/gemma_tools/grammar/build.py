"""Grammars of valid calls in each format's own notation, as GBNF for llama.cpp and as Lark for llguidance.

An engine that generates with such a grammar can only write calls of declared tools whose arguments match the tools' schemas.
`Grammar.warnings` lists the parts of the schemas that the grammar does not enforce; docs/grammar.md lists those that it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from gemma_tools.grammar.charset import ALL, Ranges, each, minus
from gemma_tools.grammar.containers import Brackets
from gemma_tools.grammar.gbnf import print_gbnf
from gemma_tools.grammar.lark import print_lark
from gemma_tools.grammar.nodes import Chars, Free, Lark, Lit, Node, Rules, alt, optional, seq, walk, without_lark
from gemma_tools.grammar.notation import Json, Notation
from gemma_tools.grammar.values import Bounds, SchemaReader
from gemma_tools.grammar.xgrammar import print_xgrammar
from gemma_tools.request import RawChoice, RawTool, Tool
from gemma_tools.validation import validate_choice, validate_tools


@dataclass(frozen=True)
class Grammar:
    """The allowed replies. `gbnf` and `lark` mean the same in the notations of llama.cpp and llguidance.

    Special tokens are token literals in both (`<escape>`): the engine's model must have them in its vocabulary.
    """

    rules: Mapping[str, Node] = field(repr=False)
    """The rules by name, `root` first, for the printers."""
    controls: tuple[str, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()
    """The parts of the tools' schemas that are not enforced, one sentence each."""
    stop: tuple[str, ...] = field(default=(), repr=False)
    """The tokens that may end a reply, for engines that only know those in the model's files: not in `gbnf`."""

    @property
    def needs_lark(self) -> bool:
        """Whether a tool has its own grammar in Lark, which only `lark` enforces."""
        return any(isinstance(node, Lark) for body in self.rules.values() for node in walk(body))

    @cached_property
    def gbnf(self) -> str:
        """The grammar for llama.cpp. Its start rule is `root`."""
        return print_gbnf(without_lark(self.rules), self.controls)

    @cached_property
    def lark(self) -> str:
        """The grammar for llguidance; its first line identifies it for llama.cpp. Its start rule is `start`."""
        return print_lark(self.rules, self.stop)

    @cached_property
    def ebnf(self) -> str:
        """The grammar for xgrammar, which vLLM and SGLang use. Its start rule is `root`."""
        return print_xgrammar(without_lark(self.rules), self.stop)


ANSWER_BOUNDS: Final = Bounds(string=4096, items=256)
"""The limit for an answer, which is longer than a call's arguments."""


def answer_grammar(schema: Mapping[str, Any], controls: tuple[str, ...], *, bounds: Bounds = ANSWER_BOUNDS) -> Grammar:
    """The grammar of JSON answers that match `schema`, without unnecessary white space.

    `controls` are the texts of the format's special tokens, which no string contains.
    """
    draft = Draft(controls, (), "none")
    return draft.grammar(draft.value(schema, bounds))


class Draft:
    """A grammar that is being built."""

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
        self._warnings: dict[str, None] = {}

    def call(self, tool: Tool, values: Notation, keys: Notation, opening: str, closing: str, bounds: Bounds) -> Node:
        """One tool's name and arguments; `keys` writes the names of the arguments."""
        reader = SchemaReader(tool.parameters or {}, values, bounds, self._warnings)
        return reader.arguments(tool.name, Brackets(Lit(opening), Lit(closing), keys))

    def value(self, schema: Mapping[str, Any], bounds: Bounds) -> Node:
        """A JSON value of `schema`."""
        return SchemaReader(schema, Json(self.rules, self._controls), bounds, self._warnings).value("the answer")

    def text(self, not_first: Ranges = ()) -> Node:
        """Any text, or none, without special tokens; its first character is none of `not_first`."""
        if not not_first:
            return optional(self.rules.add("TEXT", Free(ALL, (), 1, None, self._controls)))
        rest = self.rules.add("TEXT", Free(ALL, (), 0, None, self._controls))
        begun = each("<" + "".join(spelling[1] for spelling in self._controls))
        first = alt(Chars(minus(ALL, (*not_first, *each("<")))), seq(Lit("<"), Chars(minus(ALL, begun))))
        return optional(self.rules.add("TEXT", seq(first, rest)))

    def grammar(self, reply: Node) -> Grammar:
        """The finished grammar."""
        self.rules.bodies[self._root.name] = reply
        return Grammar(self.rules.reachable(self._root.name), self._controls, tuple(self._warnings))
