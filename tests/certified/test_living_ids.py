"""Ids of an index whose rows come and go: whole numbers or strings, the index' own; what cannot be one is a line that says what to give."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest

import knnscope
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests.certified.living_rows import data


def test_strings_as_ids(small_segments: None) -> None:
    rows, names = data(60), [f"{'ü' if i % 2 else 'doc'}-{i}" for i in range(60)]
    index = knnscope.ExactIndex(rows[:30], ids=names[:30])
    index.add(rows[30:], ids=np.array(names[30:]))
    found = index.search(rows[:2], 3)
    expected = definition.search(rows, rows[:2], 3, "l2")
    assert found.ids.tolist() == np.array(names)[expected.ids].tolist()
    assert found.ids.dtype.kind == "U"
    assert found.rows()[0]["id"] == "doc-0"
    assert index.search(rows[0], 2, where=knnscope.Keep("ü-1")).ids.tolist() == ["ü-1", ""]
    with pytest.raises(KnnscopeError, match="ids of this index are strings: give one for each row"):
        index.add(rows[:1])
    with pytest.raises(KnnscopeError, match="ids: 'doc-0' is in the index already"):
        index.add(rows[:1], ids="doc-0")
    with pytest.raises(KnnscopeError, match="ids: 'nobody' is not in the index"):
        index.get("nobody")
    with pytest.raises(KnnscopeError, match="ids are whole numbers: those of this index are strings"):
        index.remove(3)
    same_distance = knnscope.ExactIndex(np.ones((4, 2)), ids=["b", "\U0001f600", "a", "\uffff"])
    assert same_distance.search(np.ones(2), 4).ids.tolist() == ["a", "b", "\uffff", "\U0001f600"], "by code points"


UUIDS = [uuid.UUID(int=number) for number in (7, 2**100)]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "a"], "ids: 'a' stands more than once"),
        (["a", 1], "all strings, or all whole numbers"),
        (["", "b"], "1 to 512 characters"),
        (["x" * 513, "b"], "1 to 512 characters"),
        (["a\0", "b"], "NUL"),
        (["\ud800", "b"], "Unicode"),
        (
            np.array(["a", None], dtype=object),
            r"type object, with None: whole numbers from 0, or strings were expected",
        ),
        ([UUIDS[0], UUIDS[1]], rf"type object, with UUID\('{UUIDS[0]}'\): .* as strings: \[str\(id\) for id in ids\]"),
        (np.array(UUIDS), r"with UUID\(.*as strings: \[str\(id\) for id in ids\]"),
        ([2**70, 1], rf"with {2**70}: .*as strings: \[str\(id\) for id in ids\]"),
        ([b"a", b"b"], r"with b'a': .*as strings: \[id.decode\(\) for id in ids\]"),
        (np.array(["2020-01-01", "2020-01-02"], "M8[D]"), "with 2020-01-01: .*as strings"),
        ({"a", "b"}, "ids are a set, whose order is not that of the rows: give a list"),
        (
            (str(one) for one in UUIDS),
            r"ids have shape \(\): one for each row, \(2,\), was expected, in a list or an array",
        ),
        (["a"], r"ids have shape \(1,\): one for each row, \(2,\)"),
        ([0.5, 1], "whole numbers"),
        ([-1, 1], "ids lie between 0 and 2"),
        ([[1], [2, 3]], "ids are not one array of numbers"),
        (np.ma.masked_equal([1, 2], 2), "ids are a masked array"),
        (np.ma.masked_equal(["a", "b"], "b"), "ids are a masked array"),
    ],
)
def test_ids_that_are_refused(ids: Any, message: str) -> None:
    with pytest.raises(KnnscopeError, match=message):
        knnscope.ExactIndex(np.eye(2), ids=ids)
    index = knnscope.ExactIndex(dim=2)
    with pytest.raises(KnnscopeError, match=message):
        index.add(np.eye(2), ids=ids)
    assert len(index) == 0


@pytest.mark.parametrize(
    ("own", "ids", "message"),
    [
        (None, ["a"], "strings: those of this index are whole numbers: .* for strings, build the index with strings"),
        (None, UUIDS[:1], r"of type object, with UUID\(.*\): whole numbers were expected$"),
        (None, np.array(UUIDS[:1]), r"of type object, with UUID\(.*\): whole numbers were expected$"),
        (["a", "b"], [7], "whole numbers: those of this index are strings: give strings"),
        (["a", "b"], UUIDS[:1], r"with UUID\(.*\): strings were expected; as strings: \[str\(id\) for id in ids\]"),
    ],
)
def test_ids_of_another_kind_say_what_to_give(own: Any, ids: Any, message: str) -> None:
    index = knnscope.ExactIndex(np.eye(2), ids=own)
    calls = [
        lambda: index.remove(ids),
        lambda: index.get(ids),
        lambda: index.update(ids, np.eye(2)[:1]),
        lambda: index.search(np.eye(2), 1, where=knnscope.Keep(ids)),
        lambda: index.add(np.eye(2)[:1], ids=ids),
    ]
    for call in calls:
        with pytest.raises(KnnscopeError, match=message):
            call()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([[0], [1, 2]], "ids are not one array of numbers"),
        (np.ma.masked_equal([0, 1], 1), "ids are a masked array"),
        ([[0]], "one dimension was expected"),
        ([0.5], "ids are of type float64"),
        (None, "ids are of type object"),
        (["a"], "ids are strings"),
    ],
)
def test_ids_that_name_no_row_are_refused_and_change_nothing(ids: Any, message: str) -> None:
    index = knnscope.ExactIndex(np.eye(3))
    for call in (index.remove, index.get, lambda some: index.update(some, np.eye(3)[:1])):
        with pytest.raises(KnnscopeError, match=message if call in (index.remove, index.get) else "ids"):
            call(ids)
    assert ids not in index
    assert len(index) == 3


@pytest.mark.parametrize(
    "one",
    ["b", np.str_("b"), np.array("b"), np.array("b", np.dtypes.StringDType()), ["b"], 7, np.uint8(7), np.array(7)],
)
def test_the_id_of_a_single_row_in_any_form(one: Any) -> None:
    index = knnscope.ExactIndex(dim=3)
    index.add(np.ones(3), ids=one)
    assert one in index or isinstance(one, list)
    assert index.get(one).size == 3
    index.update(one, np.zeros(3))
    assert index.search(np.ones(3), 1).ids.tolist() == index.ids.tolist() == ["b" if "b" in index else 7]
    index.remove(one)
    assert len(index) == 0


def test_how_many_more_ids_cannot_be_is_said() -> None:
    index = knnscope.ExactIndex(np.eye(4), ids=["a", "b", "c", "d"])
    with pytest.raises(KnnscopeError, match=r"ids: 'b' is in the index already \(2 others too\): update it, or give"):
        index.add(np.eye(4), ids=["x", "b", "c", "d"])
    with pytest.raises(KnnscopeError, match=r"ids: 'x' is not in the index \(1 other too\)"):
        index.remove(["a", "x", "y"])
    assert len(index) == 4


@pytest.mark.parametrize("count", [3, 400])
def test_ids_are_the_indexs_own(count: int) -> None:
    """Those that were given, and those that ``add`` returns, may be changed afterwards."""
    rows, given = data(9000 + 2 * count), np.arange(9000)[::-1].copy()
    index = knnscope.ExactIndex(rows[:9000], ids=given)
    more = np.arange(20_000, 20_000 + count)
    told = index.add(rows[9000 : 9000 + count], ids=more)
    numbered = index.add(rows[9000 + count :])
    names = np.concatenate([given, more, numbered])
    for array in (given, more, told, numbered):
        array[:] = 1
    assert index.ids.tolist() == names.tolist()
    for number in (0, 9000, 9000 + count):
        assert index.search(rows[number], 1).ids.tolist() == [names[number]]
        assert int(names[number]) in index
