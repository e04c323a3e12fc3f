"""Segments in the memory of a GPU: their rows read and joined there, and their answers merged there, in the order of the current stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified import filters
from knnscope.certified.cuda import arrays
from knnscope.certified.cuda.answer import LazyCertificate
from knnscope.certified.cuda.merge import merge_there, reading
from knnscope.certified.cuda.scanner import CudaScanner, OnDevice
from knnscope.certified.cuda.shards import Shards
from knnscope.certified.cuda.streams import Readers, capture
from knnscope.certified.cuda.table import host, on_gpu
from knnscope.certified.ids import Strings
from knnscope.certified.state import Part, State
from knnscope.errors import KnnscopeError
from knnscope.records import Neighbors


def scanner(devices: Sequence[int], most: int | None, in_pieces: bool = True) -> CudaScanner | Shards:
    """A scanner without rows, of one GPU or several; most, and of one in_pieces: see ``CudaScanner``."""
    return CudaScanner(devices[0], most, in_pieces) if len(devices) == 1 else Shards(devices, most)


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
        if capture(cp.cuda.get_current_stream()):
            raise KnnscopeError(
                "a CUDA graph can be captured only of an index in one piece, without a filter by ids: call index.merge() before"
            )
        values, single = arrays.queries(queries, state.parts[0].segment.rows.shape[1])
        masks = _masks(where, state, len(values))
        taken = None if out is None else arrays.taken(out, (k,) if single else (len(values), k))
        alone = len(state.parts) == 1
        found = [
            part.segment.scanner.queue(values, min(k, len(part.segment.ids)), mask, taken if alone else None)
            for part, mask in zip(state.parts, masks, strict=True)
        ]
        proof = LazyCertificate(reading([one.read for one in found]))
        answers = [(one.ids, one.values) for one in found]
        ids, distances = answers[0] if alone else merge_there(answers, k, metric, taken)
        if out is not None:
            return Neighbors(out[0], out[1], proof)
        if single:
            ids, distances = ids[0], distances[0]
        return Neighbors(arrays.like(ids, queries), arrays.like(distances, queries), proof)


def _masks(where: Any, state: State, queries: int) -> list[Any]:
    """For each part the rows that may be answers, bool, (1 or queries, rows), on the GPU; None for all."""
    if where is None:
        return [None if part.live is None else _kept(part)[0] for part in state.parts]
    if filters.is_filter(where):
        return [on_gpu(mask) if len(mask) else None for mask in filters.masks(where, state, queries)]
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
    found: _Left | None = scanner.live
    if found is None or found.live is not live:
        assert live is not None
        found = scanner.live = _Left(live)
    found.readers.add(cp.cuda.get_current_stream())
    return found.mask, found.rows


class _Left:
    """Rows of a segment that are left: as the segment has them, and on the GPU as a mask, (1, rows), and as numbers."""

    def __init__(self, live: npt.NDArray[np.bool_]) -> None:
        self.live, self.mask, self.rows = live, on_gpu(live), on_gpu(np.flatnonzero(live))
        self.readers = Readers(self)
