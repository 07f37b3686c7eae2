"""What a schema says about one value: its types, members and elements. This is all that the parsers know of JSON Schema."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Final, TypeGuard

from gemma_tools.jsontext import is_mapping
from gemma_tools.schema.refs import Document, forms
from gemma_tools.schema.types import ANNOTATIONS, ONLY, Schema, Types, allowed_types, named_types, normal

__all__ = ["ANY", "Shape", "Types", "shape_of"]

_COMPLEX: Final = frozenset(("$ref", "allOf", "anyOf", "oneOf", "nullable"))
_NOT_NAMED: Final = _COMPLEX | {"enum", "const"}


class Shape:
    """What a schema says about a value. Shapes are made lazily, so a schema may refer to itself."""

    def __init__(self, schema: Schema, document: Document | None = None) -> None:
        self._schema = schema
        self._root = document
        self._members: dict[str, Shape] = {}
        # Most schemas have one type; a parser is created for every reply, and needs the types of every key.
        kind = schema.get("type")
        self._named = ONLY.get(kind) if kind.__class__ is str and schema.keys().isdisjoint(_NOT_NAMED) else None

    @cached_property
    def _document(self) -> Document:
        return self._root or Document(self._schema)

    @cached_property
    def _forms(self) -> Sequence[Schema]:
        """The forms of the schema without references and unions."""
        schema = self._schema
        if is_plain(schema):
            return (schema,)
        # Most schemas need no merging: a reference, or a choice of simple schemas.
        said = schema.keys() - ANNOTATIONS
        if said == _REFERENCE and isinstance(schema["$ref"], str) and is_plain(target := self._document.lookup(schema["$ref"])):
            return (target,)
        if said == _CHOICE and all(map(is_plain, schema["anyOf"])) and schema["anyOf"]:
            return tuple(schema["anyOf"])
        return [form.schema for form in forms(schema, self._document.lookup)[0]]

    @cached_property
    def types(self) -> Types:
        """The allowed JSON types; None for any."""
        if self._named:
            return self._named
        allowed: frozenset[str] = frozenset()
        for form in self._forms:
            types = allowed_types(form)
            if types is None:
                return None
            allowed |= types
        return allowed or named_types(normal(self._schema))

    @cached_property
    def textual(self) -> bool:
        """Whether a string is allowed."""
        return self.types is None or "string" in self.types

    @cached_property
    def properties(self) -> Collection[str]:
        """The names of the declared properties, in the schema's order."""
        if len(self._forms) == 1:
            return _properties(self._forms[0])
        return {name: None for form in self._forms for name in _properties(form)}

    @cached_property
    def closed(self) -> bool:
        """Whether objects have only the declared properties: there are some, and nothing allows others."""
        return bool(self.properties) and all(
            form.get("additionalProperties", False) is False and "patternProperties" not in form for form in self._objects
        )

    @cached_property
    def required(self) -> frozenset[str]:
        """The required properties of an object."""
        wanted = [form.get("required") for form in self._objects]
        names = [
            frozenset(name for name in names if isinstance(name, str)) for names in wanted if isinstance(names, (list, tuple))
        ]
        return frozenset.intersection(*names) if names and len(names) == len(wanted) else frozenset()

    @cached_property
    def may_be_empty(self) -> bool:
        """Whether an object without any property is allowed."""
        return any(not form.get("required") and not form.get("minProperties") for form in self._objects)

    @cached_property
    def element(self) -> Shape:
        """The shape of the elements of an array, except those in `places`."""
        return self._any_of(_elements(form)[1] for form in self._forms)

    @cached_property
    def places(self) -> Sequence[Shape]:
        """The shapes of the first elements of an array, if the schema has one for each position."""
        elements = [_elements(form) for form in self._forms]
        most = max((len(firsts) for firsts, _ in elements), default=0)
        return [self._any_of(firsts[i] if i < len(firsts) else rest for firsts, rest in elements) for i in range(most)]

    def member(self, key: str) -> Shape:
        """The shape of the property `key` of an object, declared or not."""
        member = self._members.get(key)
        if member is None:
            properties = self._schema.get("properties") if self._named else None
            declared = properties.get(key) if properties.__class__ is dict else None
            if declared.__class__ is dict:
                member = Shape(declared, self._document)
            else:
                member = self._any_of(part for form in self._objects for part in _member(form, key))
            if key in self.properties:  # shapes live long, and models invent any number of keys
                self._members[key] = member
        return member

    def declares(self, key: str) -> bool:
        """Whether objects have a property `key` by name."""
        return key in self.properties

    @property
    def _objects(self) -> Sequence[Schema]:
        """The possible forms of an object."""
        if len(self._forms) == 1:
            return self._forms
        return [form for form in self._forms if (types := allowed_types(form)) is None or "object" in types]

    def _any_of(self, schemas: Iterable[object]) -> Shape:
        """The shape for one of `schemas`."""
        given = list(schemas)
        said = [schema for schema in given if is_mapping(schema)]
        if not said or True in given:
            return ANY
        return Shape(said[0] if len(said) == 1 else {"anyOf": said}, self._document)


_REFERENCE: Final = {"$ref"}
_CHOICE: Final = {"anyOf"}


def is_plain(schema: object) -> TypeGuard[Schema]:
    """Whether a schema has exactly one type in JSON Schema's form, and no references and unions."""
    if not is_mapping(schema):
        return False
    kind = schema.get("type")
    return kind.__class__ is str and kind in ONLY and schema.keys().isdisjoint(_COMPLEX)


def _properties(form: Schema) -> Schema:
    properties = form.get("properties")
    return properties if is_mapping(properties) else {}


def _elements(form: Schema) -> tuple[Sequence[object], object]:
    """The schemas of the first elements, by position, and of the others."""
    items, firsts = form.get("items"), form.get("prefixItems")
    if isinstance(items, (list, tuple)):
        # Draft 2020-12's prefixItems was an array of `items` in earlier drafts.
        items, firsts = form.get("additionalItems"), items
    return (firsts, True if items is None else items) if isinstance(firsts, (list, tuple)) else ((), items)


def _member(form: Schema, key: str) -> Iterable[object]:
    properties = _properties(form)
    if key in properties:
        return (properties[key],)
    patterns = form.get("patternProperties")
    return (*(patterns.values() if is_mapping(patterns) else ()), form.get("additionalProperties"))


ANY: Final = Shape({})
"""An empty schema."""


def shape_of(parameters: Schema) -> Shape:
    """The shape of a tool's parameters, or of any other schema; `parameters` is the target of references."""
    return Shape(parameters)
