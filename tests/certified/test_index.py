"""Certified search gives the defined answer, whatever the data, batch, threads and instruction set."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import knnscope
from knnscope.certified.cpu import dispatch, few, ranking
from knnscope.certified.cpu import search as searches
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.index import ExactIndex
from knnscope.datasets import registry
from knnscope.errors import KnnscopeError, NoGpuError
from knnscope.search import definition
from knnscope.search.device import gpu_problem
from tests import oracle
from tests.certified.answers import check, moved, small

ISAS = dispatch.available()
METRICS = definition.METRICS


@given(st.data())
@pytest.mark.parametrize("isa", ISAS)
def test_any_small_data(isa: str, data: st.DataObject) -> None:
    rows, queries, metric, k, where = data.draw(small())
    index = ExactIndex(rows, metric, threads=data.draw(st.integers(1, 3)), device=f"cpu:{isa}")
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans()):
            patch.setattr(searches, "MOST", 1)  # bounds are asked however large k is
            patch.setattr(searches, "ROOMS", ((1, 1), (1, 3)))  # and there is little room
            patch.setattr(few, "MOST", 1)
            patch.setattr(few, "ROOMS", ((1, 1),))
        if data.draw(st.booleans()):
            patch.setattr(few, "WORK", (0, 0, 0))  # no rows are so few that all compete
        threads = data.draw(st.sampled_from((None, None, 1, 2)))
        check(index.search(queries, k, where, threads), rows, queries, k, metric, where)


@pytest.mark.parametrize("isa", ISAS)
def test_a_crowd_has_room_without_another_pass(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random, passes, scan = np.random.default_rng(3), [], dispatch.scan
    rows = random.standard_normal((6000, 24)).astype(np.float32)
    crowd = random.permutation(6000)[:450]
    rows[crowd] = rows[0] + random.standard_normal((450, 24)).astype(np.float32) * 1e-5  # no bound tells these apart
    monkeypatch.setattr(dispatch, "scan", lambda *a: passes.append(a) or scan(*a))
    queries = rows[crowd[:5]] + np.float32(1e-5)
    found = ExactIndex(rows, device=f"cpu:{isa}").search(queries, 10, threads=1)
    assert len(passes) == 1
    assert (found.certificate.candidates >= 400).all()
    expected = definition.search(rows, queries, 10, "l2")
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("data", ["text", "near-duplicate", "large-norm", "ties"])
def test_against_the_independent_checker(data: str, metric: str) -> None:
    dataset, _ = registry.load(f"synthetic:{data},rows=5000,dim=40,queries=20")
    rows, queries = dataset.documents.values, dataset.queries.values
    found = ExactIndex(rows, metric).search(queries, 10)
    for number, query in enumerate(queries):
        expected = oracle.answer(rows, query, 10, metric)
        assert (found.ids[number].tolist(), found.distances[number].tolist()) == expected


@pytest.mark.skipif("vnni" not in ISAS, reason="this processor has no VNNI")
@pytest.mark.parametrize("dim", [1, 5, 13, 20, 31, 36, 384])
def test_codes_that_stream_leave_the_same_candidates_as_plain_loops(dim: int) -> None:
    """Groups that are no multiple of those taken at once, rows that fill no block, two parts."""
    random = np.random.default_rng(dim)
    rows, queries = random.standard_normal((1003, dim)), random.standard_normal((2, dim))
    found = [
        ExactIndex(rows, device=f"cpu:{isa}", threads=2).search(queries, 5).certificate for isa in ("vnni", "portable")
    ]
    assert [f.path for f in found] == [("stream",), ("portable",)]
    np.testing.assert_array_equal(found[0].candidates, found[1].candidates)
    np.testing.assert_array_equal(found[0].margin, found[1].margin)


def test_bounds_leave_few_rows_where_data_are_like_text() -> None:
    """Else everything above could pass by looking at all rows."""
    dataset, _ = registry.load("synthetic:text,rows=6000,queries=40")
    for metric in METRICS:
        for isa in ISAS:
            index = ExactIndex(dataset.documents.values, metric, device=f"cpu:{isa}")
            for batch in (1, 40):
                proof = index.search(dataset.queries.values[:batch], 10).certificate
                assert np.median(proof.candidates) < 100, (metric, isa, batch)
                assert "exhaustive" not in proof.path
                assert (proof.margin > 0).all()


@pytest.mark.parametrize("dim", [1, 2, 3, 31, 64, 65, 384, 1025, 4096])
def test_dimensions(dim: int) -> None:
    random = np.random.default_rng(dim)
    rows, queries = random.standard_normal((2, 100, dim)).astype(np.float32)
    for isa in ISAS:
        index = ExactIndex(rows, threads=1, device=f"cpu:{isa}")
        for batch in (1, 14):
            check(index.search(queries[:batch], 7), rows, queries[:batch], 7, "l2")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("size", [1e-200, 1e-150, 1e-30, 1e30, 1e100])
def test_extreme_lengths(metric: str, size: float) -> None:
    random = np.random.default_rng(3)
    rows, queries = random.standard_normal((60, 8)) * size, random.standard_normal((9, 8)) * size
    check(ExactIndex(rows, metric).search(queries, 5), rows, queries, 5, metric)
    plain = random.standard_normal((60, 8))
    for others in (plain, rows * 10.0 ** random.integers(-40, 40, (60, 1))):
        check(ExactIndex(others, metric).search(queries, 5), others, queries, 5, metric)
    check(ExactIndex(rows, metric).search(plain[:9], 5), rows, plain[:9], 5, metric)


SPOILT = 2
"""A query, or the last of fewer."""
finish_as_it_is = ranking.finish


@compiled()
def with_a_bound_of_another_row(table: Any, coded: Any, asked: Any, state: Any, batch: Any, answers: Any) -> None:
    query = min(SPOILT, state.heaps.shape[1] - 1)
    for part in range(state.heaps.shape[0]):
        least = np.inf
        for upper in state.heaps[part, query]:
            least = min(least, upper)
        for place in range(state.heaps.shape[2]):
            state.heaps[part, query, place] = least
    finish_as_it_is(table, coded, asked, state, batch, answers)


@compiled()
def with_candidates_lost(table: Any, coded: Any, asked: Any, state: Any, batch: Any, answers: Any) -> None:
    query = min(SPOILT, state.counts.shape[1] - 1)
    for part in range(state.counts.shape[0]):
        state.counts[part, query] = min(state.counts[part, query], 3)
    finish_as_it_is(table, coded, asked, state, batch, answers)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("spoilt", [with_a_bound_of_another_row, with_candidates_lost])
def test_what_a_scan_hands_over_is_not_believed_where_it_contradicts_itself(
    spoilt: Any, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen once, under load and never again: upper bounds too small for the k-th neighbor, and so a single candidate."""
    random = np.random.default_rng(4)
    rows, queries = random.standard_normal((4000, 24)), random.standard_normal((5, 24))
    monkeypatch.setattr(ranking, "finish", spoilt)
    found = ExactIndex(rows, metric).search(queries, 10, threads=1)
    check(found, rows, queries, 10, metric)
    assert "exhaustive" in found.certificate.path


