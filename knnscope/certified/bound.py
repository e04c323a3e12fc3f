"""The bound that lets int8 codes exclude a row for certain: every number here errs on the safe side.

**l2.** A row x is centred, rotated and scaled to z (an orthogonal map and a power of two, so distances keep their ratios), then
written as z = y + r with y = s c, c int8, s float32. A query is written alike, w = p + h with p = t v, v whole numbers. With
|r| <= e and |h| <= e_q, and D = |y - p| known from whole numbers, the triangle inequality gives

    D - (e + e_q) <= |z - w| <= D + (e + e_q).

**ip and cosine** are l2 with one component more (Bachrach et al. 2014, RecSys, section 3, here with a free scale for the query):
with M at least every |x| and a^2 = M^2 - |x|^2,

    |(x, a) - (u q, 0)|^2 = M^2 + u^2 |q|^2 - 2 u (x.q),

so the nearest row has the largest product, for any u > 0. With u |q| = M the errors of rows and queries weigh alike. The component a
needs no code: it goes into |y|^2 as it is. Cosine divides rows and queries by their lengths first.

**What the scan evaluates.** A row is out when its lower bound is above T, an upper bound of the k-th distance. With A = T + e_q that is

    |y|^2 - e^2 - 2 s t (c.v) - 2 A e > A^2 - |p|^2,

which float32 evaluates as g = N - (s b) f - C e > V. Rounding takes g by less than u (8 |y|^2 + 6 |p|^2 + 4 e^2 + 6 A e) from its
value, u = 2^-24: three roundings of the product, whose size is at most |y|^2 + |p|^2, one more where v has two digits or c.v passes
2^24, and one of each partial result. ``SLACK`` = 16 u is taken off N and added to C and V instead, so a row that g excludes is out.
Underflow adds less than ``TINY``, but where squares are added up (``error``); scaled rows have norms around 1.
"""

from __future__ import annotations

import math

import numpy as np

U = 2.0**-24
"""Unit roundoff of float32."""
SLACK = 16 * U
TINY = 2.0**-100
WIDEN = 1 + 2.0**-48
"""More than a few roundings of float64."""


def up(value: float) -> np.float32:
    """A float32 that is not below, by at most two of its steps: without a branch, since the scan asks often."""
    return np.float32(value + abs(value) * (2 * U) + TINY)


def down(value: float) -> np.float32:
    """A float32 that is not above."""
    return np.float32(value - abs(value) * (2 * U) - TINY)


def error(residual2: float, length2: float, relative: float, lost: float, vanished: float) -> float:
    """At least |r| (e, or e_q), from the computed |z - s c|^2 and |z|^2.

    Args:
        residual2: sum of squares as computed.
        length2: the same of z.
        relative: what adding up may have taken off either, relative to its root.
        lost: what centring, rotating and subtracting may have cost, relative to the length.
        vanished: what underflow may have taken off either sum: in float32 a square below 2^-150 is 0, and the root of many is more than ``TINY``.
    """
    return (math.sqrt(residual2 + vanished) + lost * math.sqrt(length2 + vanished)) * (1 + relative) * WIDEN + TINY


def row_term(scale: np.float32, squares: int, extra: float, e: np.float32) -> np.float32:
    """N: |y|^2 - e^2, with its slack taken off. ``squares`` is the sum of c^2, exact; ``extra`` is a^2."""
    y2 = np.float64(scale) * np.float64(scale) * squares + extra
    return down(y2 * (1 - SLACK) / WIDEN - np.float64(e) * np.float64(e) * (1 + SLACK) * WIDEN)


def reach(bar: float, widen: float, blur: float) -> float:
    """T: a row further than this comes after one at most ``bar`` away by the definition too, whose values are rounded.

    Args:
        bar: upper bound of a distance.
        widen: what rounding may multiply a distance with.
        blur: the root of what it may add to a squared one.
    """
    return (bar * widen + blur) * WIDEN


def coefficient(a: float) -> np.float32:
    """C: 2 A, with its slack."""
    return up(2 * a * (1 + SLACK) * WIDEN)


def limit(a: float, p2: float) -> np.float32:
    """V: A^2 - |p|^2, with the slack of g added."""
    return up(a * a * WIDEN - p2 / WIDEN + SLACK * p2 + TINY)


def longest2(n: np.float32, e: float) -> float:
    """Upper bound of |y|^2. What ``down`` took off N goes back first: of a row that is the centre N is nothing else, and below zero."""
    return (np.float64(n) + TINY + e * e * (1 + 2 * SLACK)) * (1 + 3 * SLACK) + TINY


def squares(n: np.float32, e: float, p2: float, product: float) -> tuple[float, float]:
    """Lower and upper bound of |y - p|^2, from N and e of a row, |p|^2, and s t (c.v) in float64."""
    least = (np.float64(n) + e * e) / WIDEN  # at most |y|^2, and at least it less 2 SLACK of it
    most = longest2(n, e)
    rounding = (abs(product) + p2 + most) * (WIDEN - 1)
    return least + p2 - 2 * product - rounding, most + p2 - 2 * product + rounding


def most(least: float, n: np.float32, e: float, p2: float) -> float:
    """An upper bound of |y - p|^2 from its lower one, both as ``squares`` has them, a little larger than that one."""
    wide = longest2(n, e)
    return least + (wide - (np.float64(n) + e * e) / WIDEN) + 8 * (wide + p2 + abs(least)) * (WIDEN - 1)


def lower(square: float, e: float, e_q: float) -> float:
    """Lower bound of |z - w|, from that of |y - p|^2."""
    return max(math.sqrt(max(square, 0.0)) / WIDEN - (e + e_q) * WIDEN, 0.0)


def upper(square: float, e: float, e_q: float) -> float:
    """Upper bound of |z - w|, from that of |y - p|^2."""
    return (math.sqrt(max(square, 0.0)) + e + e_q) * WIDEN


def widening(metric: int, dim: int) -> float:
    """What rounding in the definition may multiply an l2 distance with (0); for ip and cosine (1, 2) it adds instead, see ``Scale.blur``."""
    return (1 + 2 * (dim + 8) * 2.0**-53 if metric == 0 else 1.0) * WIDEN
