"""Streams, threads and graphs that share an index: what one writes, reads or lets go is not another's before its time."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from knnscope import ExactIndex
from knnscope.datasets import registry
from knnscope.errors import KnnscopeError

cp = pytest.importorskip("cupy")
arrays = pytest.importorskip("knnscope.certified.cuda.arrays")

K = 10


def data(rows: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    dataset, _ = registry.load(f"synthetic:text,rows={rows},dim=96,queries={queries}")
    return dataset.documents.values, dataset.queries.values


def outputs(count: int, k: int = K) -> tuple[Any, Any]:
    return cp.full((count, k), -7, cp.int64), cp.full((count, k), np.nan)


SPIN = r"""extern "C" __global__ void spin(long long cycles) { for (long long end = clock64() + cycles; clock64() < end;); }"""


@pytest.fixture
def delay() -> Iterator[Callable[[], None]]:
    """Keep the current stream from what comes next, for a tenth of a second or so."""
    spin = cp.RawKernel(SPIN, "spin")
    yield lambda: spin((1,), (1,), (np.int64(200_000_000),))
    cp.cuda.runtime.deviceSynchronize()


def test_queries_lie_in_any_order() -> None:
    """73 MiB, columns together: more than goes through memory that is pinned for it."""
    rows, _ = data(5000, 1)
    queries = np.random.default_rng(0).standard_normal((96, 200_000), dtype=np.float32).T
    there, here = ExactIndex(rows, device="cuda"), ExactIndex(rows, device="cpu")
    found = there.search(queries, 3)
    some = np.arange(0, 200_000, 997)
    np.testing.assert_array_equal(found.ids[some], here.search(queries[some], 3).ids)


def test_rows_that_a_stream_is_still_writing(delay: Callable[[], None]) -> None:
    torch = pytest.importorskip("torch")
    rows, queries = data(9000, 8)
    expected = ExactIndex(rows, device="cpu").search(queries, K)
    source, stream = torch.as_tensor(rows, device="cuda"), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        written = torch.zeros_like(source)
        with arrays.stream_of(source):
            delay()
        written.copy_(source, non_blocking=True)
        index = ExactIndex(written, device="cuda")
    np.testing.assert_array_equal(index.search(queries, K).ids, expected.ids)


@pytest.mark.parametrize("batch", [1, 4, 60])
def test_graphs_of_one_stream_run_beside_each_other_and_beside_searches(batch: int) -> None:
    rows, queries = data(20_000, 3 * batch)
    expected, index = ExactIndex(rows, device="cpu").search(queries, K).ids, ExactIndex(rows, device="cuda")
    asked = [cp.asarray(queries[turn * batch : (turn + 1) * batch]) for turn in range(3)]
    outs, graphs = [outputs(batch) for _ in range(3)], list[Any]()
    cp.cuda.runtime.deviceSynchronize()
    streams = [cp.cuda.Stream(non_blocking=True) for _ in range(3)]
    with streams[0]:
        for turn in range(2):
            index.search(asked[turn], K, out=outs[turn])
            streams[0].begin_capture()
            index.search(asked[turn], K, out=outs[turn])
            graphs.append(streams[0].end_capture())
    for _ in range(50):
        for turn in range(2):
            graphs[turn].launch(streams[turn])
        with streams[2]:
            index.search(asked[2], K, out=outs[2])
        cp.cuda.runtime.deviceSynchronize()
        for turn, (ids, _) in enumerate(outs):
            np.testing.assert_array_equal(ids.get(), expected[turn * batch : (turn + 1) * batch])
            ids.fill(-7)
        cp.cuda.runtime.deviceSynchronize()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("batch", [1, 4, 60, 300])
def test_a_graph_beside_searches_from_before_it_was_captured(batch: int, dtype: Any, delay: Callable[[], None]) -> None:
    """It is started on another stream again and again, while they are still under way on their own."""
    rows, queries = data(20_000, 2 * batch)
    queries = queries.astype(dtype)
    index, here = ExactIndex(rows, device="cuda"), ExactIndex(rows, device="cpu")
    expected = here.search(queries.astype(np.float32), K).ids
    asked, outs = [cp.asarray(queries[:batch]), cp.asarray(queries[batch:])], [outputs(batch) for _ in range(2)]
    warm, ended = outputs(batch), cp.cuda.Event(disable_timing=True)
    cp.cuda.runtime.deviceSynchronize()
    first, second = (cp.cuda.Stream(non_blocking=True) for _ in range(2))
    with first:
        index.search(asked[0], K, out=warm)
        delay()
        for _ in range(20):
            index.search(asked[0], K, out=outs[0])
        ended.record()
        first.begin_capture()
        index.search(asked[1], K, out=outs[1])
        graph = first.end_capture()
    wrong = 0
    while not ended.done:
        graph.launch(second)
        second.synchronize()
        wrong += int((outs[1][0].get() != expected[batch:]).any())
    cp.cuda.runtime.deviceSynchronize()
    assert wrong == 0
    np.testing.assert_array_equal(outs[0][0].get(), expected[:batch])


def captured(index: ExactIndex, asked: Any) -> tuple[Any, Any, tuple[Any, Any]]:
    """A search of PyTorch's queries in a graph of its own, the stream, and what it writes."""
    import torch

    stream, graph, shape = torch.cuda.Stream(), torch.cuda.CUDAGraph(), (len(asked), K)
    out = torch.zeros(shape, dtype=torch.int64, device="cuda"), torch.zeros(shape, dtype=torch.float64, device="cuda")
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        index.search(asked, K, out=out)
    stream.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        index.search(asked, K, out=out)
    return graph, stream, out


