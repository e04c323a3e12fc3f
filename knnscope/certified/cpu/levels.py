"""What stands beside the rows: byte codes, in the order of a scan or row after row, and the plane.

Where there is a plane, codes are kept row after row, for the rows that it leaves. Searches that scan all codes (a large k, and what the plane has no
room for) write them in a scan's order when the first of them comes: 10 to 80 ms for 75,000 rows of 384, most of it for new pages, and from then on as
many bytes again.
Where memory is to be small and there is a plane, there are no byte codes: what it leaves goes to the rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import dispatch, lines, plane, plane_steps, quantise
from knnscope.certified.cpu.passing import over
from knnscope.certified.cpu.plane import Plane
from knnscope.certified.cpu.quantise import Codes, Mapping, Quantiser, mapping_of
from knnscope.certified.cpu.workers import Workers


class How(NamedTuple):
    """How rows are searched: an instruction set; memory: fast; small; or codes, for byte codes alone."""

    isa: str
    memory: str


class Levels:
    """Of some rows.

    codes: byte codes; of those that lie row after row, only what belongs to a row as a whole. None where bounds would overflow, and where the
    plane is all. plane: None where it is of no use. lines: None where there is no plane, or nothing else. steps: searches that several threads share.
    """

    codes: Codes | None
    plane: Plane | None = None
    lines: npt.NDArray[np.int8] | None = None

    def __init__(self, rows: npt.NDArray[Any], metric: str, how: How, workers: Workers) -> None:
        """Write them, in one pass over the rows after what is sampled; two where ``metric`` is ip, or a plane turns out to be of no use.

        Raises:
            KnnscopeError: a number that is not finite; names where.
        """
        isa, memory = how
        self.steps = plane_steps.Kept()
        self.codes = self._scanned = None
        mapping = mapping_of(rows, metric, workers)
        if mapping is None:
            return
        prices = dispatch.PRICES[isa]
        directions = plane.directions_of(rows, mapping, prices) if memory != "codes" else None
        if directions is not None and memory == "small":
            self.plane = plane.build(rows, mapping, directions, workers, prices)
        elif directions is not None:
            self._write_both(rows, mapping, plane.Writing(len(rows), mapping, directions, prices), workers)
        if self.plane is None:
            self.codes = self._scanned = quantise.of(rows, mapping, workers)

    def _write_both(self, rows: npt.NDArray[Any], mapping: Mapping, leading: plane.Writing, workers: Workers) -> None:
        """Write lines and the plane in one pass; neither where too many rows are too long for a plane, or one for codes."""
        quantiser = Quantiser(mapping)
        near = lines.Writing(rows.shape, quantiser)

        def write(some: npt.NDArray[Any], first: int) -> bool:
            return near.write(some, first) and leading.write(some, first)

        if over(rows, workers, write):
            self.codes, self.lines, self.plane = near.codes(), near.lines, leading.ended()

    @property
    def nbytes(self) -> int:
        """Bytes of all."""
        every = (self._scanned or self.codes, self.plane, self.lines)
        return sum(part.nbytes for part in every if part is not None)

    def scanned(self, codes: Codes, workers: Workers) -> Codes:
        """The codes, in the order of a scan. Threads that ask for them at the same time each write them, and one of these stays."""
        found = self._scanned
        if found is None:
            assert self.lines is not None
            found = self._scanned = lines.in_blocks(self.lines, codes, workers)
        return found
