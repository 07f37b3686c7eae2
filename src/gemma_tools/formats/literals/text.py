"""Reads Gemma 3's output: running text, and the calls in it.

Gemma 3 has no tokens for calls, so the position of a call decides. At the start of a line a list of calls of declared tools, or
an object that names one, is read incrementally. Everywhere else calls are held back until it is certain that they are meant: a
code fence must contain only calls, and a call in the middle of a line, or without the brackets of a list, must be the rest of
the answer. Inside backticks, quotes, other code and other JSON nothing is a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gemma_tools.formats.literals.calls import CallReader, Found, Note
from gemma_tools.formats.literals.names import Names
from gemma_tools.formats.literals.nesting import Nesting
from gemma_tools.formats.literals.places import END_TAGS, WRAPPERS, fence, rest_of_answer, rest_of_line, whole, wrapped
from gemma_tools.formats.literals.source import FENCE_RUN, STOPS, Cut, Refused, Source
from gemma_tools.formats.lookahead import SPACE, end_of
from gemma_tools.formats.reading import Reading, ReplyBuilder

_TURN: Final = "<start_of_turn>"
_FILLERS: Final = ("<bos>", "<pad>")
_MEDIA: Final = ("<start_of_image>", "<end_of_image>", "<image_soft_token>", "<audio_soft_token>")
_TAGS: Final = tuple(tag for tag in (*WRAPPERS, *END_TAGS) if tag[0] == "<")
_BRACKET_TAGS: Final = tuple(tag for tag in (*WRAPPERS, *END_TAGS) if tag[0] == "[")
_SPELLINGS: Final = (*STOPS, _TURN, *_FILLERS, *_MEDIA, *_TAGS)
_INTERESTING: Final = re.compile(r"[^\n\[{`~<]*+")
_NEW_TURN: Final = re.compile(r"(?:[a-z]{1,12}+)?(?:\n|\Z)")
_LONGEST_ROLE: Final = 13
_ROLE: Final = re.compile(r"(?:model|assistant)\n")
_REST: Final = re.compile(r"[\s,;)\]}]*+(?:(?:`{3,}+|~{3,}+)\s*+)?(?:(?:<end_of_turn>|<eos>)\s*+)*+")
"""What may follow the last call without being reported."""
_FENCE: Final = 3


class _Full(Exception):
    """No more calls are read; `at` is where the last one ends."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


