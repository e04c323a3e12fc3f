"""Rows in GPU memory, and what every path needs to know of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.kernels import sources

CELLS = {"float32": 0, "float16": 1, "bfloat16": 2, "float64": 3, "int8": 4, "uint8": 5, "int32": 6}
"""Types of components, as the kernels number them."""


@dataclass(frozen=True, slots=True)
class Table:
    """What is searched.

    rows: (rows, dim), bfloat16 as int16, its bits. cell: its type, a key of ``CELLS``. names: int64, (rows,), on the GPU; None for their
    numbers. by_name: int64, (rows,): rows in the order of their names; None likewise. norms: float64, (rows,), as defined, for cosine;
    else None. metric: 0 l2, 1 ip, 2 cosine. device: its number. base: number of the first row, where rows go by their numbers.
    """

    rows: Any
    cell: str
    names: Any
    by_name: Any
    norms: Any
    metric: int
    device: int
    base: int = 0

    def part(self, first: int, last: int) -> Table:
        """Rows from one up to another, by their names; not in the order of these."""
        some = slice(first, last)
        names, norms = (None if array is None else array[some] for array in (self.names, self.norms))
        return Table(self.rows[some], self.cell, names, None, norms, self.metric, self.device, self.base + first)

    def macros(self, **more: int) -> tuple[tuple[str, int], ...]:
        """Of the kernels for these rows."""
        return (("CELL", CELLS[self.cell]), ("METRIC", self.metric), *more.items())


def cell_of(rows: Any) -> str:
    """The type of rows as ``rows.as_rows`` gives them."""
    return "bfloat16" if rows.dtype == np.int16 else str(rows.dtype)


def processors() -> int:
    """Multiprocessors of the current device."""
    return int(cp.cuda.Device().attributes["MultiProcessorCount"])


def most_shared() -> int:
    """Bytes of shared memory that a block of the current device may have."""
    return int(cp.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"])


def values_source(table: Table) -> sources.Source:
    """The kernels of all_rows.py."""
    return sources.exact("values", table.macros())


def host(array: Any) -> npt.NDArray[Any]:
    """A copy in host memory."""
    copied: npt.NDArray[Any] = cp.asnumpy(array)
    return copied


def on_gpu(array: npt.NDArray[Any]) -> Any:
    """A copy in the current GPU's memory, row after row: CuPy leaves an array whose columns lie together as it lies."""
    return cp.asarray(np.ascontiguousarray(array))
