"""A whole search of the plane by one thread, in one call (``plane_search._alone``), laid out once for all of its size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import plane_search, scratch
from knnscope.certified.cpu.plane_scan import bounds_size
from knnscope.certified.cpu.plane_steps import Ground
from knnscope.certified.cpu.programs import Program, steps_of
from knnscope.certified.cpu.ranking import Answers, blank_answers
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.scanner import UNKNOWN, Request


class Size(NamedTuple):
    """Instruction set, queries, neighbors, rows that a query may leave, and whether k-th keys are known before."""

    isa: str
    queries: int
    k: int
    room: int
    is_known: bool


class Alone:
    """Searches of one size."""

    def __init__(self, ground: Ground, size: Size, allowed: npt.NDArray[np.bool_]) -> None:
        """Lay out; ``allowed``: mask of all, as in scanner.Request."""
        table, plane, near, mapping = ground
        isa, count, k, room, is_known = size
        width, blocks = plane_search.width(isa, count), len(plane.blocks)
        self._memory = bounds_size(width[0] // width[1], blocks) + 2 * room * count
        forms: Any = (plane_search.forms if mapping else plane_search.direct_forms)(isa)
        queries, most = np.empty((count, table.rows.shape[1])), np.empty(count if is_known else 0)
        memory, answers = np.empty(0, dtype=np.float32), blank_answers(count, k)
        both = (plane.blocks, plane.map, near, mapping or 0)
        call = (table, both, (*width, blocks), Request(queries, k, allowed, most), memory, answers)
        self._program = Program(steps_of(call, ((forms.alone, [()]),)), 1, (queries, most, memory, *answers))
        self.nbytes = queries.nbytes

    def answer(self, queries: Any, answers: Answers, workers: Workers) -> bool:
        """As ``run``, of queries alone."""
        with scratch.floats("rows", self._memory) as memory:
            return bool(workers.run(self._program, queries, UNKNOWN, memory, *answers))

    def run(self, request: Request, answers: Answers, workers: Workers) -> bool:
        """Answer queries; whether that is all of them.

        Raises:
            MemoryError: there was none.
        """
        with scratch.floats("rows", self._memory) as memory:
            return bool(workers.run(self._program, request.queries, request.most, memory, *answers))