class TextReader:
    """Reads running text, and tries to read calls at the possible places.

    With `exact` nothing is repaired; with `one_object` an object that is a call is the last one.
    """

    def __init__(self, source: Source, builder: ReplyBuilder, names: Names, *, exact: bool, one_object: bool) -> None:
        self._source = source
        self._buffer = source.buffer
        self._builder = builder
        self._names = names
        self._exact = exact
        self._callable = names.some
        self._one_object = one_object
        self._spellings = (*_SPELLINGS, *source.broken) if source.broken else _SPELLINGS
        self._said = 0
        """The text up to here was emitted, or is not content."""
        self._gap: list[str] = []
        self._beside_call = False
        self._line_start = True
        self._code = 0
        self._code_mark = ""
        self._code_line = False
        self._quote = False
        self._json = Nesting()
        self._refused = 0
        """No call begins before here: the text was already read as calls, without success."""

    def read(self) -> Reading[None]:
        """Read the whole generation."""
        try:
            yield from self._text()
        except _Full as full:
            at = full.at
        else:
            return
        yield from self._wait_for_end()
        end = len(self._buffer.text)
        rest = end_of(_REST, self._buffer.text, at)
        if rest < end and self._builder.full:
            self._builder.problem(self._builder.full, "text after the last allowed call", at, end, quoted=True)
        if not self._beside_call:
            self._builder.content("".join(self._gap))

    def _text(self) -> Reading[None]:
        i = 0
        while True:
            if self._json.depth:
                i = self._json.skip(self._buffer.text, i)
            else:
                i = end_of(SPACE if self._line_start else _INTERESTING, self._buffer.text, i)
            if i < len(self._buffer.text):
                i = yield from self._mark(i)
                continue
            self._say(i)
            if self._buffer.ended:
                if not self._beside_call:
                    self._builder.content("".join(self._gap))
                return
            self._buffer.lane = None if self._line_start else self._take
            yield
            self._buffer.lane = None
            if self._said > i:
                i = self._said

    def _take(self, piece: str) -> bool:
        """Take a chunk of a line without calls without resuming the readers: the buffer's fast path."""
        text = self._buffer.text
        if self._json.depth:
            self._say(self._json.skip(text, self._said))
            return self._said == len(text)
        if _INTERESTING.fullmatch(piece) is None:
            return False
        self._say(len(text))
        return True

    def _wait_for_end(self) -> Reading[None]:
        """Take all that still comes, at once."""
        while not self._buffer.ended:
            self._buffer.lane = _take_all
            yield
        self._buffer.lane = None

    # Content

    def _say(self, i: int) -> None:
        """The text up to `i` is content."""
        if i > self._said:
            self._speak(self._buffer.text[self._said : i])
            self._said = i

    def _speak(self, text: str) -> None:
        # White space between a call and the edges of the answer belongs to the call, so it is held back until the text on
        # on its other side is known.
        body = text.rstrip()
        if body:
            if self._beside_call and not self._builder.has_content:
                self._gap.clear()
                body = body.lstrip()
            else:
                body = "".join(self._gap) + body
                self._gap.clear()
            self._beside_call = False
            self._builder.content(body)
            text = text[len(text.rstrip()) :]
        if text:
            self._gap.append(text)

    def _pass(self, i: int) -> None:
        """The text before `i` is not content: calls or special tokens."""
        self._said = i
        self._beside_call = True

    # Marks

    def _mark(self, i: int) -> Reading[int]:
        """Handle the character at `i`, where something may begin; return where to continue."""
        mark, line_start = self._buffer.text[i], self._line_start
        if mark == "\n":
            self._line_start = True
            self._code_line = self._quote = False
            if self._buffer.text.startswith("\n", i - 1):
                self._json.leave()
            if self._code < _FENCE:
                self._code = 0
            return i + 1
        self._line_start = False
        if mark == "<":
            return (yield from self._token(i))
        if self._json.depth:
            return i + 1
        if mark == "`" or (mark == "~" and line_start):
            return (yield from self._ticks(i, line_start))
        if line_start and mark == ">":
            self._quote = True
        if self._code or not self._callable or self._quote or i < self._refused:
            return i + 1
        if mark in "[{":
            return (yield from self._bracket(i, line_start))
        if line_start and not self._exact and self._names.begins(mark):
            return (yield from self._attempt(i, rest_of_answer))
        return i + 1

    def _ticks(self, i: int, line_start: bool) -> Reading[int]:
        """Backticks or tildes: they open or close code, unless they contain calls."""
        mark = self._buffer.text[i]
        end = yield from self._source.run(i, FENCE_RUN[mark])
        count = end - i
        if self._code:
            if mark == self._code_mark and (
                count == self._code if self._code < _FENCE else count >= self._code and (line_start or self._code_line)
            ):
                self._code = 0
            return end
        if mark == "~" and count < _FENCE:
            return end
        if count >= _FENCE and self._callable and not self._exact and not self._quote and i >= self._refused:
            after = yield from self._attempt(i, lambda calls, at: fence(calls, at, line_start=line_start))
            if self._said > i:
                return after
        self._code, self._code_mark, self._code_line = count, mark, True
        return end

    def _token(self, i: int) -> Reading[int]:
        """A special token, a special token that the prompt broke, or a tag that other models put around calls."""
        found = yield from self._source.spelling(i, self._spellings)
        after = i + len(found)
        if not found:
            return i + 1
        if found in self._source.broken:
            self._say(i)
            self._speak(self._source.broken[found])
            self._said = after
            return after
        if found in _TAGS:
            return (yield from self._tag(i, found))
        if self._code and (found not in STOPS or (yield from self._source.run(after, SPACE)) < len(self._buffer.text)):
            return after  # quoted; but if nothing follows, the turn ended in an open fence
        if found == _TURN:
            yield from self._source.have(after + _LONGEST_ROLE)
            role = None if i else _ROLE.match(self._buffer.text, after)
            if role:
                self._said, self._line_start = role.end(), True
                self._builder.problem("header", "the model wrote its turn header again", 0, self._said, quoted=True)
                return self._said
            if not _NEW_TURN.match(self._buffer.text, after):
                return after  # only mentioned
        self._say(i)
        if found in STOPS:
            return (yield from self._after_end(after))
        if found == _TURN:
            return (yield from self._after_end(i))
        if found in _MEDIA:
            self._builder.problem("stray_token", "a special token that has no meaning here", i, after, quoted=True)
        self._pass(after)
        return after

    def _tag(self, i: int, tag: str) -> Reading[int]:
        """A tag that other models put before a call, or after one."""
        after = i + len(tag)
        if self._code or self._json.depth or self._exact or not self._callable or self._quote or i < self._refused:
            return after
        if tag in WRAPPERS:
            return (yield from self._attempt(i, lambda calls, at: wrapped(calls, at, tag), firm=True))
        self._say(i)
        if self._beside_call and self._builder.calls:
            self._builder.problem("stray_end_tag", "an end tag after a call", i, after, quoted=True)
            self._pass(after)
        return after

    def _after_end(self, i: int) -> Reading[int]:
        """The turn is over: the model invented the text after it, which is neither content nor a call."""
        self._pass(i)
        yield from self._wait_for_end()
        end = len(self._buffer.text)
        if self._buffer.text[i:].strip():
            self._builder.problem("after_end", "text after the end of the turn", i, end, quoted=True)
        self._pass(end)
        return end

    # Calls

    def _bracket(self, i: int, line_start: bool) -> Reading[int]:
        """A bracket that may open a list of calls, or an object that is one."""
        buffer = self._buffer
        if len(buffer.text) - i < 2:
            yield from self._source.have(i + 2)
        if buffer.text[i + 1 : i + 2] in ("T", "t", "/", "E") and not self._exact:
            tag = yield from self._source.spelling(i, _BRACKET_TAGS)
            if tag:
                return (yield from self._tag(i, tag))
        if line_start and not self._names.any:
            return (yield from self._attempt(i, whole, firm=True))
        if line_start:
            return (yield from self._attempt(i, rest_of_line))
        if buffer.text[i - 1 : i].isspace():
            return (yield from self._attempt(i, rest_of_answer))
        return i + 1

    def _attempt(self, i: int, read: Callable[[CallReader, int], Reading[int]], *, firm: bool = False) -> Reading[int]:
        """Read calls from `i` on. Text that is not a call stays text; with `firm`, calls are emitted while they are read."""
        self._say(i)
        calls = CallReader(self._source, self._names, i, exact=self._exact, give=self._give if firm else None)
        try:
            end = yield from read(calls, i)
        except Refused:
            self._refused = calls.refuse()
            self._json.enter(self._buffer.text, i)
            return i + 1
        except Cut as cut:
            if calls.begun or calls.complete > i:
                return self._cut_short(calls, cut.at)
            self._refused = cut.at
            return i + 1
        self._give(calls.found)
        self._pass(end)
        self._line_start = True
        return end

    def _cut_short(self, calls: CallReader, at: int) -> int:
        """The text or the turn ended at `at` among calls: the complete ones count."""
        calls.cut(uncertain=self._buffer.cut and at == len(self._buffer.text))
        self._give(calls.found)
        begun = calls.begun or self._buffer.text[calls.complete : at].strip(" \t\r\n,;")
        if begun:
            self._builder.problem("cut", "the text ended inside a call", calls.complete, at, quoted=True)
            self._builder.cut()
        else:
            self._builder.problem("bracket_missing", "closing brackets are missing", calls.complete, at, quoted=True)
        self._pass(at)
        return at

    def _give(self, found: Found) -> None:
        """Emit calls that are certain, and their problems."""
        builder = self._builder
        for item in found:
            if isinstance(item, Note):
                builder.problem(item.kind, item.message, item.start, item.end, quoted=item.quoted)
                continue
            self._pass(item.end)
            index = builder.start_call(item.name)
            builder.pieces += item.pieces
            if builder.end_call(item.start, item.end):
                for kind, repair in item.repairs.items():
                    builder.problem(kind, repair.message, repair.start, repair.end, index=index)
                for start, end in item.extra:
                    builder.problem(
                        "extra_key", "an entry that does not belong in a call", start, end, quoted=True, index=index
                    )
                if self._one_object and not (item.python or item.listed):
                    builder.full = "call_limit"
            if builder.full:
                raise _Full(item.end)


def _take_all(_piece: str) -> bool:
    return True
