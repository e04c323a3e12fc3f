"""knnscope.faiss beside Faiss itself, call by call, and against float64's definition where Faiss rounds or breaks ties as it likes."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from faiss.contrib import exhaustive_search
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import knnscope.faiss as ours
from knnscope.errors import KnnscopeError
from knnscope.search import definition

TESTED = "1.15.1"
RNG = np.random.default_rng(0)
ROWS, QUERIES = (RNG.standard_normal((n, 24), dtype=np.float32) for n in (300, 7))
LABELS = RNG.permutation(1000)[:300] - 20
WORST = np.finfo(np.float32).max
knn_ground_truth: Any = exhaustive_search.knn_ground_truth
FLAT = ("IndexFlatL2", "IndexFlatIP")
SEEDED = pytest.mark.parametrize("name", FLAT)


def both(make: Callable[[Any], Any]) -> tuple[Any, Any]:
    """The same made with Faiss and with ours."""
    return make(faiss), make(ours)


@given(
    arrays(
        np.float32, st.tuples(st.integers(0, 20), st.integers(1, 9)), elements=st.floats(-(2.0**60), 2.0**60, width=32)
    )
)
def test_rows_become_of_length_one(rows: np.ndarray) -> None:
    theirs, here = rows.copy(), rows.copy()
    faiss.normalize_L2(theirs)
    ours.normalize_L2(here)
    sound = (np.linalg.norm(rows.astype(np.float64), axis=1) > 1e-15) | ~rows.any(
        axis=1
    )  # less has no square in float32
    np.testing.assert_allclose(here[sound], theirs[sound], rtol=1e-6, atol=1e-30)
    lengths = np.linalg.norm(here.astype(np.float64), axis=1)
    assert (np.abs(lengths[rows.any(axis=1)] - 1) < 1e-6).all()


def test_rows_that_cannot_be_changed_are_refused() -> None:
    for given_ in (ROWS.tolist(), ROWS.astype(np.float64), ROWS[0]):
        with pytest.raises(ours.ShapeError, match="float32"):
            ours.normalize_L2(given_)
    fixed = ROWS.copy()
    fixed.flags.writeable = False
    with pytest.raises(ours.ShapeError, match="may be written"):
        ours.normalize_L2(fixed)


@pytest.mark.parametrize("name", ["IndexHNSWFlat", "index_factory", "write_index"])
def test_what_is_not_here_says_what_is(name: str) -> None:
    with pytest.raises(AttributeError, match=f"knnscope.faiss has no {name}: .* from faiss itself"):
        getattr(ours, name)
    assert not hasattr(ours, name)


def flat(library: Any, name: str) -> Any:
    index = getattr(library, name)(24)
    index.add(ROWS)
    return index


def mapped(library: Any, name: str) -> Any:
    index = library.IndexIDMap(getattr(library, name)(24))
    index.add_with_ids(ROWS, LABELS)
    return index


def same(theirs: Any, mine: Any) -> None:
    """Arrays of the same shapes, types and numbers; distances up to float32's rounding."""
    theirs, mine = (found if isinstance(found, tuple) else (found,) for found in (theirs, mine))
    for one, other in zip(theirs, mine, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)


def by_row(found: Any) -> Any:
    """The answers of a range search in the order of labels: Faiss gives them in no order that it promises."""
    ends, distances, labels = found
    order = np.lexsort((labels, np.repeat(np.arange(len(ends) - 1), np.diff(ends.astype(np.int64)))))
    return ends, distances[order], labels[order]


def test_the_host_is_the_one_that_was_tested() -> None:
    assert version("faiss-cpu") == TESTED, f"write down which version these tests hold for; {TESTED} is named"


def test_faiss_itself_is_not_imported() -> None:
    for path in Path(ours.__file__).parent.glob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) < 100
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not (isinstance(node, ast.Import) and any(name.name == "faiss" for name in node.names)), path
            assert not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("faiss")), path


