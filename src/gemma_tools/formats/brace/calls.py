"""Reads the calls of one generation: where each begins and ends, with or without its tags.

<start_function_call>call:NAME{...}<end_function_call>
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from gemma_tools.formats.brace.arguments import Arguments
from gemma_tools.formats.brace.heads import LONGEST_NAME, Head, exact_head, line_head, resolve, tagged_head
from gemma_tools.formats.brace.source import CLOSERS, Call, Cut, Source, Unreadable
from gemma_tools.formats.lookahead import SPACE
from gemma_tools.formats.reading import Declared, Reading, ReplyBuilder
from gemma_tools.reply import ProblemKind
from gemma_tools.schema.shape import ANY, Shape

_END_TAG_LIKE: Final = re.compile(r"<[/|]{0,2}(?i:end_|start_)?(?i:tool_?calls?|function_?calls?|calls?|tools?|functions?)\|?>")
_TAG_LIKE: Final = re.compile(r"</?\|?[A-Za-z_]{1,24}\|?>")
_TAG_LIKE_BEGUN: Final = re.compile(r"(?:<[/|]{0,2}[A-Za-z_]{0,24}\|?)?")
_COMMA: Final = re.compile(r"[\s,]*+")
_UNBALANCED: Final[tuple[ProblemKind, ...]] = ("bracket_kind", "bracket_missing", "bracket_surplus", "string_open")


After: TypeAlias = tuple[int, bool]
"""Where to continue, and whether the text so far is handled; if not, it is content."""


class CallReader:
    """Reads calls, and says where to continue after them.

    The text that its methods read is a call, a problem, or otherwise content.
    """

    def __init__(self, source: Source, builder: ReplyBuilder, declared: Declared) -> None:
        self._source = source
        self._buffer = source.buffer
        self._builder = builder
        self._declared = declared
        self._open_end = -1

    # With a start tag

    def tagged(self, start: int) -> Reading[After]:
        """Read the start tag at `start` and the calls after it, as far as their end tag."""
        source = self._source
        pos = tag_end = start + len(source.dialect.start)
        head = exact_head(source, pos)
        if head is None:
            pos = yield from self._start_tags(pos)
            head = yield from tagged_head(source, pos)
            if not head.bracket and not source.strict:
                head = yield from self._listed_head(head)
            if head.bracket and pos > tag_end:
                self._builder.problem("start_tag_twice", "the start tag was written twice", tag_end, pos)
        while True:
            if not head.bracket or (source.strict and not (head.exact and head.bracket == "{")):
                return (yield from self._no_call(start, pos, head))
            name = resolve(head.name, self._declared, strict=source.strict)
            if name is None:
                return (yield from self._undeclared(start, head))
            calls = len(self._builder.calls)
            pos, dealt = yield from self._native(start, head, name)
            if len(self._builder.calls) == calls or self._builder.full:
                return pos, dealt
            start, more = yield from self._end_tag(pos)
            if not more:
                return start, True
            head = yield from tagged_head(source, start)

    def _start_tags(self, pos: int) -> Reading[int]:
        """Skip repeated start tags; return where the call begins."""
        tag = self._source.dialect.start
        while not self._source.strict:
            at = yield from self._source.run(pos, SPACE)
            if not (yield from self._source.spelling(at, (tag,))):
                break
            pos = at + len(tag)
        return pos

    def _listed_head(self, head: Head) -> Reading[Head]:
        """The first head of a list of calls; `head` itself, if there is no list."""
        if head.name or not self._buffer.text.startswith("[", head.end):
            return head
        first = yield from tagged_head(self._source, head.end + 1)
        if not first.bracket or resolve(first.name, self._declared, strict=False) is None:
            return head
        self._builder.problem("call_list", "calls in a list", head.end, head.end + 1)
        return first

    def _native(self, start: int, head: Head, name: str) -> Reading[After]:
        """Read the call of `name` that began at `start`; return where it ends, or where to continue without one."""
        call = Call(self._builder, name, start, live=True, refused=None if self._source.strict else ())
        try:
            if not head.exact or name != head.name:
                written = self._buffer.text[head.start : head.end]
                call.repair("head", f"{written!r} was read as a call of {name!r}", head.start, head.end)
            pos = yield from Arguments(self._source, call, self._shape(name)).read(head.end, head.bracket)
        except Cut:
            self._builder.drop_call()
            return self._cut(start)
        except Unreadable as unreadable:
            # An exception refers to the frames that it passed through, and they refer to the text.
            pos, fault = unreadable.pos, str(unreadable)
        else:
            call.finish(pos)
            return pos, True
        self._builder.drop_call()
        return (yield from self._skip(start, pos, fault, known=self._declared is not None))

    def _shape(self, name: str) -> Shape:
        return ANY if self._declared is None else self._declared.shape(name)

    def _end_tag(self, pos: int) -> Reading[tuple[int, bool]]:
        """Skip the end tag at `pos`; return where to continue, and whether another call begins there."""
        source, end = self._source, self._source.dialect.end
        if self._buffer.text.startswith(end, pos):
            return pos + len(end), False
        bracket_end = at = yield from source.run(pos, CLOSERS)
        found = yield from source.spelling(at, (end, source.dialect.delimiter))
        while found == source.dialect.delimiter:
            at = yield from source.run(at + len(found), CLOSERS)
            found = yield from source.spelling(at, (end, source.dialect.delimiter))
        if found:
            self._surplus(pos, at)
            return at + len(end), False
        if not source.strict:
            like = yield from self._tag_like(bracket_end, _END_TAG_LIKE)
            if like and like != source.dialect.start:
                self._surplus(pos, bracket_end)
                after = bracket_end + len(like)
                self._builder.problem("end_tag_kind", "a different end tag", bracket_end, after, quoted=True)
                return after, False
            head = yield from tagged_head(source, bracket_end)
            if head.bracket and (self._buffer.text.startswith("call:", head.start) or self._is_named(head)):
                self._surplus(pos, bracket_end)
                self._builder.problem("second_call", "a second call inside one pair of tags", head.start, head.end)
                return bracket_end, True
        # The token limit may end the text in the middle of the end tag.
        size = len(self._buffer.text)
        after = size if self._buffer.ended and at < size and end.startswith(self._buffer.text[at:]) else pos
        message = "the call has no end tag"
        self._builder.problem("end_tag_missing", message, pos, after, quoted=True, index=self._builder.last_index)
        self._open_end = after
        return after, False

    def _surplus(self, start: int, end: int) -> None:
        written = self._buffer.text[start:end]
        if written.strip():
            start += len(written) - len(written.lstrip())
            end -= len(written) - len(written.rstrip())
            self._builder.problem("bracket_surplus", "a closing bracket without an opening one", start, end, quoted=True)

    def _is_named(self, head: Head) -> bool:
        return resolve(head.name, self._declared, strict=False) is not None and (bool(self._declared) or head.keyword)

    def _tag_like(self, pos: int, pattern: re.Pattern[str]) -> Reading[str]:
        """A token that looks like a tag at `pos`; "" if there is none."""
        buffer = self._buffer
        while True:
            found = pattern.match(buffer.text, pos)
            if found or buffer.ended or not _TAG_LIKE_BEGUN.fullmatch(buffer.text, pos):
                return found[0] if found else ""
            yield

    # Text that is not a call

    def _no_call(self, start: int, tag_end: int, head: Head) -> Reading[After]:
        """After the start tag no call begins: it is one without brackets, an unreadable one, or the tag is only mentioned."""
        builder, end_tag = self._builder, self._source.dialect.end
        at, ahead = yield from self._source.ahead(head.end)
        if ahead == end_tag and self._needs_nothing(head):
            call = Call(builder, head.name, start, live=True)
            call.repair("braces_missing", "a call without brackets", at, at)
            call.out.append("{}")
            call.finish(at)
            return at if builder.full else at + len(end_tag), True
        if not self._source.strict and self._open_end >= 0 and not self._buffer.text[self._open_end : start].strip():
            builder.problem("end_tag_kind", "a start tag instead of the end tag", start, tag_end, quoted=True)
            self._open_end = -1
            return tag_end, True
        if not ahead and (self._buffer.cut or head.keyword):
            return self._cut(start)
        container = not head.name and ahead in ("{", "[")
        if container or head.bracket or self._is_garbled(start, tag_end, head, at, ahead):
            message = "no call can be read after the start tag"
            known = container or bool(head.bracket) or (head.keyword and self._is_declared(head.name))
            pos, dealt = yield from self._skip(start, head.end, message, known=known)
            return (pos, True) if dealt else (tag_end, False)
        return tag_end, False

    def _is_garbled(self, start: int, tag_end: int, head: Head, at: int, ahead: str) -> bool:
        """Whether the text after a start tag was meant as a call, even if it cannot be read: not so in prose about the tag."""
        dialect = self._source.dialect
        if ahead == dialect.end and at == tag_end:
            line = self._buffer.text[max(0, start - LONGEST_NAME) : start].rpartition("\n")[2]
            return not line.strip()
        if head.keyword and ahead in (dialect.end, *dialect.stop):
            return True
        return bool(head.name) and at == head.end and ahead in (*"[{(<\"'`", dialect.delimiter, dialect.end)

    def _needs_nothing(self, head: Head) -> bool:
        """Whether a head without brackets names a tool that may be called without arguments."""
        return self._is_declared(head.name) and not self._source.strict and self._shape(head.name).may_be_empty

    def _is_declared(self, name: str) -> bool:
        return self._declared is not None and name in self._declared

    def _undeclared(self, start: int, head: Head) -> Reading[After]:
        """Read the call of a tool that is not declared, to its end."""
        call = Call(self._builder, head.name, start, live=False, refused=None if self._source.strict else ())
        try:
            pos = yield from Arguments(self._source, call, ANY).read(head.end, head.bracket)
        except Cut:
            return self._cut(start)
        except Unreadable as unreadable:
            pos, fault = unreadable.pos, str(unreadable)
        else:
            at = yield from self._source.run(pos, CLOSERS)
            end_tag = yield from self._source.spelling(at, (self._source.dialect.end,))
            end = at + len(end_tag) if end_tag else pos
            message = f"no tool named {head.name!r} is declared"
            self._builder.problem("undeclared", message, start, end, quoted=True)
            return end, True
        return (yield from self._skip(start, pos, fault, known=False))

    def _skip(self, start: int, pos: int, message: str, *, known: bool) -> Reading[After]:
        """Put an unreadable call into a problem, up to its end tag or what replaces it.

        Without an end tag and a `known` name it was prose.
        """
        tag = self._source.dialect.start
        while True:
            end, tagged = self._find_end(pos)
            if end >= 0 or self._buffer.ended:
                break
            pos = max(pos, len(self._buffer.text) - self._source.dialect.longest)
            yield
        known = known or tagged or self._buffer.text.find(tag, start + len(tag), pos) >= 0
        if not known and not (end < 0 and self._buffer.cut):
            return start + len(tag), False
        if end < 0:
            return self._cut(start)
        self._builder.problem("unreadable", message, start, end, quoted=True)
        return end, True

    def _find_end(self, pos: int) -> tuple[int, bool]:
        """Where an unreadable call ends, or -1, and whether its end tag is there."""
        found = self._source.dialect.envelope_end.search(self._buffer.text, pos)
        return (found.end(), bool(found[0])) if found else (-1, False)

    def _cut(self, start: int) -> After:
        self._builder.cut()
        end = len(self._buffer.text)
        self._builder.problem("cut", "the text ended inside a call", start, end, quoted=True)
        return end, True

    # Without a start tag

    def bare(self, start: int, tag: int) -> Reading[After]:
        """Read consecutive calls without start tags from `start` on.

        `tag` is the length of a token before them that looks like a start tag. Such calls are held back until it is certain
        that they are calls: all are complete, and only an end tag, another special token or the end of the text follows.
        """
        held: list[tuple[Call, int]] = []
        pos = start
        while True:
            head = yield from self._bare_head(pos + tag, tagged=tag > 0)
            if head is None:
                return (held[-1][1] if held else start), False
            name = resolve(head.name, self._declared, strict=False)
            assert name is not None
            call = Call(self._builder, name, pos, live=False)
            call.repair("bare_call", f"a call of {name!r} without its start tag", pos, head.end)
            try:
                end = yield from Arguments(self._source, call, self._shape(name)).read(head.end, head.bracket)
            except Cut:
                return self._cut(start)
            except Unreadable as unreadable:
                return unreadable.pos, False
            held.append((call, end))
            after = yield from self._after_bare(end, tagged=tag > 0)
            if after >= 0:
                return self._finish_held(held, after)
            if self._buffer.cut and not self._buffer.text[end:].strip():
                return self._cut(start)
            pos, tag = (yield from self._source.run(end, _COMMA)), 0

    def _bare_head(self, pos: int, *, tagged: bool) -> Reading[Head | None]:
        if not self._declared:
            return None
        if not tagged:
            return (yield from line_head(self._source, self._declared, pos))
        head = yield from tagged_head(self._source, pos)
        return head if head.bracket and resolve(head.name, self._declared, strict=False) is not None else None

    def _after_bare(self, pos: int, *, tagged: bool) -> Reading[int]:
        """Where to continue after a bare call that ends at `pos`; -1 if the text after it may make it prose."""
        source, dialect = self._source, self._source.dialect
        at = yield from source.run(pos, CLOSERS)
        if (yield from source.spelling(at, (dialect.end,))):
            return at + len(dialect.end)
        like = (yield from self._tag_like(at, _TAG_LIKE)) if tagged else ""
        if like:
            after = at + len(like)
            self._builder.problem("stray_end_tag", "a token that looks like an end tag", at, after, quoted=True)
            return after
        at, ahead = yield from source.ahead(pos)
        while ahead in dialect.fillers:
            at, ahead = yield from source.ahead(at + len(ahead))
        if ahead in dialect.tokens or (not ahead and not self._buffer.cut):
            return pos
        return -1

    def _finish_held(self, held: list[tuple[Call, int]], after: int) -> After:
        before = held[0][0].start
        for call, end in held:
            self._between(before, call.start)
            call.finish(end)
            before = end
            if self._builder.full:
                return end, True
        return after, True

    def _between(self, start: int, end: int) -> None:
        """The text between two calls: white space, which is content, and an optional comma."""
        text = self._buffer.text[start:end]
        if "," in text:
            self._builder.problem("comma_surplus", "a comma between two calls", start, end, quoted=True)
        else:
            self._builder.content(text)

    def inline(self, start: int, end: int) -> Reading[After]:
        """Read the call in the middle of a line whose head lies from `start` to `end`. It must have its end tag."""
        written = self._buffer.text[start : end - 1]
        name = resolve(written.removeprefix("call:"), self._declared, strict=False)
        assert name is not None
        call = Call(self._builder, name, start, live=False, refused=_UNBALANCED)
        call.repair("bare_call", f"a call of {name!r} without its start tag", start, end)
        try:
            pos = yield from Arguments(self._source, call, self._shape(name)).read(end, "{")
        except Cut:
            return len(self._buffer.text), False
        except Unreadable as unreadable:
            return unreadable.pos, False
        at = yield from self._source.run(pos, SPACE)
        if not (yield from self._source.spelling(at, (self._source.dialect.end,))):
            return pos, False
        return self._finish_held([(call, pos)], at + len(self._source.dialect.end))
