"""Simplifies JSON Schema to what a declaration can express, on a copy, with a report of what was lost.

Declarations support one type per property, `nullable`, descriptions, string enums, nested properties and items. `simplify`
resolves references, merges `allOf`, picks one branch of a union and infers missing types. Schemas that need none of this are
unchanged. Under the `items` of an array, only references are resolved and properties simplified, because the templates print
everything else there literally.

Sources: JSON Schema 2020-12 (https://json-schema.org/draft/2020-12) for the keywords; which branch loses least is our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

from gemma_tools.jsontext import is_mapping
from gemma_tools.schema.refs import DATA, MOST_FORMS, Document, flatten, unfold
from gemma_tools.schema.shape import Shape
from gemma_tools.schema.types import ONLY, allowed_types, members, named_types, same, value_key, widest
from gemma_tools.schema.types import Schema as Schema

Path: TypeAlias = tuple["Path", str] | None
"""The position of a schema: the path of its parent and its own name. A linked list, so depth costs nothing."""

_MOST_REFERENCES: Final = 1000
"""The limit for resolved references in one tool; without it, mutual references could double the declaration without end."""
_MOST_WARNINGS: Final = 100
_LONGEST_PATH: Final = 8
_MOST_NAMED: Final = 10


def simplify(parameters: Schema) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A simplified copy of a tool's parameters, and what was lost, one sentence each.

    In the copy every property has one `type`. Nothing is recursive: schemas may be as deep as memory allows.
    """
    work = _Simplifier(parameters, Document(parameters))
    return work.run(), tuple(work.warnings)


def where(path: Path) -> str:
    """A path in words: `property contact.phones`. For a long path only the last names."""
    names: list[str] = []
    while path and len(names) < _LONGEST_PATH:
        path, name = path
        names.append(name)
    dots = "…" if path else ""
    return f"property {dots}{'.'.join(reversed(names))}" if names else "the parameters"


_Copy: TypeAlias = "Callable[[Any, Any, Any, Path, frozenset[str]], None]"
"""Copies `source` to `target[key]`: `(source, target, key, path, chain)`. `chain` are the references on the way there."""


