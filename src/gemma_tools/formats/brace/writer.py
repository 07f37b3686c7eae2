"""Writes the brace notation of FunctionGemma and Gemma 4: values, calls and results.

    call:NAME{key:<escape>text<escape>,list:[1,true],map:{a:null}}

Keys are sorted without regard to case, as with jinja's `dictsort`. Every text goes through `prompt.quote` when it is written,
so the results of these functions belong in `Prompt.marked`. Nothing is recursive: containers wait on a stack.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import is_mapping
from gemma_tools.prompt import quote


def _open(container: Any) -> tuple[Iterator[Any], Mapping[str, Any] | None]:
    """The keys of a mapping in the order of `dictsort`, and the mapping; or the items of a list, and None."""
    if not is_mapping(container):
        return iter(container), None
    return iter(sorted(container, key=str.lower) if len(container) > 1 else container), container


@dataclass(frozen=True, slots=True, eq=False)
class Notation:
    """The tokens of one family, and its form of null."""

    delimiter: str
    call: tuple[str, str]
    response: tuple[str, str]
    null: str = "null"

    def plain(self, declaration: tuple[str, str]) -> Mapping[str, str]:
        """Replacements for the tokens if none can be sent: see `TurnTokens.plain`. `declaration` is around declarations."""
        return {self.delimiter: '"', declaration[0]: "\n", self.call[0]: "\n", self.response[0]: "\n"}

    def string(self, text: str) -> str:
        """A text between delimiters."""
        if "<" in text or "\x00" in text:
            text = quote(text)
        return f"{self.delimiter}{text}{self.delimiter}"

    def value(self, value: object, *, bare_keys: bool = True) -> str:
        """A JSON value; keys have no delimiters in calls and results, and have delimiters in declarations."""
        leaf = self._leaf(value)
        if leaf is not None:
            return leaf
        opening, closing = ("{", "}") if is_mapping(value) else ("[", "]")
        return f"{opening}{self._inside(value, bare_keys)}{closing}"

    def _inside(self, container: Any, bare_keys: bool) -> str:
        """The content between the brackets of a container. Open containers wait on a stack."""
        out: list[str] = []
        stack: list[tuple[Iterator[Any], Mapping[str, Any] | None, str]] = []
        delimiter, comma, label, closing = self.delimiter, "", "", ""
        members, mapping = _open(container)
        while True:
            for item in members:
                if mapping is not None:
                    key, item = item, mapping[item]
                    if "<" in key or "\x00" in key:
                        key = quote(key)
                    label = f"{key}:" if bare_keys else f"{delimiter}{key}{delimiter}:"
                kind = item.__class__
                if kind is str:
                    if "<" in item or "\x00" in item:
                        item = quote(item)
                    out.append(f"{comma}{label}{delimiter}{item}{delimiter}")
                elif kind is dict or kind is list or (leaf := self._leaf(item)) is None:
                    stack.append((members, mapping, closing))
                    members, mapping = _open(item)
                    opening, closing = "[]" if mapping is None else "{}"
                    out.append(f"{comma}{label}{opening}")
                    label = comma = ""
                    break
                else:
                    out.append(f"{comma}{label}{leaf}")
                comma = ","
            else:
                out.append(closing)
                if not stack:
                    return "".join(out)
                members, mapping, closing = stack.pop()
                label, comma = "", ","

    def write_call(self, name: str, arguments: Mapping[str, Any]) -> tuple[str, str | None]:
        """A call with its special tokens, and a key of its arguments that cannot be read back, if there is one.

        Histories are rendered repeatedly, so small calls are cached.
        """
        try:
            key = marshal.dumps(arguments, 2)  # type: ignore[arg-type]
        except ValueError:  # too deep for marshal, or not plain Python values
            key = b""
        return _remembered_call(self, name, key) if 0 < len(key) <= _LARGEST_CALL else self._call(name, arguments)

    def _call(self, name: str, arguments: Mapping[str, Any]) -> tuple[str, str | None]:
        text = f"{self.call[0]}call:{quote(name)}{{{self._inside(arguments, True)}}}{self.call[1]}"
        return text, next((key for key in _keys(arguments) if _UNREADABLE_KEY.search(key)), None)

    def write_response(self, name: str, result: object) -> str:
        """A result with its special tokens; a value that is not an object is written with the key `value`."""
        if result.__class__ is str:
            body = f"value:{self.delimiter}{quote(result)}{self.delimiter}"
        else:
            body = self._inside(result, True) if is_mapping(result) else f"value:{self.value(result)}"
        return f"{self.response[0]}response:{quote(name)}{{{body}}}{self.response[1]}"

    def _leaf(self, value: object) -> str | None:
        """The text of a scalar; None for a container."""
        kind = value.__class__
        if kind is str:
            return f"{self.delimiter}{quote(value)}{self.delimiter}"  # type: ignore[arg-type]
        if kind is int or kind is float:
            return str(value)
        if value is True:
            return "true"
        if value is False:
            return "false"
        if value is None:
            return self.null
        if kind is dict or kind is list or isinstance(value, (Mapping, list, tuple)):
            return None
        if isinstance(value, str):
            return self.string(str.__str__(value))
        if isinstance(value, int):
            return int.__repr__(value)
        if isinstance(value, float):
            return float.__repr__(value)
        raise InvalidRequest(f"{type(value).__name__} is not a JSON type", code="invalid_type")


_UNREADABLE_KEY: Final = re.compile(r"[:=,{}\[\]()\"'`<\x00]|^\s|\s\Z|\A\Z")
"""Keys have no delimiters between `{` or `,` and `:`, so a key with such a character reads as something else."""


def _keys(value: object) -> Iterator[str]:
    """Every key in a JSON value."""
    stack = [value]
    while stack:
        item = stack.pop()
        if is_mapping(item):
            yield from item
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)


_LARGEST_CALL: Final = 2048
"""In bytes of marshalled arguments. Larger ones are written anew each time, so the cache stays small."""


@lru_cache(maxsize=2048)
def _remembered_call(notation: Notation, name: str, arguments: bytes) -> tuple[str, str | None]:
    return notation._call(name, marshal.loads(arguments))
