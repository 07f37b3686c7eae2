"""Finds the tool that a word at the head of a call names."""

from __future__ import annotations

import re
from typing import Final

from gemma_tools.formats.reading import Declared
from gemma_tools.schema.shape import ANY, Shape

LONGEST: Final = 192
"""Of a name with its namespaces, in characters."""
_IDENTIFIER: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_NAMESPACES: Final = ("function", "functions", "default_api", "api", "tool", "tools", "tool_code")
_FIRST_LETTERS: Final = {name[0] for name in (*_NAMESPACES, "print")}
_NAMESPACE: Final = re.compile(rf"(?:{'|'.join(_NAMESPACES)})[.:/]")
_ANY_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_-]*+(?:[.:/]|\Z)")
_SEPARATOR: Final = re.compile(r"[.:/]")


class Names:
    """The declared tools; without a list any Python name is one. `exact` allows no namespace before a name.

    `native` means that a call's own brackets were opened before the word, so any namespace may come before it.
    """

    __slots__ = ("_declared", "_exact")

    def __init__(self, declared: Declared, *, exact: bool) -> None:
        self._declared = declared
        self._exact = exact

    @property
    def any(self) -> bool:
        """Whether any name is allowed."""
        return self._declared is None

    @property
    def some(self) -> bool:
        """Whether there is a name at all."""
        return self._declared is None or bool(self._declared)

    def resolve(self, word: str, *, native: bool = False) -> str | None:
        """The declared name that `word` names."""
        declared = self._declared
        if declared is None:
            return word if _IDENTIFIER.fullmatch(word) and word.strip("._") else None
        if word in declared or self._exact:
            return word if word in declared else None
        separator = (_ANY_NAMESPACE if native else _NAMESPACE).match(word)
        while separator:
            if word[separator.end() :] in declared:
                return word[separator.end() :]
            separator = _SEPARATOR.search(word, separator.end()) if native else None
        return None

    def may_begin(self, begun: str, *, native: bool) -> bool:
        """Whether a word that begins in this way may become the name of a tool, so it must be held back."""
        if len(begun) == LONGEST:
            return False
        if self._declared is None or (native and _ANY_NAMESPACE.match(begun)):
            return True
        known = (*self._declared, "print", *_NAMESPACES)
        return any(name.startswith(begun) for name in known) or bool(_NAMESPACE.match(begun))

    def begins(self, letter: str) -> bool:
        """Whether a call without brackets may begin with `letter`."""
        return letter in _FIRST_LETTERS or any(name.startswith(letter) for name in self._declared or ())

    def shape(self, name: str) -> Shape:
        """The types of the parameters of the tool `name`."""
        return ANY if self._declared is None else self._declared.shape(name)

    def needs_arguments(self, word: str) -> bool:
        """Whether a call of `word` says too little without arguments to be one."""
        name = self.resolve(word, native=True)
        return self._declared is None or name is None or bool(self.shape(name).properties)