@dataclass
class _Simplifier:
    root: Schema
    document: Document
    warnings: list[str] = field(default_factory=list)
    nullable: list[str] = field(default_factory=list)
    """Which properties had null among their types."""
    resolved: int = 0
    tasks: list[tuple[_Copy, Any, Any, Any, Path, frozenset[str]]] = field(default_factory=list)
    """What is still to be copied: as a property, as the items of an array, or literally."""

    def run(self) -> dict[str, Any]:
        result: dict[str, Any] = {}
        self._property(self.root, result, "", None, frozenset())
        while self.tasks:
            copy, *where = self.tasks.pop()
            copy(*where)
        if self.nullable:
            names = ", ".join(self.nullable[:_MOST_NAMED]) + (" and others" if len(self.nullable) > _MOST_NAMED else "")
            self.warnings.append(f"{names}: null among the types becomes nullable")
        plain: dict[str, Any] = result[""]
        return plain

    def warn(self, path: Path, sentence: str) -> None:
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(f"{where(path)}: {sentence}")
        elif len(self.warnings) == _MOST_WARNINGS:
            self.warnings.append("and there are more such warnings")

    def _property(self, source: Any, target: Any, key: Any, path: Path, chain: frozenset[str]) -> None:
        flat, chain = self._flatten(source, path, chain)
        copy = target[key] = dict(flat)
        properties, required, items = flat.get("properties"), flat.get("required"), flat.get("items")
        if is_mapping(properties):
            self._children(copy, properties, path, chain)
        elif copy.pop("properties", None) is not None:
            self.warn(path, "its properties are not an object, and are left out")
        if isinstance(required, (list, tuple)):
            copy["required"] = [name for name in required if isinstance(name, str)]
        elif copy.pop("required", None) is not None:
            self.warn(path, "its required is not a list of names, and is left out")
        if is_mapping(items):
            self.tasks.append((self._items, items, copy, "items", path, chain))

    def _children(self, copy: dict[str, Any], properties: Schema, path: Path, chain: frozenset[str]) -> None:
        children: dict[str, Any] = {}
        copy["properties"] = children
        for name, child in properties.items():
            name = str(name)
            if child is False:
                self.warn((path, name), "no value is allowed for it, so it is not declared")
                continue
            children[name] = child
            if not _is_plain(child):
                self.tasks.append((self._property, child, children, name, (path, name), chain))

    def _items(self, source: Schema, target: Any, key: Any, path: Path, chain: frozenset[str]) -> None:
        flat, chain = self._dereference(source, path, chain)
        copy = target[key] = dict(flat)
        for keyword, value in flat.items():
            if keyword == "properties" and is_mapping(value):
                self._children(copy, value, path, chain)
            elif isinstance(value, (Mapping, list, tuple)) and keyword not in DATA:
                self.tasks.append((self._raw, value, copy, keyword, path, chain))

    def _raw(self, source: Any, target: Any, key: Any, path: Path, chain: frozenset[str]) -> None:
        if is_mapping(source):
            source, chain = self._dereference(source, path, chain)
            copy: Any = dict(source)
            entries: Iterator[tuple[Any, Any]] = iter(source.items())
        else:
            copy = list(source)
            entries = iter(enumerate(source))
        target[key] = copy
        for name, value in entries:
            if isinstance(value, (Mapping, list, tuple)) and name not in DATA:
                self.tasks.append((self._raw, value, copy, name, path, chain))

    def _flatten(self, source: object, path: Path, chain: frozenset[str]) -> tuple[Schema, frozenset[str]]:
        """One schema with one type, without references, `allOf` or unions."""
        if not is_mapping(source):
            source = {}
        if _is_settled(source):
            return source, chain
        lookup = partial(self._target, path, chain)
        flat = flatten(source, lookup)
        if flat is not None and _is_settled(flat.schema) and flat.schema.get("enum") != []:
            return flat.schema, chain | flat.references
        found, complete = unfold(flat, lookup)
        if not complete:
            self.warn(path, f"only the first {MOST_FORMS} of its branches are used")
        return self._choose([form.schema for form in found], path), chain.union(*(form.references for form in found))

    def _dereference(self, source: Schema, path: Path, chain: frozenset[str]) -> tuple[Schema, frozenset[str]]:
        """`source` with its reference, if it is one, replaced by the target."""
        while isinstance(source.get("$ref"), str):
            reference = source["$ref"]
            target = self._target(path, chain, reference)
            chain |= {reference}
            own = {keyword: value for keyword, value in source.items() if keyword != "$ref"}
            source = {**target, **own} if is_mapping(target) else own
        return source, chain

    def _target(self, path: Path, chain: frozenset[str], reference: str) -> object:
        """The target of `reference`; only its type if it is already written out around here."""
        target = self.document.lookup(reference)
        if target is None:
            self.warn(path, f"{reference} cannot be resolved within the tool, so its type is unknown")
            return None
        self.resolved += 1
        if is_mapping(target) and (reference in chain or self.resolved > _MOST_REFERENCES):
            self.warn(path, f"{reference} refers to itself; its properties are written only once")
            return {"type": widest(Shape(target, self.document).types or frozenset(("object",)))}
        return target

    def _choose(self, alternatives: list[Schema], path: Path) -> Schema:
        """The branch that loses least: null becomes `nullable`, branches of one type are merged, the widest type is chosen."""
        forms: dict[str, list[Schema]] = {}
        nullable = False
        for form in alternatives:
            for kind in _kinds(form):
                if kind == "null":
                    nullable = True
                else:
                    forms.setdefault(kind, []).append(form)
        if not forms:
            return {**(alternatives[0] if alternatives else {}), "type": "null" if nullable else "string"}
        untyped = forms.pop("", None)
        if not forms:
            assert untyped is not None
            kind = "string" if path else "object"
            if path:
                self.warn(path, "it has no type, and is written as STRING")
            forms[kind] = untyped
        elif untyped:
            self.warn(path, "a branch of it has no type, and is left out")
        unknown = [name for name in forms if name not in ONLY]
        kind = unknown[0] if unknown else widest(frozenset(forms))
        others = {name for name in forms if name != kind} - ({"integer"} if kind == "number" else set())
        if others:
            self.warn(path, f"it is a union, and is written as {kind.upper()} without {', '.join(sorted(others))}")
        chosen = {**_merged(forms[kind]), "type": kind}
        if "const" in chosen and "enum" not in chosen:
            chosen["enum"] = [chosen.pop("const")]
        enum = chosen.get("enum")
        if isinstance(enum, (list, tuple)) and None in enum:
            chosen["enum"] = [member for member in enum if member is not None]
            nullable = True
        if nullable:
            chosen["nullable"] = True
            self.nullable.append(where(path))
        return chosen


