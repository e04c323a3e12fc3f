"""The paired randomisation test against values by hand, against all tosses, and on data in which nothing is different."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.analysis import significance


def by_hand(d: list[float]) -> float:
    """Every toss."""
    least = abs(sum(d)) - 1e-9
    every = [
        abs(sum(s * x for s, x in zip(signs, d, strict=True))) >= least for signs in product((1, -1), repeat=len(d))
    ]
    return sum(every) / len(every)


@given(st.lists(st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=9))
def test_few_queries_have_every_toss(d: list[float]) -> None:
    p, _, exact = significance.randomisation(np.array(d))
    assert exact
    assert p == pytest.approx(by_hand(d))


def test_values_by_hand() -> None:
    assert significance.randomisation(np.array([1.0] * 5)) == (2 / 32, 32, True)
    assert significance.randomisation(np.zeros(7))[0] == 1
    assert significance.randomisation(np.array([1.0, -1.0]))[0] == 1


def test_drawn_tosses_are_near_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    d = np.random.default_rng(0).normal(0.3, 1, 16)
    p = significance.randomisation(d)[0]
    monkeypatch.setattr(significance, "EXACT", 0)
    drawn, tosses, exact = significance.randomisation(d)
    assert (tosses, exact) == (significance.TOSSES, False)
    assert drawn == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / tosses))


def test_where_nothing_is_different_few_are_told_apart() -> None:
    chance = np.random.default_rng(1)
    ps = [significance.randomisation(chance.choice([0, 0, 0.5, -0.5, 1, -1], 30), seed)[0] for seed in range(150)]
    assert 1 <= sum(p <= 0.05 for p in ps) <= 16  # 7.5 expected
    assert significance.randomisation(chance.normal(0.5, 1, 200))[0] < 0.001


def test_holm_by_hand() -> None:
    assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert significance.holm([0.5, 0.9]) == [1.0, 1.0]
    assert significance.holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_and_keeps_the_order(ps: list[float]) -> None:
    found = significance.holm(ps)
    assert all(c >= p and c <= 1 for c, p in zip(found, ps, strict=True))
    assert [c for _, c in sorted(zip(ps, found, strict=True))] == sorted(found)


def test_every_pair_and_measure_with_the_difference_and_its_interval() -> None:
    chance = np.random.default_rng(2)
    a = chance.random(80)
    values = {
        name: {"m": dict(enumerate(v.tolist())), "n": dict(enumerate((v > 0.5).astype(float).tolist()))}
        for name, v in {"a": a, "b": a + 0.1, "c": chance.permutation(a)}.items()
    }
    found = significance.differences(values)
    assert [(d.measure, d.a, d.b) for d in found] == [
        (m, *p) for p in (("a", "b"), ("a", "c"), ("b", "c")) for m in "mn"
    ]
    first = found[0]
    assert first.difference == pytest.approx(0.1)
    assert (first.low, first.high) == pytest.approx((0.1, 0.1))
    assert (first.better, first.worse, first.equal, first.verdict) == (80, 0, 0, "better")
    same = found[2]
    assert same.verdict == "cannot tell"
    assert same.low < 0 < same.high
    assert same.p_corrected >= same.p
    assert significance.differences({"a": values["a"]}) == []


def test_the_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    chance = np.random.default_rng(3)
    covered = 0
    for seed in range(120):
        low, high = significance.interval(chance.normal(0.2, 1, 60), seed)
        covered += low <= 0.2 <= high
    assert 104 <= covered <= 119  # 114 expected
