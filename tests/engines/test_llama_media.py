"""Images and audio on llama.cpp, in this process and behind a llama-server, with projectors of random weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.data import tiny_path
from gemma_tools.engines import Engine, Generation, GenerationRequest, Sampling, create_engine
from gemma_tools.engines.llama_media import media_prompt
from gemma_tools.errors import ContextExceeded, EngineProtocolError, InvalidRequest, ModelNotFound
from gemma_tools.formats import get_format
from gemma_tools.prompt import WORD_JOINER, Prompt
from support.gguf_files import PICTURE_TOKENS, gemma3_projector, gemma4_projector
from support.media import BLUE, GREEN, RED, picture, png, sound, wav
from support.servers.llama import llama_server
from support.servers.loopback import JsonHandler, chunked, serving
from support.tiny import play, weather

FEW = Sampling(temperature=0, max_tokens=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projectors")
    gemma3_projector(folder / "gemma3.gguf")
    gemma4_projector(folder / "gemma4.gguf")
    return folder


@contextmanager
def opened(place: str, projector: Path) -> Iterator[Engine]:
    if place == "in process":
        with create_engine("tiny", threads=1, parallel=1, mmproj=projector) as engine:
            yield engine
    else:
        with llama_server(tiny_path(), slots=1, mmproj=projector) as url, create_engine("llama-server", url=url) as engine:
            yield engine


@pytest.fixture(scope="module", params=["in process", "llama-server"])
def seeing(request: pytest.FixtureRequest, files: Path) -> Iterator[Engine]:
    """With Gemma 3's projector: it sees, and does not hear."""
    with opened(request.param, files / "gemma3.gguf") as engine:
        yield engine


@pytest.fixture(scope="module", params=["in process", "llama-server"])
def hearing(request: pytest.FixtureRequest, files: Path) -> Iterator[Engine]:
    """With Gemma 4's projector: it sees and hears."""
    with opened(request.param, files / "gemma4.gguf") as engine:
        yield engine


def image(color: tuple[int, int, int] = RED) -> dict[str, Any]:
    return {"type": "image", "data": png(color), "format": "image/png"}


def audio(seconds: float) -> dict[str, Any]:
    return {"type": "audio", "data": wav(seconds), "format": "wav"}


def asking(*parts: str | dict[str, Any], format: str = "gemma3") -> Prompt:
    """A prompt of one user's turn with texts and loaded media in this order."""
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else picture(b"") if part["type"] == "image" else sound(b"")
        for part in parts
    ]
    prompt = get_format(format).render([{"role": "user", "content": content}])
    return replace(prompt, media=tuple(part for part in parts if not isinstance(part, str)))


def first_logprob(engine: Engine, prompt: Prompt) -> float:
    """How likely the model finds the first token that it writes."""
    [token] = asked(engine, prompt, replace(FEW, logprobs=0)).logprobs
    return float(token["logprob"])


def asked(engine: Engine, prompt: Prompt, sampling: Sampling = FEW) -> Generation:
    return play(engine.generate(GenerationRequest(prompt, sampling)))[1]


def counts(engine: Engine, prompt: Prompt) -> tuple[int, int]:
    """The tokens of the prompt, and how many of them the server knew already."""
    usage = asked(engine, prompt).usage
    assert usage.prompt_tokens is not None
    assert usage.cached_tokens is not None
    return usage.prompt_tokens, usage.cached_tokens


def test_a_picture_is_counted_with_the_empty_lines_around_it(seeing: Engine) -> None:
    before, _, after = asking("What is", image(), "this?").text.partition("<start_of_image>")
    texts = (f"{before}\n\n", "<start_of_image>", "<end_of_image>", f"\n\n{after}")  # the middle two are the server's
    expected = sum(seeing.count_tokens(text) or 0 for text in texts) + PICTURE_TOKENS
    assert counts(seeing, asking("What is", image(), "this?"))[0] == expected


def test_what_it_sees_makes_a_difference(seeing: Engine) -> None:
    red, blue, again = (first_logprob(seeing, asking("What is this?", image(color))) for color in (RED, BLUE, RED))
    assert abs(red - blue) > 100 * abs(red - again)
    assert red != blue


def test_pictures_keep_their_order_and_their_places(seeing: Engine) -> None:
    total, _ = counts(seeing, asking("A", image(RED), "B", image(BLUE), "C"))
    assert counts(seeing, asking("A", image(RED), "B", image(BLUE), "C")) == (total, total - 1)
    _, same_first = counts(seeing, asking("A", image(RED), "B", image(GREEN), "C"))
    _, other_first = counts(seeing, asking("A", image(GREEN), "B", image(RED), "C"))
    assert other_first < same_first < total - PICTURE_TOKENS
    assert same_first - other_first >= PICTURE_TOKENS


