"""Python functions as tools: what is declared, how arguments are checked, what a result becomes."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
import threading
from collections import UserDict, UserList
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Literal

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from gemma_tools.errors import InvalidRequest, ToolError
from gemma_tools.tools import FunctionTool, ToolBox, ToolResult, load_tools, tool


class Unit(enum.Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


class Stay(BaseModel, strict=True):
    since: date


class Place(BaseModel):
    """Where something is."""

    title: str
    floor: int = 0


@dataclasses.dataclass
class Reading:
    value: float
    unit: Unit


def declared(function: Callable[..., Any]) -> dict[str, Any]:
    return dict(tool(function).declaration["function"])


def test_a_function_is_declared_from_its_hints_and_docstring() -> None:
    def measure(
        place: Place,
        unit: Unit = Unit.CELSIUS,
        days: Annotated[int, Field(ge=1, description="How many days")] = 1,
        note: Annotated[str, "What to write down"] = "",
        kind: Literal["air", "sea"] | None = None,
    ) -> Reading:
        """Measure the temperature.

        It takes a while.

        Args:
            place: Where to measure,
                as exactly as possible.
            days: overruled
        """
        return Reading(20.5, unit)

    assert declared(measure) == {
        "name": "measure",
        "description": "Measure the temperature.\n\nIt takes a while.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"$ref": "#/$defs/Place", "description": "Where to measure, as exactly as possible."},
                "unit": {"$ref": "#/$defs/Unit", "default": "c"},
                "days": {"type": "integer", "minimum": 1, "description": "How many days", "default": 1},
                "note": {"type": "string", "description": "What to write down", "default": ""},
                "kind": {"anyOf": [{"enum": ["air", "sea"], "type": "string"}, {"type": "null"}], "default": None},
            },
            "required": ["place"],
            "additionalProperties": False,
            "$defs": {
                "Place": {
                    "type": "object",
                    "description": "Where something is.",
                    "properties": {"title": {"type": "string"}, "floor": {"type": "integer", "default": 0}},
                    "required": ["title"],
                },
                "Unit": {"enum": ["c", "f"], "type": "string"},
            },
        },
    }


GOOGLE = """Find a train.

    Args:
        start (str): Where it starts.
        end (list[tuple[int, str]], optional): Where it ends: a station,
            or a town.
        **more: Anything else.

    Returns:
        dict: The train.
"""
NUMPY = """Find a train.

Parameters
----------
start : str
    Where it starts.
end : list, optional
    Where it ends: a station,
    or a town.
**more
    Anything else.

Returns
-------
dict
    The train.
"""
SPHINX = """Find a train.

:param start: Where it starts.
:type start: str
:param list end: Where it ends: a station,
    or a town.
