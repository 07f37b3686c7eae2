"""Toolboxes: the declarations of several tools, and one safe way to run their calls."""

from __future__ import annotations

import json
import sys
from asyncio import CancelledError, current_task
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from inspect import isfunction
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeAlias

from gemma_tools.errors import InvalidRequest, ToolError
from gemma_tools.log import log_content, logger
from gemma_tools.observe import ToolReturned, ToolWork, tell, working
from gemma_tools.tools.ending import ended_if_left
from gemma_tools.tools.functions import FunctionTool, declared, error_text, result_text, tool

FaultKind: TypeAlias = Literal["unknown_tool", "invalid_arguments", "failed", "repeated"]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call. `content` is the text for the model; for a fault it is `{"error": ...}`, never a traceback."""

    content: str
    fault: FaultKind | None = None
    """Why the call has no result; None if it has one."""
    value: Any = field(default=None, compare=False)
    """The function's return value."""
    exception: BaseException | None = field(default=None, compare=False, repr=False)
    """The exception that the function raised, for the program only."""


def fault(kind: FaultKind, message: str, exception: BaseException | None = None) -> ToolResult:
    """A result that tells the model what went wrong."""
    return ToolResult(json.dumps({"error": message}, ensure_ascii=False), kind, exception=exception)


Toolable: TypeAlias = "Callable[..., Any] | Mapping[str, Any] | tuple[Mapping[str, Any], Callable[..., Any]] | ToolBox"
"""What a `ToolBox` can contain: a callable (also a `FunctionTool`); an OpenAI tool dict with the callable that implements it;
an OpenAI tool dict alone, which is declared but not run; another toolbox.
"""


class ToolBox:
    """An immutable, ordered set of tools by name. `call` and `acall` never raise for errors of a model or a tool.

    Raises:
        InvalidRequest: two tools have the same name, or an item is not a tool.
    """

    def __init__(self, tools: Iterable[Toolable] | Toolable = ()) -> None:
        self._tools: dict[str, FunctionTool | Mapping[str, Any]] = {}
        if not isinstance(tools, Iterable):
            tools = [tools]
        for item in [tools] if isinstance(tools, Mapping) or callable(tools) else tools:
            for made in item._tools.values() if isinstance(item, ToolBox) else [_made(item)]:
                name = _name(made)
                if name in self._tools:
                    raise InvalidRequest(f"two tools are called {name!r}", param="tools")
                self._tools[name] = made

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all tools, in order."""
        return tuple(self._tools)

    @property
    def functions(self) -> tuple[FunctionTool, ...]:
        """The tools with a function; without those that are only declared."""
        return tuple(t for t in self._tools.values() if isinstance(t, FunctionTool))

    def schemas(self) -> list[dict[str, Any]]:
        """The tools in the form of OpenAI's `tools` parameter."""
        return [dict(t.declaration if isinstance(t, FunctionTool) else t) for t in self._tools.values()]

    def runs(self, name: str) -> bool:
        """Whether a call of `name` is answered here: False only for a tool that is declared without a function."""
        return not isinstance(self._tools.get(name), Mapping)

    def select(self, names: Iterable[str]) -> ToolBox:
        """A toolbox with only these tools.

        Raises:
            InvalidRequest: one of them is not in this toolbox.
        """
        chosen = list(names)
        for name in chosen:
            if name not in self._tools:
                raise InvalidRequest(f"there is no tool {name!r}; available: {', '.join(self) or 'none'}", param="tools")
        box = ToolBox()
        box._tools = {name: self._tools[name] for name in chosen}
        return box

    def call(self, name: str, arguments: Mapping[str, Any] | str, *, id: str | None = None) -> ToolResult:
        """Run a call. `arguments` is a mapping or JSON text; an empty string means no arguments. `id` is for observers.

        An unknown name, invalid arguments, and exceptions of the tool become results that tell the model so.
        """
        with working(ToolWork(name=name, arguments=arguments, id=id)):
            result = self._call(name, arguments)
            tell(ToolReturned(result.content, result.fault))
        return result

    async def acall(self, name: str, arguments: Mapping[str, Any] | str, *, id: str | None = None) -> ToolResult:
        """`call` for async code: async functions are awaited, others run in a thread."""
        with working(ToolWork(name=name, arguments=arguments, id=id)):
            result = await self._acall(name, arguments)
            tell(ToolReturned(result.content, result.fault))
        return result

    def _call(self, name: str, arguments: Mapping[str, Any] | str) -> ToolResult:
        prepared = self._prepare(name, arguments)
        if isinstance(prepared, ToolResult):
            return prepared
        function, keywords = prepared
        try:
            return _result(name, function.run(keywords))
        except (Exception, SystemExit, CancelledError) as error:
            return _failure(name, error)

    async def _acall(self, name: str, arguments: Mapping[str, Any] | str) -> ToolResult:
        prepared = self._prepare(name, arguments)
        if isinstance(prepared, ToolResult):
            return prepared
        function, keywords = prepared
        try:
            with ended_if_left():
                return _result(name, await function.arun(keywords))
        except CancelledError as error:
            task = current_task()
            if task is None or task.cancelling():
                raise
            return _failure(name, error)  # something inside the tool was cancelled, not this call
        except (Exception, SystemExit) as error:
            return _failure(name, error)

    def _prepare(self, name: str, arguments: Mapping[str, Any] | str) -> tuple[FunctionTool, dict[str, Any]] | ToolResult:
        known = self._tools.get(name)
        if known is None:
            return fault("unknown_tool", f"there is no tool {name!r}; the tools are: {', '.join(self) or 'none'}")
        if isinstance(known, Mapping):
            return fault("failed", f"the tool {name!r} is declared here, but not implemented")
        try:
            return known, known.check(arguments)
        except InvalidRequest as error:
            return fault("invalid_arguments", error.message, error)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def __repr__(self) -> str:
        return f"ToolBox({', '.join(self)})"


