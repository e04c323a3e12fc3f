"""The plane: its bound against exact arithmetic, its kernels against whole numbers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.certified import components, plane_bound
from knnscope.certified.bound import U
from knnscope.certified.components import Directions
from knnscope.certified.cpu import dispatch, plane, plane_kernels, plane_queries, quantise
from knnscope.certified.cpu.plane import LANES, Plane
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.dtypes import computable
from knnscope.search import definition
from tests import oracle

ONE = Workers(1)
ISAS = [isa for isa in dispatch.available() if isa != "amx"]
METRICS = definition.METRICS
RANDOM = np.random.default_rng


def leading(dim: int, m: int, seed: int = 0) -> Directions:
    matrix = np.linalg.qr(RANDOM(seed).standard_normal((dim, dim)))[0][:m].astype(np.float32)
    defect = float(np.linalg.norm(matrix.astype(np.float64) @ matrix.T.astype(np.float64) - np.eye(m)))
    return Directions(matrix, defect, (0.0, 0.0, 0.0))


def planes(rows: np.ndarray, metric: str, directions: Directions) -> tuple[Plane, quantise.Codes]:
    codes = quantise.build(computable(rows), metric, ONE)
    assert codes is not None
    made = plane.build(computable(rows), codes.mapping, directions, ONE, dispatch.PRICES[ISAS[0]])
    assert made is not None
    return made, codes


def asked_of(queries: np.ndarray, made: Plane, digits: int) -> plane_queries.PlaneQueries:
    return plane_queries.ask(queries.astype(np.float64), made.map, 2 if digits == 2 else 4, digits)


def sums_of(digits: np.ndarray) -> np.ndarray:
    """PlaneQueries.biases of queries with one digit, int, (queries, m), as one tile: int32, (3, queries)."""
    m = digits.shape[1]
    halves = [digits[:, np.arange(m) % (m // 2) % 4 // 2 == half].sum(axis=1) for half in range(2)]
    low, high = (-(15 * half >> 1) for half in halves)
    starts = (low & 65535 | (high & 65535) << 16).astype(np.uint32).view(np.int32)
    whole = -120 * digits.sum(axis=1)
    return np.stack([whole, starts, whole - 16 * (low + high)]).astype(np.int32)


def lows(made: Plane, asked: plane_queries.PlaneQueries, isa: str, digits: int) -> np.ndarray:
    """g, (queries, rows)."""
    vectors = asked.words.shape[2]
    each = vectors // digits
    kernel = plane_kernels.kernel("portable" if (isa, digits) == ("avx2", 2) else isa, vectors, digits)
    blocks = len(made.blocks)
    out, leasts = (np.zeros((len(asked.far), size), dtype=np.float32) for size in (blocks * LANES, blocks + 1))
    for tile in range(len(asked.words)):
        here = slice(tile * each, (tile + 1) * each)
        given = asked.words[tile], asked.biases[tile], asked.terms[here]
        kernel(made.blocks, 0, blocks, *given, plane_kernels.Bounds(out[here], leasts[here]))
    below = np.where(np.isnan(out), -np.inf, out).reshape(len(out), blocks, LANES).min(axis=2)
    np.testing.assert_array_equal(leasts[:, :blocks], below, "the smallest of each block")
    return out[:, : made.rows]


def key_of(x: np.ndarray, q: np.ndarray, metric: str) -> Fraction:
    """The exact value, with the other sign for ip and cosine."""
    return oracle.rational(x, q, metric) * (1 if metric == "l2" else -1)


def holds(g: np.ndarray, asked: plane_queries.PlaneQueries, query: int, keys: list[Fraction]) -> list[bool]:
    """Whether no row is left out by its own key."""
    alpha, beta = Fraction(float(asked.alphas[query])), Fraction(float(asked.betas[query]))
    return [g[i] == -np.inf or Fraction(float(g[i])) <= alpha * key + beta for i, key in enumerate(keys)]


def drawn(data: st.DataObject) -> tuple[np.ndarray, np.ndarray, int]:
    dim = data.draw(st.sampled_from((32, 40, 64, 100)))
    count = data.draw(st.integers(1, 20))
    random = RANDOM(data.draw(st.integers(0, 10**6)))
    shift, spread = data.draw(st.sampled_from((0.0, 10.0, 1e3))), data.draw(st.sampled_from((1.0, 1e-2, 1e2)))
    fall = np.arange(1, dim + 1) ** -data.draw(st.sampled_from((0.0, 1.0, 4.0)))
    dtype = data.draw(st.sampled_from(("float16", "float32", "float64")))
    wide = random.standard_normal((count, dim)) * fall * spread + shift
    if data.draw(st.booleans()):
        wide[random.random(count) < 0.2] *= 100  # some are far longer
    rows = wide.clip(-6e4, 6e4).astype(dtype)
    near = rows[random.integers(0, count, 3)] + (random.standard_normal((3, dim)) * spread * 1e-3).astype(dtype)
    far = (random.standard_normal((2, dim)) * spread * 3 + shift).clip(-6e4, 6e4).astype(dtype)
    return rows, np.concatenate([near, far]).clip(-6e4, 6e4), min(dim // 32 * 32, 64)


@given(st.data())
@settings(max_examples=60)
@pytest.mark.parametrize("metric", METRICS)
def test_no_row_is_left_out_by_its_own_key(metric: str, data: st.DataObject) -> None:
    rows, queries, m = drawn(data)
    codes = quantise.build(computable(rows), metric, ONE)
    made = (
        plane.build(computable(rows), codes.mapping, leading(rows.shape[1], m), ONE, dispatch.PRICES[ISAS[0]])
        if codes
        else None
    )
    if codes is None or made is None:
        return
    digits = data.draw(st.sampled_from((1, 2)))
    asked = asked_of(queries, made, digits)
    g = lows(made, asked, data.draw(st.sampled_from(ISAS)), digits)
    for query in range(len(queries)):
        if not asked.far[query]:
            keys = [key_of(row, queries[query], metric) for row in rows]
            assert all(holds(g[query], asked, query, keys))
            for low, key in zip(g[query], keys, strict=True):
                if np.isfinite(low):
                    least = plane_bound.least(float(low), float(asked.alphas[query]), float(asked.betas[query]))
                    assert Fraction(least) <= key


def against_its_residual(m: int = 64, dim: int = 64) -> tuple[np.ndarray, np.ndarray, Plane, quantise.Codes, Any]:
    """Rows, and for each a query along what its code misses: there the bound is met."""
    rows = RANDOM(5).standard_normal((40, dim))
    directions = leading(dim, m)
    made, codes = planes(rows, "l2", directions)
    lines = made.blocks[:, : 8 * m].reshape(-1, m // 8, 16, 4).transpose(0, 2, 1, 3).reshape(-1, m // 2)
    levels = np.concatenate([lines & 15, lines >> 4], axis=1)[: len(rows)] - 7.5
    sides = made.blocks[:, 8 * m :].view(np.float16).reshape(-1, 4, LANES)
    scales = sides[:, 0].reshape(-1)[: len(rows)].astype(np.float64)
    wide = directions.matrix.astype(np.float64)
    centred = (rows - codes.mapping.centre) * codes.mapping.scaling
    missed = centred @ wide.T - scales[:, None] * levels
    tail = centred - centred @ wide.T @ wide
    away = missed / np.linalg.norm(missed, axis=1, keepdims=True) @ wide * 3
    if m < dim:
        share = np.linalg.norm(tail, axis=1, keepdims=True)
        away = away + tail / share * 3
    return rows, away / codes.mapping.scaling + codes.mapping.centre, made, codes, sides


@pytest.mark.parametrize("m", [32, 64])
def test_an_adversarial_query_meets_the_bound(m: int) -> None:
    rows, queries, made, _, _ = against_its_residual(m)
    asked = asked_of(queries, made, 2)
    g = lows(made, asked, ISAS[0], 2)
    for i in range(len(rows)):
        reached = float(asked.alphas[i]) * float(key_of(rows[i], queries[i], "l2")) + float(asked.betas[i])
        assert g[i, i] <= reached
        assert reached - g[i, i] < 0.02 * (abs(reached) + float(asked.terms[i, 1])), "a bound this loose proves nothing"


@pytest.mark.parametrize(("m", "side"), [(64, 2), (32, 2), (32, 3)])
def test_half_of_a_rows_error_would_be_wrong(m: int, side: int) -> None:
    """Of e1, and of e2."""
    rows, queries, made, _, sides = against_its_residual(m)
    sides[:, side] = (sides[:, side].astype(np.float32) * 0.9).astype(np.float16)
    asked = asked_of(queries, made, 2)
    g = lows(made, asked, ISAS[0], 2)
    wrong = [not holds(g[i], asked, i, [key_of(r, queries[i], "l2") for r in rows])[i] for i in range(len(rows))]
    assert sum(wrong) > len(rows) // 2


def test_without_the_querys_error_a_row_would_be_left_out() -> None:
    """One digit; rows whose own error is none, each along what its query's digits miss."""
    m = dim = 64
    queries = RANDOM(8).uniform(-1, 1, (40, dim))
    steps = (np.abs(queries).max(axis=1, keepdims=True) / 127).astype(np.float32).astype(np.float64)
    missed = queries - steps * np.rint(queries / steps)
    rows = np.where(missed > 0, 0.625, -0.625)  # 2.5 steps of a quarter
    directions = Directions(np.eye(m, dtype=np.float32), 0.0, (0.0, 0.0, 0.0))
    _, codes = planes(rows, "l2", directions)
    codes = quantise.Codes(codes.rows, codes.coded, codes.mapping._replace(centre=np.zeros(dim)))
    made = plane.build(rows, codes.mapping, directions, ONE, dispatch.PRICES[ISAS[0]])
    assert made is not None
    asked = asked_of(queries, made, 1)
    g = lows(made, asked, ISAS[0], 1)
    without = asked._replace(betas=-((queries * made.map.scaling) ** 2).sum(axis=1))
    keys = [[key_of(row, query, "l2") for row in rows] for query in queries]
    assert all(all(holds(g[i], asked, i, keys[i])) for i in range(40))
    assert sum(not holds(g[i], without, i, keys[i])[i] for i in range(40)) > 20


