"""What parts of the rows tell each other of the k-th distance is never less than it is, whatever is read when; and that of all rows where all have spoken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.certified.cpu import joint
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.scan import BATCH, LEAST, Part, _taken
from knnscope.certified.cpu.workers import Workers


@compiled()
def heard(said: Any, query: int, out: Any) -> None:
    out[0] = joint.known(said, query)


def known(said: np.ndarray, query: int) -> float:
    out = np.empty(1)
    heard(said, query, out)
    return float(out[0])


def heap(values: np.ndarray, k: int) -> np.ndarray:
    """The k smallest, the largest first: a heap; infinite where there are fewer."""
    return np.sort(np.concatenate([values, np.full(k, np.inf)]))[:k][::-1].copy()


@given(st.data())
def test_it_is_at_least_the_kth_distance_at_any_time(data: st.DataObject) -> None:
    parts, k = data.draw(st.integers(2, 9)), data.draw(st.integers(1, 40))
    random = np.random.default_rng(data.draw(st.integers(0, 9999)))
    said = np.full((parts, 2, joint.distances(parts, k)), np.inf)
    rows = [np.empty(0) for _ in range(parts)]
    spread = random.integers(1, 200, parts)  # parts are not alike
    for _ in range(20):
        part = int(random.integers(parts))
        rows[part] = np.concatenate(
            [rows[part], random.integers(0, spread[part], random.integers(1, 30)).astype(float)]
        )
        joint.say(said, part, 1, heap(rows[part], k))
        every = np.sort(np.concatenate(rows))
        found = known(said, 1)
        assert found >= (every[k - 1] if len(every) >= k else np.inf)
        assert found <= min((np.sort(one)[k - 1] for one in rows if len(one) >= k), default=np.inf), (
            "one part is enough"
        )
    assert known(said, 0) == np.inf, "another query"


@given(st.data())
def test_it_is_at_least_the_kth_distance_whichever_of_its_numbers_are_old(data: st.DataObject) -> None:
    """A reader meets each number of each part as it was at some moment, whatever the others were then."""
    parts, k = data.draw(st.integers(2, 6)), data.draw(st.integers(1, 40))
    random = np.random.default_rng(data.draw(st.integers(0, 9999)))
    said, moments = np.full((parts, 1, joint.distances(parts, k)), np.inf), list[np.ndarray]()
    rows: list[list[float]] = [[] for _ in range(parts)]
    for _ in range(12):
        part = int(random.integers(parts))
        rows[part] += random.integers(0, 50, random.integers(1, k + 3)).astype(float).tolist()
        moments.append(said.copy())
        joint.say(said, part, 0, heap(np.array(rows[part]), k))
    moments.append(said)
    every = sorted(value for some in rows for value in some)
    least = every[k - 1] if len(every) >= k else np.inf
    for _ in range(20):
        met = np.choose(random.integers(len(moments), size=said.shape), moments)
        assert known(met, 0) >= least


@compiled()
def found_out(said: Any, rows: Any, k: int, least: Any, part: int) -> None:
    """One part looks at its rows, says and listens all the time, and keeps the least it heard."""
    uppers = np.full(k, np.inf)
    for i in range(rows.shape[1]):
        if rows[part, i] < uppers[0]:
            uppers[0] = rows[part, i]
            for j in range(1, k):  # the largest on top
                if uppers[j] > uppers[0]:
                    uppers[0], uppers[j] = uppers[j], uppers[0]
        joint.say(said, part, 0, uppers)
        least[part] = min(least[part], joint.known(said, 0))


@pytest.mark.parametrize("k", [1, 2, 10, 17, 100])
def test_parts_that_speak_all_the_time_never_hear_too_little(k: int) -> None:
    random, parts = np.random.default_rng(k), 6
    workers = Workers(4)
    for _ in range(15):
        rows = random.integers(0, 2000, (parts, 400)).astype(float)
        said, least = np.full((parts, 1, joint.distances(parts, k)), np.inf), np.full(parts, np.inf)
        workers.call(found_out, (said, rows, k, least), [(part,) for part in range(parts)])
        every = np.sort(rows.ravel())
        assert least.min() >= every[k - 1]
        assert known(said, 0) <= every[(k if k <= joint.SAID else 2 * k) - 1], "and at last all have heard all"


@pytest.mark.parametrize(("parts", "k", "rank"), [(2, 10, 10), (16, 10, 10), (16, 16, 16), (16, 100, 160), (7, 1, 1)])
def test_it_is_that_of_all_rows_or_near_it(parts: int, k: int, rank: int) -> None:
    random = np.random.default_rng(0)
    rows = random.random((parts, 5000))
    said = np.full((parts, 1, joint.distances(parts, k)), np.inf)
    for part in range(parts):
        joint.say(said, part, 0, heap(rows[part], k))
    every = np.sort(rows.ravel())
    assert every[k - 1] <= known(said, 0) <= every[rank - 1]


@pytest.mark.parametrize(("parts", "k"), [(1, 10), (4, joint.MOST + 1)])
def test_nothing_is_said_where_it_does_not_pay(parts: int, k: int) -> None:
    assert joint.distances(parts, k) == 0
    assert known(np.full((parts, 1, 0), np.inf), 0) == np.inf


@compiled()
def take(taken: Any, part: Any, parts: int, seen: Any, most: Any) -> None:
    """Panels that an item was given, until none is left."""
    first, last = _taken(taken, part, parts)
    while first < last:
        most[part.item] = max(most[part.item], last - first)
        for panel in range(first, last):
            seen[part.group, panel] += 1
        first, last = _taken(taken, part, parts)


@pytest.mark.parametrize("panels", [1, 7, 64, 5000])
@pytest.mark.parametrize("parts", [1, 3, 8])
def test_every_panel_is_taken_once_by_one_thread(panels: int, parts: int) -> None:
    workers = Workers(4)
    for _ in range(20):
        taken, seen = np.zeros((2, 8), np.int64), np.zeros((2, panels), np.int64)
        most = np.zeros(2 * parts, np.int64)
        items = [
            (Part(0, panels, 0, 1, 0, 0, 1, 1.0, 2 * part + group, part, group),)
            for part in range(parts)
            for group in range(2)
        ]
        workers.call(take, (taken,), [(*item, parts, seen, most) for item in items])
        assert (seen == 1).all()
        if parts > 1:
            assert most.max() <= max(LEAST, panels // (2 * parts)), "what a late one is left with is little"
            assert most.max() % BATCH == 0 or most.max() == panels
