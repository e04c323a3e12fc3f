"""Columns of numbers as they are read: checked, put together, and put in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

MANY = 1 << 20
"""Events of which the ends are worth a conversion at every use."""
LARGEST = 1 << 40
"""Bytes of a copy; no memory is larger."""


def size(nbytes: Any) -> Any:
    """Bytes of copies; what no memory holds is nothing."""
    return np.where((nbytes >= 0) & (nbytes <= LARGEST), nbytes, 0)


def small(values: Any) -> Any:
    """Kinds of copies; 0 is CUPTI's for one that nobody knows, and fills are none."""
    return np.where((values >= 0) & (values < 100), values, 0).astype(np.int8)


def resized(column: Any, count: int, room: int) -> Any:
    """The first ``count`` of a column, and room for more."""
    longer = np.empty(room, dtype=column.dtype)
    longer[:count] = column[:count]
    return longer


def narrow(column: Any) -> Any:
    """Whole numbers from 0 up in the smallest type that holds them; one that stands everywhere is held once."""
    if not len(column):
        return column
    if (column == column[0]).all():
        return np.broadcast_to(column[0], len(column))
    least, most = int(column.min()), int(column.max())
    return column.astype(np.min_scalar_type(-most - 1)) if least >= 0 else column


def short(start: Any, end: Any) -> Any:
    """Of many events the durations as int32, where all fit; else the ends as they are."""
    if len(start) < max(MANY, 1) or int((end - start).max()) >= 1 << 31:
        return end
    return (end - start).astype(np.int32)


def joined(parts: list[list[Any]]) -> list[Any]:
    """Columns in one piece each; the pieces go as soon as they are used."""
    columns = []
    for i in range(len(parts[0])):
        columns.append(np.concatenate([part[i] for part in parts]))
        for part in parts:
            part[i] = None
    return columns


def in_order(columns: list[Any]) -> list[Any]:
    """Columns in order of the first."""
    start = columns[0]
    if (start[1:] < start[:-1]).any():
        order = np.argsort(start, kind="stable")
        for i, column in enumerate(columns):
            columns[i] = column[order]
    return columns


def together(parts: list[list[Any]], dtypes: Sequence[Any]) -> list[Any]:
    """Columns of several tables as one, in order of the first."""
    if not parts:
        return [np.zeros(0, dtype=dtype) for dtype in dtypes]
    return parts[0] if len(parts) == 1 else in_order(joined(parts))
