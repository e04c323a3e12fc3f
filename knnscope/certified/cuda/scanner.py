"""Rows searched by a GPU: codes are built once, each request goes the way that its shape asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified.cuda import all_rows, arrays, batch, plane
from knnscope.certified.cuda.answer import CHANGED, NOT_A_NUMBER, UNANSWERED, Answers
from knnscope.certified.cuda.codes import CHUNK, build
from knnscope.certified.cuda.table import Table, cell_of, host, values_source
from knnscope.certified.dtypes import widened
from knnscope.certified.scanner import Ranked, Request, overflows
from knnscope.checks import check_finite
from knnscope.errors import KnnscopeError
from knnscope.records import Certificate, Neighbors
from knnscope.search import definition


class CudaScanner:
    """Rows in the memory of one GPU, with a byte a component beside them, and half a byte for the leading ones where that pays."""

    def __init__(self, device: int = 0) -> None:
        """Choose a GPU by its number; ``build`` gives it rows.

        Raises:
            KnnscopeError: there is no such GPU.
        """
        count = cp.cuda.runtime.getDeviceCount()
        if not 0 <= device < count:
            raise KnnscopeError(f"device cuda:{device}: there are {count} GPUs here, from cuda:0 on")
        self.device = device

    def build(self, rows: Any, names: npt.NDArray[np.int64], metric: str) -> CudaScanner:
        """Copy rows to the GPU, where they are not there already, and write them as codes; see CpuScanner.build."""
        number = definition.METRICS.index(metric)
        with self._there():
            there = cp.ascontiguousarray(cp.asarray(rows))
            _check_finite(there)
            called, order = (cp.asarray(names), cp.asarray(np.argsort(names))) if len(names) else (None, None)
            table = Table(there, cell_of(there), called, order, None, number, self.device)
            if number == 2:
                table = replace(table, norms=all_rows.row_norms(there, values_source(table), self.device))
            self.table = table
            self.codes = build(self.table)
            cp.cuda.get_current_stream().synchronize()
        return self

    def rows(self, vectors: Any) -> Any:
        """Rows that lie on a GPU, as ``build`` takes them.

        Raises:
            KnnscopeError: another shape, type or device.
        """
        with cp.cuda.Device(self.device):
            found = arrays.matrix(vectors, "rows")
            if found.ndim != 2 or 0 in found.shape:
                raise KnnscopeError(
                    f"rows have shape {found.shape}: two dimensions (rows, dim), neither zero, were expected"
                )
            return found

    def search_there(self, queries: Any, k: int, where: Any) -> Neighbors:
        """Queries that lie on the GPU: the answer lies there too; see ``ExactIndex.search``."""
        rows, dim = self.table.rows.shape
        with self._there():
            values, single = arrays.queries(queries, dim)
            allowed = None if where is None else arrays.mask(where, len(values), rows)
            made, paths = self.answer(values, k, allowed)
            proof = Certificate(rows, made.candidates, made.computed, made.margins, tuple(sorted(paths)))
            ids, distances = (made.ids[0], made.values[0]) if single else (made.ids, made.values)
            return Neighbors(arrays.like(ids, queries), arrays.like(distances, queries), proof)

    @contextmanager
    def _there(self) -> Iterator[None]:
        """On this index's GPU; a full memory is told in one line."""
        try:
            with cp.cuda.Device(self.device):
                yield
        except cp.cuda.memory.OutOfMemoryError as error:
            raise KnnscopeError(
                f"the GPU's memory is full ({str(error).rstrip('.')}): ask for less at once, or use device='cpu'"
            ) from error

    @property
    def isa(self) -> str:
        """The GPU."""
        return f"cuda:{self.device}"

    @property
    def levels(self) -> str:
        """What is scanned before the rows, in words."""
        if self.codes is None:
            return "nothing"
        few = (
            f"half a byte for the {self.codes.leading} leading components (few queries), else "
            if self.codes.leading
            else ""
        )
        return f"{few}a byte a component"

    @property
    def nbytes(self) -> int:
        """Bytes of codes, plane and bounds."""
        return self.codes.nbytes if self.codes else 0

    def prompt(self, _queries: Any, _k: int) -> None:
        """See ``Scanner``: there is no shorter way here."""

    def nearest(self, request: Request, threads: int | None = None) -> Ranked:  # noqa: ARG002
        """Answer a request; see ``Scanner``."""
        with self._there():
            queries = cp.asarray(request.queries)
            allowed = cp.asarray(request.allowed) if len(request.allowed) else None
            made, paths = self.answer(queries, request.k, allowed)
            ids, values = host(made.ids), host(made.values)
        return Ranked(ids, values, made.candidates, made.computed, made.margins, tuple(sorted(paths)))

    def answer(self, queries: Any, k: int, allowed: Any) -> tuple[Answers, set[str]]:
        """The k nearest rows of queries that lie on the GPU, float64; and the paths that they went.

        Raises:
            KnnscopeError: see ``Scanner.nearest``.
        """
        codes, table = self.codes, self.table
        by_plane, by_codes = plane.usable(table, codes, k), allowed is None and batch.usable(table, codes, k)
        if by_plane and by_codes and codes is not None:
            by_plane = len(queries) <= plane.TOGETHER and plane.pays(table, codes, k)
        if codes is not None and by_plane:
            made = plane.search(table, codes, queries, k, allowed)
        elif codes is not None and by_codes:
            made = batch.search(table, codes, queries, k)
        else:
            made = Answers.empty(len(queries), k)
            made.errors[:] = UNANSWERED
        left = np.flatnonzero(made.errors & UNANSWERED)
        paths = {made.path} if len(left) < len(queries) else set[str]()
        if len(left):
            paths.add("exhaustive")
            self._by_all(made, left, queries, k, allowed)
        if (made.errors & NOT_A_NUMBER).any():
            raise overflows(definition.METRICS[table.metric])
        if (made.errors & CHANGED).any():
            raise KnnscopeError(
                "the vectors were changed after the index was built: a row is not where its code says: build the index again"
            )
        made.margins[made.computed == len(table.rows)] = np.inf
        return made, paths

    def _by_all(self, made: Answers, numbers: npt.NDArray[np.int64], queries: Any, k: int, allowed: Any) -> None:
        """Answer some queries by all rows."""
        mask = allowed if allowed is None or len(allowed) == 1 else allowed[numbers]
        ids, values, errors = all_rows.search(self.table, queries[numbers], k, mask)
        made.ids[numbers], made.values[numbers] = ids, values
        made.errors[numbers] = NOT_A_NUMBER if int(errors[0]) else 0
        done = len(self.table.rows) if mask is None else host(mask.sum(axis=1))
        made.candidates[numbers] = made.computed[numbers] = done
        made.margins[numbers] = np.inf


def _check_finite(rows: Any) -> None:
    """Refuse rows with a number that is not finite; says which."""
    if rows.dtype.kind != "f" and rows.dtype != cp.int16:
        return
    for first in range(0, len(rows), CHUNK):
        some = rows[first : first + CHUNK]
        fine = (some & 0x7F80) != 0x7F80 if rows.dtype == cp.int16 else cp.isfinite(some)
        if not bool(fine.all()):
            check_finite(widened(host(some)), "rows", first)