def test_products_that_overflow_are_named() -> None:
    rows = np.array([[1e200, 1e200], [1e200, -1e200]])
    with pytest.raises(KnnscopeError, match="ip of finite numbers overflows: scale the vectors down"):
        ExactIndex(rows, "ip").search(np.array([[1e200, -1e200]]), 1)
    far = ExactIndex(rows, "l2").search(rows[:1] * -1, 2)
    assert far.ids.tolist() == [[0, 1]], "both are infinitely far, so the smaller number comes first"


def test_ids_decide_ties_and_are_what_comes_back() -> None:
    rows = np.zeros((40, 3), dtype=np.float32)
    names_ = np.arange(40)[::-1] * 10 + 7
    found = ExactIndex(rows, ids=names_).search(np.ones((2, 3), np.float32), 3)
    assert found.ids.tolist() == [[7, 17, 27]] * 2
    assert ExactIndex(rows, ids=names_).search(rows[:1], 3, np.arange(40) < 2).ids.tolist() == [[387, 397, -1]]
    twice = np.arange(40) // 39 * 7 + np.arange(40) * (np.arange(40) < 39)  # 7 at both ends of the order
    for wrong in (np.arange(39), np.arange(40) * 1.0, np.arange(-1, 39), np.full(40, 2**64 - 1, np.uint64), twice):
        with pytest.raises(KnnscopeError, match="ids"):
            ExactIndex(rows, ids=wrong)
    with pytest.raises(KnnscopeError, match="ids: 7 stands more than once"):
        ExactIndex(rows, ids=twice)


