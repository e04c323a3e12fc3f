"""The bound that products of many queries are compared by (kernels/batch.cuh, loose_bound), in its float32 arithmetic against exact numbers.

It may be above the bound that it stands for by what limits have room for (set_bar in exact_rank.cu), and by the rounding of its own value.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

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
