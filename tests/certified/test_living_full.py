"""A GPU whose memory is full: what was asked is done or refused, never both. A maker of processors stands in for the GPU's."""

from __future__ import annotations

import numpy as np
import pytest

import knnscope
from knnscope.certified.making import OnCpu
from knnscope.errors import GpuFullError
from knnscope.search import definition
from tests.certified.living_rows import data, same


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch, small_segments: None) -> list[str]:
    """What has no room: "merge", "add"; merging takes place in the call that makes it necessary, as on a GPU."""
    lacking, own = list[str](), {"merge": OnCpu.joined, "add": OnCpu.added}

    def refusing(what: str, do: object) -> object:
        def refuse(*given: object) -> object:
            if what in lacking:
                raise GpuFullError("the GPU's memory is full")
            return do(*given)  # type: ignore[operator]

        return refuse

    monkeypatch.setattr(OnCpu, "beside", False)
    monkeypatch.setattr(OnCpu, "joined", staticmethod(refusing("merge", own["merge"])))
    monkeypatch.setattr(OnCpu, "added", refusing("add", own["add"]))
    return lacking


@pytest.mark.usefixtures("small_segments")
def test_rows_that_are_in_are_not_refused(full: list[str]) -> None:
    """Segments that there is no room to merge stay as they are; what merges when asked says why it does not."""
    rows = data(600)
    index = knnscope.ExactIndex(rows[:100])
    full.append("merge")
    for first in range(100, 600, 100):
        index.add(rows[first : first + 100])
        assert len(index) == first + 100
    index.remove([3, 200])
    index.update([5], rows[5:6])
    left = np.delete(np.arange(600), [3, 200])
    found, expected = index.search(rows[:9] + 1, 12), definition.search(rows[left], rows[:9] + 1, 12, "l2")
    np.testing.assert_array_equal(found.ids, left[expected.ids])
    with pytest.raises(GpuFullError, match="full"):
        index.merge()
    full.clear()
    index.merge()
    np.testing.assert_array_equal(index.search(rows[:9] + 1, 12).ids, left[expected.ids])


def test_rows_that_have_no_room_are_not_in(full: list[str]) -> None:
    rows = data(300)
    index = knnscope.ExactIndex(rows[:100])
    full.append("add")
    for _ in range(2):
        with pytest.raises(GpuFullError, match="full"):
            index.add(rows[100:300], ids=np.arange(100, 300))
        assert len(index) == 100
        same(index, rows[:100], rows[:3] + 1, 9)
    full.clear()
    index.add(rows[100:300], ids=np.arange(100, 300))
    same(index, rows, rows[:3] + 1, 9)
