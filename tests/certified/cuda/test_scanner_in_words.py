"""What a GPU's scanner does with searches that are captured in a graph, and with what paths keep, on a GPU in words."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from knnscope.errors import GpuFullError, KnnscopeError
from knnscope.records import Certificate
from tests.certified.cuda.gpu_in_words import Array, Stream, forgotten, installed


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten():
        yield


class Path:
    """A path that keeps nothing; whom it was asked by."""

    TOLD_BYTES = 4

    class Workspace:
        def __init__(self, *_given: Any) -> None:
            self.searches = list[int]()

        def queue(self, stream: int, *_given: Any) -> None:
            self.searches.append(stream)

    @staticmethod
    def step_of(_k: int, _rows: int) -> int:
        return 4


def scanner_of(gpu: Any, path: Any = Path) -> Any:
    """Without rows, whose searches all take one path; None: the one that sorts."""
    from knnscope.certified.cuda import scanner, streams
    from knnscope.certified.cuda.workspaces import Workspaces

    made = scanner.CudaScanner.__new__(scanner.CudaScanner)
    made.device, made._plane, made._captured, made._lock = 0, None, [], threading.Lock()
    made.table, made.codes, made._workspaces = SimpleNamespace(rows=np.empty((100, 8)), metric=0), None, Workspaces()
    made._paths = {(few, k, masked): path for few in (True, False) for k in (3, 600) for masked in (True, False)}
    made._readers = streams.Readers(made)
    return made


QUERIES, OUT = Array((6, 8), np.float32), (Array((6, 3), np.int64), Array((6, 3)))


def test_each_graph_has_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = installed(monkeypatch, 1 << 20)
    scanner = scanner_of(gpu)
    stream = gpu.current = Stream(gpu)
    made = list[Any]()
    own = Path.Workspace.__init__
    monkeypatch.setattr(Path.Workspace, "__init__", lambda self, *given: (made.append(self), own(self))[1])
    for number in (1, 2):
        scanner.queue(QUERIES, 3, None, OUT)
        gpu.graphs[stream] = number
        for _ in range(2):
            scanner.queue(QUERIES, 3, None, OUT)
        gpu.graphs.clear()
        assert scanner.has_captured
    scanner.queue(QUERIES, 3, None, OUT)
    # each of six queries is two launches, of four and of two: three searches, and two in each graph
    assert [len(one.searches) for one in made] == [3, 3, 2, 2, 2, 2]


def test_memory_of_a_graph_was_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph is started on any stream, while searches from before it was captured may still be under way on their own."""
    gpu = installed(monkeypatch, 1 << 20)
    scanner = scanner_of(gpu)
    stream = gpu.current = Stream(gpu)

    class Workspace(Path.Workspace):
        def __init__(self, *_given: Any) -> None:
            super().__init__()
            self.memory = gpu.cupy.zeros(3)

    monkeypatch.setattr(Path, "Workspace", Workspace)
    scanner.queue(QUERIES, 3, None, OUT)
    assert [on for on, _ in gpu.asked] == 3 * [stream]
    gpu.asked.clear()
    gpu.graphs[stream] = 1
    scanner.queue(QUERIES, 3, None, OUT)
    assert [mode for _, mode in gpu.asked] == 3 * [2]
    assert {on for on, _ in gpu.asked}.isdisjoint({stream, *gpu.graphs})
    assert (gpu.mode, gpu.current) == (0, stream)