:keyword more: Anything else.
:returns: The train.
"""


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_docstring_styles_say_the_same(text: str) -> None:
    def find(start: str, end: str = "", more: str = "") -> None: ...

    find.__doc__ = text
    function = declared(find)
    described = {name: schema.get("description") for name, schema in function["parameters"]["properties"].items()}
    assert function["description"] == "Find a train."
    assert described == {
        "start": "Where it starts.",
        "end": "Where it ends: a station, or a town.",
        "more": "Anything else.",
    }


def test_numpy_names_can_share_a_description_and_prose_is_not_a_section() -> None:
    def add(x: int, y: int) -> int:
        """Add.

        Note: this is prose, and so is the next line.
        Example of use: none.

        Parameters
        ----------
        x, y : int
            A number.
        """
        return x + y

    function = declared(add)
    assert function["description"] == "Add.\n\nNote: this is prose, and so is the next line.\nExample of use: none."
    assert {p["description"] for p in function["parameters"]["properties"].values()} == {"A number."}


@given(st.text(alphabet="Args:Returnsparam -\n\t*(x)", max_size=80))
def test_any_docstring_can_be_read(text: str) -> None:
    def f(x: int) -> None: ...

    f.__doc__ = text
    jsonschema_rs.validator_for(declared(f)["parameters"])


def test_names_reserved_by_pydantic_are_normal_parameters() -> None:
    def search(schema: str, copy: bool, model_config: int, _hidden: str = "h") -> list[Any]:
        return [schema, copy, model_config, _hidden]

    result = ToolBox(search).call("search", {"schema": "s", "copy": True, "model_config": 1, "_hidden": "x"})
    assert result.value == ["s", True, 1, "x"]


def test_the_decorator_keeps_the_function_and_can_rename_it() -> None:
    @tool
    def double(x: int) -> int:
        return 2 * x

    @tool(name="triple", description="Times three.")
    def f(x: int) -> int:
        return 3 * x

    assert (double(4), f(4)) == (8, 12)
    assert (f.name, f.declaration["function"]["description"]) == ("triple", "Times three.")


def test_methods_partials_and_callable_objects_are_tools() -> None:
    class Shop:
        """Sells things."""

        def price(self, item: str) -> str:
            """The price of an item."""
            return f"{item}: 3"

        def __call__(self, item: str) -> str:
            return f"sold {item}"

    shop = Shop()
    box = ToolBox([shop.price, shop, tool(partial(shop.price, item="tea"), name="tea_price")])
    assert [s["function"]["description"] for s in box.schemas()] == [
        "The price of an item.",
        "Sells things.",
        "The price of an item.",
    ]
    assert box.names == ("price", "Shop", "tea_price")
    assert box.call("price", {"item": "tea"}).content == "tea: 3"
    assert box.call("Shop", {"item": "tea"}).content == "sold tea"
    assert box.call("tea_price", {}).content == "tea: 3"


def bad_positional(x: int, /) -> None: ...
def bad_star(*xs: int) -> None: ...
def bad_type(x: Callable[[], int]) -> None: ...
def bad_class(x: threading.Lock) -> None: ...
def bad_default(x: int = Field(3)) -> None: ...
def bad_hint(x: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    "function", [bad_positional, bad_star, bad_type, bad_class, bad_default, bad_hint, lambda x: x, dict.get, 3]
)
def test_what_no_tool_can_be_made_of_says_why(function: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ToolBox([function])
    assert caught.value.param in ("tools", "name")


def test_arguments_are_converted_and_checked_before_the_call() -> None:
    seen: list[Any] = []

    def book(when: date, places: list[Place], unit: Unit = Unit.CELSIUS) -> str:
        seen.append((when, places, unit))
        return "booked"

    box = ToolBox(book)
    assert box.call("book", '{"when": "2026-01-02", "places": [{"title": "A"}], "unit": "f"}').content == "booked"
    assert seen == [(date(2026, 1, 2), [Place(title="A")], Unit.FAHRENHEIT)]
    refused = box.call("book", {"places": [{"floor": "x"}], "colour": "secret-value"})
    assert refused.fault == "invalid_arguments"
    for place in ("when:", "places.0.title:", "places.0.floor:", "colour:"):
        assert place in refused.content
    assert "secret-value" not in refused.content
    assert "pydantic.dev" not in refused.content
    assert len(seen) == 1


@pytest.mark.parametrize("arguments", ["{", "[1]", "null", '"x"', "[" * 100_000])
def test_arguments_that_are_not_an_object_are_refused(arguments: str) -> None:
    result = ToolBox(lambda_free).call("lambda_free", arguments)
    assert result.fault == "invalid_arguments"


def lambda_free(x: int = 1) -> int:
    return x


def test_json_text_is_read_as_json_also_by_strict_models() -> None:
    def stay(stay: Stay) -> date:
        return stay.since

    assert ToolBox(stay).call("stay", '{"stay": {"since": "2026-01-02"}}').value == date(2026, 1, 2)


def test_empty_arguments_are_none() -> None:
    assert ToolBox(lambda_free).call("lambda_free", "").content == "1"


def test_keyword_parameters_take_what_is_not_declared() -> None:
    def log(level: int, **fields: str) -> dict[str, Any]:
        return {"level": level, **fields}

    assert ToolBox(log).call("log", {"level": "2", "who": "me"}).value == {"level": 2, "who": "me"}


class Odd:
    def __str__(self) -> str:
        return "odd"


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("as it is", "as it is"),
        ("", ""),
        (None, "null"),
        (True, "true"),
        (3, "3"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        (Place(title="Zoë"), '{"title":"Zoë","floor":0}'),
        (Reading(1.5, Unit.CELSIUS), '{"value":1.5,"unit":"c"}'),
        ([date(2026, 1, 2), Unit.FAHRENHEIT], '["2026-01-02","f"]'),
        ({"x": float("nan")}, '{"x":"NaN"}'),
        ([Odd()], '["odd"]'),
        ({"a": 1}.keys(), '["a"]'),
        ({"a": 1}.items(), '[["a",1]]'),
        (range(2), "[0,1]"),
        (MappingProxyType({"a": Unit.CELSIUS}), '{"a":"c"}'),
        (UserList([UserDict(a=1)]), '[{"a":1}]'),
    ],
)
def test_results_become_text(value: object, content: str) -> None:
    def give() -> Any:
        return value

    assert ToolBox(give).call("give", {}) == ToolResult(content)


def test_a_result_that_holds_itself_is_a_fault() -> None:
    def give() -> Any:
        loop: list[Any] = []
        loop.append(loop)
        return loop

    assert ToolBox(give).call("give", {}).fault == "failed"


def test_what_a_tool_raises_goes_to_the_model_without_its_traceback() -> None:
    def divide(x: int) -> float:
        return 1 / x

    def leave() -> None:
        raise SystemExit(3)

    def refuse() -> None:
        raise ToolError("the shop is closed")

    box = ToolBox([divide, leave, refuse])
    result = box.call("divide", {"x": 0})
    assert json.loads(result.content) == {"error": "divide failed: ZeroDivisionError: division by zero"}
    assert isinstance(result.exception, ZeroDivisionError)
    assert box.call("leave", {}).fault == "failed"
    assert json.loads(box.call("refuse", {}).content) == {"error": "the shop is closed"}


def in_both_ways(function: Callable[..., Any], arguments: str = "{}") -> list[ToolResult]:
    """The result of a call in sync and in async code."""
    box = ToolBox(function)
    (name,) = box.names
    return [box.call(name, arguments), asyncio.run(box.acall(name, arguments))]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_generator_gives_a_list(asynchronous: bool) -> None:
    def count(to: int) -> Iterator[int]:
        yield from range(to)

    async def acount(to: int) -> AsyncIterator[int]:
        for i in range(to):
            yield i

    assert in_both_ways(acount if asynchronous else count, '{"to": 3}') == [ToolResult("[0,1,2]")] * 2


class Silent(Exception):
    """Its message cannot be made."""

    def __str__(self) -> str:
        raise KeyError("no message")


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Silent(), "Silent"),
        (ValueError(), "ValueError"),
        (asyncio.CancelledError("inside"), "CancelledError: inside"),
    ],
)
def test_any_failure_inside_a_tool_is_its_result(error: BaseException, said: str, asynchronous: bool) -> None:
    def fail() -> None:
        raise error

    async def afail() -> None:
        raise error

    for result in in_both_ways(afail if asynchronous else fail):
        assert (result.fault, result.exception) == ("failed", error)
        assert json.loads(result.content)["error"].endswith(f"fail failed: {said}")


def test_a_cancelled_call_is_cancelled() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    async def cancelled() -> bool:
        call = asyncio.create_task(ToolBox(wait).acall("wait", {}))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        return call.cancelled()

    assert asyncio.run(cancelled())


@dataclasses.dataclass
class Length:
    unit: str

    def __post_init__(self) -> None:
        self.metres = {"km": 1000}[self.unit]


def test_a_type_that_fails_to_read_its_arguments_is_a_fault_of_the_arguments() -> None:
    def go(far: Length) -> int:
        return far.metres

    assert in_both_ways(go, '{"far": {"unit": "km"}}') == [ToolResult("1000")] * 2
    for result in in_both_ways(go, '{"far": {"unit": "mile"}}'):
        assert result.fault == "invalid_arguments"
        assert "KeyError: 'mile'" in result.content


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    result = ToolBox([lambda_free]).call("lambdafree", {})
    assert (result.fault, "lambda_free" in result.content) == ("unknown_tool", True)


async def wait_for(x: int) -> int:
    """An async tool."""
    await asyncio.sleep(0)
    return x + 1


def which_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def test_async_functions_run_in_sync_code_also_under_a_running_loop() -> None:
    box = ToolBox([wait_for])
    assert box.call("wait_for", {"x": 1}).content == "2"

    async def inside() -> str:
        return box.call("wait_for", {"x": 2}).content

    assert asyncio.run(inside()) == "3"


def test_async_functions_are_awaited_and_sync_ones_do_not_block_the_loop() -> None:
    class Caller:
        async def __call__(self, x: int) -> bool:
            return which_thread()

    def late(x: int) -> Any:
        return wait_for(x)

    async def inside() -> list[str]:
        box = ToolBox([wait_for, which_thread, Caller(), late])
        calls = [("wait_for", {"x": 1}), ("which_thread", {}), ("Caller", {"x": 1}), ("late", {"x": 5}), ("nobody", {})]
        return [(await box.acall(name, arguments)).content for name, arguments in calls]

    assert asyncio.run(inside())[:4] == ["2", "false", "true", "6"]


DECLARATION = {"type": "function", "function": {"name": "ask", "description": "Ask.", "parameters": {"type": "object"}}}


def test_a_box_holds_dicts_pairs_and_other_boxes() -> None:
    inner = ToolBox([(DECLARATION, lambda question="": f"you asked {question}")])
    box = ToolBox([lambda_free, inner, {"type": "function", "function": {"name": "later"}}])
    assert box.names == ("lambda_free", "ask", "later")
    assert box.schemas()[1] == DECLARATION
    assert [box.runs(name) for name in (*box, "unknown")] == [True, True, False, True]
    assert [f.name for f in box.functions] == ["lambda_free", "ask"]
    assert box.call("ask", {"question": "why"}).content == "you asked why"
    assert "not implemented" in box.call("later", {}).content
    assert (len(box), "ask" in box, repr(box.select(["ask"]))) == (3, True, "ToolBox(ask)")


@pytest.mark.parametrize(
    "tools",
    [[lambda_free, lambda_free], [{"name": "x"}], [{"type": "function", "function": {}}], ["lambda_free"], [(DECLARATION,)]],
)
def test_what_is_not_a_set_of_tools_is_refused(tools: Any) -> None:
    with pytest.raises(InvalidRequest, match="tool"):
        ToolBox(tools)


def test_selecting_what_is_not_there_lists_what_is() -> None:
    with pytest.raises(InvalidRequest, match="lambda_free"):
        ToolBox([lambda_free]).select(["other"])


MODULE = '''
from __future__ import annotations
from dataclasses import dataclass
from os.path import join

@dataclass
class Point:
    x: int

def shift(point: Point, by: int = 1) -> Point:
    """Moves a point."""
    return Point(point.x + by)

def _helper() -> None: ...
'''


def test_a_python_file_gives_its_public_functions_or_the_marked_ones(tmp_path: Any) -> None:
    file = tmp_path / "points.py"
    file.write_text(MODULE)
    box = load_tools(file)
    assert box.names == ("shift",)
    assert box.call("shift", {"point": {"x": 1}}).content == '{"x":2}'
    file.write_text(MODULE + "from gemma_tools.tools import tool\n@tool\ndef only(): return 1\n")
    assert load_tools(file).names == ("only",)


def test_a_json_file_declares_tools(tmp_path: Any) -> None:
    for content in ([DECLARATION], {"tools": [DECLARATION], "messages": []}):
        file = tmp_path / "tools.json"
        file.write_text(json.dumps(content))
        box = load_tools(str(file))
        assert (box.schemas(), box.runs("ask")) == ([DECLARATION], False)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("none.py", "x = 1"),
        ("broken.py", "def"),
        ("raises.py", "1 / 0"),
        ("leaves.py", "raise SystemExit"),
        ("broken.json", "{"),
        ("none.json", "{}"),
        ("text.json", '"x"'),
        ("tools.txt", ""),
        ("missing.py", None),
        ("missing.json", None),
    ],
)
def test_a_file_without_tools_is_refused(tmp_path: Any, name: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InvalidRequest) as caught:
        load_tools(tmp_path / name)
    assert caught.value.param == "path"
    assert name in str(caught.value)


@given(
    st.fixed_dictionaries(
        {"n": st.integers(), "s": st.text(st.characters(exclude_categories=["Cs"])), "xs": st.lists(st.booleans())}
    )
)
def test_what_fits_the_schema_reaches_the_function_unchanged(arguments: dict[str, Any]) -> None:
    def echo(n: int, s: str, xs: list[bool]) -> dict[str, Any]:
        return {"n": n, "s": s, "xs": xs}

    made = tool(echo)
    jsonschema_rs.validate(made.declaration["function"]["parameters"], arguments)
    assert isinstance(made, FunctionTool)
    result = ToolBox(made).call("echo", json.dumps(arguments))
    assert result.value == arguments
    assert json.loads(result.content) == arguments
