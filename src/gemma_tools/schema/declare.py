"""JSON Schema brought down to what a declaration can say, on a copy, with a report of what was lost.

Declarations know one type per property, `nullable`, descriptions, string enums, nested properties and items. `simplify`
resolves references, merges `allOf`, picks one form of a union and infers missing types. Schemas that need none of this come
out as they went in, and everything under the `items` of an array but its properties is only freed of references, because the
templates print it word for word.

Sources: JSON Schema 2020-12 (https://json-schema.org/draft/2020-12) for the keywords; which losses are least is our choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import unquote as percent_decoded

from gemma_tools.jsontext import is_mapping

Schema: TypeAlias = Mapping[str, Any]
Path: TypeAlias = tuple["Path", str] | None
"""Where a schema is: the path of its parent and its own name. A linked list, so that depth costs nothing."""

_MOST_REFERENCES: Final = 1000
"""Resolved in one tool; beyond that, references that refer to one another could double the declaration without end."""
_MOST_ALTERNATIVES: Final = 32
_MOST_LOSSES: Final = 100
_LONGEST_PATH: Final = 8
_MOST_NAMED: Final = 10
_WIDEST_FIRST: Final = ("object", "array", "string", "number", "integer", "boolean")
"""A union is written as the type that tells the model most; every branch is a valid answer."""
_TYPE_OF_KEYWORD: Final = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "patternProperties": "object",
    "propertyNames": "object",
    "minProperties": "object",
    "maxProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "contains": "array",
    "minItems": "array",
    "maxItems": "array",
    "uniqueItems": "array",
    "pattern": "string",
    "format": "string",
    "minLength": "string",
    "maxLength": "string",
    "multipleOf": "number",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
}
_DATA: Final = frozenset(("const", "default", "enum", "example", "examples"))
"""Keywords whose value is data and no schema: nothing in it is a reference."""


def simplify(parameters: Schema) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A plain copy of a tool's parameters, and what was lost, one sentence each.

    In the copy every property has one `type`. Nothing recurses: schemas may be as deep as memory allows.
    """
    work = _Simplifier(parameters)
    return work.run(), tuple(work.losses)


def where(path: Path) -> str:
    """A path in words: `property contact.phones`. Of a long one the last names only."""
    names: list[str] = []
    while path and len(names) < _LONGEST_PATH:
        path, name = path
        names.append(name)
    dots = "…" if path else ""
    return f"property {dots}{'.'.join(reversed(names))}" if names else "the parameters"


@dataclass(frozen=True, slots=True)
class _Task:
    """`source` is to be copied to `target[key]` as a property, as the items of an array, or word for word."""

    kind: str
    source: Any
    target: Any
    key: Any
    path: Path
    chain: frozenset[str]


