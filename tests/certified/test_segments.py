"""Several segments: what is found in one is known in the next, and changes no answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.certified import living, making, merging, tail
from knnscope.certified.cpu import dispatch
from knnscope.certified.cpu import search as searches
from knnscope.certified.cpu.scanner import CpuScanner
from knnscope.certified.index import ExactIndex
from knnscope.certified.scanner import Ranked, Request
from knnscope.search import definition
from tests.certified.answers import SHAPES
from tests.certified.cpu.planes import planes_for_all

ISAS = [isa for isa in dispatch.available() if isa != "amx"]
METRICS = definition.METRICS
RANDOM = np.random.default_rng


def drawn(data: st.DataObject, count: int, asked: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and queries: with ties and duplicates, of all lengths, or near each other."""
    random, dim = RANDOM(data.draw(st.integers(0, 9999))), data.draw(st.sampled_from((32, 33, 64)))
    both = SHAPES[data.draw(st.sampled_from(sorted(SHAPES)))](random, count + asked, dim).astype(np.float32)
    if data.draw(st.booleans()):
        both = both[random.integers(0, min(20, len(both)), len(both))]
    return both[:count], both[count:]


def small_parts(patch: pytest.MonkeyPatch, data: st.DataObject) -> None:
    """Few rows go the ways that many do."""
    planes_for_all(patch)
    patch.setattr(searches, "FEWEST_BLOCKS", 1)
    patch.setattr(searches, "WHOLE", data.draw(st.sampled_from((0, 1 << 24))))
    patch.setattr(searches, "PASS", data.draw(st.integers(1, 4)))
    if data.draw(st.booleans()):  # lists that run full
        patch.setattr(searches, "LEAST_ROOM", data.draw(st.sampled_from((8, 16, 40))))
        patch.setattr(dispatch, "room", lambda _: 0.0)


def in_order(values: np.ndarray, metric: str) -> np.ndarray:
    """Rows of one query by key, then number."""
    return np.lexsort((np.arange(len(values)), values if metric == "l2" else -values))


def check_margin(margin: float, last: float, others: np.ndarray, metric: str) -> None:
    """Rows that were left out, the nearest of ``others`` at best, are further than a value by a margin."""
    if len(others):
        rest = float(others.min() if metric == "l2" else others.max())
        gap = np.sqrt(rest) - np.sqrt(last) if metric == "l2" else last - rest
        assert margin <= gap + 1e-9 * (1 + abs(rest))
    assert margin >= 0


@given(st.data())
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("isa", ISAS)
def test_a_key_that_is_known_leaves_out_what_is_beyond_it_and_no_more(isa: str, data: st.DataObject) -> None:
    """Whatever is known, and of each query something else: the rows that are not beyond it are answered as ever."""
    count, asked = data.draw(st.integers(40, 140)), data.draw(st.sampled_from((1, 2, 5, 9, 23)))
    metric, random = data.draw(st.sampled_from(METRICS)), RANDOM(data.draw(st.integers(0, 9999)))
    rows, queries = drawn(data, count, asked)
    k, masks = data.draw(st.integers(1, count)), data.draw(st.sampled_from((0, 1, asked)))
    allowed = random.random((masks, count)) < 0.5
    values = definition.distances(rows, queries, metric)
    keys = values if metric == "l2" else -values
    # a row's own key, which ties; one between rows; one that leaves no row; none
    known = keys[np.arange(asked), random.integers(0, count, asked)]
    known = np.where(random.random(asked) < 0.3, known + abs(known) * 1e-3, known)
    known = np.where(random.random(asked) < 0.2, keys.min(axis=1) / 2 - (metric != "l2"), known)
    known = np.where(random.random(asked) < 0.2, np.inf, known)
    with pytest.MonkeyPatch.context() as patch:
        small_parts(patch, data)
        memory = data.draw(st.sampled_from(("fast", "small")))
        scanner = CpuScanner(isa, data.draw(st.integers(1, 3)), memory).build(rows, np.empty(0, np.int64), metric)
        for _ in range(2):  # what is laid out once is used again
            found = scanner.nearest(Request(queries.astype(np.float64), k, allowed, known))
            for number in range(asked):
                mask = allowed[min(number, masks - 1)] if masks else np.ones(count, np.bool_)
                _check(found, number, values[number], mask, (k, float(known[number]), metric))


