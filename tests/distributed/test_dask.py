"""A DaskIndex on two worker processes answers as one ExactIndex over all rows, whatever its rows are read from."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from knnscope.certified.filters import Bits, Keep, Without
from knnscope.certified.index import ExactIndex
from knnscope.distributed import DaskIndex, DaskOptions, dask, tasks
from knnscope.errors import KnnscopeError, NoGpuError
from knnscope.records import METRICS
from knnscope.search.device import gpu_problem
from tests.distributed.data import assert_same, assert_same_within, tied

da = pytest.importorskip("dask.array")
ROWS, QUERIES = tied()
THREE = DaskOptions(shards=3)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The rows in two files of different formats."""
    np.save(tmp_path / "first.npy", ROWS[:1700])
    with (tmp_path / "rest.fbin").open("wb") as file:
        np.array([len(ROWS) - 1700, ROWS.shape[1]], np.uint32).tofile(file)
        ROWS[1700:].tofile(file)
    return [str(tmp_path / "first.npy"), str(tmp_path / "rest.fbin")]


@pytest.mark.parametrize("metric", METRICS)
def test_rows_of_files(client: Any, files: list[str], metric: str) -> None:
    whole = ExactIndex(ROWS, metric)
    with DaskIndex(client, files, metric, options=THREE) as index:
        assert index.shape == ROWS.shape
        assert len(index.shards) == 3
        assert index.nbytes > 0
        assert index.levels == whole.levels
        assert repr(index).startswith(f"DaskIndex(3000 rows x 24, {metric}, 3 shards at tcp://127.0.0.1:")
        for k in (1, 10, 1500, 3000):  # more than a shard has, and all
            assert_same(index.search(QUERIES, k), whole.search(QUERIES, k))
        assert_same(index.search(QUERIES[0], 5), whole.search(QUERIES[0], 5))
        radius = 20.0 if metric == "l2" else 0.25
        assert_same_within(index.radius_search(QUERIES, radius), whole.radius_search(QUERIES, radius))


def test_rows_of_the_client_and_their_ids(client: Any) -> None:
    names = [f"row-{(i * 7919) % 3000}" for i in range(3000)]
    numbers = np.arange(3000)[::-1] * 5
    for ids in (None, names, numbers):
        whole = ExactIndex(ROWS, ids=ids)
        with DaskIndex(client, ROWS, ids=ids) as index:
            assert len(index.shards) == 2
            assert index.ids.tolist() == whole.ids.tolist()
            assert_same(index.search(QUERIES, 40), whole.search(QUERIES, 40))
            radii = np.linspace(0, 40, len(QUERIES))
            assert_same_within(index.radius_search(QUERIES, radii), whole.radius_search(QUERIES, radii))
            some = index.ids[::11].tolist()
            for where in (Keep(some), Without(some), Bits(np.packbits(np.arange(3000) % 2 == 0))):
                assert_same(index.search(QUERIES, 400, where), whole.search(QUERIES, 400, where))


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps, cloudpickle.dumps])
def test_an_index_belongs_to_its_client(client: Any, way: Callable[[Any], Any]) -> None:
    with DaskIndex(client, ROWS) as index, pytest.raises(KnnscopeError, match="neither copied nor pickled"):
        way(index)


def test_rows_of_a_dask_array(client: Any) -> None:
    for rows in (
        da.from_array(ROWS, chunks=(700, 10)),
        da.from_array(ROWS, chunks=(3000, -1)),
        da.from_array(ROWS, chunks=((1, 2990, 9), -1)),
    ):
        with DaskIndex(client, rows, options=DaskOptions(shards=4)) as index:
            assert [len(some) for some in index.shards].count(0) == 0
            assert sum(map(len, index.shards)) == 3000
            assert_same(index.search(QUERIES, 40), ExactIndex(ROWS).search(QUERIES, 40))


@pytest.mark.parametrize("sizes", [(0, 0, 50), (0, 25, 0, 25, 0), (0, 1, 49), (50, 0)])
def test_chunks_without_rows(client: Any, sizes: tuple[int, ...]) -> None:
    """What is left of a Dask array that was filtered."""
    ends = np.cumsum(sizes)
    rows = da.concatenate(
        [da.from_array(ROWS[end - size : end], chunks=-1) for size, end in zip(sizes, ends, strict=True)],
        allow_unknown_chunksizes=True,
    )
    rows = rows.rechunk({0: sizes})
    for count in (1, 2, 3, 50):
        with DaskIndex(client, rows, options=DaskOptions(shards=count)) as index:
            assert [len(some) for some in index.shards].count(0) == 0
            assert_same(index.search(QUERIES, 40), ExactIndex(ROWS[:50]).search(QUERIES, 40))


