"""Segments in the memory of a GPU: their rows read and joined there, and their answers merged there, in the order of the current stream."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified import filters
from knnscope.certified.cuda import arrays
from knnscope.certified.cuda.answer import LazyCertificate
from knnscope.certified.cuda.launch import INT, LONG, kernel
from knnscope.certified.cuda.scanner import CudaScanner, OnDevice
from knnscope.certified.cuda.table import host
from knnscope.certified.ids import Strings
from knnscope.certified.state import Part, State, joined_certificate
from knnscope.errors import KnnscopeError
from knnscope.kernels import sources
from knnscope.records import Certificate, Neighbors
from knnscope.search import definition

LISTS = 32
"""Answers that are merged at once: as in exact_merge.cu."""
THREADS, BLOCKS = 256, 1 << 14


class _Ends(ctypes.Structure):
    _fields_ = (("at", ctypes.c_int64 * (LISTS + 1)),)


def scanner(device: int) -> CudaScanner:
    """A scanner without rows."""
    return CudaScanner(device)


def host_rows(vectors: Any, device: int) -> npt.NDArray[Any]:
    """Rows of the GPU in host memory, of a type that is searched; bfloat16 as int16, its bits."""
    with cp.cuda.Device(device), arrays.stream_of(vectors):
        return host(arrays.matrix(vectors, "rows"))


def read(rows: Any, places: npt.NDArray[np.int64], device: int) -> npt.NDArray[Any]:
    """Some rows of a segment in host memory, copied; its rows lie in either."""
    if isinstance(rows, np.ndarray):
        found: npt.NDArray[Any] = rows[places]
        return found
    with OnDevice(device):
        return host(rows[cp.asarray(places)])


def joined(parts: Sequence[tuple[Any, npt.NDArray[np.int64] | None]], device: int) -> Any:
    """Rows one after another, on the GPU, copied: of each segment the given ones, or all."""
    with OnDevice(device):
        found = []
        for rows, places in parts:
            there = cp.asarray(rows)
            found.append(there if places is None else there[cp.asarray(places)])
        return cp.concatenate(found)


def search_there(state: State, queries: Any, k: int, how: tuple[Any, Any, str, int]) -> Neighbors:
    """Queries that lie on the GPU: the answer over all segments lies there too, once the stream comes to it.

    Args:
        state: with a row.
        queries: see ``ExactIndex.search``.
        k: checked.
        how: where, out, the metric, and the number of the GPU.

    Raises:
        KnnscopeError: see ``ExactIndex.search``; ids that are strings; a graph that is being captured.
    """
    where, out, metric, device = how
    if isinstance(state.parts[0].segment.ids, Strings):
        raise KnnscopeError(
            "ids of this index are strings, which a GPU's arrays cannot hold: give queries in host memory"
        )
    with OnDevice(device), arrays.stream_of(queries):
        stream = cp.cuda.get_current_stream().ptr
        if stream and cp.cuda.runtime.streamIsCapturing(stream):
            raise KnnscopeError(
                "a graph is captured of an index in one piece, without a filter by ids: call index.merge() before"
            )
        values, single = arrays.queries(queries, state.parts[0].segment.rows.shape[1])
        masks = _masks(where, state, len(values))
        taken = None if out is None else arrays.taken(out, (k,) if single else (len(values), k))
        alone = len(state.parts) == 1
        found = [
            part.segment.scanner.queue(values, min(k, len(part.segment.ids)), mask, taken if alone else None)
            for part, mask in zip(state.parts, masks, strict=True)
        ]
        proof = LazyCertificate(_reading([one.read for one in found]))
        answers = [(one.ids, one.values) for one in found]
        ids, distances = answers[0] if alone else merge_there(answers, k, metric, taken)
        if out is not None:
            return Neighbors(out[0], out[1], proof)
        if single:
            ids, distances = ids[0], distances[0]
        return Neighbors(arrays.like(ids, queries), arrays.like(distances, queries), proof)


def _reading(reads: Sequence[Callable[[], Certificate]]) -> Callable[[], Certificate]:
    return lambda: joined_certificate([read() for read in reads])


def merge_there(
    answers: Sequence[tuple[Any, Any]], k: int, metric: str, out: tuple[Any, Any] | None
) -> tuple[Any, Any]:
    """The k best of answers over different rows, queued on the current stream.

    Args:
        answers: ids, int64, and values, float64, (queries, columns) each, sorted; -1 and infinite for no row, last.
        k: at most as many as they have columns together.
        metric: l2, ip or cosine.
        out: where to write, (queries, k); None for new arrays.
    """
    while len(answers) > LISTS:
        some = answers[:LISTS]
        most = min(k, sum(ids.shape[1] for ids, _ in some))
        answers = [merge_there(some, most, metric, None), *answers[LISTS:]]
    count = len(answers[0][0])
    made = out or (cp.empty((count, k), dtype=cp.int64), cp.empty((count, k), dtype=cp.float64))
    if count:
        ids, values = (cp.concatenate([one[which] for one in answers], axis=1) for which in (0, 1))
        ends = _Ends((ctypes.c_int64 * (LISTS + 1))(*accumulate((one.shape[1] for one, _ in answers), initial=0)))
        source = sources.exact("merge", (("CELL", 0), ("METRIC", definition.METRICS.index(metric))))
        grid = min(BLOCKS, -(-ids.size // THREADS))
        kernel(source, "merge_answers", ids.device.id)(
            (grid,), THREADS, ids, values, LONG(count), LONG(ids.shape[1]), ends, INT(len(answers)), LONG(k), *made
        )
    return made


def _masks(where: Any, state: State, queries: int) -> list[Any]:
    """For each part the rows that may be answers, bool, (1 or queries, rows), on the GPU; None for all."""
    if where is None:
        return [None if part.live is None else _kept(part)[0] for part in state.parts]
    if filters.is_filter(where):
        return [cp.asarray(mask) if len(mask) else None for mask in filters.masks(where, state, queries)]
    mask, made, first = arrays.mask(where, queries, state.rows), [], 0
    for part in state.parts:
        some = mask[:, first : first + part.left]
        first += part.left
        if part.live is not None:
            own = cp.zeros((len(mask), len(part.segment.ids)), dtype=cp.bool_)
            own[:, _kept(part)[1]] = some
            some = own
        made.append(cp.ascontiguousarray(some))
    return made


def _kept(part: Part) -> tuple[Any, Any]:
    """The mask of a part's rows that are left, (1, rows), and these rows, on the GPU: copied once for each change."""
    scanner, live = part.segment.scanner, part.live
    found: tuple[Any, Any, Any] | None = scanner.live
    if found is None or found[0] is not live:
        assert live is not None
        found = scanner.live = live, cp.asarray(live), cp.asarray(np.flatnonzero(live))
    return found[1], found[2]
