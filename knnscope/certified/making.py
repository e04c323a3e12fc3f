"""How rows become searchable on the machine of an index, and how a segment's rows are read and joined there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.cpu import meanwhile
from knnscope.certified.cpu.direct import Direct
from knnscope.certified.cpu.ending import UntilTheEnd
from knnscope.certified.cpu.kind import kind_of
from knnscope.certified.cpu.levels import Levels
from knnscope.certified.cpu.meanwhile import Given
from knnscope.certified.cpu.plain import Plain
from knnscope.certified.cpu.plane import FEWEST
from knnscope.certified.cpu.scanner import CpuScanner
from knnscope.certified.dtypes import widened
from knnscope.certified.filters import is_filter
from knnscope.certified.row_file import file_of, some

Int64 = npt.NDArray[np.int64]

COARSE = 1 << 15
"""Rows of an ``add`` up to which the plane is left to merging: 10,000 rows of 384 take 15 ms instead of 55."""
COPIED = 1 << 20
"""Bytes of rows that are copied in one step, in which no other thread of Python runs."""


class OnCpu:
    """Rows in host memory."""

    beside = True
    """Whether merging goes on in a thread of its own."""

    def __init__(self, scanner: CpuScanner) -> None:
        self.isa, self.memory, self._scanner = scanner.isa, scanner.memory, scanner
        self.device, self.threads = f"cpu:{scanner.isa}", scanner.workers.count
        self._compiled = False

    def first(self, given: Given) -> Any:
        """A scanner of the rows that an index begins with; those of a file are not searched by NumPy meanwhile, which reads all of them."""
        if file_of(given.rows) is not None:
            return self._scanner.like().build(*given)
        return meanwhile.build(self._scanner.like(), given)

    def added(self, given: Given) -> Any:
        """A scanner of rows that come now, written quickly: and whether merging should write it again."""
        rows = len(given.rows)
        if FEWEST <= rows <= COARSE and self._is_compiled(given):
            return self._scanner.like().build(*given, leading=False), True
        return meanwhile.build(self._scanner.like(), given), False

    def merged(self, given: Given, beside: bool) -> Any:
        """A scanner of rows that were merged, by one thread where others go on beside it."""
        if not self._is_compiled(given):
            return meanwhile.build(self._scanner.like(), given)
        return self._scanner.like().build(*given, workers=UntilTheEnd(1) if beside else None)

    def kept(self, given: Given, beside: Levels) -> Any:
        """A scanner of rows whose codes are there already; where compiled code is not, NumPy searches, and they are written once more."""
        if not self._is_compiled(given):
            return meanwhile.build(self._scanner.like(), given)
        return self._scanner.like().over(*given, beside)

    def open(self, given: Given) -> Any:
        """A scanner of a few rows that costs nothing to build."""
        return Direct(self._scanner, *given) if self._is_compiled(given) else Plain(*given)

    def check_threads(self, threads: int | None) -> None:
        """Refuse what is no number of threads."""
        self._scanner.check_threads(threads)

    def _is_compiled(self, given: Given) -> bool:
        self._compiled = self._compiled or (
            meanwhile.waits() or kind_of(given.rows, self._scanner.isa, self._scanner.memory).is_compiled()
        )
        return self._compiled

    @staticmethod
    def rows(scanner: Any, rows: Any) -> Any:  # noqa: ARG004
        """The rows that a segment keeps."""
        return rows

    @staticmethod
    def read(rows: Any, places: Int64) -> npt.NDArray[Any]:
        """Some rows in host memory, copied."""
        found = widened(some(rows, places))
        return found.view(np.float16) if found.dtype == np.uint16 else found

    @staticmethod
    def stacked(before: Any, places: Int64 | None, rows: Any) -> Any:
        """Some rows of a few, and rows that follow them; copied."""
        first = before if places is None else before[places]
        made = np.empty((len(first) + len(rows), rows.shape[1]), dtype=rows.dtype)
        made[: len(first)], made[len(first) :] = first, rows
        return made

    @staticmethod
    def joined(parts: Sequence[tuple[Any, Int64 | None]]) -> Any:
        """Rows one after another, copied: of each segment the given ones, or all; stops when the process ends."""
        sizes = [len(rows) if places is None else len(places) for rows, places in parts]
        dim, dtype = parts[0][0].shape[1], parts[0][0].dtype
        made = np.empty((sum(sizes), dim), dtype=dtype)
        step, work, at = max(1, COPIED // (dim * dtype.itemsize)), list[tuple[int, Any, Any]](), 0
        for (rows, places), size in zip(parts, sizes, strict=True):
            for first in range(0, size, step):
                some = slice(first, min(first + step, size))
                work.append((at + first, rows, some if places is None else places[some]))
            at += size

        def copy(piece: tuple[int, Any, Any]) -> None:
            to, rows, which = piece
            found = rows[which]
            made[to : to + len(found)] = found

        UntilTheEnd(1).map(copy, work)
        return made


class OnCuda:
    """Rows in the memory of a GPU; merging takes its turn in the call that made it necessary, so that no other thread gives the GPU work."""

    beside = False
    memory = "fast"

    def __init__(self, living: Any, devices: Sequence[int], most: int | None = None) -> None:
        """Choose GPUs.

        Args:
            living: the module cuda/living.py, which needs CuPy.
            devices: the numbers of the GPUs that share rows out; the first has what lies on a GPU.
            most: bytes of each one's memory for rows and codes; None for what is free.
        """
        self._living, self._devices, self._most, self._device = living, tuple(devices), most, devices[0]
        self.device = ",".join(f"cuda:{device}" for device in devices)
        self._captured = list[Any]()
        self.isa = self._scanner().isa

    def first(self, given: Given) -> Any:
        """A scanner of the rows that an index begins with."""
        return self._scanner().build(*given)

    def _scanner(self) -> Any:
        return self._living.scanner(self._devices, self._most)

    def added(self, given: Given) -> Any:
        """A scanner of rows that come now."""
        return self.first(given), False

    def merged(self, given: Given, beside: bool) -> Any:  # noqa: ARG002
        """A scanner of rows that were merged."""
        return self.first(given)

    def open(self, given: Given) -> Any:
        """A scanner of a few rows."""
        return self.first(given)

    def check_threads(self, threads: int | None) -> None:
        """A GPU has its own."""

    def device_rows(self, vectors: Any) -> Any:
        """Rows that lie on the GPU, as ``first`` takes them."""
        return self._scanner().rows(vectors)

    def host_rows(self, vectors: Any) -> npt.NDArray[Any]:
        """Rows that lie on the GPU, (rows, dim) or (dim,), in host memory; bfloat16 as float32, which holds it."""
        found: npt.NDArray[Any] = widened(self._living.host_rows(vectors, self._device))
        return found

    def host(self, rows: Any) -> npt.NDArray[Any]:
        """A segment's rows in host memory, as they are: bfloat16 as its bits."""
        if isinstance(rows, np.ndarray):
            return rows
        found: npt.NDArray[Any] = self._living.host_rows(rows, self._device)
        return found

    def kept(self, given: Given, beside: Levels) -> Any:  # noqa: ARG002
        """A scanner of rows: codes of processors are of no use here."""
        return self.first(given)

    def search_there(self, state: Any, queries: Any, k: int, how: tuple[Any, Any, str]) -> Any:
        """Queries that lie on the GPU; how: where, out and the metric. See cuda/living.py."""
        where, out, _ = how
        if state.whole is None or is_filter(where):
            return self._living.search_there(state, queries, k, (*how, self._device))
        found = state.whole.search_there(queries, k, where, out)
        if out is not None and state.whole.has_captured and state.whole not in self._captured:
            self._captured.append(state.whole)  # a graph reads its memory, whatever becomes of the index
        return found

    @staticmethod
    def rows(scanner: Any, rows: Any) -> Any:  # noqa: ARG004
        """The rows that a segment keeps: the GPU's, or those of the host where they stay there."""
        return scanner.kept

    def read(self, rows: Any, places: Int64) -> npt.NDArray[Any]:
        """Some rows in host memory, copied."""
        found: npt.NDArray[Any] = widened(self._living.read(rows, places, self._device))
        return found

    @staticmethod
    def stacked(before: Any, places: Int64 | None, rows: Any) -> Any:
        """Some rows of a few, and rows that follow them; in host memory."""
        return OnCpu.stacked(before, places, rows)

    def joined(self, parts: Sequence[tuple[Any, Int64 | None]]) -> Any:
        """Rows one after another, where most of them are."""
        if isinstance(max(parts, key=lambda part: len(part[0]))[0], np.ndarray):
            return OnCpu.joined([(self.host(rows), places) for rows, places in parts])
        return self._living.joined(parts, self._device)


Maker = OnCpu | OnCuda
