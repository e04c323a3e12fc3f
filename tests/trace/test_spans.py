"""Arithmetic on spans in parts against counting every nanosecond, and columns in less memory against the columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.trace import columns, intervals, reader
from knnscope.trace.explain import explain
from tests.trace import fixtures

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 15)), max_size=25)
CHUNKS = [1, 2, 7, 1 << 17]


@contextmanager
def chunks_of(count: int) -> Iterator[None]:
    before, intervals.CHUNK = intervals.CHUNK, count
    try:
        yield
    finally:
        intervals.CHUNK = before


def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    start = np.array([s for s, _ in pairs], dtype=np.int64)
    return start, start + np.array([n for _, n in pairs], dtype=np.int64)


def line(some: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    found = np.zeros(100, dtype=bool)
    for low, high in zip(*some, strict=True):
        found[low:high] = True
    return found


@pytest.mark.parametrize("chunk", CHUNKS)
@given(one=PAIRS, two=PAIRS, three=PAIRS)
def test_spans_against_counting(chunk: int, one: list, two: list, three: list) -> None:
    with chunks_of(chunk):
        a, b, c = (arrays(pairs) for pairs in (one, two, three))
        together = intervals.spans(a, b, c)
        assert (together[0][1:] > together[1][:-1]).all()
        assert (together[1] > together[0]).all()
        assert line(together).tolist() == (line(a) | line(b) | line(c)).tolist()
        assert intervals.total(intervals.real_parts(a, b, c)) == line(together).sum()
        first, second = intervals.spans(a, c), intervals.spans(b)
        for found, expected in (
            (intervals.common(first, second), line(first) & line(second)),
            (intervals.without(first, second), line(first) & ~line(second)),
            (intervals.without(second, first), line(second) & ~line(first)),
        ):
            assert line(found).tolist() == expected.tolist()
            assert intervals.length(found) == expected.sum()
            assert (found[0][1:] >= found[1][:-1]).all()


@given(pairs=PAIRS, far=st.sampled_from([0, 1 << 31, (1 << 32) + 5]))
def test_packed_spans_are_the_spans(pairs: list, far: int) -> None:
    some = intervals.spans(arrays(pairs))
    start, end = some
    some = np.append(start, 200 + far), np.append(end, 300 + 2 * far)  # a gap and a length that may not fit
    before, intervals.FEW = intervals.FEW, 1
    try:
        packed = intervals.packed(some)
    finally:
        intervals.FEW = before
    assert isinstance(packed, intervals.Packed) == (len(some[0]) > 1 and far <= 1 << 31)
    for was, now in zip(some, intervals.unpacked(packed), strict=True):
        assert was.tolist() == now.tolist()


@given(st.lists(st.integers(0, 1 << 40), max_size=20))
def test_narrow_columns_hold_the_same_numbers(values: list[int]) -> None:
    column = np.array(values, dtype=np.int64)
    found = columns.narrow(column)
    assert found.tolist() == values
    assert found.dtype.kind == "i"
    assert found.shape == column.shape


@pytest.mark.parametrize(("name", "chunk"), [("nsys-cupy-loop", 1000), ("cupti-argsort", 5), ("nsys-graph", 5)])
def test_what_saves_memory_changes_no_finding(
    name: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Durations in place of ends, packed spans, and small parts: as for a trace of a gigabyte."""
    path = fixtures.unpacked(name, tmp_path)
    plain = explain(reader.read(path))
    monkeypatch.setattr(columns, "MANY", 0)
    monkeypatch.setattr(intervals, "FEW", 1)
    monkeypatch.setattr(intervals, "CHUNK", chunk)
    trace = reader.read(path)
    assert trace.kernels.ends.dtype == np.int32
    assert trace.kernels.end.tolist() == plain.trace.kernels.end.tolist()
    assert trace.kernels.duration.dtype == np.int64
    assert json.dumps(explain(trace).to_json()) == json.dumps(plain.to_json())


@given(one=PAIRS, two=PAIRS, edges=st.lists(st.integers(0, 90), max_size=6, unique=True).map(sorted))
def test_the_smaller_of_each_part_against_counting(one: list, two: list, edges: list) -> None:
    first, second = intervals.spans(arrays(one)), intervals.spans(arrays(two))
    bounds = [0, *edges, 100]
    expected = sum(min(line(first)[a:b].sum(), line(second)[a:b].sum()) for a, b in pairwise(bounds))
    assert intervals.least(first, second, np.array(edges, dtype=np.int64)) == expected
