"""A few rows with nothing written beside them: all of them compete."""

from __future__ import annotations

from typing import Any

from knnscope.certified import bound
from knnscope.certified.cpu.levels import Levels
from knnscope.certified.cpu.scanner import CpuScanner
from knnscope.certified.cpu.search import Search
from knnscope.certified.cpu.table import Table
from knnscope.certified.cpu.within import WithinSearch
from knnscope.certified.dtypes import computable
from knnscope.certified.scanner import RadiusRequest, Ranked, Request, Within
from knnscope.search import definition


class _Nothing(Levels):
    """Nothing beside the rows."""

    def __init__(self) -> None:
        self.codes = self._scanned = None


NOTHING = _Nothing()


class Direct:
    """Rows that were added last: a ``Scanner`` that costs nothing to build."""

    levels = "nothing"
    nbytes = 0

    def __init__(self, scanner: CpuScanner, rows: Any, names: Any, metric: str) -> None:
        """Rows and names as ``CpuScanner.build`` takes them; finite."""
        number = definition.METRICS.index(metric)
        self._table = Table(computable(rows), names, number, bound.widening(number, rows.shape[1]))
        self._scanner = scanner

    def prompt(self, queries: Any, k: int) -> Ranked | None:  # noqa: ARG002
        """See ``Scanner``: these rows are never alone for long."""
        return None

    def again(self, queries: Any, k: int, threads: int | None) -> Ranked | None:  # noqa: ARG002
        """See ``Scanner``."""
        return None

    def nearest(self, request: Request, threads: int | None = None) -> Ranked:
        """Answer a request; see ``Scanner``."""
        workers = self._scanner.workers if threads is None else self._scanner.workers.of(threads)
        return Search(self._table, NOTHING, self._scanner.isa, workers).run(request)

    def within(self, request: RadiusRequest, threads: int | None = None) -> Within:
        """Answer a request for all rows within a radius; see ``Scanner``."""
        workers = self._scanner.workers if threads is None else self._scanner.workers.of(threads)
        return WithinSearch(self._table, NOTHING, self._scanner.isa, workers).run(request)
