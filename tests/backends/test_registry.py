"""From names to backends."""

from __future__ import annotations

import struct
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from gemma_tools import FunctionGemmaModel, Gemma3Model, Gemma4Model, create_model, register_backend
from gemma_tools.backends import registry
from gemma_tools.backends.names import model_file, ollama_name
from gemma_tools.data import tiny_path
from gemma_tools.errors import InvalidRequest, ModelNotFound, UnknownName
from gemma_tools.gguf import read_header
from gemma_tools.testing import ScriptedEngine
from support.chat import WEATHER, calls, user


@pytest.mark.parametrize(
    ("name", "family", "options"),
    [
        ("functiongemma", FunctionGemmaModel, {}),
        ("functiongemma:270m", FunctionGemmaModel, {}),
        ("google/functiongemma-270m-it", FunctionGemmaModel, {}),
        ("FunctionGemma-270m-it-Q8_0", FunctionGemmaModel, {}),
        ("gemma3", Gemma3Model, {"variant": "3"}),
        ("gemma3:4b", Gemma3Model, {"variant": "3"}),
        ("gemma-3-4b-it", Gemma3Model, {"variant": "3"}),
        ("google/gemma-3-27b-it", Gemma3Model, {"variant": "3"}),
        ("gemma3n:e2b", Gemma3Model, {"variant": "3n"}),
        ("gemma-3n-E4B-it", Gemma3Model, {"variant": "3n"}),
        ("gemma4", Gemma4Model, {"variant": "small"}),
        ("gemma4:e2b", Gemma4Model, {"variant": "small"}),
        ("google/gemma-4-E4B-it", Gemma4Model, {"variant": "small"}),
        ("gemma4:26b", Gemma4Model, {"variant": "large"}),
        ("google/gemma-4-26B-A4B-it", Gemma4Model, {"variant": "large"}),
        ("gemma4:31b", Gemma4Model, {"variant": "large"}),
        ("hf:owner/repo/gemma-4-31b-it-q4_0.gguf", Gemma4Model, {"variant": "large"}),
        ("hf.co/owner/gemma-3-4b-it-GGUF:Q4_K_M", Gemma3Model, {"variant": "3"}),
        ("tiny", FunctionGemmaModel, {}),
        ("tiny-gemma4", Gemma4Model, {"variant": "small"}),
    ],
)
def test_names(name: str, family: type, options: dict[str, Any]) -> None:
    model = create_model(name, engine=ScriptedEngine([]))
    assert type(model) is family
    assert model.model_type == name
    assert {key: getattr(model.format, key) for key in options} == options


@pytest.mark.parametrize(
    "name", ["gpt-4", "gemma", "gemma2:2b", "gemma-30b", "gemma31", "embeddinggemma", "shieldgemma", "tiny2"]
)
def test_an_unknown_name_is_an_error_that_lists_the_known(name: str) -> None:
    with pytest.raises(UnknownName, match=r"functiongemma, gemma3:SIZE.*gemma4:SIZE.*tiny"):
        create_model(name, engine=ScriptedEngine([]))


def test_a_name_is_needed() -> None:
    with pytest.raises(InvalidRequest, match="name"):
        create_model("")


def test_settings_and_options_find_their_places() -> None:
    model = create_model(
        "gemma4:e2b", engine=ScriptedEngine([]), temperature=0.1, seed=3, variant="large", recovery="strict", max_retries=1
    )
    assert isinstance(model, Gemma4Model)
    assert (model.config.temperature, model.config.seed, model.max_retries) == (0.1, 3, 1)
    assert (model.format.variant, model.format.recovery) == ("large", "strict")  # type: ignore[attr-defined]
    with pytest.raises(InvalidRequest, match=r"no such option; known are .*variant.*settings.*temperature") as caught:
        create_model("gemma4:e2b", engine=ScriptedEngine([]), tempature=0.1)
    assert caught.value.param == "tempature"


def test_the_small_model_runs_in_this_process() -> None:
    for name in ("tiny", "tiny-gemma4"):
        with create_model(name, temperature=0) as model:
            answer = model.run(user("what is the weather in Paris?"), tools=[WEATHER])
        assert calls(answer) == [("get_weather", '{"city": "Paris"}')]


def test_a_file_is_known_by_its_metadata(tmp_path: Path) -> None:
    file = tmp_path / "some-model.gguf"
    file.write_bytes(tiny_path().read_bytes())
    with create_model(str(file), temperature=0) as model:
        assert isinstance(model, FunctionGemmaModel)
        assert calls(model.run(user("what is the weather in Paris?"), tools=[WEATHER]))


