"""Rows searched by processors: codes are built once, each request is a ``Search``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope import threads as budgets
from knnscope.certified import bound
from knnscope.certified.cpu import dispatch
from knnscope.certified.cpu.few import Few
from knnscope.certified.cpu.graph import GraphSearch, Wanted, suits
from knnscope.certified.cpu.levels import How, Levels
from knnscope.certified.cpu.search import BLOCK, Search
from knnscope.certified.cpu.table import Table
from knnscope.certified.cpu.within import WithinSearch
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.dtypes import computable
from knnscope.certified.memory import most_of
from knnscope.certified.row_file import file_of
from knnscope.certified.scanner import ChangedError, RadiusRequest, Ranked, Request, Within
from knnscope.checks import check_whole
from knnscope.errors import KnnscopeError
from knnscope.search import definition


class CpuScanner:
    """Rows, with a byte a component beside them, and half a byte for the leading ones where that pays; or, where that is said, these alone."""

    def __init__(self, isa: str | None = None, threads: int | None = None, memory: str = "fast") -> None:
        """Choose; ``build`` gives it rows.

        Args:
            isa: instruction set, one of ``dispatch.available()`` (default: the fastest).
            threads: how many work at once (default: the thread budget).
            memory: fast; small: no byte a component where there is a plane; or a number of bytes, in digits.
        """
        self.isa, self.memory = dispatch.choose(isa), memory
        self.workers = Workers(budgets.budget() if threads is None else _counted(threads))

    def like(self) -> CpuScanner:
        """Another one, without rows, with the same threads."""
        made = CpuScanner(self.isa, self.workers.count, self.memory)
        made.workers = self.workers
        return made

    def build(
        self,
        rows: npt.NDArray[Any],
        names: npt.NDArray[np.int64],
        metric: str,
        workers: Workers | None = None,
        leading: bool = True,
    ) -> CpuScanner:
        """Write the rows as codes.

        Args:
            rows: (rows, dim), as ``rows.as_rows`` gives them; kept.
            names: what rows are called, (rows,); (0,) for their numbers.
            metric: l2, ip or cosine.
            workers: who writes (default: those who search).
            leading: whether half a byte is written for the leading ones where that pays, which takes longest.

        Raises:
            KnnscopeError: a number that is not finite; names where.
        """
        how = How(self.isa, self.memory if leading else "codes")
        return self.over(rows, names, metric, Levels(computable(rows), metric, how, workers or self.workers))

    def over(self, rows: npt.NDArray[Any], names: npt.NDArray[np.int64], metric: str, beside: Levels) -> CpuScanner:
        """Take rows, as ``build`` does, and what was written beside them."""
        number = definition.METRICS.index(metric)
        self.file = file_of(rows)
        place = (self.file.handle, self.file.start) if self.file is not None else (-1, 0)
        given = np.asarray(computable(rows))
        self.table = Table(given, names, number, bound.widening(number, rows.shape[1]), *place)
        self.beside = beside
        beside.is_fixed = most_of(self.memory) is not None
        codes, plane = self.beside.codes, self.beside.plane
        self._few = Few(self.table, None if plane else codes, self.isa, BLOCK if plane else 0, self.workers.count)
        return self

    @property
    def levels(self) -> str:
        """What is scanned before the rows, in words."""
        codes, plane = self.beside.codes, self.beside.plane
        few = f"half a byte for the {len(plane.map.matrix)} leading components" if plane else ""
        if codes is None:
            return few or "nothing"
        return f"{few}, else a byte a component" if few else "a byte a component"

    @property
    def nbytes(self) -> int:
        """Bytes of codes, plane and bounds."""
        return self.beside.nbytes

    def prepare(self) -> None:
        """Write what only some searches need, and write when the first of them comes."""
        if self.beside.codes is not None and self.beside.scans:
            self.beside.scanned(self.beside.codes, self.workers)

    def prompt(self, queries: Any, k: int) -> Ranked | None:
        """See ``Scanner``."""
        return self._few.answer(queries, k) if self.file is None else None

    def again(self, queries: Any, k: int, threads: int | None) -> Ranked | None:
        """See ``Scanner``."""
        if self.file is not None or not (threads is None or type(threads) is int):
            return None
        workers = self.workers if threads is None else self.workers.of(threads)
        return self.beside.laid_out.ways.answer(queries, k, self.table.rows.shape[1], workers)

    def nearest(self, request: Request, threads: int | None = None) -> Ranked:
        """Answer a request; see ``Scanner``."""
        workers = self.workers if threads is None else self.workers.of(_counted(threads))
        with self._unchanged():
            return Search(self.table, self.beside, self.isa, workers).run(request)

    def within(self, request: RadiusRequest, threads: int | None = None) -> Within:
        """Answer a request for all rows within a radius; see ``Scanner``."""
        workers = self.workers if threads is None else self.workers.of(_counted(threads))
        with self._unchanged():
            return WithinSearch(self.table, self.beside, self.isa, workers).run(request)

    def graph(self, k: int, itself: bool, threads: int | None = None) -> tuple[Any, Any] | None:
        """Names and values of the k nearest of every row, (rows, k), each pair computed once; None where searching block by block costs less.

        Args:
            k: 1 to the number of others, or of rows.
            itself: whether a row may be its own neighbor.
            threads: how many work at once.

        Raises:
            KnnscopeError: rows that were changed after the scanner was built, where that shows.
        """
        workers = self.workers if threads is None else self.workers.of(_counted(threads))
        wanted = Wanted(k, itself)
        if not suits(self.table, self.beside, wanted, workers):
            return None
        with self._unchanged():
            return GraphSearch(self.table, self.beside, self.isa, workers).run(wanted)

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Within it rows are searched; where they stay in a file, that is as it was.

        Raises:
            KnnscopeError: it is not.
        """
        if self.file is None:
            yield
            return
        self.file.check()
        try:
            yield
        except KnnscopeError as error:
            self.file.check()  # which says more than that a row is not as it was
            if not isinstance(error, ChangedError):
                raise
            raise KnnscopeError(
                f"{self.file.path}: rows cannot be read, or are not what they were when the index was built: "
                "look at the disk and its connection, and search again"
            ) from error

    def check_threads(self, threads: int | None) -> None:
        """Refuse what is no number of threads.

        Raises:
            KnnscopeError: says what is.
        """
        if threads is not None:
            _counted(threads)


def _counted(threads: int) -> int:
    return check_whole(threads, "threads", 1, budgets.LIMIT, f"1 to {budgets.LIMIT}")