def test_the_defect_of_the_directions_counts() -> None:
    """Rows of B1 a thousandth too long: with eta the bound holds, without it a row would be left out."""
    dim = m = 64
    rows, queries, _, codes, _ = against_its_residual()
    matrix = leading(dim, m).matrix * np.float32(1.001)
    eta = float(np.linalg.norm(matrix.astype(np.float64) @ matrix.T.astype(np.float64) - np.eye(m)))

    def wrong(defect: float) -> int:
        directions = Directions(matrix, defect, (0.0, 0.0, 0.0))
        made = plane.build(rows, codes.mapping, directions, ONE, dispatch.PRICES[ISAS[0]])
        assert made is not None
        asked = asked_of(queries, made, 2)
        g = lows(made, asked, ISAS[0], 2)
        keys = [[key_of(row, query, "l2") for row in rows] for query in queries[:10]]
        return sum(not all(holds(g[i], asked, i, keys[i])) for i in range(10))

    assert wrong(eta) == 0
    assert plane_bound.strayed(dim, m, eta) > eta
    assert plane_bound.strayed(dim, m, 0.0) >= (dim + 2) * U * np.sqrt(m)


def test_rows_of_bfloat16_are_centred_before_they_are_rounded() -> None:
    """As the proof says: their centre, unlike that of float32 rows, is a float64 that float32 does not hold."""
    rows = RANDOM(9).choice([1000.0, 1004.0], (50, 32)).astype(np.float32)
    centre = rows.astype(np.float64).mean(axis=0) + 1e-5
    bits = (rows.view(np.int32) >> 16).astype(np.int16)
    np.testing.assert_array_equal(components.prepared(bits, 0, centre), (rows - centre).astype(np.float32))


