"""How well a model calls tools: questions are asked in several ways, and the answers compared with the expected ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, fields
from hashlib import sha256
from os import SEEK_END
from pathlib import Path
from typing import Final, Self

from gemma_tools.backends.base import BaseModelBackend
from gemma_tools.backends.gemma import GemmaBackend
from gemma_tools.bench.asking import Endpoint, Said, Sampling, Way, WayName, answered, ask, chosen_ways, read_again, same
from gemma_tools.bench.cases import Case
from gemma_tools.bench.results import Log, Result
from gemma_tools.bench.scores import Score, score
from gemma_tools.engines.base import Cancellation
from gemma_tools.errors import InvalidRequest
from gemma_tools.formats import get_format
from gemma_tools.validation import check_integer, check_number

_BY_REQUEST: Final = ("temperature", "max_tokens", "num_predict", "seed", "stream", "stream_arguments")
"""Settings of a model that each question sets itself, or that do not change answers."""
_SPEED: Final = ("threads", "gpu_layers", "parallel", "cache_ram", "max_line_bytes", "max_answer_bytes")
"""Options of engines that do not change answers."""
_LAST_BYTES: Final = 2**20


@dataclass(frozen=True)
class Evaluation:
    """The results of all questions.

    `model` is the model, its engine, and its options, if they are not the defaults; `sampling` is how answers were sampled.
    """

    model: str
    sampling: Sampling
    results: tuple[Result, ...]

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways of asking, in order."""
        return tuple(dict.fromkeys(result.way for result in self.results))

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories of the cases, in order."""
        return tuple(dict.fromkeys(result.case.category for result in self.results))

    def of(self, way: str, category: str | None = None) -> tuple[Result, ...]:
        """The results of one way, or of one category of it."""
        return tuple(
            result for result in self.results if result.way == way and (category is None or result.case.category == category)
        )

    def _repr_html_(self) -> str:
        from gemma_tools.bench.report import HEADS, rows
        from gemma_tools.display import card, escape, table

        return card(table(HEADS, (map(escape, row) for row in rows([self]))))

    def score(self, way: str = "plain", category: str | None = None) -> Score:
        """The sums over the results of a way."""
        return score(self.of(way, category))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The evaluation in a results file of `evaluate`.

        Raises:
            OSError: it cannot be read.
            InvalidRequest: it is not such a file.
        """
        log = Log.read(Path(path))
        if log is None:
            raise InvalidRequest("is empty", param=str(path))
        return cls(log.model, log.sampling, tuple(log.results.values()))


def evaluate(
    model: BaseModelBackend,
    cases: Iterable[Case],
    *,
    ways: Sequence[WayName] = ("plain",),
    against: Endpoint | str | None = None,
    temperature: float = 0.0,
    repeat: int = 1,
    seed: int = 0,
    max_tokens: int = 1024,
    concurrency: int = 1,
    results: str | Path | None = None,
    progress: Callable[[Result], object] | None = None,
) -> Evaluation:
    """Ask `model` all `cases`, in each of the ways, and compare the answers with the expected ones.

    Args:
        model: the model.
        cases: the questions: `gemma_tools.bench.load_suite`, `read_cases`, or your own.
        ways: in addition to "plain", which is always used: "force" (a call is required if one is expected), "strict" (all
            tools are strict), "thinking", "recovery" (the outputs of "plain", read at each recovery level).
        against: an OpenAI-compatible chat endpoint that is asked the same, in the same ways.
        temperature: 0 is greedy.
        repeat: how often each question is asked; more than once needs a temperature.
        seed: for the first repeat; each next repeat has the next seed.
        max_tokens: for one answer.
        concurrency: how many cases are asked at the same time.
        results: a JSONL file to which each result is added. Results in it are not asked again, unless they
            could not be asked.
        progress: is called with each result, one at a time; first with those that are already in `results`.

    Raises:
        InvalidRequest: an argument is invalid, or `results` is from another model, other options, sampling or cases.
        EngineError: the engine or the endpoint cannot answer any question: it does not exist, or refuses the key.

    Example:
        >>> with create_model("tiny") as model:
        ...     print(evaluate(model, load_suite("own")).score().right.value)
    """
    if not isinstance(model, BaseModelBackend):
        raise InvalidRequest("must be a model: see create_model", param="model", code="invalid_type")
    check_integer(repeat, "repeat", 1)
    check_integer(concurrency, "concurrency", 1)
    check_integer(max_tokens, "max_tokens", 1)
    check_number(temperature, "temperature", 0, 2)
    if repeat > 1 and not temperature:
        raise InvalidRequest("greedy answers are always the same: also set a temperature", param="repeat")
    check_integer(seed, "seed", 0)
    asked = () if isinstance(cases, str) else tuple(cases)
    if not asked or not all(isinstance(case, Case) for case in asked):
        raise InvalidRequest("must be at least one Case: see load_suite and read_cases", param="cases", code="invalid_type")
    twice = [name for name, count in Counter(case.id for case in asked).items() if count > 1]
    if twice:
        raise InvalidRequest(f"{twice[0]!r} is the id of more than one case", param="cases", code="duplicate_name")
    endpoint = Endpoint(against) if isinstance(against, str) else against
    chosen = chosen_ways(model, ways, endpoint)
    sampling = Sampling(temperature=temperature, seed=seed, max_tokens=max_tokens)
    log = Log(model_label(model), sampling, weights_of(model), progress)
    if results is not None:
        log.keep_in(Path(results), asked)
    keys = [(case.id, way.name, number) for case in asked for way in chosen for number in range(repeat)]
    with log:
        log.tell(keys)
        _ask_all(model, asked, chosen, sampling, repeat, concurrency, log)
    return Evaluation(log.model, sampling, tuple(log.results[key] for key in keys))