@SEEDED
@pytest.mark.parametrize("make", [flat, mapped])
def test_searches_are_faisss(name: str, make: Any) -> None:
    theirs, mine = both(lambda library: make(library, name))
    for what in ("d", "ntotal", "metric_type", "is_trained", "verbose"):
        assert getattr(theirs, what) == getattr(mine, what), what
    for k in (1, 10, 300, 305):  # the last: more than there are
        same(theirs.search(QUERIES, k), mine.search(QUERIES, k))
        same(theirs.assign(QUERIES, k), mine.assign(QUERIES, k))
    same(theirs.search(QUERIES[:0], 3), mine.search(QUERIES[:0], 3))
    same(theirs.search(QUERIES.astype(np.float64), 3), mine.search(QUERIES.astype(np.float64), 3))
    for thresh in (30.0, 45.0, 0.0, -3.0, float(np.inf)):
        same(by_row(theirs.range_search(QUERIES, thresh)), by_row(mine.range_search(QUERIES, thresh)))
    distances, labels = np.empty((7, 4), np.float32), np.empty((7, 4), np.int64)
    found = mine.search(QUERIES, 4, D=distances, I=labels)
    assert found[0] is distances
    assert found[1] is labels
    same(theirs.search(QUERIES, 4), (distances, labels))


@SEEDED
def test_an_empty_index_answers_as_faisss(name: str) -> None:
    theirs, mine = both(lambda library: getattr(library, name)(24))
    same(theirs.search(QUERIES, 2), mine.search(QUERIES, 2))
    assert (mine.search(QUERIES, 2)[0] == (WORST if name == "IndexFlatL2" else -WORST)).all()
    same(theirs.range_search(QUERIES, 1.0), mine.range_search(QUERIES, 1.0))
    for index in (theirs, mine):
        index.add(ROWS)
        index.reset()
        assert index.ntotal == 0
    same(theirs.search(QUERIES, 2), mine.search(QUERIES, 2))


SELECTORS: dict[str, Callable[[Any], Any]] = {
    "range": lambda of: of.IDSelectorRange(10, 60),
    "array": lambda of: of.IDSelectorArray([5, 3, 299]),
    "batch": lambda of: of.IDSelectorBatch(np.arange(0, 300, 7)),
    "bitmap": lambda of: of.IDSelectorBitmap(np.arange(20, dtype=np.uint8)),
    "all": lambda of: of.IDSelectorAll(),
    "not": lambda of: of.IDSelectorNot(of.IDSelectorRange(10, 290)),
    "and": lambda of: of.IDSelectorAnd(of.IDSelectorRange(10, 60), of.IDSelectorNot(of.IDSelectorBatch([11, 12]))),
    "none of them": lambda of: of.IDSelectorBatch([5000]),
}


@pytest.mark.parametrize("what", SELECTORS)
@SEEDED
@pytest.mark.parametrize("make", [flat, mapped])
def test_selectors_are_faisss(name: str, make: Any, what: str) -> None:
    chosen = [SELECTORS[what](library) for library in (faiss, ours)]
    for label in range(-20, 400):
        assert chosen[0].is_member(label) == chosen[1].is_member(label), label
    theirs, mine = both(lambda library: make(library, name))
    params = [library.SearchParameters(sel=sel) for library, sel in zip((faiss, ours), chosen, strict=True)]
    right = theirs.search(QUERIES, 10, params=params[0])
    for given_params in params:  # Faiss' own is taken too
        same(right, mine.search(QUERIES, 10, params=given_params))
        near = by_row(theirs.range_search(QUERIES, 40.0, params=params[0]))
        same(near, by_row(mine.range_search(QUERIES, 40.0, params=given_params)))
    assert theirs.remove_ids(chosen[0]) == mine.remove_ids(chosen[0])
    assert theirs.ntotal == mine.ntotal
    same(theirs.search(QUERIES, 10), mine.search(QUERIES, 10))


