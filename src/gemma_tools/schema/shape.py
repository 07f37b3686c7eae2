"""What a schema says of one value: its types, its members, its elements. This is all that the parsers know of JSON Schema."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any, Final, TypeAlias

from gemma_tools.schema import coerce

Types: TypeAlias = frozenset[str] | None
"""JSON types in lower case; None for any."""


class Shape:
    """What a schema says of a value. Shapes are made lazily, so that a schema may refer to itself."""

    def __init__(self, node: Mapping[str, Any] | None, root: Mapping[str, Any]) -> None:
        self._node = node
        self._root = root
        self._members: dict[str, Shape] = {}

    @cached_property
    def types(self) -> Types:
        """The JSON types that are allowed; None for any."""
        return coerce.types_of(self._node, self._root)

    @cached_property
    def textual(self) -> bool:
        """Whether a string is allowed."""
        return self.types is None or "string" in self.types

    @cached_property
    def properties(self) -> Collection[str]:
        """The names of the declared properties, in the schema's order."""
        properties = self._node.get("properties") if self._node else None
        return tuple(properties) if isinstance(properties, dict) else ()

    @cached_property
    def required(self) -> frozenset[str]:
        """The properties that an object must have."""
        required = self._node.get("required") if self._node else None
        return frozenset(required) if isinstance(required, (list, tuple)) else frozenset()

    @cached_property
    def element(self) -> Shape:
        """What the elements of an array are."""
        return self._of(coerce.element(self._node, self._root))

    def member(self, key: str) -> Shape:
        """What the property `key` of an object is, declared or not."""
        member = self._members.get(key)
        if member is None:
            member = self._members[key] = self._of(coerce.member(self._node, key, self._root))
        return member

    def declares(self, key: str) -> bool:
        """Whether objects have a property `key` by name."""
        return coerce.declares(self._node, key, self._root)

    def _of(self, node: Mapping[str, Any] | None) -> Shape:
        return ANY if node is None else Shape(node, self._root)


ANY: Final = Shape(None, {})
"""A schema that says nothing."""


def shape_of(parameters: Mapping[str, Any]) -> Shape:
    """The shape of a tool's parameters, or of any other schema; references point into `parameters`."""
    return Shape(coerce.resolve(parameters, parameters), parameters)
