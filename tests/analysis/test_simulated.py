"""Verdicts over simulated machines: the real worker, runner, judge, rows and verdicts, with a clock of their own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from knnscope.analysis import jsonl, statistics
from knnscope.analysis.measurement import Measurement
from knnscope.analysis.verdict import Verdict, verdicts
from knnscope.bench import result
from knnscope.bench.plan import Case, Options
from knnscope.bench.runner import Runner
from knnscope.bench.timing import Sample
from knnscope.records import Neighbors
from knnscope.search.grading import Judge
from knnscope.search.rounding import DEFINITION
from tests.analysis.test_statistics import Machine
from tests.bench.planted import Right
from tests.bench.small import ANSWERS, FACTS, QUERIES, ROWS, Here

NUMBER = {query.tobytes(): i for i, query in enumerate(QUERIES)}
"""Of a query, by its bytes: a search of them takes half of the time of a simulated call."""


class OnMachine(Right):
    """An engine whose calls cost seconds of a simulated machine; right, or with the ids of another query."""

    def __init__(self, machine: Machine, cost: float, right: bool = True) -> None:
        self.machine, self.cost, self.right = machine, cost, right

    def search(self, queries: Any, k: int) -> Neighbors:
        self.machine.call(self.cost)
        first = NUMBER[queries[0].tobytes()] if self.right else 0
        return Neighbors(ANSWERS.ids[first : first + 1], ANSWERS.distances[first : first + 1])


class MachineClock:
    """Reads the simulated time."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def start(self) -> None:
        self.began = self.machine.now

    def stop(self) -> Sample:
        took = max(1, round((self.machine.now - self.began) * 1e9))
        return Sample(took, took)


def simulated(seed: int, costs: dict[str, float], wrong: str = "") -> tuple[list[Verdict], list[Measurement]]:
    """Engines of these costs on one machine: the real worker, runner, judge, rows and verdicts."""
    machine = Machine(seed)
    judge = Judge(ROWS, QUERIES, ANSWERS, "l2")

    def start(name: str) -> Here:
        engine = OnMachine(machine, costs[name], name != wrong)
        return Here(engine, ROWS, QUERIES, "l2", lambda: MachineClock(machine))

    options = Options(seed=seed, seconds=60, cold=False)
    runner = Runner(start, lambda _, answer: judge.grade(answer[1], answer[0], DEFINITION), len(QUERIES), options)
    run = runner.run([Case(name, 2, 1, "host") for name in costs])
    facts = replace(FACTS, rounds_a_process=options.per_process)
    rows = [jsonl.check(row) for m in run.measured for row in result.rows_of(m, facts, result.About("cpu"))]
    return verdicts(rows), rows


@pytest.mark.parametrize("pairs", [45, pytest.param(1000, marks=pytest.mark.slow)])
def test_simulated_pairs(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 5% false verdicts where there is no difference; 15% is found in at least 90%; nothing finds the slower one faster."""
    monkeypatch.setattr(
        statistics, "bootstrap", partial(statistics.bootstrap, draws=10)
    )  # takes longest and decides nothing here
    false = found = inverted = 0
    ratios = []
    for seed in range(pairs):
        cost = (0.005, 0.2, 1.0)[seed % 3]  # 10, 3 and 1 samples a round
        (same,), _ = simulated(seed, {"a": cost, "b": cost})
        false += same.rivals[0].significant
        (other,), _ = simulated(seed, {"a": 1.15 * cost, "b": cost})
        found += other.engine == "b" and other.rivals[0].significant
        inverted += other.engine == "a" and other.rivals[0].significant
        ratios.append(other.rivals[0].ratio if other.engine == "b" else 1 / other.rivals[0].ratio)
    assert false <= 0.05 * pairs
    assert found >= 0.9 * pairs
    assert inverted <= 0.005 * pairs
    assert 1.1 < float(np.median(ratios)) < 1.2


def test_a_wrong_engine_does_not_win_a_simulated_race() -> None:
    (verdict,), rows = simulated(3, {"fast": 0.1, "slow": 0.2}, wrong="fast")
    assert (verdict.engine, verdict.rivals) == ("slow", ())
    assert {row.engine: row.status for row in rows} == {"fast": "wrong", "slow": "ok"}
