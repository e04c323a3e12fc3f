"""Whether an engine's sums stay numbers: where one would not, it leaves the row out and does not say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError

BLOCK = 1 << 12


class Range:
    """The longest of some rows, against which queries are held.

    Sums are taken to be in ``summed``; where it is not given, in float64 for float64 rows and in float32 for all others.
    For cosine that is for libraries that square rows and queries themselves: rows of length 1 need none.
    """

    def __init__(self, rows: npt.NDArray[Any], metric: str, summed: str | None = None) -> None:
        self._metric = metric
        self._type = np.dtype(summed or ("float64" if rows.dtype == np.float64 else "float32"))
        self._longest = 0.0
        self.add(rows)

    def add(self, rows: npt.NDArray[Any]) -> None:
        """Count further rows in."""
        found = [_longest(rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)]
        self._longest = max([self._longest, *found])

    def check(self, queries: npt.NDArray[Any]) -> None:
        """Refuse queries with which a distance, or a part of its sum, could pass the range of the numbers.

        Raises:
            KnnscopeError: says what to do.
        """
        # |sum| <= |x| |q| for products, by Cauchy and Schwarz; no part of |x|^2 - 2 x.q + |q|^2 is above (|x| + |q|)^2
        row, query = self._longest, _longest(queries)
        most = {"l2": row + query, "ip": np.sqrt(row) * np.sqrt(query), "cosine": max(row, query)}[self._metric]
        if not most < np.sqrt(float(np.finfo(self._type.type).max) / 2):
            raise KnnscopeError(f"{self._metric} of these numbers overflows {self._type}: scale the vectors down")


def _longest(rows: npt.NDArray[Any]) -> float:
    with np.errstate(over="ignore"):
        return float(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64).max(initial=0.0)))
