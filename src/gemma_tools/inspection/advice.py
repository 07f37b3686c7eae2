"""What would change a problem: another recovery level, another schema, another setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gemma_tools.backends.exchange import Exchange
from gemma_tools.inspection.model import LevelView
from gemma_tools.reply import Problem, ProblemKind

_HELD: Final = (
    "On an engine that supports grammars, a grammar enforces the notation: "
    'tool_choice="required", or "strict": true in the tool.'
)
_TYPED: Final = "The type in the tool's schema decides how this is read. Change the type there to get another value."
_ADVICE: Final[dict[ProblemKind, str]] = {
    "cut": "The text ends inside a call. Raise max_tokens if that limit cut it. " + _HELD,
    "unreadable": _HELD,
    "call_limit": "Reading stops after this many calls. parallel_tool_calls and max_calls set the limit.",
    "repeated_call": "The model repeats itself. A higher temperature or repeat_penalty helps, or a result for the first call.",
    "after_end": "The engine continued after the end of the turn. It must stop at the tokens of Prompt.stop.",
    "invalid_arguments": 'The call is returned unchanged. With on_invalid="retry" the model sees the error and tries again. '
    + _HELD,
    "type": _TYPED,
    "literal": _TYPED,
    "extra_key": "It is not in the call, because the notation has no place for it.",
    "thought_only": "The model wrote only a thought. Raise max_tokens if that limit cut it.",
}
_MENDED: Final = "It was read anyway, and nothing else in the reply changed."


def advice(problem: Problem, levels: Sequence[LevelView], exchange: Exchange) -> str:
    """One or two sentences for a reader who expected something else."""
    used = next((level for level in levels if level.used), None)
    if used is not None and problem.kind in ("unread_call", "undeclared", "unreadable"):
        better = next((level for level in levels if len(level.calls) > len(used.calls)), None)
        if better is not None:
            return f'recovery="{better.level}" reads {_names(better.calls[len(used.calls) :])} here.'
    if problem.kind == "undeclared":
        declared = ", ".join(tool.name for tool in exchange.tools or ()) or "none"
        return f"Only declared tools can be called, and those that tool_choice allows: {declared}."
    if problem.kind in _ADVICE:
        return _ADVICE[problem.kind]
    if problem.text:
        return "It is only in this problem, not in the rest of the reply."
    strict = next((level for level in levels if level.level == "strict"), None)
    if used is not None and strict is not None and len(strict.calls) < len(used.calls):
        return f'{_MENDED} recovery="strict" reads {_names(strict.calls) if strict.calls else "no call"} here.'
    return _MENDED


def _names(calls: Sequence[str]) -> str:
    return ("a call of " if len(calls) == 1 else "calls of ") + ", ".join(calls)
