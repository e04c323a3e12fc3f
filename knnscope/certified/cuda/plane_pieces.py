"""Few queries by a plane that comes in pieces: each is searched by itself, with what those before it have found, and answers are merged."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified.cuda import plane, streams
from knnscope.certified.cuda.answer import EVERY, Queued
from knnscope.certified.cuda.codes import Codes
from knnscope.certified.cuda.merge import merge_there
from knnscope.certified.cuda.streaming import PLANE, TILE, Streaming
from knnscope.certified.cuda.table import Table, host
from knnscope.certified.cuda.workspaces import Workspaces
from knnscope.certified.state import joined_certificate
from knnscope.records import Certificate
from knnscope.search import definition


class PlaneInPieces:
    """Searches of one table, whose pieces are of two sizes."""

    def __init__(self, table: Table, codes: Codes, turn: Lock) -> None:
        """Of a table and its codes; turn: to queue what comes in pieces."""
        self._table, self._codes, self._turn = table, codes, turn
        self._workspaces = Workspaces()

    def queue(self, queries: Any, k: int, allowed: Any, out: tuple[Any, Any] | None) -> Queued:
        """Queue a search; see ``CudaScanner.queue``. All queries share a piece's trip."""
        table, streaming = self._table, self._codes.streaming
        assert streaming is not None
        with self._turn:
            spans, told, (ids, values) = self._searched(streaming, (queries, k, allowed), out)
        stream = cp.cuda.get_current_stream()

        def read() -> Certificate:
            with cp.cuda.Device(table.device):
                numbers = cp.asnumpy(told, stream=stream)
                last = cp.asnumpy(values, stream=stream)[:, k - 1]
                proofs = []
                for (first, end), each in zip(spans, numbers, strict=True):
                    sums = None if allowed is None else host(allowed[:, first:end].sum(axis=1))
                    proofs.append(plane.told(each, last, table.metric).certificate(table.metric, end - first, sums))
                return joined_certificate(proofs)

        def brought() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], Certificate]:
            proof = read()
            return host(ids), host(values), proof

        return Queued(ids, values, read, brought)

    def _searched(
        self, streaming: Streaming, asked: tuple[Any, int, Any], out: tuple[Any, Any] | None
    ) -> tuple[list[tuple[int, int]], Any, tuple[Any, Any]]:
        """Rows of each piece in the order in which it came, what was told of them, and the answer."""
        (queries, k, allowed), rows, metric = asked, len(self._table.rows), definition.METRICS[self._table.metric]
        count, pieces, spans = len(queries), streaming.count(PLANE), list[tuple[int, int]]()
        told = cp.empty((pieces, count * plane.TOLD_BYTES), dtype=cp.uint8)
        best: tuple[Any, Any] | None = None
        for number, piece in enumerate(streaming.trip(PLANE)):
            first, last = piece.first * TILE, min(rows, piece.last * TILE)
            part, is_last = self._table.part(first, last), number == pieces - 1
            made = out if out is not None and pieces == 1 else None
            made = made or (cp.empty((count, k), cp.int64), cp.empty((count, k), cp.float64))
            for at in range(0, count, plane.TOGETHER):
                some, past = queries[at : at + plane.TOGETHER], 8 * k * at
                workspace = self._workspace(part, len(some), k)
                workspace.at(part, piece.at[0], None if best is None else best[1].data.ptr + past)
                mask = EVERY
                if allowed is not None:
                    stride = 0 if len(allowed) == 1 else rows
                    mask = (allowed.data.ptr + first + at * stride, stride)
                answer = made[0].data.ptr + past, made[1].data.ptr + past
                stream = cp.cuda.get_current_stream().ptr
                workspace.queue(stream, some, mask, told[number].data.ptr + at * plane.TOLD_BYTES, answer)
            best = made if best is None else merge_there([best, made], k, metric, out if is_last else None)
            spans.append((first, last))
        assert best is not None
        return spans, told, best

    def _workspace(self, part: Table, count: int, k: int) -> plane.Workspace:
        """Memory of so many queries and neighbors on the current stream for a piece of this size."""
        shape = streams.key(cp.cuda.get_current_stream()), count, k, len(part.rows)
        codes = self._codes
        found: plane.Workspace = self._workspaces.take(
            shape, lambda: plane.Workspace(part, replace(codes, streaming=None), count, k)
        )
        return found
