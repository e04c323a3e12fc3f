"""Rows shared out among several GPUs: each searches its own, all at once, and the answers are merged on the first by the definition's order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified.cuda import arrays
from knnscope.certified.cuda.answer import Queued
from knnscope.certified.cuda.merge import LISTS, merge_beside, reading
from knnscope.certified.cuda.scanner import CudaScanner, OnDevice
from knnscope.certified.cuda.staging import ANYWHERE, Staged
from knnscope.certified.cuda.streams import capture
from knnscope.certified.cuda.table import host, on_gpu
from knnscope.certified.cuda.there import answered
from knnscope.certified.scanner import RadiusRequest, Ranked, Request, TooManyError, Within
from knnscope.certified.within import joined, left_of
from knnscope.errors import KnnscopeError
from knnscope.records import Certificate, Neighbors

LEAST = 1 << 14
"""Rows of a GPU at least: fewer GPUs have some where there are not so many."""


class Shards:
    """Scanners of parts of the rows, one after another, each on a GPU."""

    has_captured = False

    def __init__(self, devices: Sequence[int], most: int | None = None) -> None:
        """Choose GPUs by their numbers; ``build`` gives them rows.

        Args:
            devices: the first merges, and has the queries and answers that lie on a GPU. One may stand twice.
            most: see ``CudaScanner``.

        Raises:
            KnnscopeError: there is no such GPU.
        """
        if len(devices) > LISTS:
            raise KnnscopeError(f"device: {len(devices)} GPUs, {LISTS} at most share rows out")
        self._scanners = [CudaScanner(device, most) for device in devices]
        self.device, self._ends = devices[0], [0]
        self.live: Any = None
        self.kept: Any = None

    def build(self, rows: Any, names: npt.NDArray[np.int64], metric: str) -> Shards:
        """Share rows out; see ``CudaScanner.build``."""
        count = len(rows)
        del self._scanners[max(1, count // LEAST) :]
        each = -(-count // len(self._scanners))
        self._ends = [min(count, each * i) for i in range(len(self._scanners) + 1)]
        self._metric, self.kept = metric, rows
        if not isinstance(rows, np.ndarray):
            with OnDevice(self.device):  # other GPUs copy them by streams that know nothing of this one
                cp.cuda.get_current_stream().synchronize()
        for scanner, first, last in self._shares():
            own = names[first:last] if len(names) else np.arange(first, last)
            some = rows[first:last]
            scanner.build(some if isinstance(some, np.ndarray) else moved(some, scanner.device), own, metric)
        _let_each_other_read({scanner.device for scanner in self._scanners})
        self._streams = [_stream(scanner.device) for scanner, *_ in self._shares()]
        return self

    def _shares(self) -> list[tuple[CudaScanner, int, int]]:
        return list(zip(self._scanners, self._ends, self._ends[1:], strict=False))

    def rows(self, vectors: Any) -> Any:
        """Rows that lie on the first GPU; see ``CudaScanner.rows``."""
        return self._scanners[0].rows(vectors)

    @property
    def isa(self) -> str:
        """The GPUs."""
        return ", ".join(scanner.isa for scanner in self._scanners)

    @property
    def levels(self) -> str:
        """What is scanned before the rows, in words."""
        return "; ".join(dict.fromkeys(scanner.levels for scanner in self._scanners))

    @property
    def nbytes(self) -> int:
        """Bytes beside the rows, on all GPUs."""
        return sum(scanner.nbytes for scanner in self._scanners)

    def prompt(self, _queries: Any, _k: int) -> None:
        """See ``Scanner``."""

    def again(self, _queries: Any, _k: int, _threads: int | None) -> None:
        """See ``Scanner``."""
        return

    def nearest(self, request: Request, threads: int | None = None) -> Ranked:  # noqa: ARG002
        """Answer a request; see ``Scanner``."""
        with OnDevice(self.device):
            staged = Staged(request.queries)
            allowed = on_gpu(request.allowed) if len(request.allowed) else None
            ids, values, proof = self.queue(staged.there, request.k, allowed, None).brought()
            return Ranked(ids, values, proof.candidates, proof.computed, proof.margin, proof.path)

    def within(self, request: RadiusRequest, threads: int | None = None) -> Within:
        """Answer a request for all rows within a radius, one GPU after the other; see ``Scanner``."""
        found, left = list[Within](), request
        for scanner, first, last in self._shares():
            some = request.allowed[:, first:last] if len(request.allowed) else request.allowed
            try:
                found.append(scanner.within(left._replace(allowed=some), threads))
            except TooManyError as error:
                raise error.of_all(request.most - left.most, request.most) from None
            left = left_of(request, found)
        return joined(found, len(request.queries), self._metric)

    def search_there(self, queries: Any, k: int, where: Any, out: tuple[Any, Any] | None) -> Neighbors:
        """Queries that lie on the first GPU; see ``CudaScanner.search_there``."""
        with OnDevice(self.device), arrays.stream_of(queries):
            if capture(cp.cuda.get_current_stream()):
                raise KnnscopeError(
                    "a CUDA graph can be captured only of an index on one GPU: build it with device='cuda:0', say"
                )
            return answered(self.queue, self.kept.shape, (queries, k, where, out))

    def queue(self, queries: Any, k: int, allowed: Any, out: tuple[Any, Any] | None) -> Queued:
        """Queue a search on all GPUs at once, and merging on the current stream; see ``CudaScanner.queue``."""
        here, count, shares = cp.cuda.get_current_stream(), len(queries), self._shares()
        columns = [min(k, last - first) for _, first, last in shares]
        ends = [0, *accumulate(columns)]
        ids, values = cp.empty((count, ends[-1]), cp.int64), cp.empty((count, ends[-1]), cp.float64)
        masks = [None if allowed is None else cp.ascontiguousarray(allowed[:, first:last]) for _, first, last in shares]
        began, queued = cp.cuda.Event(disable_timing=True), list[Any]()
        began.record(here)
        try:
            for number in reversed(range(len(shares))):  # the first GPU is this one: others have further to go
                scanner, stream, wide = shares[number][0], self._streams[number], columns[number]
                with OnDevice(scanner.device), stream:
                    stream.wait_event(began)
                    own, mask = (moved(array, scanner.device) for array in (queries, masks[number]))
                    found = scanner.queue(own, wide, mask, None)
                    for to, made in ((ids, found.ids), (values, found.values)):
                        cp.cuda.runtime.memcpy2DAsync(
                            to.data.ptr + 8 * ends[number], 8 * ends[-1], made.data.ptr, 8 * wide, 8 * wide, count, ANYWHERE, stream.ptr
                        )  # fmt: skip
                    ended = cp.cuda.Event(disable_timing=True)
                    ended.record(stream)
                queued.append((found, own, mask, ended))
        except BaseException:  # those that have begun write to memory that is let go now
            for (scanner, *_), stream in zip(shares, self._streams, strict=True):
                with OnDevice(scanner.device):
                    stream.synchronize()
            raise
        for *_, ended in queued:
            here.wait_event(ended)
        ids, values = merge_beside((ids, values), columns, k, self._metric, out)
        proof = reading([found.read for found, *_ in queued])

        def brought() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], Certificate]:
            with OnDevice(self.device):
                told = proof()
                return host(ids), host(values), told

        return Queued(ids, values, proof, brought)


def _let_each_other_read(devices: set[int]) -> None:
    """Copies go from GPU to GPU; where the machine has no such way, through the host."""
    for device in devices:
        for other in devices - {device}:
            with OnDevice(device), suppress(cp.cuda.runtime.CUDARuntimeError):  # or it is so already
                cp.cuda.runtime.deviceEnablePeerAccess(other)


def _stream(device: int) -> Any:
    with OnDevice(device):
        return cp.cuda.Stream(non_blocking=True)


def moved(array: Any, device: int) -> Any:
    """An array on a GPU, copied there on the current stream where it lies on another; None stays None."""
    if array is None or array.device.id == device:
        return array
    with OnDevice(device):
        made = cp.empty(array.shape, array.dtype)
        made.data.copy_from_device_async(cp.ascontiguousarray(array).data, array.nbytes)
        return made
