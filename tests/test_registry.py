"""Names that others add: one precedence for formats, engines and backends, with entry points of a real distribution."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemma_tools import backends, create_model, engines, formats, get_format, register_backend, register_engine, register_format
from gemma_tools.engines import create_engine
from gemma_tools.errors import InvalidRequest, UnknownName

KINDS: dict[str, tuple[Callable[..., None], Callable[..., Any], str]] = {
    "format": (register_format, get_format, "gemma4"),
    "engine": (register_engine, create_engine, "mlx-lm"),
    "backend": (register_backend, lambda name: create_model(name, url="http://localhost:1"), "gemma4:e2b"),
}
"""How a thing of each kind is registered and made, and a name that is built in."""

MODULE = """
class Made:
    def __init__(self, *name, url=None):
        self.url = url
"""


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    for added in (formats._formats, engines._engines, backends._backends):
        monkeypatch.setattr(added, "_registered", {})
        monkeypatch.setattr(added, "_told", set())


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs a distribution `theirs` whose entry points are given, each as "name = module:object"."""

    def write(kind: str, *lines: str) -> None:
        (tmp_path / "their_module.py").write_text(MODULE)
        metadata = tmp_path / "theirs-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("\n".join([f"[gemma_tools.{kind}s]", *lines]))
        monkeypatch.syspath_prepend(tmp_path)

    return write


def made(thing: object) -> bool:
    """Whether the distribution `theirs` made it."""
    return type(thing).__module__ == "their_module"


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_adds_a_name(kind: str, install: Callable[..., None]) -> None:
    _, make, _ = KINDS[kind]
    with pytest.raises(UnknownName):
        make("theirs")
    install(kind, "theirs = their_module:Made")
    assert made(make("theirs"))
    with pytest.raises(UnknownName, match="theirs"):
        make("nobody's")


@pytest.mark.parametrize("kind", KINDS)
def test_a_registered_name_overrides_a_package_and_a_built_in_name(
    kind: str, install: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    register, make, name = KINDS[kind]
    install(kind, f"{name} = their_module:Made")
    with caplog.at_level(logging.WARNING, "gemma_tools"):
        assert made(make(name))
        assert made(make(name))
    [told] = [record.getMessage() for record in caplog.records if record.name == "gemma_tools"]
    assert kind in told
    assert name in told
    assert "their_module:Made" in told
    mine = object()
    register(name, lambda *_, url=None: mine)
    assert make(name) is mine


@pytest.mark.parametrize("kind", KINDS)
def test_a_registered_name_that_is_built_in_is_logged_once(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    register, make, name = KINDS[kind]
    register(name, lambda *_, url=None: None)
    register("mine", lambda *_, url=None: None)
    with caplog.at_level(logging.WARNING, "gemma_tools"):
        make("mine")
        make(name)
        make(name)
    [told] = [record.getMessage() for record in caplog.records if record.name == "gemma_tools"]
    assert repr(name) in told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["no_such_module:Made", "their_module:Absent"])
def test_a_package_that_cannot_be_loaded_is_named(kind: str, where: str, install: Callable[..., None]) -> None:
    _, make, _ = KINDS[kind]
    install(kind, f"broken = {where}")
    with pytest.raises(UnknownName, match=rf"'broken' is {where}, which cannot be loaded"):
        make("broken")


@pytest.mark.parametrize("kind", ["format", "engine"])
def test_options_are_checked_against_the_factory(kind: str, install: Callable[..., None]) -> None:
    _, make, _ = KINDS[kind]
    install(kind, "theirs = their_module:Made")
    assert make("theirs", url="x").url == "x"
    with pytest.raises(InvalidRequest, match=f"the {kind} theirs does not have this option; known options: .*url") as caught:
        make("theirs", color="red")
    assert (caught.value.param, caught.value.code) == ("color", "unknown_option")


@pytest.mark.parametrize("kind", ["format", "engine"])
def test_an_option_that_is_needed_is_named(kind: str) -> None:
    register, make, _ = KINDS[kind]
    register("mine", lambda where: where)
    assert make("mine", where="here") == "here"
    with pytest.raises(InvalidRequest, match=f"the {kind} mine needs this option") as caught:
        make("mine")
    assert caught.value.param == "where"


@pytest.mark.parametrize("kind", ["format", "engine"])
def test_a_factory_that_takes_anything_is_given_everything(kind: str) -> None:
    register, make, _ = KINDS[kind]
    register("mine", lambda **options: options)
    assert make("mine", a=1, b=2) == {"a": 1, "b": 2}
