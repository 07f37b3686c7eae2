"""Names that others can add: the same rule for formats, engines and backends.

A name that the program registered overrides one of an installed package (an entry point of the group `gemma_tools.formats`,
`gemma_tools.engines` or `gemma_tools.backends`), and both override a built-in name. If a built-in name is overridden, the log
says so once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import Parameter, signature
from typing import Any, Generic, TypeAlias, TypeVar

from gemma_tools.errors import InvalidRequest, UnknownName
from gemma_tools.log import logger

T = TypeVar("T")

Factory: TypeAlias = Callable[..., T]


class Registry(Generic[T]):
    """The factories that were added for one `kind` of object: "format", "engine" or "backend".

    `is_built_in` says whether this package itself has an object with that name.
    """

    def __init__(self, kind: str, is_built_in: Callable[[str], bool]) -> None:
        self._kind = kind
        self._is_built_in = is_built_in
        self._registered: dict[str, Factory[T]] = {}
        self._told: set[str] = set()

    def register(self, name: str, factory: Factory[T]) -> None:
        """Register `factory` as `name`, replacing an earlier one."""
        self._registered[name] = factory

    def added(self, name: str) -> Factory[T] | None:
        """The factory that was registered as `name`, else an installed package's; None if nobody added the name.

        Raises:
            UnknownName: a package has the name, but its factory cannot be loaded.
        """
        factory = self._registered.get(name)
        where = "registered"
        if factory is None:
            entry = self._plugins().get(name)
            if entry is None:
                return None
            where, factory = f"that of {entry.value}", self._load(entry)
        if name not in self._told and self._is_built_in(name):
            self._told.add(name)
            logger.warning("the %s %r is the one %s, instead of the built-in one", self._kind, name, where)
        return factory

    def names(self) -> tuple[str, ...]:
        """The added names."""
        return tuple(sorted({*self._registered, *self._plugins()}))

    def make(self, name: str, factory: Factory[T], options: Mapping[str, Any]) -> T:
        """The result of `factory` with `options`. Raises what `check` raises."""
        self.check(name, factory, options)
        return factory(**options)

    def check(self, name: str, factory: Factory[T], options: Mapping[str, Any]) -> None:
        """Check that `factory` takes these options, and that all required ones are there.

        Raises:
            InvalidRequest: the factory does not have this option, or a required option is missing.
        """
        parameters = signature(factory).parameters
        if all(parameter.kind is not Parameter.VAR_KEYWORD for parameter in parameters.values()):
            for option in options.keys() - parameters.keys():
                known = f"known options: {', '.join(parameters)}" if parameters else "it has no options"
                message = f"the {self._kind} {name} does not have this option; {known}"
                raise InvalidRequest(message, param=option, code="unknown_option")
        for option, parameter in parameters.items():
            plain = parameter.kind not in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
            if plain and parameter.default is Parameter.empty and option not in options:
                raise InvalidRequest(f"the {self._kind} {name} needs this option", param=option)

    def _plugins(self) -> Mapping[str, EntryPoint]:
        return _plugins(f"gemma_tools.{self._kind}s", tuple(sys.path))

    def _load(self, entry: EntryPoint) -> Factory[T]:
        try:
            factory: Factory[T] = entry.load()
        except (ImportError, AttributeError) as error:
            message = f"the {self._kind} {entry.name!r} is {entry.value}, which cannot be loaded: {error}"
            raise UnknownName(message) from error
        return factory


def load(where: str) -> Any:
    """The object at `where`, as "module:attribute"; the module is imported."""
    module, _, attribute = where.partition(":")
    return getattr(import_module(module), attribute)


@cache
def _plugins(group: str, path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """The entry points of a group by name; if two packages have the same name, the first on `path`.

    Reading the metadata of all installed packages takes milliseconds, so it is read once for each state of `sys.path`.
    """
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name, entry)
    return found
