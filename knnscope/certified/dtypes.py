"""Types of rows, and those that stand for what NumPy or compiled code has not: widened without rounding. cpu/values.py compiles the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

HALF, BFLOAT = np.dtype(np.uint16), np.dtype(np.int16)
"""Types that stand for float16 and bfloat16, which compiled code does not compute with: their bits."""


def computable(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory as a type that ``value`` reads."""
    if rows.dtype != np.float16:
        return rows
    made, file = rows.view(HALF), getattr(rows, "file", None)
    if file is not None:  # see row_file.py
        made.file = file  # type: ignore[attr-defined]
    return made


def widened(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Some rows as float64, or a type that holds them."""
    if rows.dtype == BFLOAT:
        return (rows.astype(np.int32) << 16).view(np.float32)
    return rows.view(np.float16) if rows.dtype == HALF else rows
