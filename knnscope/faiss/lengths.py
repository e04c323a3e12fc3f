"""Faiss' normalising of rows, for similarities that are cosines."""

from __future__ import annotations

from typing import Any

import numpy as np

from knnscope.faiss.arrays import ShapeError

AT_ONCE = 1 << 14
"""Rows that are float64 at once."""


def normalize_L2(x: Any) -> None:  # noqa: N802
    """``faiss.normalize_L2``: rows become of length 1 where they lie, by float64 lengths; those of length 0 stay.

    Args:
        x: float32, (rows, d), writeable.

    Raises:
        ShapeError: another type or shape: then there is nothing to write to.
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.float32 or x.ndim != 2 or not x.flags.writeable:
        raise ShapeError(
            "normalize_L2 changes a NumPy array of float32, (rows, d), that may be written: another was given"
        )
    for first in range(0, len(x), AT_ONCE):
        some = x[first : first + AT_ONCE]
        lengths = np.sqrt(np.square(some, dtype=np.float64).sum(axis=1, keepdims=True))
        np.divide(some, lengths, out=some, where=lengths > 0, casting="same_kind")
