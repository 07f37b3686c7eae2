"""Reads the head of a call: `call:`, the tool's name and the opening bracket, in the forms that models write."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gemma_tools.formats.brace.source import Source
from gemma_tools.formats.lookahead import SPACE, end_of
from gemma_tools.formats.reading import Declared, Reading, Tools

_NAME_CHARACTERS: Final = r"[^\s{}()\[\]\"'`,<]"
_EXACT: Final = re.compile(rf"call:({_NAME_CHARACTERS}{{1,400}}+)\{{")
_NAME: Final = re.compile(rf"{_NAME_CHARACTERS}*+")
LONGEST_NAME: Final = 400
_SPACE_OR_COMMA: Final = re.compile(r"[\s,]*+")
_BLANK: Final = re.compile(r"[ \t]*+")
_LETTER: Final = re.compile(r"[^\W_]")
_SEPARATOR: Final = re.compile(r"[.:/]")
_CALL: Final = "call"
_OTHER_BLOCKS: Final = ("declaration:", "response:")
"""Words of the notation's other blocks, which models sometimes write instead of `call:`."""


class Head(NamedTuple):
    """The head of a call: `name` as it was written, from `start` to `end`; `bracket` is "" if none opens."""

    name: str
    start: int
    end: int
    bracket: str
    exact: bool
    """Whether everything except the kind of the bracket is correct."""
    keyword: bool
    """Whether `call` came before the name."""


def resolve(written: str, declared: Declared, *, strict: bool) -> str | None:
    """The declared tool that a name means; None if there is none.

    A namespace before a declared name is dropped, and so is a colon after it.
    """
    if declared is None:
        return written if _LETTER.search(written) else None
    if written in declared:
        return written
    if strict or written.startswith(_OTHER_BLOCKS):
        return None
    bare = written.rstrip(":")
    while bare not in declared:
        cut = _SEPARATOR.search(bare)
        if not cut:
            return None
        bare = bare[cut.end() :]
    return bare


def exact_head(source: Source, pos: int) -> Head | None:
    """The head at `pos`, if it is complete and exact."""
    found = _EXACT.match(source.buffer.text, pos)
    return Head(found[1], pos, found.end(), "{", exact=True, keyword=True) if found else None


def tagged_head(source: Source, pos: int) -> Reading[Head]:
    """The head after a start tag or another call. Its name is "" if there is none."""
    begin = pos
    start = pos = yield from source.run(pos, _SPACE_OR_COMMA)
    if source.buffer.text.startswith(":", pos):
        pos = yield from source.run(pos + 1, SPACE)
    end, name, keyword = yield from _name_after_keyword(source, pos)
    head = yield from _with_bracket(source, start, end, name, keyword=keyword)
    return head if start == begin else head._replace(exact=False)


def _name_after_keyword(source: Source, pos: int) -> Reading[tuple[int, str, bool]]:
    """The name at `pos`, after an optional word `call`, and where it ends."""
    end = yield from source.run_up_to(pos, _NAME, LONGEST_NAME)
    word = source.buffer.text[pos:end]
    if word[:4].lower() != _CALL or (word[4:5].isalnum() or word[4:5] == "_"):
        return end, word, False
    rest = word[4:].removeprefix(":")
    if rest:
        return end, rest, True
    after = yield from source.run(end, SPACE)
    if len(word) == 4 and source.buffer.text.startswith(":", after):
        after = yield from source.run(after + 1, SPACE)
    name_end = yield from source.run_up_to(after, _NAME, LONGEST_NAME)
    name = source.buffer.text[after:name_end]
    if not name and len(word) == len(_CALL):
        return end, _CALL, False
    return name_end, name, True


def _with_bracket(source: Source, start: int, end: int, name: str, *, keyword: bool) -> Reading[Head]:
    at = (yield from source.run(end, SPACE)) if name else end
    bracket = source.buffer.text[at : at + 1]
    bracket = bracket if name and bracket in ("{", "(") else ""
    exact = source.buffer.text.startswith(f"call:{name}{bracket}", start)
    return Head(name, start, at + 1 if bracket else end, bracket, exact=exact, keyword=keyword)


def line_head(source: Source, declared: Tools, pos: int) -> Reading[Head | None]:
    """The head of a call without a start tag at `pos`; None as soon as it is certain that there is none.

    It is `call` and a colon or spaces, or a colon, or the exact name of a declared tool and a brace.
    """
    start = pos = yield from source.run(pos, _BLANK)
    end = pos
    while True:
        end = end_of(_NAME, source.buffer.text, end, pos + LONGEST_NAME)
        if not _may_begin(source.buffer.text[pos:end], declared):
            return None
        if end < len(source.buffer.text) or source.buffer.ended or end - pos == LONGEST_NAME:
            break
        yield
    word = source.buffer.text[pos:end]
    if word[:4].lower() == _CALL and word[4:5] in ("", ":"):
        end, name = yield from _name_after_call(source, pos, end)
        keyword = True
    else:
        keyword = word[:1] == ":"
        name = word[1:] if keyword else word
    if resolve(name, declared, strict=False) is None or not (keyword or name in declared):
        return None
    head = yield from _with_bracket(source, start, end, name, keyword=keyword)
    return head if head.bracket == "{" or (head.bracket and keyword) else None


def _may_begin(word: str, declared: Tools) -> bool:
    """Whether a line that begins with `word` so far may begin with a call."""
    keyword = word[:5].lower()
    return keyword == "call:" or "call:".startswith(keyword) or word[0] == ":" or any(n.startswith(word) for n in declared)


def _name_after_call(source: Source, pos: int, end: int) -> Reading[tuple[int, str]]:
    """Where the name ends that follows `call` or `call:` from `pos` to `end`, perhaps in the same word, and the name."""
    name = source.buffer.text[pos + 5 : end]
    if name:
        return end, name
    after = yield from source.run(end, SPACE)
    if end - pos == 4:
        if source.buffer.text.startswith(":", after):
            after = yield from source.run(after + 1, SPACE)
        elif "\n" in source.buffer.text[end:after] or after == end:
            return end, _CALL
    end = yield from source.run_up_to(after, _NAME, LONGEST_NAME)
    return end, source.buffer.text[after:end]