def load_tools(path: str | PathLike[str]) -> ToolBox:
    """The tools of a file.

    A `.py` file is run as a module; its tools are the functions marked with `@tool` or, if there are none, every public
    function that is defined in it. A `.json` file contains OpenAI tools, in a list or under the key `tools`: they are declared,
    not run.

    Raises:
        InvalidRequest: the file does not exist, cannot be read, or contains no tool.
    """
    file = Path(path)
    try:
        if file.suffix == ".json":
            read = json.loads(file.read_text(encoding="utf-8"))
            tools: Any = read.get("tools") if isinstance(read, Mapping) else read
        elif file.suffix == ".py":
            tools = _tools_of(_module(file))
        else:
            raise InvalidRequest(f"{file} must end in .py or .json", param="path")
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}", param="path") from None
    except InvalidRequest:
        raise
    except (Exception, SystemExit) as error:
        raise InvalidRequest(f"{file} cannot be loaded: {type(error).__name__}: {error}", param="path") from error
    if not isinstance(tools, list) or not tools:
        raise InvalidRequest(f"{file} does not contain tools", param="path")
    return ToolBox(tools)


def _module(file: Path) -> ModuleType:
    spec = spec_from_file_location(f"gemma_tools_loaded_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise InvalidRequest(f"{file} is not a Python file", param="path")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pydantic look up their module there
    spec.loader.exec_module(module)
    return module


def _tools_of(module: ModuleType) -> list[Toolable]:
    values = vars(module).items()
    marked: list[Toolable] = [value for _, value in values if isinstance(value, FunctionTool)]
    return marked or [v for name, v in values if isfunction(v) and v.__module__ == module.__name__ and name[0] != "_"]


def _made(item: object) -> FunctionTool | Mapping[str, Any]:
    if isinstance(item, FunctionTool):
        return item
    if isinstance(item, Mapping):
        return _checked(item)
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Mapping) and callable(item[1]):
        return declared(_checked(item[0]), item[1])
    if callable(item):
        return tool(item)
    raise InvalidRequest(f"a {type(item).__name__} is not a tool; pass a function or an OpenAI tool dict", param="tools")


def _checked(declaration: Mapping[str, Any]) -> Mapping[str, Any]:
    function = declaration.get("function")
    if declaration.get("type") != "function" or not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidRequest('a tool dict must be {"type": "function", "function": {"name": ...}}', param="tools")
    return declaration


def _name(made: FunctionTool | Mapping[str, Any]) -> str:
    name: str = made.name if isinstance(made, FunctionTool) else made["function"]["name"]
    return name


def _result(name: str, value: object) -> ToolResult:
    content = result_text(value)
    log_content(f"result of {name}", content)
    return ToolResult(content, value=value)


def _failure(name: str, error: BaseException) -> ToolResult:
    logger.warning("tool %s failed: %s", name, type(error).__name__)
    message = str(error) if isinstance(error, ToolError) else f"{name} failed: {error_text(error)}"
    return fault("failed", message, error)