@pytest.mark.parametrize("k", [np.int8(3), np.uint64(3), np.array(3)])
def test_k_of_any_whole_type(k: Any) -> None:
    assert ExactIndex(np.eye(5)).search(np.eye(5)[:2], k).ids.shape == (2, 3)


@pytest.mark.parametrize("metric", METRICS)
def test_a_single_query_has_an_answer_of_one_dimension_and_none_has_no_lines(metric: str) -> None:
    rows = np.random.default_rng(0).standard_normal((200, 6))
    index = ExactIndex(rows, metric)
    one, many = index.search(rows[3], 4), index.search(rows[3:4], 4)
    assert one.ids.shape == one.distances.shape == (4,)
    assert (one.ids.tolist(), one.distances.tolist()) == (many.ids[0].tolist(), many.distances[0].tolist())
    few = index.search(rows[3].tolist(), 4, where=np.arange(200) == 7)
    last = np.inf if metric == "l2" else -np.inf
    assert few.ids.tolist() == [7, -1, -1, -1]
    assert few.distances[1:].tolist() == [last] * 3
    none = index.search([], 4)
    assert (none.ids.shape, none.distances.shape) == ((0, 4), (0, 4))
    assert none.certificate.exact


@pytest.mark.parametrize("metric", METRICS)
def test_places_that_stay_empty_sort_last(metric: str) -> None:
    """By bounds and where all rows compete alike; whoever sorts by distance or similarity keeps them at the end."""
    rows = np.random.default_rng(1).standard_normal((4000, 8)) - 5
    for allowed in (0, 1, 3):
        where = np.arange(4000) < allowed
        for k in (5, 2000):
            found = ExactIndex(rows, metric).search(rows[:2], k, where)
            check(found, rows, rows[:2], k, metric, where)
            keys = found.distances if metric == "l2" else -found.distances
            assert (np.argsort(keys, axis=1, kind="stable") == np.arange(k)).all()


def test_what_is_printed_is_one_line() -> None:
    rows = np.random.default_rng(0).standard_normal((900, 5))
    index = ExactIndex(rows)
    found = index.search(rows, 3)
    for thing in (index, found, found.certificate, index.search([], 1), index.search(rows, 900)):
        assert "\n" not in repr(thing)
        assert len(repr(thing)) < 300
    assert repr(index).startswith("ExactIndex(900 rows x 5, l2, ")
    assert "exact=True, queries=900, rows_scanned=900, candidates=3 to " in repr(found)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int32"])
