"""`evaluate`: the ways of asking, what is counted, and a run that goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_tools import BaseModelBackend, FunctionGemmaModel, Gemma4Model, create_model
from gemma_tools.bench import Case, Endpoint, Evaluation, Result, Said, Share, evaluate, load_suite
from gemma_tools.bench.evaluate import model_label
from gemma_tools.bench.scores import share
from gemma_tools.engines.base import Cancellation, Capabilities, ChatPiece, Generation, GenerationRequest, Pieces
from gemma_tools.errors import EngineError, EngineRejected, EngineUnavailable, InvalidRequest, ModelNotFound
from gemma_tools.testing import Script, ScriptedEngine
from support.cases import ASKS, TALKS
from support.chat import OSLO, PARIS, WEATHER, user
from support.serving import EchoEngine, scripted, serving, thinker


def test_answers_are_compared_with_what_is_expected() -> None:
    evaluation = evaluate(scripted(PARIS, "Hi there."), [ASKS, TALKS])
    asked, talked = evaluation.results
    assert asked.right
    assert talked.right
    assert asked.said.calls == (("get_weather", '{"city": "Paris"}'),)
    assert asked.said.text == PARIS
    assert talked.said.content == "Hi there."
    assert evaluation.model == "m on scripted"
    assert (evaluation.ways, evaluation.categories) == (("plain",), ("one", "none"))
    assert evaluation.score().right.count == 2
    assert evaluation.score("plain", "none").right.of == 1


OTHER_NAME = "<start_function_call>call:set_alarm{time:<escape>7<escape>}<end_function_call>"
SURPLUS = PARIS.replace("}<end", ",kind:<escape>x<escape>}<end")
UNDECLARED = PARIS.replace("get_weather", "nobody")
COUNTED: list[tuple[str, dict[str, Any]]] = [
    (PARIS, {"right": 1, "named": 1, "valid": 1}),
    (OSLO, {"right": 0, "named": 1, "valid": 1}),
    (OTHER_NAME, {"right": 0, "named": 0, "valid": 1}),
    ("Sunny.", {"right": 0, "named": 0}),
    (PARIS.replace("<end_function_call>", ""), {"right": 1, "repaired": {"end_tag_missing": 1}}),
    (UNDECLARED, {"right": 0, "lost": {"undeclared": 1}, "repaired": {}}),
    (PARIS[:50], {"right": 0, "lost": {"cut": 1}}),
]


@pytest.mark.parametrize(("answer", "counts"), COUNTED)
def test_what_is_counted(answer: str, counts: dict[str, Any]) -> None:
    score = evaluate(scripted(answer), [ASKS]).score().as_dict()
    found = {
        name: score[name]["count"] if isinstance(score[name], dict) and "count" in score[name] else score[name]
        for name in counts
    }
    assert found == counts


@pytest.mark.parametrize(("answer", "refused"), [("No.", True), (PARIS, False), (UNDECLARED, False), (PARIS[:50], False)])
def test_a_call_that_was_only_begun_is_not_a_refusal(answer: str, refused: bool) -> None:
    evaluation = evaluate(scripted(answer), [Case(id="t", category="t", messages=user("Sing"), tools=[WEATHER])])
    assert evaluation.score().refused.count == evaluation.score().right.count == refused


def test_arguments_that_break_the_schema_are_not_valid() -> None:
    strict = {**WEATHER["function"]["parameters"], "additionalProperties": False}
    tool = {"type": "function", "function": {**WEATHER["function"], "parameters": strict}}
    case = replace(ASKS, tools=[tool])
    score = evaluate(scripted(SURPLUS), [case]).score()
    assert (score.valid.count, score.valid.of, score.right.count) == (0, 1, 0)


def test_tokens_and_seconds_are_added_up() -> None:
    score = evaluate(scripted(Script(["a", "b", "c"]), Script(["d"])), [TALKS, ASKS]).score()
    assert score.completion_tokens == 4
    assert score.prompt_tokens > 50
    assert score.seconds > 0


class Held(ScriptedEngine):
    """Takes a grammar, and remembers what it was asked for."""

    def __init__(self, *answers: Any) -> None:
        settings = ScriptedEngine(()).capabilities.settings
        super().__init__(answers, capabilities=Capabilities(settings=settings, constraints=frozenset(("gbnf",))))


def test_ways_are_shown_side_by_side_on_the_same_case() -> None:
    engine = Held("Sunny.", PARIS, OSLO, "Hi")
    evaluation = evaluate(FunctionGemmaModel("m", engine=engine), [ASKS, TALKS], ways=["strict", "force"])
    assert evaluation.ways == ("plain", "force", "strict")
    assert [(result.case.id, result.way, result.right) for result in evaluation.results[:3]] == [
        ("asks", "plain", False),
        ("asks", "force", True),
        ("asks", "strict", False),
    ]
    bound = [request.constraint is not None for request in engine.asked]
    assert bound[:3] == [False, True, True]
    assert {request.sampling.temperature for request in engine.asked} == {0.0}


def test_equal_requests_are_asked_once() -> None:
    engine = Held("Hi")
    evaluation = evaluate(FunctionGemmaModel("m", engine=engine), [TALKS], ways=["force"])
    assert len(engine.asked) == 1  # no call is expected, so that none is required
    assert [result.said.content for result in evaluation.results] == ["Hi", "Hi"]


def test_the_plain_answer_is_read_at_each_level() -> None:
    drifted = PARIS.replace("city:", "city=")
    block = '```json\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n```'
    engine = ScriptedEngine([drifted, block])
    again = replace(ASKS, id="again", messages=user("Weather in Paris, please?"))
    evaluation = evaluate(FunctionGemmaModel("m", engine=engine), [ASKS, again], ways=["recovery"])
    assert len(engine.asked) == 2
    assert evaluation.ways == ("plain", "recovery strict", "recovery schema", "recovery eager")
    assert [result.right for result in evaluation.results] == [True, False, True, True, False, False, False, True]
    assert evaluation.score("recovery strict").lost == {"unreadable": 1, "unread_call": 1}


class ChatOnly(ScriptedEngine):
    """Has a chat endpoint and nothing else, which reads the call itself."""

    def __init__(self) -> None:
        settings = ScriptedEngine(()).capabilities.settings
        super().__init__((), capabilities=Capabilities(settings=settings, chat=frozenset(("native",)), raw_prompt=False))

    def chat(self, request: Any, chat: Any, *, cancel: Any = None) -> Any:
        """Call for Paris."""
        yield ChatPiece(calls=(("get_weather", {"city": "Paris"}),))
        return Generation()


def test_what_an_engine_has_read_itself_cannot_be_read_again() -> None:
    plain, *again = evaluate(FunctionGemmaModel("m", engine=ChatOnly()), [ASKS], ways=["recovery"]).results
    assert (plain.right, plain.said.text) == (True, None)
    assert {result.said.error for result in again} == {"the engine itself read the calls, so there is no text to read again"}


def test_a_thought_is_asked_for_and_kept() -> None:
    thought = "<|channel>thought\nParis it is.<channel|>"
    call = '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>'
    model = thinker("Sunny.", thought + call)
    plain, thinking = evaluate(model, [ASKS], ways=["thinking"]).results
    assert (plain.right, thinking.right, thinking.said.reasoning) == (False, True, "Paris it is.")
    assert "think" in model.engine.asked[1].prompt.text  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": ["fast"]}, "'fast' is not one of plain, force"),
        ({"ways": ["thinking"]}, "functiongemma cannot think"),
        ({"repeat": 2}, "set a temperature"),
        ({"repeat": 0}, "repeat"),
        ({"concurrency": 0}, "concurrency"),
        ({"temperature": 3}, "temperature"),
        ({"seed": "one"}, "seed: must be an integer"),
        ({"cases": [TALKS, TALKS]}, "'talks' is the id of more than one case"),
        ({"cases": []}, "cases: must be at least one Case"),
        ({"cases": "own"}, "cases: must be at least one Case: see load_suite"),
        ({"cases": [TALKS.as_dict()]}, "cases: must be at least one Case"),
        ({"model": "tiny"}, "model: must be a model"),
        ({"ways": "force"}, r"ways: must be a list: \['force'\]"),
    ],
)
def test_what_is_impossible_is_refused_before_anything_is_asked(options: dict[str, Any], message: str) -> None:
    model = scripted("Hi")
    with pytest.raises(InvalidRequest, match=message):
        evaluate(**{"model": model, "cases": [TALKS], **options})
    assert model.engine.asked == []  # type: ignore[attr-defined]


class Plain(BaseModelBackend):
    """A backend that is not one of ours: it answers with completions alone."""

    token_counter: Any = None

    def _run(self, request: Any, cancel: Cancellation) -> Any:
        return scripted(PARIS).respond(request, cancel=cancel)

    async def _arun(self, request: Any, cancel: Cancellation) -> Any:
        raise NotImplementedError


def test_any_backend_can_be_measured() -> None:
    evaluation = evaluate(Plain("own"), [ASKS])
    assert (evaluation.model, evaluation.score().right.count) == ("own", 1)
    assert evaluation.results[0].said.text is None
    with pytest.raises(InvalidRequest, match="own has no recovery levels"):
        evaluate(Plain("own"), [ASKS], ways=["recovery"])


def test_repeats_have_seeds_of_their_own() -> None:
    engine = ScriptedEngine(["Hi", "No", "Hi"])
    evaluation = evaluate(FunctionGemmaModel("m", engine=engine), [TALKS], temperature=0.7, repeat=3, seed=5)
    assert [request.sampling.seed for request in engine.asked] == [5, 6, 7]
    assert [result.right for result in evaluation.results] == [True, False, True]
    right = evaluation.score().right
    assert (right.count, right.of) == (2, 3)


def test_what_cannot_be_asked_is_reported_and_tried_again(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    first = evaluate(scripted(EngineRejected("busy", status=500), "Hi"), [ASKS, TALKS], results=file)
    assert [result.fault for result in first.results] == ["busy", None]
    assert (first.score().failed, first.score().right.of) == (1, 2)
    second = evaluate(scripted(PARIS), [ASKS, TALKS], results=file)
    assert second.score().right.count == 2
    assert Evaluation.load(file) == second


def test_a_forced_answer_without_a_call_is_wrong_and_not_an_error() -> None:
    evaluation = evaluate(FunctionGemmaModel("m", engine=Held("Sunny.", "Sunny.", "Sunny.")), [ASKS], ways=["force"])
    forced = evaluation.results[1]
    assert (forced.asked, forced.right, forced.said.text) == (True, False, "Sunny.")


def test_an_engine_that_is_gone_ends_the_run_and_what_came_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    with pytest.raises(EngineUnavailable):
        evaluate(scripted(PARIS, EngineUnavailable("gone")), [ASKS, TALKS], results=file)
    assert [result.case.id for result in Evaluation.load(file).results] == ["asks"]
    told: list[tuple[str, str]] = []
    model = scripted("Hi")
    evaluation = evaluate(model, [ASKS, TALKS], results=file, progress=lambda result: told.append((result.case.id, result.way)))
    assert evaluation.score().right.count == 2
    assert told == [("asks", "plain"), ("talks", "plain")]
    assert len(model.engine.asked) == 1  # type: ignore[attr-defined]


def test_a_line_that_was_not_written_to_its_end_is_asked_again(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    whole = evaluate(scripted(PARIS, "Hi"), [ASKS, TALKS], results=file)
    data = file.read_bytes()
    for cut in range(data.index(b'{"case": "talks"'), len(data), 20):
        file.write_bytes(data[:cut])
        again = evaluate(scripted("Hi"), [ASKS, TALKS], results=file)
        assert [result.said.content for result in again.results] == [result.said.content for result in whole.results]
        assert len(Evaluation.load(file).results) == 2


def test_more_ways_can_be_added_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    evaluate(scripted(PARIS), [ASKS], results=file)
    evaluation = evaluate(scripted(), [ASKS], results=file, ways=["recovery"])
    assert evaluation.score("recovery eager").right.count == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 5}, "max_tokens=1024.*another file"),
        ({"cases": [Case(id="asks", category="x", messages=user("?"))]}, "'asks'"),
    ],
)
def test_a_file_of_another_run_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    file = tmp_path / "results.jsonl"
    evaluate(scripted(PARIS), [ASKS], results=file)
    before = file.read_bytes()
    with pytest.raises(InvalidRequest, match=message):
        evaluate(scripted(PARIS), **{"cases": [ASKS], "results": file, **options})
    assert file.read_bytes() == before


def with_options(**options: Any) -> FunctionGemmaModel:
    return FunctionGemmaModel("m", engine=ScriptedEngine([PARIS]), **options)


def test_the_options_that_change_answers_are_a_part_of_the_models_name() -> None:
    assert model_label(with_options()) == "m on scripted"
    assert model_label(with_options(model_config_dict={"seed": 5, "temperature": 0.5})) == "m on scripted"
    changed = with_options(recovery="eager", on_invalid="retry", model_config_dict={"top_k": 5})
    assert model_label(changed) == "m on scripted (recovery=eager, top_k=5, on_invalid=retry)"
    options: dict[str, Any] = {"url": "http://127.0.0.1:1", "way": "prompted", "max_line_bytes": 5000}
    with FunctionGemmaModel("m", engine="openai-chat", **options) as model:
        assert model_label(model) == "m on openai-chat (way=prompted)"
    assert model_label(Plain("own")) == "own"


def test_a_file_of_the_same_model_with_other_options_or_weights_is_refused(tmp_path: Path) -> None:
    file, weights = tmp_path / "results.jsonl", tmp_path / "weights"
    weights.write_bytes(b"one")
    model = with_options()
    model.engine = WithFile([PARIS], weights)
    evaluate(model, [ASKS], results=file)
    assert evaluate(model, [ASKS], results=file).score().right.count == 1
    with pytest.raises(InvalidRequest, match=r"results of m on scripted, not of m on scripted \(recovery=eager\): use another"):
        evaluate(with_options(recovery="eager"), [ASKS], results=file)
    weights.write_bytes(b"two")
    with pytest.raises(InvalidRequest, match="results of other weights of m on scripted: use another file"):
        evaluate(model, [ASKS], results=file)


class WithFile(ScriptedEngine):
    """Has its model in a file."""

    def __init__(self, answers: Any, file: Path) -> None:
        super().__init__(answers)
        self._file = file

    @property
    def vocabulary(self) -> Path:
        """The file."""
        return self._file


@pytest.mark.parametrize(
    "content", ["My notes.\n", "My notes.", '{"mine": 1}', '{"model": "m on scripted"}\n', "[]\n[]\n", "\n"]
)
def test_a_file_of_something_else_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(content)
    with pytest.raises(InvalidRequest, match=r"notes\.txt(, line 1)?: is not a (valid result line|results file)"):
        evaluate(scripted(PARIS), [ASKS], results=file)
    assert file.read_text() == content


def test_an_empty_file_has_no_results(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(InvalidRequest, match="is empty"):
        Evaluation.load(tmp_path / "empty")


class Meeting(EchoEngine):
    """Answers once three requests are there."""

    def __init__(self) -> None:
        self.meeting = Barrier(3, timeout=60)

    def generate(self, request: GenerationRequest, *, cancel: Cancellation | None = None) -> Pieces:
        """Wait for the others."""
        self.meeting.wait()
        yield "hi"
        return Generation()


def test_as_many_at_once_as_were_asked_for() -> None:
    cases = [Case(id=str(i), category="a", messages=user("Hello")) for i in range(6)]
    evaluation = evaluate(FunctionGemmaModel("m", engine=Meeting()), cases, concurrency=3)
    assert [result.case.id for result in evaluation.results] == list("012345")


def test_an_endpoint_is_asked_the_same() -> None:
    theirs = thinker("Sunny.", "Hi")
    with serving(theirs) as url:
        evaluation = evaluate(scripted(PARIS, "Hi"), [ASKS, TALKS], against=url)
    own, at = evaluation.ways
    assert at == f"plain at {url.removeprefix('http://').removesuffix('/v1')}"
    assert [result.right for result in evaluation.of(own)] == [True, True]
    assert [result.right for result in evaluation.of(at)] == [False, True]
    assert evaluation.of(at)[0].said.completion_tokens > 0
    assert [request.sampling.temperature for request in theirs.engine.asked] == [0.0, 0.0]  # type: ignore[attr-defined]


def test_a_tool_choice_reaches_the_endpoint() -> None:
    theirs = Gemma4Model("m", engine=Held("Sunny.", '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>'))
    with serving(theirs) as url:
        evaluation = evaluate(FunctionGemmaModel("m", engine=Held("Sunny.", PARIS)), [ASKS], ways=["force"], against=url)
    assert [result.right for result in evaluation.results] == [False, True, False, True]


def test_an_endpoint_has_the_first_model_that_it_lists_unless_one_is_named() -> None:
    with serving(thinker("one"), thinker("two")) as url:
        at = [evaluate(scripted("Hi"), [TALKS], against=Endpoint(url, model)).results[1].said.content for model in (None, "m1")]
        with pytest.raises(ModelNotFound, match="nobody"):
            evaluate(scripted("Hi"), [TALKS], against=Endpoint(url, "nobody"))
    assert at == ["one", "two"]


def test_a_refusing_endpoint_is_reported_and_a_missing_one_ends_the_run() -> None:
    with serving(thinker(EngineError("broken"))) as url:
        evaluation = evaluate(scripted("Hi"), [TALKS], against=url)
    assert evaluation.results[1].said.error
    with pytest.raises(EngineUnavailable, match="no connection"):
        evaluate(scripted("Hi"), [TALKS], against=url)


def test_the_tiny_model_on_the_suite_that_ships() -> None:
    cases = [case for case in load_suite("own") if case.id in ("typing-1", "choosing-1", "talk-1", "telling-1")]
    with create_model("tiny") as model:
        evaluation = evaluate(model, cases, ways=["force", "recovery"], max_tokens=100)
    assert len(evaluation.results) == len(cases) * 5
    assert evaluation.score("force").valid.of >= 2
    assert evaluation.score().failed == 0


def test_right_without_repeats_is_wilsons_interval() -> None:
    found = share((str(i), i < 8) for i in range(10))
    assert (found.count, found.of, round(found.low, 3), round(found.high, 3)) == (8, 10, 0.49, 0.943)  # as in textbooks
    assert share([]) == Share(0, 0, 0.0, 1.0)
    assert share([]).value is None


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=12))
def test_repeats_count_between_one_case_and_all_of_them(cases: list[list[bool]]) -> None:
    repeated = share((str(i), outcome) for i, outcomes in enumerate(cases) for outcome in outcomes)
    apart = share((f"{i}.{j}", outcome) for i, outcomes in enumerate(cases) for j, outcome in enumerate(outcomes))
    assert repeated.value == apart.value
    assert 0 <= repeated.low <= (repeated.value or 0) <= repeated.high <= 1
    assert repeated.high - repeated.low >= apart.high - apart.low - 1e-9
    same = share((str(i), outcomes[0]) for i, outcomes in enumerate(cases) for _ in outcomes)
    once = share((str(i), outcomes[0]) for i, outcomes in enumerate(cases))
    assert (round(same.low, 9), round(same.high, 9)) == (round(once.low, 9), round(once.high, 9))


def test_repeats_count_the_more_the_less_the_cases_differ() -> None:
    def width(*cases: str) -> float:
        found = share((str(i), outcome == "+") for i, outcomes in enumerate(cases) for outcome in outcomes)
        return found.high - found.low

    alike, mixed, apart = width("+-", "+-", "+-", "+-"), width("+-", "+-", "++", "--"), width("++", "++", "--", "--")
    assert alike < mixed < apart
    assert width("+-+-") == width("+-")


def test_a_result_of_unreadable_arguments_is_neither_right_nor_valid() -> None:
    result = Result(ASKS, "plain", 0, Said(calls=(("get_weather", '{"city": '),)))
    assert (result.right, result.named, result.valid) == (False, True, False)
    assert Said.of(json.loads(json.dumps(result.said.as_dict()))) == result.said
