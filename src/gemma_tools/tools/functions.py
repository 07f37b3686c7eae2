"""Makes a tool from a Python function: declared from its type hints and docstring, called with validated arguments."""

from __future__ import annotations

import asyncio
import inspect
from collections import UserList
from collections.abc import AsyncIterator, Callable, Coroutine, ItemsView, KeysView, Mapping, ValuesView
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, NotRequired, cast, get_args, get_origin, overload

from pydantic import ConfigDict, Field, PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python
from typing_extensions import TypedDict

from gemma_tools.engines.drive import acall
from gemma_tools.errors import InvalidRequest
from gemma_tools.tools.docstrings import read_docstring


@dataclass(frozen=True, eq=False)
class FunctionTool:
    """A tool that can run.

    It is called like the original function; a model's calls go through `check`, then `run` or `arun`.
    """

    declaration: Mapping[str, Any]
    """The tool in OpenAI's format: `{"type": "function", "function": {"name", "description", "parameters"}}`."""
    function: Callable[..., Any]
    """The function: sync or async, called with keyword arguments only."""
    arguments: TypeAdapter[Any] = field(repr=False, compare=False)
    """Converts a JSON object to the function's keyword arguments."""

    @property
    def name(self) -> str:
        """The name that the model calls."""
        return cast(str, self.declaration["function"]["name"])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def check(self, arguments: Mapping[str, Any] | str) -> dict[str, Any]:
        """The function's keyword arguments from a model's arguments: validated, and converted to the hinted types.

        `arguments` is a mapping or JSON text; an empty string means no arguments.

        Raises:
            InvalidRequest: they are invalid, and the message lists every error, without the values; or a type of the function
                failed to read them with an exception of its own.
        """
        try:
            if isinstance(arguments, str):
                keywords: dict[str, Any] = self.arguments.validate_json(arguments.strip() or "{}")
            else:
                keywords = self.arguments.validate_python(arguments)
        except ValidationError as error:
            raise InvalidRequest(_faults(error), param="arguments") from None
        except Exception as error:  # of a validator or a `__post_init__`: pydantic turns only some types into its own error
            raise InvalidRequest(f"reading them failed: {error_text(error)}", param="arguments") from error
        return keywords

    def run(self, keywords: Mapping[str, Any]) -> Any:
        """Call the function with validated arguments. Its exceptions are not caught.

        An async function is run to its end; the items of an async generator become a list.
        """
        result = self.function(**keywords)
        return _wait(_settled(result)) if _is_pending(result) else result

    async def arun(self, keywords: Mapping[str, Any]) -> Any:
        """`run` for async code: an async function is awaited, a sync one runs in its own thread."""
        if _is_async(self.function):
            return await _settled(self.function(**keywords))
        return await _settled(await acall(lambda _: self.function(**keywords)))


