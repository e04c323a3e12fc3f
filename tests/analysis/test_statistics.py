"""Verdicts that hold under noise: exactness of the test, error rates under simulated drift, bursts and heavy tails."""

from __future__ import annotations

import itertools
import math
import random
import time
from statistics import NormalDist, median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.analysis import statistics

numbers = st.floats(-100, 100, allow_subnormal=False)


@given(st.lists(st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=3), min_size=1, max_size=8))
def test_p_is_the_share_of_all_sign_flips(groups: list[list[float]]) -> None:
    """Against the definition, by trying every flip."""
    values = [v for group in groups for v in group]
    sizes = sorted(map(abs, values))
    rank = {v: sum(i + 1 for i, s in enumerate(sizes) if s == v) / sizes.count(v) for v in sizes}
    sums = [sum(math.copysign(rank[abs(v)], v) for v in group if v) for group in groups]
    flipped = [sum(s * sign for s, sign in zip(sums, signs, strict=True)) for signs in flips(len(sums))]
    expected = sum(abs(t) >= abs(sum(sums)) for t in flipped) / len(flipped)
    assert statistics.signed_rank_p(groups) == pytest.approx(expected)


def flips(count: int) -> itertools.product[tuple[int, ...]]:
    return itertools.product((1, -1), repeat=count)


def test_known_values() -> None:
    assert statistics.signed_rank_p(alone([1, 2, 3, 4, 5])) == 2 / 32
    assert statistics.signed_rank_p(alone([1, 2, 3, 4, 5, 6, 7])) == 2 / 128
    assert statistics.signed_rank_p([[1, 2, 3], [4, 5, 6, 7]]) == 2 / 4
    assert 2 / 128 < statistics.LEVEL < 2 / 64
    assert statistics.signed_rank_p(alone([0.0, 0.0])) == 1
    assert min(n for n in range(1, 20) if 2 / 2**n <= statistics.LEVEL) == statistics.FEWEST_ROUNDS


def alone(values: list[float]) -> list[list[float]]:
    return [[v] for v in values]


@given(st.lists(st.lists(numbers, min_size=1, max_size=2), min_size=1, max_size=12))
def test_the_interval_is_what_the_test_does_not_reject(groups: list[list[float]]) -> None:
    low, high = statistics.interval(groups)
    values = [v for group in groups for v in group]
    assert min(values) <= low <= statistics.centre(groups) <= high <= max(values)
    mirrored = statistics.interval([[-v for v in group] for group in groups])
    assert mirrored == (pytest.approx(-high), pytest.approx(-low))
    for outside in (low - 1e-6 * max(1, abs(low)), high + 1e-6 * max(1, abs(high))):
        if min(values) < outside < max(values) and len({abs(v - outside) for v in values}) == len(values):
            assert statistics.signed_rank_p([[v - outside for v in group] for group in groups]) <= 0.05


def test_the_interval_of_single_values_is_the_published_one() -> None:
    """Ten values: the 9th pairwise mean from either end, since P(T <= 8) = 25 / 1024 (Hollander, Wolfe and Chicken, section 3.3)."""
    values = [math.exp(i / 3) for i in range(10)]
    means = sorted((x + y) / 2 for i, x in enumerate(values) for y in values[i:])
    assert statistics.interval(alone(values)) == (means[8], means[-9])


def test_bootstrap_brackets_the_median_and_is_seeded() -> None:
    chance = random.Random(0)
    hits = 0
    for seed in range(200):
        rounds = [[math.exp(chance.gauss(0, 0.1)) for _ in range(5)] for _ in range(10)]
        low, high = statistics.bootstrap(rounds, draws=300, seed=seed)
        assert (low, high) == statistics.bootstrap(rounds, draws=300, seed=seed)
        hits += low <= 1 <= high
    assert hits >= 180
    assert statistics.bootstrap([[2.0]]) == (2.0, 2.0)
    assert statistics.bootstrap([[2.0], [3.0], []], together=3) == (2.0, 3.0), "one process: what was seen"
    with pytest.raises(ValueError, match="no samples"):
        statistics.bootstrap([[]])


@pytest.mark.parametrize("spread", [0.02, 0.05, 0.1])
def test_the_interval_of_a_time_holds_although_processes_differ(spread: float) -> None:
    """Ten processes of two rounds each, as compare has them."""
    chance, hits = np.random.default_rng(0), 0
    for _ in range(400):
        rounds = np.exp(chance.normal(0, spread, (10, 1)) + chance.normal(0, 0.02, (10, 2))).reshape(-1, 1).tolist()
        low, high = statistics.bootstrap(rounds, draws=500, together=2)
        hits += low <= 1 <= high
    assert 0.9 * 400 <= hits <= 0.99 * 400


def test_processes_that_lack_a_round_take_part() -> None:
    rounds = [[1.0], [], [2.0], [2.0], [], [], [9.0], []]
    assert statistics.by_process([r[0] if r else None for r in rounds], 2) == [[1.0], [2.0, 2.0], [9.0]]
    low, high = statistics.bootstrap(rounds, together=2)
    assert (low, high) == (1.0, 9.0)


@given(st.lists(st.one_of(st.integers(1, 10**13), st.floats(1e-9, 1e9)), min_size=2, max_size=25), st.integers(0, 99))
@settings(max_examples=30)
def test_bootstrap_draws_what_choices_draws(values: list[float], seed: int) -> None:
    """Bit by bit: figures of earlier versions stay what they were."""
    chance, n = random.Random(seed), len(values)
    found = sorted(median(chance.choices(values, k=n)) for _ in range(200))
    normal = NormalDist()
    place = int(normal.cdf(normal.inv_cdf(0.025) * math.sqrt(n / (n - 1))) * 200)
    assert statistics.bootstrap([[v] for v in values], draws=200, seed=seed) == (found[place], found[199 - place])


