"""Files of LiteRT-LM: their type in the metadata, and what is made of it."""

from __future__ import annotations

import struct
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools import FunctionGemmaModel, Gemma3Model, Gemma4Model, create_model
from gemma_tools.engines import create_engine
from gemma_tools.errors import InvalidRequest, MissingDependency, ModelNotFound, UnknownName
from gemma_tools.litertlm import model_type
from gemma_tools.testing import ScriptedEngine

METADATA, SENTENCEPIECE, PACKED = 5, 4, 6
FUNCTION_TOKENS = b"\x0a\x18<start_function_call>"


def made(path: Path, *sections: tuple[int, bytes]) -> Path:
    """A file with these sections, each a kind and its bytes, and a header as FlatBuffers writes it."""
    count = len(sections)
    tables = 36 + 4 + 4 * count + 12
    tables += -tables % 8 + 4  # the numbers of 64 bits in a table begin at a multiple of eight
    root = struct.pack("<I4HiI", 12, 8, 8, 0, 4, 8, 20 - 8 + 0)
    metadata = struct.pack("<4HiI", 6, 8, 4, 0, 8, 4)
    vector = 36
    entries = b"".join(struct.pack("<I", tables + 24 * i - (vector + 4 + 4 * i)) for i in range(count))
    kinds = vector + 4 + 4 * count
    layout = struct.pack("<6H", 12, 24, 0, 8, 16, 4)
    gap = b"\0" * (tables - kinds - len(layout))
    at = 32 + tables + 24 * count
    objects, body = b"", b""
    for i, (kind, data) in enumerate(sections):
        begin = at + len(body)
        objects += struct.pack("<iB3xQQ", tables + 24 * i - kinds, kind, begin, begin + len(data))
        body += data
    header = root + metadata + struct.pack("<I", count) + entries + layout + gap + objects
    path.write_bytes(struct.pack("<8s3I4xQ", b"LITERTLM", 1, 7, 0, 32 + len(header)) + header + body)
    return path


def typed(number: int) -> bytes:
    """Metadata with the start token 2, a context of 4,096 tokens, and a model of this type."""
    return b"\x0a\x05\x0a\x03\x0a\x01\x02" + b"\x28\x80\x20" + b"\x32\x02" + bytes([number << 3 | 2, 0])


@pytest.mark.parametrize(
    ("number", "kind"), [(1, "generic"), (2, "gemma3n"), (3, "functiongemma"), (4, "gemma3"), (8, "gemma4"), (13, "gemma3")]
)
def test_the_type_is_in_the_metadata(number: int, kind: str, tmp_path: Path) -> None:
    path = made(tmp_path / "model.litertlm", (3, b"weights"), (METADATA, typed(number)), (SENTENCEPIECE, b"pieces"))
    assert model_type(path) == kind


@pytest.mark.parametrize(
    "tokenizer",
    [(SENTENCEPIECE, FUNCTION_TOKENS), (PACKED, struct.pack("<Q", 99) + zlib.compress(FUNCTION_TOKENS))],
    ids=["sentencepiece", "packed"],
)
def test_tokens_tell_functiongemma_from_the_model_it_is_built_like(tokenizer: tuple[int, bytes], tmp_path: Path) -> None:
    assert model_type(made(tmp_path / "model.litertlm", (METADATA, typed(4)), tokenizer)) == "functiongemma"
    assert model_type(made(tmp_path / "model.litertlm", (METADATA, typed(8)), tokenizer)) == "gemma4"


def test_a_file_may_say_no_type(tmp_path: Path) -> None:
    assert model_type(made(tmp_path / "model.litertlm", (METADATA, b"\x28\x80\x20"))) is None
    assert model_type(made(tmp_path / "model.litertlm", (3, b"weights"))) is None


def test_a_missing_file_and_one_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="cannot be read"):
        model_type(tmp_path / "nowhere.litertlm")
    (tmp_path / "x.litertlm").write_bytes(b"GGUF" * 20)
    with pytest.raises(ModelNotFound, match="not a LiteRT-LM file"):
        create_model(str(tmp_path / "x.litertlm"))


@given(st.data())
def test_a_broken_file_is_an_error_or_another_type(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "broken.litertlm"
    whole = made(path, (METADATA, typed(4)), (PACKED, struct.pack("<Q", 99) + zlib.compress(b"{}"))).read_bytes()
    broken = bytearray(whole[: data.draw(st.integers(8, len(whole)))])
    for at in data.draw(st.lists(st.integers(8, len(broken)), max_size=4)):
        broken[at : at + 1] = data.draw(st.binary(min_size=1, max_size=2))
    path.write_bytes(broken)
    with suppress(ModelNotFound):
        model_type(path)


@pytest.mark.parametrize(
    ("number", "name", "expected"),
    [
        (3, "model", FunctionGemmaModel),
        (2, "model", Gemma3Model),
        (8, "model", Gemma4Model),
        (1, "functiongemma-270m-it", FunctionGemmaModel),
        (1, "gemma3-1b-it-int4", Gemma3Model),
    ],
)
def test_the_metadata_chooses_the_format(number: int, name: str, expected: type, tmp_path: Path) -> None:
    path = made(tmp_path / f"{name}.litertlm", (METADATA, typed(number)))
    with create_model(str(path), engine=ScriptedEngine(["Hello."])) as model:
        assert type(model) is expected


def test_variants_are_known_by_type_and_name(tmp_path: Path) -> None:
    def prompt(name: str, number: int) -> str:
        engine = ScriptedEngine(["Hello."])
        with create_model(str(made(tmp_path / name, (METADATA, typed(number)))), engine=engine) as model:
            model.run([{"role": "user", "content": "hello"}])
        return engine.asked[0].prompt.text

    assert prompt("gemma-4-12b-it.litertlm", 8) != prompt("gemma-4-E2B-it.litertlm", 8)
    assert create_model(str(tmp_path / "gemma-4-E2B-it.litertlm"), engine=ScriptedEngine([])).warnings == ()  # type: ignore[attr-defined]
    assert (
        "base model"
        in create_model(
            str(made(tmp_path / "gemma-3-270m.litertlm", (METADATA, typed(13)))), engine=ScriptedEngine([])
        ).warnings[0]
    )  # type: ignore[attr-defined]


def test_a_model_of_another_maker(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"the type qwen3; known types: functiongemma"):
        create_model(str(made(tmp_path / "gemma3.litertlm", (METADATA, typed(5)))))
    with pytest.raises(UnknownName):
        create_model(str(made(tmp_path / "phi-4.litertlm", (METADATA, typed(1)))))


def test_the_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litert_lm", None)
    path = str(made(tmp_path / "model.litertlm", (METADATA, typed(3))))
    for make in (create_model, create_engine, lambda name: create_model("functiongemma", engine=name)):
        with pytest.raises(MissingDependency, match=r"pip install 'gemma-tools\[litert-lm\]'"):
            make(path)


def test_a_hub_name_of_another_form() -> None:
    with pytest.raises((InvalidRequest, MissingDependency)):
        create_engine("hf:owner/x.litertlm")
