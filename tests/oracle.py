"""Independent answers to compare with: plain Python floats, exact rationals, and float64 NumPy in another form."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

U32 = 2.0**-24
"""Unit roundoff of float32."""
U64 = 2.0**-53
"""Of float64; what is compared with is rounded by it as well, for which the bounds below have room."""
UTF32 = 2.0**-11
"""Of TF32, to which a tensor core rounds the factors."""


def distance(x: list[float], q: list[float], metric: str) -> float:
    """The definition, one Python float operation at a time (IEEE float64, never fused)."""
    if metric == "l2":
        total = 0.0
        for a, b in zip(x, q, strict=True):
            t = a - b
            total = total + t * t
        return total
    product = 0.0
    for a, b in zip(x, q, strict=True):
        product = product + a * b
    if metric == "ip":
        return product
    nx = nq = 0.0
    for a in x:
        nx = nx + a * a
    for b in q:
        nq = nq + b * b
    scale = math.sqrt(nx) * math.sqrt(nq)
    return product / scale if scale else 0.0


def distances(rows: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    """``distance`` of every row, component after component: each operation is rounded by itself here as well."""
    wide, q = rows.astype(np.float64), query.astype(np.float64)
    total, nx, nq = np.zeros(len(wide)), np.zeros(len(wide)), np.zeros(1)
    with np.errstate(all="ignore"):
        for a, b in zip(wide.T, q, strict=True):
            if metric == "l2":
                t = a - b
                total = total + t * t
            else:
                total, nx, nq = total + a * b, nx + a * a, nq + b * b
        if metric != "cosine":
            return total
        scale = np.sqrt(nx) * np.sqrt(nq)
        return np.where(scale != 0, total / scale, 0.0) + 0.0


def whole(*vectors: Iterable[float]) -> tuple[list[list[int]], int]:
    """Whole numbers, and the power of two by which each is divided: sums of fractions would look for common divisors at every step."""
    ratios = [[float(value).as_integer_ratio() for value in some] for some in vectors]
    most = max((under for some in ratios for _, under in some), default=1)
    return [[over * (most // under) for over, under in some] for some in ratios], most


def rational(x: Iterable[float], q: Iterable[float], metric: str) -> Fraction:
    """l2 or ip without any rounding; cosine to more than 100 bits, 0 where a vector has no length."""
    (a, b), under = whole(x, q)
    if metric == "l2":
        return Fraction(sum((one - other) ** 2 for one, other in zip(a, b, strict=True)), under**2)
    product = sum(one * other for one, other in zip(a, b, strict=True))
    if metric == "ip":
        return Fraction(product, under**2)
    lengths2 = sum(one * one for one in a) * sum(other * other for other in b)
    return product / root(Fraction(lengths2)) if lengths2 else Fraction(0)


def root(value: Fraction) -> Fraction:
    """Square root to more than 100 bits."""
    n = value.numerator * value.denominator
    return Fraction(math.isqrt(n << 256), value.denominator << 128)


def nearest(rows: np.ndarray, query: np.ndarray, k: int, metric: str) -> tuple[list[int], list[float]]:
    """Ids and distances by definition, sorted by (distance, id)."""
    values = distances(rows, query, metric).tolist()
    sign = 1 if metric == "l2" else -1
    order = sorted(range(len(values)), key=lambda i: (sign * values[i], i))[:k]
    return order, [values[i] for i in order]


def float64(rows: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """Distances in float64, (queries, rows), by differences and np.einsum, not by the code under test."""
    x, q = rows.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return np.stack([np.einsum("ij,ij->i", x - one, x - one) for one in q])
    products = np.stack([np.einsum("ij,j->i", x, one) for one in q])
    if metric == "ip":
        return products
    scale = np.outer(np.linalg.norm(q, axis=1), np.linalg.norm(x, axis=1))
    return np.divide(products, scale, out=np.zeros_like(products), where=scale != 0)


def float32_bound(rows: np.ndarray, queries: np.ndarray, metric: str, u: float = U32) -> np.ndarray:
    """What a float32 evaluation may be off by, (queries, rows): any order of summation, expanded form for l2.

    gamma_n = n u / (1 - n u) with n = dim + 4 (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1); the
    expanded form sums three terms each at most (|x| + |q|)^2.
    """
    n = rows.shape[1] + 8
    gamma = n * u / (1 - n * u)
    x, q = np.linalg.norm(rows.astype(np.float64), axis=1), np.linalg.norm(queries.astype(np.float64), axis=1)
    if metric == "l2":
        return 2 * gamma * np.add.outer(q, x) ** 2
    return 2 * gamma * np.outer(q, x) if metric == "ip" else np.full((len(q), len(x)), 4 * gamma)


def answer(rows: np.ndarray, query: np.ndarray, k: int, metric: str) -> tuple[list[int], list[float]]:
    """As ``nearest``, for many rows: float64 sums in another order choose those that plain Python then ranks.

    Sums in any order differ by at most 2 gamma_d of their terms' sizes; neighbors nearer to each other than 1e-12 are looked at in exact
    rationals: the definition may order them otherwise only if its own rounding explains it.
    """
    sign = 1 if metric == "l2" else -1
    approximate = sign * float64(rows, query[None], metric)[0]
    size = float(np.abs(approximate).max()) if metric != "cosine" else 1.0
    q64 = query.astype(np.float64)
    if metric == "ip":
        size = float(np.linalg.norm(rows.astype(np.float64), axis=1).max() * np.linalg.norm(q64))
    slack = 8 * (rows.shape[1] + 8) * 2.0**-53 * size
    chosen = np.flatnonzero(approximate <= np.partition(approximate, k - 1)[k - 1] + slack)
    order, values = nearest(rows[chosen], query, k, metric)
    if metric != "cosine":
        for i in range(k - 1):
            if 0 < abs(values[i + 1] - values[i]) < 1e-12 * size:
                pair = [
                    rational(rows[chosen[order[i + j]]].astype(np.float64).tolist(), q64.tolist(), metric)
                    for j in (0, 1)
                ]
                assert sign * (pair[0] - pair[1]) <= slack, "the definition is further off than its rounding allows"
    return [int(chosen[i]) for i in order], values