def model_label(model: BaseModelBackend) -> str:
    """The model, its engine, and the options that change its answers, if they are not the defaults."""
    if not isinstance(model, GemmaBackend):
        return model.model_type
    usual = get_format(model.format_name, **model.format_defaults)
    told = {one.name: getattr(model.format, one.name) for one in fields(model.format)}  # type: ignore[arg-type]
    changed = {name: value for name, value in told.items() if value != getattr(usual, name)}
    changed |= model.config.model_dump(exclude_unset=True, exclude=set(_BY_REQUEST))
    changed |= {name: value for name, value in model.given.items() if name not in _SPEED}
    options = ", ".join(f"{name}={value}" for name, value in changed.items())
    return f"{model.model_type} on {model.engine.name}" + (f" ({options})" if options else "")


def weights_of(model: BaseModelBackend) -> str | None:
    """Another text for other weights in a file of the same name, as far as its size and its last bytes show; else None."""
    file = model.engine.vocabulary if isinstance(model, GemmaBackend) else None
    if file is None or not file.is_file():
        return None
    with file.open("rb") as opened:
        size = opened.seek(0, SEEK_END)
        opened.seek(max(0, size - _LAST_BYTES))
        return f"{size} {sha256(opened.read()).hexdigest()[:16]}"


def _ask_all(
    model: BaseModelBackend,
    cases: Sequence[Case],
    ways: Sequence[Way],
    sampling: Sampling,
    repeat: int,
    concurrency: int,
    log: Log,
) -> None:
    cancel = Cancellation()

    def work(case: Case, number: int) -> None:
        if not cancel.cancelled:
            _ask_case(model, case, ways, sampling, number, log, cancel)

    with ThreadPoolExecutor(concurrency, thread_name_prefix="gemma_tools-evaluate") as pool:
        try:
            running = [pool.submit(work, case, number) for number in range(repeat) for case in cases]
            for done in wait(running, return_when=FIRST_EXCEPTION).done:
                done.result()
        finally:
            cancel.cancel()
            pool.shutdown(cancel_futures=True)


def _ask_case(
    model: BaseModelBackend,
    case: Case,
    ways: Sequence[Way],
    sampling: Sampling,
    number: int,
    log: Log,
    cancel: Cancellation,
) -> None:
    """Ask one case in all missing ways. Equal requests are asked once."""
    answers: dict[tuple[Endpoint | None, str], Said] = {}
    for way in ways:
        body = way.body(case, sampling, number)
        place = way.endpoint, same(body)
        said = log.said(case, way.name, number)
        if said is None:
            if way.level is not None:
                assert isinstance(model, GemmaBackend)
                said = read_again(model, body, answers[place], way.level)
            elif place in answers:
                said = answers[place]
            elif way.endpoint is not None:
                endpoint = way.endpoint
                said = answered(lambda: endpoint.ask(body, cancel))  # noqa: B023
            else:
                said = answered(lambda: ask(model, body, cancel))  # noqa: B023
            if cancel.cancelled:
                return
            log.add(Result(case, way.name, number, said))
        answers.setdefault(place, said)
