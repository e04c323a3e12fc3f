"""The comparisons that products of many queries go through (kernels/batch.cuh), in their float32 arithmetic against exact numbers.

A row is below a limit by ``loose_bound``, a bound that may be above the one that it stands for by what limits have room for (set_bar in exact_rank.cu), and
by the rounding of its own value; or by ``room_for_product``, where a product is large enough; or by ``own_room`` and ``least_of``, where rows share
s and queries t.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from knnscope.kernels import sources
from tests.kernels.on_the_host import built, run

OFF = 12582912
WIDENED = 1 + 2.0**-10
"""By which codes.py widens the largest e / s."""
ROOM = Fraction(101, 100)
"""Of a step, in set_bar."""
U = Fraction(1, 2**24)


def nearest(value: Fraction) -> np.float32:
    """The float32 that is nearest, ties to even; what a fused multiplication and addition gives."""
    found = np.float32(float(value))  # near: the right one is among it and its neighbors
    around = [found, np.nextafter(found, np.float32(np.inf)), np.nextafter(found, np.float32(-np.inf))]
    return min(around, key=lambda x: (abs(Fraction(float(x)) - value), int(x.view(np.uint32)) & 1))


def exact(x: float) -> Fraction:
    return Fraction(float(x))


def loose(x: int, s: np.float32, n: np.float32, step: np.float32, c: np.float32, ratio: float) -> np.float32:
    """As the kernels compute it: ``start`` by set_bar, then two fused operations."""
    start = np.float32(np.float64(c) * ratio - np.float64(step) * OFF)
    inner = nearest(exact(step) * (OFF + x) + exact(start))
    return nearest(-exact(s) * exact(inner) + exact(n))


numbers = st.floats(2.0**-20, 2.0**10, width=32).map(np.float32)


def excess(
    x: int, s: np.float32, n: np.float32, step: np.float32, c: np.float32, ratio: float, widened: float
) -> tuple[Fraction, np.float32]:
    """How far it is above N - s step x - C e for the largest e that goes with ``s``; and the value itself."""
    e = np.float32(ratio * float(s))
    e = e if float(e) <= ratio * float(s) else np.nextafter(e, np.float32(0))
    true = exact(n) - exact(s) * exact(step) * x - exact(c) * exact(e)
    found = loose(x, s, n, step, c, ratio * widened)
    return exact(found) - true, found


@given(
    st.integers(-(2**22) + 1, 2**22 - 1),
    numbers,
    st.floats(-(2.0**20), 2.0**20, width=32),
    numbers,
    numbers,
    st.floats(0.5, 40),
)
def test_it_is_above_the_bound_by_no_more_than_limits_have_room_for(
    x: int, s: np.float32, n: float, step: np.float32, c: np.float32, ratio: float
) -> None:
    over, found = excess(x, s, np.float32(n), step, c, ratio, WIDENED)
    assume(np.isfinite(found))
    assert over <= ROOM * exact(step) * exact(s) + U * abs(exact(found)) * ROOM


def test_neither_the_room_nor_the_widening_can_be_left_out() -> None:
    draw = np.random.default_rng(0)
    without_room = without_widening = 0
    for _ in range(3000):
        x = int(draw.integers(-(2**22) + 1, 2**22))
        s, step, c = (np.float32(2.0 ** draw.uniform(-8, 2)) for _ in range(3))
        over, found = excess(x, s, np.float32(draw.normal()), step, c, 6.5, WIDENED)
        without_room += over > Fraction(1, 4) * exact(step) * exact(s) + U * abs(exact(found)) * ROOM
        tiny, far = np.float32(2.0**-30), np.float32(2.0 ** draw.uniform(4, 8))
        over, found = excess(x, s, np.float32(0), tiny, far, 6.5 * draw.uniform(1, 1.2), 1)
        without_widening += over > ROOM * exact(tiny) * exact(s) + U * abs(exact(found)) * ROOM
    assert without_room > 0
    assert without_widening > 0


ZERO, ENOUGH = 0x4B400000, 4
"""Bits of OFF, and by how much less bits and a product may be together."""
WIDER = 2.0**-21
"""By which set_bar widens limits."""


def up(value: Fraction) -> np.float32:
    """As common.cuh has it: the next float32 above the nearest one."""
    return np.nextafter(np.float32(float(value)), np.float32(np.inf))


class Pair(NamedTuple):
    """A row and a query: their product, s and N of the row, 2 t and C of the query, and the largest e / s of all rows."""

    x: int
    s: np.float32
    n: np.float32
    step: np.float32
    c: np.float32
    ratio: float


def is_near(pair: Pair, start: np.float32, limit: np.float32) -> int:
    """By how much the product is large enough for a row below the limit, or not: as the kernels compute it, 32 bits and all."""
    x, s, n, step, _, _ = pair
    with np.errstate(over="ignore"):
        first, inverse, wanted = n / s, np.float32(1) / step, limit / step
        begin = start / step + np.float32(2 * OFF)
    inner = (
        nearest_or_endless(exact(np.float32(1) / s) * exact(wanted) + exact(begin)) if np.isfinite(wanted) else wanted
    )
    room = nearest_or_endless(-exact(first) * exact(inverse) + exact(inner)) if np.isfinite(inner) else inner
    total = int(room.view(np.int32)) + x
    return (total + 2**31) % 2**32 - 2**31 - ZERO


FITS, SPARE = 2.0**22, 6


def is_near_alike(pair: Pair, start: np.float32, limit: np.float32) -> int | None:
    """The same where rows share s and queries share t; None where N / (2 t s) has no room."""
    x, s, n, step, _, _ = pair
    with np.errstate(over="ignore"):
        first, inverse, wanted, of_row = n / s, np.float32(1) / step, limit / step, np.float32(1) / s
        begin = start / step + np.float32(2 * OFF)
        rest = np.float32(2 * OFF) - begin
    if not abs(first) * inverse <= FITS:
        return None
    own = nearest(-exact(first) * exact(inverse) + OFF)
    infinite = not (np.isfinite(wanted) and np.isfinite(rest))
    least = rest - wanted if infinite else nearest_or_endless(-exact(of_row) * exact(wanted) + exact(rest))
    return int(own.view(np.int32)) + x - (int(least.view(np.int32)) - SPARE)


def nearest_or_endless(value: Fraction) -> np.float32:
    if abs(value) >= 2**128:
        return np.float32(np.inf if value > 0 else -np.inf)
    return nearest(value)


def just_below(pair: Pair, wider: float, room: Fraction, how: Callable[..., Any] = is_near) -> Any:
    """What ``how`` says for a limit that is just above the row's bound."""
    x, s, n, step, c, ratio = pair
    e = np.float32(ratio * float(s))
    e = e if float(e) <= ratio * float(s) else np.nextafter(e, np.float32(0))
    bound = exact(n) - exact(s) * exact(step) * x - exact(c) * exact(e)
    own = exact(up(bound)) + room * exact(step) * exact(s)
    limit = up(own + Fraction(wider) * (abs(own) + Fraction(ratio * float(s)) ** 2))
    start = np.float32(np.float64(c) * ratio * WIDENED - np.float64(step) * OFF)
    return how(pair, start, limit)


