"""Engines by name, the driver for asyncio, and the engine that plays a script."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import aclosing
from pathlib import Path
from threading import Barrier, Event, current_thread, local, main_thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools.data import tiny_path
from gemma_tools.engines import (
    Cancellation,
    Capabilities,
    Constraint,
    Engine,
    Generation,
    GenerationRequest,
    Sampling,
    create_engine,
    engine_names,
    register_engine,
)
from gemma_tools.engines.base import Chat, ChatPiece
from gemma_tools.engines.drive import abatches, acall, adrive
from gemma_tools.engines.ollama import OllamaEngine
from gemma_tools.engines.openai_completions import PROFILES
from gemma_tools.engines.stopping import until
from gemma_tools.engines.turns import ChatTurn, TurnCall
from gemma_tools.errors import EngineError, EngineUnavailable, InvalidRequest, UnknownName
from gemma_tools.prompt import Prompt
from gemma_tools.testing import Script, ScriptedEngine
from support.servers.llama import TINY_CONTROL, llama_server
from support.servers.loopback import HANG, Faulty, chunked, http
from support.servers.ollama import ollama_server
from support.tiny import GREEDY, PARIS, endless, play, small_talk, weather, written


class TestNames:
    def test_the_built_in_names(self) -> None:
        assert {"llama.cpp", "llama-server", "ollama", "openai", "transformers"} <= set(engine_names())

    @pytest.mark.parametrize("name", ["vllm", "sglang", "lm-studio", "mlx-lm"])
    def test_a_servers_name_chooses_its_profile(self, name: str) -> None:
        with create_engine(name, model="m", url="http://localhost:1") as engine:
            assert engine.capabilities.settings - {"prompt_logprobs"} == frozenset(PROFILES[name].settings)

    def test_an_unknown_name_lists_the_known(self) -> None:
        with pytest.raises(UnknownName, match=r"'lama'.*llama-server.*ollama"):
            create_engine("lama")

    def test_an_unknown_option_lists_the_known(self) -> None:
        with pytest.raises(InvalidRequest, match=r"n_ctx.*known options: model, context"):
            create_engine("llama.cpp", n_ctx=5)

    def test_a_missing_option_is_named(self) -> None:
        with pytest.raises(InvalidRequest) as caught:
            create_engine("ollama")
        assert caught.value.param == "model"

    def test_a_registered_engine_is_made(self) -> None:
        made = ScriptedEngine(["hi"])
        register_engine("mine", lambda: made)
        assert create_engine("mine") is made
        assert "mine" in engine_names()


class TestUrls:
    def test_ollama_is_found_by_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        line = b'{"response": "hi", "done": true, "done_reason": "stop"}\n'
        for name, form in (("OLLAMA_API_BASE_URL", "{}/v1"), ("OLLAMA_HOST", "{}/"), ("OLLAMA_HOST", "0.0.0.0:{port}")):
            with Faulty([chunked(line)]) as server, monkeypatch.context() as environment:
                environment.delenv("OLLAMA_API_BASE_URL", raising=False)
                environment.setenv(name, form.format(server.url, port=server.url.rpartition(":")[2]))
                with create_engine("ollama", model="m") as engine:
                    assert play(engine.generate(GenerationRequest(small_talk(), GREEDY)))[0] == ["hi"]
                assert server.requests[0].startswith(b"POST /api/generate ")

    @pytest.mark.parametrize("url", ["http://models.example:81/a", "https://models.example"])
    def test_a_server_elsewhere_is_asked_through_the_proxy(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        tokens = http(200, b'{"tokens": [1, 2]}') if url.startswith("http:") else http(403, b"")
        with Faulty([tokens]) as proxy:
            for name in ("HTTP_PROXY", "HTTPS_PROXY"):
                monkeypatch.setenv(name.lower(), proxy.url.replace("http://", "http://me:p%40ss@"))
            with create_engine("llama-server", url=url, api_key="k", max_retries=0) as engine:
                if url.startswith("http:"):
                    assert engine.count_tokens("ab") == 2
                else:
                    with pytest.raises(EngineUnavailable, match=r"no connection.*403"):
                        engine.count_tokens("ab")
        line, *headers = proxy.requests[0].partition(b"\r\n\r\n")[0].decode().split("\r\n")
        target = "POST http://models.example:81/a/tokenize" if url.startswith("http:") else "CONNECT models.example:443"
        assert line.startswith(target + " HTTP/1.")
        assert "Proxy-Authorization: Basic bWU6cEBzcw==" in headers
        assert ("Authorization: Bearer k" in headers) is url.startswith("http:")

    def test_a_proxy_is_not_asked_for_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with create_engine("tiny", threads=1) as engine:
            assert engine.count_tokens("<bos>") == 1


class TestOllama:
    def test_images_are_where_they_belong_and_text_makes_none(self) -> None:
        line = b'{"response": "hi", "done": true, "done_reason": "stop"}\n'
        media = ({"type": "image", "data": b"\x89PNG one"}, {"type": "image", "data": b"\x89PNG two"})
        prompt = Prompt("<bos>[img-7]<start_of_image>and<start_of_image>", ("<bos>", "<start_of_image>"), media=media)
        with Faulty([chunked(line)]) as server, create_engine("ollama", model="m", url=server.url) as engine:
            play(engine.generate(GenerationRequest(prompt, GREEDY)))
        sent = server.requests[0].partition(b"\r\n\r\n")[2].decode()
        assert '"prompt":"[\u2060img-7][img-0]and[img-1]"' in sent.replace("\\u2060", "\u2060")
        assert '"images":["iVBORyBvbmU=","iVBORyB0d28="]' in sent

    @pytest.mark.parametrize(("model", "shown"), [(tiny_path(), True), (TINY_CONTROL, False)])
    def test_it_finds_out_whether_markers_reach_the_text(self, model: Path, shown: bool) -> None:
        with (
            llama_server(model) as llama,
            ollama_server(llama) as url,
            create_engine("ollama", model="tiny", url=url) as engine,
        ):
            assert isinstance(engine, OllamaEngine)
            assert engine.shows_markers(small_talk()) is None
            assert engine.shows_markers(weather()) is shown

    def test_its_own_chat_gives_calls_and_thoughts(self) -> None:
        call = b'{"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}'
        lines = (
            b'{"message": {"role": "assistant", "content": "", "thinking": "Hm."}, "done": false}\n',
            b'{"message": {"role": "assistant", "content": "Wait.", "tool_calls": [%b]}, "done": false}\n' % call,
            b'{"message": {"role": "assistant", "content": ""}, "done": true, "done_reason": "stop", "eval_count": 7}\n',
        )
        turns = (
            ChatTurn(role="user", parts=("Where is ", {"type": "image", "data": b"png"}, "this?")),
            ChatTurn(role="assistant", calls=(TurnCall(id="1", name="f", arguments={"n": 1}),), reasoning="Well."),
            ChatTurn(role="tool", parts=("21",), call_id="1", name="f"),
        )
        with Faulty([chunked(*lines)]) as server, create_engine("ollama", model="m", url=server.url) as engine:
            assert isinstance(engine, OllamaEngine)
            pieces, generation = play(engine.chat(GenerationRequest(small_talk(), GREEDY), Chat(turns=turns, think=True)))
        assert pieces == [
            ChatPiece(reasoning="Hm."),
            ChatPiece(content="Wait.", calls=(("get_weather", {"city": "Paris"}),)),
        ]
        assert generation.usage.completion_tokens == 7
        assert server.requests[0].startswith(b"POST /api/chat ")
        sent = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
        assert sent["think"] is True
        assert [{name: value for name, value in message.items() if value} for message in sent["messages"]] == [
            {"role": "user", "content": "Where is this?", "images": ["cG5n"]},
            {
                "role": "assistant",
                "tool_calls": [{"function": {"name": "f", "arguments": {"n": 1}}}],
                "thinking": "Well.",
            },
            {"role": "tool", "content": "21", "tool_name": "f"},
        ]

    def test_an_option_of_the_wrong_kind_is_named(self) -> None:
        with create_engine("ollama", model="m") as engine, pytest.raises(InvalidRequest) as caught:
            play(engine.generate(GenerationRequest(small_talk(), Sampling(extra={"num_gpu": "many"}))))
        assert caught.value.param == "num_gpu"


class TestOpenAI:
    @pytest.mark.parametrize("server", ["vllm", "sglang"])
    def test_servers_with_a_switch_are_reported_to_keep_special_tokens(self, server: str) -> None:
        event = b'data: {"choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
        with (
            Faulty([chunked(event)]) as stub,
            create_engine(server, model="m", url=f"{stub.url}/v1", probe=False) as engine,
        ):
            play(engine.generate(GenerationRequest(small_talk(), Sampling(repeat_penalty=1.1))))
        assert b'"skip_special_tokens":false' in stub.requests[0]
        assert b'"repetition_penalty":1.1' in stub.requests[0]
        assert (b'"prompt":"<bos>' in stub.requests[0]) is (b'"add_special_tokens":false' in stub.requests[0])

    def test_a_server_that_strips_special_tokens_is_reported(self, caplog: pytest.LogCaptureFixture) -> None:
        with llama_server(TINY_CONTROL) as url, create_engine("openai", model="tiny", url=f"{url}/v1") as engine:
            for _ in range(2):
                pieces, _ = play(engine.generate(GenerationRequest(weather(), Sampling(temperature=0, max_tokens=9))))
                assert "".join(pieces).startswith("call:get_weather{city:Paris}"[:20])
        warnings = [record.message for record in caplog.records if record.name == "gemma_tools"]
        assert len(warnings) == 1
        assert "removes special tokens" in warnings[0]

    def test_a_server_that_keeps_them_is_not(self, caplog: pytest.LogCaptureFixture) -> None:
        with (
            llama_server(TINY_CONTROL) as url,
            create_engine("openai", model="tiny", url=f"{url}/v1", server="llama-server") as engine,
        ):
            assert written(engine, weather(), GREEDY).startswith(PARIS)
        assert [record for record in caplog.records if record.name == "gemma_tools"] == []

    def test_a_hanging_probe_blocks_nobody_and_is_repeated(self) -> None:
        def answer(text: str, prompt_tokens: int) -> list[bytes | str]:
            choice = {"index": 0, "text": text, "finish_reason": "stop"}
            usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 1, "total_tokens": prompt_tokens + 1}
            return [chunked(b"data: %b\n\ndata: [DONE]\n\n" % json.dumps({"choices": [choice], "usage": usage}).encode())]

        cancel = Cancellation()
        with (
            Faulty([HANG], answer("", 9), answer("two", 20), answer("three", 20)) as server,
            create_engine("vllm", model="m", url=f"{server.url}/v1") as engine,
            ThreadPoolExecutor() as pool,
        ):
            first = pool.submit(play, engine.generate(GenerationRequest(small_talk(), GREEDY), cancel=cancel))
            while not server.requests:
                wait([first], timeout=0.01)
            assert written(engine, small_talk()) == "two"
            cancel.cancel()
            assert first.result() == ([], Generation())
            assert written(engine, small_talk()) == "three"
        prompts = [json.loads(sent)["prompt"] for request in server.requests if (sent := request.partition(b"\r\n\r\n")[2])]
        questions = [prompt for prompt in prompts if "weather" not in prompt]
        assert questions == prompts[:2] == ["<start_of_turn>" * 8] * 2
        assert {prompt.startswith("<bos>") for prompt in prompts[2:]} == {False}  # 8 tokens counted as 9: it adds its own

    def test_an_unknown_profile_lists_the_known(self) -> None:
        with pytest.raises(InvalidRequest, match=", ".join(PROFILES)):
            create_engine("openai", model="m", url="http://localhost", server="mine")


class TestDriving:
    def test_items_pass_and_the_loop_is_free(self) -> None:
        go = Event()

        def slow(cancel: Cancellation) -> Iterator[int]:
            assert current_thread() is not main_thread()
            yield 1
            assert go.wait(60)
            yield 2

        async def main() -> list[int]:
            found = []
            async for item in adrive(slow):
                found.append(item)
                asyncio.get_running_loop().call_soon(go.set)
            return found

        assert asyncio.run(main()) == [1, 2]

    def test_errors_pass(self) -> None:
        def broken(cancel: Cancellation) -> Iterator[int]:
            yield 1
            raise EngineError("broken", text="a")

        async def main() -> None:
            async for _ in adrive(broken):
                pass

        with pytest.raises(EngineError, match="broken"):
            asyncio.run(main())

    def test_leaving_cancels_and_closes(self) -> None:
        closed = Event()

        def endless(cancel: Cancellation) -> Iterator[int]:
            try:
                while not cancel.cancelled:
                    yield 1
            finally:
                closed.set()

        async def main() -> bool:
            cancel = Cancellation()
            async with aclosing(adrive(endless, cancel)) as items:
                await anext(items)
            return cancel.cancelled

        assert asyncio.run(main())
        assert closed.wait(60)

    def test_what_is_there_comes_at_once(self) -> None:
        go, written = Event(), Event()

        def source(cancel: Cancellation) -> Iterator[int]:
            yield 1
            assert go.wait(60)
            yield from (2, 3, 4)
            written.set()

        async def main() -> list[list[int]]:
            async with aclosing(abatches(source)) as batches:
                first = await anext(batches)
                go.set()
                assert written.wait(60)  # holds up the loop
                return [first, *[batch async for batch in batches]]

        assert asyncio.run(main()) == [[1], [2, 3, 4]]

    def test_a_thread_does_not_run_away_from_a_loop_that_is_blocked(self) -> None:
        written = 0

        def endless(cancel: Cancellation) -> Iterator[int]:
            nonlocal written
            while not Event().wait(0.001):
                written += 1
                yield written

        async def main() -> list[int]:
            async with aclosing(abatches(endless)) as batches:
                await anext(batches)
                Event().wait(0.5)
                return await anext(batches)

        assert len(asyncio.run(main())) < 100

    def test_a_cancelled_task_cancels(self) -> None:
        cancel, begun, ended = Cancellation(), Event(), Event()

        def wait(given: Cancellation) -> str:
            with given.calling(ended.set):
                begun.set()
                ended.wait(60)
            return "late"

        async def main() -> None:
            task = asyncio.create_task(acall(wait, cancel))
            await asyncio.to_thread(begun.wait, 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert ended.wait(60)
        assert cancel.cancelled

    def test_a_call_gives_its_result(self) -> None:
        async def main() -> list[int]:
            return await asyncio.gather(*(acall(lambda _, n=n: n * n) for n in range(20)))

        assert asyncio.run(main()) == [n * n for n in range(20)]

    def test_a_thread_is_used_again(self) -> None:
        mine = local()

        def seen(_: Cancellation) -> bool:
            before = hasattr(mine, "here")
            mine.here = True
            return before

        async def main() -> bool:
            return any([await acall(seen) for _ in range(1000)])  # a thread may not be idle yet when the next call comes

        assert asyncio.run(main())

    def test_as_many_run_at_once_as_are_asked_for(self) -> None:
        all_here = Barrier(40)

        async def main() -> None:
            await asyncio.gather(*(acall(lambda _: all_here.wait(60)) for _ in range(40)))

        for _ in range(2):
            asyncio.run(main())

    def test_a_real_engine_stops_when_its_reader_leaves(self) -> None:
        def driven(engine: Engine, prompt: Prompt) -> AsyncGenerator[str, None]:
            return adrive(lambda cancel: engine.generate(GenerationRequest(prompt, GREEDY), cancel=cancel))

        async def main(engine: Engine) -> list[str]:
            async with aclosing(driven(engine, endless())) as pieces:
                await anext(pieces)
            return [piece async for piece in driven(engine, weather())]

        with create_engine("tiny", threads=1, parallel=1) as engine:
            assert "".join(asyncio.run(main(engine))).startswith(PARIS)


class TestScripted:
    def test_it_plays_and_remembers(self) -> None:
        engine = ScriptedEngine(["Hello there", Script(["a", "b"], finish="length"), EngineUnavailable("gone")])
        assert play(engine.generate(GenerationRequest(small_talk("one"), GREEDY, stop=("x",))))[0] == ["Hell", "o th", "ere"]
        pieces, generation = play(engine.generate(GenerationRequest(small_talk("two"), GREEDY)))
        assert (pieces, generation.finish, generation.usage.completion_tokens) == (["a", "b"], "length", 2)
        with pytest.raises(EngineUnavailable):
            play(engine.generate(GenerationRequest(small_talk(), GREEDY)))
        with pytest.raises(EngineError, match="no more answers"):
            play(engine.generate(GenerationRequest(small_talk(), GREEDY)))
        assert engine.asked[0].stop == ("x",)
        assert engine.asked[1].prompt == small_talk("two")
        assert engine.asked[1].constraint is None

    def test_an_error_comes_after_its_text(self) -> None:
        engine = ScriptedEngine([Script(["a", "b"], error=EngineUnavailable("gone"))])
        pieces = engine.generate(GenerationRequest(small_talk(), GREEDY))
        assert [next(pieces), next(pieces)] == ["a", "b"]
        with pytest.raises(EngineUnavailable) as caught:
            next(pieces)
        assert caught.value.text == "ab"

    def test_limits_stops_and_cancellation(self) -> None:
        engine = ScriptedEngine(["abcdefgh"] * 3, cut=1)
        assert play(engine.generate(GenerationRequest(small_talk(), Sampling(max_tokens=3))))[1].finish == "length"
        assert written(engine, small_talk(), GREEDY, stop=("de",)) == "abc"
        cancel = Cancellation()
        pieces = engine.generate(GenerationRequest(small_talk(), GREEDY), cancel=cancel)
        next(pieces)
        cancel.cancel()
        assert play(pieces)[0] == []

    def test_it_can_do_what_it_is_told_that_it_can(self) -> None:
        engine = ScriptedEngine(["a"], capabilities=Capabilities(settings=frozenset(), constraints=frozenset({"gbnf"})))
        with pytest.raises(InvalidRequest, match="temperature"):
            play(engine.generate(GenerationRequest(small_talk(), GREEDY)))
        assert written(engine, small_talk(), Sampling(), constraint=Constraint(gbnf="root ::= []")) == "a"


class TestStopStrings:
    @given(st.lists(st.text("ab<>", min_size=1), max_size=12), st.lists(st.text("ab<>", min_size=1), max_size=3))
    def test_any_cutting_gives_the_text_before_the_first_stop(self, pieces: list[str], stop: list[str]) -> None:
        text = "".join(pieces)
        ends = [(at + len(word), at, word) for word in stop if (at := text.find(word)) >= 0]
        stopped = []

        def read() -> Iterator[str]:
            stopped.append((yield from until(pieces, tuple(stop))))

        shown = list(read())
        assert "".join(shown) == (text[: min(ends)[1]] if ends else text)
        assert all(shown)
        assert stopped == [min(ends)[2] if ends else ""]


class TestCancellation:
    def test_a_late_callback_is_called_at_once(self) -> None:
        cancel, called = Cancellation(), Event()
        cancel.cancel()
        with cancel.calling(called.set):
            assert called.is_set()

    def test_a_callback_is_forgotten_after_its_context(self) -> None:
        cancel, called = Cancellation(), Event()
        with cancel.calling(called.set):
            pass
        cancel.cancel()
        cancel.cancel()
        assert not called.is_set()


class TestDocs:
    def test_the_table_says_what_the_engines_say(self) -> None:
        from gemma_tools.engines import litert_lm, llama_server, ollama, transformers

        page = (Path(__file__).parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")
        table = page.partition("## What each engine supports\n\n")[2].partition("\n\n")[0]
        heads, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
        told = {row[0]: dict(zip(heads[1:], row[1:], strict=True)) for row in rows}
        real = {
            "llama.cpp": llama_server._CAPABILITIES,
            "llama-server": llama_server._CAPABILITIES,
            "ollama": ollama._CAPABILITIES,
            "transformers": transformers._CAPABILITIES,
            "litert-lm": litert_lm._CAPABILITIES,
        }
        for name in ("vllm", "sglang", "lm-studio", "mlx-lm"):
            with create_engine(name, model="m", url="http://localhost:1") as engine:
                real[name] = engine.capabilities
        asked = {
            "temperature, top_p, max_tokens, seed": "temperature",
            "presence, frequency penalty": "presence_penalty",
            "JSON schema": "json_schema",
            "GBNF": "gbnf",
            "Lark": "lark",
            "logprobs of the prompt": "prompt_logprobs",
            **{name: name for name in ("top_k", "min_p", "repeat_penalty", "logit_bias", "logprobs")},
        }
        for row, name in asked.items():
            for engine_name, can in real.items():
                assert (told[row][engine_name] == "yes") is (name in can.settings | can.constraints), (row, engine_name)
        assert {name for name, cell in told["images"].items() if cell == "yes" or "mmproj" in cell} == {
            n for n, can in real.items() if can.images
        }
