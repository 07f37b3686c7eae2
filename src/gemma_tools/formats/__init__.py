"""The formats by name. Each is a separate module, loaded on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from gemma_tools.errors import UnknownName
from gemma_tools.formats.base import Format
from gemma_tools.registry import Registry, load

FormatFactory: TypeAlias = Callable[..., Format]

_BUILT_IN: Final = {
    "functiongemma": "gemma_tools.formats.functiongemma:FunctionGemmaFormat",
    "gemma3": "gemma_tools.formats.gemma3:Gemma3Format",
    "gemma4": "gemma_tools.formats.gemma4:Gemma4Format",
}
_formats: Final = Registry[Format]("format", _BUILT_IN.__contains__)


def register_format(name: str, factory: FormatFactory) -> None:
    """Make `get_format(name, **options)` call `factory(**options)`.

    A package adds a format with an entry point in the group `gemma_tools.formats`. A registered name overrides a package's, and
    both override a built-in name.
    """
    _formats.register(name, factory)


def get_format(name: str, **options: Any) -> Format:
    """The format with that name.

    Options of all formats: `exact`, `recovery`, `tool_content`, `longest_string`; of functiongemma: `default_instruction`; of
    gemma4: `variant`, `revision`; of gemma3: `tool_style`, `variant`. docs/formats.md describes them.

    Raises:
        UnknownName: there is no such format; the message lists the known ones.
        InvalidRequest: the format does not have this option, or does not allow this value.
    """
    factory = _formats.added(name)
    if factory is None and name in _BUILT_IN:
        factory = load(_BUILT_IN[name])
    if factory is None:
        known = sorted({*_BUILT_IN, *_formats.names()})
        raise UnknownName(f"there is no format {name!r}; known formats: {', '.join(known)}")
    return _formats.make(name, factory, options)
