"""Reads calls in the two forms that Gemma 3's prompts ask for, exact or damaged.

[tide_level(port='Brest'), ping()]
{"name": "tide_level", "parameters": {"port": "Brest"}}
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from gemma_tools.formats.literals.frames import Draft, Repair
from gemma_tools.formats.literals.names import LONGEST, Names
from gemma_tools.formats.literals.reader import ArgumentReader, value_of
from gemma_tools.formats.literals.source import Cut, Refused, Source
from gemma_tools.formats.lookahead import SPACE, end_of
from gemma_tools.formats.reading import Buffer, Reading
from gemma_tools.reply import ProblemKind
from gemma_tools.schema.shape import ANY, Shape

_CLOSERS: Final = re.compile(r"[)\]}]*+")
_NAME: Final = re.compile(r"[^\s()\[\]{}\"'`,<>]*+")
_QUOTED_NAME: Final = re.compile(r"[^\s\"'\\]*+")
_KEY: Final = re.compile(r"[\"'\w]*+")
_LONGEST_KEY: Final = 24
_ARGUMENTS: Final = ("parameters", "arguments", "args")
_NESTING: Final = ("function", "function_call", "tool_call", "tool_calls", "calls")
"""Keys of other notations that contain a call: not a call here, whether it is complete or cut."""
_LABELS: Final = ("type", "id")


_NO_DRAFT: Final = Draft(0, exact=True)


class Note(NamedTuple):
    """A problem with the text around calls, or (`quoted`) with text that is not a call."""

    kind: ProblemKind
    message: str
    start: int
    end: int
    quoted: bool = False


Found: TypeAlias = list[Draft | Note]


class Head(NamedTuple):
    """The head of a Python call: the word, where the contents of its bracket begin, and the tool that the word names."""

    word: str
    end: int
    name: str | None


class CallReader:
    """Reads calls from one position on.

    They are kept in `found` until it is certain that they are calls. With `give` the first head of a declared tool makes that
    certain: each call is emitted when it is complete, and an unreadable call is reported.
    """

    def __init__(
        self, source: Source, names: Names, start: int, *, exact: bool, give: Callable[[Found], None] | None = None
    ) -> None:
        self.source = source
        self.found: Found = []
        self.start = start
        self.complete = start
        """The end of the last complete call."""
        self.begun = False
        """Whether a call of a declared tool has begun that is not complete."""
        self.seen = start
        """The end of the text that was read but may not be a call."""
        self._names = names
        self._exact = exact
        self._give = give
        self.firm = False
        """Whether calls are emitted while they are read."""
        self._held = False
        """Whether the calls found so far depend on the text after them."""
        self._kept = 0
        self._draft = _NO_DRAFT

    def note(self, kind: ProblemKind, message: str, start: int, end: int) -> None:
        """A difference from the exact notation around calls, not inside one.

        Raises:
            Refused: only the exact notation is read.
        """
        if self._exact and not self.firm:
            raise Refused
        self.found.append(Note(kind, message, start, end))

    def refuse(self) -> int:
        """The text is not a call: it need not be read again up to here."""
        return max(self.seen, self._draft.seen)

    def cut(self, *, uncertain: bool) -> None:
        """The text was cut: forget what was recorded after the last complete call, and all calls that are `uncertain`."""
        if uncertain and not self.firm:
            self.begun, self.complete, self._kept = True, self.start, 0
        del self.found[self._kept :]

    def item(self, i: int) -> Reading[int]:
        """A list of calls, an object, or a call, each optionally inside `print(...)`."""
        source, buffer = self.source, self.source.buffer
        start, prints = i, 0
        while buffer.text[i] not in "[{":
            head = yield from self._head(i)
            if head is None:
                raise Refused
            if head.name is not None:
                i = yield from self._call(i, head, listed=False)
                break
            prints += 1
            self.seen = i = yield from source.blank(head.end)
        else:
            i = yield from (self.list(i) if buffer.text[i] == "[" else self.object(i))
        if prints:
            self.note("print", "the call is inside print()", start, i)
        for _ in range(prints):
            i = yield from source.blank(i)
            if buffer.text[i] != ")":
                raise Refused
            i += 1
        return i

    def list(self, i: int) -> Reading[int]:
        """A list of calls or of objects, as far as it exists."""
        source, buffer = self.source, self.source.buffer
        at = i = yield from source.blank(i + 1)
        objects = buffer.text[i] == "{"
        head = None if objects else (yield from self._head(i, native=True))
        if not objects and (head is None or head.name is None):
            raise Refused
        self._held = not objects
        while True:
            i = yield from (self._call(at, head) if head else self.object(i, listed=True))
            at = yield from source.blank(i)
            while buffer.text[at] in ")}":
                self.note("bracket_surplus", "a closing bracket without an opening one", at, at + 1)
                at = yield from source.blank(at + 1)
            comma = buffer.text[at] == ","
            if comma:
                at = yield from source.blank(at + 1)
            if buffer.text[at] == "]":
                if comma:
                    self.note("comma_surplus", "a comma without a value after it", at, at)
                if self._held and (yield from self._is_link(at + 1)):
                    raise Refused
                self._release()
                return at + 1
            if not objects:
                head = yield from self._head(at, native=comma, declared=not comma)
            if not (buffer.text[at] == "{" if objects else head):
                if self._held and not self._may_end(i, at):
                    raise Refused  # prose in square brackets
                self._release()
                self.note("bracket_missing", "closing brackets are missing", i, i)
                return i
            self._release()
            if not comma:
                self.note("comma_missing", "a comma is missing", at, at)
            i = at

    def _is_link(self, i: int) -> Reading[bool]:
        """Whether the list that ends before `i` is the text of a link in Markdown."""
        yield from self.source.have(i + 1)
        if self.source.buffer.text[i : i + 1] == "[":
            yield from self.source.have(i + 2)
        following = self.source.buffer.text[i : i + 2]
        if not (following[:1] == "[" and (following[1:].isdigit() or following[1:].islower())):
            return following[:1] in ("(", ":")
        try:
            return not (yield from self.begins((yield from self.source.blank(i + 1))))
        except Cut:
            return True

    def _may_end(self, i: int, at: int) -> bool:
        """Whether a list may end at `i` without its bracket, by what stands at `at`: no prose on the same line."""
        text = self.source.buffer.text
        return text[at] in "[{<`~" or "\n" in text[i:at]

    def surplus(self, i: int) -> Reading[int]:
        """Skip closing brackets without an opening one."""
        end = yield from self.source.run(i, _CLOSERS)
        if end > i:
            self.note("bracket_surplus", "a closing bracket without an opening one", i, end)
        return end

    # Heads

    def begins(self, i: int) -> Reading[bool]:
        """Whether there is the head of a declared tool's call at `i`."""
        return (yield from self._head(i)) is not None

    def names_tool(self, i: int) -> Reading[bool]:
        """Whether the object at `i` begins with a name."""
        source, buffer = self.source, self.source.buffer
        i = yield from source.blank(i + 1)
        end = yield from source.run_up_to(i, _KEY, _LONGEST_KEY)
        return buffer.text[i:end].strip("\"'") == "name"

    def _head(self, i: int, *, native: bool = False, declared: bool = True) -> Reading[Head | None]:
        """The head of the call at `i`; None if there is none. With `declared` it must be that of a tool, or of `print`."""
        source, buffer = self.source, self.source.buffer
        while True:
            end = end_of(_NAME, buffer.text, i, i + LONGEST)
            word = buffer.text[i:end]
            if end < len(buffer.text) or (declared and not self._names.may_begin(word, native=native)):
                break
            if buffer.ended:
                raise Cut(end)
            yield
        name = self._names.resolve(word, native=native or not declared)
        if not word or (declared and word != "print" and name is None):
            return None
        end = yield from source.blank(end)
        return Head(word, end + 1, name) if buffer.text[end] == "(" else None

    def _begin(self, word: str, name: str | None) -> Shape:
        """A call of `word`, which names the tool `name`, has begun: the types of its arguments."""
        draft = self._draft
        self.begun = True
        if name is None:
            draft.spoil(f"no tool named {word!r} is declared")
            return ANY
        draft.name = name
        self.firm = draft.firm = self._give is not None
        if name != word:
            draft.repair("head", f"{word!r}was read as {name!r}", draft.start, draft.start + len(word))
        return self._names.shape(name)

    def _finish(self, i: int) -> None:
        """The call that ends at `i` is complete, or could not be read."""
        draft = self._draft
        if draft.fault:
            kind: ProblemKind = "unreadable" if draft.name else "undeclared"
            self.found.append(Note(kind, draft.fault, self.complete, i, quoted=True))
        else:
            draft.end = i
            self.found.append(draft)
        self.begun = False
        self.complete = i
        self._kept = len(self.found)
        if not self._held:
            self._release()

    def _release(self) -> None:
        """Emit the calls that were found, if calls are emitted while they are read."""
        self._held = False
        if self.firm and self._give is not None:
            self._give(self.found)
            self.found.clear()
            self._kept = 0

    def _new_draft(self, start: int, *, python: bool, listed: bool) -> Draft:
        self._draft = Draft(start, exact=self._exact, firm=self.firm, python=python, listed=listed)
        return self._draft

    # Calls

    def _call(self, start: int, head: Head, *, listed: bool = True) -> Reading[int]:
        """A call from after its opening bracket to after its closing one."""
        draft = self._new_draft(start, python=True, listed=listed)
        shape = self._begin(head.word, head.name)
        i = yield from ArgumentReader(self.source, draft).arguments(head.end, shape)
        self._finish(i)
        return i

    def object(self, i: int, *, listed: bool = False) -> Reading[int]:
        """An object that names a tool and gives its arguments."""
        source, buffer = self.source, self.source.buffer
        draft = self._new_draft(i, python=False, listed=listed)
        reader = ArgumentReader(source, draft)
        word: str | None = None
        early: tuple[int, int] | None = None
        started = filled = comma = foreign = False
        i += 1
        while True:
            i = yield from source.blank(i)
            mark = buffer.text[i]
            if mark == "," and filled and not comma:
                comma = True
                i += 1
                continue
            if mark == "}" or (started and ((mark == "]" and listed) or (yield from source.is_end(i)))):
                break
            if filled and not comma:
                draft.repair("comma_missing", "a comma is missing", i, i)
            entry = i
            i, key = yield from self._object_key(i)
            filled, comma = True, False
            if key == "name" and word is None:
                i, word = yield from self._tool_name(reader, i)
            elif key in _ARGUMENTS and not started and early is None:
                if key != _ARGUMENTS[0]:
                    draft.repair("argument_key", f"{key!r}instead of {_ARGUMENTS[0]!r}", entry, i)
                if word is None:
                    value = i
                    i = yield from reader.skip(i)
                    early = value, i
                else:
                    started = True
                    i = yield from self._argument_value(reader, i, self._begin(word, self._names.resolve(word, native=True)))
            elif key in _NESTING and not started:
                self.begun = True
                i = yield from reader.skip(i)
                foreign = True
            else:
                if self._exact or (key not in _LABELS and not started):
                    draft.spoil("an object that is not a call")
                i = max((yield from reader.skip(i)), entry + 1)  # past text that cannot be a value, in a dropped call
                if key not in _LABELS:
                    draft.extra.append((entry, i))
        if comma:
            draft.repair("comma_surplus", "a comma without a value after it", i, i)
        if mark == "}":
            i += 1
        else:
            draft.repair("bracket_missing", "closing brackets are missing", i, i)
        if foreign:
            raise Refused
        if not started:
            self._take_early(word, early)
        draft.pieces.append("}")
        self._finish(i)
        return i

    def _take_early(self, word: str | None, early: tuple[int, int] | None) -> None:
        """An object without arguments after its name: they may have come before it, or there may be none."""
        if word is None or (early is None and self._names.needs_arguments(word)):
            self._draft.spoil("an object that is not a call")
            return
        shape = self._begin(word, self._names.resolve(word, native=True))
        if early is None:
            self._draft.pieces.append("{")
        else:
            self._take_text(self.source.buffer.text[early[0] : early[1]], shape, *early)

    def _object_key(self, i: int) -> Reading[tuple[int, str]]:
        """A key of an object that may be a call, from after its colon to where its value begins."""
        source, buffer, draft = self.source, self.source.buffer, self._draft
        end = yield from source.run_up_to(i, _KEY, _LONGEST_KEY)
        written = buffer.text[i:end]
        quote = written[:1] if written[:1] in "\"'" else ""
        key = written[len(quote) : -1] if quote and written.endswith(quote) else written
        if end == len(buffer.text) and buffer.ended:
            raise Cut(end)
        if key not in ("name", *_ARGUMENTS, *_LABELS, *_NESTING) and not self.begun:
            draft.spoil("an object that is not a call")
        if quote != '"':
            draft.repair("quotes" if quote else "key_bare", "a key without double quotes", i, end)
        end = yield from source.blank(end)
        if buffer.text[end] != ":":
            draft.spoil("a key without a value")
            if buffer.text[end] in ",]}":
                return end, key
        return (yield from source.blank(end + 1)), key

    def _tool_name(self, reader: ArgumentReader, i: int) -> Reading[tuple[int, str]]:
        source, buffer, draft = self.source, self.source.buffer, self._draft
        quote = buffer.text[i]
        if quote not in "\"'":
            draft.spoil("a name that is not a string")
            return (yield from reader.skip(i)), ""
        end = yield from source.run_up_to(i + 1, _QUOTED_NAME, LONGEST)
        yield from source.have(end + 1)
        if end == len(buffer.text):
            raise Cut(end)
        word = buffer.text[i + 1 : end]
        if buffer.text[end] != quote or self._names.resolve(word, native=True) is None:
            draft.spoil(f"no tool named {word!r} is declared")
        if quote == "'":
            draft.repair("quotes", "a string in Python's notation", i, end + 1)
        self.begun = True
        return end + 1, word

    def _argument_value(self, reader: ArgumentReader, i: int, shape: Shape) -> Reading[int]:
        """The arguments of an object's call; their last bracket is kept until the call itself ends."""
        draft, mark, start = self._draft, self.source.buffer.text[i], i
        if draft.fault or mark not in "{\"'":
            i = yield from reader.skip(i)
            if self.source.buffer.text[start:i] not in ("null", "None"):
                draft.spoil("the arguments are not an object")
            draft.pieces.append("{")
        elif mark == "{":
            i = yield from reader.members(i + 1, shape)
            draft.pieces.pop()
        else:
            i, text = yield from reader.text(i)
            draft.repair("argument_text", "the arguments are a string with a JSON object", start, i)
            self._take_text(text, shape, start, i)
        return i

    def _take_text(self, text: str, shape: Shape, start: int, end: int) -> None:
        """Arguments in a text of their own, without their last bracket; it came from `start` to `end`."""
        draft = self._draft
        inner = _inner_draft(text if text.strip() else "{}", shape, exact=self._exact)
        if inner is None:
            draft.spoil("the arguments are not an object")
            return
        for kind, repair in inner.repairs.items():
            if kind not in draft.repairs:
                draft.repairs[kind] = Repair(repair.message, start, end)
        draft.pieces += inner.pieces[:-1]


def _inner_draft(text: str, shape: Shape, *, exact: bool) -> Draft | None:
    """The object in a text, which may be text in quotes once more; None if there is none."""
    for _ in range(2):
        buffer = Buffer()
        buffer.text, buffer.ended = text, True
        draft = Draft(0, exact=exact)
        try:
            quoted = value_of(_inner(Source(buffer), draft, shape))
        except (Cut, Refused):
            return None
        if quoted is None:
            return draft
        text = quoted
    return None


def _inner(source: Source, draft: Draft, shape: Shape) -> Reading[str | None]:
    """Read the object in a text of its own; or the text in quotes that is there in its place."""
    i = yield from source.blank(0)
    quoted: str | None = None
    if source.buffer.text[i] == "{":
        i = yield from ArgumentReader(source, draft).members(i + 1, shape)
    elif source.buffer.text[i] in "\"'":
        i, quoted = yield from ArgumentReader(source, draft).text(i)
    if (yield from source.run(i, SPACE)) < len(source.buffer.text):
        raise Refused
    return quoted