@pytest.mark.parametrize("is_captured", [False, True])
@pytest.mark.parametrize(
    "given", [np.zeros((6, 8), np.float16), np.zeros((6, 8), np.uint8), np.zeros((8, 6), np.float32).T]
)
def test_queries_that_a_graph_copies_lie_in_its_own_memory(
    given: Any, is_captured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda import arrays

    stream = gpu.current = Stream(gpu)
    if is_captured:
        gpu.graphs[stream] = 1
    monkeypatch.setattr(arrays, "matrix", lambda given, _what: given)
    found, _ = arrays.queries(given.view(Array), 8)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    ((on, mode),) = gpu.asked
    assert (on is stream, mode) == (not is_captured, 2 * is_captured)


def test_what_a_graph_cannot_repeat_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = installed(monkeypatch, 1 << 20)
    scanner = scanner_of(gpu)
    stream = gpu.current = Stream(gpu)
    gpu.graphs[stream] = 1
    with pytest.raises(KnnscopeError, match="made on the same stream before"):
        scanner.queue(QUERIES, 3, None, OUT)
    assert not stream.work  # nothing of another stream became part of the graph
    gpu.graphs.clear()
    scanner.queue(QUERIES, 3, None, OUT)
    gpu.graphs[stream] = 1
    with pytest.raises(KnnscopeError, match=r"give out=\(ids, distances\)"):
        scanner.queue(QUERIES, 3, None, None)
    with pytest.raises(KnnscopeError, match="made on the same stream before"):
        scanner.queue(QUERIES[:5], 3, None, (OUT[0][:5], OUT[1][:5]))
    from knnscope.certified.cuda import arrays

    with pytest.raises(KnnscopeError, match="where lies in host memory"):
        arrays.mask(np.ones(100, np.bool_), 6, 100)
    with pytest.raises(KnnscopeError, match=r"k = 600: .* are the most"):
        scanner_of(gpu, None).queue(QUERIES, 600, None, OUT)


def test_a_certificate_that_was_read_keeps_the_index_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda.answer import LazyCertificate

    class Index:
        def read(self) -> Certificate:
            return Certificate(7, np.ones(2, np.int64), np.ones(2, np.int64), np.ones(2), ("plane",))

    index = Index()
    kept = weakref.ref(index)
    proof = LazyCertificate(index.read)
    del index
    assert kept() is not None
    assert (proof.rows_scanned, proof.path) == (7, ("plane",))
    assert kept() is None


def test_a_full_memory_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merging leaves segments as they are then."""
    gpu = installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda.scanner import OnDevice

    with pytest.raises(GpuFullError, match=r"^the GPU's memory is full .*device='cpu'$"), OnDevice(0):
        gpu.alloc(1 << 30)


class Registered:
    """Memory that a system has pinned, in pages; none twice."""

    def __init__(self, gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ranges, runtime = dict[int, int](), gpu.cupy.cuda.runtime
        monkeypatch.setattr(runtime, "hostRegister", self.add, raising=False)
        monkeypatch.setattr(runtime, "hostUnregister", self.ranges.pop, raising=False)

    def add(self, begin: int, size: int, _flags: int) -> None:
        if any(begin < other + more and other < begin + size for other, more in self.ranges.items()):
            raise RuntimeError("cudaErrorHostMemoryAlreadyRegistered: part or all of it is")
        self.ranges[begin] = size


def test_rows_that_overlap_are_pinned_once_and_else_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an array, of parts of it, and of more of it than is pinned: the few rows that an index has open grow where they lie."""
    gpu = installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda import host_rows

    registered = Registered(gpu, monkeypatch)
    rows = np.random.default_rng(0).standard_normal((1000, 16)).astype(np.float32)
    parts = [rows[100:500], rows[100:500], rows[200:300], rows[:900], rows[400:600], rows[900:], rows[100:500, :8]]
    there = [host_rows.pinned(part, 0) for part in parts]
    for array, part in zip(there, parts, strict=True):
        np.testing.assert_array_equal(np.asarray(array), part)
    copied = [array.ctypes.data != part.ctypes.data for array, part in zip(there, parts, strict=True)]
    assert copied == [False, False, False, True, True, False, True]
    assert len(registered.ranges) == 3  # the last is of an array without gaps, made for it
    del array
    while there:
        there.pop()
    assert not registered.ranges
    assert not host_rows._held


def test_memory_is_let_go_while_other_memory_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the garbage collector, which comes at any time."""
    gpu = installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda import host_rows

    registered = Registered(gpu, monkeypatch)
    rows, other = np.zeros((2, 100, 16), np.float32)
    held = [host_rows.pinned(rows, 0), host_rows.pinned(other, 0)]
    own = gpu.cupy.cuda.runtime.hostRegister

    def late(*given: Any) -> None:
        held.clear()
        own(*given)

    gpu.cupy.cuda.runtime.hostRegister = late
    third = np.ones((50, 16), np.float32)
    assert np.asarray(host_rows.pinned(third, 0)).sum() == 800
    assert not registered.ranges

    def refuses(*_given: Any) -> None:
        raise RuntimeError("cudaErrorMemoryAllocation: out of memory")

    gpu.cupy.cuda.runtime.hostRegister = refuses
    with pytest.raises(GpuFullError, match="cudaErrorMemoryAllocation"):
        host_rows.pinned(third, 0)
    assert not host_rows._held


@pytest.mark.parametrize("metric", [0, 1, 2])
def test_centre_and_lengths_are_those_of_all_rows_however_few_are_widened_at_once(
    metric: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda import codes

    for name in ("sqrt", "where"):
        monkeypatch.setattr(gpu.cupy, name, getattr(np, name), raising=False)
    rows = np.random.default_rng(0).standard_normal((97, 5)) * 3
    rows[13] = 0
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    asked = rows / np.where(lengths == 0, 1, lengths) if metric == 2 else rows
    for most in (1, 40, 1 << 20):
        monkeypatch.setattr(codes, "WIDENED", most)
        centre, longest = codes._centre(rows.view(Array), metric)
        np.testing.assert_allclose(centre, asked.mean(axis=0), rtol=1e-12, atol=1e-15)
        assert longest == pytest.approx(np.linalg.norm(asked - asked.mean(axis=0), axis=1).max())
        assert codes._longest2(codes._widened(rows.view(Array), 1)) == pytest.approx((rows**2).sum(axis=1).max())
        for wrong in (1e200, np.inf):
            far = rows.copy()
            far[50, 2] = wrong
            with np.errstate(all="ignore"):
                assert codes._longest2(codes._widened(far.view(Array), 1)) == np.inf
                assert metric == 2 or codes._centre(far.view(Array), metric)[1] == np.inf