@pytest.mark.parametrize("memory", ["fast", "small"])
@pytest.mark.parametrize("known", [None, 4.0, np.inf])
def test_nothing_that_threads_told_each_other_is_left_for_the_next_search(
    monkeypatch: pytest.MonkeyPatch, known: float | None, memory: str
) -> None:
    """A query in a crowd, then one far from all: what was near for the one would leave the other without rows, and the plane without an answer."""
    planes_for_all(monkeypatch)
    monkeypatch.setattr(searches, "FEWEST_BLOCKS", 1)
    random, k = RANDOM(9), 10
    rows = random.standard_normal((4000, 64)).astype(np.float32)
    rows[::2] *= np.float32(0.01)
    scanner = CpuScanner(ISAS[0], 4, memory).build(rows, np.empty(0, np.int64), "l2")
    for query in (rows[:1], rows[1:2] * np.float32(1.5)) * 3:
        expected = definition.search(rows, query, k, "l2")
        given = () if known is None else (expected.distances[:, -1] * known,)
        found = scanner.nearest(Request(query.astype(np.float64), k, np.empty((0, len(rows)), np.bool_), *given))
        np.testing.assert_array_equal(found.ids, expected.ids)
        assert found.path == ("plane",)


def _check(found: Ranked, number: int, values: np.ndarray, mask: np.ndarray, asked: tuple[int, float, str]) -> None:
    """One query's answer against all values."""
    k, known, metric = asked
    sign = 1 if metric == "l2" else -1
    expected = [row for row in in_order(values, metric) if mask[row]][:k]
    near = [int(row) for row in expected if sign * values[row] <= known]
    ids = found.ids[number].tolist()
    assert ids[: len(near)] == near
    more = [row for row in ids if row >= 0]
    assert ids == more + [-1] * (k - len(more))
    assert more == [row for row in in_order(values, metric) if row in set(more)], "what is beyond is in order"
    assert all(mask[row] for row in more)
    assert found.distances[number].tolist() == [*values[more].tolist(), *[sign * np.inf] * (k - len(more))]
    last = min(known, sign * float(found.distances[number, -1])) * sign
    left = values[mask][np.argsort(sign * values[mask])][int(found.computed[number]) :]
    if abs(last) < np.inf:
        check_margin(float(found.margin[number]), last, left, metric)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_segments_answer_as_one(data: st.DataObject) -> None:
    """Segments of any size, some of their rows gone, rows that stand in several; filters; numbers and strings."""
    sizes = data.draw(st.lists(st.sampled_from((3, 40, 60, 130)), min_size=2, max_size=4))
    count, asked = sum(sizes), data.draw(st.sampled_from((1, 3, 5, 23)))
    metric, random = data.draw(st.sampled_from(METRICS)), RANDOM(data.draw(st.integers(0, 9999)))
    rows, queries = drawn(data, count, asked)
    numbers = random.permutation(1000)[:count]
    names: list[Any] = [f"{n:03}" for n in numbers] if data.draw(st.booleans()) else numbers.tolist()
    with pytest.MonkeyPatch.context() as patch:
        small_parts(patch, data)
        patch.setattr(making, "COARSE", 0)
        patch.setattr(merging, "due", lambda _: None)
        for module in (living, tail):
            patch.setattr(module, "SEAL", 16)
        memory = data.draw(st.sampled_from(("fast", "small")))
        index = ExactIndex(dim=rows.shape[1], metric=metric, threads=data.draw(st.integers(1, 3)), memory=memory)
        for first, size in zip(np.cumsum([0, *sizes]).tolist(), sizes, strict=False):
            index.add(rows[first : first + size], ids=names[first : first + size])
        gone = random.random(count) < data.draw(st.sampled_from((0.0, 0.1, 0.9)))
        gone[random.integers(count)] = False
        index.remove([name for name, is_gone in zip(names, gone, strict=True) if is_gone])
        left = np.flatnonzero(~gone)
        k = min(data.draw(st.integers(1, 10) | st.integers(1, count)), len(left))
        share = data.draw(st.sampled_from((1.0, 0.5, 0.1)))
        where = random.random((asked, len(left)) if data.draw(st.booleans()) else len(left)) < share
        found = index.search(queries, k, None if share == 1 else where)
    assert len(index._living.state.parts) <= len(sizes)
    proof, values, sign = found.certificate, definition.distances(rows, queries, metric), 1 if metric == "l2" else -1
    assert proof is not None
    for number in range(asked):
        mask = np.ones(len(left), np.bool_) if share == 1 else where if where.ndim == 1 else where[number]
        own = left[mask]
        best = sorted(own.tolist(), key=lambda row: (sign * values[number, row], names[row]))
        short, none = k - len(best[:k]), "" if isinstance(names[0], str) else -1
        assert found.ids[number].tolist() == [names[row] for row in best[:k]] + [none] * short
        assert found.distances[number].tolist() == [*values[number, best[:k]].tolist(), *[sign * np.inf] * short]
        if not short:
            others = values[number, best[int(proof.computed[number]) :]]
            check_margin(float(proof.margin[number]), float(found.distances[number, -1]), others, metric)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("memory", ["fast", "small"])
