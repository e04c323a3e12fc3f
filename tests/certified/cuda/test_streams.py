"""Memory that several streams read, on a GPU in words (gpu_in_words.py): written before it is read, and nobody's else before all have read it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from knnscope.errors import KnnscopeError
from tests.certified.cuda.gpu_in_words import Array, Stream, bytes_at, forgotten, installed

SEEDS = range(12)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with forgotten():
        yield


@pytest.mark.parametrize("seed", SEEDS)
def test_memory_is_read_when_it_is_written_and_let_go_when_it_was_read(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pool does: what is let go belongs to what its stream does next."""
    gpu = installed(monkeypatch, 1 << 20, seed)
    from knnscope.certified.cuda import streams

    class Owner:
        pass

    home, others, memory, found = gpu.current, [Stream(gpu) for _ in range(3)], Array(100, np.uint8), list[bool]()
    owner = Owner()
    home.queue(lambda: memory.fill(7))
    readers = streams.Readers(owner)
    for stream in (*others, home, *others):
        for _ in range(3):
            readers.add(stream)
            assert readers.has(stream)
            stream.queue(lambda: found.append(bool((memory == 7).all())))
    del owner, readers
    gc.collect()
    home.queue(lambda: memory.fill(9))
    gpu.run()
    assert found == [True] * 21


def test_a_stream_that_is_captured_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph would become part of what waits; who captures keeps the memory."""
    gpu = installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda import streams

    class Owner:
        pass

    owner, other = Owner(), Stream(gpu)
    streams.Readers(owner).add(other)
    gpu.run()
    gpu.graphs[other] = 5
    del owner
    assert not gpu.current.work
    assert not other.work


def test_a_streams_number_may_be_another_stream_in_each_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda import streams

    def keys_of(number: int) -> list[Any]:
        found = [streams.key(SimpleNamespace(ptr=number))]
        thread = threading.Thread(target=lambda: found.append(streams.key(SimpleNamespace(ptr=number))))
        thread.start()
        thread.join()
        return found

    for number in (0, 1, 77):
        assert len(set(keys_of(number))) == 1
    assert len(set(keys_of(streams.PER_THREAD))) == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_that_are_left_are_known_to_every_stream(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After rows are removed, whoever searches next copies the mask; others come before it is there, and after it was replaced."""
    gpu = installed(monkeypatch, 1 << 20, seed)
    from knnscope.certified.cuda import living

    random, streams, found = np.random.default_rng(seed), [gpu.current, Stream(gpu), Stream(gpu)], list[bool]()
    scanner = SimpleNamespace(live=None)
    for _ in range(4):
        live = random.random((1, 200)) < 0.8
        part: Any = SimpleNamespace(segment=SimpleNamespace(scanner=scanner), live=live)
        for turn in range(5):
            gpu.current = streams[int(random.integers(3))]
            if turn % 2:
                gpu.current.queue(lambda: None)
            mask, rows = living._kept(part)
            address, place = mask.ctypes.data, rows.ctypes.data
            own = np.flatnonzero(live)

            def read(
                at: int = address, of: int = place, live: Any = live, own: Any = own, keep: Any = (mask, rows)
            ) -> None:
                found.append(
                    bytes_at(at, live.nbytes).tobytes() == live.tobytes()
                    and bytes_at(of, own.nbytes).tobytes() == own.tobytes()
                )

            gpu.current.queue(read)
    gpu.run()
    assert found == [True] * 20