class Machine:
    """A clock whose machine drifts, is hit by bursts of other work, and has heavy-tailed calls."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.slope = self.chance.uniform(-0.3, 0.3)
        self.phase = self.chance.uniform(0, 6)
        self.burst_until = 0.0
        self.burst = 1.0

    def call(self, cost: float) -> float:
        """Seconds that a call of this cost takes now."""
        if self.now > self.burst_until and self.chance.random() < 0.01:
            self.burst_until = self.now + self.chance.expovariate(1 / 20)
            self.burst = self.chance.uniform(1.2, 3)
        slow = 1 + self.slope * self.now / 150 + 0.1 * math.sin(self.now / 17 + self.phase)
        slow *= self.burst if self.now <= self.burst_until else 1
        tail = self.chance.lognormvariate(0, 0.05) + (
            self.chance.paretovariate(1.5) * 0.1 if self.chance.random() < 0.1 else 0
        )
        took = cost * slow * tail
        self.now += took
        return took


def simulate(
    seed: int, slower: float, rounds: int = statistics.ROUNDS, samples: int = statistics.SAMPLES
) -> statistics.Comparison:
    """A run as the harness makes it: every round times both, in random order."""
    machine = Machine(seed)
    times: dict[str, list[list[float]]] = {"a": [], "b": []}
    for _ in range(rounds):
        for name in machine.chance.sample(["a", "b"], 2):
            times[name].append([machine.call(slower if name == "a" else 1.0) for _ in range(samples)])
    return statistics.compare(times["a"], times["b"])


@pytest.mark.parametrize("pairs", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_few_false_verdicts_and_a_slowdown_of_15_percent_is_found(pairs: int) -> None:
    false = sum(simulate(seed, 1.0).verdict != "cannot tell" for seed in range(pairs))
    found = [simulate(seed, 1.15) for seed in range(pairs)]
    assert false <= 0.05 * pairs
    assert sum(c.verdict == "slower" for c in found) >= 0.9 * pairs
    assert sum(c.verdict == "faster" for c in found) <= 0.005 * pairs
    assert 1.1 < statistics.median(c.ratio for c in found) < 1.2


def test_too_few_rounds_never_give_a_verdict() -> None:
    assert all(simulate(seed, 3.0, rounds=5).verdict == "cannot tell" for seed in range(20))
    assert all(simulate(seed, 3.0, rounds=statistics.FEWEST_ROUNDS).verdict == "slower" for seed in range(20))


def test_refusals() -> None:
    with pytest.raises(ValueError, match="both were timed"):
        statistics.compare([[1.0], []], [[], [1.0]])
    with pytest.raises(ValueError, match="above zero"):
        statistics.compare([[0.0]], [[1.0]])


def test_rounds_of_the_same_processes_count_as_one() -> None:
    """One process that is 20% slower for all its rounds is one observation, not many."""
    chance = random.Random(1)
    a, b = [], []
    for _ in range(4):
        luck = math.exp(chance.gauss(0, 0.2))
        for _ in range(5):
            a.append([luck * math.exp(chance.gauss(0, 0.001))])
            b.append([math.exp(chance.gauss(0, 0.001))])
    assert statistics.compare(a, b, together=5).rounds == 4
    assert statistics.compare(a, b, together=5).verdict == "cannot tell"
    false = 0
    for seed in range(200):
        chance = random.Random(seed)
        lucks = [math.exp(chance.gauss(0, 0.1)) for _ in range(10)]
        a = [[luck * math.exp(chance.gauss(0, 0.005))] for luck in lucks for _ in range(2)]
        b = [[math.exp(chance.gauss(0, 0.005))] for _ in range(20)]
        false += statistics.compare(a, b, together=2).verdict != "cannot tell"
    assert false <= 12
    (whole,) = {statistics.compare([[2.0], [2.0], []], [[1.0], [], [1.0]], n).rounds for n in (2, 3)}
    assert whole == 1


@pytest.mark.parametrize("together", [1, 2, 30_000])
def test_any_number_of_rounds_is_compared_in_seconds(together: int) -> None:
    """Of 400 rounds it took 40 s, and grew with the cube."""
    chance = random.Random(0)
    a, b = ([[chance.gauss(100, 3) * slower] for _ in range(30_000)] for slower in (1.15, 1.0))
    began = time.monotonic()
    found = statistics.compare(a, b, together)
    assert time.monotonic() - began < 20
    assert found.rounds == min(30_000 // min(together, 30_000), statistics.MOST)
    assert found.low <= 1.15 <= found.high or together == 30_000
    assert found.ratio == pytest.approx(1.15, abs=0.01)


@pytest.mark.parametrize("luck", [0.0, 0.1])
def test_joined_rounds_give_no_more_false_verdicts(luck: float) -> None:
    """Also where processes differ, and neighboring ones toss one coin."""
    false = 0
    for seed in range(100):
        chance = random.Random(seed)
        lucks = [math.exp(chance.gauss(0, luck)) for _ in range(150)]
        a = [[some * math.exp(chance.gauss(0, 0.01))] for some in lucks for _ in range(3)]
        b = [[math.exp(chance.gauss(0, 0.01))] for _ in a]
        false += statistics.compare(a, b, together=3).verdict != "cannot tell"
    assert false <= 8
