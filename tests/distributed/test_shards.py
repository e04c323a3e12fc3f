"""Splitting and merging, without a cluster: whatever the shards, the answer is that of one index over all rows."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.certified.filters import Bits, Keep, Without
from knnscope.certified.index import ExactIndex
from knnscope.certified.slices import How
from knnscope.distributed import shards, tasks
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests.distributed.data import Case, assert_same, assert_same_within, cases, tied


def parts_of(case: Case) -> list[tuple[range, ExactIndex]]:
    """An index of each shard under its rows' own names."""
    found = []
    for some in shards.split(len(case.rows), case.shards):
        ids = np.arange(some.start, some.stop) if case.ids is None else case.ids[some.start : some.stop]
        found.append((some, ExactIndex(case.rows[some.start : some.stop], case.metric, ids)))
    return found


@given(st.integers(0, 300), st.integers(1, 40))
def test_every_row_is_in_one_shard_and_none_is_empty(rows: int, count: int) -> None:
    found = shards.split(rows, count)
    assert [row for some in found for row in some] == list(range(rows))
    assert len(found) == min(rows, count)
    sizes = {len(some) for some in found}
    assert 0 not in sizes
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(cases())
def test_merged_answers_are_those_of_all_rows(case: Case) -> None:
    found = [part.search(case.queries, min(case.k, len(part))) for _, part in parts_of(case)]
    merged = shards.merged(found, case.k, case.metric)
    assert_same(merged, ExactIndex(case.rows, case.metric, case.ids).search(case.queries, case.k))
    proofs = [one.certificate for one in found]
    for name, join in (("candidates", np.sum), ("computed", np.sum), ("margin", np.min)):
        assert getattr(merged.certificate, name).tolist() == join([getattr(p, name) for p in proofs], axis=0).tolist()
    assert merged.certificate is not None
    assert merged.certificate.rows_scanned == len(case.rows)


@given(cases())
def test_and_they_are_the_definitions(case: Case) -> None:
    found = [part.search(case.queries, min(case.k, len(part))) for _, part in parts_of(case._replace(ids=None))]
    merged = shards.merged(found, case.k, case.metric)
    defined = definition.search(case.rows, case.queries, case.k, case.metric)
    assert merged.ids.tolist() == defined.ids.tolist()
    np.testing.assert_array_equal(merged.distances, defined.distances)


@given(cases(), st.floats(-5, 50))
def test_all_rows_within_a_radius_are_those_of_all_rows(case: Case, radius: float) -> None:
    reach = abs(radius) if case.metric == "l2" else radius
    found = [part.radius_search(case.queries, reach) for _, part in parts_of(case)]
    whole = ExactIndex(case.rows, case.metric, case.ids).radius_search(case.queries, reach)
    assert_same_within(shards.merged_within(found, case.metric, 1 << 20, 1 << 20), whole)


@given(cases(), st.data())
@settings(max_examples=40)
def test_filters_are_those_of_all_rows(case: Case, data: st.DataObject) -> None:
    rows, asked = len(case.rows), len(case.queries)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), bool)
    each = np.array(data.draw(st.lists(st.booleans(), min_size=rows * asked, max_size=rows * asked)), bool)
    each = each.reshape(asked, rows)
    named = case.ids if case.ids is not None else np.arange(rows)
    some = [named[i] for i in range(0, rows, 2)]
    where: Any = data.draw(
        st.sampled_from(
            [
                None, mask, each, Bits(np.packbits(mask)), Bits(np.packbits(each, axis=1, bitorder="little"), "little"), Keep(some),
                Without(some), [(mask, Keep(some), Bits(np.packbits(mask)))[i % 3] for i in range(asked)],
                [(Without(some), mask)[i % 2] for i in range(asked)], [(None, Keep(some))[i % 2] for i in range(asked)],
            ]
        )
    )  # fmt: skip
    parts = parts_of(case)
    own = shards.filters(where, asked, [some for some, _ in parts])
    found = [part.search(case.queries, min(case.k, len(part)), w) for (_, part), w in zip(parts, own, strict=True)]
    whole = ExactIndex(case.rows, case.metric, case.ids).search(case.queries, case.k, where)
    assert_same(shards.merged(found, case.k, case.metric), whole)
    halves = []
    for a, b in ((0, 1), (1, asked)) if asked > 1 else ((0, 1),):
        each_shard = [
            part.search(case.queries[a:b], min(case.k, len(part)), shards.of_queries(w, a, b))
            for (_, part), w in zip(parts, own, strict=True)
        ]
        halves.append(shards.merged(each_shard, case.k, case.metric))
    assert_same(shards.stacked(halves), whole)


