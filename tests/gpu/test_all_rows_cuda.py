"""What all rows answer on a GPU: rows without codes, and queries that codes could not answer; of every kind, wherever they begin."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope.certified.index import ExactIndex
from knnscope.errors import KnnscopeError
from tests.gpu.answers import same

cp = pytest.importorskip("cupy")
DTYPES = ("float32", "float16", "float64", "int8", "uint8", "int32")
METRICS = ("l2", "ip", "cosine")


def some(count: int, dim: int, dtype: str, levels: int = 9) -> np.ndarray:
    """With ties."""
    return np.random.default_rng(count + dim).integers(0, levels, (count, dim)).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 37, 64, 100, 531, 1100, 2052])
def test_few_rows(dtype: str, dim: int) -> None:
    rows, queries = some(1500, dim, dtype), some(700, dim, "float32") + np.float32(0.5)
    for metric in METRICS:
        there, here = (
            ExactIndex(rows, metric, ids=np.arange(1500)[::-1].copy(), device=device) for device in ("cuda", "cpu")
        )
        for batch, k in ((1, 1), (1, 512), (3, 300), (4, 10), (700, 10), (40, 257)):
            expected = here.search(queries[:batch], k)
            for asked in (queries[:batch], cp.asarray(queries[:batch]), cp.asarray(queries[:batch], cp.float64)):
                found = there.search(asked, k)
                same(found, expected)
                assert found.certificate.path == ("exhaustive",)
                assert (found.certificate.computed == 1500).all()


def test_bfloat16_rows_that_do_not_begin_at_multiples_of_16_bytes() -> None:
    import torch

    for count, dim in ((900, 33), (900, 64), (12_000, 35)):
        rows = torch.from_numpy(some(count + 1, dim, "float32", 3)).to(torch.bfloat16).cuda()[1:]
        there, here = ExactIndex(rows, device="cuda"), ExactIndex(rows.float().cpu().numpy(), device="cpu")
        queries = some(9, dim, "float32")
        same(there.search(queries, 20), here.search(queries, 20))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [64, 97, 1030])
def test_queries_that_codes_leave_share_a_reading(dtype: str, dim: int) -> None:
    """Three rows again and again, beside rows that codes tell apart: some queries are left, in any place."""
    few = some(3, dim, dtype)
    rows = np.concatenate([np.repeat(few, 4000, axis=0), some(3000, dim, dtype) + np.array(3, dtype)])
    near, far = np.repeat(few[:1], 300, axis=0).astype(np.float32), rows[12_000:12_300].astype(np.float32)
    queries = np.where(np.random.default_rng(1).random((300, 1)) < 0.3, near, far)
    there, here = ExactIndex(rows, device="cuda"), ExactIndex(rows, device="cpu")
    for batch in (1, 2, 5, 300):
        expected = here.search(queries[:batch], 20)
        for _ in range(2):  # counters begin again
            same(there.search(queries[:batch], 20), expected)


def test_masks_of_few_rows() -> None:
    rows, queries = some(2000, 50, "float32"), some(90, 50, "float32")
    there, here = ExactIndex(rows, device="cuda"), ExactIndex(rows, device="cpu")
    each = np.random.default_rng(2).random((90, 2000)) < 0.02
    for where in (each, each[0], np.zeros(2000, bool)):
        expected = here.search(queries, 60, where)
        same(there.search(queries, 60, where), expected)
        found = there.search(cp.asarray(queries), 60, cp.asarray(where))
        same(found, expected)
        assert (found.certificate.computed == np.broadcast_to(where.sum(axis=-1), 90)).all()


@pytest.mark.parametrize("batch", [1, 4, 500])
def test_a_search_of_few_rows_is_captured_in_a_graph(batch: int) -> None:
    rows, queries = some(3000, 96, "float32"), some(2 * batch, 96, "float32")
    there, here = ExactIndex(rows, device="cuda"), ExactIndex(rows, device="cpu")
    with cp.cuda.Stream(non_blocking=True) as stream:
        asked = cp.asarray(queries[:batch])
        out = cp.empty((batch, 10), cp.int64), cp.empty((batch, 10))
        there.search(asked, 10, out=out)
        stream.begin_capture()
        there.search(asked, 10, out=out)
        graph = stream.end_capture()
        for first in (batch, 0):
            asked.set(queries[first : first + batch])
            for array in out:
                array.fill(-5)
            graph.launch(stream)
            stream.synchronize()
            expected = here.search(queries[first : first + batch], 10)
            np.testing.assert_array_equal(out[0].get(), expected.ids)
            np.testing.assert_array_equal(out[1].get(), expected.distances)


@pytest.mark.parametrize("dim", [1, 8, 15, 4100])
def test_many_rows_without_codes(dim: int) -> None:
    rows, queries = some(40_000 if dim < 16 else 5000, dim, "float32", 1000), some(70, dim, "float32", 1000)
    there, here = ExactIndex(rows, device="cuda"), ExactIndex(rows, device="cpu")
    for batch in (1, 70):
        same(there.search(queries[:batch], 100), here.search(queries[:batch], 100))


@pytest.mark.parametrize("k", [3, 600])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_queries_that_are_not_finite_are_refused(k: int, value: float) -> None:
    """An infinite component makes every l2 distance infinite, which is a number."""
    rows, queries = some(1000, 20, "float32"), some(9, 20, "float32")
    queries[5, 2] = value
    index = ExactIndex(rows, device="cuda")
    with pytest.raises(KnnscopeError, match=r"row 5.*finite"):
        index.search(queries, k)
    found = index.search(cp.asarray(queries), k)
    with pytest.raises(KnnscopeError, match=r"row 5.*finite"):
        _ = found.certificate.candidates


def test_overflow_of_few_rows_is_told_and_forgotten() -> None:
    rows = np.full((500, 16), 1e200)
    rows[:, ::2] *= -1  # infinity less infinity
    index = ExactIndex(rows, "ip", device="cuda")
    for _ in range(2):
        with pytest.raises(KnnscopeError, match="overflows"):
            index.search(np.full((2, 16), 1e200), 3)
        assert index.search(np.ones((2, 16)), 3).ids.tolist() == [[0, 1, 2]] * 2
