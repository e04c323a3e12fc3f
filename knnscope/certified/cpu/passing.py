"""Passes over all rows, some at a time, by several threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu.workers import Workers

PANEL = 32
"""Rows that the scan takes at once: those of a piece are whole panels."""
CHUNK = 1024
"""Rows that a thread takes at once."""
CHUNK_COMPONENTS = 1 << 22
"""Components that a thread takes at once: fewer rows where rows are long."""

Work = Callable[[npt.NDArray[Any], int], bool]
"""What is done with some rows, in one piece, and the number of the first: whether it makes sense to go on."""


def chunk(dim: int) -> int:
    """Rows of this dimension that a thread takes at once: whole panels."""
    return max(PANEL, min(CHUNK, CHUNK_COMPONENTS // dim // PANEL * PANEL))


def over(rows: npt.NDArray[Any], workers: Workers, work: Work) -> bool:
    """Work on all rows; False as soon as that makes no sense any more."""
    each, stopped = chunk(rows.shape[1]), list[bool]()

    def one(first: int) -> None:
        if not stopped and not work(np.ascontiguousarray(rows[first : first + each]), first):
            stopped.append(True)

    workers.map(one, range(0, len(rows), each))
    return not stopped
