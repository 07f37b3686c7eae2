"""The grammar of replies in the brace notation."""

from __future__ import annotations

from collections.abc import Sequence

from gemma_tools.formats.base import Opens
from gemma_tools.formats.brace.tokens import Dialect
from gemma_tools.grammar import Draft, Grammar
from gemma_tools.grammar.nodes import EMPTY, Lit, Node, Token, alt, optional, repeat, seq
from gemma_tools.grammar.notation import Brace
from gemma_tools.grammar.values import Bounds
from gemma_tools.request import RawChoice, RawTool


def brace_grammar(
    dialect: Dialect,
    tools: Sequence[RawTool],
    *,
    tool_choice: RawChoice = "auto",
    opens: Opens = "content",
    max_calls: int,
    bounds: Bounds,
) -> Grammar:
    """The grammar of FunctionGemma's or Gemma 4's replies.

    If the family can think, a thought may come first; with `opens="reasoning"` the reply begins inside one. "auto" allows text
    before and after the calls, "required" only calls, and "none" only text. The start token of a tool's response, with which
    the model asks for the results, may follow the last call.

    Raises:
        InvalidRequest: `tools` or `tool_choice` are not valid OpenAI objects.
    """
    draft = Draft(dialect.tokens, tools, tool_choice)
    notation = Brace(draft.rules, (dialect.delimiter, *dialect.stop), dialect.delimiter)
    text = draft.text()
    calls = [
        seq(Token(dialect.start), draft.call(tool, notation, notation, f"call:{tool.name}{{", "}", bounds), Token(dialect.end))
        for tool in draft.tools
    ]
    call = draft.rules.add("call", alt(*calls)) if calls else EMPTY
    several = repeat(call, 1, max_calls)
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
