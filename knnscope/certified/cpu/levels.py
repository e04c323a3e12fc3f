"""What stands beside the rows: byte codes, in the order of a scan or row after row, and the plane.

Where there is a plane, codes are kept row after row, for the rows that it leaves. Searches that scan all codes (a large k, and what the plane has no
room for) write them in a scan's order when the first of them comes: 10 to 80 ms for 75,000 rows of 384, most of it for new pages, and from then on as
many bytes again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import dispatch, lines, plane
from knnscope.certified.cpu.plane import Plane
from knnscope.certified.cpu.quantise import Codes, build
from knnscope.certified.cpu.workers import Workers


class Levels:
    """Of some rows.

    codes: byte codes; of those that lie row after row, only what belongs to a row as a whole. None where bounds would overflow. plane, lines:
    None where a plane is of no use.
    """

    codes: Codes | None
    plane: Plane | None = None
    lines: npt.NDArray[np.int8] | None = None

    def __init__(self, rows: npt.NDArray[Any], metric: str, isa: str, workers: Workers) -> None:
        """Write them; see ``quantise.build`` and ``plane.of``."""
        self.codes = self._scanned = codes = build(rows, metric, workers)
        if codes is None:
            return
        self.plane = plane.of(rows, codes.mapping, workers, dispatch.PRICES[isa])
        if self.plane is not None:
            self.lines = lines.of(codes.coded, codes.rows, workers)
            none = np.empty((0, *codes.coded.codes.shape[1:]), dtype=np.int8)
            self.codes, self._scanned = replace(codes, coded=codes.coded._replace(codes=none)), None

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