@given(
    st.integers(-2047 * 2047, 2047 * 2047),
    st.floats(2.0**-60, 2.0**30, width=32).map(np.float32),
    st.floats(2.0**-60, 2.0**30, width=32).map(np.float32),
    st.floats(2.0**-60, 2.0**30, width=32).map(np.float32),
    st.floats(0.5, 40),
    st.floats(-1, 2.0**44),
)
def test_no_row_below_the_limit_is_passed_over(
    x: int, s: np.float32, step: np.float32, c: np.float32, ratio: float, longer: float
) -> None:
    """Lengths N in units of s: a row's own, those of ip, which may be any, and the least that there are."""
    n = np.float32(longer * float(s) ** 2 if longer > 0 else longer * (ratio * float(s)) ** 2)
    assume(np.isfinite(n) and np.isfinite(n / s))
    assert just_below(Pair(x, s, n, step, c, ratio), WIDER, ROOM) >= -ENOUGH


def test_rows_well_above_the_limit_are_passed_over_and_no_room_can_be_left_out() -> None:
    draw = np.random.default_rng(1)
    without_room = without_widening = above = 0
    for _ in range(3000):
        x = int(draw.integers(-(2047**2), 2047**2))
        s, step = (np.float32(2.0 ** draw.uniform(-8, 2)) for _ in range(2))
        n = np.float32(2.0 ** draw.uniform(10, 24) * float(s) ** 2)
        pair = Pair(x, s, n, step, np.float32(1), 6.5)
        without_room += just_below(pair, 0, Fraction(0)) < 0
        long = np.float32(2.0 ** draw.uniform(40, 44) * float(s) ** 2)
        without_widening += just_below(pair._replace(n=long), 0, ROOM) < -ENOUGH
        limit = np.float32(exact(n) - exact(s) * exact(step) * (x + 40) - exact(s) * Fraction(6.5))
        start = np.float32(6.5 - np.float64(step) * OFF)
        above += is_near(pair, start, limit) < -ENOUGH
    assert without_room > 0
    assert without_widening > 0
    assert above > 2900


