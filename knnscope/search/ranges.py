"""Whether sums in float32 stay numbers: where one would not, Faiss leaves the row out and does not say so."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError

LARGEST = float(np.finfo(np.float32).max)
BLOCK = 1 << 12


class Range:
    """The longest of some rows, against which queries are held."""

    def __init__(self, rows: npt.NDArray[np.float32], metric: str) -> None:
        self._metric = metric
        self._longest = max((_longest(rows[i : i + BLOCK]) for i in range(0, len(rows), BLOCK)), default=0.0)

    def check(self, queries: npt.NDArray[np.float32]) -> None:
        """Refuse queries with which a distance, or a part of its sum, could pass float32's range.

        Raises:
            KnnscopeError: says what to do.
        """
        # |sum| <= |x| |q| for products, by Cauchy and Schwarz; no part of |x|^2 - 2 x.q + |q|^2 is above (|x| + |q|)^2
        longest = _longest(queries)
        most = (self._longest + longest) ** 2 if self._metric == "l2" else self._longest * longest
        if not most < LARGEST / 2:
            raise KnnscopeError(f"{self._metric} of these numbers overflows float32: scale the vectors down")


def _longest(rows: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64).max(initial=0.0)))
