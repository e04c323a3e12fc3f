"""Two runs of compare on simulated machines: drift, bursts, heavy tails, the luck of a process, and a load that differs between them."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from knnscope.analysis.measurement import Measurement
from knnscope.analysis.run import CompareFacts, ComparisonRun
from knnscope.bench import result
from knnscope.bench.plan import Case
from knnscope.bench.result import Facts
from knnscope.bench.runner import Measured
from knnscope.bench.timing import Sample, WarmUp
from knnscope.bench.worker import Built, Warmed
from knnscope.search.grading import Grade
from tests.analysis.test_statistics import Machine

FACTS = Facts("made up", 1000, 16, "float32", 4, "l2", 2, rounds_a_process=2)
ENVIRONMENT: dict[str, Any] = {
    "knnscope": "1",
    "source_sha256": "0",
    "cpu": {"model": "a processor", "usable_cores": 2},
    "gpus": [],
    "libraries": {"numpy": "2.0", "faiss-cpu": "1.9", "scikit-learn": "1.5", "usearch": "2.16", "llvmlite": "0.45"},
    "options": {"rounds": 20, "seed": 0},
}
COSTS = {"numpy": 0.2, "faiss": 0.4, "certified": 0.05, "sklearn": 0.5, "usearch": 0.3}
"""Seconds of a simulated call."""
BATCHES = (1, 10)
LUCK = 0.02
"""Of a process, as a logarithm: benchmarks/results/same-engine.json has 0.007 for the ratio of two medians over ten processes."""
LOAD, FEELS = 0.3, 0.03
"""How far the load of a run lies from the usual, as a logarithm, and how far an engine's answer to it lies from the others'."""


def simulated(seed: int, costs: Mapping[str, float], rounds: int = 20) -> ComparisonRun:
    """A run as the harness makes it: every round times all in random order, two rounds a process."""
    machine = Machine(seed)
    load = machine.chance.gauss(0, LOAD)
    slow = {name: math.exp(load + machine.chance.gauss(0, FEELS * abs(load) / LOAD)) for name in costs}
    cases = [(name, batch) for name in costs for batch in BATCHES]
    hot: dict[tuple[str, int], list[list[Sample]]] = {case: [] for case in cases}
    for number in range(rounds):
        if number % FACTS.rounds_a_process == 0:
            luck = {name: math.exp(machine.chance.gauss(0, LUCK)) for name in costs}
        for case in machine.chance.sample(cases, len(cases)):
            cost = costs[case[0]] * slow[case[0]] * luck[case[0]] * (1 if case[1] == 1 else 1.5)
            hot[case].append([Sample(round(1e9 * machine.call(cost)), 1) for _ in range(3)])
    rows = [row for (name, batch), samples in hot.items() for row in measured(name, batch, samples)]
    return run_of(rows)


def measured(name: str, batch: int, hot: list[list[Sample]], facts: Facts = FACTS) -> list[Measurement]:
    """The rows of a case with these samples."""
    warmed = Warmed(WarmUp(Sample(500, 1, None), 6, True, 1), True, None, None, 100)
    found = Grade("exact", 50, 0, 0)
    m = Measured(Case(name, 10, batch, "host"), "ok", None, Built(1, None, None), warmed, None, hot, [], found, 1)
    return result.rows_of(m, facts, result.About("cpu"))


def run_of(rows: Sequence[Measurement], **environment: Any) -> ComparisonRun:
    """A run of these rows on the machine above, but for what is named."""
    return ComparisonRun(tuple(rows), {**ENVIRONMENT, **environment}, CompareFacts(queries=50))


def drawn(seed: int, costs: Mapping[str, float] = COSTS, noise: float = 0.01) -> ComparisonRun:
    """A run on a quiet machine."""
    chance = random.Random(seed)
    rows = []
    for name, cost in costs.items():
        hot = [[Sample(round(1e6 * cost * math.exp(chance.gauss(0, noise))), 1) for _ in range(3)] for _ in range(20)]
        rows += measured(name, 1, hot)
    return run_of(rows)
