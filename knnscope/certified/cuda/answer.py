"""What a path answers, before it is a ``Ranked``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

NOT_A_NUMBER, CHANGED, UNANSWERED = 1, 2, 4
"""Bits of ``errors``: a value is no number; a row is not where its bound says; the path could not answer."""


@dataclass(slots=True)
class Answers:
    """ids, int64, and values, float64, (queries, k), on the GPU; the rest a number a query, here. path: its name."""

    ids: Any
    values: Any
    candidates: npt.NDArray[np.int64]
    computed: npt.NDArray[np.int64]
    margins: npt.NDArray[np.float64]
    errors: npt.NDArray[np.uint32]
    path: str = ""

    @classmethod
    def empty(cls, count: int, k: int) -> Answers:
        """For so many queries."""
        return cls(
            cp.empty((count, k), dtype=cp.int64), cp.empty((count, k)), np.zeros(count, dtype=np.int64),
            np.zeros(count, dtype=np.int64), np.full(count, np.inf), np.zeros(count, dtype=np.uint32),
        )  # fmt: skip
