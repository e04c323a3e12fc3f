"""Runs the cases by turns: a process of the one environment and a process of the other answer the same calls, one right after the other.

In each round every engine has a new pair of processes, which live for some turns. In each turn every case of the engine is called by both, in an order
that is drawn anew. Cases that are neither clear nor told after the first pairs get more, up to a limit; the others are left alone.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.analysis import turns
from knnscope.bench.failures import FailedError
from knnscope.bench.forecast import TOLD_FROM
from knnscope.bench.plan import LONG_NS, Case, Options, Schedule, starts
from knnscope.bench.runner import FATAL, Executor, Measured, raw_of
from knnscope.bench.worker import Answer, Built
from knnscope.progress import UNLIKE, bar, say
from knnscope.search.grading import Grade
from knnscope.units import expected

BEFORE, AFTER = "before", "after"
"""The environment beside, and this one."""
SIDES = (BEFORE, AFTER)
TURNS = 16
"""Of each process of a pair. Many short turns beat few long ones: while others kept the machine busy, six turns of ten calls left 5.8% between pairs of
processes (standard deviation), twenty turns of three calls 2.6% (benchmarks/short_turns.py)."""
PROCESSES = 8
"""Pairs of processes before the first look."""
STEP = 4
"""Pairs of processes between looks at what is clear."""
AGAIN = 2
"""How many times as many pairs more there are at most, where a case is neither clear nor for certain slower or faster."""
NAMED = ("worse", "better")
MOST_CALLS, FEWEST_CALLS, TURN_NS = 10, 2, 12_000_000
"""Timed calls of a turn: as many as fit into TURN_NS."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Pairs of processes: so many before the first look, and up to ``again`` times as many more."""

    processes: int = PROCESSES
    again: int = AGAIN

    @property
    def most(self) -> int:
        """All that a case may have."""
        return self.processes * (1 + self.again)

    def left(self, process: int) -> int:
        """Pairs from this one to the next look."""
        return self.processes - process if process < self.processes else STEP - (process - self.processes) % STEP

    def ends(self, pairs: Sequence[float], process: int, cases: int) -> bool:
        """Whether a case needs no more pairs, before this one: it is clear, or is named at a look that may name it."""
        if process < self.processes:
            return False
        names = process % self.processes == 0
        if names and turns.told(pairs, turns.level(cases, self.again)).told in NAMED:
            return True
        return (names or (process - self.processes) % STEP == 0) and turns.clear(pairs)


@dataclass(slots=True)
class Both:
    """The cases in their order, for each side, and whether it was cut short."""

    measured: dict[str, list[Measured]]
    interrupted: bool = False

    def right(self, place: int) -> bool:
        """Whether the case at this place has failed on neither side."""
        return all(self.measured[side][place].status == "ok" for side in SIDES)

    def pairs(self, place: int) -> list[float]:
        """Of the case at this place, as ``turns.pairs`` has them."""
        before, after = (_logs(self.measured[side][place].hot) for side in SIDES)
        return turns.pairs(before, after, TURNS)


def _logs(rounds: Sequence[Sequence[Any]]) -> npt.NDArray[np.float64]:
    return np.array([math.log(median(s.wall_ns for s in some)) if some else math.nan for some in rounds])


