"""From names to backends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemma_tools.backends as backends
from gemma_tools import FunctionGemmaModel, Gemma3Model, Gemma4Model, create_model, register_backend
from gemma_tools.data import tiny_path
from gemma_tools.errors import InvalidRequest, ModelNotFound, UnknownName
from gemma_tools.gguf import read_header
from gemma_tools.models import family_of, model_file, ollama_name
from gemma_tools.testing import ScriptedEngine
from support.chat import WEATHER, calls, user
from support.gguf_files import Typed, gguf_header, typed
from support.gguf_headers import as_read, headers


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
        ("gemma4:12b", Gemma4Model, {"variant": "large"}),
        ("google/gemma-4-12B-it", Gemma4Model, {"variant": "large"}),
        ("gemma4:11.9b", Gemma4Model, {"variant": "small"}),
        ("someone/gemma4:48b", Gemma4Model, {"variant": "large"}),
        ("gemma4:31b-cloud", Gemma4Model, {"variant": "large"}),
        ("gemma4:latest", Gemma4Model, {"variant": "small"}),
        ("gemma_4_31b", Gemma4Model, {"variant": "large"}),
        ("my-gemma-4-31b-finetune", Gemma4Model, {"variant": "large"}),
        ("gemma-4-e4b-4bit-of-31b", Gemma4Model, {"variant": "small"}),
        ("gemma-4-E4B-it-MLX-16bit", Gemma4Model, {"variant": "small"}),
        ("google/diffusiongemma-26B-A4B-it", Gemma4Model, {"variant": "diffusion"}),
        ("google_gemma-3-4b-it", Gemma3Model, {"variant": "3"}),
        ("bartowski/google_gemma-3-4b-it-GGUF", Gemma3Model, {"variant": "3"}),
        ("medgemma:4b", Gemma3Model, {"variant": "3"}),
        ("medgemma1.5:4b", Gemma3Model, {"variant": "3"}),
        ("google/medgemma-27b-text-it", Gemma3Model, {"variant": "3"}),
        ("hf:owner/gemma-4-31b-it-GGUF/model-q4_0.gguf", Gemma4Model, {"variant": "large"}),
        ("hf:owner/gemma-4-31b-it-GGUF/gemma-4-q4_0.gguf", Gemma4Model, {"variant": "large"}),
        ("hf:gemma4-lovers/gemma-3-4b-it-GGUF/model.gguf", Gemma3Model, {"variant": "3"}),
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


PUBLISHED = {
    ("functiongemma", "270m", "it"): ("functiongemma", {}),
    ("medgemma", "4b", "it"): ("gemma3", {}),
    ("gemma", "3", "27b", "it"): ("gemma3", {}),
    ("gemma", "3n", "E4B", "it"): ("gemma3", {"variant": "3n"}),
    ("gemma", "4", "E2B", "it"): ("gemma4", {}),
    ("gemma", "4", "12B", "it"): ("gemma4", {"variant": "large"}),
    ("gemma", "4", "26B", "A4B", "it"): ("gemma4", {"variant": "large"}),
    ("diffusiongemma", "26B", "A4B", "it"): ("gemma4", {"variant": "diffusion"}),
}


@given(
    words=st.sampled_from(sorted(PUBLISHED)),
    separator=st.sampled_from("-_.:"),
    owner=st.sampled_from(["", "google/", "hf.co/some-one/", "hf:some.one/", "google_", "my-", "gemma3-fans/"]),
    suffix=st.sampled_from(
        ["", "-GGUF", ":Q4_K_M", "-q4_0.5", "-qat-4bit", "-bnb-8bit", "-NVFP4", "-MLX-bf16", "-finetune-v2"]
    ),
    case=st.sampled_from([str, str.lower, str.upper]),
    file=st.sampled_from(["", "/model-Q8_0.gguf"]),
)
def test_case_separators_owners_and_quantisations_change_nothing(
    words: tuple[str, ...], separator: str, owner: str, suffix: str, case: Callable[[str], str], file: str
) -> None:
    name = case(separator.join(words) + suffix)
    if file:
        owner = "hf:some-one/"
    family = family_of(owner + name + file)
    assert (family.name, family.options, family.base) == (*PUBLISHED[words], False)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gpt-4", "there is no model 'gpt-4'"),
        ("hf:owner/repo/x.gguf", "neither the file nor the repository of 'hf:owner/repo/x.gguf' is named after a Gemma"),
        ("gemma", "no model"),
        ("gemma-30b", "no model"),
        ("gemma31", "no model"),
        ("gemma-4b-it", "no model"),
        ("tiny2", "no model"),
        ("owner-of-gemma3/llama", "no model"),
        ("gemma2:2b", "'gemma2:2b' cannot be run: .*older generation"),
        ("google/gemma-2-2b-it", "older generation"),
        ("embeddinggemma", "embeddings"),
        ("google/embeddinggemma-2", "embeddings"),
        ("shieldgemma2:4b", "classifies"),
        ("t5gemma-2-4b-4b", "without a chat format"),
        ("vaultgemma-1b", "base model"),
        ("translategemma:12b", "languages"),
    ],
)
def test_an_unknown_name_is_an_error_that_says_why_and_what_is_known(name: str, reason: str) -> None:
    known = r'functiongemma, gemma3:SIZE.*gemma4:SIZE.*tiny.*Gemma3Model\("anything"\).*create_model\("gemma3", engine='
    with pytest.raises(UnknownName, match=f"{reason}.*{known}"):
        create_model(name, engine=ScriptedEngine([]))
    assert isinstance(Gemma3Model(name, engine=ScriptedEngine([])).format.render(user("hi")).text, str)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("gemma-3-270m", True),
        ("google/gemma-3-270m", True),
        ("google/gemma-3-4b-pt", True),
        ("medgemma-4b-pt-GGUF", True),
        ("google/gemma-4-26B-A4B", True),
        ("gemma-3n-E2B-Q8_0", True),
        ("hf:owner/gemma-3-270m-GGUF/gemma-3-270m-Q8_0.gguf", True),
        ("gemma_3_1b_pretrained", True),
        ("gemma-3-270m-it", False),
        ("gemma3:270m", False),
        ("gemma4:31b", False),
        ("gemma-3-4b-it-pt", False),
        ("gemma-3-4b-pt-br", False),
        ("gemma-3-4b-finetune", False),
        ("hf:owner/gemma-3-270m-it-GGUF/gemma-3-270m-Q8_0.gguf", False),
    ],
)
def test_a_base_model_is_run_with_a_warning(name: str, base: bool, caplog: pytest.LogCaptureFixture) -> None:
    model = create_model(name, engine=ScriptedEngine(["hello"]))
    sentence = f"{name} is a base model: it was not trained to follow instructions or to call tools"
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [sentence] * base
    answer = model.run(user("hi"))
    assert answer.choices[0].message.content == "hello"
    assert getattr(answer, "warnings", []) == [sentence] * base


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
    for wrong, told in (
        ("tempature", r"unknown option; did you mean temperature\?"),
        ("x", r"known options: .*variant.*settings.*temperature"),
    ):
        with pytest.raises(InvalidRequest, match=told) as caught:
            create_model("gemma4:e2b", engine=ScriptedEngine([]), **{wrong: 0.1})  # type: ignore[arg-type]
        assert caught.value.param == wrong


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


def gguf(path: Path, **pairs: str | int | list[str]) -> Path:
    """A GGUF file with nothing but a header."""
    path.write_bytes(gguf_header({key: typed(value) for key, value in pairs.items()}))
    return path


@pytest.mark.parametrize(
    ("header", "family", "variant"),
    [
        ({"general.architecture": "gemma3", "tokenizer.ggml.tokens": ["<bos>", "a"]}, Gemma3Model, "3"),
        ({"general.architecture": "gemma3n"}, Gemma3Model, "3n"),
        ({"general.architecture": "gemma4", "general.name": "Gemma 4 E2B It"}, Gemma4Model, "small"),
        ({"general.architecture": "gemma4", "general.size_label": "31B"}, Gemma4Model, "large"),
        ({"general.architecture": "gemma4", "general.size_label": "12B"}, Gemma4Model, "large"),
        ({"general.architecture": "gemma4", "general.name": "model", "general.size_label": "30.7B"}, Gemma4Model, "large"),
        ({"general.architecture": "gemma4", "general.size_label": "128x2.6B"}, Gemma4Model, "large"),
        ({"general.architecture": "gemma4", "general.name": "Gemma 4 26B A4B It"}, Gemma4Model, "large"),
        ({"general.architecture": "gemma4", "general.name": "Diffusiongemma 26B A4B It"}, Gemma4Model, "diffusion"),
        (
            {"general.architecture": "gemma4", "general.name": "Gemma 4 E4B It", "general.size_label": "7.5B"},
            Gemma4Model,
            "small",
        ),
        ({"general.architecture": "gemma4"}, Gemma4Model, "small"),
        ({"general.architecture": "gemma3", "tokenizer.ggml.tokens": 5}, Gemma3Model, "3"),
        ({"general.architecture": "gemma3", "tokenizer.ggml.tokens": ["<start_function_call>"]}, FunctionGemmaModel, None),
    ],
)
def test_metadata(tmp_path: Path, header: dict[str, Any], family: type, variant: str | None) -> None:
    model = create_model(str(gguf(tmp_path / "x.gguf", **header)), engine=ScriptedEngine([]))
    assert type(model) is family
    assert getattr(model.format, "variant", None) == variant


def test_a_file_without_metadata_is_sized_by_its_own_name(tmp_path: Path) -> None:
    path = gguf(tmp_path / "gemma-4-31b-q4_0.gguf", **{"general.architecture": "gemma4"})
    assert create_model(str(path), engine=ScriptedEngine([])).format.variant == "large"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("header", "warned"),
    [
        ({"general.name": "Gemma 3 270M"}, True),
        ({"general.name": "Gemma 3 4b Pt"}, True),
        ({"general.name": "Gemma 3 270M", "tokenizer.chat_template": "..."}, False),
        ({"general.name": "Gemma 3 270M It"}, False),
    ],
)
def test_metadata_of_a_base_model(tmp_path: Path, header: dict[str, Any], warned: bool) -> None:
    path = gguf(tmp_path / "x.gguf", **{"general.architecture": "gemma3"}, **header)
    model = create_model(str(path), engine=ScriptedEngine([]))
    assert bool(model.warnings) == warned  # type: ignore[attr-defined]


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


@given(headers)
def test_a_header_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, pairs: dict[str, Typed]) -> None:
    path = tmp_path_factory.mktemp("header") / "x.gguf"
    for version in (2, 3):
        path.write_bytes(gguf_header(pairs, [("token_embd.weight", (2, 3), 0)], version))
        assert read_header(path) == {key: as_read(*value) for key, value in pairs.items()}
    path.write_bytes(gguf_header(pairs, version=1))
    with pytest.raises(ModelNotFound, match="version 2 or 3"):
        read_header(path)


def test_the_header_of_a_real_file() -> None:
    header = read_header(tiny_path())
    assert header["general.architecture"] == "gemma3"
    assert header["gemma3.block_count"] > 0
    assert "<start_function_call>" in header["tokenizer.ggml.tokens"]


def test_a_registered_backend_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends._backends, "_registered", {})
    given = []

    def factory(name: str, **options: Any) -> FunctionGemmaModel:
        given.append((name, options))
        return FunctionGemmaModel(name, engine=ScriptedEngine(["mine"]))

    register_backend("gemma4:mine", factory)
    answer = create_model("gemma4:mine", url="http://x", anything=1).run(user("hi"))
    assert answer.choices[0].message.content == "mine"
    assert given == [("gemma4:mine", {"url": "http://x", "anything": 1})]


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("google/gemma-3-4b-it", "gemma3:4b"),
        ("gemma-3n-E2B-it", "gemma3n:e2b"),
        ("google/gemma-4-26B-A4B-it", "gemma4:26b"),
        ("functiongemma-270m-it", "functiongemma:270m"),
        ("gemma3:4b", "gemma3:4b"),
        ("my-finetune", "my-finetune"),
        ("google/gemma-4-12B-it", "gemma4:12b"),
        ("google/medgemma-4b-it", "medgemma:4b"),
        ("google/medgemma-1.5-4b-it", "google/medgemma-1.5-4b-it"),
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
