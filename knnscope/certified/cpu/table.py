"""The rows that are ranked, what they are called and how they are compared: what compiled code is given of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.row_file import read_at


class Table(NamedTuple):
    """What is ranked.

    rows: (rows, dim), as ``values.value`` reads them. names: int64, (rows,): what rows are called; (0,) for their numbers. metric: 0 l2,
    1 ip, 2 cosine. widen: what rounding in the definition may multiply a distance with. handle, start: of rows that stay in a file, its descriptor,
    and the byte of the first row; -1 and 0 else.
    """

    rows: npt.NDArray[Any]
    names: npt.NDArray[np.int64]
    metric: int
    widen: float
    handle: int = -1
    start: int = 0


def part_of(table: Table, first: int, last: int) -> Table:
    """Some rows, in memory: read where they stay in a file.

    Raises:
        KnnscopeError: that does not give them.
    """
    rows = table.rows
    if table.handle < 0:
        return table._replace(rows=rows[first:last])
    made = np.empty((last - first, rows.shape[1]), dtype=rows.dtype)
    read_at(table.handle, made, table.start + first * rows[0].nbytes, "the rows' file")
    return table._replace(rows=made, handle=-1, start=0)
