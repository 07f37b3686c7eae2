"""The grammar of Gemma 3's replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from gemma_tools.grammar import Draft, Grammar
from gemma_tools.grammar.charset import each
from gemma_tools.grammar.nodes import EMPTY, Lit, alt, repeat, seq
from gemma_tools.grammar.notation import Json, Keywords, Python
from gemma_tools.grammar.values import Bounds
from gemma_tools.jsontext import quote_json
from gemma_tools.request import RawChoice, RawTool


def gemma3_grammar(
    style: Literal["pythonic", "json"],
    controls: tuple[str, ...],
    tools: Sequence[RawTool],
    *,
    tool_choice: RawChoice = "auto",
    max_calls: int,
    bounds: Bounds,
) -> Grammar:
    """The grammar of Gemma 3's replies in one tool style; `controls` are the texts of its special tokens.

    Its calls are ordinary text. With "auto" a reply is either calls from its first character to its last, or text that does not
    begin like a call: with a square bracket, or in JSON with any bracket.

    Raises:
        InvalidRequest: `tools` or `tool_choice` are not valid OpenAI objects.
    """
    draft = Draft(controls, tools, tool_choice)
    if style == "pythonic":
        values, keys = Python(draft.rules, controls), Keywords(draft.rules, controls)
        calls = [draft.call(tool, values, keys, f"{tool.name}(", ")", bounds) for tool in draft.tools]
        call = draft.rules.add("call", alt(*calls)) if calls else EMPTY
        written = seq(Lit("["), call, repeat(seq(Lit(", "), call), 0, max_calls - 1), Lit("]"))
    else:
        json = Json(draft.rules, controls)
        opening = '{{"name": {}, "parameters": {{'
        calls = [draft.call(tool, json, json, opening.format(quote_json(tool.name)), "}}", bounds) for tool in draft.tools]
        call = draft.rules.add("call", alt(*calls)) if calls else EMPTY
        several = seq(Lit("["), call, repeat(seq(Lit(", "), call), 1, max_calls - 1), Lit("]"))
        written = alt(call, several) if max_calls > 1 else call
    if draft.mode == "required":
        return draft.grammar(written)
    if not calls:
        return draft.grammar(draft.text())
    return draft.grammar(alt(written, draft.text(not_first=each("[" if style == "pythonic" else "[{"))))
