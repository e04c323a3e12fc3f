"""What stands beside the rows: byte codes, in the order of a scan or row after row, and the plane.

Where there is a plane, codes are kept row after row, for the rows that it leaves. Searches that scan all codes (a large k, and what the plane has no
room for) write them in a scan's order when the first of them comes: 10 to 80 ms for 75,000 rows of 384, most of it for new pages, and from then on as
many bytes again.
Where memory is to be small and there is a plane, there are no byte codes: what it leaves goes to the rows. Where it is given in bytes, what fits is kept, and
nothing more is written later: searches go by the plane and the codes row after row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from knnscope.certified.components import Directions, Prices
from knnscope.certified.cpu import dispatch, lines, plane, quantise
from knnscope.certified.cpu.again import LaidOut
from knnscope.certified.cpu.passing import chunk, over
from knnscope.certified.cpu.plane import Plane
from knnscope.certified.cpu.plane import Writing as PlaneWriting
from knnscope.certified.cpu.quantise import Codes, Mapping, Quantiser, mapping_of
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.memory import most_of
from knnscope.certified.row_file import file_of, piece
from knnscope.errors import KnnscopeError

SIDE_BY_SIDE = 1 << 28
"""Bytes of rows up to which codes are written while one thread looks for the directions of the plane: of more, these take a small part of the time."""


class How(NamedTuple):
    """How rows are searched: an instruction set; memory: fast; small; a number of bytes, in digits; or codes, for byte codes alone."""

    isa: str
    memory: str


def _fits(shape: tuple[int, int], directions: Directions | None, most: int) -> bool:
    """Whether what is kept in so many bytes is the plane alone; without directions there are byte codes alone.

    Raises:
        KnnscopeError: nothing fits; says what would.
    """
    rows, dim = shape
    if directions is None:
        needed = {"a byte a component": quantise.nbytes(rows, dim)}
    else:
        leading = plane.nbytes(rows, directions)
        half = f"half a byte for the {len(directions.matrix)} leading components"
        needed = {f"{half} and a byte a component": leading + lines.nbytes(rows, dim), f"{half} alone": leading}
    if min(needed.values()) > most:
        told = ", ".join(f"{size:,} for {what}" for what, size in needed.items())
        raise KnnscopeError(f"memory = {most:,} bytes: {rows:,} rows of {dim:,} components need {told}")
    return next(iter(needed.values())) > most


class Levels:
    """Of some rows.

    codes: byte codes; of those that lie row after row, only what belongs to a row as a whole. None where bounds would overflow, and where the
    plane is all. plane: None where it is of no use. lines: None where there is no plane, or nothing else. laid_out: searches of
    them.
    is_fixed: nothing more may be written, because of the memory that was given.
    """

    codes: Codes | None
    plane: Plane | None = None
    lines: npt.NDArray[np.int8] | None = None
    is_fixed: bool = False

    def __init__(self, rows: npt.NDArray[Any], metric: str, how: How, workers: Workers) -> None:
        """Write them, in one pass over the rows after what is sampled; two where ``metric`` is ip, or a plane turns out to be of no use.

        Raises:
            KnnscopeError: a number that is not finite; names where. Memory that is too little.
        """
        isa, memory = how
        self.laid_out = LaidOut()
        self.codes = self._scanned = None
        mapping = mapping_of(rows, metric, workers)
        if mapping is None:
            return
        prices, most = dispatch.PRICES[isa], most_of(memory)
        few = rows.nbytes <= SIDE_BY_SIDE and file_of(rows) is None and plane.may_be(rows.shape, mapping)
        if memory == "fast" and few and workers.count > 1:
            self._write_side_by_side(rows, mapping, prices, workers)
            return
        directions = plane.directions_of(rows, mapping, prices) if memory != "codes" else None
        alone = memory == "small"
        if most is not None:
            self.is_fixed, alone = True, _fits(rows.shape, directions, most)
        if directions is not None and alone:
            self.plane = plane.build(rows, mapping, directions, workers, prices)
        elif directions is not None:
            self._write_both(rows, mapping, PlaneWriting(len(rows), mapping, directions, prices), workers)
        if self.plane is None:
            if most is not None:
                _fits(rows.shape, None, most)
            self.codes = self._scanned = quantise.of(rows, mapping, workers)

    def _write_side_by_side(self, rows: npt.NDArray[Any], mapping: Mapping, prices: Prices, workers: Workers) -> None:
        """Write lines while one thread looks for the directions, which takes as long for few rows; then the plane, or the order of a scan."""
        quantiser, found = Quantiser(mapping), list[Directions | None]()
        near = lines.Writing(rows.shape, quantiser)
        pieces = [-1, *range(0, len(rows), chunk(rows.shape[1]))]

        def write(first: int) -> bool:
            if first < 0:
                found.append(plane.directions_of(rows, mapping, prices))
                return True
            return near.write(piece(rows, first, first + chunk(rows.shape[1])), first)

        if not quantiser.holds or not all(workers.map(write, pieces)):
            quantise.refuse_infinite(rows)
            return
        codes = near.codes()
        if found[0] is not None:
            self.plane = plane.build(rows, mapping, found[0], workers, prices)
        if self.plane is not None:
            self.codes, self.lines = codes, near.lines
        else:
            self.codes = self._scanned = lines.in_blocks(near.lines, codes, workers)

    def _write_both(self, rows: npt.NDArray[Any], mapping: Mapping, leading: PlaneWriting, workers: Workers) -> None:
        """Write lines and the plane in one pass; neither where too many rows are too long for a plane, or one for codes."""
        quantiser = Quantiser(mapping)
        near = lines.Writing(rows.shape, quantiser)

        def write(some: npt.NDArray[Any], first: int) -> bool:
            return near.write(some, first) and leading.write(some, first)

        if over(rows, workers, write):
            self.codes, self.lines, self.plane = near.codes(), near.lines, leading.ended()

    @property
    def scans(self) -> bool:
        """Whether all byte codes can be scanned."""
        return self.codes is not None and not (self.is_fixed and self.lines is not None)

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