@SEEDED
@pytest.mark.parametrize("make", [flat, mapped])
def test_rows_go_and_come_as_faisss_do(name: str, make: Any) -> None:
    """In a flat index those behind a row that goes move up."""
    theirs, mine = both(lambda library: make(library, name))
    assert theirs.remove_ids(np.array([3, 3, 0, 5000, -1])) == mine.remove_ids(np.array([3, 3, 0, 5000, -1]))
    same(theirs.search(QUERIES, 20), mine.search(QUERIES, 20))
    for index in (theirs, mine):
        if make is flat:
            index.add(QUERIES)
        else:
            index.add_with_ids(QUERIES, np.arange(7) * 7)  # of some of them there is a row already
    same(theirs.search(QUERIES, 20), mine.search(QUERIES, 20))
    for index in (theirs, mine):
        index.remove_ids(np.arange(100, 200))
    assert theirs.ntotal == mine.ntotal
    same(theirs.search(QUERIES, 20), mine.search(QUERIES, 20))
    if make is flat:
        same(theirs.reconstruct_n(), mine.reconstruct_n())
    else:
        assert (faiss.vector_to_array(theirs.id_map) == mine.id_map).all()


def test_rows_are_given_back_as_by_faiss() -> None:
    theirs, mine = both(lambda library: flat(library, "IndexFlatL2"))
    for index in (theirs, mine):
        index.remove_ids(np.array([5]))
    same(theirs.reconstruct(5), mine.reconstruct(5))
    same(theirs.reconstruct_n(3, 4), mine.reconstruct_n(3, 4))
    same(theirs.reconstruct_batch([9, 2, 2]), mine.reconstruct_batch([9, 2, 2]))
    same(theirs.search_and_reconstruct(QUERIES, 301), mine.search_and_reconstruct(QUERIES, 301))
    theirs, mine = both(lambda library: library.IndexIDMap2(library.IndexFlatL2(24)))
    for index in (theirs, mine):
        index.add_with_ids(ROWS, LABELS)
        index.add_with_ids(ROWS[:2], LABELS[[7, 8]])
    for key in (int(LABELS[7]), int(LABELS[9])):  # of two rows the last
        same(theirs.reconstruct(key), mine.reconstruct(key))
    same(theirs.reconstruct_batch(LABELS[:20]), mine.reconstruct_batch(LABELS[:20]))


def test_searches_without_an_index_are_faisss() -> None:
    for metric in (faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT):
        same(faiss.knn(QUERIES, ROWS, 12, metric), ours.knn(QUERIES, ROWS, 12, metric))
        same(faiss.knn(QUERIES, ROWS[:3], 12, metric=metric), ours.knn(QUERIES, ROWS[:3], 12, metric=metric))
        blocks = [ROWS[:100], ROWS[100:103], ROWS[103:]]
        for k in (12, 305):
            right = knn_ground_truth(QUERIES, iter(blocks), k, metric)
            same(right, ours.knn_ground_truth(QUERIES, iter(blocks), k, metric_type=metric, ngpu=0))
            same(right, ours.knn(QUERIES, ROWS, k, metric))
    assert (ours.METRIC_L2, ours.METRIC_INNER_PRODUCT) == (faiss.METRIC_L2, faiss.METRIC_INNER_PRODUCT)
    same(faiss.knn(QUERIES.tolist(), ROWS.tolist(), 1), ours.knn(QUERIES.tolist(), ROWS.tolist(), 1))
    same(knn_ground_truth(QUERIES, iter([]), 2), ours.knn_ground_truth(QUERIES, iter([]), 2))
    assert (ours.knn(QUERIES, ROWS[:0], 2)[1] == -1).all()
    same(by_row(flat(faiss, "IndexFlatL2").range_search(QUERIES, 40.0)), by_row(ours.range_search(QUERIES, ROWS, 40.0)))


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda of: flat(of, "IndexFlatL2").search(QUERIES[:, :3], 1), AssertionError),
        (lambda of: flat(of, "IndexFlatL2").search(QUERIES[0], 1), ValueError),
        (lambda of: flat(of, "IndexFlatL2").search(QUERIES, 0), AssertionError),
        (lambda of: flat(of, "IndexFlatL2").search(QUERIES, 1.5), TypeError),
        (lambda of: flat(of, "IndexFlatL2").search(QUERIES, 2, D=np.empty((7, 3), np.float32)), AssertionError),
        (lambda of: flat(of, "IndexFlatL2").add(ROWS[:, :3]), AssertionError),
        (lambda of: flat(of, "IndexFlatL2").train(ROWS[:, :3]), AssertionError),
        (lambda of: flat(of, "IndexFlatL2").reconstruct(300), RuntimeError),
        (lambda of: flat(of, "IndexFlatL2").reconstruct_n(299, 2), RuntimeError),
        (lambda of: flat(of, "IndexFlatL2").reconstruct_batch([1, 300]), RuntimeError),
        (lambda of: flat(of, "IndexFlatL2").remove_ids(np.ones((2, 2), np.int64)), AssertionError),
        (lambda of: of.IndexIDMap(flat(of, "IndexFlatL2")), RuntimeError),
        (lambda of: mapped(of, "IndexFlatL2").add(ROWS), RuntimeError),
        (lambda of: mapped(of, "IndexFlatL2").add_with_ids(ROWS, np.arange(4)), AssertionError),
        (lambda of: mapped(of, "IndexFlatL2").reconstruct(int(LABELS[0])), RuntimeError),
        (lambda of: of.IndexIDMap2(of.IndexFlatL2(24)).reconstruct(1), RuntimeError),
        (lambda of: of.knn(QUERIES, ROWS[:, :3], 1), AssertionError),
    ],
)
def test_errors_are_of_faisss_kinds(call: Callable[[Any], Any], kind: type[Exception]) -> None:
    for library in (faiss, ours):
        with pytest.raises(kind) as caught:
            call(library)
    assert "\n" not in str(caught.value)
    assert str(caught.value)