def test_audio_are_counted_by_their_length(hearing: Engine) -> None:
    short, long = (counts(hearing, asking("Say", audio(seconds), format="gemma4"))[0] for seconds in (1, 3))
    assert long - short == 50  # 25 tokens a second, as the processor of Gemma 4 makes them


def test_pictures_and_sounds_go_together(hearing: Engine) -> None:
    alone = [counts(hearing, asking(part, format="gemma4"))[0] for part in (image(), audio(1))]
    empty = counts(hearing, asking("", format="gemma4"))[0]
    both, _ = counts(hearing, asking(image(), audio(1), format="gemma4"))
    assert both == sum(alone) - empty


def test_a_kind_that_the_projector_does_not_take(seeing: Engine) -> None:
    request = GenerationRequest(asking(image(), audio(1), format="gemma4"), FEW)
    for refuse in (lambda: seeing.refuse_unsupported(request), lambda: play(seeing.generate(request))):
        with pytest.raises(InvalidRequest, match=r"media part 1 .*audio.*mmproj=") as caught:
            refuse()
        assert (caught.value.param, caught.value.code) == ("messages", "unsupported_media")


def test_a_model_without_a_projector() -> None:
    request = GenerationRequest(asking("What is this?", image()), FEW)
    with create_engine("tiny", threads=1) as engine:
        assert not engine.capabilities.images
        assert not engine.capabilities.audio
        assert "mmproj=" in engine.capabilities.media_hint
        with pytest.raises(InvalidRequest, match="mmproj="):
            play(engine.generate(request))
    with llama_server(tiny_path()) as url, create_engine("llama-server", url=url) as engine:
        with pytest.raises(InvalidRequest, match="--mmproj"):
            engine.refuse_unsupported(request)
        engine.refuse_unsupported(GenerationRequest(weather(), FEW))


def test_what_an_engine_in_process_can_do(files: Path) -> None:
    for name, hears in (("gemma3", False), ("gemma4", True)):
        with create_engine("tiny", threads=1, mmproj=files / f"{name}.gguf") as engine:
            assert (engine.capabilities.images, engine.capabilities.audio) == (True, hears)


@pytest.mark.parametrize("data", [png()[:50], b"\x89PNG\r\n\x1a\n", b""], ids=["cut", "only a beginning", "nothing"])
def test_a_picture_that_cannot_be_read(seeing: Engine, data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="PNG, JPEG") as caught:
        asked(seeing, asking("What is this?", {**image(), "data": data}))
    assert caught.value.code == "invalid_media"
    assert asked(seeing, asking("What is this?", image())).usage.completion_tokens == 1


def test_a_prompt_that_is_too_long(seeing: Engine) -> None:
    with pytest.raises(ContextExceeded) as caught:
        asked(seeing, asking("again " * 3000, image()))
    assert caught.value.context == 4096
    assert (caught.value.prompt_tokens or 0) > 4096


@pytest.mark.parametrize(
    "spelled", ["<unk>", "<pad>", "<bos>", "<start_of_image>", "<end_of_turn>", "<__media__>", "<__image__>"]
)
def test_text_that_spells_a_token_stays_text(seeing: Engine, spelled: str) -> None:
    broken = spelled[0] + WORD_JOINER + spelled[1:]
    total, _ = counts(seeing, asking(f"Say {broken} now", image()))
    assert counts(seeing, asking(f"Say {spelled} now", image())) == (total, total - 1)  # they are one prompt


@pytest.mark.parametrize("spelled", ["<pad>", "<unk>", "<start_of_turn>", "<|image|>", "<|image>", "<image|>"])
def test_text_that_spells_a_token_of_another_format_stays_text(hearing: Engine, spelled: str) -> None:
    """`<start_of_turn>` is a token of the model that the format does not know; one of type USER_DEFINED would be found."""
    broken = spelled[0] + WORD_JOINER + spelled[1:]
    total, _ = counts(hearing, asking(f"Say {broken} now", image(), format="gemma4"))
    assert counts(hearing, asking(f"Say {spelled} now", image(), format="gemma4")) == (total, total - 1)


def test_text_that_spells_no_token_is_not_broken(seeing: Engine) -> None:
    for others in ("", "<unk>"):
        total, _ = counts(seeing, asking(f"Say <{WORD_JOINER}b> now{others}", image()))
        assert counts(seeing, asking(f"Say <b> now{others}", image()))[0] < total


