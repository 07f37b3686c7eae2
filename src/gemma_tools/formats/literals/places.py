"""Where calls stand in running text: on a line, in a code fence, between the tags of another notation."""

from __future__ import annotations

import re
from typing import Final

from gemma_tools.formats.literals.calls import CallReader
from gemma_tools.formats.literals.source import Refused
from gemma_tools.formats.reading import Reading

WRAPPERS: Final = {
    "[TOOL_REQUEST]": "[END_TOOL_REQUEST]",
    "[TOOL_CALLS]": "[/TOOL_CALLS]",
    "[TOOL_CALL]": "[/TOOL_CALL]",
    "[tool_call]": "[/tool_call]",
    "<tool_call>": "</tool_call>",
    "<tool_calls>": "</tool_calls>",
    "<tool_code>": "</tool_code>",
    "<function_call>": "</function_call>",
}
"""What models taught another notation put around a call, and what closes it."""
_INLINE_BLANK: Final = re.compile(r"[^\S\n]*+")
_BETWEEN: Final = re.compile(r"[\s,;]*+")
_TICKS: Final = re.compile(r"`*+")
_LABEL: Final = re.compile(r"[\w.+#-]*+")
_RESULT_LABELS: Final = frozenset(("tool_output", "tool_outputs", "tool_response", "output"))
_LONGEST_LABEL: Final = 40


def whole(calls: CallReader, i: int) -> Reading[int]:
    """A list or an object that begins a line, and what separates it from the next."""
    source, buffer = calls.source, calls.source.buffer
    i = yield from (calls.list(i) if buffer.text[i] == "[" else calls.object(i))
    i = yield from calls.surplus(i)
    end = yield from source.run(i, _BETWEEN)
    return end if buffer.text[end : end + 1] in ("[", "{") else i


def rest_of_line(calls: CallReader, i: int) -> Reading[int]:
    """Calls that are all that is left of their line."""
    source, buffer = calls.source, calls.source.buffer
    bare = buffer.text[i] not in "[{"
    if bare:
        calls.note("bare_call", "a call without the brackets of a list", i, i)
    while True:
        i = yield from calls.item(i)
        if bare:
            i = yield from calls.surplus(i)
        end = yield from source.run(i, _INLINE_BLANK)
        if end == len(buffer.text) or buffer.text[end] == "\n" or (yield from source.is_stop(end)):
            return i
        if buffer.text[end] not in ",;":
            raise Refused
        end = yield from source.run(end + 1, _INLINE_BLANK)
        if end == len(buffer.text) or buffer.text[end] == "\n":
            return end
        i = end


def fence(calls: CallReader, i: int, count: int) -> Reading[int]:
    """A code fence of `count` backticks that holds nothing but calls; its label does not matter."""
    source, buffer = calls.source, calls.source.buffer
    start = i
    i += count
    end = yield from source.short_run(i, _LABEL, _LONGEST_LABEL)
    after = buffer.text[end : end + 1]
    if after in ("[", "{") or after.isspace():
        if buffer.text[i:end] in _RESULT_LABELS:
            raise Refused  # a result that the model invents
        i = end
    found = False
    while True:
        calls.seen = i = yield from source.run(i, _BETWEEN)
        if i == len(buffer.text) or (yield from source.is_stop(i)):
            if not found:
                raise Refused
            calls.note("fence_open", "the code fence around the calls was not closed", start, start + count)
            return i
        if buffer.text[i] == "`":
            end = yield from source.run(i, _TICKS)
            if not found or end - i < count:
                raise Refused
            return end
        i = yield from calls.surplus((yield from calls.item(i)))
        found = True


def wrapped(calls: CallReader, i: int, opener: str) -> Reading[int]:
    """Calls between the tags of another notation; the closing one may be missing."""
    source, buffer = calls.source, calls.source.buffer
    calls.note("wrapper", f"the calls stand between {opener} and its end", i, i + len(opener))
    i = yield from calls.item((yield from source.blank(i + len(opener))))
    while True:
        end = yield from source.run(i, _BETWEEN)
        if (yield from source.spelling(end, (WRAPPERS[opener],))):
            return end + len(WRAPPERS[opener])
        if buffer.text[end : end + 1] not in ("[", "{"):
            return i
        i = yield from calls.item(end)