@overload
def tool(function: Callable[..., Any], /, *, name: str | None = None, description: str | None = None) -> FunctionTool: ...
@overload
def tool(*, name: str | None = None, description: str | None = None) -> Callable[[Callable[..., Any]], FunctionTool]: ...
def tool(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, description: str | None = None
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Make a tool from a function, method or other callable; also a decorator, with or without arguments.

    Pydantic makes the schema from the type hints. A parameter's description is `pydantic.Field(description=...)` or a plain
    string in `Annotated`, or else its text in the docstring (Google, NumPy or Sphinx style), whose text before its first
    section is the tool's description. `name` and `description` override the function's own.

    Raises:
        InvalidRequest: the function cannot be a tool; the message says what to change.
    """
    if function is None:
        return partial(tool, name=name, description=description)
    source: Any = function
    while isinstance(source, partial):
        source = source.func
    if not hasattr(source, "__name__"):
        source = type(source)
    docstring = read_docstring(inspect.getdoc(source))
    named: str = name or source.__name__
    if named == "<lambda>":
        raise InvalidRequest("a lambda has no name: set one with tool(..., name=...)", param="name")
    arguments, parameters = _arguments_of(function, named, docstring.parameters)
    return FunctionTool(
        {
            "type": "function",
            "function": {
                "name": named,
                "description": docstring.description if description is None else description,
                "parameters": {"type": "object", "properties": {}, **parameters},
            },
        },
        function,
        arguments,
    )


def declared(declaration: Mapping[str, Any], function: Callable[..., Any]) -> FunctionTool:
    """A tool with `declaration`, an OpenAI tool, that runs `function`.

    Arguments are validated against the type hints of `function`, not against the declared schema.
    """
    name = declaration["function"]["name"]
    return FunctionTool(declaration, function, _arguments_of(function, name, {})[0])


def result_text(result: object) -> str:
    """A tool's result as text for the model.

    A string is unchanged. Everything else becomes JSON: pydantic models, dataclasses, dates, enums, sets and bytes as pydantic
    writes them, None as `null`, NaN and the infinities as strings, mappings and ranges of any type as objects and arrays, and
    other types that pydantic does not support as their `str`.

    Raises:
        ValueError: the result contains itself, or text that is not Unicode.
    """
    if isinstance(result, str):
        return result
    try:
        return to_json(result, inf_nan_mode="strings", fallback=_plain).decode()
    except PydanticSerializationError as error:
        raise ValueError(f"the result cannot be written as JSON: {error}") from error


def error_text(error: BaseException) -> str:
    """The type and the message of an exception. A message that is empty, or that cannot be made, is left out."""
    try:
        message = str(error)
    except Exception:
        message = ""
    kind = type(error).__name__
    return f"{kind}: {message}" if message else kind


def _plain(value: object) -> object:
    """A value that pydantic does not support, as one that it does."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (KeysView, ValuesView, ItemsView, UserList, range)):
        return list(value)
    return str(value)


def _arguments_of(
    function: Callable[..., Any], name: str, described: Mapping[str, str]
) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    # A TypedDict, because a model would not accept parameters that are called `schema`, `copy` or `_x`.
    def refuse(reason: str) -> InvalidRequest:
        return InvalidRequest(f"{name!r} cannot be a tool: {reason}", param="tools")

    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, AttributeError, TypeError, ValueError, SyntaxError) as error:
        raise refuse(f"its signature cannot be read ({error})") from None
    config = ConfigDict(extra="forbid")
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise refuse(f"a model passes arguments by name, but {parameter.name!r} cannot be passed by name")
        if isinstance(parameter.default, FieldInfo):
            raise refuse(f"write {parameter.name}: Annotated[..., Field(...)], with a plain default")
        if parameter.kind is parameter.VAR_KEYWORD:
            config["extra"] = "allow"
        else:
            fields[parameter.name] = _field(parameter, described.get(parameter.name))
    arguments = cast(Any, TypedDict)(name, fields)
    arguments.__pydantic_config__ = config
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(arguments)
        return adapter, _untitled(adapter.json_schema())
    except PydanticUserError as error:
        raise refuse(f"a parameter has a type that JSON does not have ({error.message.splitlines()[0]})") from None


def _field(parameter: inspect.Parameter, described: str | None) -> Any:
    annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
    base, *metadata = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    hints = [Field(description=hint) if isinstance(hint, str) else hint for hint in metadata]
    if described:
        hints.insert(0, Field(description=described))
    if parameter.default is not parameter.empty:
        hints.append(Field(json_schema_extra=_default(parameter.default)))
    annotated = Annotated[(base, *hints)] if hints else base
    return annotated if parameter.default is parameter.empty else NotRequired[annotated]


def _default(value: object) -> dict[str, Any]:
    try:
        return {"default": to_jsonable_python(value)}
    except PydanticSerializationError:
        return {}


def _untitled(schema: Any) -> Any:
    # pydantic adds a title made from the Python name everywhere, which tells a model nothing and costs tokens.
    if isinstance(schema, list):
        return [_untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _untitled(member) for name, member in value.items()}
        if key in ("properties", "$defs", "patternProperties")
        else value
        if key in ("default", "const", "enum", "examples")
        else _untitled(value)
        for key, value in schema.items()
        if key != "title"
    }


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _is_pending(result: object) -> bool:
    return inspect.isawaitable(result) or isinstance(result, AsyncIterator)


async def _settled(result: Any) -> Any:
    """What a function returned, when it is complete: awaited, and an async iterator as the list of its items."""
    if inspect.isawaitable(result):
        result = await result
    return [item async for item in result] if isinstance(result, AsyncIterator) else result


def _faults(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}"
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    )


def _wait(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    # This thread's loop is busy (a notebook, or a sync call from async code), so the coroutine gets its own thread.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, coroutine).result()
