"""Write the brace notation that FunctionGemma and Gemma 4 share: values, calls, results and declarations.

    call:NAME{key:<escape>text<escape>,list:[1,true],map:{a:null}}

Keys are sorted without regard to case, as jinja's `dictsort` does. Every text goes through `prompt.quote` where it is written,
so that what these functions return belongs into `Prompt.marked`. Nothing recurses: containers wait on a stack.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, TypeAlias

from gemma_tools.errors import InvalidRequest
from gemma_tools.jsontext import is_mapping
from gemma_tools.prompt import quote
from gemma_tools.request import Tool
from gemma_tools.schema.declare import Path, Schema, simplify, where

Piece: TypeAlias = str | tuple[Schema, Path]
"""Finished text, or properties that are still to be written."""
PropertyForm: TypeAlias = "Callable[[Declaration, Schema, Path], list[Piece]]"
"""Writes a property from after its opening brace to its closing one."""


def _open(container: Any) -> tuple[Iterator[Any], Mapping[str, Any] | None]:
    """The keys of a mapping in `dictsort`'s order, and the mapping; or the items of a list, and None."""
    if not is_mapping(container):
        return iter(container), None
    return iter(sorted(container, key=str.lower) if len(container) > 1 else container), container


@dataclass(frozen=True, slots=True, eq=False)
class Notation:
    """The tokens of one family, and its spelling of null."""

    delimiter: str
    call: tuple[str, str]
    response: tuple[str, str]
    null: str = "null"

    def string(self, text: str) -> str:
        """A text between delimiters."""
        return f"{self.delimiter}{quote(text)}{self.delimiter}"

    def value(self, value: object, *, bare_keys: bool = True) -> str:
        """A JSON value; keys are bare in calls and results, delimited in declarations."""
        leaf = self._leaf(value)
        if leaf is not None:
            return leaf
        opening, closing = ("{", "}") if is_mapping(value) else ("[", "]")
        return f"{opening}{self._inside(value, bare_keys)}{closing}"

    def _inside(self, container: Any, bare_keys: bool) -> str:
        """What stands between the brackets of a container. Containers that are begun wait on a stack."""
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
        """A call with its control tokens, and a key of its arguments that cannot be read back, if there is one.

        Histories are rendered again and again, so small calls are remembered.
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
        """A result with its control tokens; what is no object stands under the key `value`."""
        body = (
            f"value:{self.value(result)}" if isinstance(result, str) or not is_mapping(result) else self._inside(result, True)
        )
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
"""Keys stand bare between `{` or `,` and `:`, so that a key with such a character reads as something else."""


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
"""In bytes of marshalled arguments. Larger ones are written anew each time, so that the memory stays small."""


@lru_cache(maxsize=2048)
def _remembered_call(notation: Notation, name: str, arguments: bytes) -> tuple[str, str | None]:
    return notation._call(name, marshal.loads(arguments))


@dataclass(slots=True)
class Declaration:
    """Writes one tool's declaration. `form` is the family's way of writing the body of a property."""

    notation: Notation
    form: PropertyForm
    exact: bool
    """Write the schema as the official template does, wherever that leads; else simplify it first."""
    undeclared: frozenset[str] = frozenset()
    """Names of properties that the family's template takes for schema words, and leaves out."""
    response: bool = False
    """Whether the family declares the shape of the result."""
    losses: list[str] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)

    def write(self, tool: Tool) -> tuple[str, tuple[str, ...]]:
        """The declaration, quoted, and what it leaves unsaid, one sentence each."""
        printed_none = self.exact and tool.function.get("description", "") is None  # as Python prints it
        description = self.notation.string("None" if printed_none else tool.description)
        pieces: list[Piece] = [f"declaration:{quote(tool.name)}{{description:{description}"]
        if tool.parameters:
            schema: Schema = tool.parameters
            if not self.exact:
                schema, losses = simplify(schema)
                self.losses += losses
            pieces.append(",parameters:{")
            if schema.get("properties"):
                pieces += ["properties:{", (schema["properties"], None), "},"]
            if schema.get("required"):
                pieces.append(f"required:{self.names(schema['required'])},")
            if schema.get("type"):
                pieces.append(f"type:{self.type_of(schema)}}}")
            self.drop(schema, ("properties", "required", "type"))
        if tool.response is not None:
            pieces += self._response(tool.response)
        text = self._join([*pieces, "}"])
        if self.dropped:
            self.losses.append(f"its declaration has no place for {', '.join(sorted(self.dropped))}")
        return text, tuple(f"tool {tool.name}: {loss}" for loss in self.losses)

    def names(self, names: Iterable[object]) -> str:
        """A list of names, such as the required ones."""
        return "[" + ",".join([self.notation.string(str(name)) for name in names]) + "]"

    def type_of(self, schema: Schema) -> str:
        """The type in capitals; empty if there is none."""
        return self.notation.string(str(schema.get("type", "")).upper())

    def items(self, items: Schema, path: Path) -> list[Piece]:
        """The items of an array: type, properties and required in the declaration's way, other keywords as plain values."""
        pieces: list[Piece] = []
        for keyword in sorted(items, key=str.lower):
            value = items[keyword]
            if value is None:
                continue
            pieces.append("," if pieces else "items:{")
            if keyword == "properties":
                pieces += ["properties:{", (value, path), "}"] if is_mapping(value) else ["properties:{}"]
            elif keyword == "required" and isinstance(value, (list, tuple)):
                pieces.append(f"required:{self.names(value)}")
            elif keyword == "type" and isinstance(value, (list, tuple)):
                pieces.append(f"type:{self.names([str(kind).upper() for kind in value])}")
            elif keyword == "type":
                pieces.append(f"type:{self.type_of(items)}")
            else:
                pieces.append(f"{quote(keyword)}:{self.notation.value(value, bare_keys=False)}")
        return [*(pieces or ["items:{"]), "}"]

    def drop(self, schema: Schema, said: Container[str]) -> None:
        """Note the keywords of `schema` that are not said and that are more than annotations."""
        for keyword, value in schema.items():
            if keyword not in said and keyword not in _ANNOTATIONS and value is not None and value is not False:
                self.dropped.add(keyword)

    def _response(self, response: Schema) -> list[Piece]:
        if not self.response:
            self.dropped.add("response")
            return []
        pieces: list[Piece] = [",response:{"]
        if response.get("description"):
            pieces.append(f"description:{self.notation.string(str(response['description']))},")
        kind = str(response.get("type") or "object")
        if kind.upper() == "OBJECT" and response.get("type"):
            pieces.append(f"type:{self.type_of(response)}}}")
        elif not self.exact:
            pieces.append(f"type:{self.notation.string(kind.upper())}}}")
        self.drop(response, ("description", "type"))
        return pieces

    def _join(self, pieces: list[Piece]) -> str:
        out: list[str] = []
        stack = pieces[::-1]
        while stack:
            piece = stack.pop()
            if isinstance(piece, str):
                out.append(piece)
            else:
                stack.extend(reversed(self._properties(*piece)))
        return "".join(out)

    def _properties(self, properties: Schema, path: Path) -> list[Piece]:
        pieces: list[Piece] = []
        for key in sorted(properties, key=str.lower):
            here = (path, key)
            if key in self.undeclared:
                if self.exact:
                    self.losses.append(f"{where(here)} is named like a schema word, and is not declared")
                    continue
                self.losses.append(f"{where(here)} is declared, and is named like a schema word, which the model has not seen")
            schema = properties[key]
            pieces.append(f"{',' if pieces else ''}{quote(key)}:{{")
            pieces += self.form(self, schema if is_mapping(schema) else {}, here)
        return pieces


_ANNOTATIONS: Final = frozenset(
    (
        "$anchor",
        "$comment",
        "$defs",
        "$id",
        "$ref",
        "$schema",
        "allOf",
        "definitions",
        "deprecated",
        "example",
        "examples",
        "title",
    )
)
"""Keywords that constrain nothing, and those that `simplify` has already written out."""
