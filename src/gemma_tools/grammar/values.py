"""From a JSON Schema to the grammar of its values in one notation.

Whatever the grammar does not enforce is reported, never silently dropped. In such cases the grammar may accept too much. It
accepts too little only where docs/grammar.md says so: within `Bounds`, and for objects with declared properties, which accept
other properties only if `additionalProperties` says so.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, floor
from typing import Any, Final

from gemma_tools.grammar import numbers
from gemma_tools.grammar.containers import Brackets, Pair, write_array, write_map, write_pairs
from gemma_tools.grammar.nodes import Alt, Lit, Node, Ref, Repeat, Seq, alt, seq
from gemma_tools.grammar.notation import Notation
from gemma_tools.grammar.pattern import FORMATS, LONGEST_REPEAT, Unsaid, read_pattern
from gemma_tools.schema.refs import Document, branches, flatten, forms
from gemma_tools.schema.types import (
    ANNOTATIONS,
    ONLY,
    TYPE_OF_KEYWORD,
    Schema,
    allowed_types,
    members,
    named_types,
    normal,
    types_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Limits for values without a limit in the schema, so that a small model must end. A schema's own limits override them."""

    string: int
    """Characters in a string."""
    items: int = 64
    """Items in an array, and pairs in an object without declared properties."""
    depth: int = 4
    """The nesting of arrays and objects in a value without a schema."""


DEEPEST: Final = 48
"""Schemas nested deeper are not read: any value is accepted there, and this is reported."""
LARGEST: Final = 20_000
"""How many schemas, counted with repetition, one grammar reads before it accepts any value and reports it."""
_LIGHT: Final = 8
"""This many values of an `enum`, or characters of a pattern, count as one schema."""

