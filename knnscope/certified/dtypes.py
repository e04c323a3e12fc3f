"""Types of rows, and those that stand for what NumPy or Numba has not: widened without rounding. cpu/values.py compiles the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

HALF, BFLOAT = np.dtype(np.uint16), np.dtype(np.int16)
"""Types that stand for float16 and bfloat16, which Numba does not compute with: their bits."""


def computable(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory as a type that ``value`` reads."""
    return rows.view(HALF) if rows.dtype == np.float16 else rows


class _Memory:
    """Memory of an array, which lives as long."""

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def alias(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory, not marked as read-only: to Numba that is another type, for which all would be compiled again. Nobody writes to it."""
    return rows if rows.flags.writeable else np.asarray(_Memory(rows))


def widened(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Some rows as float64, or a type that holds them."""
    if rows.dtype == BFLOAT:
        return (rows.astype(np.int32) << 16).view(np.float32)
    return rows.view(np.float16) if rows.dtype == HALF else rows