@given(
    st.integers(-2047 * 2047, 2047 * 2047),
    st.floats(2.0**-60, 2.0**30, width=32).map(np.float32),
    st.floats(-4, 6),
    st.floats(-30, 20),
    st.floats(0.5, 40),
    st.floats(-1, 2.0**23),
)
def test_no_row_below_the_limit_is_passed_over_where_rows_share_s_and_queries_t(
    x: int, s: np.float32, by: float, far: float, ratio: float, longer: float
) -> None:
    step, c = (np.float32(float(s) * 2.0**power) for power in (by, far))
    n = np.float32(longer * float(s) ** 2 if longer > 0 else longer * (ratio * float(s)) ** 2)
    assume(np.isfinite(n / s) and float(step) > 2.0**-100)
    found = just_below(Pair(x, s, n, step, c, ratio), WIDER, ROOM, is_near_alike)
    assume(found is not None)
    assert found >= 0


def test_alike_rows_well_above_the_limit_are_passed_over_and_the_room_cannot_be_left_out() -> None:
    draw = np.random.default_rng(2)
    without_room = above = fits = 0
    for _ in range(6000):
        x = int(draw.integers(0, 2047**2))  # else limits may be beyond what has room, which lets more rows in
        s = np.float32(2.0 ** draw.uniform(-8, 2))
        step = np.float32(s * draw.uniform(0.5, 2))
        n = np.float32(2.0 ** draw.uniform(10, 22) * float(s) ** 2)
        pair = Pair(x, s, n, step, np.float32(1), 6.5)
        found = just_below(pair, 0, Fraction(0), is_near_alike)
        if found is None:
            continue
        fits += 1
        without_room += found < SPARE
        limit = np.float32(exact(n) - exact(s) * exact(step) * (x + 40) - exact(s) * Fraction(6.5))
        found = is_near_alike(pair, np.float32(6.5 - np.float64(step) * OFF), limit)
        assert found is not None
        above += found < 0
    assert fits > 3000
    assert without_room > 0
    assert above == fits


def test_the_kernels_own_comparisons_lose_no_row(tmp_path: Path) -> None:
    """As they are written in batch.cuh, with what it has as room, of s and t that differ by 2^20, where little makes limits wider, and far below limits."""
    source = sources.Source("batch.cuh", (("CELL", 0), ("METRIC", 0), ("FULL", 128), ("WIDTH", 128)), ("common.cuh",))
    run(built(tmp_path, "loose", source), 0, 500_000)
