"""Products of all rows with a batch of queries: passes over codes that lie on the GPU or come there in pieces, and thresholds before and between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from knnscope.certified.cuda import items
from knnscope.certified.cuda.codes import Codes
from knnscope.certified.cuda.launch import Launcher, Prepared, pointer
from knnscope.certified.cuda.streaming import CODES, TILE, Streaming
from knnscope.certified.cuda.written import SIDE


@dataclass(frozen=True, slots=True)
class Grid:
    """Blocks of a pass.

    threads, shared: of a block, and bytes of its shared memory. slots: blocks, or clusters of them, that there is room for at once.
    fixed: every pass has as many. together: blocks of a cluster. step: tiles of rows that a warpgroup multiplies at once.
    """

    threads: int
    shared: int
    slots: int
    fixed: bool
    together: int = 1
    step: int = 1


@dataclass(frozen=True, slots=True)
class Kernels:
    """sample, scan: of products. first: makes thresholds of the sample; again: of the hits so far."""

    sample: Launcher
    scan: Launcher
    first: Prepared
    again: Prepared


@dataclass(frozen=True, slots=True)
class Stops:
    """Tiles of rows: of the sample, those after which thresholds are made again, and all."""

    sampled: int
    again: tuple[int, ...]
    tiles: int


class Passes:
    """What is queued between writing queries as codes and ranking what is left."""

    def __init__(self, codes: Codes, given: Any, kernels: Kernels, grid: Grid, stops: Stops) -> None:
        """Prepare launches; those over pieces are prepared when these come.

        Args:
            codes: of the rows.
            given: ``Batch`` of batch.py, but for codes and tiles.
            kernels: see there.
            grid: likewise.
            stops: likewise.
        """
        self._codes, self._given, self._kernels, self._grid, self._stops = codes, given, kernels, grid, stops
        self._all = self._of_all() if codes.streaming is None else []

    def __call__(self, stream: int) -> None:
        """Queue them on a stream, the current one."""
        if self._codes.streaming is not None:
            self._in_pieces(stream, self._codes.streaming)
        for start in self._all:
            start(stream)

    def _of_all(self) -> list[Prepared]:
        stops, kernels = self._stops, self._kernels
        here = pointer(self._codes.codes) or 0, pointer(self._codes.sides) or 0
        steps = [self._over(kernels.sample, 0, stops.sampled, here), kernels.first]
        for begin, end in zip((0, *stops.again), (*stops.again, stops.tiles), strict=True):
            steps.append(self._over(kernels.scan, begin, end, here))
            if end < stops.tiles:
                steps.append(kernels.again)
        return steps

    def _in_pieces(self, stream: int, streaming: Streaming) -> None:
        """The same of rows in the order in which their pieces come: the first one has the sample, and hits and thresholds are those of all so far."""
        kernels, done, again = self._kernels, 0, list(self._stops.again)
        for piece in streaming.trip(CODES):
            # rows have the numbers of all rows: codes of the first one would lie so far before the piece
            codes = piece.at[0] - piece.first * TILE * self._codes.width
            sides = piece.at[1] - piece.first * 4 * SIDE if len(piece.at) > 1 else pointer(self._codes.sides)
            here = codes, sides or 0
            if not done:
                self._over(kernels.sample, piece.first, piece.first + self._stops.sampled, here)(stream)
                kernels.first(stream)
            begin = piece.first
            while begin < piece.last:
                end = min(piece.last, begin + again[0] - done) if again else piece.last
                self._over(kernels.scan, begin, end, here)(stream)
                begin, done = end, done + end - begin
                if again and done == again[0]:
                    del again[0]
                    kernels.again(stream)

    def _over(self, run: Launcher, begin: int, end: int, here: tuple[int, int]) -> Prepared:
        """Products of some tiles of rows with all queries; here: where codes and sides of the first of all rows lie, or would."""
        given, grid = type(self._given).from_buffer_copy(self._given), self._grid
        each = items.tiles_of(end - begin, given.query_tiles, grid.slots, grid.step)
        blocks = grid.slots if grid.fixed else -(-(end - begin) // each) * given.query_tiles
        given.codes, given.sides = here
        given.first, given.last, given.each = begin, end, each
        return Prepared(run, (min(blocks, grid.slots) * grid.together, grid.threads, grid.shared), given)
