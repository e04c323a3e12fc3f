"""Rows searched by a GPU: codes are built once, each request takes the path that its shape asks for."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import cupy as cp
import numpy as np
import numpy.typing as npt

from knnscope.certified.cuda import all_rows, arrays, batch, direct, host_rows, plane, reading, staging, streams
from knnscope.certified.cuda.answer import BY_ALL_ROWS, EVERY, NOT_A_NUMBER, NOT_FINITE, Queued, Told
from knnscope.certified.cuda.codes import CHUNK, are_written, build
from knnscope.certified.cuda.plane_pieces import PlaneInPieces
from knnscope.certified.cuda.staging import Staged
from knnscope.certified.cuda.table import Table, cell_of, host, on_gpu, values_source
from knnscope.certified.cuda.there import answered
from knnscope.certified.cuda.workspaces import Workspaces, not_made
from knnscope.certified.dtypes import widened
from knnscope.certified.scanner import RadiusRequest, Ranked, Request, Within, overflows, too_many
from knnscope.checks import check_finite
from knnscope.errors import GpuFullError, KnnscopeError
from knnscope.records import Certificate, Neighbors
from knnscope.search import definition


class OnDevice:
    """On a GPU; a full memory is told in one line."""

    def __init__(self, device: int) -> None:
        self._device, self._before = device, cp.cuda.runtime.getDevice()

    def __enter__(self) -> None:
        cp.cuda.runtime.setDevice(
            self._device
        )  # also where it is the current one: a thread that has done nothing yet has no context

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        if self._before != self._device:
            cp.cuda.runtime.setDevice(self._before)
        if isinstance(error, cp.cuda.memory.OutOfMemoryError):
            raise GpuFullError(
                f"the GPU's memory is full ({str(error).rstrip('.')}): ask for less at once, or use device='cpu'"
            ) from error


class CudaScanner:
    """Rows in the memory of one GPU, with a byte a component beside them, and half a byte for the leading ones where that pays."""

    def __init__(self, device: int = 0, most: int | None = None, in_pieces: bool = True) -> None:
        """Choose a GPU by its number; ``build`` gives it rows.

        Args:
            device: its number.
            most: bytes of its memory for rows and codes, above which rows stay in host memory, and codes too; None for what is free.
            in_pieces: whether codes that do not fit may lie in host memory; else they are an error.

        Raises:
            KnnscopeError: there is no such GPU.
        """
        count = cp.cuda.runtime.getDeviceCount()
        if not 0 <= device < count:
            raise KnnscopeError(f"device cuda:{device}: there are {count} GPUs here, from cuda:0 on")
        self.device, self._most, self._in_pieces = device, most, in_pieces
        self._lock = threading.Lock()
        self._paths: dict[tuple[bool, int, bool], Any] = {}
        self._workspaces = Workspaces()
        self._captured: list[Any] = []  # what graphs read and write besides
        self._plane: PlaneInPieces | None = None  # where codes come in pieces
        self.live: Any = None  # what living.py has copied here: which rows are left

    def build(self, rows: Any, names: npt.NDArray[np.int64], metric: str) -> CudaScanner:
        """Copy rows to the GPU, where they are not there already and fit, and write them as codes; see CpuScanner.build."""
        number = definition.METRICS.index(metric)
        with OnDevice(self.device):
            place = host_rows.plan(rows, self._most)
            stay = place.codes_stay and are_written(rows.shape)
            if stay and not self._in_pieces:
                raise KnnscopeError(
                    "the GPU's memory has no room for the codes of these rows: use device='cuda' to search them in pieces"
                )
            there = host_rows.pinned(rows, self.device) if place.rows_stay else cp.ascontiguousarray(cp.asarray(rows))
            _check_finite(there)

            def put(array: npt.NDArray[Any]) -> Any:
                return host_rows.copied(array, self.device) if stay else on_gpu(array)

            called, order = (put(names), put(np.argsort(names))) if len(names) else (None, None)
            table = Table(there, cell_of(there), called, order, None, number, self.device)
            if number == 2:
                norms = all_rows.row_norms(there, values_source(table), self.device)
                table = replace(table, norms=put(host(norms)) if stay else norms)
            self.table, self.kept = table, rows if place.rows_stay else there
            self.codes = build(self.table, place)
            if self.codes is not None and self.codes.streaming is not None:
                self._plane = PlaneInPieces(self.table, self.codes, self._lock)
            self._readers = streams.Readers(self)
            cp.cuda.get_current_stream().synchronize()
        return self

    def rows(self, vectors: Any) -> Any:
        """Rows that lie on a GPU, as ``build`` takes them.

        Raises:
            KnnscopeError: another shape, type or device.
        """
        with OnDevice(self.device):
            with arrays.stream_of(vectors):
                found, written = arrays.matrix(vectors, "rows"), cp.cuda.Event(disable_timing=True)
                written.record()
            cp.cuda.get_current_stream().wait_event(written)  # who builds reads them there
            if found.ndim != 2 or 0 in found.shape:
                raise KnnscopeError(
                    f"rows have shape {found.shape}: two dimensions (rows, dim), neither zero, were expected"
                )
            return found

    def search_there(self, queries: Any, k: int, where: Any, out: tuple[Any, Any] | None) -> Neighbors:
        """Queries that lie on the GPU: the answer lies there too, once the stream comes to it; see ``ExactIndex.search``."""
        with OnDevice(self.device), arrays.stream_of(queries):
            return answered(self.queue, self.table.rows.shape, (queries, k, where, out))

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
        some = f"for the {self.codes.width - 1} leading ones" if self.codes.width < self.codes.full else "a component"
        where = ["rows in host memory"] if isinstance(self.kept, np.ndarray) else []
        if self.codes.streaming is not None:
            with OnDevice(self.device):
                where.append(self.codes.streaming.told)
        return "; ".join([f"{few}a byte {some}", *where])

    @property
    def nbytes(self) -> int:
        """Bytes of codes, plane and bounds, wherever they lie."""
        return self.codes.nbytes if self.codes else 0

    @property
    def has_captured(self) -> bool:
        """Whether a graph was captured that reads this memory whenever it is started."""
        return self._workspaces.has_graphs

    def prompt(self, queries: Any, k: int) -> Ranked | None:
        """Answer queries that are taken as they are; see ``Scanner``. The kernels say which are no vectors of finite numbers."""
        rows, dim = self.table.rows.shape
        if type(queries) is not np.ndarray or type(k) is not int or not 0 < k <= rows or queries.dtype.char not in "fd":
            return None
        if not queries.size or queries.shape[-1] != dim or queries.ndim > 2 or not queries.dtype.isnative:
            return None
        try:
            with OnDevice(self.device):
                return self._answered(queries if queries.ndim == 2 else queries[None], k, None)
        except KnnscopeError:  # said again, of the queries as the user gave them
            return None

    def again(self, _queries: Any, _k: int, _threads: int | None) -> None:
        """See ``Scanner``."""
        return

    def nearest(self, request: Request, threads: int | None = None) -> Ranked:  # noqa: ARG002
        """Answer a request; see ``Scanner``."""
        with OnDevice(self.device):
            allowed = on_gpu(request.allowed) if len(request.allowed) else None
            return self._answered(request.queries, request.k, allowed)

    def _answered(self, queries: npt.NDArray[Any], k: int, allowed: Any) -> Ranked:
        """The answer in host memory to queries that lie there; waits."""
        staged = Staged(queries)  # kept until the search is over
        ids, values, proof = self.queue(staged.there, k, allowed, None).brought()
        return Ranked(ids, values, proof.candidates, proof.computed, proof.margin, proof.path)

    def within(self, request: RadiusRequest, threads: int | None = None) -> Within:  # noqa: ARG002
        """Answer a request for all rows within a radius: every row's value is computed; see ``Scanner``."""
        count, table, left = len(request.queries), self.table, request.most
        each, found = np.zeros(count, dtype=np.int64), []
        with OnDevice(self.device):
            allowed = on_gpu(request.allowed) if len(request.allowed) else None
            parts = all_rows.within(table, on_gpu(request.queries), on_gpu(request.keys), allowed)
            for first, numbers, rows, keys, wrong in parts if count else ():
                if wrong:
                    raise overflows(definition.METRICS[table.metric])
                left -= len(rows)
                if left < 0:
                    raise too_many(request.most - left, request.most)
                names = rows if table.names is None else table.names[rows]
                found.append((host(numbers) + first, host(names), host(keys)))
                each += np.bincount(found[-1][0], minlength=count)
                if int(each.max()) > request.most_each:
                    raise too_many(int(each.max()), request.most_each, int(each.argmax()))
        none = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        numbers, names, keys = (np.concatenate(some) for some in zip(none, *found, strict=True))
        order = np.lexsort((names, keys, numbers))
        keys = keys[order]
        all_of = np.broadcast_to(len(table.rows) if allowed is None else request.allowed.sum(axis=1), (count,)).astype(
            np.int64
        )
        offsets = np.concatenate([[0], each.cumsum()]).astype(np.int64)
        values = -keys + 0.0 if table.metric else keys
        return Within(offsets, names[order], values, all_of, all_of.copy(), ("exhaustive",))

    def queue(self, queries: Any, k: int, allowed: Any, out: tuple[Any, Any] | None) -> Queued:
        """A search of queries that lie on the GPU, float32 or float64, on the current stream.

        Args:
            queries: (queries, dim).
            k: neighbors.
            allowed: bool, (1 or queries, rows), or None.
            out: ids, int64, and values, float64, (queries, k), to be written; None for new ones.
        """
        table, count, stream = self.table, len(queries), cp.cuda.get_current_stream()
        path = self._path(count <= plane.TOGETHER, k, allowed is not None) if count else None
        graph = streams.capture(stream)
        if graph:
            self._check_captured(path, k, out)
            if not self._readers.has(stream):  # and cannot wait for what was not captured
                raise not_made()
        who = self._readers.add(stream)
        if path is None:
            return self._by_all(queries, k, allowed, out)
        if path is plane and self._plane is not None:
            return self._plane.queue(queries, k, allowed, out)
        number, each, size = stream.ptr, path.TOLD_BYTES, 8 * count * k
        memory = _of_graph(count * each) if graph else cp.cuda.alloc(count * each + (2 * size if out is None else 0))
        if out is None:
            answer = memory.ptr, memory.ptr + size
            told = memory + 2 * size
        else:
            answer, told = (out[0].data.ptr, out[1].data.ptr), memory
        step, mask = path.step_of(k, len(table.rows)), EVERY
        with self._lock:
            for first in range(0, count, step):
                some = queries if count <= step else queries[first : first + step]
                workspace = self._workspace((path, who, len(some), k), graph)
                if allowed is not None:
                    stride = 0 if len(allowed) == 1 else len(table.rows)
                    mask = (allowed.data.ptr + first * stride, stride)
                past = 8 * k * first
                workspace.queue(number, some, mask, told.ptr + first * each, (answer[0] + past, answer[1] + past))
            if graph:
                self._captured.append((told, queries, allowed, out))
        ids, values = out or (
            cp.ndarray((count, k), cp.int64, memory),
            cp.ndarray((count, k), cp.float64, memory + size),
        )

        def certified(numbers: npt.NDArray[np.uint8], last: npt.NDArray[np.float64]) -> Certificate:
            parts = [
                path.told(numbers[first * each : (first + step) * each], last[first : first + step], table.metric)
                for first in range(0, count, step)
            ]
            return Told.of(parts).certificate(table.metric, len(table.rows), _sums(allowed))

        def read() -> Certificate:
            with cp.cuda.Device(self.device):
                numbers = cp.asnumpy(cp.ndarray(count * each, cp.uint8, told), stream=stream)
                return certified(numbers, cp.asnumpy(values, stream=stream)[:, k - 1])

        def brought() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], Certificate]:
            found = staging.brought(memory, 2 * size + count * each)
            here = found[:size].view(np.int64).reshape(count, k)
            near = found[size : 2 * size].view(np.float64).reshape(count, k)
            return here, near, certified(found[2 * size :], near[:, k - 1])

        return Queued(ids, values, read, brought)

    def _path(self, few: bool, k: int, masked: bool) -> Any:
        """The module that answers so many queries and neighbors; None: more than a block has room for, so that all values are sorted."""
        if (few, k, masked) not in self._paths:
            codes, table = self.codes, self.table
            by_plane, by_codes = plane.usable(table, codes, k), not masked and batch.usable(table, codes, k)
            if by_plane and by_codes and codes is not None:
                by_plane = few and plane.pays(table, codes, k)
            path = plane if by_plane else batch if by_codes else direct if direct.usable(k) else None
            self._paths[few, k, masked] = path
        return self._paths[few, k, masked]

    def _workspace(self, shape: tuple[Any, ...], graph: int) -> Any:
        """Memory of a path, a stream, so many queries and neighbors; ``graph``: that is captured, 0 for none."""
        path, _, count, k = shape

        def make() -> Any:
            return path.Workspace(self.table, self.codes, count, k)

        if not graph:
            return self._workspaces.take(shape, make)
        with streams.aside():
            return self._workspaces.of_graph(graph, shape, make)

    def _check_captured(self, path: Any, k: int, out: tuple[Any, Any] | None) -> None:
        """Refuse a search that a graph cannot repeat."""
        if self._plane is not None:
            raise KnnscopeError(
                "a CUDA graph can be captured only of an index whose codes lie on the GPU: give it more memory, or search without a graph"
            )
        if out is None:
            raise KnnscopeError(
                "a search that is captured in a CUDA graph writes into arrays of yours: give out=(ids, distances)"
            )
        if path is None:
            raise KnnscopeError(
                f"k = {k}: a search for so many neighbors cannot be captured in a CUDA graph, {reading.MOST_K} are the most"
            )

    def _by_all(self, queries: Any, k: int, allowed: Any, out: tuple[Any, Any] | None) -> Queued:
        """Answer by all values, sorted; see ``queue``."""
        table, count, stream = self.table, len(queries), cp.cuda.get_current_stream()
        finite = cp.isfinite(queries).all(
            axis=1
        )  # now: whoever asks for the certificate may have written other queries there
        ids, values, errors = all_rows.search(table, queries.astype(cp.float64, copy=False), k, allowed)
        ids = cp.where(finite[:, None], ids, -1)
        if out is not None:
            out[0][...], out[1][...] = ids, values

        def read() -> Certificate:
            flags, none = np.full(count, BY_ALL_ROWS, dtype=np.uint32), np.zeros(count, dtype=np.int64)
            wrong = NOT_A_NUMBER if int(cp.asnumpy(errors, stream=stream)[0]) else 0
            flags |= np.where(cp.asnumpy(finite, stream=stream), wrong, NOT_FINITE).astype(np.uint32)
            told = Told(none, none, np.full(count, np.inf), flags, "exhaustive")
            return told.certificate(table.metric, len(table.rows), _sums(allowed))

        def brought() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], Certificate]:
            proof = read()
            return host(ids), host(values), proof

        return Queued(*(out or (ids, values)), read, brought)


def _sums(allowed: Any) -> npt.NDArray[np.int64] | None:
    """Rows that may be answers."""
    return None if allowed is None else host(allowed.sum(axis=1))


def _of_graph(size: int) -> Any:
    """Memory of a graph alone."""
    with streams.aside():
        return cp.cuda.alloc(size)


def _check_finite(rows: Any) -> None:
    """Refuse rows with a number that is not finite; says which."""
    if rows.dtype.kind != "f" and rows.dtype != cp.int16:
        return
    for first in range(0, len(rows), CHUNK):
        some = rows[first : first + CHUNK]
        fine = (some & 0x7F80) != 0x7F80 if rows.dtype == cp.int16 else cp.isfinite(some)
        if not bool(fine.all()):
            check_finite(widened(host(some)), "rows", first)