@pytest.mark.parametrize("metric", METRICS)
def test_rows_that_were_changed_are_an_error_that_says_so(metric: str, dtype: str) -> None:
    """A candidate that moved out of its own bounds, nearer or further; to a number or to none."""
    random = np.random.default_rng(2)
    rows = (random.standard_normal((3000, 16)) * 30).astype(dtype)
    queries = rows[:4].astype(np.float64)
    numbers: tuple[float, ...] = (0, 100) if "int" in dtype else (0, 100, np.inf, np.nan)
    for number in numbers:
        now = rows.copy()
        index = ExactIndex(now, metric, threads=1)
        near = int(index.search(queries, 3).ids[2, 1])
        now[near] = number
        with pytest.raises(
            KnnscopeError, match=f"changed after the index was built: row {near:,} is not where its code says"
        ):
            index.search(queries, 3)
    now = rows.copy()
    index = ExactIndex(now, metric, threads=2)
    now[:] = rows[::-1]
    with pytest.raises(KnnscopeError, match="build the index again"):
        index.search(queries, 3)


def test_memory_maps_of_any_order(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((500, 24)).astype(np.float32)
    for name, values in (("c", rows), ("f", np.asfortranarray(rows))):
        np.save(tmp_path / f"{name}.npy", values)
        mapped = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        check(ExactIndex(mapped).search(mapped[:3], 4), rows, rows[:3], 4, "l2")
    check(ExactIndex(rows[::3, ::2]).search(rows[:3, ::2], 4), rows[::3, ::2], rows[:3, ::2], 4, "l2")


def test_several_threads_of_python_at_once() -> None:
    dataset, _ = registry.load("synthetic:text,rows=3000,queries=64")
    index = ExactIndex(dataset.documents.values, threads=2)
    expected = index.search(dataset.queries.values, 10)
    wrong = []

    def ask(first: int) -> None:
        for _ in range(5):
            found = index.search(dataset.queries.values[first : first + 8], 10)
            if not np.array_equal(found.ids, expected.ids[first : first + 8]):
                wrong.append(first)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(0, 64, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_child_that_was_forked_searches_too() -> None:
    index = ExactIndex(np.eye(9), threads=2)
    index.search(np.eye(9), 2)
    if (child := os.fork()) == 0:
        os._exit(0 if index.search(np.eye(9), 1).ids[:, 0].tolist() == list(range(9)) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vectors": np.ones(3)}, r"rows have shape \(3,\): two dimensions"),
        ({"vectors": np.ones((0, 3))}, r"rows have shape \(0, 3\)"),
        ({"vectors": [["a"]]}, "rows are of type <U1: float16"),
        ({"vectors": np.ones((2, 2), complex)}, "rows are of type complex128"),
        ({"vectors": np.array([[1, 2], [np.nan, 3]])}, "rows: row 1 has nan in component 0"),
        (
            {"vectors": np.array([[1, 2], [3, np.inf]], np.float16), "metric": "ip"},
            "rows: row 1 has inf in component 1",
        ),
        ({"metric": "l3"}, "no metric named 'l3'"),
        ({"device": "tpu"}, "device 'tpu': certified search runs on auto, cpu, cuda"),
        ({"device": "auto:0"}, "device 'auto:0': certified search runs on"),
        ({"device": "cuda:x"}, "device 'cuda:x': certified search runs on"),
        ({"device": "cpu:neon"}, "isa 'neon': this processor has .*portable"),
        ({"threads": 0}, "threads = 0 is outside 1 to 1024"),
        ({"threads": 9999}, "threads = 9999 is outside 1 to 1024"),
        ({"threads": True}, "threads = True: a whole number"),
        ({"metric": None}, "no metric named 'None'"),
    ],
)
def test_what_is_refused_at_once(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(KnnscopeError, match=message):
        ExactIndex(**{"vectors": np.eye(3), **arguments})  # type: ignore[arg-type]


@pytest.mark.skipif(gpu_problem() is None, reason="there is a GPU here")
def test_a_gpu_that_is_not_here_is_told() -> None:
    with pytest.raises(NoGpuError, match="driver"):
        ExactIndex(np.eye(3), device="cuda")


class Elsewhere:
    """An array of a GPU, as far as one can tell from outside."""

    __cuda_array_interface__ = {"shape": (2, 3), "typestr": "<f4", "data": (0, False), "version": 3}  # noqa: RUF012


def test_arrays_of_a_gpu_are_refused_by_an_index_on_the_cpu() -> None:
    with pytest.raises(KnnscopeError, match="vectors lie on another device"):
        ExactIndex(Elsewhere(), device="cpu")
    with pytest.raises(KnnscopeError, match="queries lie on another device"):
        ExactIndex(np.eye(3)).search(Elsewhere(), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"queries": np.ones((1, 4))}, "queries have 4 components, the rows 3"),
        ({"queries": np.ones((1, 1, 3))}, r"queries have shape \(1, 1, 3\): \(queries, 3\), or \(3,\) for one"),
        ({"queries": np.ones(4)}, "queries have 4 components, the rows 3"),
        ({"queries": np.full((1, 3), np.nan)}, "queries: row 0 has nan"),
        ({"k": 0}, "k = 0 is outside 1 to 3"),
        ({"k": 4}, "k = 4 is outside 1 to 3"),
        ({"k": 10**30}, "k = 1000000000000000000000000000000 is outside 1 to 3"),
        ({"k": 2.0}, "k = 2.0: a whole number, 1 to 3, the number of rows, was expected"),
        ({"k": True}, "k = True: a whole number"),
        ({"k": np.True_}, "k = .*True.*: a whole number"),
        ({"k": "2"}, "k = '2': a whole number"),
        ({"k": None}, "k = None: a whole number"),
        ({"k": np.array([1, 2])}, r"k = array\(\[1, 2\]\): a whole number"),
        ({"where": np.ones(3)}, "where has shape"),
        ({"where": np.ones(2, bool)}, r"bool, \(3,\) or \(1, 3\), was expected"),
        ({"threads": -1}, "threads = -1 is outside 1 to 1024"),
    ],
)
def test_what_is_refused_when_asked(arguments: dict[str, object], message: str) -> None:
    index = knnscope.ExactIndex(np.eye(3))
    with pytest.raises(KnnscopeError, match=message):
        index.search(**{"queries": np.ones((1, 3)), "k": 1, **arguments})  # type: ignore[arg-type]