@dataclass
class _Simplifier:
    root: Schema
    losses: list[str] = field(default_factory=list)
    nullable: list[str] = field(default_factory=list)
    """Which properties had null among their types."""
    resolved: int = 0

    def run(self) -> dict[str, Any]:
        result: dict[str, Any] = {}
        tasks = [_Task("property", self.root, result, "", None, frozenset())]
        steps = {"property": self._property, "items": self._items, "raw": self._raw}
        while tasks:
            task = tasks.pop()
            tasks.extend(steps[task.kind](task))
        if self.nullable:
            names = ", ".join(self.nullable[:_MOST_NAMED]) + (" and others" if len(self.nullable) > _MOST_NAMED else "")
            self.losses.append(f"{names}: null among the types becomes nullable")
        plain: dict[str, Any] = result[""]
        return plain

    def lose(self, path: Path, sentence: str) -> None:
        if len(self.losses) < _MOST_LOSSES:
            self.losses.append(f"{where(path)}: {sentence}")
        elif len(self.losses) == _MOST_LOSSES:
            self.losses.append("and there is more like that")

    def _property(self, task: _Task) -> Iterator[_Task]:
        flat, chain = self._flatten(task.source, task.path, task.chain)
        copy = task.target[task.key] = dict(flat)
        properties = flat.get("properties")
        if is_mapping(properties):
            yield from self._children(copy, properties, task.path, chain)
        elif copy.pop("properties", None) is not None:
            self.lose(task.path, "its properties are no object, and are left out")
        required = flat.get("required")
        if isinstance(required, (list, tuple)):
            copy["required"] = [name for name in required if isinstance(name, str)]
        elif copy.pop("required", None) is not None:
            self.lose(task.path, "its required is no list of names, and is left out")
        if is_mapping(flat.get("items")):
            yield _Task("items", flat["items"], copy, "items", task.path, chain)

    def _children(self, copy: dict[str, Any], properties: Schema, path: Path, chain: frozenset[str]) -> Iterator[_Task]:
        children: dict[str, Any] = dict.fromkeys(map(str, properties))
        copy["properties"] = children
        for name, child in properties.items():
            yield _Task("property", child, children, str(name), (path, str(name)), chain)

    def _items(self, task: _Task) -> Iterator[_Task]:
        flat, chain = self._dereference(task.source, task.path, task.chain)
        copy = task.target[task.key] = dict(flat)
        for keyword, value in flat.items():
            if keyword == "properties" and is_mapping(value):
                yield from self._children(copy, value, task.path, chain)
            elif isinstance(value, (Mapping, list, tuple)) and keyword not in _DATA:
                yield _Task("raw", value, copy, keyword, task.path, chain)

    def _raw(self, task: _Task) -> Iterator[_Task]:
        source, chain = task.source, task.chain
        if is_mapping(source):
            source, chain = self._dereference(source, task.path, chain)
            copy: Any = dict(source)
            members: Iterator[tuple[Any, Any]] = iter(source.items())
        else:
            copy = list(source)
            members = iter(enumerate(source))
        task.target[task.key] = copy
        for key, value in members:
            if isinstance(value, (Mapping, list, tuple)) and key not in _DATA:
                yield _Task("raw", value, copy, key, task.path, chain)

    def _flatten(self, source: object, path: Path, chain: frozenset[str]) -> tuple[Schema, frozenset[str]]:
        """One schema with one type, without references, `allOf` or unions."""
        if not is_mapping(source):
            source = {}
        if not _is_settled(source):
            flat, unions, chain = self._conjunction(source, {}, path, chain)
            if _is_settled(flat):
                source = flat
            else:
                alternatives, chain = self._alternatives(flat, unions, path, chain)
                source = self._choose(alternatives, path)
        return source, chain

    def _conjunction(
        self, source: object, base: Schema, path: Path, chain: frozenset[str]
    ) -> tuple[dict[str, Any], list[list[Any]], frozenset[str]]:
        """Everything that `base` and `source` ask for together, what stands nearest first, and the unions still open."""
        flat, unions, stack = dict(base), [], [source]
        while stack:
            part = stack.pop()
            if not is_mapping(part):
                continue
            for keyword, value in part.items():
                if keyword in ("anyOf", "oneOf") and isinstance(value, (list, tuple)) and value:
                    unions.append(list(value))
                elif keyword == "properties" and is_mapping(flat.get(keyword)) and is_mapping(value):
                    flat[keyword] = {**flat[keyword], **{k: v for k, v in value.items() if k not in flat[keyword]}}
                elif keyword == "required" and isinstance(flat.get(keyword), list) and isinstance(value, (list, tuple)):
                    flat[keyword] = [*flat[keyword], *(name for name in value if name not in flat[keyword])]
                elif keyword not in ("$ref", "allOf"):
                    flat.setdefault(keyword, value)
            if isinstance(part.get("allOf"), (list, tuple)):
                stack.extend(reversed(part["allOf"]))
            if isinstance(part.get("$ref"), str):
                target, chain = self._target(part["$ref"], path, chain)
                stack.append(target)
        return flat, unions, chain

    def _dereference(self, source: Schema, path: Path, chain: frozenset[str]) -> tuple[Schema, frozenset[str]]:
        """`source` with its reference, if it is one, replaced by what it refers to."""
        while isinstance(source.get("$ref"), str):
            target, chain = self._target(source["$ref"], path, chain)
            source = {**target, **{keyword: value for keyword, value in source.items() if keyword != "$ref"}}
        return source, chain

    def _target(self, reference: str, path: Path, chain: frozenset[str]) -> tuple[Schema, frozenset[str]]:
        target = _lookup(self.root, reference)
        if target is None:
            self.lose(path, f"{reference} refers to nothing in the tool, so that its type is not known")
            return {}, chain
        self.resolved += 1
        if reference in chain or self.resolved > _MOST_REFERENCES:
            self.lose(path, f"{reference} refers to itself; its properties are written once only")
            kind = target.get("type")
            return {"type": kind if isinstance(kind, str) else "object"}, chain
        return target, chain | {reference}

    def _alternatives(
        self, flat: dict[str, Any], unions: list[list[Any]], path: Path, chain: frozenset[str]
    ) -> tuple[list[dict[str, Any]], frozenset[str]]:
        """Every form that the unions allow, each with one type, as long as they are not too many."""
        done: list[dict[str, Any]] = []
        pending = [(flat, unions)]
        used = chain
        while pending and len(done) < _MOST_ALTERNATIVES:
            flat, unions = pending.pop()
            if unions:
                for branch in reversed(unions[0]):
                    merged, more, refs = self._conjunction(branch, flat, path, chain)
                    pending.append((merged, more + unions[1:]))
                    used |= refs
            elif isinstance(flat.get("type"), (list, tuple)):
                done.extend({**flat, "type": kind} for kind in flat["type"] if isinstance(kind, str))
            else:
                done.append(flat)
        if pending:
            self.lose(path, f"of its many forms the first {_MOST_ALTERNATIVES} are looked at")
        return done, used

    def _choose(self, alternatives: list[dict[str, Any]], path: Path) -> Schema:
        """The form that loses least: null becomes `nullable`, forms of one type are merged, the widest type is taken."""
        forms: dict[str, list[dict[str, Any]]] = {}
        nullable = False
        for form in alternatives:
            given = form.get("type")
            kind = given.lower() if isinstance(given, str) else _inferred(form)
            if kind == "null":
                nullable = True
            else:
                forms.setdefault(kind or "", []).append(form)
        if not forms:
            return {**(alternatives[0] if alternatives else {}), "type": "null" if nullable else "string"}
        untyped = forms.pop("", None)
        if not forms:
            assert untyped is not None
            kind = "string" if path else "object"
            if path:
                self.lose(path, "it has no type, and is written as STRING")
            forms[kind] = untyped
        elif untyped:
            self.lose(path, "a form of it has no type, and is left out")
        kind = min(forms, key=lambda name: _WIDEST_FIRST.index(name) if name in _WIDEST_FIRST else -1)
        others = {name for name in forms if name != kind} - ({"integer"} if kind == "number" else set())
        if others:
            self.lose(path, f"it is a union, and is written as {kind.upper()} without {', '.join(sorted(others))}")
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