def schedule(typical_ns: int, options: Options, plan: Plan) -> Schedule:
    """Fit a case of one side into its budget, which is that of the pairs before the first look: fewer turns, then one call in each."""
    samples = max(FEWEST_CALLS, min(MOST_CALLS, TURN_NS // max(1, typical_ns))) if typical_ns < LONG_NS else 1
    prime = typical_ns < LONG_NS
    affordable = int(options.seconds * 1e9 / (max(1, typical_ns) * (samples + prime))) // plan.processes
    if not affordable:
        samples = 1
    return Schedule(samples, plan.most, max(1, min(TURNS, affordable)), prime)


class _Life:
    """A pair of processes of one engine."""

    def __init__(self, engine: str, start: Callable[[str, str], Executor]) -> None:
        self.engine, self._start = engine, start
        self._executors: dict[str, Executor] = {}
        self.called: dict[str, set[Case]] = {}
        """Of each side whose index stands, the cases that its process was asked."""

    def begin(self, sides: Sequence[str]) -> None:
        """Start all at once, since imports take most of the time, and before anything is timed."""
        for side in sides:
            with suppress(FailedError):  # it is started once more, and that failure counts
                self._executors[side] = self._start(side, self.engine)

    def executor(self, side: str) -> tuple[Executor, Built | None]:
        """The process of a side; with its index, where that was built just now.

        Raises:
            FailedError: it does not start, or does not build.
        """
        if side not in self._executors:
            self._executors[side] = self._start(side, self.engine)
        found = self._executors[side]
        if side in self.called:
            return found, None
        built = found.build()
        self.called[side] = set()
        return found, built

    def pause(self, side: str) -> None:
        """Let it take no time until it is asked again."""
        if side in self._executors:
            self._executors[side].pause()

    def end(self, side: str) -> None:
        """End a process."""
        self.called.pop(side, None)
        if (found := self._executors.get(side)) is not None:
            found.close()  # before it is forgotten: Ctrl-C may come in between
            del self._executors[side]


class Turns:
    """Measures cases by turns."""

    def __init__(
        self,
        start: Callable[[str, str], Executor],
        judge: Callable[[str, Case, Answer], Grade],
        queries: int,
        options: Options,
        plan: Plan,
    ) -> None:
        """Nothing is started yet.

        Args:
            start: starts the worker of a side and an engine.
            judge: grades an answer of a side's.
            queries: how many there are.
            options: how to measure; the plan takes the place of its rounds.
            plan: how many pairs of processes.
        """
        self._start, self._judge, self._queries, self._options, self._plan = start, judge, queries, options, plan
        self._chance = random.Random(options.seed)  # noqa: S311 - an order, not a secret
        self._failed: dict[tuple[str, str], FailedError] = {}
        self._built: dict[tuple[str, str], Built] = {}
        self._builds: Counter[tuple[str, str]] = Counter()
        self._seen: dict[tuple[str, Case, int], bytes] = {}

    def run(self, cases: Sequence[Case]) -> Both:
        """Measure; Ctrl-C ends it and keeps what there is."""
        both = Both({side: [Measured(case) for case in cases] for side in SIDES})
        try:
            self._pairs(both)
        except KeyboardInterrupt:
            both.interrupted = True
            for m in (m for some in both.measured.values() for m in some if m.status == "ok"):
                if sum(map(bool, m.hot)) < self._plan.processes * (m.schedule.each if m.schedule else 1):
                    m.status, m.reason = "interrupted", "stopped by the user"
        for side, some in both.measured.items():
            for m in some:
                m.built, m.builds = self._built.get((side, m.case.engine)), self._builds[side, m.case.engine]
        return both

    def _pairs(self, both: Both) -> None:
        """One pair of processes of each engine after the other, until all is clear, or each has as many as it may."""
        going = list(range(len(both.measured[AFTER])))
        began = time.monotonic()
        with bar(len(going), "measure by turns", "pair", form=UNLIKE) as progress:
            for process in range(self._plan.most):
                going = [
                    place
                    for place in going
                    if not self._plan.ends(both.pairs(place), process, len(both.measured[AFTER]))
                ]
                if process:
                    going = [place for place in going if both.right(place)]
                engines: dict[str, list[int]] = {}
                for place in going:
                    engines.setdefault(both.measured[AFTER][place].case.engine, []).append(place)
                if not engines:
                    return
                progress.total = progress.n + len(engines) * self._plan.left(process)
                for m in (m for some in both.measured.values() for m in some if m.status == "ok"):
                    m.hot += [[] for _ in range(TURNS)]
                for engine in self._chance.sample(list(engines), len(engines)):
                    progress.set_description(f"measure {engine} by turns", refresh=False)
                    self._live(both, engines[engine], process)
                    progress.update()
                if not process:
                    self._forecast(time.monotonic() - began)

    def _forecast(self, took: float) -> None:
        """Say how long it may take, by what the first pairs took."""
        if (least := took * (self._plan.processes - 1)) > TOLD_FROM:
            most = (
                f", up to {expected(took * (self._plan.most - 1))} where rows are not clear" if self._plan.again else ""
            )
            say(f"{expected(least)}{most}; Ctrl-C keeps what was measured")

    def _live(self, both: Both, places: Sequence[int], process: int) -> None:
        """A pair of processes of one engine: build, make ready, and take turns."""
        life = _Life(both.measured[AFTER][places[0]].case.engine, self._start)
        order = self._chance.sample(SIDES, 2)
        try:
            life.begin([side for side in order if (side, life.engine) not in self._failed])
            for place in places if not process else places[:1]:
                for side in order:
                    self._guarded(life, side, both.measured[side][place], self._nothing if process else self._warm)
            if not process:
                self._fit(both, places)
            for number in range(TURNS):
                for place in self._chance.sample(list(places), len(places)):
                    for side in self._chance.sample(SIDES, 2):
                        m = both.measured[side][place]
                        if m.schedule and m.schedule.has(process, number):
                            self._guarded(life, side, m, partial(self._turn, number=process * TURNS + number))
        finally:
            for side in SIDES:
                life.end(side)

    def _fit(self, both: Both, places: Sequence[int]) -> None:
        """Both sides of a case make as many calls: as the slower one can."""
        for place in places:
            two = [both.measured[side][place] for side in SIDES]
            if typical := max((m.warmed.warm.typical_ns for m in two if m.warmed), default=0):
                for m in two:
                    m.schedule = schedule(typical, self._options, self._plan)

    def _guarded(self, life: _Life, side: str, m: Measured, work: Callable[[_Life, str, Measured], None]) -> None:
        """Work with the process of a side, unless the case has failed there."""
        if m.status != "ok":
            return
        who = side, life.engine
        try:
            if who in self._failed:
                raise self._failed[who]
            _, built = life.executor(side)
            if built is not None:
                self._built.setdefault(who, built)
                self._builds[who] += 1
            work(life, side, m)
        except FailedError as error:
            if side not in life.called:  # what does not start, or does not build, does so for no case
                self._failed[who] = error
            if side not in life.called or error.status in FATAL:
                life.end(side)
            m.fail(error)
        life.pause(side)

    def _nothing(self, life: _Life, side: str, m: Measured) -> None:
        """Only build."""

    def _warm(self, life: _Life, side: str, m: Measured) -> None:
        m.warmed = life.executor(side)[0].warm(m.case)
        life.called[side].add(m.case)

    def _turn(self, life: _Life, side: str, m: Measured, number: int) -> None:
        assert m.schedule is not None
        executor = life.executor(side)[0]
        firsts = starts(self._queries, m.case.batch)
        first = number * m.schedule.samples
        chosen = [firsts[(first + i) % len(firsts)] for i in range(m.schedule.samples)]
        if not life.called[side] and not m.schedule.prime:
            executor.turn(replace(m.case, batch=1), chosen[:1], prime=False)  # wakes a new process for a long call
        turn = executor.turn(m.case, chosen, prime=m.schedule.prime)
        life.called[side].add(m.case)
        m.hot[number] = turn.samples
        for answer in turn.answers:
            if self._seen.get((side, m.case, answer[0])) == (raw := raw_of(answer)):
                continue  # another process gave the same answer
            self._seen[side, m.case, answer[0]] = raw
            m.judged(self._judge(side, m.case, answer))