def test_a_file_and_an_array_in_each_others_place_name_the_other_way(tmp_path: Path) -> None:
    for path in ("rows.npy", tmp_path):
        with pytest.raises(
            KnnscopeError, match=r"rows are a path: ExactIndex\.build\(path\) searches a file of vectors"
        ):
            knnscope.ExactIndex(path)
    with pytest.raises(
        KnnscopeError, match=r"path is of type ndarray: build takes a file; rows in memory are given to Ex"
    ):
        knnscope.ExactIndex.build(np.eye(3))  # type: ignore[arg-type]


def test_not_finite_rows_far_into_a_memory_map_are_named(tmp_path: Path) -> None:
    rows = np.zeros((5000, 4), dtype=np.float32)
    rows[4321, 2] = np.nan
    np.save(tmp_path / "v.npy", rows)
    with pytest.raises(KnnscopeError, match="rows: row 4,321 has nan in component 2"):
        ExactIndex(np.load(tmp_path / "v.npy", mmap_mode="r"))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_rows_and_queries_that_are_not_aligned(isa: str, dtype: str) -> None:
    """As those do that came by a network, or lie in the middle of a file."""
    values = (np.random.default_rng(0).standard_normal((6000, 96)) * 100).astype(dtype)
    rows, queries = moved(values[50:], 1), moved(values[:50], 1)
    assert not rows.flags.aligned
    index = ExactIndex(rows, device=f"cpu:{isa}", threads=2).wait()
    for batch, k in ((1, 10), (1, 500), (50, 10), (50, 500)):
        found, expected = index.search(queries[:batch], k), definition.search(values[50:], values[:batch], k, "l2")
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)
