"""Runs of compare on simulated machines: drift, bursts, heavy tails, the luck of a process, and a load that differs between runs."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import median
from typing import Any

from msgspec import structs

from knnscope.analysis.measurement import Measurement
from knnscope.analysis.run import CompareFacts, ComparisonRun
from knnscope.bench.plan import Options, schedule
from tests.analysis.test_statistics import Machine
from tests.analysis.test_verdict import rows as made_up

ENVIRONMENT: dict[str, Any] = {
    "knnscope": "1",
    "source_sha256": "0",
    "cpu": {"model": "a processor", "usable_cores": 2},
    "gpus": [],
    "libraries": {"numpy": "2.0", "faiss-cpu": "1.9", "scikit-learn": "1.5", "usearch": "2.16", "llvmlite": "0.45"},
    "options": {"rounds": 20, "seed": 0},
}
COSTS = {"numpy": 0.02, "faiss": 0.04, "certified": 0.005, "sklearn": 0.06, "usearch": 0.03}
"""Seconds of a simulated call."""
BATCHES = (1, 10)
TOGETHER = 2
ROW = structs.replace(made_up("any", 100)[-1], rounds_a_process=TOGETHER)
"""What is the same in every row."""
LUCK = 0.02
"""Of a process, as a logarithm: benchmarks/results/same-engine.json has 0.007 for the ratio of two medians over ten processes."""
LOAD, FEELS = 0.3, 0.02
"""How far the load of a run lies from the usual, as a logarithm, and how far an engine's answer to it lies from the others'."""


def simulated(seed: int, costs: Mapping[str, float], rounds: int = 20, apart: float | None = None) -> ComparisonRun:
    """A run as the harness makes it: every round times all in random order, two rounds a process.

    apart: how far each engine lies from its usual time for a whole run (standard deviation of the logarithm), whatever the load.
    """
    return _simulated(seed, tuple(costs.items()), rounds, apart)


@lru_cache(maxsize=512)
def _simulated(seed: int, named: tuple[tuple[str, float], ...], rounds: int, apart: float | None) -> ComparisonRun:
    """Nobody changes a run, and the same earlier ones are asked for again and again."""
    costs = dict(named)
    machine = Machine(seed)
    load = machine.chance.gauss(0, LOAD)
    slow = {
        name: math.exp(load + machine.chance.gauss(0, FEELS * abs(load) / LOAD if apart is None else apart))
        for name in costs
    }
    cases = [(name, batch) for name in costs for batch in BATCHES]
    hot: dict[tuple[str, int], list[list[float]]] = {case: [] for case in cases}
    for number in range(rounds):
        if number % TOGETHER == 0:
            luck = {name: math.exp(machine.chance.gauss(0, LUCK)) for name in costs}
        for case in machine.chance.sample(cases, len(cases)):
            cost = costs[case[0]] * slow[case[0]] * luck[case[0]] * (1 if case[1] == 1 else 1.5)
            hot[case].append([machine.call(cost) for _ in range(samples(cost))])
    return run_of([measured(name, batch, calls) for (name, batch), calls in hot.items()])


def samples(cost: float) -> int:
    """Calls in a round, as the harness makes them."""
    return schedule(round(1e9 * cost), Options()).samples


def drawn(seed: int, costs: Mapping[str, float] = COSTS, noise: float = 0.01) -> ComparisonRun:
    """A run on a quiet machine."""
    chance = random.Random(seed)
    rounds = range(20)
    return run_of(
        [
            measured(name, 1, [[cost * math.exp(chance.gauss(0, noise)) for _ in range(3)] for _ in rounds])
            for name, cost in costs.items()
        ]
    )


def measured(name: str, batch: int, seconds: list[list[float]]) -> Measurement:
    """A row of calls with hot caches that took so long, by round."""
    calls = [[round(1e9 * s) for s in some] for some in seconds]
    middle = round(median(median(some) for some in calls))
    return structs.replace(ROW, engine=name, batch=batch, samples_ns=calls, median_ns=middle)


def run_of(rows: Sequence[Measurement], **environment: Any) -> ComparisonRun:
    """A run of these rows on the machine above, but for what is named."""
    return ComparisonRun(tuple(rows), {**ENVIRONMENT, **environment}, CompareFacts(queries=50))