def test_text_that_spells_the_server_s_own_marker(seeing: Engine) -> None:
    marker = seeing._remote.call(lambda bounds: seeing._json("/props", bounds))["media_marker"]  # type: ignore[attr-defined]
    total, _ = counts(seeing, asking("Say now", image()))
    assert counts(seeing, asking(f"Say {marker} now", image()))[0] > total
    assert counts(seeing, asking(f"{marker}", image(), marker, image()))[0] > total


MARKER = "<__media_Ab3__>"
PIECES = st.lists(
    st.sampled_from(
        ["<", "<__", "media", "__>", MARKER, "<__media__>", "Ab3", "_", "<end_of_turn>", "x", "<unk>", "<x", ">", WORD_JOINER]
    )
)


@given(st.lists(PIECES.map("".join), min_size=1, max_size=4), st.sets(st.sampled_from(["<unk>", "<x>"])))
def test_no_text_becomes_a_picture(texts: list[str], spelled: set[str]) -> None:
    parts = [part for text in texts for part in (text, image())]
    prompt = asking(*parts)
    body = media_prompt(prompt, {"media_marker": MARKER}, begins={"<bos>"}, spelled=spelled)
    string = body["prompt_string"]
    assert isinstance(string, str)
    assert string.count(MARKER) == len(texts) == len(body["multimodal_data"])
    assert not any(token in string for token in spelled)
    said = string.replace(f"\n\n{MARKER}\n\n", "<start_of_image>").replace(WORD_JOINER, "")
    whole = "".join(segment.text for segment in prompt.segments).removeprefix("<bos>")
    assert said == whole.replace(WORD_JOINER, "")


def test_a_marker_that_text_cannot_be_kept_from() -> None:
    prompt = asking("x", image())
    with pytest.raises(EngineProtocolError, match="marker"):
        media_prompt(prompt, {"media_marker": "x"}, begins=(), spelled=())


def test_a_prompt_without_a_place_for_each_picture() -> None:
    prompt = replace(asking("x", image()), media=(image(), image()))
    with pytest.raises(InvalidRequest, match="1 places for 2"):
        media_prompt(prompt, {}, begins=(), spelled=())


def test_a_server_that_was_started_anew_has_another_marker() -> None:
    """The marker is asked for at each request, and one that a server does not tell is that of 2025."""
    markers = iter([{"media_marker": "<__media_1__>"}, {"media_marker": "<__media_2__>"}, {}])
    sent: list[Any] = []
    last = b"data: " + json.dumps({"content": "", "stop": True, "stop_type": "eos", "tokens_predicted": 0}).encode() + b"\n\n"

    class Server(JsonHandler):
        def do_GET(self) -> None:
            self.answer(200, {"modalities": {"vision": True}, **next(markers)})

        def do_POST(self) -> None:
            body = self.body()
            if self.path == "/tokenize":
                return self.answer(200, {"tokens": []})
            sent.append(body["prompt"])
            self.wfile.write(chunked(last))

    with serving(Server) as url, create_engine("llama-server", url=url) as engine:
        for _ in range(3):
            asked(engine, asking("Look:", image()))
    strings = [prompt["prompt_string"] for prompt in sent]
    turn = "<bos><start_of_turn>user\nLook:\n\n{}\n\n<end_of_turn>\n<start_of_turn>model\n"
    assert strings == [turn.format(marker) for marker in ("<__media_1__>", "<__media_2__>", "<__media__>")]


@pytest.mark.parametrize("option", ["mmproj", "lora"])
def test_a_file_that_is_not_for_this_model(tmp_path: Path, option: str) -> None:
    file = gemma3_projector(tmp_path / "wide.gguf", width=64)
    given: Any = file if option == "mmproj" else [file]
    with pytest.raises(ModelNotFound, match=r"wide\.gguf: was it made for this model"):
        create_engine("tiny", threads=1, **{option: given})


@pytest.mark.parametrize("option", ["mmproj", "lora"])
def test_a_file_that_is_not_there(tmp_path: Path, option: str) -> None:
    for name, said in (("nowhere.gguf", "cannot be read"), ("text.gguf", "not a GGUF file")):
        (tmp_path / "text.gguf").write_bytes(b"not a model at all")
        given: Any = tmp_path / name if option == "mmproj" else [tmp_path / name]
        with pytest.raises(ModelNotFound, match=said):
            create_engine("tiny", threads=1, **{option: given})
    with pytest.raises(InvalidRequest, match="hf:owner/repo/file") as caught:
        create_engine("tiny", threads=1, **{option: "hf:owner" if option == "mmproj" else ["hf:owner"]})
    assert caught.value.param == option