def test_what_is_not_here_is_refused_in_one_line() -> None:
    with pytest.raises(KnnscopeError, match=r"metric 2: .*Faiss itself has others"):
        ours.IndexFlat(3, faiss.METRIC_L1)
    with pytest.raises(KnnscopeError, match=r"vectors have shape \(24,\): \(vectors, components\) was expected"):
        ours.knn(QUERIES, ROWS[0], 1)
    with pytest.raises(KnnscopeError, match=r"queries have shape \(\): \(queries, components\)"):
        ours.knn_ground_truth(3.0, iter([ROWS]), 1)
    with pytest.raises(KnnscopeError, match="row 0 has nan"):
        ours.knn([[np.nan, 1]], [[1, 2]], 1)
    with pytest.raises(KnnscopeError, match="whole numbers"):
        flat(ours, "IndexFlatL2").remove_ids(np.array([0.5]))


@pytest.mark.parametrize(("distances", "labels"), [("f8", "i8"), ("f4", "i4"), ("f4", "u8"), (">f4", "i8")])
def test_arrays_that_would_round_an_answer_are_refused(distances: str, labels: str) -> None:
    """int32 would hold another label than a large one."""
    index = ours.IndexIDMap(ours.IndexFlatL2(24))
    index.add_with_ids(ROWS[:3], np.array([2**40 + 1, 5, 6]))
    with pytest.raises(ours.ShapeError, match=r"D and I are .*: float32 and int64 were expected"):
        index.search(QUERIES, 1, D=np.empty((7, 1), distances), I=np.empty((7, 1), labels))


def test_labels_that_float64_does_not_hold_stay_apart() -> None:
    """Whatever whole type they are given in."""
    labels = np.concatenate([[2**60 + 1, 2**60 + 2], np.arange(298)])
    for dtype in (np.int64, np.uint64):
        index = ours.IndexIDMap(ours.IndexFlatL2(24))
        index.add_with_ids(ROWS, labels)
        assert index.remove_ids(np.array([2**60, 2**61, 2**60 + 2, *range(1000, 1100)], dtype)) == 1
        assert (index.id_map == np.delete(labels, 1)).all()


def test_an_index_survives_pickling() -> None:
    index = mapped(ours, "IndexFlatIP")
    same(index.search(QUERIES, 5), pickle.loads(pickle.dumps(index)).search(QUERIES, 5))


def test_where_faiss_rounds_the_labels_are_still_float64s() -> None:
    """What the second component adds to a squared length near 1 float32 does not hold."""
    rows = np.stack([np.ones(9), np.arange(9, 0, -1) * 1e-5], axis=1).astype(np.float32)
    assert faiss.knn(np.zeros((1, 2)), rows, 3)[1].tolist() != [[8, 7, 6]]
    assert ours.knn(np.zeros((1, 2)), rows, 3)[1].tolist() == [[8, 7, 6]]
    assert ours.knn(np.ones((1, 2)), rows, 3, ours.METRIC_INNER_PRODUCT)[1].tolist() == [[0, 1, 2]]


