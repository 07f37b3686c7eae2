"""Writes the declarations of FunctionGemma and Gemma 4: as their templates do, or with every keyword of the schema.

Nothing is recursive: properties that are still to be written wait on a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from gemma_tools.formats.brace.writer import Notation
from gemma_tools.jsontext import is_mapping
from gemma_tools.prompt import quote
from gemma_tools.request import Tool
from gemma_tools.schema.declare import Path, Schema, simplify, where

Piece: TypeAlias = str | tuple[Schema, Path]
"""Finished text, or properties that are still to be written."""
PropertyForm: TypeAlias = "Callable[[Declaration, Schema, Path], list[Piece]]"
"""Writes a property from after its opening brace to its closing brace."""


@dataclass(slots=True)
class Declaration:
    """Writes one tool's declaration. `form` is the family's form of a property's body."""

    notation: Notation
    form: PropertyForm
    exact: bool
    """Write the schema exactly as the official template does; otherwise simplify it first."""
    undeclared: frozenset[str] = frozenset()
    """Names of properties that the family's template mistakes for schema keywords, and leaves out."""
    response: bool = False
    """Whether the family declares the schema of the result."""
    warnings: list[str] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)

    def write(self, tool: Tool) -> tuple[str, tuple[str, ...]]:
        """The quoted declaration, and what it leaves out, one sentence each."""
        printed_none = self.exact and tool.function.get("description", "") is None  # as Python prints it
        description = self.notation.string("None" if printed_none else tool.description)
        pieces: list[Piece] = [f"declaration:{quote(tool.name)}{{description:{description}"]
        if tool.parameters:
            schema: Schema = tool.parameters
            if not self.exact:
                schema, warnings = simplify(schema)
                self.warnings += warnings
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
            self.warnings.append(f"its declaration has no place for {', '.join(sorted(self.dropped))}")
        return text, tuple(f"tool {tool.name}: {warning}" for warning in self.warnings)

    def names(self, names: Iterable[object]) -> str:
        """A list of names, such as the required ones."""
        return "[" + ",".join([self.notation.string(str(name)) for name in names]) + "]"

    def type_of(self, schema: Schema) -> str:
        """The type in capitals; empty if there is none."""
        return self.notation.string(str(schema.get("type", "")).upper())

    def items(self, items: Schema, path: Path) -> list[Piece]:
        """The items of an array: type, properties and required in the declaration's form, other keywords as plain values."""
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
        """Record the keywords of `schema` that are left out and are more than annotations."""
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
        stack = [iter(pieces)]
        while stack:
            for piece in stack[-1]:
                if isinstance(piece, str):
                    out.append(piece)
                else:
                    stack.append(iter(self._properties(*piece)))
                    break
            else:
                stack.pop()
        return "".join(out)

    def _properties(self, properties: Schema, path: Path) -> list[Piece]:
        pieces: list[Piece] = []
        for key in sorted(properties, key=str.lower):
            here = (path, key)
            if key in self.undeclared:
                if self.exact:
                    self.warnings.append(f"{where(here)} is named like a schema keyword, and is not declared")
                    continue
                self.warnings.append(
                    f"{where(here)} is declared although it is named like a schema keyword, which the model has not seen"
                )
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
        "x-lark",
    )
)
"""Keywords without a constraint, and those that `simplify` has already resolved."""


def declare_in_full(notation: Notation, tool: Tool) -> tuple[str, tuple[str, ...]]:
    """A declaration with every keyword of the schemas; nothing is left out.

    It has the form of Google DeepMind's package `dialog` (1.1.0) for Gemma 4: keywords and names without delimiters and sorted,
    types in capitals wherever `properties`, `items`, `not`, `allOf`, `anyOf` or `oneOf` contain a schema, references unchanged.
    `$schema` is left out.
    """
    said: dict[str, Any] = {}
    if tool.description:
        said["description"] = tool.description
    if tool.parameters is not None:
        said["parameters"] = _in_capitals(tool.parameters)
    if tool.response is not None:
        said["response"] = _in_capitals(tool.response)
    return f"declaration:{quote(tool.name)}{notation.value(said)}", ()


_SCHEMA: Final = frozenset(("items", "not"))
_SCHEMA_LIST: Final = frozenset(("allOf", "anyOf", "oneOf"))
_SCHEMA_MAP: Final = "properties"


def _in_capitals(schema: Schema) -> dict[str, Any]:
    """A copy of `schema` with its types in capitals, including those of all schemas in its keywords."""
    root: dict[str, Any] = {}
    waiting: list[tuple[Schema, dict[str, Any]]] = [(schema, root)]

    def copy_of(value: Any) -> Any:
        if not is_mapping(value):
            return value
        copy: dict[str, Any] = {}
        waiting.append((value, copy))
        return copy

    while waiting:
        source, copy = waiting.pop()
        for keyword, value in source.items():
            if keyword == "$schema":
                continue
            if keyword == "type":
                value = _capital(value)
            elif keyword in _SCHEMA:
                value = copy_of(value)
            elif keyword == _SCHEMA_MAP and is_mapping(value):
                value = {name: copy_of(member) for name, member in value.items()}
            elif keyword in _SCHEMA_LIST and isinstance(value, (list, tuple)):
                value = [copy_of(member) for member in value]
            copy[keyword] = value
    return root


def _capital(kind: Any) -> Any:
    if isinstance(kind, str):
        return kind.upper()
    return [_capital(name) if isinstance(name, str) else name for name in kind] if isinstance(kind, (list, tuple)) else kind
