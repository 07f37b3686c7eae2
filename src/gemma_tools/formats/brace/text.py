"""Reads one generation of a family with the brace notation: content, thoughts, code, and where calls begin.

    <start_function_call>call:NAME{key:<escape>text<escape>,n:1,l:[true]}<end_function_call>

Special tokens inside backticks or a code fence are prose, and so is a token that begins nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from gemma_tools.formats.brace.calls import CallReader
from gemma_tools.formats.brace.source import Source
from gemma_tools.formats.brace.thoughts import label_end, leaked_label_end, lost_opener_end
from gemma_tools.formats.brace.tokens import Dialect
from gemma_tools.formats.lookahead import SPACE, end_of
from gemma_tools.formats.reading import Buffer, Declared, Reading, ReplyBuilder
from gemma_tools.prompt import WORD_JOINER

_TAG_LIKE: Final = r"<[/|]{0,2}(?i:start_?)?(?i:tool|function)?_?(?i:calls?)\|?>"
_TAG_LIKE_BEGUN: Final = re.compile(r"<[/|]{0,2}[A-Za-z_]{0,24}\|?")
_CODE_END: Final = re.compile("\n|`++")
_RUNS: Final = {"`": re.compile("`*+"), "~": re.compile("~*+")}
_ROLE: Final = re.compile(r"(?:model|assistant)\n")
_FENCE: Final = 3
_DEEPEST_FENCE: Final = 16
"""The maximum indentation of a fence of tildes."""
_SPECIAL: Final = re.compile(r"[<`~{\r\n]")
_NAMED: Final = "[A-Za-z0-9_.:/-]"
_NAME: Final = re.compile(f"{_NAMED}*+")
_FENCE_PREFIX: Final = re.compile(r"[ \t>]*+(?:(?:[-*+]|[0-9]{1,9}[.)])[ \t]++)?[ \t>]*+")
_INLINE_SPACE: Final = re.compile(r"[^\S\r\n]*+")
_LONGEST_NAME: Final = 400


@lru_cache(maxsize=64)
def _interruptions(dialect: Dialect, broken: tuple[str, ...]) -> re.Pattern[str]:
    """What interrupts running text, as a pattern."""
    spellings = map(re.escape, (*dialect.text_tokens, *broken))
    return re.compile("|".join([*spellings, "`++", "~{3,}+", r"\r?\n|\{", _TAG_LIKE]))


@dataclass(frozen=True, slots=True)
class _Heads:
    """What distinguishes the heads of calls without a start tag from prose."""

    names: frozenset[str]
    listed: str
    """Every name, after a line break."""
    line_starts: frozenset[str]
    """The beginning of a line with such a call."""
    begun: re.Pattern[str]
    """What the fast path leaves to the readers; or, in group 1, a last word that may begin a head.

    A word that began earlier is not one: the beginning of a word decides.
    """

    def may_begin(self, word: str) -> bool:
        """Whether a head may begin with `word`."""
        return "call:".startswith(word) or "\n" + word.removeprefix("call:") in self.listed


@lru_cache(maxsize=64)
def _heads_of(names: tuple[str, ...]) -> _Heads:
    initials = frozenset("c").union(name[:1] for name in names)
    first = "|".join(map(re.escape, sorted(initials)))
    begun = re.compile(rf"{_SPECIAL.pattern}|(?<!{_NAMED})(?={first})({_NAMED}++)\Z")
    return _Heads(frozenset(names), "\n" + "\n".join(names), initials | frozenset(" \t:C"), begun)


class TextReader:
    """Reads the running text, and reads calls where they begin."""

    def __init__(self, source: Source, builder: ReplyBuilder, declared: Declared, *, thinking: bool) -> None:
        self._source = source
        self._buffer = source.buffer
        self._dialect = source.dialect
        self._builder = builder
        self._calls = CallReader(source, builder, declared)
        self._heads = _heads_of(tuple(declared)) if declared and not source.strict else None
        self._scan = _interruptions(source.dialect, tuple(source.broken))
        self._opener, self._closer = source.dialect.channel or ("", "")
        self._closers = (self._closer, source.dialect.either) if source.dialect.either else (self._closer,)
        self._pos = 0
        self._line = 0
        self._code = ""
        self._code_line = 0
        self._thinking = thinking
        self._thought = 0
        self._gap = False
        self._reasoned = False
        self._spoken = False
        self._mentioned = False
        self._may_call = True

    def read(self) -> Reading[None]:
        """Read to the end of the text."""
        yield from self._begin()
        while self._builder.full is None:
            if self._may_call and self._heads and not self._thinking and not self._code:
                if self._pos == len(self._buffer.text) and not self._buffer.ended:
                    yield
                    continue
                self._may_call = False
                first = self._buffer.text[self._pos : self._pos + 1]
                if first in self._heads.line_starts and (yield from self._bare_calls(0)):
                    continue
            self._may_call = False
            mark = self._next()
            if mark is None:
                if self._buffer.ended:
                    return self._end(self._pos)
                self._buffer.lane = self._take
                yield
                self._buffer.lane = None
            elif mark == self._dialect.start and not self._code:
                yield from self._tagged_calls()
            elif mark and (yield from self._act(mark)):
                return
        yield from self._rest(self._builder.full, "text after the last call that was read")

    def _begin(self) -> Reading[None]:
        """Skip a turn header that the model repeats, and a thought without its opening token."""
        if not self._buffer.text:
            yield
        if self._buffer.text.startswith(self._dialect.start):
            return
        if self._buffer.text.startswith("<"):
            yield from self._header()
        if self._closer and not self._thinking and not self._buffer.text.startswith("<", self._pos):
            end = yield from lost_opener_end(self._source, self._pos)
            if end:
                self._builder.problem(
                    "thought_opener_missing", "a thought without its opening token", self._pos, end, quoted=True
                )
                self._open_thought(end)

    def _header(self) -> Reading[None]:
        start = self._dialect.turn_start
        if not (yield from self._source.spelling(0, (start,))):
            return
        yield from self._source.have(len(start) + len("assistant\n"))
        role = _ROLE.match(self._buffer.text, len(start))
        end = role.end() if role else 0
        if end:
            self._builder.problem("header", "the model wrote its turn header again", 0, end, quoted=True)
            self._pos = end

    def _end(self, end: int) -> None:
        """The answer is over at `end`."""
        silent = self._thinking and not self._spoken and not self._builder.calls
        if silent and self._buffer.text[self._thought : end].strip():
            self._builder.problem("thought_only", "only a thought that was not closed", self._thought, end)

    # Running text

    def _next(self) -> str | None:
        """The next token, run of backticks or tildes, line break or brace, with all text before it emitted; None:
        more is needed.
        """
        text = self._buffer.text
        found = self._scan.search(text, self._pos)
        if found is None:
            self._say(len(text) if self._buffer.ended else self._certain())
            return None
        mark, at = found[0], found.start()
        if mark != "{":
            self._say(at)
            return mark
        if self._heads and not self._thinking and not self._code:
            start, name = self._name_before(at)
            if name in self._heads.names and start >= self._pos:
                self._say(start)
                return mark
        self._say(at + 1)
        return ""

    def _take(self, piece: str) -> bool:
        """Take a chunk of plain text without resuming the readers: the buffer's fast path."""
        heads = self._heads if not self._thinking and not self._code else None
        found = (heads.begun if heads else _SPECIAL).search(self._buffer.text, self._pos)
        if found is None:
            self._say(len(self._buffer.text))
        elif heads is None or not found[1]:
            return False
        else:
            self._say(found.start() if heads.may_begin(found[1]) else found.end())
        return True

    def _say(self, end: int) -> None:
        if self._source.broken:
            end = self._source.before_broken(self._pos, end)
        if end > self._pos:
            text = self._buffer.text[self._pos : end]
            self._pos = end
            self._speak(self._source.unbreak(text))

    def _speak(self, text: str) -> None:
        if self._thinking:
            self._builder.reasoning("\n" + text if self._gap else text)
            self._gap, self._reasoned = False, True
        else:
            self._builder.content(text)
            if not self._spoken:
                self._spoken = not text.isspace()

    def _certain(self) -> int:
        """Where the end of the text begins that more text could make a token, or the head of a call."""
        text, pos = self._buffer.text, self._pos
        at = text.rfind("<", pos)
        if at >= 0:
            tail = text[at : at + 64]
            if len(text) - at <= 64 and (
                any(spelling.startswith(tail) for spelling in (*self._dialect.text_tokens, *self._source.broken))
                or _TAG_LIKE_BEGUN.fullmatch(tail)
            ):
                return at
        if text.endswith("\r"):
            return len(text) - 1
        if text.endswith("~"):
            return max(pos, len(text) - (2 if text.endswith("~~") else 1))
        if not self._heads or self._thinking or self._code:
            return len(text)
        size = end_of(_NAME, text[max(pos, len(text) - _LONGEST_NAME) :][::-1])
        begun = self._heads.begun.match(text, len(text) - size) if size else None
        return begun.start() if begun and self._heads.may_begin(begun[1]) else len(text)

    def _name_before(self, end: int) -> tuple[int, str]:
        """Where the word before `end` begins, and the name in it, which may follow `call:`."""
        size = end_of(_NAME, self._buffer.text[max(0, end - _LONGEST_NAME) : end][::-1], 0)
        start = end - size
        return start, self._buffer.text[start:end].removeprefix("call:")

    # Marks

    def _act(self, mark: str) -> Reading[bool]:
        """Handle the `mark` at the position; return whether nothing more is read."""
        end = self._pos + len(mark)
        if mark[-1] == "\n":
            yield from self._line_break(end)
        elif mark == "{":
            yield from self._inline_call()
        elif mark[0] in "`~":
            yield from self._code_mark(mark[0])
        elif WORD_JOINER in mark:
            self._say(end)
        elif self._code and (yield from self._is_code(mark)):
            pass
        else:
            self._code = ""
            return (yield from self._control(mark))
        return False

    def _line_break(self, end: int) -> Reading[None]:
        if self._thinking and (yield from self._source.spelling(end, self._closers)):
            self._pos = end
            return
        self._say(end)
        self._line = end
        if len(self._code) < _FENCE:
            self._code = ""
        self._may_call = True

    def _code_mark(self, mark: str) -> Reading[None]:
        """A run of backticks opens code, and an equally long run closes it; a fence may be of tildes, at the start
        of a line.
        """
        start = self._pos
        end = yield from self._source.run(start, _RUNS[mark])
        before = self._buffer.text[self._line : start] if start - self._line <= _DEEPEST_FENCE else "text"
        size, opened = end - start, len(self._code)
        if mark == "~" and not _FENCE_PREFIX.fullmatch(before):
            self._say(end)
        elif not opened:
            self._say(end)
            self._code, self._code_line = mark * size, self._line
        elif mark == self._code[0] and (size == opened or size > opened >= _FENCE):
            closed = opened < _FENCE or self._line == self._code_line or (yield from self._ends_line(end))
            self._say(end)
            if closed:
                self._code = ""
        else:
            self._say(end)

    def _ends_line(self, pos: int) -> Reading[bool]:
        """Whether a line ends at `pos`, or a special token is there: a fence does not close before other text."""
        at = yield from self._source.run(pos, _INLINE_SPACE)
        if self._buffer.text[at : at + 1] in ("", "\n", "\r"):
            return True
        return bool((yield from self._source.spelling(at, self._dialect.tokens)))

    def _is_code(self, token: str) -> Reading[bool]:
        """Whether the next token, inside code, is a quotation; then it is emitted."""
        source, end = self._source, self._pos + len(token)
        if len(self._code) >= _FENCE:
            if token == self._closer and self._thinking:
                return False
            # A turn may end inside a fence that was never closed: then its end is the end of the text.
            if token in self._dialect.stop and (yield from source.run(end, SPACE)) == len(self._buffer.text):
                return False
            self._say(end)
            return True
        while True:
            at, mark = _code_end(self._buffer, end)
            if mark == self._code:
                self._say(at)
                self._code = ""
                return True
            if mark == "\n" or (not mark and self._buffer.ended):
                # If the cut was inside a code span, the text could have closed it.
                if mark or not self._buffer.cut:
                    return False
                self._say(len(self._buffer.text))
                return True
            end = at
            if not mark:
                yield

    def _inline_call(self) -> Reading[None]:
        """The name of a tool and a brace in the middle of a line: a call that lost its start tag, or prose."""
        pos, dealt = yield from self._calls.inline(self._pos, self._buffer.text.index("{", self._pos) + 1)
        if dealt:
            self._pos = pos
            self._may_call = True
        else:
            self._say(pos)

    # Special tokens

    def _control(self, token: str) -> Reading[bool]:
        """Handle the next special token; return whether nothing more is read."""
        dialect, start = self._dialect, self._pos
        end = start + len(token)
        if token == dialect.start:
            yield from self._tagged_calls()
        elif token == self._opener or (token == dialect.either and not self._thinking):
            yield from self._thought_opens(token)
        elif token == self._closer or token == dialect.either:
            yield from self._thought_closes(token)
        elif token in dialect.stop or token == dialect.turn_start:
            self._pos = start if token == dialect.turn_start else end
            self._end(start)
            yield from self._rest("after_end", "text after the end of the turn")
            return True
        elif token not in dialect.tokens or token == dialect.declaration[0]:
            if self._heads and not self._thinking and (yield from self._bare_calls(len(token))):
                return False
            if self._pos == start:
                self._stray(token)
        else:
            self._stray(token)
        return False

    def _stray(self, token: str) -> None:
        """A token without a meaning here."""
        start, end = self._pos, self._pos + len(token)
        if token not in self._dialect.tokens:
            self._say(end)
            return
        if token == self._dialect.end:
            if self._mentioned:
                self._say(end)
                return
            self._builder.problem("stray_end_tag", "an end tag without a call", start, end, quoted=True)
            self._may_call = True
        elif token not in self._dialect.fillers:
            self._builder.problem("stray_token", "a special token that has no meaning here", start, end, quoted=True)
        self._pos = end

    def _tagged_calls(self) -> Reading[None]:
        start = self._pos
        pos, dealt = yield from self._calls.tagged(start)
        if not dealt:
            self._mentioned = True
            self._say(pos)
            return
        if self._thinking:
            self._thinking = False
            self._builder.problem("thought_open", "a call ended the thought, which was not closed", start, start)
        self._mentioned = False
        self._pos = pos
        self._may_call = True

    def _bare_calls(self, tag: int) -> Reading[bool]:
        pos, dealt = yield from self._calls.bare(self._pos, tag)
        if dealt:
            self._pos = pos
            self._may_call = True
        else:
            self._say(pos)
        return dealt

    def _thought_opens(self, token: str) -> Reading[None]:
        start, end = self._pos, self._pos + len(token)
        after = yield from label_end(self._source, end)
        if token == self._dialect.either:
            if after == end and self._spoken:
                self._say(end)
                return
            self._builder.problem("channel_token", "a misspelt thought token", start, end, quoted=True)
        elif self._thinking:
            self._builder.problem("thought_opened_again", "the thought channel was opened twice", start, end, quoted=True)
        self._open_thought(after)

    def _open_thought(self, pos: int) -> None:
        self._gap = self._reasoned
        self._thinking = True
        self._pos = self._thought = pos

    def _thought_closes(self, token: str) -> Reading[None]:
        start, end = self._pos, self._pos + len(token)
        self._pos = end
        if not self._thinking:
            self._builder.problem("stray_token", "a thought was closed but not open", start, end, quoted=True)
            return
        if token != self._closer:
            self._builder.problem("channel_token", "a misspelt thought token", start, end, quoted=True)
        self._thinking = False
        after = yield from leaked_label_end(self._source, end)
        if after > end:
            self._builder.problem("label", "the channel's label was written after the thought", end, after, quoted=True)
        self._pos = after
        self._may_call = True

    def _rest(self, kind: Literal["after_end", "call_limit", "repeated_call"], message: str) -> Reading[None]:
        """Reading ends: the rest is neither content nor a call."""
        while not self._buffer.ended:
            yield
        start, end = self._pos, len(self._buffer.text)
        if kind != "after_end":
            start = end_of(self._dialect.after_turn, self._buffer.text, start)
        rest = self._buffer.text[start:end]
        # An engine that is stopped at its last call may have begun its end tag.
        begun = kind != "after_end" and any(token.startswith(rest) for token in (self._dialect.end, *self._dialect.stop))
        if rest.strip() and not begun:
            self._builder.problem(kind, message, start, end, quoted=True)
        self._pos = end


def _code_end(buffer: Buffer, pos: int) -> tuple[int, str]:
    """The next line break or run of backticks, and where it ends; or "", and where to continue."""
    text = buffer.text
    found = _CODE_END.search(text, pos)
    if found is None:
        return len(text), ""
    if found.end() == len(text) and not buffer.ended and found[0] != "\n":
        return found.start(), ""
    return found.end(), found[0]