def gguf(path: Path, **pairs: str | list[str]) -> Path:
    """A GGUF file with nothing but a header."""

    def string(text: str) -> bytes:
        return struct.pack("<Q", len(text.encode())) + text.encode()

    body = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs))
    for key, value in pairs.items():
        body += string(key)
        if isinstance(value, str):
            body += struct.pack("<I", 8) + string(value)
        else:
            body += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(string, value))
    path.write_bytes(body)
    return path


@pytest.mark.parametrize(
    ("header", "family", "variant"),
    [
        ({"general.architecture": "gemma3", "tokenizer.ggml.tokens": ["<bos>", "a"]}, Gemma3Model, "3"),
        ({"general.architecture": "gemma3n"}, Gemma3Model, "3n"),
        ({"general.architecture": "gemma4", "general.name": "Gemma 4 E2B It"}, Gemma4Model, "small"),
        ({"general.architecture": "gemma4", "general.size_label": "31B"}, Gemma4Model, "large"),
        ({"general.architecture": "gemma3", "tokenizer.ggml.tokens": ["<start_function_call>"]}, FunctionGemmaModel, None),
    ],
)
def test_metadata(tmp_path: Path, header: dict[str, Any], family: type, variant: str | None) -> None:
    model = create_model(str(gguf(tmp_path / "x.gguf", **header)), engine=ScriptedEngine([]))
    assert type(model) is family
    assert getattr(model.format, "variant", None) == variant


def test_a_file_of_another_model_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="llama"):
        create_model(str(gguf(tmp_path / "x.gguf", **{"general.architecture": "llama"})))


def test_broken_files_are_one_clear_error(tmp_path: Path) -> None:
    whole = gguf(tmp_path / "x.gguf", **{"general.architecture": "gemma3", "tokenizer.ggml.tokens": ["a", "b"]}).read_bytes()
    for cut in range(len(whole)):
        (tmp_path / "cut.gguf").write_bytes(whole[:cut])
        with pytest.raises(ModelNotFound):
            read_header(tmp_path / "cut.gguf")
    (tmp_path / "long.gguf").write_bytes(whole[:-9] + b"\xff" * 9)
    with pytest.raises(ModelNotFound, match="broken"):
        create_model(str(tmp_path / "long.gguf"))
    for path in (tmp_path / "absent.gguf", tmp_path / "folder.gguf"):
        if path.stem == "folder":
            path.mkdir()
        with pytest.raises(ModelNotFound, match=path.stem):
            create_model(str(path))


def test_the_header_of_a_real_file() -> None:
    header = read_header(tiny_path())
    assert header["general.architecture"] == "gemma3"
    assert header["gemma3.block_count"] > 0
    assert "<start_function_call>" in header["tokenizer.ggml.tokens"]


def test_a_registered_backend_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FACTORIES", {})
    given = []

    def factory(name: str, **options: Any) -> FunctionGemmaModel:
        given.append((name, options))
        return FunctionGemmaModel(name, engine=ScriptedEngine(["mine"]))

    register_backend("gemma4:mine", factory)
    answer = create_model("gemma4:mine", url="http://x", anything=1).run(user("hi"))
    assert answer.choices[0].message.content == "mine"
    assert given == [("gemma4:mine", {"url": "http://x", "anything": 1})]


def test_a_package_may_bring_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("house", "gemma_tools:FunctionGemmaModel", "gemma_tools.backends")
    monkeypatch.setattr(registry, "entry_points", lambda **wanted: EntryPoints([point]).select(**wanted))
    assert isinstance(create_model("house", engine=ScriptedEngine([])), FunctionGemmaModel)
    with pytest.raises(UnknownName, match="house"):
        create_model("other")


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("google/gemma-3-4b-it", "gemma3:4b"),
        ("gemma-3n-E2B-it", "gemma3n:e2b"),
        ("google/gemma-4-26B-A4B-it", "gemma4:26b"),
        ("functiongemma-270m-it", "functiongemma:270m"),
        ("gemma3:4b", "gemma3:4b"),
        ("my-finetune", "my-finetune"),
        ("someone/gemma-3-4b-it", "someone/gemma-3-4b-it"),
    ],
)
def test_published_names_become_ollama_s(name: str, there: str) -> None:
    assert ollama_name(name) == there


def test_which_names_are_files() -> None:
    assert model_file("tiny-gemma4") == "tiny"
    assert model_file("hf:a/b/c.gguf") == "hf:a/b/c.gguf"
    assert model_file("X.GGUF") == "X.GGUF"
    assert model_file("gemma3:4b") is None
