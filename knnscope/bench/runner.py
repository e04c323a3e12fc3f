"""Runs the cases in rounds: every case once a round, in random order, each engine in a process that stays for a few rounds."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Protocol

from knnscope.bench.failures import FailedError
from knnscope.bench.forecast import START_SECONDS, TOLD_FROM, Forecast
from knnscope.bench.plan import COLD_ROUNDS, FAR, Case, Options, Schedule, asked, schedule, starts
from knnscope.bench.timing import Sample, WarmUp
from knnscope.bench.worker import Answer, Built, Turn, Warmed
from knnscope.progress import EXPECTED, UNLIKE, bar, say
from knnscope.records import Neighbors
from knnscope.search.grading import Grade
from knnscope.units import expected

SHORTEN_AFTER = 3
"""Processes after which it is clear who is far behind."""
JUDGE_SECONDS = 10.0
"""Judging the answers of an engine to all queries ends here; the row says how many were judged."""
JUDGED_AT_ONCE = 100
FATAL = ("oom", "timeout", "crashed")
"""After these a process is not used again."""


class Executor(Protocol):
    """A worker, here or in a child process."""

    def build(self) -> Built: ...  # noqa: D102 - as Worker
    def warm(self, case: Case) -> Warmed: ...  # noqa: D102
    def turn(self, case: Case, firsts: Sequence[int], cold: bool = False, prime: bool = True) -> Turn: ...  # noqa: D102
    def answers(self, k: int, batch: int, count: int) -> Neighbors: ...  # noqa: D102

    def pause(self) -> None:
        """Take no time until asked again."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


@dataclass(slots=True)
class Measured:
    """A case and what is known of it; ``hot`` and ``cold`` hold the samples of each round, empty where it took no part."""

    case: Case
    status: str = "ok"
    reason: str | None = None
    built: Built | None = None
    warmed: Warmed | None = None
    schedule: Schedule | None = None
    hot: list[list[Sample]] = field(default_factory=list)
    cold: list[list[Sample]] = field(default_factory=list)
    grade: Grade | None = None
    builds: int = 0

    @property
    def typical_ns(self) -> float:
        """Median of the hot calls so far."""
        return median(s.wall_ns for samples in self.hot for s in samples)

    def judged(self, found: Grade) -> None:
        """Add the grade of further answers."""
        self.grade = found if self.grade is None else self.grade.with_others(found)

    def fail(self, error: FailedError) -> None:
        """End with a status; what was measured before is dropped, since it is incomplete."""
        self.status, self.reason = error.status, error.reason
        self.hot, self.cold = [], []


@dataclass(slots=True)
class Run:
    """The cases in their order, all answers by engine where they were asked for, and whether it was cut short."""

    measured: list[Measured]
    answers: dict[str, Neighbors] = field(default_factory=dict)
    interrupted: bool = False


