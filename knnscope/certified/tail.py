"""Rows that were added last: a buffer that fills up, of which each state sees the first so many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.ids import STRING, Ids, Int64, Numbers, Strings
from knnscope.certified.state import Part, Segment, whole

SEAL = 256
"""Rows from which on codes are written. One query compares itself with so many in 40 µs; writing them takes 1 ms."""


class Tail:
    """Room for some rows and their ids. What is written lies behind what any state sees."""

    def __init__(self, dim: int, dtype: npt.DTypeLike, is_text: bool) -> None:
        self._rows = np.empty((SEAL, dim), dtype=dtype)
        self._ids: npt.NDArray[Any] = np.empty(SEAL, dtype=STRING if is_text else np.int64)

    def holds(self, part: Part) -> bool:
        """Whether the part's rows lie here, so that others can follow them."""
        return getattr(part.segment.rows, "base", None) is self._rows

    def extended(self, before: Part | None, rows: Any, ids: Ids, make: Callable[[Any, Int64], Any]) -> Part:
        """A part of the rows of one before, if there is one, and some that follow; there is room for them.

        Args:
            before: whose rows lie here, all of them left: where some are not, an id might stand here twice.
            rows: in host memory, (rows, dim).
            ids: of these.
            make: see ``Segment.opened``.
        """
        at = 0 if before is None else len(before.segment.ids)
        end = at + len(rows)
        self._rows[at:end] = rows
        self._ids[at:end] = ids.array()
        names = self._ids[:end]
        called: Ids = Strings(names) if names.dtype.kind == "T" else Numbers(names, end)
        return whole(Segment.opened(self._rows[:end], called, make))
