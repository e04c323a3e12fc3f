"""Rows that do not fit: in host memory beside codes on the GPU, or shared out among GPUs. And searches of host arrays, and what all rows answer."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope.certified import either
from knnscope.certified.either import Either
from knnscope.certified.index import ExactIndex
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests.certified.answers import moved
from tests.gpu.answers import same

cp = pytest.importorskip("cupy")
METRICS = definition.METRICS
KINDS: dict[str, list[str]] = {
    "rows in host memory": ["cuda:0"],
    "shared out": ["cuda:0", "cuda:0", "cuda:0"],
    "shared out, rows in host memory": ["cuda:0", "cuda:0"],
}


def how(kind: str, shape: tuple[int, int]) -> dict[str, Any]:
    """Where an index of so many rows lies: in host memory with as much of the GPU's as codes take."""
    devices, (count, dim) = KINDS[kind], shape
    if "host" not in kind:
        return {"device": devices}
    return {"device": devices, "memory": -(-count // len(devices)) * (-(-dim // 128) * 128 + dim // 2 + 32)}


def data(count: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    spectrum = ((np.arange(dim) + 1.0) ** -0.5).astype(np.float32)
    rows = random.standard_normal((count, dim), dtype=np.float32) * spectrum
    rows[count // 2 :: 97] = rows[0]  # ties that meet across shards
    return rows, np.concatenate([rows[:3], random.standard_normal((300, dim), dtype=np.float32) * spectrum])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_and_queries_that_are_not_aligned(kind: str, dtype: str) -> None:
    """As those do that came by a network."""
    rows, queries = (some.astype(dtype) for some in data(20_000, 96))
    there, here = ExactIndex(moved(rows, 1), **how(kind, rows.shape)), ExactIndex(rows, device="cpu")
    for batch in (1, 40):
        same(there.search(moved(queries[:batch], 3), 10), here.search(queries[:batch], 10))


def test_an_array_of_the_gpu_that_is_not_aligned_is_refused() -> None:
    rows, _ = data(500, 32)
    odd = cp.zeros(rows.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(rows.shape)
    with pytest.raises(KnnscopeError, match="of type float32 are not aligned in memory: copy them"):
        ExactIndex(odd, device="cuda")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_answers_are_those_of_the_cpu(kind: str, metric: str, dtype: str) -> None:
    rows, queries = data(70_000, 128)
    if dtype == "int8":
        rows, queries = (np.clip(np.rint(40 * some), -128, 127).astype(np.int8) for some in (rows, queries))
    there, here = ExactIndex(rows, metric, **how(kind, rows.shape)), ExactIndex(rows, metric, device="cpu")
    assert there.levels.endswith("rows in host memory") == ("host" in kind)
    mask = np.random.default_rng(1).random((303, len(rows))) < 0.3
    for k in (1, 10, 300, 3000):
        for batch in (1, 3, 40, 303):
            expected = here.search(queries[:batch], k)
            same(there.search(queries[:batch], k), expected)
            same(there.search(cp.asarray(queries[:batch]), k), expected)
    for where in (mask[0], mask[:5]):
        expected = here.search(queries[:5], 7, where=where)
        same(there.search(queries[:5], 7, where=where), expected)
        same(there.search(cp.asarray(queries[:5]), 7, where=cp.asarray(where)), expected)
    radius = float(np.median(here.search(queries[:9], 5).distances[:, -1]))
    for where in (None, mask[0]):
        within, correct = (one.radius_search(queries[:9], radius, where=where) for one in (there, here))
        for name in ("offsets", "ids", "distances"):
            np.testing.assert_array_equal(getattr(within, name), getattr(correct, name))


@pytest.mark.parametrize("kind", KINDS)
def test_it_lives(kind: str, tmp_path: Path) -> None:
    """Adding, removing, updating, merging, saving and pickling."""
    rows, queries = data(40_000, 64, 2)
    there, here = ExactIndex(rows[:30_000], **how(kind, (40_000, 64))), ExactIndex(rows[:30_000], device="cpu")
    for one in (there, here):
        one.add(rows[30_000:])
        one.remove(np.arange(0, 40_000, 7))
        one.update([1, 2, 3], rows[7:10])
    same(there.search(queries, 10), here.search(queries, 10))
    np.testing.assert_array_equal(there.get(there.ids[::11]), here.get(here.ids[::11]))
    for one in (there, here):
        one.merge()
    same(there.search(queries, 10), here.search(queries, 10))
    there.save(tmp_path / "saved")
    for again in (ExactIndex.load(tmp_path / "saved", device=KINDS[kind]), pickle.loads(pickle.dumps(there))):
        same(again.search(queries, 10), here.search(queries, 10))


def test_the_same_memory_is_pinned_for_several_and_let_go_with_the_last() -> None:
    from knnscope.certified.cuda import host_rows

    rows, queries = data(20_000, 64, 3)
    expected = ExactIndex(rows, device="cpu").search(queries, 5)
    indexes = [ExactIndex(rows, **how("rows in host memory", rows.shape)) for _ in range(3)]
    assert list(host_rows._held.values()) == [3]
    while indexes:
        same(indexes[-1].search(queries, 5), expected)
        indexes.pop()
        gc.collect()
    assert not host_rows._held
    cp.cuda.runtime.hostRegister(rows.ctypes.data, rows.nbytes, 0)  # nothing holds it
    cp.cuda.runtime.hostUnregister(rows.ctypes.data)


def test_out_arrays_and_several_queries_of_a_shared_index() -> None:
    rows, queries = data(50_000, 64, 4)
    there, here = ExactIndex(rows, **how("shared out", rows.shape)), ExactIndex(rows, device="cpu")
    out = cp.empty((303, 6), dtype=cp.int64), cp.empty((303, 6), dtype=cp.float64)
    found = there.search(cp.asarray(queries), 6, out=out)
    same(found, here.search(queries, 6))
    assert found.certificate is not None
    assert (found.certificate.margin >= 0).all()
    single = there.search(cp.asarray(queries[0]), 6)
    assert single.ids.shape == (6,)


def test_a_graph_of_a_shared_index_is_refused() -> None:
    rows, queries = data(40_000, 64, 5)
    there, asked = ExactIndex(rows, **how("shared out", rows.shape)), cp.asarray(queries[:1])
    out = cp.empty((1, 6), dtype=cp.int64), cp.empty((1, 6), dtype=cp.float64)
    there.search(asked, 6, out=out)
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        try:
            with pytest.raises(KnnscopeError, match="on one GPU"):
                there.search(asked, 6, out=out)
        finally:
            stream.end_capture()


def test_no_such_gpu_among_several_is_told() -> None:
    with pytest.raises(KnnscopeError, match="there are"):
        ExactIndex(data(100, 8)[0], device=["cuda:0", "cuda:99"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 4, 40, 3000])
def test_host_arrays_go_there_and_back_in_one_copy_each(dtype: str, batch: int) -> None:
    rows, _ = data(30_000, 96, 6)
    queries = np.random.default_rng(7).standard_normal((batch, 96)).astype(dtype)
    there, here = ExactIndex(rows, device="cuda"), ExactIndex(rows, device="cpu")
    for _ in range(3):
        found, expected = there.search(queries, 9), here.search(queries, 9)
        same(found, expected)
        assert found.certificate is not None
        assert (found.certificate.margin >= 0).all()
    same(there.search(queries[:, ::-1][:, ::-1], 9), expected)
    wrong = queries.copy()
    wrong[batch // 2, 3] = np.nan
    for index in (there, here):
        with pytest.raises(KnnscopeError, match=f"row {batch // 2:,}.*finite"):
            index.search(wrong, 9)


def test_lists_that_overflow_are_answered_by_all_rows_on_several_streams() -> None:
    """Ties without end: every query is left to all rows; streams run beside each other and end."""
    random = np.random.default_rng(8)
    rows = np.repeat(random.standard_normal((3, 64)).astype(np.float32), 20_000, axis=0)
    queries = random.standard_normal((200, 64)).astype(np.float32)
    there, here = ExactIndex(rows, device="cuda"), ExactIndex(rows, device="cpu")
    expected = {batch: here.search(queries[:batch], 5) for batch in (3, 200)}
    streams = [cp.cuda.Stream(non_blocking=True) for _ in range(6)]
    asked = {batch: cp.asarray(queries[:batch]) for batch in expected}
    cp.cuda.get_current_stream().synchronize()
    found = []
    for _ in range(4):
        for stream in streams:
            with stream:
                found += [(batch, there.search(asked[batch], 5)) for batch in expected]
    for batch, one in found:
        assert one.certificate is not None
        assert "exhaustive" in one.certificate.path
        same(one, expected[batch])


def test_rows_about_as_near_as_each_other_are_looked_at_and_not_all_rows() -> None:
    """Clusters of more near-duplicates than are ranked at once."""
    random = np.random.default_rng(11)
    centres = random.standard_normal((40, 96)).astype(np.float32)
    rows = centres[random.integers(0, 40, 60_000)] + (0.01 * random.standard_normal((60_000, 96))).astype(np.float32)
    queries = centres[random.integers(0, 40, 200)] + (0.01 * random.standard_normal((200, 96))).astype(np.float32)
    found = ExactIndex(rows, device="cuda").search(queries, 10)
    same(found, ExactIndex(rows, device="cpu").search(queries, 10))
    assert found.certificate is not None
    assert (found.certificate.candidates > 1024).any()
    assert (found.certificate.computed < len(rows)).mean() > 0.5


def test_auto_comes_to_ask_the_gpu_and_its_answers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(either, "STARTING_S", 0.01)
    rows, queries = data(60_000, 128, 9)
    auto, here = ExactIndex(rows), ExactIndex(rows, device="cpu")
    expected = here.search(queries, 10)
    for _ in range(3000):
        same(auto.search(queries, 10), expected)
        scanner = auto._living.state.whole
        if isinstance(scanner, Either) and scanner.there is not None:
            break
    assert isinstance(scanner, Either)
    assert scanner.there is not None
    for _ in range(5):
        same(auto.search(queries, 10), expected)
    there = ExactIndex(cp.asarray(rows))
    assert there.isa == "cuda:0"
