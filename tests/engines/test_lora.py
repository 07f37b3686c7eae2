"""LoRA adapters on llama.cpp, one of random weights that this test writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from gemma_tools import create_model
from gemma_tools.engines import Sampling, create_engine
from gemma_tools.engines.adapters import Adapter, engine_options, read_adapter
from gemma_tools.errors import InvalidRequest, ModelNotFound
from gemma_tools.server.settings import Settings
from support.gguf_files import lora_adapter
from support.serving import serving
from support.tiny import GREEDY, PARIS, weather, written


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora_adapter(tmp_path_factory.mktemp("adapters") / "mine.gguf")


def answer(lora: Sequence[Adapter], /, **extra: Any) -> str:
    with create_engine("tiny", threads=1, lora=lora) as engine:
        return written(engine, weather(), Sampling(temperature=0, max_tokens=40, extra=extra))


def test_an_adapter_changes_the_answers_as_far_as_its_scale_says(adapter: Path) -> None:
    whole = answer([adapter])
    assert not whole.startswith(PARIS)
    assert answer([str(adapter)]) == answer([(adapter, 1)]) == whole
    assert answer([(adapter, 0)]).startswith(PARIS)
    assert not answer([(adapter, 0.5), (str(adapter), 0.5)]).startswith(PARIS)
    assert answer([adapter], lora=[{"id": 0, "scale": 0}]).startswith(PARIS)  # for one request


def test_a_model_with_an_adapter(adapter: Path) -> None:
    with create_model("tiny", lora=[(adapter, 0.001)], threads=1, temperature=0) as model:
        assert written(model.engine, weather(), GREEDY).startswith(PARIS)  # type: ignore[attr-defined]


def test_an_adapter_for_another_model(tmp_path: Path) -> None:
    other = lora_adapter(tmp_path / "other.gguf", architecture="llama")
    with pytest.raises(ModelNotFound, match=r"other\.gguf: was it made for this model"):
        create_engine("tiny", threads=1, lora=[other])


@pytest.mark.parametrize("lora", ["x.gguf", Path("x.gguf"), [3], [("x.gguf",)], [("x.gguf", "much")], [(1, 2)], [("x", 1, 2)]])
def test_what_names_no_adapters(lora: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        create_engine("tiny", threads=1, lora=lora)
    assert caught.value.param == "lora"


@pytest.mark.parametrize(
    ("text", "adapter"),
    [
        ("a.gguf", "a.gguf"),
        ("a.gguf=0.5", ("a.gguf", 0.5)),
        ("a=b.gguf", "a=b.gguf"),
        ("a=b.gguf=-1", ("a=b.gguf", -1.0)),
        ("=1", "=1"),
    ],
)
def test_an_adapter_on_a_command_line(text: str, adapter: Adapter) -> None:
    assert read_adapter(text) == adapter
    assert engine_options(None, [text]) == {"lora": [adapter]}


def test_the_server_lists_them(adapter: Path, tmp_path: Path) -> None:
    projector = tmp_path / "mmproj.gguf"
    projector.write_bytes(b"GGUF")  # it is not loaded before it is asked for
    options = {"lora": [[str(adapter), 0.5], str(adapter)], "mmproj": str(projector)}
    with serving(models={"plain": "tiny", "mine": {"model": "tiny", "options": options}}, alias=("other",)) as url:
        cards = {card["id"]: card for card in httpx.get(f"{url}/models").json()["data"]}
        assert httpx.get(f"{url}/models/mine").json() == cards["mine"]
    assert cards["mine"]["lora"] == [{"name": "mine.gguf", "scale": 0.5}, {"name": "mine.gguf", "scale": 1.0}]
    assert cards["mine"]["mmproj"] == "mmproj.gguf"
    assert "lora" not in cards["plain"]
    assert "lora" not in cards["other"]  # the plain one's other name


def test_the_server_is_told_of_them_for_its_one_model(adapter: Path) -> None:
    with serving(models={"m": "tiny"}, lora=f"{adapter}=0, {adapter}=0") as url:
        assert httpx.get(f"{url}/models/m").json()["lora"] == [{"name": "mine.gguf", "scale": 0}] * 2
        body = {"model": "m", "prompt": weather().text, "max_tokens": 20, "temperature": 0}
        assert httpx.post(f"{url}/completions", json=body, timeout=60).json()["choices"][0]["text"].startswith(PARIS)
    with (
        pytest.raises(InvalidRequest, match=r"options\.lora") as caught,
        serving(models="tiny, tiny-gemma4", lora=str(adapter)),
    ):
        pass
    assert caught.value.param == "lora"
    assert Settings().lora == ()
