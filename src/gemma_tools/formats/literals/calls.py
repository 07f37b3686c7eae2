"""Read what Gemma 3 writes: text, and calls in the two forms that its prompts ask for, exact or drifted.

    [tide_level(port='Brest'), ping()]
    {"name": "tide_level", "parameters": {"port": "Brest"}}

Gemma 3 has no tokens for calls, so what a call is must be told from where it stands. At the start of a line a list of calls
of declared tools, or an object that names one, is read as it comes. Everywhere else calls are held back until it is certain
that they are meant: a code fence must hold nothing but calls, and a call in the middle of a line, or one without the brackets
of a list, must be all that is left of its line. Inside backticks, quotes and other code nothing is a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import Any, Final

from gemma_tools.formats.literals.reader import Cut, LiteralReader, Refused, Step
from gemma_tools.formats.parsing import Reading, declared_tools
from gemma_tools.schema.coerce import Schema

STOPS: Final = ("<end_of_turn>", "<eos>")
_TURN: Final = "<start_of_turn>"
_FILLERS: Final = ("<bos>", "<pad>")
_MEDIA: Final = ("<start_of_image>", "<end_of_image>", "<image_soft_token>", "<audio_soft_token>")
_WRAPPERS: Final = {
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
_SPELLINGS: Final = (*STOPS, _TURN, *_FILLERS, *_MEDIA, *(opener for opener in _WRAPPERS if opener[0] == "<"))

_INTERESTING: Final = re.compile(r"[\n\[{`<]")
_BLANK: Final = re.compile(r"\s*+")
_INLINE_BLANK: Final = re.compile(r"[^\S\n]*+")
_BETWEEN: Final = re.compile(r"[\s,;]*+")
_CLOSERS: Final = re.compile(r"[)\]}]*+")
_TICKS: Final = re.compile(r"`*+")
_NAME: Final = re.compile(r"[^\s()\[\]{}\"'`,<>]*+")
_PLAIN_HEAD: Final = re.compile(r"\[([^\s()\[\]{}\"'`,<>]{1,191}+)\(")
_QUOTED_NAME: Final = re.compile(r"[^\s\"'\\]*+")
_KEY: Final = re.compile(r"[\"'\w]*+")
_LABEL: Final = re.compile(r"[\w.+#-]*+")
_ROLE: Final = re.compile(r"(?:model|assistant)\n")
_IDENTIFIER: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_NAMESPACES: Final = ("function", "functions", "default_api", "api", "tool", "tools", "tool_code")
_NAMESPACE: Final = re.compile(rf"(?:{'|'.join(_NAMESPACES)})[.:/]")
_ANY_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_-]*+(?:[.:/]|\Z)")
_RESULT_LABELS: Final = frozenset(("tool_output", "tool_outputs", "tool_response", "output"))
_SEPARATOR: Final = re.compile(r"[.:/]")
_ARGUMENTS: Final = ("parameters", "arguments", "args")
_LABELS: Final = ("type", "id")
_FENCE: Final = 3
_LONGEST_LABEL: Final = 40
_LONGEST_KEY: Final = 24
_LONGEST_NAME: Final = 192


class _ArgumentText(LiteralReader):
    """The arguments of a call that came as text of their own; `quoted` is that text if it was a string once more."""

    def __init__(self, node: Schema, *, exact: bool, guarded: Collection[str]) -> None:
        super().__init__(exact=exact, guarded=guarded)
        self._root = node
        self.quoted: str | None = None

    def _read(self) -> Reading:
        i = yield from self._blank(0)
        if self._text[i] == "{":
            i = yield from self._object(i + 1, self._root)
        elif self._text[i] in "\"'":
            i, self.quoted = yield from self._json_text(i)
        if (yield from self._run(i, _BLANK)) < len(self._text):
            raise Refused

    def read(self, text: str) -> tuple[str, Mapping[str, str]]:
        """The JSON text and the repairs that it took.

        Raises:
            Cut, Refused: there is no object in `text`.
        """
        self.feed(text)
        self.close()
        return "".join(self._pieces), self._repairs


class Gemma3Parser(LiteralReader):
    """Reads one generation of Gemma 3 or 3n."""

    _stops = STOPS

    def __init__(self, tools: Sequence[Any] | None = None, *, guarded: Collection[str] = (), strict: bool = False) -> None:
        self._declared = declared_tools(tools)
        super().__init__(exact=strict or self._declared is None, guarded=guarded)
        self._callable = self._declared is None or bool(self._declared)
        self._spellings = (*_SPELLINGS, *self._broken) if self._broken else _SPELLINGS
        # Running text: what of it was given out, what came last, and the code that it is in.
        self._said = 0
        self._before = ""
        self._gap: list[str] = []
        self._beside_call = False
        self._line_start = True
        self._code = 0
        self._code_line = False
        # The calls being read: what is to be given out once they are certain, and up to where they are complete.
        self._todo: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._may_live = False
        self._begun = False
        self._muted = False
        self._extra: list[str] = []
        self._complete = 0
        self._complete_todo = 0

    # Running text

    def _read(self) -> Reading:
        yield from self._header()
        i = self._said
        while True:
            if self._line_start:
                found = _BLANK.match(self._text, i)
                i = found.end() if found else i
            else:
                found = _INTERESTING.search(self._text, i)
                i = found.start() if found else len(self._text)
            found = None  # it would keep the text alive while more is appended
            if i < len(self._text):
                i = yield from self._mark(i)
                continue
            self._say(i)
            if self._ended:
                if not self._beside_call:
                    self._emit_content("".join(self._gap))
                return
            self._pos = i
            yield
            i = self._said = self._pos

    def _say(self, i: int) -> None:
        """The text up to `i` is content."""
        if i > self._said:
            self._speak(self._text[self._said : i])
            self._said = i

    def _speak(self, text: str) -> None:
        # White space between a call and the edges of the answer belongs to the call, so it is held back until what is
        # on its other side is known.
        self._before = text[-1]
        body = text.rstrip()
        if body:
            if self._beside_call and not self._content:
                self._gap.clear()
                body = body.lstrip()
            else:
                body = "".join(self._gap) + body
                self._gap.clear()
            self._beside_call = False
            self._emit_content(body)
            text = text[len(text.rstrip()) :]
        if text:
            self._gap.append(text)

    def _pass(self, i: int) -> None:
        """What stands before `i` is no content: calls or control tokens."""
        self._said = i
        self._beside_call = True

    def _header(self) -> Reading:
        """Pass over a turn header that the model writes again in front of its answer."""
        if (yield from self._spelling(0, (_TURN,))):
            yield from self._have(0, len(_TURN) + len("assistant\n"))
            role = _ROLE.match(self._text, len(_TURN))
            if role:
                self._emit_problem("header", "the model wrote its turn header again", self._text[: role.end()])
                self._said = role.end()

    def _mark(self, i: int) -> Step:
        """Act on the character at `i`, where something may begin; return where to go on."""
        mark, line_start = self._text[i], self._line_start
        if mark == "\n":
            self._line_start = True
            self._code_line = False
            if self._code < _FENCE:
                self._code = 0
            return i + 1
        self._line_start = False
        if mark == "`":
            return (yield from self._ticks(i, line_start))
        if mark == "<":
            return (yield from self._token(i))
        if self._code or not self._callable:
            return i + 1
        if mark in "[{":
            return (yield from self._bracket(i, line_start))
        if line_start and not self._exact:
            return (yield from self._attempt(i, self._rest_of_line))
        return i + 1

    def _ticks(self, i: int, line_start: bool) -> Step:
        """Backticks: they open or close code, unless what they open are calls."""
        end = yield from self._run(i, _TICKS)
        count = end - i
        if self._code:
            if count == self._code if self._code < _FENCE else count >= self._code and (line_start or self._code_line):
                self._code = 0
            return end
        if count >= _FENCE and self._callable and not self._exact:
            behind = yield from self._attempt(i, lambda at: self._fence(at, count))
            if self._said > i:
                return behind
            end = max(end, behind)
        self._code, self._code_line = count, "\n" not in self._text[i:end]
        return end

    def _token(self, i: int) -> Step:
        """A control token, a spelling that the prompt broke, or what other models put around calls."""
        found = yield from self._spelling(i, self._spellings)
        behind = i + len(found)
        if not found:
            return i + 1
        if found in self._broken:
            self._say(i)
            self._speak(self._broken[found])
            self._said = behind
            return behind
        if found in _WRAPPERS:
            if self._code or self._exact or not self._callable:
                return behind
            return (yield from self._attempt(i, lambda at: self._wrapped(at, found)))
        if self._code and (found not in STOPS or (yield from self._run(behind, _BLANK)) < len(self._text)):
            return behind  # quoted; but where nothing follows, the turn ended in an open fence
        self._say(i)
        if found in STOPS:
            return (yield from self._after_end(behind))
        if found == _TURN:
            return (yield from self._after_end(i))
        if found in _MEDIA:
            self._emit_problem("stray_token", "a control token that means nothing here", found)
        self._pass(behind)
        return behind

    def _after_end(self, i: int) -> Step:
        """The turn is over: what the model wrote behind it is its own invention, neither content nor a call."""
        self._pass(i)
        while not self._ended:
            yield from self._wait()
        rest = self._text[i:]
        if rest.strip():
            self._emit_problem("after_end", "text behind the end of the turn", rest)
        self._pass(len(self._text))
        return self._said

    # Where calls may stand

    def _bracket(self, i: int, line_start: bool) -> Step:
        yield from self._have(i, 2)
        if self._text[i + 1 : i + 2] in ("T", "t") and not self._exact:
            wrapper = yield from self._spelling(i, _WRAPPERS)
            if wrapper:
                return (yield from self._attempt(i, lambda at: self._wrapped(at, wrapper)))
        if line_start and self._declared is not None:
            return (yield from self._attempt(i, self._whole, live=True))
        before = self._text[i - 1] if i > self._said else self._before
        if line_start or before.isspace():
            return (yield from self._attempt(i, self._rest_of_line))
        return i + 1

    def _attempt(self, i: int, read: Callable[[int], Step], *, live: bool = False) -> Step:
        """Read calls from `i` on. What turns out to be none stays text; with `live`, calls are given out as they are read."""
        self._say(i)
        start = self._seen = self._complete = i
        self._may_live = live
        try:
            i = yield from read(i)
            self._commit()
            self._pass(i)
            self._line_start = True
        except Refused:
            i = self._not_calls(start)
        except Cut as cut:
            i = self._cut_short(cut.at) if self._begun or self._complete > start else self._not_calls(start)
        self._live = self._begun = self._muted = False
        self._fault = ""
        self._repairs, self._extra = {}, []
        self._pieces.clear()
        self._todo.clear()
        self._complete_todo = 0
        return i

    def _not_calls(self, start: int) -> int:
        """What was read from `start` on is text: go on behind it, for looking at it again would take ever longer."""
        i = max(start + 1, self._seen)
        _, line_break, line = self._text[start:i].rpartition("\n")
        self._line_start = bool(line_break) and not line.strip()
        return i

    def _cut_short(self, at: int) -> int:
        """The text or the turn ended at `at` among calls: the complete ones count."""
        if not self._live:
            del self._todo[self._complete_todo :]
        self._commit()
        rest = self._text[self._complete : at]
        if self._begun or rest.strip(" \t\r\n,;"):
            self._emit_problem("cut", "the text ended inside a call", rest, index=self._opened - 1 if self._open else None)
            self._drop_call(cut=True)
        else:
            self._emit_problem("bracket_missing", "closing brackets are missing", rest)
        self._pass(at)
        return at

    def _whole(self, i: int) -> Step:
        """A list or an object that begins a line, and what separates it from the next."""
        i = yield from (self._list(i) if self._text[i] == "[" else self._object_call(i))
        i = yield from self._surplus(i)
        end = yield from self._run(i, _BETWEEN)
        return end if self._text[end : end + 1] in ("[", "{") else i

    def _rest_of_line(self, i: int) -> Step:
        """Calls that are all that is left of their line."""
        bare = self._text[i] not in "[{"
        if bare:
            self._note("bare_call", "a call without the brackets of a list")
        while True:
            i = yield from self._item(i)
            if bare:
                i = yield from self._surplus(i)
            end = yield from self._run(i, _INLINE_BLANK)
            if end == len(self._text) or self._text[end] == "\n" or (yield from self._is_stop(end)):
                return i
            if self._text[end] not in ",;":
                raise Refused
            end = yield from self._run(end + 1, _INLINE_BLANK)
            if end == len(self._text) or self._text[end] == "\n":
                return end
            i = end

    def _fence(self, i: int, count: int) -> Step:
        """A code fence of `count` backticks that holds nothing but calls; its label does not matter."""
        i += count
        end = yield from self._short_run(i, _LABEL, _LONGEST_LABEL)
        behind = self._text[end : end + 1]
        if behind in ("[", "{") or behind.isspace():
            if self._text[i:end] in _RESULT_LABELS:
                raise Refused  # a result that the model invents
            i = end
        found = False
        while True:
            self._seen = i = yield from self._run(i, _BETWEEN)
            if i == len(self._text) or (yield from self._is_stop(i)):
                if not found:
                    raise Refused
                self._note("fence_open", "the code fence around the calls was not closed")
                return i
            if self._text[i] == "`":
                end = yield from self._run(i, _TICKS)
                if not found or end - i < count:
                    raise Refused
                return end
            i = yield from self._surplus((yield from self._item(i)))
            found = True

    def _wrapped(self, i: int, opener: str) -> Step:
        """Calls between the tags of another notation; the closing one may be missing."""
        self._note("wrapper", f"the calls stand between {opener} and its end")
        i = yield from self._item((yield from self._blank(i + len(opener))))
        while True:
            end = yield from self._run(i, _BETWEEN)
            if (yield from self._spelling(end, (_WRAPPERS[opener],))):
                return end + len(_WRAPPERS[opener])
            if self._text[end : end + 1] not in ("[", "{"):
                return i
            i = yield from self._item(end)

    # Calls

    def _note(self, kind: str, message: str) -> None:
        """A departure from the exact notation that is around calls rather than in one."""
        if self._exact and not self._live:
            raise Refused
        self._todo.append((self._emit_problem, (kind, message)))

    def _item(self, i: int) -> Step:
        """A list of calls, an object, or a call; in any of them `print(...)` around it."""
        prints = 0
        while self._text[i] not in "[{":
            head = yield from self._head(i)
            if head is None:
                raise Refused
            i, word = head
            if self._resolve(word) is not None:
                self._listed = False
                i = yield from self._call(i, word)
                break
            prints += 1
            i = yield from self._blank(i)
        else:
            i = yield from (self._list(i) if self._text[i] == "[" else self._object_call(i))
        if prints:
            self._note("print", "the call stands in print()")
        for _ in range(prints):
            i = yield from self._blank(i)
            if self._text[i] != ")":
                raise Refused
            i += 1
        return i

    def _list(self, i: int) -> Step:
        """A list of calls or of objects, or as much of it as there is."""
        head, objects = None, False
        plain = _PLAIN_HEAD.match(self._text, i)
        if plain:
            head = plain.end(), plain[1]
            plain = None
        else:
            i = yield from self._blank(i + 1)
            objects = self._text[i] == "{"
            if not objects:
                head = yield from self._head(i, native=True)
        if not objects and (head is None or self._resolve(head[1], native=True) is None):
            raise Refused
        while True:
            self._listed = True
            i = yield from (self._call(*head, native=True) if head else self._object_call(i))
            self._listed = False
            end = yield from self._blank(i)
            while self._text[end] in ")}":
                self._note("bracket_surplus", "a closing bracket that closes nothing")
                end = yield from self._blank(end + 1)
            comma = self._text[end] == ","
            if comma:
                end = yield from self._blank(end + 1)
            if self._text[end] == "]":
                if comma:
                    self._note("comma_surplus", "a comma with nothing behind it")
                return end + 1
            if not objects:
                head = yield from self._head(end, native=comma, declared=not comma)
            if not (self._text[end] == "{" if objects else head):
                self._note("bracket_missing", "closing brackets are missing")
                return i
            if not comma:
                self._note("comma_missing", "a comma is missing")
            i = end

    def _surplus(self, i: int) -> Step:
        """Pass over closing brackets that close nothing."""
        end = yield from self._run(i, _CLOSERS)
        if end > i:
            self._note("bracket_surplus", "a closing bracket that closes nothing")
        return end

    def _head(self, i: int, *, native: bool = False, declared: bool = True) -> Generator[None, None, tuple[int, str] | None]:
        """The name at `i` and the position behind its opening bracket; None if no call begins there.

        With `declared` the name must be that of a tool, or `print`.
        """
        while True:
            found = _NAME.match(self._text, i, i + _LONGEST_NAME)
            word = found[0] if found else ""
            end, found = i + len(word), None
            if end < len(self._text) or self._ended or not self._may_become_name(word, native=native, declared=declared):
                break
            yield from self._wait()
        if end == len(self._text) and self._may_become_name(word, native=native, declared=declared):
            raise Cut(end)
        if not word or (declared and word != "print" and self._resolve(word, native=native) is None):
            return None
        end = yield from self._blank(end)
        return (end + 1, word) if self._text[end] == "(" else None

    def _may_become_name(self, begun: str, *, native: bool, declared: bool) -> bool:
        """Whether a word that begins so may yet be the name of a tool, so that it must be held back."""
        if len(begun) == _LONGEST_NAME:
            return False
        if self._declared is None or not declared:
            return True
        if native and _ANY_NAMESPACE.match(begun):
            return True
        return any(name.startswith(begun) for name in (*self._declared, "print", *_NAMESPACES)) or bool(_NAMESPACE.match(begun))

    def _resolve(self, word: str, *, native: bool = False) -> str | None:
        """The declared name that `word` means: without the namespace in front of it, any one where a list was opened."""
        if self._declared is None:
            return word if _IDENTIFIER.fullmatch(word) else None
        if word in self._declared or self._exact:
            return word if word in self._declared else None
        separator = (_ANY_NAMESPACE if native else _NAMESPACE).match(word)
        while separator:
            if word[separator.end() :] in self._declared:
                return word[separator.end() :]
            separator = _SEPARATOR.search(word, separator.end()) if native else None
        return None

    def _begin(self, word: str, *, native: bool = True) -> None:
        name = self._resolve(word, native=native)
        self._begun = True
        if name is None:
            self._spoil(f"no tool named {word!r} is declared")
            return
        self._live = self._may_live
        self._root = (self._declared or {}).get(name) or {}
        self._todo.append((self._start_call, (name,)))
        if name != word:
            self._repair("head", f"{word!r} was taken for {name!r}")

    def _finish_call(self, i: int) -> None:
        """The call that ends at `i` is complete, or could not be read."""
        self._flush()
        if self._fault:
            kind, index = ("unreadable", self._opened - 1) if self._open else ("undeclared", None)
            self._emit_problem(kind, self._fault, self._text[self._complete : i], index=index)
            self._drop_call(cut=False)
        else:
            self._todo.append((self._give, ("".join(self._pieces), self._repairs, self._extra)))
        self._pieces.clear()
        self._repairs, self._extra = {}, []
        self._fault = ""
        self._begun = False
        self._complete, self._complete_todo = i, len(self._todo)
        if self._live:
            self._commit()

    def _give(self, arguments: str, repairs: Mapping[str, str], extra: Sequence[str]) -> None:
        """Give out the end of a call's arguments, and what it took to read it."""
        self._emit_arguments(arguments)
        self._end_call()
        for kind, message in repairs.items():
            self._emit_problem(kind, message, index=self._opened - 1)
        for entry in extra:
            self._emit_problem("extra_key", "an entry that calls do not have", entry, index=self._opened - 1)

    def _commit(self) -> None:
        for act, given in self._todo:
            act(*given)
        self._todo.clear()
        self._complete_todo = 0

    def _flush(self) -> None:
        if self._live and not self._muted:
            self._commit()
            if not self._fault and self._open:
                self._emit_arguments("".join(self._pieces))
            self._pieces.clear()

    def _call(self, i: int, word: str, *, native: bool = False) -> Step:
        """A call from behind its opening bracket to behind its closing one."""
        self._begin(word, native=native)
        i = yield from self._arguments(i, self._root)
        self._finish_call(i)
        return i

    def _object_call(self, i: int) -> Step:
        """An object that names a tool and gives its arguments."""
        word: str | None = None
        early: str | None = None
        started = filled = comma = False
        i += 1
        while True:
            i = yield from self._blank(i)
            mark = self._text[i]
            if mark == "," and filled and not comma:
                comma = True
                i += 1
                continue
            if mark == "}" or (started and ((mark == "]" and self._listed) or (yield from self._is_end(i)))):
                break
            if filled and not comma:
                self._repair("comma_missing", "a comma is missing")
            start = i
            i, key = yield from self._object_key(i)
            filled, comma = True, False
            if key == "name" and word is None:
                i, word = yield from self._tool_name(i)
            elif key in _ARGUMENTS and not started and early is None:
                if key != _ARGUMENTS[0]:
                    self._repair("argument_key", f"{key!r} in place of {_ARGUMENTS[0]!r}")
                if word is None:
                    end = yield from self._unwanted(i)
                    early, i = self._text[i:end], end
                else:
                    self._begin(word)
                    started = True
                    i = yield from self._argument_value(i)
            else:
                if self._exact or (key not in _LABELS and not started):
                    self._spoil("an object that is no call")
                i = max((yield from self._unwanted(i)), start + 1)  # past what can be no value, in a call given up
                if key not in _LABELS:
                    self._extra.append(self._text[start:i])
        if comma:
            self._repair("comma_surplus", "a comma with nothing behind it")
        if mark == "}":
            i += 1
        else:
            self._repair("bracket_missing", "closing brackets are missing")
        if not started:
            if word is None or (early is None and self._has_properties(word)):
                self._spoil("an object that is no call")
            else:
                self._begin(word)
                self._take_text(early or "{}")
        self._pieces.append("}")
        self._finish_call(i)
        return i

    def _has_properties(self, word: str) -> bool:
        name = self._resolve(word, native=True)
        return self._declared is None or name is None or bool(self._declared[name].get("properties"))

    def _object_key(self, i: int) -> Generator[None, None, tuple[int, str]]:
        """A key of an object that may be a call, from behind its colon to where its value begins."""
        end = yield from self._short_run(i, _KEY, _LONGEST_KEY)
        written = self._text[i:end]
        quote = written[:1] if written[:1] in "\"'" else ""
        key = written[len(quote) : -1] if quote and written.endswith(quote) else written
        if end == len(self._text) and self._ended:
            raise Cut(end)
        if key not in ("name", *_ARGUMENTS, *_LABELS) and not self._begun:
            self._spoil("an object that is no call")
        if quote != '"':
            self._repair("quotes" if quote else "key_bare", "a key without double quotes")
        end = yield from self._blank(end)
        if self._text[end] != ":":
            self._spoil("a key without a value")
            if self._text[end] in ",]}":
                return end, key
        return (yield from self._blank(end + 1)), key

    def _tool_name(self, i: int) -> Generator[None, None, tuple[int, str]]:
        quote = self._text[i]
        if quote not in "\"'":
            self._spoil("a name that is no text")
            return (yield from self._unwanted(i)), ""
        end = yield from self._short_run(i + 1, _QUOTED_NAME, _LONGEST_NAME)
        yield from self._have(end, 1)
        if end == len(self._text):
            raise Cut(end)
        word = self._text[i + 1 : end]
        if self._text[end] != quote or self._resolve(word, native=True) is None:
            self._spoil(f"no tool named {word!r} is declared")
        if quote == "'":
            self._repair("quotes", "a string in Python's notation")
        self._begun = True
        return end + 1, word

    def _argument_value(self, i: int) -> Step:
        """The arguments of an object's call; their last bracket is kept until the call itself ends."""
        mark = self._text[i]
        if self._fault or mark not in "{\"'":
            start = i
            i = yield from self._unwanted(i)
            if self._text[start:i] not in ("null", "None"):
                self._spoil("the arguments are no object")
            self._pieces.append("{")
        elif mark == "{":
            i = yield from self._object(i + 1, self._root)
            self._pieces.pop()
        else:
            i, text = yield from self._json_text(i)
            self._repair("argument_text", "the arguments are a text that holds an object")
            self._take_text(text)
        return i

    def _take_text(self, text: str) -> None:
        """Arguments in a text of their own, without their last bracket."""
        text = text if text.strip() else "{}"
        try:
            for _ in range(2):
                reader = _ArgumentText(self._root, exact=self._exact, guarded=self._broken.values())
                arguments, repairs = reader.read(text)
                if reader.quoted is None:
                    self._repairs = {**repairs, **self._repairs}
                    self._pieces.append(arguments[:-1])
                    return
                text = reader.quoted
            self._spoil("the arguments are no object")
        except (Cut, Refused):
            self._spoil("the arguments are no object")

    def _unwanted(self, i: int) -> Step:
        """Where the value at `i` ends, of which nothing is given out."""
        pieces, self._pieces, self._muted = self._pieces, [], True
        i = yield from self._any_value(i)
        self._pieces, self._muted = pieces, False
        return i
