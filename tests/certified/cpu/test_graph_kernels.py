"""Pairs of a graph: whole numbers at the ends of their range, and bounds against exact arithmetic from either side."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.certified.cpu import dispatch, graph_kernels, graph_pass, plane, plane_queries, quantise
from knnscope.certified.cpu.plane import LANES
from knnscope.certified.cpu.plane_search import MANY
from knnscope.certified.dtypes import computable
from knnscope.search import definition
from tests.certified.cpu.test_plane import ISAS, ONE, RANDOM, drawn, key_of, leading, planes, sums_of

METRICS = definition.METRICS
EACH = {isa: MANY[isa][0] for isa in ISAS}


def blocks_of(levels: np.ndarray) -> np.ndarray:
    """Rows of these levels, s = 1 and N = e1 = e2 = 0."""
    count, m = len(levels) // LANES, levels.shape[1]
    blocks = quantise.aligned((count, 8 * m + plane.SIDES), np.uint8, plane.BEYOND)
    packed = (levels[:, : m // 2] | levels[:, m // 2 :] << 4).astype(np.uint8)
    blocks[:, : 8 * m] = packed.reshape(count, LANES, m // 8, 4).transpose(0, 2, 1, 3).reshape(count, -1)
    sides = blocks[:, 8 * m :].view(np.float16).reshape(count, 4, LANES)
    sides[:, 0], sides[:, 1:] = 1, 0
    return blocks


def asked_of(digits: np.ndarray, each: int) -> plane_queries.PlaneQueries:
    """Queries of these digits, whose number is a multiple of a tile's; t2 = 1, V(K) = K."""
    count, m = digits.shape
    words = np.zeros((count // each, m // 8, each, 2), dtype=np.int32)
    for half in range(2):
        part = digits[:, half * (m // 2) : (half + 1) * (m // 2)].astype(np.int8)
        of = part.reshape(count // each, each, m // 8, 4).view(np.int32)[..., 0]
        words[..., half] = of.transpose(0, 2, 1)
    biases = np.stack([sums_of(digits[first : first + each]) for first in range(0, count, each)])
    terms = np.zeros((count, 3), dtype=np.float32)
    terms[:, 0] = 1
    zeros = np.zeros(count)
    return plane_queries.PlaneQueries(words, biases, terms, np.ones(count), zeros, zeros, np.zeros(count, np.bool_))


def held_of(asked: plane_queries.PlaneQueries) -> np.ndarray:
    """Held to nothing of their own; alpha = 1, beta = 0."""
    return np.tile(np.array([-np.inf, 1, 0], dtype=np.float32), (len(asked.terms), 1))


def left(
    isa: str, blocks: np.ndarray, asked: plane_queries.PlaneQueries, held: np.ndarray, limits: np.ndarray
) -> np.ndarray:
    """Which pairs are left, bool, (queries, rows)."""
    found, each = [], EACH[isa]
    for tile in range(len(asked.words)):
        masks = np.zeros((each, len(blocks) + 3), dtype=np.int16)
        graph_kernels.tester(isa)(blocks, (0, len(blocks), tile), asked, held, limits, masks)
        bits = masks[:, : len(blocks), None].view(np.uint16) >> np.arange(LANES) & 1
        found.append(bits.reshape(each, -1).astype(bool))
    return np.concatenate(found)


def at_the_end(m: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels, and digits as long as may be that go their way: in one of a row's two sums of 16 bits, by its sign."""
    first = np.arange(m) % 4 < 2
    levels = np.tile(np.where(first, 15, 7), (2 * LANES, 1))
    levels[LANES:] = 15 - levels[LANES:]
    widest = int(((2 * levels[0] - 15) ** 2).sum())
    most = min(127, math.isqrt(4 * plane_queries.MOST**2 // widest // int(first.sum())))
    return levels, np.outer([most, -most], first)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("m", [32, 96, 192, 1088])
@pytest.mark.parametrize("kind", ["random", "end"])
def test_a_pair_is_left_at_its_bound_and_not_below(isa: str, m: int, kind: str) -> None:
    random, each = RANDOM(m), EACH[isa]
    if kind == "random":
        levels, digits = random.integers(0, 16, (5 * LANES, m)), random.integers(-127, 128, (2 * each, m))
        digits = np.rint(digits * min(1.0, 2 * plane_queries.MOST / (15 * 127 * m))).astype(np.int64)
        digits[:, 0] |= np.arange(len(digits)) & 1  # odd sums, whose start is rounded
    else:
        levels, ends = at_the_end(m)
        digits = np.tile(ends, (each, 1))
        whole = np.abs((2 * levels - 15) @ digits.T // 2).max()
        assert 2**15 - 8 * m < whole < 2**15 or digits.max() == 127
    asked = asked_of(digits, each)
    held = held_of(asked)
    g = -(digits @ (16 * levels - 120).T).astype(np.float32)
    for query in range(len(digits)):
        for limits, is_left in ((g[query], True), (g[query] - 1, False)):
            assert (left(isa, blocks_of(levels), asked, held, limits)[query] == is_left).all()
        held[query, 0] = np.median(g[query])
        found = left(isa, blocks_of(levels), asked, held, np.full(len(levels), -np.inf, np.float32))
        np.testing.assert_array_equal(found[query], g[query] <= held[query, 0])


@pytest.mark.parametrize("isa", ISAS)
def test_what_is_not_a_number_is_left(isa: str) -> None:
    each = EACH[isa]
    blocks, asked = blocks_of(np.full((LANES, 32), 8)), asked_of(np.ones((each, 32), dtype=np.int64), each)
    held = held_of(asked)
    limits = np.full(LANES, -np.inf, dtype=np.float32)
    assert not left(isa, blocks, asked, held, limits).any()
    sides = blocks[:, 8 * 32 :].view(np.float16).reshape(1, 4, LANES)
    sides[0, 1:3, 3], sides[0, 2, 5], asked.terms[:, 1] = np.inf, np.inf, 1
    limits[7] = np.nan
    assert np.flatnonzero(left(isa, blocks, asked, held, limits)[0]).tolist() == [3, 5, 7]


def above(key: Fraction) -> float:
    """The least float64 that is not below."""
    found = float(key)
    return found if Fraction(found) >= key else math.nextafter(found, math.inf)


@given(st.data())
@settings(max_examples=25)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("metric", METRICS)
def test_no_pair_is_left_out_by_its_own_key(metric: str, isa: str, data: st.DataObject) -> None:
    """Whichever of the two rows has it as its k-th."""
    rows, queries, m = drawn(data)
    codes = quantise.build(computable(rows), metric, ONE)
    directions, prices = leading(rows.shape[1], m), dispatch.PRICES[ISAS[0]]
    made = plane.build(computable(rows), codes.mapping, directions, ONE, prices) if codes else None
    if made is None:
        return
    asked, held = graph_kernels.ask(queries.astype(np.float64), made.map, isa)
    for query in range(len(queries)):
        if asked.far[query]:
            continue
        keys = [above(key_of(row, queries[query], metric)) for row in rows]
        limits = np.full(len(made.blocks) * LANES, -np.inf, dtype=np.float32)
        graph = graph_pass.Graph(np.empty((0, 1)), np.empty((0, 1), np.int64), np.empty(len(rows)), limits.copy())
        graph_pass.begun(np.array(keys), graph)
        held[:, 0] = -np.inf
        assert left(isa, made.blocks, asked, held, graph.limits)[query, : len(rows)].all()
        for row in range(len(keys)):
            graph_kernels.hold(np.array(keys[row : row + 1]), query, query + 1, asked, held)
            assert left(isa, made.blocks, asked, held, limits)[query, row]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_digits_are_no_longer_than_sums_hold(metric: str, scale: float) -> None:
    """Also where one direction has all of a query, where some rows are far longer, and with levels that are all at their ends."""
    rows = RANDOM(3).standard_normal((64, 96)) * np.arange(1, 97) ** -2.0
    rows[::7] *= scale
    made, _ = planes(rows, metric, leading(96, 96))
    levels = made.blocks[:, : 8 * 96].reshape(-1, 12, 16, 4).transpose(0, 2, 1, 3).reshape(-1, 48)
    whole = 2 * np.concatenate([levels & 15, levels >> 4], axis=1).astype(np.int64) - 15
    assert made.map.most.levels2 == (whole**2).sum(axis=1).max()
    for levels2 in (96 * 60.0, 96 * 225.0):
        way = made.map._replace(most=made.map.most._replace(levels2=levels2))
        asked = plane_queries.ask(rows, way, 5, 1)
        assert not asked.far[: len(rows)].any()
        digits = asked.words.transpose(0, 2, 1, 3).copy().view(np.int8).astype(np.float64)
        lengths = np.sqrt((digits**2).sum(axis=(2, 3))).ravel()[: len(rows)]
        assert lengths.max() * math.sqrt(levels2) / 2 <= plane_queries.MOST
        assert lengths.max() > 120
