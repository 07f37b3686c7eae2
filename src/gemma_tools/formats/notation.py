"""Write the brace notation that FunctionGemma and Gemma 4 share: values, calls, results and declarations.

    call:NAME{key:<escape>text<escape>,list:[1,true],map:{a:null}}

Keys are sorted without regard to case, as jinja's `dictsort` does. Every text goes through `prompt.quote` where it is written,
so that what these functions return belongs into `Prompt.marked`. Nothing recurses: containers wait on a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from gemma_tools.errors import InvalidRequest
from gemma_tools.prompt import quote
from gemma_tools.request import Tool
from gemma_tools.schema import Path, Schema, simplify, where

Piece: TypeAlias = str | tuple[Schema, Path]
"""Finished text, or properties that are still to be written."""
PropertyForm: TypeAlias = "Callable[[Declaration, Schema, Path], list[Piece]]"
"""Writes a property from after its opening brace to its closing one."""


@dataclass(frozen=True, slots=True)
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
        out: list[str] = []
        stack: list[Any] = [value]
        while stack:
            item = stack.pop()
            if item.__class__ is str:
                out.append(item)
            elif isinstance(item, Mapping):
                stack.append("}")
                stack.extend(reversed(self._members(item, bare_keys)))
                out.append("{")
            else:
                stack.append("]")
                stack.extend(reversed(self._elements(item)))
                out.append("[")
        return "".join(out)

    def pairs(self, mapping: Mapping[str, Any]) -> str:
        """The members of a mapping without its braces, keys bare: the body of a call or a result."""
        delimiter = self.delimiter
        out = []
        for key in sorted(mapping, key=str.lower) if len(mapping) > 1 else mapping:
            value = mapping[key]
            if value.__class__ is str:
                if "<" in value or "\x00" in value:
                    value = quote(value)
                text = f"{delimiter}{value}{delimiter}"
            else:
                text = self.value(value)
            if "<" in key or "\x00" in key:
                key = quote(key)
            out.append(f"{key}:{text}")
        return ",".join(out)

    def write_call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """A call with its control tokens."""
        return f"{self.call[0]}call:{quote(name)}{{{self.pairs(arguments)}}}{self.call[1]}"

    def write_response(self, name: str, result: object) -> str:
        """A result with its control tokens; what is no object stands under the key `value`."""
        body = self.pairs(result) if isinstance(result, Mapping) else "value:" + self.value(result)
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
        if isinstance(value, (Mapping, list, tuple)):
            return None
        if isinstance(value, str):
            return self.string(str.__str__(value))
        if isinstance(value, int):
            return int.__repr__(value)
        if isinstance(value, float):
            return float.__repr__(value)
        raise InvalidRequest(f"{type(value).__name__} is not a JSON type", code="invalid_type")

    def _members(self, mapping: Mapping[str, Any], bare_keys: bool) -> list[Any]:
        items: list[Any] = []
        comma = ""
        for key in sorted(mapping, key=str.lower):
            value = mapping[key]
            leaf = self._leaf(value)
            name = f"{comma}{quote(key) if bare_keys else self.string(key)}:"
            if leaf is None:
                items += (name, value)
            else:
                items.append(name + leaf)
            comma = ","
        return items

    def _elements(self, values: Iterable[Any]) -> list[Any]:
        items: list[Any] = []
        comma = ""
        for value in values:
            leaf = self._leaf(value)
            if leaf is None:
                items += (comma, value) if comma else (value,)
            else:
                items.append(comma + leaf)
            comma = ","
        return items


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
        string = self.notation.string
        pieces: list[Piece] = [f"declaration:{quote(tool.name)}{{description:{string(tool.description)}"]
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
                pieces += ["properties:{", (value, path), "}"] if isinstance(value, Mapping) else ["properties:{}"]
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
            pieces += self.form(self, schema if isinstance(schema, Mapping) else {}, here)
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