_PLAIN: Final = ("string", "integer", "number", "boolean")
_PARTS: Final = frozenset(("properties", "required", "items"))


def _is_plain(schema: object) -> bool:
    """Whether `schema` can be used unchanged in the copy: it has one type, and no part that must be changed."""
    return schema.__class__ is dict and schema.get("type") in _PLAIN and _PARTS.isdisjoint(schema)


def _is_settled(schema: Schema) -> bool:
    """Whether the templates print `schema` correctly: it has one type, and an object has properties."""
    kind = schema.get("type")
    if not isinstance(kind, str):
        return False
    return kind.lower() != "object" or "properties" in schema or not ({"$ref", "allOf", "anyOf", "oneOf"} & schema.keys())


def _kinds(form: Schema) -> list[str]:
    """The types with which a branch can be declared, one of which is chosen; an empty name if there is none."""
    given, allowed = form.get("type"), allowed_types(form)
    if isinstance(given, str):
        return [given.lower()]
    named = named_types(form)
    if named is not None:
        return sorted(named & (allowed or named))
    if not allowed:
        return [""]
    meant = allowed - {"null"} or allowed
    return ["string" if "string" in meant and members(form) is not None else widest(meant)]


def _merged(forms: list[Schema]) -> dict[str, Any]:
    """Branches of one type as one: all properties, what all require, and all members of their enums.

    What the branches say differently of one property, or of the items, becomes a union.
    """
    merged = dict(forms[0])
    if len(forms) == 1:
        return merged
    members_of = [form["properties"] for form in forms if is_mapping(form.get("properties"))]
    if members_of:
        names = dict.fromkeys(name for properties in members_of for name in properties)
        merged["properties"] = {name: _either([own[name] for own in members_of if name in own]) for name in names}
    elements = [form.get("items") for form in forms]
    if all(map(is_mapping, elements)):
        merged["items"] = _either(elements)
    else:
        merged.pop("items", None)
    for form in forms[1:]:
        ours, theirs = merged.pop("required", None), form.get("required")
        both = frozenset(theirs) if isinstance(ours, list) and isinstance(theirs, list) else frozenset()
        required = [name for name in ours or () if name in both]
        if required:
            merged["required"] = required
        mine, more = ([f["const"]] if "const" in f else f.get("enum") for f in (merged, form))
        merged.pop("const", None)
        if mine and more:
            known = set(map(value_key, mine))
            merged["enum"] = [*mine, *(member for member in more if value_key(member) not in known)]
        else:
            merged.pop("enum", None)
    return merged


def _either(schemas: list[object]) -> object:
    """One schema for the values of any of `schemas`, which a union writes once each."""
    different: list[object] = []
    for schema in schemas:
        if not any(same(schema, known) for known in different):
            different.append(schema)
    return different[0] if len(different) == 1 else {"anyOf": different}
