"""Intervals against counting every nanosecond."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.trace import intervals

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 15)), max_size=25)


def counted(pairs: list[tuple[int, int]]) -> np.ndarray:
    line = np.zeros(100, dtype=bool)
    for start, length in pairs:
        line[start : start + length] = True
    return line


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
@given(pairs=PAIRS, low=st.integers(0, 80), size=st.integers(0, 20), ordered=st.booleans())
def test_against_counting(chunk: int, pairs: list[tuple[int, int]], low: int, size: int, ordered: bool) -> None:
    before, intervals.CHUNK = intervals.CHUNK, chunk
    try:
        pairs = sorted(pairs) if ordered else pairs
        start = np.array([s for s, _ in pairs], dtype=np.int64)
        end = np.array([s + n for s, n in pairs], dtype=np.int64)
        line = counted(pairs)
        assert intervals.covered(start, end) == line.sum()
        assert intervals.overlap(start, end, low, low + size) == line[low : low + size].sum()
        begins, ends = intervals.union(start, end)
        assert (begins[1:] > ends[:-1]).all()
        assert counted([(int(a), int(b - a)) for a, b in zip(begins, ends, strict=True)]).tolist() == line.tolist()
        lows, highs = intervals.gaps(start, end)
        assert lows.tolist() == ends[:-1].tolist()
        assert highs.tolist() == begins[1:].tolist()
        long = intervals.gaps(start, end, 3)
        assert long[0].tolist() == [a for a, b in zip(lows, highs, strict=True) if b - a >= 3]
    finally:
        intervals.CHUNK = before


def test_nothing() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert intervals.covered(none, none) == 0
    assert len(intervals.union(none, none)[0]) == len(intervals.gaps(none, none)[0]) == 0
