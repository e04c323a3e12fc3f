"""Queries that come to their end together: each gets what it gets alone, and a row that was changed is noticed wherever it stands in a list."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope.certified.cpu import allowed, dispatch, plane_ending
from knnscope.certified.cpu import search as searches
from knnscope.certified.index import ExactIndex
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests import oracle

ISAS = [isa for isa in dispatch.available() if isa != "amx"]
METRICS = definition.METRICS
RANDOM = np.random.default_rng


def crowded(count: int, seed: int) -> np.ndarray:
    """Rows in a few crowds that their four bits hardly tell apart, some of them equal; in any order."""
    random = RANDOM(seed)
    centres = random.standard_normal((12, 64))
    rows = centres[random.integers(0, 12, count)] + 0.05 * random.standard_normal((count, 64))
    rows[count // 2 : count // 2 + 40] = rows[: 40 // 2].repeat(2, axis=0)
    random.shuffle(rows)
    return rows.astype(np.float32)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("metric", METRICS)
def test_many_queries_get_what_each_gets_alone(small: pytest.MonkeyPatch, metric: str, isa: str) -> None:
    """In groups of any size, by one thread and by several."""
    rows = crowded(17 * plane_ending.CHUNK + 5, 1)
    random = RANDOM(2)
    queries = np.concatenate([rows[:30], rows[40:60] + 0.02 * random.standard_normal((20, 64)).astype(np.float32)])
    where = random.random((len(queries), len(rows))) < 0.7
    index = ExactIndex(rows, metric, device=f"cpu:{isa}")
    for k in (1, 40):
        for mask in (None, where):
            alone = [
                index.search(queries[i : i + 1], k, mask[i : i + 1] if mask is not None else None)
                for i in range(len(queries))
            ]
            left = np.arange(len(rows)) if mask is None else np.flatnonzero(mask[0])
            expected, _ = oracle.nearest(rows[left], queries[0], k, metric)
            assert left[expected].tolist() == alone[0].ids[0].tolist()
            for group, threads in ((128, 1), (7, 1), (10, 2)):
                small.setattr(searches, "WHOLE_GROUP", group)
                found = index.search(queries, k, mask, threads=threads)
                assert found.certificate.path == ("plane",)
                np.testing.assert_array_equal(found.ids, np.concatenate([one.ids for one in alone]))
                np.testing.assert_array_equal(found.distances, np.concatenate([one.distances for one in alone]))


def test_a_query_without_room_leaves_the_others_theirs(small: pytest.MonkeyPatch) -> None:
    random = RANDOM(3)
    rows = random.standard_normal((12_000, 64)).astype(np.float32)
    rows[:9000] = rows[0] + 1e-5 * random.standard_normal((9000, 64)).astype(np.float32)
    queries = random.standard_normal((20, 64)).astype(np.float32)
    queries[7] = rows[0]
    small.setattr(dispatch, "room", lambda _: 0.5)
    found = ExactIndex(rows, threads=1).search(queries, 5)
    assert "plane" in found.certificate.path
    assert len(found.certificate.path) > 1, "one query overflows"
    np.testing.assert_array_equal(found.ids, definition.search(rows, queries, 5, "l2").ids)


def test_a_long_list_leaves_the_others_theirs(small: pytest.MonkeyPatch) -> None:
    """Longer than its room, and followed by a query that the plane is not asked."""
    random = RANDOM(5)
    rows = random.standard_normal((12_000, 64)).astype(np.float32)
    rows[:7000] = rows[0] + 1e-5 * random.standard_normal((7000, 64)).astype(np.float32)
    queries = random.standard_normal((20, 64)).astype(np.float32)
    queries[0], queries[1] = rows[0], 1e9
    small.setattr(dispatch, "room", lambda _: 0.5)
    found = ExactIndex(rows, threads=1).search(queries, 5)
    np.testing.assert_array_equal(found.ids, definition.search(rows, queries, 5, "l2").ids)
    assert found.certificate.candidates[0] == 7000 > searches.LEAST_ROOM, "all that no bound tells apart"


def test_a_row_that_was_changed_is_noticed_among_many(small: pytest.MonkeyPatch) -> None:
    """Also where it is not one of those with the smallest bounds, which are computed first."""
    random = RANDOM(4)
    rows = random.standard_normal((4000, 64)).astype(np.float32)
    crowd = np.arange(3000, 3300)
    rows[crowd] = rows[0] + 1e-6 * random.standard_normal((300, 64)).astype(np.float32)
    queries = np.concatenate([random.standard_normal((9, 64)).astype(np.float32), rows[:1]])
    index = ExactIndex(rows, threads=1)
    found = index.search(queries, 1).certificate
    assert found.path == ("plane",)
    assert found.candidates.max() > 250, "far more than have the smallest bounds"
    for row in crowd[::20]:
        was = rows[row].copy()
        rows[row] += 40
        with pytest.raises(KnnscopeError, match=f"changed after the index was built: row {row:,} "):
            index.search(queries, 1)
        rows[row] = was
    assert index.search(queries, 1).ids[9] == 0


@pytest.mark.parametrize("isa", ISAS)
def test_fewer_rows_are_allowed_than_are_asked_for(small: pytest.MonkeyPatch, isa: str) -> None:
    """So no limit is known after the first rows, which are computed before any list is written: none is counted twice, none is lost."""
    small.setattr(allowed, "few", lambda *_: None)
    random = RANDOM(6)
    rows = random.standard_normal((2000, 64)).astype(np.float32)
    queries = random.standard_normal((12, 64)).astype(np.float32)
    where = np.zeros((12, 2000), dtype=np.bool_)
    for own, many in zip(where, (0, 1, 7, 8, 9, 35, 36, 37, 60, 500, 1999, 2000), strict=True):
        own[random.choice(2000, many, replace=False)] = True
    index = ExactIndex(rows, device=f"cpu:{isa}", threads=1)
    for some in (slice(0, 12), slice(1, 4), slice(5, 6)):
        found = index.search(queries[some], 8, where[some])
        assert found.certificate.path == ("plane",)
        for ids, query, own in zip(found.ids, queries[some], where[some], strict=True):
            left = np.flatnonzero(own)
            expected = definition.search(rows[left], query[None], min(8, len(left)), "l2").ids[0] if len(left) else []
            assert ids[: len(expected)].tolist() == left[expected].tolist()
            assert (ids[len(expected) :] == -1).all()
