"""Rows searched by processors: codes are built once, each request is a ``Search``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope import threads as budgets
from knnscope.certified import bound
from knnscope.certified.cpu import dispatch, plane
from knnscope.certified.cpu.quantise import build
from knnscope.certified.cpu.ranking import Table
from knnscope.certified.cpu.search import FEW, Levels, Search
from knnscope.certified.cpu.workers import Workers
from knnscope.certified.dtypes import computable
from knnscope.certified.scanner import Ranked, Request
from knnscope.checks import check_whole
from knnscope.errors import KnnscopeError
from knnscope.search import definition


class CpuScanner:
    """Rows, with a byte a component beside them, and half a byte for the leading ones where that pays."""

    def __init__(self, isa: str | None = None, threads: int | None = None) -> None:
        """Choose; ``build`` gives it rows.

        Args:
            isa: instruction set, one of ``dispatch.available()`` (default: the fastest).
            threads: how many work at once (default: the thread budget).
        """
        self.isa = dispatch.choose(isa)
        self._workers = Workers(budgets.budget() if threads is None else _counted(threads))

    def build(self, rows: npt.NDArray[Any], names: npt.NDArray[np.int64], metric: str) -> CpuScanner:
        """Write the rows as codes.

        Args:
            rows: (rows, dim), as ``rows.as_rows`` gives them; kept.
            names: what rows are called, (rows,); (0,) for their numbers.
            metric: l2, ip or cosine.

        Raises:
            KnnscopeError: a number that is not finite; names where.
        """
        number = definition.METRICS.index(metric)
        self.table = Table(computable(rows), names, number, bound.widening(number, rows.shape[1]))
        self.codes = build(self.table.rows, metric, self._workers)
        self.plane = plane.of(self.table.rows, self.codes.mapping, self._workers) if self.codes else None
        return self

    @property
    def levels(self) -> str:
        """What is scanned before the rows, in words."""
        if self.codes is None:
            return "nothing"
        few = (
            f"half a byte for the {len(self.plane.map.matrix)} leading components (up to {FEW} queries), else "
            if self.plane
            else ""
        )
        return f"{few}a byte a component"

    @property
    def nbytes(self) -> int:
        """Bytes of codes, plane and bounds."""
        return (self.codes.nbytes if self.codes else 0) + (self.plane.nbytes if self.plane else 0)

    def nearest(self, request: Request, threads: int | None = None) -> Ranked:
        """Answer a request; see ``Scanner``."""
        workers = self._workers if threads is None else self._workers.of(_counted(threads))
        return Search(self.table, Levels(self.codes, self.plane), self.isa, workers).run(request)

    @staticmethod
    def rows(_vectors: Any) -> Any:
        """Rows that lie on a GPU.

        Raises:
            KnnscopeError: always: they are not read here.
        """
        raise KnnscopeError(
            "vectors lie on another device: build the index with device='cuda', or copy them to the host first"
        )

    def search_there(self, _queries: Any, _k: int, _where: Any) -> Any:
        """Queries that lie on a GPU; see ``rows``."""
        raise KnnscopeError(
            "queries lie on another device: build the index with device='cuda', or copy them to the host first"
        )


def _counted(threads: int) -> int:
    return check_whole(threads, "threads", 1, budgets.LIMIT, f"1 to {budgets.LIMIT}")
