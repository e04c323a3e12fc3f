"""Searches by the plane, and the merge of their answers, by the definition: what kernels do, on a GPU in words (gpu_in_words.py)."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.search import definition
from tests.certified.cuda.gpu_in_words import Array, bytes_at

TILE = 128
"""Rows of a tile."""


class PlaneInWords:
    """Of rows with these names, or without. known: for each search that was given a k-th value, True."""

    def __init__(self, gpu: Any, line: Any, names: npt.NDArray[np.int64] | None, metric: str) -> None:
        self.gpu, self.line, self.names, self.metric = gpu, line, names, metric
        self.known = list[bool]()

    def workspace(self, part: Any, _codes: Any, _count: int, k: int) -> Workspace:
        """In the place of ``plane.Workspace``."""
        return Workspace(self, len(part.rows), k)

    def keys(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Smaller is nearer."""
        return values if self.metric == "l2" else -values

    def merged(self, answers: Any, k: int, _metric: str, out: Any) -> Any:
        """In the place of ``merge_there``: queued."""
        count = len(answers[0][0])
        made = out or (Array((count, k), np.int64), Array((count, k), np.float64))

        def merge() -> None:
            ids, values = (np.concatenate([one[which] for one in answers], axis=1) for which in (0, 1))
            keys = np.where(ids < 0, np.inf, self.keys(values))
            order = np.lexsort((ids.view(np.uint64), keys), axis=1)[:, :k]
            for to, each in zip(made, (ids, values), strict=True):
                to[...] = np.take_along_axis(each, order, axis=1)

        self.gpu.current.queue(merge)
        return made


class Workspace:
    """The kernel: the definition over the rows that it is given, without those beyond the k-th value that is known."""

    def __init__(self, words: PlaneInWords, size: int, k: int) -> None:
        self.words, self.size, self.k = words, size, k

    def at(self, part: Any, tiles: int, known: int | None) -> None:
        """The next search is of this part, whose tiles lie there."""
        assert len(part.rows) == self.size
        self.part, self.tiles, self.known = part, tiles, known

    def queue(self, _stream: int, some: Any, mask: Any, told: int, answer: tuple[int, int]) -> None:
        """Answer some queries when the current stream comes to it."""
        asked = self.part, self.tiles, self.known
        self.words.gpu.current.queue(lambda: self._answer(asked, some, mask, told, answer))

    def _answer(self, asked: Any, some: Any, mask: Any, told: int, answer: tuple[int, int]) -> None:
        part, tiles, best = asked
        self._is_there(part, tiles)
        called = part.base + np.arange(self.size) if part.names is None else np.asarray(part.names)
        ids, values = np.full((len(some), self.k), -1), np.empty((len(some), self.k))
        values[:] = np.inf if self.words.metric == "l2" else -np.inf
        found = definition.distances(np.asarray(part.rows), np.asarray(some, np.float64), self.words.metric)
        for number, one in enumerate(found):
            keys = np.where(np.isnan(one), np.inf, self.words.keys(one))
            left = bytes_at(mask[0] + number * mask[1], self.size) != 0 if mask[0] else np.ones(self.size, bool)
            left &= keys <= self._last(best, number)
            order = np.lexsort((called, keys))
            order = order[left[order]][: self.k]
            values[number, : len(order)], ids[number, : len(order)] = one[order], called[order]
        for to, each in zip(answer, (ids, values), strict=True):
            ctypes.memmove(to, each.ctypes.data, each.nbytes)
        self._tell(told, len(some))

    def _is_there(self, part: Any, tiles: int) -> None:
        """The tiles are those of these rows."""
        names, line = self.words.names, self.words.line
        first = part.base if part.names is None else int(np.flatnonzero(names == part.names[0])[0])
        size, start = -(-self.size // TILE) * line.tile_bytes, first // TILE * line.tile_bytes
        assert np.array_equal(bytes_at(tiles, size), line.array[start : start + size])

    def _last(self, best: int | None, number: int) -> float:
        """The key of the k-th row that is known for a query."""
        if best is None:
            return np.inf
        self.words.known.append(True)
        return float(self.words.keys(bytes_at(best + 8 * (number * self.k + self.k - 1), 8).view(np.float64))[0])

    def _tell(self, told: int, count: int) -> None:
        """Three candidates of each query, two of them computed."""
        from knnscope.certified.cuda.plane_told import TOLD

        written = np.zeros(count, TOLD)
        for name, value in (
            ("alpha", 1),
            ("skipped", 2**64 - 1),
            ("least", 2**32 - 1),
            ("candidates", 3),
            ("computed", 2),
        ):
            written[name] = value
        ctypes.memmove(told, written.ctypes.data, written.nbytes)
