"""Byte codes row after row give the bounds that test_bound.py holds to exact arithmetic; and the key that follows from a distance is one nothing passes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.certified import bound, plane_bound
from knnscope.certified.cpu import dispatch, lines
from knnscope.certified.cpu.quantise import Codes, aligned, build
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.dtypes import computable
from knnscope.search import definition
from tests import oracle
from tests.certified.test_bound import asked_of, drawn, interval, made

ISAS = [isa for isa in dispatch.available() if isa != "amx"]
EVALUATIONS = {isa: lines.evaluation(isa) for isa in ISAS}


def lines_of(codes: Codes) -> np.ndarray:
    """Codes row after row, as ``lines.Writing`` has them."""
    count, groups = codes.rows, codes.coded.codes.shape[1]
    made_lines = aligned((count, lines.HEAD + -(-groups * 4 // lines.STEP) * lines.STEP), np.int8, lines.STEP)
    lines._turn(codes.coded, made_lines)
    return made_lines


def evaluated(codes: Codes, queries: np.ndarray, isa: str, order: np.ndarray) -> np.ndarray:
    """(queries, 2, rows in this order): lower and upper bounds."""
    made_lines = lines_of(codes)
    asked = lines.ask(queries.astype(np.float64), codes.mapping, made_lines.shape[1] - lines.HEAD)
    found = np.zeros((len(queries), 5, len(order) + 3))
    for number in range(len(queries)):
        EVALUATIONS[isa](made_lines, order, len(order), asked, number, found[number])
    beyond = found[:, :, len(order) :].copy()
    beyond[:, 2, : -len(order) % lines.FOUR] = 0
    assert (beyond == 0).all(), "nothing is written beyond"
    return found[:, :2, : len(order)]


@given(st.data())
@settings(max_examples=60)
@pytest.mark.parametrize("metric", definition.METRICS)
def test_bounds_are_those_of_the_codes_to_the_last_bit(metric: str, data: st.DataObject) -> None:
    rows, queries = drawn(data)
    codes = build(computable(rows), metric, Workers(1))
    if codes is None:  # rows that are all alike, for cosine
        return
    asked = asked_of(queries, codes, 2)
    order = np.random.default_rng(1).integers(0, len(rows), data.draw(st.integers(1, 40)))
    found = evaluated(codes, queries, data.draw(st.sampled_from(ISAS)), order)
    for query in range(len(queries)):
        if not asked.far[query]:
            expected = np.array([interval(codes, asked, int(row), query) for row in order]).T
            np.testing.assert_array_equal(found[query], expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dim", [1, 31, 32, 33, 100, lines.MOST_DIM])
def test_sums_fit_at_the_ends_of_the_range(dim: int, isa: str) -> None:
    """Rows and queries whose codes are as large as codes get, all with the same sign, and with both."""
    signs = np.where(np.arange(dim) % 2, -1.0, 1.0)
    rows = np.stack([signs, -signs, np.ones(dim), -np.ones(dim), np.zeros(dim)]).astype(np.float32)
    codes = made(rows, "l2", rotate=False)
    queries = rows[:4] * np.float32(0.999)
    asked = asked_of(queries, codes, 2)
    found = evaluated(codes, queries, isa, np.arange(5))
    for query in range(4):
        np.testing.assert_array_equal(found[query].T, [interval(codes, asked, row, query) for row in range(5)])


def exact_key(x: np.ndarray, q: np.ndarray, metric: str) -> Fraction:
    return oracle.rational(x, q, metric) * (1 if metric == "l2" else -1)


@given(st.data())
@settings(max_examples=60)
@pytest.mark.parametrize("metric", definition.METRICS)
def test_no_row_within_a_distance_passes_its_key(metric: str, data: st.DataObject) -> None:
    """T at the row's own distance, rounded up: then its key by the definition is at most that of T, and that of T is hardly larger."""
    rows, queries = drawn(data)
    codes = build(computable(rows), metric, Workers(1))
    if codes is None:  # rows that are all alike, for cosine
        return
    asked = asked_of(queries, codes, 2)
    number = definition.METRICS.index(metric)
    for query in range(len(queries)):
        if asked.far[query]:
            continue
        base, gain = float(asked.bases[query]), float(asked.gains[query])
        defined = definition.search(rows, queries[query : query + 1], len(rows), metric)
        for place, row in enumerate(defined.ids[0]):
            key = float(defined.distances[0, place]) * (-1 if number else 1)
            exact = exact_key(rows[row], queries[query], metric)
            square = Fraction(base) + abs(Fraction(gain)) * exact
            bar = float(max(square, Fraction(0))) ** 0.5
            while Fraction(bar) ** 2 < square:
                bar = float(np.nextafter(bar, np.inf))
            reach = bound.reach(bar, bound.widening(number, rows.shape[1]), float(asked.blurs[query]))
            found = plane_bound.key(reach, base, gain)
            assert found >= key
            assert found - key <= (abs(base) + float(square)) / abs(gain) * 2.0**-18 + abs(key) * 2.0**-30 + 1e-300


@pytest.mark.parametrize("metric", definition.METRICS)
def test_without_what_rounding_takes_a_row_would_pass(metric: str) -> None:
    """The definition's own rounding: a row at the distance itself, without ``bound.reach``, has a larger key now and then."""
    random = np.random.default_rng(3)
    rows, queries = random.standard_normal((200, 24)), random.standard_normal((4, 24))
    codes = made(rows, metric)
    asked = asked_of(queries, codes, 2)
    defined = definition.search(rows, queries, len(rows), metric)
    passed = 0
    for query in range(4):
        base, gain = Fraction(float(asked.bases[query])), Fraction(float(asked.gains[query]))
        for row, value in zip(defined.ids[query], defined.distances[query], strict=True):
            exact = exact_key(rows[row], queries[query], metric)
            square = base + abs(gain) * exact
            key = Fraction(float(value)) * (-1 if metric != "l2" else 1)
            passed += (square - base) / abs(gain) < key
    assert passed > 50


def test_a_line_takes_a_byte_a_component_and_sixteen_more() -> None:
    codes = made(np.random.default_rng(0).standard_normal((100, 384)).astype(np.float32))
    assert lines_of(codes).shape == (100, 400)


@pytest.mark.parametrize("count", [1, 15, 16, 40, 65])
@pytest.mark.parametrize("dim", [3, 64, 70])
def test_codes_come_back_as_they_were(count: int, dim: int) -> None:
    codes = made(np.random.default_rng(count).standard_normal((count, dim)).astype(np.float32))
    back = lines.in_blocks(lines_of(codes), codes, Workers(2))
    np.testing.assert_array_equal(back.coded.codes, codes.coded.codes)
