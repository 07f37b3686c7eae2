"""The formats by name. Each is a module of its own, loaded on first use."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from inspect import Parameter, signature
from typing import Any, Final, TypeAlias

from gemma_tools.errors import InvalidRequest, UnknownName
from gemma_tools.formats.base import Format

FormatFactory: TypeAlias = Callable[..., Format]
ENTRY_POINTS: Final = "gemma_tools.formats"
"""Packages add formats by an entry point of this group: a name, and a callable that takes the options."""

_BUILT_IN: Final = {
    "functiongemma": ("gemma_tools.formats.functiongemma", "FunctionGemmaFormat"),
    "gemma3": ("gemma_tools.formats.gemma3", "Gemma3Format"),
    "gemma4": ("gemma_tools.formats.gemma4", "Gemma4Format"),
}
_registered: dict[str, FormatFactory] = {}


def register_format(name: str, factory: FormatFactory) -> None:
    """Make `get_format(name, **options)` call `factory(**options)`. A registered name goes before a built-in one."""
    _registered[name] = factory


def get_format(name: str, **options: Any) -> Format:
    """The format of that name.

    Options of all: `exact`, `recovery`, `tool_content`, `longest_string`; of functiongemma: `default_instruction`; of gemma4:
    `variant`, `revision`; of gemma3: `tool_style`, `variant`. docs/formats.md says what each does.

    Raises:
        UnknownName: there is no such format; the message lists those that there are.
        InvalidRequest: the format has no such option, or not with that value.
    """
    factory = _factory(name)
    parameters = signature(factory).parameters
    if all(parameter.kind is not Parameter.VAR_KEYWORD for parameter in parameters.values()):
        for option in options.keys() - parameters.keys():
            message = f"the format {name} has no such option; known are {', '.join(parameters)}"
            raise InvalidRequest(message, param=option, code="unknown_option")
    return factory(**options)


def _factory(name: str) -> FormatFactory:
    if name in _registered:
        return _registered[name]
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name]
        factory: FormatFactory = getattr(import_module(module), attribute)
        return factory
    points = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in points:
        loaded: FormatFactory = points[name].load()
        return loaded
    known = sorted({*_BUILT_IN, *_registered, *points})
    raise UnknownName(f"there is no format {name!r}; there are {', '.join(known)}")
