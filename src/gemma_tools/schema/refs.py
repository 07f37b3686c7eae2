"""What a schema says after its references are followed and its parts merged: `$ref`, `allOf`, `anyOf`, `oneOf`.

Nothing recurses, and a reference that leads back to where it came from adds nothing. Keywords beside a `$ref` count, as they do
since draft 2019-09.

Sources: JSON Schema 2020-12, core, sections 8 and 10.2; RFC 6901 (JSON Pointer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from gemma_tools.jsontext import is_mapping
from gemma_tools.schema.types import ANNOTATIONS, Schema, common_types, members, named_types, normal, same, value_key

Lookup: TypeAlias = Callable[[str], object]
"""From a reference to its target schema; None if it cannot be resolved."""
Warn: TypeAlias = Callable[[str], None]
"""Is called with a keyword that occurs several times and of which only the first could be kept."""

DATA: Final = frozenset(("const", "default", "enum", "example", "examples"))
"""Keywords whose value is data: nothing in it is a schema or a reference."""
MOST_FORMS: Final = 32
_MOST_STEPS: Final = 1000
_JOINTS: Final = frozenset(("$ref", "allOf"))
_LOWER: Final = frozenset(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"))
_UPPER: Final = frozenset(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"))
_VALUES: Final = frozenset(("enum", "const"))
_BOTH: Final = frozenset(("items", "additionalProperties", "propertyNames"))


class Document:
    """A whole schema, the target of references."""

    def __init__(self, root: Schema) -> None:
        self.root = root

    def lookup(self, reference: str) -> object:
        """The target schema of `reference`; None if it cannot be resolved, or is outside of the document."""
        base, _, fragment = reference.partition("#")
        target: object = self.root if not base else self._named.get(base)
        fragment = unquote(fragment)
        if fragment and not fragment.startswith("/"):
            return self._named.get("#" + fragment)
        for step in fragment.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if is_mapping(target):
                target = target.get(step)
            elif isinstance(target, (list, tuple)) and step.isdecimal() and step.isascii() and len(step) < 9:
                target = target[int(step)] if int(step) < len(target) else None
            else:
                return None
        return target if is_mapping(target) or isinstance(target, bool) else None

    @cached_property
    def _named(self) -> dict[str, Schema]:
        """The parts with their own name: by `$id`, and by `$anchor` after a `#`."""
        found: dict[str, Schema] = {}
        stack: list[object] = [self.root]
        while stack:
            node = stack.pop()
            if is_mapping(node):
                for keyword, mark in (("$id", ""), ("$anchor", "#")):
                    name = node.get(keyword)
                    if isinstance(name, str):
                        found.setdefault(mark + name.removesuffix("#"), node)
                stack.extend(value for key, value in node.items() if key not in DATA)
            elif isinstance(node, (list, tuple)):
                stack.extend(node)
        return found


_Path: TypeAlias = tuple["_Path", str] | None
"""The chain of references that were followed, the last one outside."""
_NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Form:
    """One way to satisfy a schema: a schema without references and `allOf`, and usually without unions."""

    schema: Schema
    references: frozenset[str] = _NONE
    """The references that were followed to make it."""
    open: frozenset[str] = _NONE
    """Those of them that led to a union: followed again in one of its branches, they would add nothing."""


def ignore(keyword: str) -> None:
    """Report nothing."""


def flatten(schema: object, lookup: Lookup, warn: Warn = ignore, above: Form | None = None) -> Form | None:
    """`schema` with its references and `allOf` merged into one; None if nothing can satisfy it.

    Unions stay: see `branches`. The nearest keywords have priority. `above` is the form of which `schema` is a branch.
    """
    merged: dict[str, Any] = {}
    closed: set[str] | None = None  # the allowed properties, once a part allows no others
    seen: set[str] = set()
    unions = _NONE if above is None else above.open
    stack: list[tuple[object, _Path]] = [(schema, None)]
    while stack:
        part, path = stack.pop()
        if part is False:
            return None
        if not is_mapping(part):
            continue
        part = normal(part)
        merge(merged, part, warn)
        if part.get("additionalProperties") is False:
            closed = set(_properties(part)) if closed is None else closed.intersection(_properties(part))
        if path and ("anyOf" in part or "oneOf" in part):
            unions = unions.union(_steps(path))
        if isinstance(part.get("allOf"), (list, tuple)):
            stack.extend((inner, path) for inner in reversed(part["allOf"]))
        reference = part.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            if above is not None and reference in above.open:
                return None
            seen.add(reference)
            stack.append((lookup(reference), (path, reference)))
    if isinstance(merged.get("required"), dict):
        merged["required"] = list(merged["required"])
    if closed is not None:
        merged["additionalProperties"] = False
        if not closed.issuperset(_properties(merged)):
            merged["properties"] = {name: name in closed and child for name, child in _properties(merged).items()}
    return Form(merged, (_NONE if above is None else above.references) | seen, unions)


def _steps(path: _Path) -> Iterator[str]:
    while path:
        path, reference = path
        yield reference


def branches(schema: Schema) -> list[object] | None:
    """The branches of a flat schema's first union, each merged with the keywords next to it; None if there is no union."""
    kind = next((key for key in ("anyOf", "oneOf") if isinstance(schema.get(key), (list, tuple)) and schema[key]), None)
    if kind is None:
        return None
    base = {key: value for key, value in schema.items() if key != kind}
    return [{"allOf": [base, branch]} if base else branch for branch in schema[kind]]


