"""The bounds hold in exact arithmetic, adversarial rows reach them, and each part of them is needed."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.certified import bound
from knnscope.certified.cpu import rotation
from knnscope.certified.cpu.quantise import Codes, build
from knnscope.certified.cpu.queries import BASE, EncodedQueries, Plan, ask
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.dtypes import computable
from knnscope.certified.index import ExactIndex
from knnscope.search import definition
from tests import oracle

ONE = Workers(1)


def made(rows: np.ndarray, metric: str = "l2", rotate: bool = True) -> Codes:
    codes = build(computable(rows), metric, ONE, None if rotate else rotation.none(rows.shape[1]))
    assert codes is not None
    return codes


def asked_of(queries: np.ndarray, codes: Codes, digits: int) -> EncodedQueries:
    return ask(queries.astype(np.float64), codes, Plan("portable", digits, digits))


def dim_of(codes: Codes) -> int:
    return len(codes.mapping.centre)


def exponent_of(codes: Codes) -> int:
    return -int(np.log2(codes.mapping.scaling))


def code_of(codes: Codes, row: int) -> np.ndarray:
    return codes.coded.codes[row // 16, :, row % 16].reshape(-1)[: dim_of(codes)].astype(np.int64)


def whole(asked: EncodedQueries, query: int, dim: int) -> np.ndarray:
    """v, put together from its digits."""
    digits = asked.packed[query].transpose(1, 0, 2).reshape(asked.packed.shape[2], -1)[:, :dim].astype(np.int64)
    return digits[0] if len(digits) == 1 else BASE * digits[0] + digits[1]


def interval(codes: Codes, asked: EncodedQueries, row: int, query: int) -> tuple[float, float]:
    dot = int(code_of(codes, row) @ whole(asked, query, dim_of(codes)))
    product = float(codes.coded.scales[row]) * float(asked.steps[query]) / 2 * dot
    e, e_q = float(codes.coded.errors[row]), float(asked.errors[query])
    least, most = bound.squares(codes.coded.terms[row], e, float(asked.lengths2[query]), product)
    return bound.lower(least, e, e_q), bound.upper(most, e, e_q)


def true2(x: np.ndarray, q: np.ndarray, exponent: int) -> Fraction:
    """The exact squared distance, scaled."""
    return oracle.rational(x, q, "l2") * Fraction(2) ** (-2 * exponent)


def drawn(data: st.DataObject) -> tuple[np.ndarray, np.ndarray]:
    dim, count = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 12))
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    shift = data.draw(st.sampled_from((0.0, 10.0, 1e4)))
    spread = data.draw(st.sampled_from((1.0, 1e-3, 1e5)))
    dtype = data.draw(st.sampled_from(("float16", "float32", "float64"))) if spread * shift < 1e4 else "float64"
    rows = (random.standard_normal((count, dim)) * spread + shift).clip(-6e4, 6e4).astype(dtype)
    near = rows[random.integers(0, count, 4)] + (random.standard_normal((4, dim)) * spread * 1e-4).astype(dtype)
    far = (random.standard_normal((3, dim)) * spread * 3 + shift).clip(-6e4, 6e4).astype(dtype)
    return rows, np.concatenate([near, far])


@given(st.data())
def test_the_true_distance_lies_between_the_bounds(data: st.DataObject) -> None:
    rows, queries = drawn(data)
    codes = made(rows, rotate=data.draw(st.booleans()))
    asked = asked_of(queries, codes, data.draw(st.sampled_from((1, 2))))
    for query in range(len(queries)):
        for row in range(len(rows)):
            lower, upper = interval(codes, asked, row, query)
            true = true2(rows[row], queries[query], exponent_of(codes))
            assert Fraction(lower) ** 2 <= true <= Fraction(upper) ** 2


@given(st.data())
def test_values_of_ip_and_cosine_lie_between_the_bounds(data: st.DataObject) -> None:
    """base + gain v, for the exact v, is the square that the bounds hold; cosine to 100 bits."""
    rows, queries = drawn(data)
    metric = data.draw(st.sampled_from(("ip", "cosine")))
    codes = made(rows, metric)
    asked = asked_of(queries, codes, data.draw(st.sampled_from((1, 2))))
    for query in range(len(queries)):
        if asked.far[query]:
            continue
        for row in range(len(rows)):
            exact = oracle.rational(rows[row], queries[query], metric)
            square = Fraction(float(asked.bases[query])) + Fraction(float(asked.gains[query])) * exact
            blur2 = Fraction(float(asked.blurs[query])) ** 2
            lower, upper = interval(codes, asked, row, query)
            assert Fraction(lower) ** 2 <= square + blur2
            assert square - blur2 <= Fraction(upper) ** 2


def adversarial(dim: int = 64) -> tuple[np.ndarray, np.ndarray, Codes]:
    """Rows, and for each a query that lies further along the row's own residual."""
    rows = np.random.default_rng(5).standard_normal((8, dim))
    codes = made(rows, rotate=False)
    written = np.array([float(codes.coded.scales[i]) * code_of(codes, i) for i in range(8)])
    residual = (rows - codes.mapping.centre) * 2.0 ** -exponent_of(codes) - written
    away = residual / np.linalg.norm(residual, axis=1, keepdims=True)
    return rows, rows + away * 2.0 ** exponent_of(codes) * 0.5, codes


def test_an_adversarial_row_meets_its_bound() -> None:
    rows, queries, codes = adversarial()
    asked = asked_of(queries, codes, 2)
    for i in range(len(rows)):
        assert 0.99 * 0.5 < interval(codes, asked, i, i)[0] <= 0.5 * (1 + 1e-12)


