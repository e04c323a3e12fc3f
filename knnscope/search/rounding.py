"""How far rounding can take a computed distance from the true one: the bound that each engine's formula is held to.

Standard model of floating-point arithmetic, any order of summation, with or without fused multiply-add (Higham, Accuracy and
Stability of Numerical Algorithms, 2nd edition, sections 2.2, 3.1 and 3.5): gamma_n = n u / (1 - n u).

    difference  sum (x_j - q_j)^2                gamma_{d+2} * D
    rooted      the root of that, as it sorts    gamma_{d+4} * D
    expanded    |x|^2 - 2 x.q + |q|^2            gamma_{d+3} * (|x| + |q|)^2, which is not small where D is
    ip          sum x_j q_j                      gamma_d * |x| |q|
    cosine      ip of rows divided by norms      gamma_{2d+8}: the product, two norms, their roots and divisions

Underflow adds less than the smallest normal number for each operation, flushed to zero or not. Of cosine that holds for norms
above 1e-14 in float32: an engine that squares smaller rows before it scales them loses more to underflow, and is held to the bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.arithmetic import ieee
from knnscope.checks import COMPONENTS

Float64 = npt.NDArray[np.float64]

UNITS = {"float64": 2.0**-53, "float32": 2.0**-24}
"""Unit roundoff of the arithmetic."""


@dataclass(frozen=True, slots=True)
class Formula:
    """How an engine computes a distance.

    form: difference, rooted or expanded; it matters for l2 only. precision: a key of ``UNITS``, or tf32. defined: by the definition itself, in its
    order, so that no rounding is allowed at all. extra: roundings beside those of the form. shifted: of ip, computed as 1 - s and turned back, which
    rounds twice what is up to 1 + |s|.
    """

    form: str
    precision: str = "float32"
    defined: bool = False
    extra: int = 0
    shifted: bool = False

    def __str__(self) -> str:
        return "definition" if self.defined else f"{self.form} {self.precision}"

    @ieee
    def bound(self, metric: str, dim: int, distances: Float64, row_norms: Float64, query_norms: Float64) -> Float64:
        """Largest |computed - true|; arrays broadcast against each other.

        Args:
            metric: l2, ip or cosine.
            dim: components of a row.
            distances: true values (l2 squared).
            row_norms: Euclidean norms of the rows.
            query_norms: those of the queries.
        """
        if self.defined:
            return np.zeros(np.broadcast_shapes(distances.shape, row_norms.shape, query_norms.shape))
        tiny = (2 * dim + 8) * (2.0**-1022 if self.precision == "float64" else 2.0**-126)
        if metric == "cosine":
            return self._relative(2 * dim + 8) + tiny + np.zeros_like(distances)
        if metric == "ip":
            bound = self._relative(dim) * row_norms * query_norms
            if self.shifted:
                bound = bound + gamma(2, UNITS["float32"]) * (1 + np.abs(distances) + bound)
        elif self.form in ("difference", "rooted"):  # a root's rounding is two of what is below it
            bound = self._relative(dim + (2 if self.form == "difference" else 4)) * distances
        else:
            bound = self._relative(dim + 3) * (row_norms + query_norms) ** 2
        return np.where(np.isnan(bound), np.inf, bound) + tiny  # infinity times 0: nothing is known

    def _relative(self, roundings: int) -> float:
        roundings += self.extra
        if self.precision == "tf32":  # both factors rounded to 11 bits, then float32
            return gamma(2, 2.0**-11) + gamma(roundings + 2, UNITS["float32"])
        return gamma(roundings, UNITS[self.precision])


DEFINITION = Formula("difference", "float64", defined=True)


def gamma(n: int, u: float) -> float:
    """Relative error of n roundings of unit ``u``: n u / (1 - n u); infinite where that says nothing."""
    return n * u / (1 - n * u) if n * u < 1 else float("inf")


@ieee
def norms(values: npt.NDArray[Any]) -> Float64:
    """Euclidean norms of rows, in float64, block by block; right also where the squares underflow."""
    step = max(1, min(4096, COMPONENTS // max(1, values.shape[1])))
    return np.concatenate(
        [_norms(np.asarray(values[start : start + step], dtype=np.float64)) for start in range(0, len(values), step)]
    )


def _norms(rows: Float64) -> Float64:
    lengths: Float64 = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    small = np.flatnonzero(lengths < 2.0**-480)
    scaled = rows[small] * 2.0**600
    lengths[small] = np.sqrt(np.einsum("ij,ij->i", scaled, scaled)) * 2.0**-600
    return lengths