def forms(schema: object, lookup: Lookup, warn: Warn = ignore) -> tuple[list[Form], bool]:
    """Every form that satisfies `schema`, and whether the list is complete: see `unfold`."""
    return unfold(flatten(schema, lookup, warn), lookup, warn)


def unfold(flat: Form | None, lookup: Lookup, warn: Warn = ignore) -> tuple[list[Form], bool]:
    """The union-free forms of a flat schema, the first ones first, and whether the list is complete.

    There are at most `MOST_FORMS`, and at least one: if nothing satisfies the schema, the nearest keywords.
    """
    found: list[Form] = []
    rest: list[tuple[object, Form]] = []
    nearest = Form({})
    left = _MOST_STEPS
    while True:
        if flat is not None and flat.schema.get("enum") == []:
            nearest = nearest if nearest.schema else flat
        elif flat is not None:
            inner = branches(flat.schema)
            if inner is None:
                found.append(flat)
            else:
                rest.extend((branch, flat) for branch in reversed(inner))
        if not rest or len(found) == MOST_FORMS or left < 0:
            break
        source, above = rest.pop()
        left -= 1 + len(above.schema.get("allOf", ())) // 8  # the unions that each step goes through again
        flat = flatten(source, lookup, warn, above)
    if not found:
        nearest = nearest if nearest.schema or flat is None else flat
        own = {key: value for key, value in nearest.schema.items() if key not in ("enum", "anyOf", "oneOf", "allOf")}
        found.append(Form(own, nearest.references))
    return found, not rest


def merge(result: dict[str, Any], other: Schema, warn: Warn) -> None:
    """Merge `other` into `result`, except its references and `allOf`. Both are normal.

    If they have no type in common, no value has both; then `enum` is left without members.
    """
    if not result and not other.keys() >= _VALUES:
        result.update((key, _owned(key, value)) for key, value in other.items() if key not in _JOINTS)
        return
    for key, value in other.items():
        mine = result.get(key)
        if key in _JOINTS:
            continue
        if key in _VALUES and not _VALUES.isdisjoint(result):
            _merge_values(result, other)
        elif key not in result:
            result[key] = _owned(key, value)
        elif key in ANNOTATIONS or same(mine, value):
            continue
        elif key == "type":
            _merge_types(result, other)
        elif key == "properties" and is_mapping(mine) and is_mapping(value):
            _merge_properties(mine, value)
        elif key == "required" and isinstance(mine, dict) and isinstance(value, (list, tuple)):
            mine.update(dict.fromkeys(name for name in value if isinstance(name, str)))
        elif key in _LOWER | _UPPER and isinstance(mine, int | float) and isinstance(value, int | float):
            result[key] = max(mine, value) if key in _LOWER else min(mine, value)
        elif key in _BOTH:
            result[key] = {"allOf": [mine, value]}
        elif key in ("anyOf", "oneOf"):
            result.setdefault("allOf", []).append({key: value})
        else:
            warn(key)


def _owned(key: str, value: object) -> object:
    """A copy into which later parts are merged; required names become the keys of an object."""
    if key == "properties":
        return dict(value) if is_mapping(value) else value
    if key == "required" and isinstance(value, (list, tuple)):
        return dict.fromkeys(name for name in value if isinstance(name, str))
    return value


def _merge_properties(mine: Any, theirs: Schema) -> None:
    for name, child in theirs.items():
        own = mine.get(name, True)
        if own is False or child is False:
            mine[name] = False
        else:
            mine[name] = child if own is True else {"allOf": [own, child]}


def _merge_types(result: dict[str, Any], other: Schema) -> None:
    both = common_types(named_types(result), named_types(other))
    if both:
        result["type"] = next(iter(both)) if len(both) == 1 else sorted(both)
    elif both is not None:
        result["enum"] = []
        result.pop("const", None)


def _merge_values(result: dict[str, Any], other: Schema) -> None:
    ours, theirs = members(result), members(other)
    result.pop("const", None)
    if ours is None or theirs is None:
        result["enum"] = ours if theirs is None else theirs
        return
    both = set(map(value_key, theirs))
    result["enum"] = [value for value in ours if value_key(value) in both]


def _properties(schema: Schema) -> Schema:
    properties = schema.get("properties")
    return properties if is_mapping(properties) else {}
