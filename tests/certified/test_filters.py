"""Which rows may be answers: every form says the same, in the order of ``ids``, whatever the index has been through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import knnscope
from knnscope.errors import KnnscopeError

ROWS = np.random.default_rng(0).standard_normal((40, 4))


def lived() -> knnscope.ExactIndex:
    index = knnscope.ExactIndex(ROWS[:20], ids=np.arange(20) * 3)
    index.add(ROWS[20:], ids=np.arange(20, 40) * 3)
    index.remove([0, 33, 99])
    index.update([3, 60], ROWS[:2])
    return index


@given(st.lists(st.booleans(), min_size=37, max_size=37), st.booleans())
def test_forms_that_say_the_same(allowed: list[bool], is_merged: bool) -> None:
    index, mask = lived(), np.array(allowed)
    if is_merged:
        index.merge()
    ids = index.ids
    assert ids[-2:].tolist() == [3, 60], "updated rows come last"
    expected = index.search(ROWS[:3], 8, where=mask)
    assert set(expected.ids.ravel().tolist()) <= {-1, *ids[mask].tolist()}
    assert (expected.ids[0] >= 0).sum() == min(8, mask.sum())
    same: list[Any] = [
        mask.tolist(),
        np.stack([mask] * 3),
        knnscope.Bits(np.packbits(mask)),
        knnscope.Bits(np.packbits(np.stack([mask] * 3), axis=1)),
        knnscope.Bits(np.packbits(mask, bitorder="little"), order="little"),
        knnscope.Keep(ids[mask]),
        knnscope.Keep(set(ids[mask].tolist())),
        knnscope.Keep([*ids[mask].tolist(), 10**15, 0]),
        knnscope.Without(ids[~mask]),
        knnscope.Without([*ids[~mask].tolist(), -5, 99]),
        [knnscope.Keep(ids[mask]), knnscope.Bits(np.packbits(mask)), knnscope.Without(ids[~mask].tolist())],
    ]
    for where in same:
        found = index.search(ROWS[:3], 8, where=where)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)


def test_one_a_query() -> None:
    index = lived()
    found = index.search(ROWS[:2], 2, where=[knnscope.Keep(6), knnscope.Without(np.setdiff1d(index.ids, [9, 12]))])
    assert found.ids[0].tolist() == [6, -1]
    assert set(found.ids[1].tolist()) == {9, 12}
    found = index.search(ROWS[:2], 2, where=[knnscope.Keep(6), None])
    assert found.ids[0].tolist() == [6, -1]
    assert found.ids[1].tolist() == index.search(ROWS[1], 2).ids.tolist()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (np.ones(40, bool), r"where has shape \(40,\) and type bool: bool, \(37,\) or \(2, 37\), was expected"),
        (np.ones(37), "type float64"),
        ([True, 1, "x"], "where"),
        (knnscope.Keep(["a"]), "where: ids are strings: those of this index are whole numbers"),
        (knnscope.Keep([0.5]), "where: ids are of type float64"),
        (knnscope.Keep([[1], [2, 3]]), "where: ids are not one array of numbers"),
        (knnscope.Keep(np.ma.masked_equal([1, 2], 2)), "where: ids are a masked array"),
        (knnscope.Without([[1]]), r"where: ids have shape \(1, 1\): one dimension"),
        ([knnscope.Keep([1])], "where has 1 filter: one for each of 2 queries"),
        ([], "where has 0 filters: one for each of 2 queries"),
        (np.array([5, 7]), r"where has .* int64: .* was expected; ids to keep are given as knnscope\.Keep\(ids\)"),
        ([knnscope.Keep([1]), knnscope.Keep(["a"])], "where: ids are strings"),
        (knnscope.Bits(np.zeros(4, np.uint8)), r"bits of shape \(4,\): 5 bytes, one bit for each of 37 rows"),
        (knnscope.Bits(np.zeros((3, 5), np.uint8)), r"where has shape \(3, 37\)"),
    ],
)
def test_what_is_refused(where: Any, message: str) -> None:
    with pytest.raises(KnnscopeError, match=message):
        lived().search(ROWS[:2], 3, where=where)


def test_bits_are_checked_when_they_are_made() -> None:
    for wrong in (np.zeros(5), np.zeros((1, 1, 1), np.uint8)):
        with pytest.raises(KnnscopeError, match=r"uint8, \(bytes,\) or \(queries, bytes\), was expected"):
            knnscope.Bits(wrong)
    with pytest.raises(KnnscopeError, match="bits are a masked array"):
        knnscope.Bits(np.ma.masked_equal(np.zeros(5, np.uint8), 0))
    with pytest.raises(KnnscopeError, match="order = 'middle': big or little"):
        knnscope.Bits(np.zeros(5, np.uint8), order="middle")


def test_what_is_printed_is_short() -> None:
    assert repr(knnscope.Keep(range(5000))) == "Keep(5,000 ids)"
    assert repr(knnscope.Without("a")) == "Without('a')"
    assert repr(knnscope.Keep(7)) == "Keep(7)"
    assert "\n" not in repr(knnscope.Bits(np.zeros((200, 5), np.uint8)))