def test_selectors_of_labels_that_are_not_there_or_stand_twice() -> None:
    """A flat index of Faiss 1.15.1 gives a row twice that stands twice in an array, and fails, or ends the process, beyond its rows."""
    index, twice = flat(ours, "IndexFlatL2"), ours.SearchParameters(sel=ours.IDSelectorArray([5, 3, 3, 5000]))
    assert sorted(index.search(QUERIES[:1], 3, params=twice)[1][0].tolist()) == [-1, 3, 5]
    beyond = ours.SearchParameters(sel=ours.IDSelectorRange(5000, 6000))
    assert index.search(QUERIES[:1], 2, params=beyond)[1].tolist() == [[-1, -1]]
    assert len(index.range_search(QUERIES[:1], 1e9, params=beyond)[2]) == 0


metrics = st.sampled_from([("l2", ours.METRIC_L2, 1), ("ip", ours.METRIC_INNER_PRODUCT, -1)])
grid = arrays(np.float32, st.tuples(st.integers(1, 25), st.just(2)), elements=st.integers(-2, 2))
few = arrays(np.float32, st.tuples(st.integers(1, 4), st.just(2)), elements=st.integers(-2, 2))


@given(metrics, grid, few, st.integers(1, 30), st.data())
def test_ties_go_to_the_smallest_label(metric: Any, rows: Any, queries: Any, k: int, data: st.DataObject) -> None:
    """Rows of a grid have many: in a map with labels in any order, of which some stand for several rows, after some rows have gone."""
    name, number, sign = metric
    whole = st.integers(-(2**63), 2**63 - 1)
    labels = np.array(data.draw(st.lists(st.one_of(st.integers(-3, 9), whole), min_size=len(rows), max_size=len(rows))))
    index = ours.IndexIDMap(ours.IndexFlat(2, number))
    cut = data.draw(st.integers(0, len(rows)))
    index.add_with_ids(rows[:cut], labels[:cut].astype(np.int64))
    index.add_with_ids(rows[cut:], labels[cut:].astype(np.int64))
    gone = data.draw(st.lists(st.sampled_from(labels.tolist()), max_size=3))
    assert index.remove_ids(np.array(gone, dtype=np.int64)) == np.isin(labels, gone).sum()
    rows, labels = rows[~np.isin(labels, gone)], labels[~np.isin(labels, gone)]
    allowed = data.draw(st.integers(-4, 8))
    params = data.draw(st.sampled_from([None, ours.SearchParameters(sel=ours.IDSelectorRange(allowed, allowed + 5))]))
    kept = np.ones(len(labels), bool) if params is None else (labels >= allowed) & (labels < allowed + 5)
    found, near = index.search(queries, k, params=params), index.range_search(queries, 2.0, params=params)
    values = definition.distances(rows, queries, name) if len(rows) else np.empty((len(queries), 0))
    for line in range(len(queries)):
        right = sorted(
            (sign * value, label) for value, label, in_it in zip(values[line], labels, kept, strict=True) if in_it
        )
        padded = right[:k] + [(float(WORST), -1)] * (k - len(right))
        assert found[1][line].tolist() == [label for _, label in padded]
        assert found[0][line].tolist() == [sign * value for value, _ in padded]
        some = slice(int(near[0][line]), int(near[0][line + 1]))
        assert near[2][some].tolist() == [label for value, label in right if value < sign * 2.0]


@given(metrics, grid, few, st.integers(1, 30), st.integers(1, 9))
def test_ground_truth_of_blocks_is_that_of_all_rows(metric: Any, rows: Any, queries: Any, k: int, block: int) -> None:
    name, number, _ = metric
    blocks = (rows[first : first + block] for first in range(0, len(rows), block))
    distances, labels = ours.knn_ground_truth(queries, blocks, k, number)
    right = definition.select(definition.distances(rows, queries, name), k, name)
    assert (labels[:, : len(rows)] == right.ids).all()
    assert (distances[:, : len(rows)] == right.distances).all()
    assert (labels[:, len(rows) :] == -1).all()
