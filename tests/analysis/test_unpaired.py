"""The rank sum by its definition, intervals as what the test does not reject, Student's t by published values."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.analysis import unpaired

few = st.lists(st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=2), min_size=1, max_size=4)
Groups = list[list[float]]


@given(few, few)
def test_p_is_the_share_of_all_choices_of_processes(a: Groups, b: Groups) -> None:
    """Against the definition, by trying every choice."""
    values = sorted(v for group in (*a, *b) for v in group)
    rank = {v: sum(i + 1 for i, other in enumerate(values) if other == v) / values.count(v) for v in values}
    sums = [sum(rank[v] for v in group) for group in (*a, *b)]
    chosen = [sum(sums[i] for i in some) for some in itertools.combinations(range(len(sums)), len(b))]
    expected = sum(total >= sum(sums[len(a) :]) for total in chosen) / len(chosen)
    assert unpaired.rank_sum_p(a, b) == pytest.approx(expected)


@given(few, few)
def test_the_interval_is_what_the_test_does_not_reject(a: Groups, b: Groups) -> None:
    low, high = unpaired.interval(a, b, 0.8)
    apart = sorted(y - x for x in itertools.chain(*a) for y in itertools.chain(*b))
    assert apart[0] <= low <= unpaired.shift(a, b) <= high <= apart[-1]
    swapped = unpaired.interval(b, a, 0.8)
    assert swapped == (pytest.approx(-high), pytest.approx(-low))
    if low > apart[0]:
        assert unpaired.rank_sum_p([[v + low - 1e-6 for v in group] for group in a], b) <= 0.1


def test_known_values() -> None:
    """Of two samples of 4 and 6, P(W >= 45 - 10 - 1) = 2 / 210 (Hollander, Wolfe and Chicken, table A.6 counts so)."""
    a, b = alone([1, 2, 3, 5]), alone([4, 6, 7, 8, 9, 10])
    assert unpaired.rank_sum_p(a, b) == pytest.approx(2 / 210)
    assert unpaired.fewest_p(4, 6) == 1 / 210
    assert unpaired.rank_sum_p(alone([1, 1]), alone([1, 1])) == 1
    with pytest.raises(ValueError, match="two samples"):
        unpaired.rank_sum_p([], b)


def alone(values: list[float]) -> Groups:
    return [[v] for v in values]


def test_many_processes_take_the_normal_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)
    a = [[chance.gauss(0, 1) for _ in range(2)] for _ in range(20)]
    b = [[chance.gauss(0.5, 1) for _ in range(2)] for _ in range(20)]
    exact, interval = unpaired.rank_sum_p(a, b), unpaired.interval(a, b)
    monkeypatch.setattr(unpaired, "EXACT", 10)
    assert unpaired.rank_sum_p(a, b) == pytest.approx(exact, rel=0.2)
    assert unpaired.interval(a, b) == pytest.approx(interval, abs=0.1)
    assert unpaired.fewest_p(20, 20) == 0
    assert unpaired.rank_sum_p([[1.0]] * 20, [[1.0]] * 20) == 1


@pytest.mark.parametrize(
    ("freedom", "chance", "value"),
    [(1, 0.01, 31.821), (2, 0.01, 6.965), (3, 0.05, 2.353), (6, 0.005, 3.707), (7, 0.001, 4.785), (30, 0.01, 2.457)],
)
def test_students_t_as_published(freedom: int, chance: float, value: float) -> None:
    assert unpaired.student(chance, freedom) == pytest.approx(value, abs=6e-4)


def test_the_margin_follows_what_unchanged_engines_do_beyond_their_noise() -> None:
    usual = unpaired.margin([], 0, 0.01)
    assert usual == pytest.approx(unpaired.student(0.01, 4) * unpaired.USUAL)
    quiet, loud = ([(size, error), (-size, error)] for size, error in ((0.001, 0.0), (0.1, 0.0)))
    assert unpaired.margin(quiet, 3, 0.01) < usual < unpaired.margin(loud, 3, 0.01)
    explained = [(0.1, 0.2), (-0.1, 0.2)]
    assert unpaired.margin(explained, 3, 0.01) < usual
    assert math.isclose(unpaired.margin(loud, 1000, 0.01), 0.1 * unpaired.student(0.01, 1004), rel_tol=1e-2)


def test_the_error_is_that_of_the_shift() -> None:
    chance = random.Random(2)
    found = []
    for _ in range(200):
        a, b = ([[chance.gauss(0, 1)] for _ in range(10)] for _ in range(2))
        found.append((unpaired.shift(a, b) ** 2, unpaired.error(a, b) ** 2))
    true, said = (sum(some) / len(some) for some in zip(*found, strict=True))
    assert 0.6 < said / true < 1.6