def test_no_filters_for_no_queries() -> None:
    index, none = ExactIndex(np.eye(4)), np.empty((0, 4))
    for where in ([], (), None, np.empty((0, 4), bool)):
        assert index.search(none, 2, where).ids.shape == (0, 2)
        for own, rows in zip(shards.filters(where, 0, shards.split(4, 3)), shards.split(4, 3), strict=True):
            assert ExactIndex(np.eye(4)[rows]).search(none, 1, own).ids.shape == (0, 1)


@pytest.mark.parametrize(
    "where", [np.ones(5, bool), np.ones((2, 4), bool), np.ones(4), [Keep([1])], [], [None, [1, 0], None]]
)
def test_a_filter_that_does_not_fit_is_refused_as_one_index_does(where: Any) -> None:
    rows, queries = np.ones((4, 2), np.float32), np.ones((3, 2), np.float32)
    with pytest.raises(KnnscopeError) as one:
        ExactIndex(rows).search(queries, 1, where)
    with pytest.raises(KnnscopeError) as several:
        shards.filters(where, 3, shards.split(4, 2))
    assert str(several.value) == str(one.value)


def test_the_margin_holds_for_all_rows() -> None:
    """What was not computed in any shard is further than the last place of all by the margin."""
    rows, queries = tied(20_000, 32)
    parts = [
        (some, ExactIndex(rows[some.start : some.stop], ids=np.arange(some.start, some.stop)))
        for some in shards.split(len(rows), 3)
    ]
    found = shards.merged([part.search(queries, 10) for _, part in parts], 10, "l2")
    assert found.certificate is not None
    values = np.sqrt(definition.distances(rows, queries, "l2"))
    for number, margin in enumerate(found.certificate.margin):
        left_out = len(rows) - int(found.certificate.computed[number])
        assert left_out > 0
        furthest = np.sort(values[number])[-left_out:]  # at least so many rows are that far away
        assert furthest[-1] >= np.sqrt(found.distances[number, -1]) + margin
        beyond = int((values[number] >= np.sqrt(found.distances[number, -1]) + margin).sum())
        assert beyond >= left_out


def test_too_many_within_a_radius_are_refused_as_one_index_does() -> None:
    rows, queries = tied(300)
    index = ExactIndex(rows)
    parts = [ExactIndex(rows[:100]), ExactIndex(rows[100:], ids=np.arange(100, 300))]
    found = [part.radius_search(queries, 1e9) for part in parts]
    for limits, said in (((1000, 1 << 20), {"limit": 1000}), ((1 << 20, 250), {"limit_each": 250})):
        with pytest.raises(KnnscopeError) as several:
            shards.merged_within(found, "l2", *limits)
        with pytest.raises(KnnscopeError) as one:
            index.radius_search(queries, 1e9, **said)
        assert str(several.value).partition("(")[0] == str(one.value).partition("(")[0]


def test_answers_to_queries_one_after_another() -> None:
    rows, queries = tied(500)
    index = ExactIndex(rows)
    whole, halves = index.search(queries, 7), [index.search(some, 7) for some in (queries[:4], queries[4:])]
    assert_same(shards.stacked(halves), whole)
    within = [index.radius_search(some, 30.0) for some in (queries[:4], queries[4:])]
    assert_same_within(shards.stacked_within(within), index.radius_search(queries, 30.0))


def test_a_shard_that_is_built_while_others_are_counted() -> None:
    """Two threads of a worker: one looks at what all shards take, and another has just built one more."""
    built, threads = tasks.Built(), list[threading.Thread]()
    recipe = tasks.Recipe(np.zeros((1, 1)), 0, None, How())
    later = tasks.Shard(recipe)

    class Raced(tasks.Shard):
        def __sizeof__(self) -> int:
            if not threads:
                threads.append(threading.Thread(target=built.add, args=(later,)))
                threads[0].start()
                threads[0].join(0.2)  # it may have to wait
            return 10

    first, second = Raced(recipe), Raced(recipe)
    built.add(first)
    built.add(second)
    assert built.nbytes() in (2 * sys.getsizeof(first), 2 * sys.getsizeof(first) + sys.getsizeof(later))
    threads[0].join()
    assert built.nbytes() == 2 * sys.getsizeof(first) + sys.getsizeof(later)


def test_workers_of_a_machine_take_turns() -> None:
    workers = ["tcp://10.0.0.2:41", "tcp://10.0.0.1:43", "tcp://10.0.0.1:42", "tcp://[fe80::1]:7", "tcp://10.0.0.1:9"]
    assert shards.turns(workers) == {
        "tcp://10.0.0.1:42": 0, "tcp://10.0.0.1:43": 1, "tcp://10.0.0.1:9": 2, "tcp://10.0.0.2:41": 0, "tcp://[fe80::1]:7": 0,
    }  # fmt: skip
