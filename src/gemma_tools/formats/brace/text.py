"""Read the brace notation that FunctionGemma and Gemma 4 share, exact or drifted, piece by piece.

    <start_function_call>call:NAME{key:<escape>text<escape>,n:1,l:[true]}<end_function_call>

Here running text is told apart: content, reasoning, code, and where calls begin and end. The arguments are read by
`brace_body`. Every departure from the exact notation goes through `_repair`, which reports it, or refuses the call at level
"strict".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Sequence
from functools import lru_cache
from typing import Any, Final

from gemma_tools.formats.base import Opens
from gemma_tools.formats.brace.arguments import BodyReader
from gemma_tools.formats.brace.tokens import Dialect
from gemma_tools.formats.brace.values import Cut, Unreadable, behind_space
from gemma_tools.formats.parsing import Reading, declared_tools
from gemma_tools.prompt import WORD_JOINER

_NAME: Final = r"[^\s{}()\[\]\"'`,<]{1,400}"
_EXACT_HEAD: Final = re.compile(rf"call:({_NAME})(\{{)")
_EXACT_HEAD_BEGUN: Final = re.compile(rf"c(?:a(?:l(?:l(?::(?:{_NAME})?)?)?)?)?|")
_TAGGED_HEAD: Final = re.compile(rf"[\s,]*:?\s*(?:[Cc][Aa][Ll][Ll]\b\s*:?\s*)?({_NAME})\s*([{{(])")
_TAGGED_HEAD_BEGUN: Final = re.compile(rf"[\s,]*:?\s*(?:[Cc][Aa][Ll][Ll]\b\s*:?\s*)?(?:{_NAME}\s*)?")
_WORD_HEAD: Final = re.compile(rf"[ \t]*(?:[Cc][Aa][Ll][Ll](?:\s*:\s*|[ \t]+)|:)({_NAME})\s*([{{(])")
_WORD_HEAD_BEGUN: Final = re.compile(
    rf"[ \t]*(?:[Cc](?:[Aa](?:[Ll](?:[Ll](?:\s*:\s*(?:{_NAME}\s*)?|[ \t]+(?:{_NAME}\s*)?|\s*)?)?)?)?|:(?:{_NAME}\s*)?)?"
)
_NAME_HEAD: Final = re.compile(rf"[ \t]*({_NAME})\s*(\{{)")
_NAME_HEAD_BEGUN: Final = re.compile(rf"[ \t]*({_NAME})(\s*)")
_TAG_LIKE: Final = r"<[/|]{0,2}(?i:start_?)?(?i:tool|function)?_?(?i:calls?)\|?>"
_TAG_LIKE_BEGUN: Final = re.compile(r"<[/|]{0,2}[A-Za-z_]{0,24}\|?")
_END_LIKE: Final = re.compile(r"</?\|?[A-Za-z_]{1,24}\|?>")
_END_LIKE_BEGUN: Final = re.compile(r"(?:</?\|?[A-Za-z_]{0,24}\|?)?")
_CODE_END: Final = re.compile("\n|`+")
_CLOSERS: Final = re.compile(r"[\s}\])]*")
_ROLE: Final = re.compile(r"(?:model|assistant)\n")
_FENCE: Final = 3
_LABEL: Final = "thought"


@lru_cache(maxsize=64)
def _interruptions(tokens: tuple[str, ...], guarded: frozenset[str]) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """What interrupts running text, as a pattern and as the spellings of its tokens."""
    broken = tuple(spelling[0] + WORD_JOINER + spelling[1:] for spelling in guarded)
    spellings = tokens + broken
    return re.compile("|".join([*map(re.escape, spellings), "`+", "\n", _TAG_LIKE])), spellings


def _behind_closers(text: str, pos: int) -> int:
    closers = _CLOSERS.match(text, pos)
    return closers.end() if closers else pos


class BraceParser(BodyReader):
    """Reads one generation of a family that writes calls in the brace notation."""

    def __init__(
        self,
        dialect: Dialect,
        tools: Sequence[Any] | None = None,
        *,
        opens: Opens = "content",
        guarded: Collection[str] = (),
        strict: bool = False,
    ) -> None:
        super().__init__(dialect, strict=strict, guarded=guarded)
        self._declared = declared_tools(tools)
        self._drift = bool(self._declared) and not self._strict
        self._scan, self._spellings = _interruptions(dialect.tokens, self._guarded)
        self._opener, self._closer = dialect.channel or ("", "")
        self._thinking = opens == "reasoning" and dialect.channel is not None
        self._code = ""

    def _read(self) -> Reading:
        if self._text[:1] in ("", "<"):
            yield from self._header()
        may_call = True
        while True:
            may_call = may_call and self._drift and not self._thinking and not self._code
            if may_call and self._text[self._pos : self._pos + 1] != "<":
                may_call = yield from self._bare_call(0)
                if may_call:
                    continue
            may_call = False
            text, pos = self._text, self._pos
            found = self._scan.search(text, pos)
            if found is None:
                self._say(text, len(text) if self._ended else self._certain(text, pos))
                if self._ended:
                    return
                yield
                continue
            at, token = found.start(), found[0]
            if token == self._dialect.start and not self._code and not self._thinking:
                self._say(text, at)
                text = ""
                yield from self._envelope()
                may_call = True
            elif token == "\n":
                if self._thinking and not self._ended and self._closer.startswith(text[at + 1 :]):
                    self._say(text, at)
                    yield
                    continue
                if self._thinking and text.startswith(self._closer, at + 1):
                    self._say(text, at)
                    self._pos = at + 1
                    continue
                self._say(text, at + 1)
                if len(self._code) < _FENCE:
                    self._code = ""
                may_call = True
            elif token[0] == "`":
                if found.end() == len(text) and not self._ended:
                    self._say(text, at)
                    yield
                    continue
                self._say(text, found.end())
                self._toggle_code(token)
            elif WORD_JOINER in token:
                self._say(text, at)
                self._speak(self._unbreak(token))
                self._pos = found.end()
            else:
                text = ""
                if not self._code or not (yield from self._is_code(at, token)):
                    self._code = ""
                    ended, may_call = yield from self._control(token)
                    if ended:
                        return

    def _header(self) -> Reading:
        """Pass over a turn header that the model writes again in front of its answer."""
        start = self._dialect.turn_start
        while not self._ended and start.startswith(self._text[self._pos : self._pos + len(start)]):
            if self._text.startswith(start):
                break
            yield
        if not self._text.startswith(start):
            return
        while not self._ended and len(self._text) < len(start) + len("assistant\n"):
            yield
        role = _ROLE.match(self._text, len(start))
        if role:
            self._emit_problem("header", "the model wrote its turn header again", self._text[: role.end()])
            self._pos = role.end()

    def _say(self, text: str, end: int) -> None:
        self._speak(text[self._pos : end])
        self._pos = end

    def _speak(self, text: str) -> None:
        if self._thinking:
            self._emit_reasoning(text)
        else:
            self._emit_content(text)

    def _certain(self, text: str, pos: int) -> int:
        """Where the tail begins that more text could make a token."""
        at = text.rfind("<", pos)
        if at < 0:
            return len(text)
        tail = text[at:]
        if any(spelling.startswith(tail) for spelling in self._spellings) or _TAG_LIKE_BEGUN.fullmatch(tail):
            return at
        return len(text)

    def _toggle_code(self, run: str) -> None:
        if not self._code:
            self._code = run
        elif len(run) == len(self._code) or len(run) > len(self._code) >= _FENCE:
            self._code = ""

    def _is_code(self, at: int, token: str) -> Generator[None, None, bool]:
        """Whether the token at `at`, inside backticks, is a quotation; then it is said. Else `_pos` is put on it."""
        self._say(self._text, at)
        behind = len(token)
        if len(self._code) >= _FENCE:
            if token == self._closer and self._thinking:
                return False
            if token in self._dialect.stop:
                # A turn may end inside a fence that was never closed: then its end is the end of the text.
                while not self._ended and behind_space(self._text, self._pos + behind) == len(self._text):
                    yield
                if behind_space(self._text, self._pos + behind) == len(self._text):
                    return False
            self._say(self._text, self._pos + behind)
            return True
        while True:
            found = _CODE_END.search(self._text, self._pos + behind)
            if found is None or (found.end() == len(self._text) and not self._ended):
                if self._ended:
                    return False
                behind = (found.start() if found else len(self._text)) - self._pos
                yield
            elif found[0] == self._code:
                self._say(self._text, found.end())
                self._code = ""
                return True
            elif found[0] == "\n":
                return False
            else:
                behind = found.end() - self._pos

    def _control(self, token: str) -> Generator[None, None, tuple[bool, bool]]:
        """Act on the control token ahead: whether the text ended with it, and whether a bare call may follow."""
        dialect = self._dialect
        at = self._text.index(token, self._pos)
        self._say(self._text, at)
        if token == dialect.start:
            if self._thinking:
                self._thinking = False
                self._emit_problem("thought_open", "a call ended the thought, which was not closed")
            yield from self._envelope()
            return False, True
        if token == self._opener and self._opener:
            if self._thinking:
                self._emit_problem("thought_opened_again", "the thought channel was opened twice", token)
            self._thinking = True
            self._pos += len(token)
            yield from self._label(leaked=False)
            return False, False
        if token == self._closer and self._closer:
            self._pos += len(token)
            if not self._thinking:
                self._emit_problem("stray_token", "a thought was closed that was not open", token)
                return False, False
            self._thinking = False
            yield from self._label(leaked=True)
            return False, True
        if token in dialect.stop or token == dialect.turn_start:
            yield from self._rest(token)
            return True, False
        if token not in dialect.tokens:
            called = self._drift and not self._thinking and (yield from self._bare_call(len(token)))
            if self._text.startswith(token, self._pos) and not called:
                self._say(self._text, self._pos + len(token))
            return False, called
        self._pos += len(token)
        if token == dialect.end:
            self._emit_problem("stray_end_tag", "an end tag without a call", token)
            return False, True
        if token not in dialect.fillers:
            self._emit_problem("stray_token", "a control token that means nothing here", token)
        return False, False

    def _label(self, *, leaked: bool) -> Reading:
        """Pass over the channel's label: `thought` and a line break behind the opener, or leaked behind the closer."""
        label = _LABEL + "\n"
        while not self._ended and label.startswith(self._text[self._pos : self._pos + len(label)]):
            if self._text.startswith(label, self._pos):
                break
            yield
        text, behind = self._text, self._pos + len(_LABEL)
        if not text.startswith(_LABEL, self._pos):
            return
        if text.startswith("\n", behind):
            behind += 1
        elif behind < len(text) and (leaked or not text.startswith(self._closer, behind)):
            while not self._ended and self._dialect.is_begun(self._text, self._pos + len(_LABEL)):
                yield
            behind = self._pos + len(_LABEL)
            if not self._dialect.token.match(self._text, behind):
                return
        if leaked:
            self._emit_problem("label", "the channel's label was written behind the thought", self._text[self._pos : behind])
        self._pos = behind

    def _rest(self, token: str) -> Reading:
        """The turn is over: what the model wrote behind it is its own invention, and neither content nor a call."""
        if token != self._dialect.turn_start:
            self._pos += len(token)
        self._pinned = True
        while not self._ended:
            yield
        rest = self._text[self._pos :]
        self._pos = len(self._text)
        if rest.strip():
            self._emit_problem("after_end", "text behind the end of the turn", rest)

    def _resolve(self, written: str) -> tuple[str, bool] | None:
        """The declared name that was written, and whether it was written exactly; None if none was."""
        if self._declared is None or written in self._declared:
            return written, True
        if self._strict:
            return None
        bare = written.rstrip(":")
        while bare not in self._declared:
            cut = re.search(r"[.:/]", bare)
            if not cut:
                return None
            bare = bare[cut.end() :]
        return bare, False

    def _envelope(self) -> Reading:
        """Read the start tag at `_pos` and the calls behind it, as far as their end tag."""
        self._pin()
        pos = self._pos + len(self._dialect.start)
        head = _EXACT_HEAD.match(self._text, pos)
        if not head:
            pos = yield from self._start_tags()
        while True:
            head = head or (yield from self._tagged_head(pos))
            if head is None:
                yield from self._skip(pos, "unreadable", "no call can be read behind the start tag")
                break
            resolved = self._resolve(head[1])
            self._begin(resolved[0] if resolved else None, live=resolved is not None)
            try:
                if resolved and not (resolved[1] and head[0] == f"call:{head[1]}{{"):
                    self._repair("head", f"{head[0].strip()!r} was read as a call of {resolved[0]!r}", pos)
                schema = self._declared.get(resolved[0], {}) if resolved and self._declared else {}
                pos = yield from self._body(head.end(), head[2], schema)
            except Cut:
                self._drop_call(cut=True)
                self._give_up(len(self._text), "cut", "the text ended inside a call")
                break
            except Unreadable as fault:
                self._drop_call(cut=False)
                yield from self._skip(fault.pos, "unreadable", str(fault))
                break
            if resolved is None:
                yield from self._skip(pos, "undeclared", f"no tool named {head[1]!r} is declared")
                break
            self._finish_call()
            self._pos = pos
            if self._text.startswith(self._dialect.end, pos):
                self._pos = pos + len(self._dialect.end)
                break
            if not (yield from self._end_tag()):
                break
            pos, head = self._pos, None
        self._pinned = False

    def _start_tags(self) -> Generator[None, None, int]:
        """Pass over the start tag, and over one that was written again; return where the call begins."""
        start = self._dialect.start
        pos = self._pos + len(start)
        while True:
            at = behind_space(self._text, pos)
            if self._strict:
                return pos
            if self._text.startswith(start, at):
                self._emit_problem("start_tag_twice", "the start tag was written twice")
                pos = at + len(start)
            elif self._ended or not start.startswith(self._text[at : at + len(start)]):
                return pos
            else:
                yield

    def _tagged_head(self, pos: int) -> Generator[None, None, re.Match[str] | None]:
        exact, begun = (_EXACT_HEAD, _EXACT_HEAD_BEGUN) if self._strict else (_TAGGED_HEAD, _TAGGED_HEAD_BEGUN)
        while True:
            head = exact.match(self._text, pos)
            if head or self._ended or not begun.fullmatch(self._text, pos):
                return head
            yield

    def _end_tag(self) -> Generator[None, None, bool]:
        """Pass over the end tag at `_pos`; whether another call begins there in the same tags."""
        end, pos = self._dialect.end, self._pos
        at = pos
        while True:
            text = self._text
            at = _behind_closers(text, at)
            if text.startswith(end, at):
                surplus = text[pos:at].strip()
                if surplus:
                    self._emit_problem("bracket_surplus", "a closing bracket that closes nothing", surplus)
                self._pos = at + len(end)
                return False
            head = None if self._strict else _TAGGED_HEAD.match(text, pos)
            if head and self._resolve(head[1]) and (self._declared or head[0].startswith("call:")):
                self._emit_problem("second_call", "a second call inside one pair of tags")
                return True
            begun = end.startswith(text[at : at + len(end)]) or (
                not self._strict and not head and _TAGGED_HEAD_BEGUN.fullmatch(text, pos)
            )
            if self._ended or not begun:
                self._emit_problem("end_tag_missing", "the call has no end tag", index=self._opened - 1)
                return False
            text = ""
            yield

    def _skip(self, pos: int, kind: str, message: str) -> Reading:
        """Keep a call that cannot be read in a Problem, up to its end tag or what comes instead of it."""
        while True:
            found = self._dialect.envelope_end.search(self._text, pos)
            if found:
                self._give_up(found.end(), kind, message)
                return
            if self._ended:
                self._cut = True
                self._give_up(len(self._text), "cut" if kind == "unreadable" else kind, message)
                return
            pos = max(pos, len(self._text) - self._dialect.longest)
            yield

    def _give_up(self, end: int, kind: str, message: str) -> None:
        self._emit_problem(kind, message, self._text[self._pos : end])
        self._pos = end

    def _bare_call(self, tag: int) -> Generator[None, None, bool]:
        """Read the call of a declared tool that begins at `_pos` without its start tag.

        `tag` is the length of something like a start tag in front of it. Such a call is held back until it is complete,
        for without tags only its closing bracket shows that it is one; what turns out to be none is content.
        """
        while True:
            head = self._bare_head(self._pos + tag, tagged=tag > 0)
            if head:
                break
            if self._ended or not self._bare_head_begun(self._pos + tag, tagged=tag > 0):
                return False
            yield
        resolved = self._resolve(head[1])
        assert resolved is not None
        assert self._declared is not None
        behind = head.end() - self._pos
        self._pin()
        self._begin(resolved[0], live=False)
        try:
            self._repair("bare_call", f"a call of {resolved[0]!r} without its start tag", self._pos)
            pos = yield from self._body(self._pos + behind, head[2], self._declared[resolved[0]])
        except Cut:
            self._cut = True
            self._give_up(len(self._text), "cut", "the text ended inside a call")
            return True
        except Unreadable as fault:
            self._say(self._text, fault.pos)
            return False
        finally:
            self._pinned = False
        self._finish_call()
        self._pos = pos
        yield from self._bare_end_tag(tagged=tag > 0)
        return True

    def _bare_head(self, pos: int, *, tagged: bool) -> re.Match[str] | None:
        head = (_TAGGED_HEAD if tagged else _WORD_HEAD).match(self._text, pos)
        if head and self._resolve(head[1]):
            return head
        head = None if tagged else _NAME_HEAD.match(self._text, pos)
        return head if head and self._declared and head[1] in self._declared else None

    def _bare_head_begun(self, pos: int, *, tagged: bool) -> bool:
        if (_TAGGED_HEAD_BEGUN if tagged else _WORD_HEAD_BEGUN).fullmatch(self._text, pos):
            return True
        name = _NAME_HEAD_BEGUN.fullmatch(self._text, pos)
        if not name or not self._declared:
            return False
        return name[1] in self._declared if name[2] else any(known.startswith(name[1]) for known in self._declared)

    def _bare_end_tag(self, *, tagged: bool) -> Reading:
        """Pass over the end tag at `_pos`, or what is like one where something like a start tag stood in front."""
        end = self._dialect.end
        while True:
            at = _behind_closers(self._text, self._pos)
            if self._text.startswith(end, at):
                self._pos = at + len(end)
                return
            like = _END_LIKE.match(self._text, at) if tagged else None
            if like:
                self._emit_problem("stray_end_tag", "something like an end tag", like[0])
                self._pos = like.end()
                return
            begun = end.startswith(self._text[at : at + len(end)]) or (tagged and _END_LIKE_BEGUN.fullmatch(self._text, at))
            if self._ended or not begun:
                return
            yield