def test_half_the_error_of_a_row_would_be_wrong() -> None:
    rows, queries, codes = adversarial()
    errors = codes.coded.errors / 2
    # N carries e^2 as well: as a build with half the error would have written it
    terms = [
        bound.row_term(codes.coded.scales[i], int((code_of(codes, i) ** 2).sum()), 0.0, errors[i]) for i in range(8)
    ]
    halved = replace(codes, coded=codes.coded._replace(errors=errors, terms=np.array(terms, dtype=np.float32)))
    asked = asked_of(queries, halved, 2)
    assert all(interval(halved, asked, i, i)[0] > 0.5 for i in range(len(rows)))


def test_half_the_error_of_a_query_would_be_wrong() -> None:
    """Row and query in whole numbers, so that the query's own error is all there is."""
    y, p = np.random.default_rng(6).integers(-127, 128, (2, 64))
    distance = float(np.linalg.norm(y - p))
    e_q = distance / 8  # the query lies that much nearer to the row than its code says
    e = bound.up(bound.error(0.0, 0.0, 0.0, 0.0, 0.0))
    n = bound.row_term(np.float32(1), int(y @ y), 0.0, e)
    least, _ = bound.squares(n, float(e), float(p @ p), float(y @ p))
    assert 0.99 * (distance - e_q) < bound.lower(least, float(e), e_q) <= (distance - e_q) * (1 + 1e-12)
    assert bound.lower(least, float(e), e_q / 2) > distance - e_q


def test_without_slack_float32_would_exclude_a_row_that_is_in() -> None:
    """g and V as the scan computes them, for rows exactly at the threshold: rounding alone decides."""
    random = np.random.default_rng(7)

    def excluded(slack: float) -> int:
        count = 0
        for _ in range(2000):
            y, p = random.integers(-127, 128, (2, 64))
            scale = np.float32(random.uniform(0.001, 0.01))
            y2, p2 = float(scale) ** 2 * int(y @ y), float(scale) ** 2 * int(p @ p)
            a = float(scale) * float(np.linalg.norm(y - p))  # T is the distance itself, e and e_q are 0
            n = np.float32(y2 * (1 - slack))
            limit = np.float32(a * a - p2 + slack * p2)
            step2 = np.float32(2) * scale
            count += bool(n - scale * step2 * np.float32(int(y @ p)) > limit)
        return count

    assert excluded(0.0) > 0
    assert excluded(bound.SLACK) == 0


@pytest.mark.parametrize("value", [0.1, -0.1, 1e-30, 3.0, -1e30, 0.0, 1 + 2.0**-40])
def test_rounding_to_float32_goes_one_way(value: float) -> None:
    below, above = float(bound.down(value)), float(bound.up(value))
    assert below <= value <= above
    assert above - below <= abs(value) * 2.0**-21 + 4 * bound.TINY


SIZES = st.one_of(st.just(0.0), st.floats(1e-44, 4.0), st.sampled_from((2.0**-149, 2.0**-100, 2.0**-99, 1e-20)))


@given(SIZES, st.integers(0, 127**2 * 4096), SIZES, SIZES, SIZES)
def test_a_squared_length_lies_between_its_bounds_however_short_it_is(
    scale: float, whole: int, extra: float, e: float, p2: float
) -> None:
    """|y|^2 from N: rows that are the centre, so that N is nothing but what was taken off, and any others."""
    short, error = np.float32(scale), np.float32(e)
    true = Fraction(float(short)) ** 2 * whole + Fraction(extra)
    if not true < 2**40:
        return
    n = bound.row_term(short, whole, extra, error)
    least, most = bound.squares(n, float(error), p2, 0.0)
    assert Fraction(float(least)) <= true + Fraction(p2) <= Fraction(float(most))
    assert true + Fraction(p2) <= Fraction(float(bound.most(least, n, float(error), p2)))


def test_rows_that_are_all_the_same_and_a_query_very_near_them() -> None:
    """Their codes are zeros: the upper bound of a tenth of a billionth was too small by a part in 10^13, so that rows seemed to have been changed."""
    for tiny in (1e-3, 1e-8, 1e-11, 1e-15, 1e-19):
        rows = np.full((9, 2), [1, tiny], dtype=np.float32)
        queries = np.array([[1, 0], [0, tiny], [1, tiny]], dtype=np.float32)
        index = ExactIndex(rows, device="cpu").wait()
        expected = definition.search(rows, queries, 9, "l2")
        found = index.search(queries, 9)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)
        within = index.radius_search(queries, expected.distances[:, -1])
        np.testing.assert_array_equal(within.counts, 9)
        np.testing.assert_array_equal(within.distances, expected.distances.reshape(-1))


@pytest.mark.parametrize(("dim", "rotate"), [(1, True), (3, True), (384, True), (385, True), (64, False)])
def test_the_rotation_is_orthogonal(dim: int, rotate: bool) -> None:
    turn = rotation.make(dim) if rotate else rotation.none(dim)
    z = np.zeros((dim, rotation.LANES))
    mapped = []
    for j in range(dim):
        z[:] = 0
        z[j] = turn.factors[j]
        rotation.apply(z, turn.ends)
        mapped.append(z[:, 0].copy())
        single = np.zeros((dim, rotation.LANES), dtype=np.float32)
        single[j] = turn.factors[j]
        rotation.apply(single, turn.ends)
        np.testing.assert_allclose(single[:, -1], mapped[-1], rtol=1e-6)
    np.testing.assert_allclose(np.array(mapped) @ np.array(mapped).T, np.eye(dim), atol=1e-14)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_codes_and_bounds_take_a_byte_a_component_and_twelve_more(metric: str) -> None:
    codes = made(np.random.default_rng(0).standard_normal((3200, 384)).astype(np.float32), metric)
    assert codes.nbytes == 3200 * (384 + 12)