@pytest.mark.parametrize("chunks", [(50, 24), (20, 24), (20, 5)])
def test_a_masked_dask_array_is_refused_as_a_masked_array(client: Any, chunks: tuple[int, int]) -> None:
    with pytest.raises(KnnscopeError) as one:
        ExactIndex(np.ma.masked_greater(ROWS[:50], 1.0))
    with pytest.raises(KnnscopeError) as several:
        DaskIndex(client, da.ma.masked_greater(da.from_array(ROWS[:50], chunks=chunks), 1.0))
    assert str(several.value) == str(one.value)


@pytest.mark.parametrize("dtype", ["float64", "int8"])
def test_types(client: Any, dtype: str) -> None:
    rows, queries = ((values * 20).clip(0, 100).astype(dtype) for values in (ROWS[:400], QUERIES))
    with DaskIndex(client, rows) as index:
        assert_same(index.search(queries, 40), ExactIndex(rows).search(queries, 40))
        assert_same(index.search(queries.astype(np.float64).tolist(), 40), ExactIndex(rows).search(queries, 40))


def test_batches_and_large_arguments(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where queries, masks and answers are too many to be under way at once."""
    mask = np.random.default_rng(0).random((len(QUERIES), len(ROWS))) < 0.3
    whole = ExactIndex(ROWS)
    with DaskIndex(client, ROWS) as index:
        for along, at_once in ((1, 1 << 25), (1, 1), (1 << 20, 40_000)):
            monkeypatch.setattr(dask, "ALONG", along)
            monkeypatch.setattr(dask, "AT_ONCE", at_once)
            assert_same(index.search(QUERIES, 600), whole.search(QUERIES, 600))
            assert_same(index.search(QUERIES, 600, mask), whole.search(QUERIES, 600, mask))
            where = [Keep(range(i, 3000, 5)) if i % 2 else mask[i] for i in range(len(QUERIES))]
            assert_same(index.search(QUERIES, 600, where), whole.search(QUERIES, 600, where))
            assert_same_within(index.radius_search(QUERIES, 25.0, mask), whole.radius_search(QUERIES, 25.0, mask))


def test_limits_of_a_radius_hold_for_all_batches(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told as they were given, and queries by their numbers among all; a limit that is just reached is no error."""
    whole = ExactIndex(ROWS)
    lone, many = ROWS[-1], ROWS[3]
    queries = np.stack([lone, lone + 1e6, lone + 1e6, lone, many])
    with DaskIndex(client, ROWS) as index:
        monkeypatch.setattr(dask, "AT_ONCE", 1)
        assert_same_within(
            index.radius_search(queries[:3], 0.0, limit=1), whole.radius_search(queries[:3], 0.0, limit=1)
        )
        for asked, limits in (
            (queries[:4], {"limit": 1}),
            (queries, {"limit": 2}),
            (queries, {"limit": 9}),
            (queries, {"limit": 400}),
            (queries, {"limit_each": 9}),
            (queries, {"limit_each": 400}),
        ):
            with pytest.raises(KnnscopeError) as one:
                whole.radius_search(asked, 0.0, **limits)
            with pytest.raises(KnnscopeError) as several:
                index.radius_search(asked, 0.0, **limits)
            assert str(several.value).partition("(")[0] == str(one.value).partition("(")[0]


def test_what_one_index_refuses_is_refused_with_the_same_words(client: Any) -> None:
    bad = ROWS.copy()
    bad[2500, 3] = np.nan
    for rows, ids in (
        (bad, None),
        (ROWS[0], None),
        (ROWS[:0], None),
        (ROWS.astype(complex), None),
        (ROWS, [1, 1]),
        (ROWS, np.zeros(3000, int)),
    ):
        with pytest.raises(KnnscopeError) as one:
            ExactIndex(rows, ids=ids)
        with pytest.raises(KnnscopeError) as several:
            DaskIndex(client, rows, ids=ids)
        assert str(several.value).removeprefix("rows: ") == str(one.value).removeprefix("rows: ")
    whole = ExactIndex(ROWS)
    with DaskIndex(client, ROWS) as index:
        wrong: list[tuple[Any, ...]] = [
            (QUERIES, 0), (QUERIES, 3001), (QUERIES[:, :3], 1), (QUERIES * np.nan, 1), (QUERIES, 1, np.ones(7, bool)), (QUERIES, 1, Keep(["a"])),
        ]  # fmt: skip
        for arguments in wrong:
            with pytest.raises(KnnscopeError) as one:
                whole.search(*arguments)
            with pytest.raises(KnnscopeError) as several:
                index.search(*arguments)
            assert str(several.value) == str(one.value)
        for radius, limits in ((-1.0, {}), (np.nan, {}), ([1.0], {}), (1.0, {"limit": 0})):
            with pytest.raises(KnnscopeError) as one:
                whole.radius_search(QUERIES, radius, **limits)
            with pytest.raises(KnnscopeError) as several:
                index.radius_search(QUERIES, radius, **limits)
            assert str(several.value) == str(one.value)
        with pytest.raises(KnnscopeError, match=r"more than 100 rows within the radius"):
            index.radius_search(QUERIES, 1e3, limit=100)
    with pytest.raises(KnnscopeError, match="the index was closed"):
        index.search(QUERIES, 1)


def test_files_that_cannot_be_shards(client: Any, tmp_path: Path, files: list[str]) -> None:
    np.savez(tmp_path / "rows.npz", rows=ROWS)
    np.save(tmp_path / "other.npy", ROWS[:, :5])
    (tmp_path / "cut.fbin").write_bytes(Path(files[1]).read_bytes()[:-1])
    for spec, said in (
        ("missing.npy", "no such file"), ("rows.npz", "read whole, by every worker"), ("cut.fbin", "cut off"), ("rows.txt", "by its ending"),
    ):  # fmt: skip
        with pytest.raises(KnnscopeError, match=said):
            DaskIndex(client, str(tmp_path / spec))
    with pytest.raises(KnnscopeError, match=r"other.npy: 5 components of float32, those of .*first.npy are 24"):
        DaskIndex(client, [files[0], str(tmp_path / "other.npy")])


def test_a_file_that_was_changed_is_not_searched(client: Any, files: list[str]) -> None:
    with DaskIndex(client, files, options=THREE) as index:
        np.save(files[0], ROWS[:1700] + 1)
        client.cancel(index._shards)
        with pytest.raises(KnnscopeError, match=r"first.npy: the file was changed after its rows were split"):
            index.search(QUERIES, 1)


def test_options_and_clients_that_are_none(client: Any) -> None:
    with pytest.raises(KnnscopeError, match="no metric named 'l3': known: cosine, ip, l2"):
        DaskIndex(client, ROWS, "l3")
    with pytest.raises(KnnscopeError, match="shards = 0 is outside"):
        DaskIndex(client, ROWS, options=DaskOptions(shards=0))
    with pytest.raises(KnnscopeError, match=r"client is a str: a distributed\.Client was expected"):
        DaskIndex("tcp://127.0.0.1:8786", ROWS)
    with pytest.raises(KnnscopeError, match="device 'gpu'"):
        DaskIndex(client, ROWS, options=DaskOptions(device="gpu"))


@pytest.mark.skipif(gpu_problem() is None, reason="there is a GPU: tests/gpu/test_dask_cuda.py")
def test_workers_without_a_gpu_say_so_in_one_line(client: Any, files: list[str]) -> None:
    for rows in (ROWS, files):
        with pytest.raises(
            NoGpuError, match=r"^[^\n]*GPU[^\n]*device='cpu' gives the same answers$|^no NVIDIA driver here[^\n]*$"
        ):
            DaskIndex(client, rows, options=DaskOptions(device="cuda"))
    with DaskIndex(client, files) as index:  # the workers are as they were
        assert_same(index.search(QUERIES, 3), ExactIndex(ROWS).search(QUERIES, 3))


def test_more_shards_than_rows(client: Any) -> None:
    with DaskIndex(client, ROWS[:2], options=DaskOptions(shards=9)) as index:
        assert [len(some) for some in index.shards] == [1, 1]
        assert_same(index.search(QUERIES, 2), ExactIndex(ROWS[:2]).search(QUERIES, 2))


def test_shards_stay_where_they_are(client: Any, files: list[str]) -> None:
    """What is moved all the same is a recipe, from which the shard is built again; Dask knows how large it is."""
    with DaskIndex(client, files, options=THREE) as index:
        index.search(QUERIES, 10)
        held = client.who_has(index._shards)
        assert all(len(workers) == 1 for workers in held.values())
        assert len({workers[0] for workers in held.values()}) == 2
        sizes = client.nbytes(summary=False)
        assert all(
            sizes[future.key] >= len(some) * 24 * 5 for future, some in zip(index._shards, index.shards, strict=True)
        )
        for future, some in zip(index._shards, index.shards, strict=True):
            (here,) = client.who_has([future])[future.key]
            (there,) = set(client.scheduler_info()["workers"]) - {here}
            found = client.submit(tasks.search, future, QUERIES, 10, workers=[there], pure=False).result(60)
            own = ExactIndex(ROWS[some.start : some.stop], ids=np.arange(some.start, some.stop))
            assert_same(found, own.search(QUERIES, 10))


def test_a_worker_keeps_no_more_than_it_may(client: Any) -> None:
    limited = client.run(_limit, 1 << 20)
    assert len(limited) == 2
    try:
        with pytest.raises(KnnscopeError, match=r"a worker may keep 0 MiB of its memory limit.*start more workers"):
            DaskIndex(client, np.ones((30_000, 24), np.float32))
    finally:
        client.run(_limit, 0)


def _limit(size: int, dask_worker: Any) -> None:
    dask_worker.memory_manager.memory_limit = size or None


def test_several_threads_search_at_once(client: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    whole = ExactIndex(ROWS)
    with DaskIndex(client, ROWS) as index, ThreadPoolExecutor(4) as pool:
        for k, found in zip(range(1, 13), pool.map(lambda k: index.search(QUERIES, k), range(1, 13)), strict=True):
            assert_same(found, whole.search(QUERIES, k))