class Runner:
    """Holds the executors (one an engine), at most as many as memory allows."""

    def __init__(
        self,
        open_executor: Callable[[str], Executor],
        judge: Callable[[Case, Answer], Grade],
        queries: int,
        options: Options,
        room: Callable[[], bool] = lambda: True,
    ) -> None:
        """Nothing is started yet.

        Args:
            open_executor: starts the worker of an engine by its name.
            judge: grades an answer.
            queries: how many there are.
            options: how to measure.
            room: whether memory allows one more executor beside those that are there.
        """
        self._open, self._judge, self._queries, self._options, self._room = open_executor, judge, queries, options, room
        self._executors: dict[str, Executor] = {}  # least recently used first
        self._starting: dict[str, Executor] = {}
        self._crowded = False  # not all fit in memory at once
        self._built: dict[str, Built] = {}
        self._builds: dict[str, int] = {}
        self._started: dict[str, float] = {}  # seconds until its first index stood
        self._failed: dict[str, FailedError] = {}
        self._seen: dict[tuple[Case, int], bytes] = {}
        self._called: dict[str, set[Case]] = {}  # by the process that is there now

    def run(self, cases: Sequence[Case], ask: tuple[int, int, int] | None = None, query_ns: float = 0) -> Run:
        """Measure; Ctrl-C ends it and keeps what there is.

        Args:
            cases: what to measure.
            ask: k, batch and count of a last pass that brings the answers to all queries; None for no such pass.
            query_ns: about what a query takes, for a first estimate; 0 for none.
        """
        run = Run([Measured(case) for case in cases])
        try:
            if (seconds := self._before(cases, ask[2] if ask else 0, query_ns)) > TOLD_FROM:
                say(
                    f"this may take {expected(seconds)}: a better estimate follows the warm-up; Ctrl-C keeps what was measured"
                )
            self._prepare(run.measured)
            forecast = Forecast(self._options, self._started)
            seconds = forecast.left(run.measured) + (forecast.answers(run.measured, ask[2]) if ask else 0)
            if seconds > TOLD_FROM:
                say(forecast.said(seconds, run.measured))
            self._rounds(run.measured, forecast)
            if ask is not None:
                self._ask(run, *ask)
        except KeyboardInterrupt:
            run.interrupted = True
            for m in run.measured:
                if m.status == "ok" and (m.schedule is None or sum(map(bool, m.hot)) < self._planned(m.schedule)):
                    m.status, m.reason = "interrupted", "stopped by the user"
        finally:
            self._close_all()
            for m in run.measured:
                m.builds = self._builds.get(m.case.engine, 0)
        return run

    def _before(self, cases: Sequence[Case], count: int, query_ns: float) -> float:
        """Seconds that the run may take, as if every engine took as long for a query."""
        if not query_ns:
            return 0.0
        imagined = []
        for case in cases:
            typical = round(case.batch * query_ns)
            warmed = Warmed(WarmUp(Sample(typical, typical), 1, True, typical), True, None, None, 0)
            imagined.append(Measured(case, warmed=warmed, schedule=schedule(typical, self._options)))
        starts_ = dict.fromkeys((case.engine for case in cases), START_SECONDS)
        return Forecast(self._options, starts_).before(imagined, count)

    def _prepare(self, measured: Sequence[Measured]) -> None:
        """Build every engine, make the first calls, warm up, and fit each case into its budget."""
        with bar(len(measured), "build and warm up", "case", form=UNLIKE) as progress:
            for m in measured:
                progress.set_description(f"build and warm up {m.case.engine}", refresh=False)
                self._guarded(m, self._warm)
                progress.update()

    def _planned(self, schedule: Schedule) -> int:
        return sum(schedule.has(*divmod(number, self._options.per_process)) for number in range(self._options.rounds))

    def _warm(self, executor: Executor, m: Measured) -> None:
        m.warmed = executor.warm(m.case)
        m.schedule = schedule(m.warmed.warm.typical_ns, self._options)
        self._called[m.case.engine].add(m.case)

    def _rounds(self, measured: Sequence[Measured], forecast: Forecast) -> None:
        chance = random.Random(self._options.seed)  # noqa: S311 - an order, not a secret
        with bar(forecast.left(measured), "measure", "s", form=EXPECTED) as progress:
            for number in range(self._options.rounds):
                process, place = divmod(number, self._options.per_process)
                if process == SHORTEN_AFTER and not place:
                    _shorten(measured)
                progress.total = progress.n + forecast.left(measured, number)  # some have failed, or been let off
                if process and not place:
                    expected = forecast.renewal(measured, process)
                    self._renew([m for m in measured if m.schedule and m.schedule.has(process, place)])
                    progress.update(expected)
                for m in measured:
                    m.hot.append([])
                    m.cold.append([])
                for m in chance.sample(list(measured), len(measured)):
                    if m.status == "ok" and m.schedule and m.schedule.has(process, place):
                        progress.set_description(f"measure {m.case.engine}, batch {m.case.batch}", refresh=False)
                        expected = forecast.turn(m)
                        self._guarded(m, lambda executor, m, number=number: self._turn(executor, m, number))  # type: ignore[misc]
                        progress.update(expected)

    def _renew(self, measured: Sequence[Measured]) -> None:
        """Start every engine anew: all at once, since imports take most of the time, and before anything is timed."""
        self._close_all()
        if self._crowded:
            return
        firsts = {m.case.engine: m for m in reversed(measured) if m.status == "ok"}
        for engine in firsts:
            with suppress(FailedError):  # it is started once more, and that failure counts
                self._starting[engine] = self._open(engine)
        for m in firsts.values():
            self._guarded(m, lambda *_: None)

    def _turn(self, executor: Executor, m: Measured, number: int) -> None:
        assert m.schedule is not None
        chosen = asked(number, m.schedule.samples, starts(self._queries, m.case.batch))
        called = self._called[m.case.engine]
        if not called and not m.schedule.prime:
            executor.turn(replace(m.case, batch=1), chosen[:1], prime=False)  # wakes a new process for a long call
        turn = executor.turn(m.case, chosen, prime=m.schedule.prime)
        called.add(m.case)
        m.hot[number] = turn.samples
        self._grade(m, turn)
        # a long call outlasts what caches hold
        colds = min(COLD_ROUNDS, m.schedule.rounds // 2) if m.schedule.prime else 1
        if self._options.cold and sum(map(bool, m.cold)) < colds:
            turn = executor.turn(m.case, chosen[:1], cold=True)
            m.cold[number] = turn.samples
            self._grade(m, turn)

    def _grade(self, m: Measured, turn: Turn) -> None:
        for answer in turn.answers:
            if self._seen.get((m.case, answer[0])) == (raw := raw_of(answer)):
                continue  # another process gave the same answer
            self._seen[m.case, answer[0]] = raw
            m.judged(self._judge(m.case, answer))

    def _ask(self, run: Run, k: int, batch: int, count: int) -> None:
        """Collect the answers to all queries of every engine that works, for retrieval quality and to be shown."""
        engines = dict.fromkeys(m.case.engine for m in run.measured if m.status == "ok" and m.case.boundary == "host")
        for engine in engines:
            m = Measured(Case(engine, k, batch, "host"))

            def answer(executor: Executor, m: Measured) -> None:
                run.answers[m.case.engine] = executor.answers(k, batch, count)

            self._guarded(m, answer)
            if engine in run.answers:
                self._judge_all(run, engine, batch)

    def _judge_all(self, run: Run, engine: str, batch: int) -> None:
        """Judge the answers to all queries as well, as far as that takes no longer than ``JUDGE_SECONDS``: what was timed may be a part of them.

        They count for the case that they were asked as: the largest batch and the largest k. Of a longer list its beginning is judged.
        """
        m = max(
            (m for m in run.measured if m.case.engine == engine and m.case.boundary == "host" and m.status == "ok"),
            key=lambda m: (m.case.batch, m.case.k),
        )
        found, case = run.answers[engine], m.case
        until = time.monotonic() + JUDGE_SECONDS
        for first in range(0, len(found.ids), step := max(batch, JUDGED_AT_ONCE)):
            if time.monotonic() > until:
                break
            some = slice(first, first + step)
            m.judged(self._judge(case, (first, found.ids[some, : case.k], found.distances[some, : case.k])))

    def _guarded(self, m: Measured, work: Callable[[Executor, Measured], Any]) -> None:
        """Work with an engine's executor. If memory runs out beside other executors, try once more without them."""
        engine = m.case.engine
        try:
            try:
                work(self._executor(engine), m)
            except FailedError as error:
                self._drop(error, engine)
                if error.status != "oom" or not self._executors:
                    raise
                self._crowded = True
                self._close_all()
                work(self._executor(engine), m)
        except FailedError as error:
            self._drop(error, engine)
            m.fail(error)
        m.built = self._built.get(engine)
        if engine in self._executors:
            self._executors[engine].pause()

    def _drop(self, error: FailedError, engine: str) -> None:
        if error.status in FATAL and engine in self._executors:
            self._executors.pop(engine).close()

    def _executor(self, engine: str) -> Executor:
        if engine in self._failed:
            raise self._failed[engine]
        if (executor := self._executors.pop(engine, None)) is None:
            while self._executors and not self._room():
                self._crowded = True
                self._executors.pop(next(iter(self._executors))).close()
            try:
                executor = self._start(engine)
            except FailedError as error:
                if error.status != "oom" or not self._executors:
                    self._failed[engine] = error
                raise
        self._executors[engine] = executor
        return executor

    def _start(self, engine: str) -> Executor:
        began = time.monotonic()
        executor = self._starting.pop(engine, None) or self._open(engine)
        try:
            built = executor.build()
        except BaseException:
            executor.close()
            raise
        self._started.setdefault(engine, time.monotonic() - began)
        self._built.setdefault(engine, built)
        self._builds[engine] = self._builds.get(engine, 0) + 1
        self._called[engine] = set()
        return executor

    def _close_all(self) -> None:
        for executors in (self._executors, self._starting):
            for engine in list(executors):
                executors[engine].close()  # before it is forgotten: Ctrl-C may come in between
                del executors[engine]


def raw_of(answer: Answer) -> bytes:
    """What is the same where an answer is."""
    _, ids, distances = answer
    return ids.tobytes() + (b"" if distances is None else distances.tobytes())


def _shorten(measured: Sequence[Measured]) -> None:
    """Cut cases that are far slower than the best of their grade to one round a process."""
    best: dict[tuple[Any, ...], float] = {}
    for m in measured:
        if m.status == "ok" and m.grade is not None:
            rival = (*m.case.group, m.grade.grade)
            best[rival] = min(m.typical_ns, best.get(rival, float("inf")))
    for m in measured:
        if m.status != "ok" or m.grade is None or m.schedule is None:
            continue
        if m.typical_ns > FAR * best[*m.case.group, m.grade.grade]:
            m.schedule = replace(m.schedule, each=1)