@pytest.mark.parametrize(
    ("isa", "vectors", "digits"),
    [(isa, *of) for isa in ISAS for of in ((2, 2), (4, 1)) if (isa, *of) != ("avx2", 2, 2)],
)
@pytest.mark.parametrize("m", [32, 96, 160, 1088])
def test_kernels_give_the_defined_whole_numbers(isa: str, vectors: int, digits: int, m: int) -> None:
    """s = 1, N = e1 = e2 = 0 and t2 = 1 leave -F, also at the ends of the range."""
    random = RANDOM(m)
    count, each = 5, vectors // digits
    blocks = quantise.aligned((count, 8 * m + plane.SIDES), np.uint8, plane.BEYOND)
    levels = random.integers(0, 16, (count * LANES, m))
    levels[3], levels[4] = 15, 0
    packed = (levels[:, : m // 2] | levels[:, m // 2 :] << 4).astype(np.uint8)
    blocks[:, : 8 * m] = packed.reshape(count, LANES, m // 8, 4).transpose(0, 2, 1, 3).reshape(count, -1)
    sides = blocks[:, 8 * m :].view(np.float16).reshape(count, 4, LANES)
    sides[:, 0], sides[:, 1:] = 1, 0
    values = random.integers(-127, 128, (vectors, m))
    values[0] = 127
    if isa == "avx2":  # whose sums have 16 bits
        values = np.rint(values * min(1.0, 2 * plane_queries.MOST / (15 * 127 * m))).astype(np.int64)
    words = np.zeros((m // 8, vectors, 2), dtype=np.int32)
    for half in range(2):
        part = values[:, half * (m // 2) : (half + 1) * (m // 2)].astype(np.int8)
        words[:, :, half] = part.reshape(vectors, m // 8, 4).view(np.int32)[:, :, 0].T
    biases = sums_of(values)
    terms = np.zeros((each, 3), dtype=np.float32)
    terms[:, 0] = 1
    out = np.zeros((each, count * LANES), dtype=np.float32)
    to = plane_kernels.Bounds(out, np.zeros((each, count), dtype=np.float32))
    plane_kernels.kernel(isa, vectors, digits)(blocks, 0, count, words, biases, terms, to)
    f = (16 * levels - 120) @ values.T
    whole = f if digits == 1 else (254 * f[:, 0] + f[:, 1])[:, None]
    expected = whole.T.astype(np.float32)
    np.testing.assert_allclose(-out, expected, rtol=0 if digits == 1 else 2.0**-23)