def test_a_graph_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    rows, queries = data(9000, 8)
    expected, index = ExactIndex(rows, device="cpu").search(queries, K).ids, ExactIndex(rows, device="cuda")
    asked = torch.as_tensor(queries[:4], device="cuda")
    graph, _, out = captured(index, asked)
    for first in (4, 0):
        asked.copy_(torch.as_tensor(queries[first : first + 4]))
        graph.replay()
        torch.cuda.synchronize()
        np.testing.assert_array_equal(out[0].cpu().numpy(), expected[first : first + 4])


def test_a_graph_writes_to_no_memory_but_its_own() -> None:
    """Queries of bfloat16 are widened on the way."""
    torch = pytest.importorskip("torch")
    rows, queries = data(9000, 4)
    narrow = torch.as_tensor(queries, device="cuda").bfloat16()
    index = ExactIndex(rows, device="cuda")
    expected = ExactIndex(rows, device="cpu").search(narrow.float().cpu().numpy(), K).ids
    graph, stream, out = captured(index, narrow)
    with torch.cuda.stream(stream), arrays.stream_of(narrow):
        others = [cp.full(size, 91, cp.uint8) for size in (512, 1024, 2048, 4096) for _ in range(8)]
    for _ in range(3):
        out[0].fill_(-1)
        graph.replay()
        torch.cuda.synchronize()
        np.testing.assert_array_equal(out[0].cpu().numpy(), expected)
        assert all(bool((other == 91).all()) for other in others)


def test_what_a_graph_cannot_repeat_is_refused_and_the_index_goes_on() -> None:
    rows, queries = data(9000, 4)
    index = ExactIndex(rows, device="cuda")
    asked, mask = cp.asarray(queries), np.ones(9000, np.bool_)
    for k, where, out, said in (
        (K, None, outputs(4), "made on the same stream before"),
        (K, None, None, "give out="),
        (600, None, outputs(4, 600), "k = 600"),
        (K, mask, outputs(4), "where lies in host memory"),
    ):
        with cp.cuda.Stream(non_blocking=True) as stream:
            stream.begin_capture()
            try:
                with pytest.raises(KnnscopeError, match=said):
                    index.search(asked, k, where=where, out=out)
            finally:
                stream.end_capture()
    expected = ExactIndex(rows, device="cpu").search(queries, K)
    np.testing.assert_array_equal(index.search(asked, K).ids.get(), expected.ids)


@pytest.mark.parametrize("kind", ["default", "of each thread"])
def test_a_thread_that_has_done_nothing_on_the_gpu_searches_there(kind: str) -> None:
    """And threads whose streams have the same number do not share what a search needs."""
    rows, queries = data(20_000, 64)
    index, expected = ExactIndex(rows, device="cuda"), ExactIndex(rows, device="cpu").search(queries, K).ids
    asked, wrong = cp.asarray(queries), list[Any]()
    cp.cuda.runtime.deviceSynchronize()

    def work(own: int) -> None:
        try:
            with cp.cuda.Stream.ptds if kind == "of each thread" else nullcontext():
                for turn in range(60):
                    first = (16 * own + turn) % 60
                    found = index.search(asked[first : first + 4], K)
                    if not np.array_equal(found.ids.get(), expected[first : first + 4]):
                        wrong.append((own, turn))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_query_that_is_not_finite_has_no_neighbors_however_many_are_asked_for() -> None:
    rows, queries = data(2000, 3)
    queries = queries.copy()
    queries[1, 5] = np.inf
    asked = cp.asarray(queries)
    found = ExactIndex(rows, device="cuda").search(asked, 600)
    asked[:] = 0  # what is written there later is another question
    assert (found.ids.get()[1] == -1).all()
    expected = ExactIndex(rows, device="cpu").search(queries[[0, 2]], 600)
    np.testing.assert_array_equal(found.ids.get()[[0, 2]], expected.ids)
    with pytest.raises(KnnscopeError, match="row 1 holds a number that is not finite"):
        _ = found.certificate.margin


def test_an_index_that_is_gone_is_read_to_the_end(delay: Callable[[], None]) -> None:
    rows, queries = data(40_000, 4)
    expected, asked, out = ExactIndex(rows, device="cpu").search(queries, K).ids, cp.asarray(queries), outputs(4)
    index = ExactIndex(rows, device="cuda")
    with cp.cuda.Stream(non_blocking=True):
        index.search(asked, K, out=out)
        cp.cuda.runtime.deviceSynchronize()
        delay()
        index.search(asked, K, out=out)
    del index
    gc.collect()
    others = [cp.full(40_000 * 96, 3e5, cp.float32) for _ in range(4)]
    cp.cuda.runtime.deviceSynchronize()
    assert len(others) == 4
    np.testing.assert_array_equal(out[0].get(), expected)


def test_rows_that_are_gone_are_gone_for_every_stream(delay: Callable[[], None]) -> None:
    rows, queries = data(20_000, 4)
    index = ExactIndex(rows, device="cuda")
    asked, streams = cp.asarray(queries), [cp.cuda.Stream(non_blocking=True) for _ in range(2)]
    cp.cuda.runtime.deviceSynchronize()
    nearest = index.search(queries, 3).ids
    index.remove(np.unique(nearest))
    with streams[0]:
        delay()
        index.search(asked, K)
    with streams[1]:
        found = index.search(asked, K)
    left = np.delete(np.arange(20_000), np.unique(nearest))
    expected = left[ExactIndex(rows[left], device="cpu").search(queries, K).ids]
    cp.cuda.runtime.deviceSynchronize()
    np.testing.assert_array_equal(found.ids.get(), expected)