@pytest.mark.parametrize("most", [100, 1 << 20])
def test_arrays_come_row_after_row_however_they_lie(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels read them so; CuPy copies some as they lie."""
    gpu = installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda import staging, table

    monkeypatch.setattr(staging, "MOST", most)
    whole = np.arange(24 * 10.0).reshape(24, 10)
    for array in (
        whole,
        np.asfortranarray(whole),
        whole.T,
        whole[::2],
        whole[:, ::3],
        whole[::-1],
        whole[3],
        whole[:0],
    ):
        staged = staging.Staged(array)
        for there in (staged.there, table.on_gpu(array)):
            gpu.run()
            assert there.shape == array.shape
            np.testing.assert_array_equal(
                bytes_at(there.ctypes.data, there.nbytes), np.frombuffer(array.tobytes(), np.uint8)
            )


def test_where_the_system_pins_no_more_memory_arrays_go_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda import staging

    def full(_size: int) -> Any:
        raise gpu.cupy.cuda.runtime.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")

    monkeypatch.setattr(gpu.cupy.cuda, "alloc_pinned_memory", full)
    array = np.arange(30, dtype=np.float32).reshape(5, 6)
    staged = staging.Staged(array)
    memory = gpu.alloc(8)
    gpu.run()
    np.testing.assert_array_equal(np.asarray(staged.there), array)
    assert staging.brought(memory, 8).tolist() == [0xA5] * 8


class Made:
    """Memory of a search."""

    def __init__(self, gpu: Any, size: int) -> None:
        self.gpu, self.size = gpu, 0
        gpu.alloc(size)
        self.size = size

    def __del__(self) -> None:
        self.gpu.free += self.size


def test_what_other_searches_have_kept_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = installed(monkeypatch, 1000)
    from knnscope.certified.cuda.workspaces import Workspaces

    kept = Workspaces()
    for size in (600, 500, 900, 600):
        found = kept.take((size,), lambda size=size: Made(gpu, size))
        assert found is kept.take((size,), lambda: pytest.fail("it is there"))
        del found
        assert gpu.free == 1000 - size
    with pytest.raises(gpu.cupy.cuda.memory.OutOfMemoryError):
        kept.take((1001,), lambda: Made(gpu, 1001))
    assert kept.take((800,), lambda: Made(gpu, 800)).size == 800


def test_of_many_shapes_some_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = installed(monkeypatch, 1000)
    from knnscope.certified.cuda import workspaces

    kept = workspaces.Workspaces()
    for size in range(1, 30):
        kept.take((size,), lambda size=size: Made(gpu, size))
        assert len(kept) == min(size, workspaces.KEPT)


def test_each_graph_has_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs that were captured on one stream are started on any, beside each other and beside searches."""
    gpu = installed(monkeypatch, 1000)
    from knnscope.certified.cuda.workspaces import Workspaces

    kept = Workspaces()
    shape = "path", (3, 0), 4, 10

    def search() -> Any:
        return kept.take(shape, lambda: Made(gpu, 10))

    def captured(graph: int) -> Any:
        return kept.of_graph(graph, shape, lambda: Made(gpu, 10))

    with pytest.raises(KnnscopeError, match="made on the same stream before"):
        captured(1)
    assert not kept.has_graphs
    first = search()
    of_first, of_second = captured(1), captured(2)
    assert captured(1) is of_first  # twice in one graph, one after the other
    assert captured(2) is of_second
    assert len({id(one) for one in (first, of_first, of_second)}) == 3
    assert search() is first
    assert kept.has_graphs


def test_streams_of_threads_are_all_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lets memory go has no name for the streams of other threads."""
    gpu = installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda import streams

    class Owner:
        pass

    owner, other, read = Owner(), Stream(gpu), list[int]()
    other.ptr = streams.PER_THREAD
    streams.Readers(owner).add(other)
    other.queue(lambda: read.append(1))
    del owner
    assert read == [1]


@pytest.mark.parametrize(("status", "number", "graph"), [(0, 5, 0), (1, 5, 6), (1, 0, 1), (2, 5, 0)])
def test_a_capture_is_what_the_driver_says(
    status: int, number: int, graph: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, 1 << 20)
    from knnscope.certified.cuda import streams

    def driver(_stream: Any, said: Any, own: Any, *_nothing: None) -> int:
        said._obj.value, own._obj.value = status, number
        return 0

    monkeypatch.setattr(streams, "_capture_info", lambda: driver)
    assert streams.capture(SimpleNamespace(ptr=77)) == graph
    assert streams.capture(SimpleNamespace(ptr=0)) == 0
    monkeypatch.setattr(streams, "_capture_info", lambda: lambda *_: 3)
    with pytest.raises(KnnscopeError, match=r"\(CUDA error 3\)"):
        streams.capture(SimpleNamespace(ptr=77))
