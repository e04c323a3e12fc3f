"""The bound of the plane: four bits a component for the leading components of rows, a length for all that is left out.

Rows and queries are centred and scaled by powers of two, x' and q'. Q is an orthogonal map, of which only the first m directions Q1 are
ever computed; z = Q x' = (z1, z2), w = Q q' = (w1, w2), so that |x' - q'| = |z - w| exactly. A row is written as z1 = y + r, y = s (c - 7.5)
with c from 0 to 15, a query as w1 = p + h, p = t v with v whole numbers. Then

    |z - w|^2 = |z|^2 + |w|^2 - 2 y.p - 2 y.h - 2 r.w1 - 2 z2.w2
             >= |z|^2 + |w|^2 - 2 s t (c - 7.5).v - 2 |y| |h| - 2 |r| |w1| - 2 |z2| |w2|

by Cauchy-Schwarz on the last three products: linear in the whole number f = (c - 7.5).v. (The triangle inequality of bound.py, which is tighter for a
byte a component, keeps three times as many rows at four bits.) **ip and cosine** are products x'.q' + c.q (cosine: of rows and queries
divided by their lengths), so -2 x'.q' has the same bound without |z|^2 and |w|^2.

**Errors of the map.** B1, (m, dim) float32, has |B1 B1^T - I| <= eta, so an orthonormal Q1 is within eta of it (its polar factor: singular
values s have |s - 1| <= |s^2 - 1|). Products of float32 in any order err by dim u |x'| each, u = 2^-24, and x' itself is rounded once:

    |computed z1 - Q1 x'| <= rho |x'|,   rho = (dim + 2) u sqrt(m) (1 + eta) + 2 u + eta.

**Rows on a processor** are multiplied in whole numbers instead, which is exact: W / 2^S for Q1, W of 16 bits, and X / f for x', X = rint(f x') with
f = ``REACH`` / |x'|, a float32. No component of X is off by more than 1/2 + 2^-9, the product of float32 included, and W's singular values lie within
sigma >= |W / 2^S - B1| of B1's. |W_j| |X| < 2^31, so that int32 holds each product, whatever the order of its sum. It is converted and multiplied with
|x'| / (``REACH`` 2^S), both rounded: less than 4 u of it. With eta + sigma <= ``NEAR``,

    rho = eta + sigma + (1 + eta + sigma) ((1/2 + 2^-8) sqrt(dim) / ``REACH`` + 4 u) + 2 u.

Hence e1 = |computed z1 - y| + rho |x'| >= |r|, and |z2|^2 = |x'|^2 - |z1|^2 <= |x'|^2 - (|computed z1| - rho |x'|)^2 = e2^2; queries alike.

**What the scan evaluates**, in float32: g = N - (s t2) F - C1 e1 - C2 e2, with N <= |z|^2 (0 for ip and cosine), F = 16 f, t2 = 2 t / 16,
C1 >= 2 |w1|, C2 >= 2 |w2|; s, N, e1, e2 are float16, rounded outwards (s is used as rounded). F is exact up to ``MOST``
components, or rounded once from two digits. Two roundings of the product and one of each of three partial results, none of which is
above G = max|z|^2 + 2 max|y| |p| + 2 max e1 |w1| + 2 max e2 |w2|: less than 8 u G in all. A row is left out if g > V(K), K the k-th key
so far (its value by the definition, with the other sign for ip and cosine):

    V(K) = alpha K + beta + 2 max|y| |h| + 8 u G.

l2: alpha K is K scaled, widened by what the definition may have rounded off a row left out, beta = -|q'|^2. ip, cosine: alpha = 2 times the scale,
beta = alpha (c.q + what the definition and c.q may err by).

**A key from a distance.** Byte codes give upper bounds of distances. Let k rows be at most T away in the scaled space of bound.py, where a value v has
the squared distance base + gain v, and R = ``bound.reach``(T). What the definition rounds off widens a distance by no more than R / T, or adds no more than
blur^2 to its square, and (T + blur)^2 <= R^2; so none of the k has a key above K = (R^2 - base) / |gain|, rounded up (``key``): K may stand for the k-th.
"""

from __future__ import annotations

import math

from knnscope.certified.bound import TINY, WIDEN, U

MOST = 1088
"""Leading components up to which 16 f of one digit is below 2^24: 120 x 127 x 1,088."""

REACH = 31_000.0
"""|x'| in whole numbers: so no component leaves 16 bits, and with directions of length 2^``DIGITS`` no product 32."""
NEAR = 0.03
"""How far the directions may be from orthonormal ones for that: (31,000 + sqrt(2,048)) 2^16 1.03 is below 2^31."""
DIGITS = 16
"""Binary digits of a direction's length, S: fewer where one of its components would leave 16 bits."""


def strayed(dim: int, leading: int, defect: float) -> float:
    """rho: how far a computed z1 may be from Q1 x', relative to |x'|; ``defect`` is eta."""
    return ((dim + 2) * U * math.sqrt(leading) * (1 + defect) + 2 * U + defect) * WIDEN


def strayed_whole(dim: int, defect: float, missed: float) -> float:
    """The same of rows that are multiplied in whole numbers; ``defect`` is eta, ``missed`` sigma; infinite where the proof does not hold."""
    if defect + missed > NEAR:
        return math.inf
    rounded = (0.5 + 2.0**-8) * math.sqrt(dim) / REACH + 4 * U
    return (defect + missed + (1 + defect + missed) * rounded + 2 * U) * WIDEN


def residual(residual2: float, length: float, rho: float) -> float:
    """e1, or |h|: at least |z1 - y|, from the computed sum of squares of it and |x'|."""
    return (math.sqrt(residual2) + rho * length) * (1 + 2.0**-30) + TINY


def rest(length2: float, leading2: float, rho: float) -> float:
    """e2, or |w2|: at least |z2|, from |x'|^2 and the computed |z1|^2, each right to 2^-30."""
    length = math.sqrt(length2)
    known = max(0.0, math.sqrt(leading2) * (1 - 2.0**-29) - rho * length)
    return math.sqrt(max(0.0, length2 * (1 + 2.0**-29) - known * known)) * WIDEN + TINY


def limit(key: float, alpha: float, beta: float) -> float:
    """V, before it is rounded up to float32."""
    return alpha * key + beta + (abs(alpha * key) + abs(beta)) * (WIDEN - 1) + TINY


def key(reach: float, base: float, gain: float) -> float:
    """A k-th key, from ``bound.reach`` of an upper bound of the k-th distance: no row within that bound has a larger one by the definition.

    Args:
        reach: see there.
        base: a value v as defined has the squared distance base + gain v.
        gain: see ``base``; below 0 for ip and cosine, whose keys have the other sign.
    """
    square = reach * reach
    found = (square - base + (square + abs(base)) * (WIDEN - 1)) / abs(gain)
    return found + abs(found) * (WIDEN - 1)


def least(g: float, alpha: float, beta: float) -> float:
    """A key below that of every row whose bound is ``g`` or more."""
    key = (g - beta) / alpha
    return key - (abs(g / alpha) + abs(beta / alpha)) * 4 * (WIDEN - 1)
