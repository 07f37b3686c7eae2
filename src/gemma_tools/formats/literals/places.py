"""The places of calls in running text: at the end of the answer, in a code fence, between the tags of another notation."""

from __future__ import annotations

import re
from typing import Final

from gemma_tools.formats.literals.calls import CallReader
from gemma_tools.formats.literals.source import FENCE_RUN, Cut, Refused
from gemma_tools.formats.lookahead import SPACE
from gemma_tools.formats.reading import Reading

WRAPPERS: Final = {
    "[TOOL_REQUEST]": "[END_TOOL_REQUEST]",
    "[TOOL_CALLS]": "[/TOOL_CALLS]",
    "[TOOL_CALL]": "[/TOOL_CALL]",
    "[tool_call]": "[/tool_call]",
    "<tool>": "</tool>",
    "<tools>": "</tools>",
    "<tool_call>": "</tool_call>",
    "<tool_calls>": "</tool_calls>",
    "<tool_code>": "</tool_code>",
    "<function_call>": "</function_call>",
    "<function_calls>": "</function_calls>",
}
"""The tags that models trained on another notation put around a call."""
END_TAGS: Final = (*WRAPPERS.values(), "</function>", "</end_function_call>", "<end_function_call>", "<tool_call|>")
"""The tags that models put after a call."""
_INLINE_BLANK: Final = re.compile(r"[^\S\n]*+")
_BETWEEN: Final = re.compile(r"[\s,;]*+")
_LABEL: Final = re.compile(r"[\w.+#-]*+")
_OTHER_LABELS: Final = re.compile(
    r"tool_outputs?|tool_response|output|console|log|te?xt|plaintext|markdown|md|"
    r"bash|z?sh|shell|powershell|sql|html|css|diff"
)
"""Labels of fences that contain no calls: results that the model invents, prose, and languages without calls."""
_LONGEST_LABEL: Final = 40


def whole(calls: CallReader, i: int) -> Reading[int]:
    """A list or an object that begins a line, and what separates it from the next."""
    source, buffer = calls.source, calls.source.buffer
    i = yield from (calls.list(i) if buffer.text[i] == "[" else calls.object(i))
    i = yield from calls.surplus(i)
    end = yield from source.run(i, _BETWEEN)
    return end if buffer.text[end : end + 1] in ("[", "{") else i


def rest_of_line(calls: CallReader, i: int) -> Reading[int]:
    """Lists or objects that are all that is left of their line."""
    source, buffer = calls.source, calls.source.buffer
    while True:
        i = yield from calls.item(i)
        end = yield from source.run(i, _INLINE_BLANK)
        if (yield from _ends_line(calls, end)):
            return i
        if buffer.text[end] not in ",;":
            raise Refused
        end = yield from source.run(end + 1, _INLINE_BLANK)
        if (yield from _ends_line(calls, end)):
            return end
        i = end


def rest_of_answer(calls: CallReader, i: int) -> Reading[int]:
    """Calls that are the rest of the answer, or that are followed by a list of calls on its own line."""
    source, buffer = calls.source, calls.source.buffer
    bare = buffer.text[i] not in "[{"
    if bare:
        calls.note("bare_call", "a call without the brackets of a list", i, i)
    while True:
        i = yield from calls.item(i)
        if bare:
            i = yield from calls.surplus(i)
        end = yield from source.run(i, _BETWEEN)
        if end == len(buffer.text) and buffer.cut:
            raise Refused  # prose may have come next
        if end == len(buffer.text) or (yield from source.is_stop(end)) or (yield from source.spelling(end, END_TAGS)):
            return end
        lines = buffer.text.count("\n", i, end)
        if lines and buffer.text[end] in "[{" and (yield from _begins_call(calls, end)):
            return end
        if not lines and not buffer.text[i:end].strip() and buffer.text[end] not in "[{":
            raise Refused
        i = end
        try:
            if buffer.text[i] not in "[{" and not (yield from calls.begins(i)):
                raise Refused
        except Cut:
            raise Refused from None


def fence(calls: CallReader, i: int, *, line_start: bool) -> Reading[int]:
    """A code fence with only calls; a few labels exclude that. On one line it must be all of that line."""
    source, buffer = calls.source, calls.source.buffer
    start, mark = i, buffer.text[i]
    i = yield from source.run(i, FENCE_RUN[mark])
    count = i - start
    end = yield from source.run_up_to(i, _LABEL, _LONGEST_LABEL)
    after = buffer.text[end : end + 1]
    if after in ("[", "{") or after.isspace():
        if _OTHER_LABELS.fullmatch(buffer.text, i, end):
            raise Refused
        i = end
    found = False
    while True:
        calls.seen = i = yield from source.run(i, _BETWEEN)
        lines = line_start or buffer.text.count("\n", start, i)
        if not lines:
            raise Refused
        if i == len(buffer.text) or (yield from source.is_stop(i)):
            if not found or (i == len(buffer.text) and buffer.cut):
                raise Refused  # other code may have come next
            calls.note("fence_open", "the code fence around the calls was not closed", start, start + count)
            return i
        if buffer.text[i] == mark:
            end = yield from source.run(i, FENCE_RUN[mark])
            if not found or end - i < count:
                raise Refused
            if "\n" not in buffer.text[start:end]:
                after_end = yield from source.run(end, _INLINE_BLANK)
                if not (yield from _ends_line(calls, after_end)):
                    raise Refused
            return end
        i = yield from calls.surplus((yield from calls.item(i)))
        found = True


def wrapped(calls: CallReader, i: int, opener: str) -> Reading[int]:
    """Calls between the tags of another notation; the closing tag may be missing, or another one."""
    source, buffer = calls.source, calls.source.buffer
    calls.note("wrapper", f"the calls are between {opener} and its end tag", i, i + len(opener))
    i = yield from source.blank(i + len(opener))
    bare = buffer.text[i] not in "[{"
    i = yield from (fence(calls, i, line_start=True) if buffer.text[i] in "`~" else calls.item(i))
    while True:
        i = yield from calls.surplus(i)
        end = yield from source.run(i, _BETWEEN)
        tag = yield from source.spelling(end, (*END_TAGS, opener))
        if tag == opener:
            after = yield from source.run(end + len(tag), SPACE)
            if buffer.text[after : after + 1] in ("[", "{", "`"):
                return end  # the next call, in its own tags
        if tag:
            if tag != WRAPPERS[opener]:
                calls.note("end_tag_kind", f"{tag} instead of {WRAPPERS[opener]}", end, end + len(tag))
            return end + len(tag)
        if buffer.text[end : end + 1] not in ("[", "{") and not (bare and (yield from calls.begins(end))):
            return i
        i = yield from calls.item(end)


def _ends_line(calls: CallReader, i: int) -> Reading[bool]:
    """Whether only white space follows on the line after `i`."""
    text = calls.source.buffer.text
    if i == len(text) or text[i] == "\n":
        return True
    del text
    return (yield from calls.source.is_stop(i))


def _begins_call(calls: CallReader, i: int) -> Reading[bool]:
    """Whether the bracket at `i` opens a list of calls, or an object that begins with a name."""
    if calls.source.buffer.text[i] == "[":
        return (yield from calls.begins((yield from calls.source.blank(i + 1))))
    return (yield from calls.names_tool(i))
