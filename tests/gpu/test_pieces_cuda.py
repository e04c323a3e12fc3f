"""Codes that the GPU has no room for come in pieces from host memory: answers are those of float64, bit for bit, whatever stays and whatever comes."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope.certified.cuda import pieces
from knnscope.certified.index import ExactIndex
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests.gpu.answers import same

cp = pytest.importorskip("cupy")
plane = pytest.importorskip("knnscope.certified.cuda.plane")
COUNT, DIM = 70_000, 128
MEMORIES = {"two places": "1KB", "some stay": "6MB", "most stay once they came": "15MB"}
"""Codes and plane of the rows below take 14 MB, and are planned with 16 MB."""


@pytest.fixture(autouse=True)
def _many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "FEWEST", 32)


def data(count: int = COUNT, dim: int = DIM, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    spectrum = ((np.arange(dim) + 1.0) ** -0.5).astype(np.float32)
    rows = random.standard_normal((count, dim), dtype=np.float32) * spectrum
    rows[count // 2 :: 97] = rows[0]  # ties that meet across pieces
    return rows, np.concatenate([rows[:3], random.standard_normal((300, dim), dtype=np.float32) * spectrum])


def streaming(index: ExactIndex) -> Any:
    """How the codes of an index in one segment come."""
    return index._living.state.parts[0].segment.scanner.codes.streaming


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("metric", definition.METRICS)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_answers_are_those_of_the_cpu(memory: str, metric: str, dtype: str) -> None:
    rows, queries = data()
    if dtype == "int8":
        rows, queries = (np.clip(np.rint(40 * some), -128, 127).astype(np.int8) for some in (rows, queries))
    there, here = (
        ExactIndex(rows, metric, device="cuda", memory=MEMORIES[memory]),
        ExactIndex(rows, metric, device="cpu"),
    )
    assert "codes in host memory" in there.levels
    assert streaming(there).count("codes") > 2
    for k in (1, 10, 300, 3000):
        for batch in (1, 3, 5, 40, 303):
            expected = here.search(queries[:batch], k)
            for _ in range(2):  # what came last is there for the second one
                same(there.search(queries[:batch], k), expected)
            same(there.search(cp.asarray(queries[:batch]), k), expected)
    mask = np.random.default_rng(1).random((303, len(rows))) < 0.3
    mask[1] = False
    mask[2, 5:] = False
    for k in (7, 300):
        for where in (mask[0], mask[:41]):
            expected = here.search(queries[:41], k, where=where)
            same(there.search(queries[:41], k, where=where), expected)
            same(there.search(cp.asarray(queries[:41]), k, where=cp.asarray(where)), expected)
    radius = float(np.median(here.search(queries[:9], 5).distances[:, -1]))
    for where in (None, mask[0]):
        within, correct = (one.radius_search(queries[:9], radius, where=where) for one in (there, here))
        for name in ("offsets", "ids", "distances"):
            np.testing.assert_array_equal(getattr(within, name), getattr(correct, name))


def test_where_codes_lie_is_told_and_their_bytes_are_the_same_anywhere() -> None:
    rows, queries = data()
    apart, together = ExactIndex(rows, device="cuda", memory="6MB"), ExactIndex(rows, device="cuda")
    assert 0 <= apart.nbytes - together.nbytes < 8 * 2048
    assert apart.levels.startswith(together.levels)
    assert "; rows in host memory; codes in host memory, " in apart.levels
    apart.search(queries, 5)
    assert 3e6 < streaming(apart).nbytes <= 6e6
    assert apart.levels.endswith("of them at once on the GPU")
    free = cp.cuda.runtime.memGetInfo()[0]
    assert "host memory" not in ExactIndex(rows, device="cuda", memory=free // 2).levels


@pytest.mark.parametrize("batch", [1, 40])
def test_certificates_are_those_of_all_pieces(batch: int) -> None:
    rows, queries = data()
    index = ExactIndex(rows, device="cuda", memory="1KB")
    for _ in range(2):
        found = index.search(queries[100 : 100 + batch], 10)
        proof = found.certificate
        assert proof is not None
        assert proof.rows_scanned == len(rows)
        assert proof.path == (("plane",) if batch == 1 else ("codes",))
        assert (proof.margin >= 0).all()
        assert (proof.computed >= 10).all()
        best = np.sort(definition.distances(rows, queries[100 : 100 + batch].astype(np.float64), "l2"), axis=1)
        left = best[
            np.arange(batch), proof.computed
        ]  # rows that were not computed are the last ones of the order, at least
        assert (np.sqrt(found.distances[:, -1]) + proof.margin <= np.sqrt(left) * (1 + 1e-12)).all()


def test_batches_leave_few_rows_of_all_pieces() -> None:
    rows, queries = data()
    index = ExactIndex(rows, device="cuda", memory="1KB")
    proof = index.search(queries[100:140], 10).certificate
    assert proof is not None
    assert proof.computed.mean() < 9 * streaming(index).count("plane")  # each by itself would compute ten at least


def test_what_a_piece_has_found_leaves_fewer_rows_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, queries = data()
    index = ExactIndex(rows, device="cuda", memory="1KB")

    def computed() -> int:
        proofs = [index.search(queries[one : one + 1], 10).certificate for one in range(100, 110)]
        return sum(int(proof.computed.sum()) for proof in proofs if proof is not None)

    told, at = computed(), plane.Workspace.at
    monkeypatch.setattr(plane.Workspace, "at", lambda own, part, tiles, _known: at(own, part, tiles, None))
    assert told < 0.75 * computed()


def test_ids_of_any_order() -> None:
    rows, queries = data(40_000, 64, 1)
    ids = np.random.default_rng(2).permutation(1 << 20)[:40_000]
    there, here = ExactIndex(rows, ids=ids, device="cuda", memory="1KB"), ExactIndex(rows, ids=ids, device="cpu")
    for batch in (1, 3, 70):
        for k in (1, 20, 600):
            same(there.search(queries[:batch], k), here.search(queries[:batch], k))


def test_few_queries_and_many_by_turns_from_several_streams_and_threads() -> None:
    rows, queries = data(seed=3)
    there, here = ExactIndex(rows, device="cuda", memory="4MB"), ExactIndex(rows, device="cpu")
    expected = {batch: here.search(queries[:batch], 9) for batch in (1, 4, 60, 303)}
    asked = {batch: cp.asarray(queries[:batch]) for batch in expected}
    streams = [cp.cuda.Stream(non_blocking=True) for _ in range(4)]
    cp.cuda.get_current_stream().synchronize()
    found = []
    for turn in range(6):
        for number, stream in enumerate(streams):
            with stream:
                batch = list(expected)[(turn + number) % len(expected)]
                found.append((batch, there.search(asked[batch], 9)))
    for batch, one in found:
        assert one.certificate is not None
        assert (one.certificate.margin >= 0).all()
        same(one, expected[batch])
    with ThreadPoolExecutor(4) as pool:
        for batch, one in [*zip(expected, pool.map(lambda b: there.search(queries[:b], 9), expected), strict=True)] * 3:
            same(one, expected[batch])


def test_out_arrays_are_written_and_a_graph_is_refused() -> None:
    rows, queries = data(40_000, 64, 4)
    there, here = ExactIndex(rows, device="cuda", memory="1KB"), ExactIndex(rows, device="cpu")
    for batch in (1, 4, 50):
        out = cp.empty((batch, 6), dtype=cp.int64), cp.empty((batch, 6), dtype=cp.float64)
        found = there.search(cp.asarray(queries[:batch]), 6, out=out)
        assert found.ids is out[0]
        same(found, here.search(queries[:batch], 6))
    asked, out = cp.asarray(queries[:1]), (cp.empty((1, 6), dtype=cp.int64), cp.empty((1, 6), dtype=cp.float64))
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        try:
            with pytest.raises(KnnscopeError, match="whose codes lie on the GPU"):
                there.search(asked, 6, out=out)
        finally:
            stream.end_capture()
    same(there.search(asked, 6), here.search(queries[:1], 6))


def test_it_lives(tmp_path: Path) -> None:
    """Adding, removing, updating, merging, saving and pickling; segments of any size."""
    rows, queries = data(60_000, 64, 5)
    there, here = (
        ExactIndex(rows[:30_000], device=device, memory=memory) for device, memory in (("cuda", "1KB"), ("cpu", "fast"))
    )
    for one in (there, here):
        one.add(rows[30_000:55_000])
        one.add(rows[55_000:55_100])
        one.remove(np.arange(0, 55_000, 7))
        one.update([1, 2, 3], rows[7:10])
    for batch in (1, 303):
        same(there.search(queries[:batch], 10), here.search(queries[:batch], 10))
        same(there.search(cp.asarray(queries[:batch]), 10), here.search(queries[:batch], 10))
    np.testing.assert_array_equal(there.get(there.ids[::11]), here.get(here.ids[::11]))
    for one in (there, here):
        one.merge()
    same(there.search(queries, 10), here.search(queries, 10))
    assert "codes in host memory" in there.levels
    there.save(tmp_path / "saved")
    for again in (ExactIndex.load(tmp_path / "saved", device="cuda"), pickle.loads(pickle.dumps(there))):
        same(again.search(queries, 10), here.search(queries, 10))


def test_rows_that_lie_on_the_gpu_stay_there() -> None:
    rows, queries = data(seed=6)
    there, here = ExactIndex(cp.asarray(rows), device="cuda", memory="1KB"), ExactIndex(rows, device="cpu")
    assert "rows in host memory" not in there.levels
    assert "codes in host memory" in there.levels
    for batch in (1, 3, 303):
        same(there.search(queries[:batch], 10), here.search(queries[:batch], 10))


def test_several_gpus_bring_pieces_each() -> None:
    rows, queries = data(seed=7)
    there, here = ExactIndex(rows, device=["cuda:0", "cuda:0"], memory="1KB"), ExactIndex(rows, device="cpu")
    assert "codes in host memory" in there.levels
    for batch in (1, 3, 303):
        for k in (1, 40, 700):
            same(there.search(queries[:batch], k), here.search(queries[:batch], k))


def test_lists_that_overflow_are_answered_by_all_rows_of_a_piece_or_of_all() -> None:
    """Ties without end."""
    random = np.random.default_rng(8)
    rows = np.repeat(random.standard_normal((3, 64)).astype(np.float32), 20_000, axis=0)
    queries = random.standard_normal((200, 64)).astype(np.float32)
    there, here = ExactIndex(rows, device="cuda", memory="1KB"), ExactIndex(rows, device="cpu")
    for batch in (3, 200):
        found = there.search(queries[:batch], 5)
        same(found, here.search(queries[:batch], 5))
        assert found.certificate is not None
        assert "exhaustive" in found.certificate.path


@pytest.mark.parametrize("batch", [2, 50])
def test_what_is_no_number_is_refused_in_one_line(batch: int) -> None:
    rows, queries = data(40_000, 64, 9)
    index = ExactIndex(rows, device="cuda", memory="1KB")
    wrong = queries[:batch].copy()
    wrong[1, 3] = np.nan
    with pytest.raises(KnnscopeError, match=r"row 1 .*finite"):
        index.search(wrong, 5)
    same(index.search(queries[:batch], 5), ExactIndex(rows, device="cpu").search(queries[:batch], 5))


@pytest.mark.parametrize("dim", [16, 100, 385, 1536])
def test_all_widths_and_a_last_piece_of_any_size(dim: int) -> None:
    for count in (4096, 4225, 12_345):
        rows, queries = data(count, dim, count)
        there, here = ExactIndex(rows, device="cuda", memory="1KB"), ExactIndex(rows, device="cpu")
        for batch in (1, 70):
            same(there.search(queries[:batch], 10), here.search(queries[:batch], 10))


def test_pinned_memory_is_given_back_with_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    from knnscope.certified.cuda import host_rows

    let_go = list[int]()
    own = host_rows._wait
    monkeypatch.setattr(host_rows, "_wait", lambda device: (let_go.append(1), own(device)))
    rows, queries = data(40_000, 64, 10)
    index = ExactIndex(rows, device="cuda", memory="1KB")
    index.search(queries, 5)
    assert host_rows._held
    del index
    import gc

    gc.collect()
    assert not host_rows._held
    assert len(let_go) >= 2


def test_all_rows_are_sorted_as_far_as_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    from knnscope.certified.cuda import all_rows

    monkeypatch.setattr(all_rows, "keys_at_once", lambda: 10_000)
    rows, queries = data(40_000, 64, 11)
    ids = np.random.default_rng(2).permutation(1 << 20)[:40_000]
    mask = np.random.default_rng(3).random((5, 40_000)) < 0.5
    for given in (None, ids):
        there, here = (ExactIndex(rows, ids=given, device=device) for device in ("cuda", "cpu"))
        same(there.search(queries[:5], 2000), here.search(queries[:5], 2000))
        same(there.search(queries[:5], 2000, where=mask), here.search(queries[:5], 2000, where=mask))
        within, correct = (one.radius_search(queries[:5], 3.0, where=mask) for one in (there, here))
        for name in ("offsets", "ids", "distances"):
            np.testing.assert_array_equal(getattr(within, name), getattr(correct, name))