_UNHELD: Final = frozenset(
    ("multipleOf", "uniqueItems", "contains", "minContains", "maxContains", "unevaluatedItems", "patternProperties",
     "propertyNames", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties")
)  # fmt: skip
_STRUCTURE: Final = frozenset(("type", "enum", "const", "anyOf", "oneOf", "propertyOrdering"))
_KNOWN: Final = TYPE_OF_KEYWORD.keys() | _STRUCTURE | ANNOTATIONS


@dataclass(frozen=True, slots=True)
class _Place:
    """The position in a schema: a name for reports, the depth, and the references since anything was last written."""

    name: str
    depth: int = 0
    open: tuple[str, ...] = ()

    def inside(self, step: str) -> _Place:
        """A position after an opening bracket."""
        return _Place(self.name + step, self.depth + 1)


class SchemaReader:
    """Reads the parameters of one tool; `root` is their schema, the target of references."""

    def __init__(self, root: Schema, notation: Notation, bounds: Bounds, warnings: dict[str, None]) -> None:
        self._root = root
        self._document = Document(root)
        self._notation = notation
        self._rules = notation.rules
        self._braces = Brackets(Lit("{"), Lit("}"), notation)
        self._bounds = bounds
        self._warnings = warnings
        self._references: dict[str, Ref] = {}
        self._anything: dict[int, Node] = {}
        self._left = LARGEST

    def arguments(self, name: str, brackets: Brackets) -> Node:
        """The arguments of a call: an object with the schema's properties; empty if it has no properties and nothing more."""
        place = _Place(name)
        node = self._arguments(self._root, place, brackets)
        if node is None:
            self._warn(place, "no arguments can satisfy it; any arguments are allowed")
            return self._any_map(brackets)
        self._end()
        return node

    def _any_map(self, brackets: Brackets) -> Node:
        more = self._more(self._any(self._bounds.depth), {}, brackets.keys)
        return write_map(more, 0, self._bounds.items, brackets)

    def value(self, name: str) -> Node:
        """One value of the schema, an object or not."""
        place = _Place(name)
        node = self._value(self._root, place)
        if node is None:
            self._warn(place, "no value can satisfy it; any value is allowed")
            node = self._any(self._bounds.depth)
        self._end()
        return node

    # Every function below returns None if no value satisfies the schema.

    def _arguments(self, schema: object, place: _Place, brackets: Brackets) -> Node | None:
        self._left -= 1
        if self._left < 0:
            self._warn(place, "the schemas are too large; any arguments are allowed")
            return self._any_map(brackets)
        flat = self._flat(schema, place)
        ways = None if flat is None or place.depth > DEEPEST else self._branches(flat, place)
        if ways is not None:
            return self._any_of([self._arguments(way, replace(place, depth=place.depth + 1), brackets) for way in ways])
        if flat is None:
            return None
        self._report(flat, place)
        if members(flat) is not None:
            self._warn(place, "enum and const of all arguments together are not enforced")
        return self._object(flat, place, brackets, closed=True)

    def _value(self, schema: object, place: _Place) -> Node | None:
        if schema is False:
            return None
        self._left -= 1
        if schema is True or not isinstance(schema, Mapping):
            return self._any(self._bounds.depth)
        if place.depth > DEEPEST or self._left < 0:
            self._warn(place, "it is nested too deeply, or the schemas are too large; any value is allowed")
            return self._any(self._bounds.depth)
        schema = normal(schema)
        reference = schema.get("$ref")
        if isinstance(reference, str) and all(key == "$ref" or key in ANNOTATIONS for key in schema):
            return self._reference(reference, place)
        flat = self._flat(schema, place)
        if flat is None:
            return None
        ways = self._branches(flat, place)
        if ways is None:
            return self._plain(flat, place)
        return self._any_of([self._value(way, replace(place, depth=place.depth + 1)) for way in ways])

    def _reference(self, reference: str, place: _Place) -> Node | None:
        if reference in place.open:
            # A union that contains itself adds nothing; one that does so through another would, and no engine accepts that.
            if reference != place.open[-1]:
                self._warn(place, f"$ref {reference!r} refers to itself without a value in between; it is left out")
            return None
        known = self._references.get(reference)
        if known is not None:
            return known
        target = self._lookup(place, reference)
        if target is None:
            return self._any(self._bounds.depth)
        rule = self._references[reference] = self._rules.reserve("ref")
        node = self._value(target, replace(place, depth=place.depth + 1, open=(*place.open, reference)))
        if node is None:
            del self._rules.bodies[rule.name], self._references[reference]
            return None
        self._rules.bodies[rule.name] = node
        return rule

    def _flat(self, schema: object, place: _Place) -> Schema | None:
        """The schema with `$ref` and `allOf` merged in."""
        warn = partial(self._warn, place, "only the first of several {} is enforced")
        flat = flatten(schema, partial(self._lookup, place), warn)
        return None if flat is None else flat.schema

    def _lookup(self, place: _Place, reference: str) -> object:
        self._left -= 1
        target = self._document.lookup(reference) if self._left > 0 else None
        if target is None:
            self._warn(place, "$ref {!r} cannot be resolved, or there are too many references; any value is allowed", reference)
        return target

    def _branches(self, schema: Schema, place: _Place) -> list[object] | None:
        """The branches of a union, each merged with the keywords next to it; None if there is no union."""
        self._left -= len(schema.get("allOf", ()))  # the unions that each branch goes through again
        ways = branches(schema)
        if ways is not None and not schema.get("anyOf") and not self._apart(ways, place):
            self._warn(place, "oneOf is treated as anyOf: a value may match more than one branch")
        return ways

    def _apart(self, ways: list[object], place: _Place) -> bool:
        """Whether no value can satisfy two of the branches, as far as their types show."""
        seen: set[str] = set()
        for way in ways:
            allowed: set[str] = set()
            for form in forms(way, partial(self._lookup, place))[0]:
                allowed |= allowed_types(form.schema) or ONLY.keys()
            if seen & allowed or {"integer", "number"} <= seen | allowed:
                return False
            seen |= allowed
        return True

    def _any_of(self, ways: list[Node | None]) -> Node | None:
        known = [way for way in ways if way is not None]
        return alt(*known) if known else None

    def _plain(self, schema: Schema, place: _Place) -> Node | None:
        """A schema without references and unions of schemas."""
        self._report(schema, place)
        values = members(schema)
        if values is not None:
            return self._values(values, schema, place)
        named = allowed_types(schema)
        if named is None:
            if schema.get("type") is not None:
                self._warn(place, f"type {reprlib.repr(schema['type'])} is not known; any value is allowed")
                return self._any(self._bounds.depth)
            named = frozenset(ONLY)
        readers = {
            "string": self._string, "integer": self._number, "number": self._number, "boolean": self._boolean,
            "null": self._null, "array": self._array, "object": self._nested,
        }  # fmt: skip
        kinds = sorted(named - {"integer"} if "number" in named else named)
        return self._any_of([readers[kind]({**schema, "type": kind}, place) for kind in kinds])

    def _report(self, schema: Schema, place: _Place) -> None:
        """Report the keywords that are ignored."""
        for key, value in schema.items():
            if (key in _UNHELD and value is not False) or (key not in _KNOWN and not key.startswith("x-")):
                self._warn(place, f"{key} is not enforced")

    def _values(self, values: list[Any], schema: Schema, place: _Place) -> Node | None:
        self._left -= len(values) // _LIGHT
        named = named_types(schema)
        ways: list[Node] = []
        for value in values:
            if named is None or not named.isdisjoint(types_of(value)):
                way = self._notation.constant(value)
                if way is None:
                    self._warn(place, f"the value {reprlib.repr(value)} cannot be written, and is left out")
                else:
                    ways.append(way)
        for key in sorted(TYPE_OF_KEYWORD.keys() & schema.keys()):
            self._warn(place, f"{key} is not enforced together with enum or const")
        return alt(*ways) if ways else None

    def _boolean(self, schema: Schema, place: _Place) -> Node:
        return alt(Lit(self._notation.constants[True]), Lit(self._notation.constants[False]))

    def _null(self, schema: Schema, place: _Place) -> Node:
        return Lit(self._notation.constants[None])

    def _number(self, schema: Schema, place: _Place) -> Node | None:
        whole = schema["type"] == "integer"
        low, above = self._limit(schema, place, "minimum", "exclusiveMinimum")
        high, below = self._limit(schema, place, "maximum", "exclusiveMaximum")
        if low is None and high is None:
            return self._rules.add("INTEGER" if whole else "NUMBER", numbers.INTEGER if whole else numbers.NUMBER)
        if whole:
            first = None if low is None else floor(low) + 1 if above else ceil(low)
            last = None if high is None else ceil(high) - 1 if below else floor(high)
            node = numbers.integers(first, last)
            return None if node is None else self._rules.add("INTEGER", node)
        for limit, keyword in ((low, "minimum"), (high, "maximum")):
            if limit is not None and limit != int(limit):
                self._warn(place, f"{keyword} {limit} is enforced only to the next integer outside it")
        first, last = None if low is None else floor(low), None if high is None else ceil(high)
        node = numbers.decimals(first, last, above=above and first == low, below=below and last == high)
        return None if node is None else self._rules.add("NUMBER", node)

    def _limit(self, schema: Schema, place: _Place, inclusive: str, exclusive: str) -> tuple[int | float | None, bool]:
        """A limit, and whether it is exclusive. The old boolean form of the exclusive keyword is also supported."""
        limit, strict = schema.get(inclusive), schema.get(exclusive)
        outer = [n for n in (limit, strict) if isinstance(n, int | float) and not isinstance(n, bool)]
        if not outer:
            return None, False
        bound = max(outer) if inclusive == "minimum" else min(outer)
        if abs(bound) > numbers.LONGEST_LIMIT:
            self._warn(place, f"a {inclusive} of that size is not enforced")
            return None, False
        return bound, strict is True or (not isinstance(strict, bool) and bound == strict)

    def _string(self, schema: Schema, place: _Place) -> Node | None:
        if isinstance(grammar := schema.get("x-lark"), str):
            if (node := self._notation.lark(grammar)) is not None:
                return node
            self._warn(place, "a Lark grammar is not enforced in a notation whose strings have escapes")
        low, high = self._counts(schema, place, "minLength", "maxLength", self._bounds.string)
        if low > high:
            return None
        pattern, form = schema.get("pattern"), schema.get("format")
        if isinstance(form, str) and (form not in FORMATS or pattern is not None):
            self._warn(place, f"format {form!r} is not enforced" + " together with pattern" * (form in FORMATS))
        if not isinstance(pattern, str):
            pattern = FORMATS.get(form) if isinstance(form, str) else None
        if pattern is not None:
            self._left -= len(pattern) // _LIGHT
            try:
                body = read_pattern(pattern, self._notation.spell, min(high, self._bounds.string))
            except Unsaid as reason:
                self._warn(place, f"pattern {pattern!r} is not enforced ({reason})")
            else:
                for key in ("minLength", "maxLength"):
                    if key in schema:
                        self._warn(place, f"{key} is not enforced together with pattern or format")
                return self._notation.string(self._rules.add("PATTERN", body))
        return self._notation.text(low, high, exact=_count_of(schema, "maxLength") is not None)

    def _counts(self, schema: Schema, place: _Place, least: str, most: str, bound: int) -> tuple[int, int]:
        """The minimum and the maximum number; without a limit in the schema, `bound` more than the minimum."""
        low, high = _count_of(schema, least) or 0, _count_of(schema, most)
        if low > LONGEST_REPEAT:
            self._warn(place, f"{least} is enforced up to {LONGEST_REPEAT}")
            low = LONGEST_REPEAT
        return low, min(high, LONGEST_REPEAT) if high is not None else min(low + bound, LONGEST_REPEAT)

    def _array(self, schema: Schema, place: _Place) -> Node | None:
        low, high = self._counts(schema, place, "minItems", "maxItems", self._bounds.items)
        firsts = schema.get("prefixItems")
        rest = schema.get("items", True)
        if isinstance(rest, list):
            # Draft 2020-12's prefixItems was an array of `items` in earlier drafts.
            firsts, rest = rest, schema.get("additionalItems", True)
        firsts = firsts[:high] if isinstance(firsts, list) else []
        heads = [self._item(item, place.inside(f"[{i}]")) for i, item in enumerate(firsts)]
        tail = self._item(rest, place.inside("[]")) if high > len(heads) else None
        unending = None in heads
        heads = heads[: heads.index(None)] if unending else heads
        if unending or tail is None:
            high = min(high, len(heads))
        if low > high:
            return None
        array = write_array([head for head in heads if head is not None], tail, low, high, self._notation.separator)
        return self._rules.add("array", array)

    def _item(self, schema: object, place: _Place) -> Node | None:
        node = self._value(schema, place)
        return None if node is None else self._rules.add("item", node)

    def _nested(self, schema: Schema, place: _Place) -> Node | None:
        node = self._object(schema, place, self._braces, closed=False)
        return None if node is None else self._rules.add("object", node)

    def _object(self, schema: Schema, place: _Place, brackets: Brackets, *, closed: bool) -> Node | None:
        """An object. An object without declared properties is a map of any keys, unless it is `closed` or says no itself."""
        properties = schema.get("properties")
        declared: dict[str, Any] = dict(properties) if isinstance(properties, Mapping) else {}
        other = schema.get("additionalProperties", not declared and not closed)
        wanted = schema.get("required")
        required = dict.fromkeys(name for name in wanted if isinstance(name, str)) if isinstance(wanted, list | tuple) else {}
        undeclared = schema.get("additionalProperties", True)
        declared = {**declared, **{name: undeclared for name in required if name not in declared}}
        pairs: list[Pair] = []
        for name in brackets.keys.order(declared):
            node, key = self._value(declared[name], place.inside(f".{name}")), brackets.keys.key(name)
            if node is None and name in required:
                return None
            if key is None:
                self._warn(place, f"a property named {name!r} cannot be written, and is left out")
            elif node is not None:
                pairs.append(Pair(key, node, name in required))
        others = None if other is False else self._value(other, place.inside(".*"))
        if others is None or pairs:
            self._count(schema, place, pairs, others is not None)
        if others is None:
            may_be_empty = not _count_of(schema, "minProperties")
            return write_pairs(pairs, brackets, self._rules, may_be_empty=may_be_empty) if pairs or may_be_empty else None
        more = self._more(others, declared, brackets.keys)
        if pairs:
            return write_pairs(pairs, brackets, self._rules, more, self._bounds.items)
        low, high = self._counts(schema, place, "minProperties", "maxProperties", self._bounds.items)
        return write_map(more, low, high, brackets) if low <= high else None

    def _count(self, schema: Schema, place: _Place, pairs: list[Pair], unlimited: bool) -> None:
        """Report limits on the number of properties that the declared ones do not already satisfy."""
        low, high = _count_of(schema, "minProperties") or 0, _count_of(schema, "maxProperties")
        if low > max(1, sum(pair.required for pair in pairs)) or (low and unlimited):
            self._warn(place, "minProperties is not enforced together with properties")
        if high is not None and (unlimited or high < len(pairs)):
            self._warn(place, "maxProperties is not enforced together with properties")

    def _more(self, value: Node, taken: Mapping[str, Any], keys: Notation) -> tuple[Node, Node]:
        """A pair whose key is not in `taken`: first in the object, and after a comma."""
        pair = seq(self._rules.add("KEY", keys.other_key(taken)), value)
        return pair, seq(Lit(keys.separator), pair)

    def _any(self, depth: int) -> Node:
        """Any value, with at most `depth` nested arrays and objects."""
        if depth not in self._anything:
            place = _Place("")
            scalars = (self._string, self._number, self._boolean, self._null)
            ways = [read({"type": "number"}, place) for read in scalars]
            if depth > 0:
                inner = self._any(depth - 1)
                most = self._bounds.items
                ways.append(self._rules.add("array", write_array([], inner, 0, most, self._notation.separator)))
                ways.append(write_map(self._more(inner, {}, self._notation), 0, most, self._braces))
            self._anything[depth] = self._rules.add("any", alt(*(way for way in ways if way is not None)))
        return self._anything[depth]

    def _warn(self, place: _Place, what: str, *about: object) -> None:
        self._warnings[f"{place.name}: {what.format(*about) if about else what}"] = None

    def _end(self) -> None:
        """Give an end to the references that have none: schemas that require themselves."""
        ending: set[str] = set()
        bodies = self._rules.reachable(*(rule.name for rule in self._references.values()))
        while new := {name for name, body in bodies.items() if name not in ending and _ends(body, ending)}:
            ending |= new
        for reference, rule in self._references.items():
            if rule.name not in ending:
                self._warn(_Place(reference), "it requires itself without end; any value is allowed")
                self._rules.bodies[rule.name] = self._any(self._bounds.depth)


def _ends(node: Node, ending: set[str]) -> bool:
    """Whether some text of `node` is finite, when the rules in `ending` have such a text."""
    match node:
        case Seq(items):
            return all(_ends(item, ending) for item in items)
        case Alt(items):
            return any(_ends(item, ending) for item in items)
        case Repeat(item, low, _):
            return low == 0 or _ends(item, ending)
        case Ref(name):
            return name in ending
        case _:
            return True


def _count_of(schema: Schema, key: str) -> int | None:
    """A number of characters, items or properties; None if there is none."""
    count = schema.get(key)
    return max(0, int(count)) if isinstance(count, int | float) and not isinstance(count, bool) else None