def test_neighbors_that_alternate_between_segments(monkeypatch: pytest.MonkeyPatch, memory: str, threads: int) -> None:
    """So that each segment has the k-th neighbor for some k, and what the others know leaves it."""
    planes_for_all(monkeypatch)
    for name, value in (("FEWEST_BLOCKS", 1), ("SHARED", 1)):
        monkeypatch.setattr(searches, name, value)
    monkeypatch.setattr(making, "COARSE", 0)
    monkeypatch.setattr(merging, "due", lambda _: None)
    numbers = np.arange(900)
    rows = np.zeros((900, 64), np.float32)
    rows[numbers, numbers % 64] = 1 + numbers
    index = ExactIndex(dim=64, threads=threads, memory=memory)
    for part in range(3):
        index.add(rows[part::3], ids=numbers[part::3])
    assert len(index._living.state.parts) == 3
    queries = np.zeros((40, 64), np.float32)
    for k in (1, 2, 3, 4, 5, 12, 30):
        for batch in (1, 3, 40):
            found = index.search(queries[:batch], k)
            assert found.ids.tolist() == [list(range(k))] * batch
            assert found.certificate is not None
            assert found.certificate.path == ("plane",)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("memory", ["fast", "small"])
@pytest.mark.parametrize("metric", METRICS)
def test_rows_further_than_what_is_known_are_not_computed(
    monkeypatch: pytest.MonkeyPatch, metric: str, memory: str, threads: int
) -> None:
    """A second segment on the other side of the origin."""
    planes_for_all(monkeypatch)
    for name, value in (("FEWEST_BLOCKS", 1), ("SHARED", 1)):
        monkeypatch.setattr(searches, name, value)
    monkeypatch.setattr(making, "COARSE", 0)
    monkeypatch.setattr(merging, "due", lambda _: None)
    random = RANDOM(1)
    rows = (random.standard_normal((3000, 64)) * np.arange(1, 65) ** -0.8 + 2).astype(np.float32)
    queries = rows[:40] + np.float32(0.01)
    index = ExactIndex(rows, metric, threads=threads, memory=memory)
    alone = [index.search(queries[:batch], 5) for batch in (1, 3, 40)]
    index.add(-rows[:1000])
    second = index._living.state.parts[1].segment
    computed, scanner = list[int](), second.scanner

    class Told:
        """The second segment's scanner, which tells how many rows it computed: of the first one that depends on which thread was sooner."""

        def nearest(self, request: Request, threads: int | None = None) -> Ranked:
            answer: Ranked = scanner.nearest(request, threads)
            computed.extend(answer.computed.tolist())
            return answer

    second._scanner = Told()
    for batch, one in zip((1, 3, 40), alone, strict=True):
        found = index.search(queries[:batch], 5)
        assert found.ids.tolist() == one.ids.tolist()
        assert found.certificate is not None
        assert one.certificate is not None
        assert found.certificate.path == ("plane",)
        assert (found.certificate.margin > 0).all(), "rows are left out, by more than nothing"
    assert computed == [0] * (1 + 3 + 40)
