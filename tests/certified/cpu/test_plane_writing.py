"""Rows written as a plane: what stands there holds what the proof says of it, on every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.certified import plane_bound
from knnscope.certified.components import Directions
from knnscope.certified.cpu import dispatch, plane, plane_products, plane_writing, quantise
from knnscope.certified.cpu.jit import specialised
from knnscope.certified.cpu.plane_products import LANES
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.dtypes import computable

ISAS = [isa for isa in dispatch.available() if isa != "amx"]
RANDOM = np.random.default_rng
kernel: Any = None


def _multiplied(rows: Any, directions: Any, out: Any) -> None:
    kernel(rows.ctypes.data, directions.ctypes.data, (rows.shape[0], directions.shape[0]), out.ctypes.data)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("m", "dim"), [(32, 32), (96, 64), (192, 384)])
def test_products_are_those_of_whole_numbers(isa: str, m: int, dim: int) -> None:
    """Also where rows and directions are as long as they may be, and lie on each other."""
    random = RANDOM(m)
    whole = random.integers(-999, 1000, (m, dim)).astype(np.int16)
    rows = random.integers(-999, 1000, (LANES, dim)).astype(np.int16)
    whole[0], rows[0] = 32767 / np.sqrt(dim) * 1.99, 31_000 / np.sqrt(dim)
    whole[1], rows[1] = -whole[0], 0
    rows[1, 5], whole[2], whole[2, 5] = -31_000, 0, 32767
    expected = whole.astype(np.int64) @ rows.astype(np.int64).T
    assert 2.0**30 < np.abs(expected).max() < 2.0**31
    packed = plane_products.pack(whole, plane_products.wide(isa))
    words = np.ascontiguousarray(rows.view(np.int32).T)
    out = np.empty((m, LANES), dtype=np.int32)
    form = specialised(_multiplied, f"multiplied_{isa}", kernel=plane_products.products(isa))
    form(words, packed, out)
    np.testing.assert_array_equal(out, expected)


@given(st.one_of(st.floats(0, 70_000), st.floats(0, 1e-4), st.integers(0, 31743).map(lambda bits: _half(bits))))
def test_float16_are_rounded_to_the_side_that_is_asked_for(number: float) -> None:
    hold = np.empty(1)
    low, near, high = (
        _half(int(to(number, hold)))
        for to in (plane_writing.lower_half, plane_writing.nearest_half, plane_writing.upper_half)
    )
    assert low <= number <= high
    assert low <= near <= high
    with np.errstate(over="ignore"):
        itself = number == float(np.float16(number))
    if itself:
        assert low == near == high == number
    elif high < np.inf:
        assert high == float(np.nextafter(np.float16(low), np.float16(np.inf)))


def _half(bits: int) -> float:
    return float(np.uint16(bits).view(np.float16))


def directions_of(rows: np.ndarray, m: int) -> Directions:
    dim = rows.shape[1]
    matrix = np.linalg.qr(RANDOM(3).standard_normal((dim, dim)))[0][:m].astype(np.float32)
    wide = matrix.astype(np.float64)
    return Directions(matrix, float(np.linalg.norm(wide @ wide.T - np.eye(m))) * 1.001, (0.0, 0.0, 0.0))


@given(st.data())
@settings(max_examples=60)
@pytest.mark.parametrize("isa", ISAS)
def test_what_is_written_holds(isa: str, data: st.DataObject) -> None:
    """|z1 - y| <= e1, |z2| <= e2 and N <= |z|^2, in float64, with the nearest orthonormal directions."""
    dim, count = data.draw(st.sampled_from((33, 64, 70, 128))), data.draw(st.integers(1, 40))
    dtype = data.draw(st.sampled_from(("float32", "float64", "float16", "uint8") if isa == ISAS[0] else ("float32",)))
    metric = data.draw(st.sampled_from(("l2", "ip", "cosine")))
    random = RANDOM(data.draw(st.integers(0, 10**6)))
    fall = np.arange(1, dim + 1) ** -data.draw(st.sampled_from((0.0, 1.0, 3.0)))
    rows = random.standard_normal((count, dim)) * fall * 3
    if data.draw(st.booleans()):
        rows[random.random(count) < 0.3] *= data.draw(st.sampled_from((1e-6, 1e-14, 50.0)))
    if data.draw(st.booleans()):
        rows[:, 1:] = 0  # all of a row in one component
    rows = (np.abs(rows * 20) % 127 if "int" in dtype else rows).astype(dtype)
    m = data.draw(st.sampled_from((32, min(64, dim // 32 * 32))))
    directions = directions_of(rows, m)
    codes = quantise.build(computable(rows), metric, Workers(1))
    if codes is None:
        return
    made = plane.build(computable(rows), codes.mapping, directions, Workers(1), dispatch.PRICES[isa])
    if made is None:
        return
    u, _, v = np.linalg.svd(directions.matrix.astype(np.float64), full_matrices=False)
    wide = rows.astype(np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(wide, axis=1, keepdims=True)
        wide = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths != 0)
    z = (wide - codes.mapping.centre) * codes.mapping.scaling
    z1 = z @ (u @ v).T
    lines = made.blocks[:, : 8 * m].reshape(-1, m // 8, 16, 4).transpose(0, 2, 1, 3).reshape(-1, m // 2)
    levels = np.concatenate([lines & 15, lines >> 4], axis=1)[:count] - 7.5
    sides = made.blocks[:, 8 * m :].view(np.float16).reshape(-1, 4, LANES).transpose(1, 0, 2).reshape(4, -1)
    scale, least, e1, e2 = sides[:, :count].astype(np.float64)
    tail2 = np.maximum((z**2).sum(axis=1) - (z1**2).sum(axis=1), 0)
    slack = 1e-12 * (1 + np.linalg.norm(z, axis=1))
    missed = np.linalg.norm(z1 - scale[:, None] * levels, axis=1)
    assert (missed <= e1 + slack).all()
    assert (np.sqrt(tail2) <= e2 + np.sqrt(slack) * 1e-3).all() or (tail2 <= e2**2 + slack).all()
    if metric == "l2":
        assert (least <= (z**2).sum(axis=1) + slack).all()
    usual = np.isfinite(e1) & (np.linalg.norm(z, axis=1) > 2.0**-10)
    assert (e1[usual] <= missed[usual] * 1.01 + 1.5e-3 * np.linalg.norm(z[usual], axis=1) + 2.0**-23).all(), (
        "and not much more"
    )
    assert (sides[1].reshape(-1, LANES)[-1, count % LANES or LANES :] == np.inf).all(), "padding is left out"


def test_a_distance_beyond_what_is_proven_is_refused() -> None:
    """Directions that are none: no number of theirs is of use, and rho says so."""
    assert plane_bound.strayed_whole(64, 0.02, 0.02) == np.inf
    assert (plane_bound.REACH + np.sqrt(2048)) * (1 + 2.0**-11) * 2**plane_bound.DIGITS * (1 + plane_bound.NEAR) < 2**31
    assert plane_bound.strayed_whole(384, 1e-6, 2e-4) < 8e-4