def _is_settled(schema: Schema) -> bool:
    """Whether the templates print `schema` as it is meant: it has one type, and an object's properties stand in it."""
    kind = schema.get("type")
    if not isinstance(kind, str):
        return False
    return kind.lower() != "object" or "properties" in schema or not ({"$ref", "allOf", "anyOf", "oneOf"} & schema.keys())


def _lookup(root: Schema, reference: str) -> Schema | None:
    """What a reference within the tool refers to: `#`, or `#` and a JSON Pointer (RFC 6901)."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    node: Any = root
    for step in percent_decoded(reference[1:]).split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if is_mapping(node):
            node = node.get(step)
        elif isinstance(node, (list, tuple)) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        else:
            return None
    return node if is_mapping(node) else None


def _inferred(schema: Schema) -> str | None:
    """The type that the other keywords imply, if any."""
    members = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(members, (list, tuple)) and members:
        kinds = {_type_of(member) for member in members}
        if kinds == {"null"}:
            return "null"
        kinds.discard("null")
        if kinds == {"integer", "number"}:
            return "number"
        return kinds.pop() if len(kinds) == 1 else "string"
    return next((kind for keyword, kind in _TYPE_OF_KEYWORD.items() if keyword in schema), None)


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) else "number"
    return "string" if isinstance(value, str) else "object" if is_mapping(value) else "array"


def _merged(forms: list[dict[str, Any]]) -> dict[str, Any]:
    """Forms of one type as one: all properties, what all require, and all members of their enums."""
    merged = dict(forms[0])
    for form in forms[1:]:
        properties = form.get("properties")
        if is_mapping(properties):
            merged["properties"] = {**properties, **(merged.get("properties") or {})}
        required = [name for name in merged.pop("required", None) or () if name in (form.get("required") or ())]
        if required:
            merged["required"] = required
        ours, theirs = ([f["const"]] if "const" in f else f.get("enum") for f in (merged, form))
        merged.pop("const", None)
        if ours and theirs:
            merged["enum"] = [*ours, *(member for member in theirs if member not in ours)]
        else:
            merged.pop("enum", None)
    return merged
