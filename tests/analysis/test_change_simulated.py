"""Pairs of runs on simulated machines, which drift, are hit by bursts, have heavy tails, and another load in each run."""

from __future__ import annotations

import pytest

from knnscope.analysis.change import changes
from tests.analysis.two_runs import COSTS, simulated

SLOWER = {**COSTS, "numpy": 1.15 * COSTS["numpy"]}


@pytest.mark.parametrize("pairs", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_few_false_changes_and_a_slowdown_of_15_percent_is_found(pairs: int) -> None:
    """A pair without a change has a row that is worse in at most one of twenty; what is planted is found in most."""
    false = found = others = inverted = 0
    for seed in range(pairs):
        before = simulated(2 * seed, COSTS)
        still = changes(before, simulated(2 * seed + 1, COSTS))
        false += bool(still.of("worse"))
        moved = changes(before, simulated(2 * seed + 1, SLOWER))
        found += any(row.engine == "numpy" for row in moved.of("worse"))
        inverted += any(row.engine == "numpy" for row in moved.of("better"))
        others += any(row.engine != "numpy" for row in moved.of("worse", "better"))
    assert false <= max(1, 0.05 * pairs)
    assert others <= max(1, 0.05 * pairs)
    assert inverted == 0
    assert found >= 0.6 * pairs
