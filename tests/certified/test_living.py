"""An index that changes: what is added, removed, updated; what is refused; what merging and threads do."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

import knnscope
from knnscope.certified import making, merging
from knnscope.certified.cpu import ending
from knnscope.errors import KnnscopeError
from knnscope.search import definition
from tests import oracle
from tests.certified.living_rows import data, same

METRICS = definition.METRICS


@pytest.mark.parametrize("metric", METRICS)
def test_against_the_independent_checker(metric: str, small_segments: None) -> None:
    rows = data(120, 7)
    index = knnscope.ExactIndex(dim=7, metric=metric)
    for first in range(0, 120, 9):
        index.add(rows[first : first + 9])
    index.remove(np.arange(0, 120, 5))
    left = np.setdiff1d(np.arange(120), np.arange(0, 120, 5))
    found = index.search(rows[:4], 6)
    for number in range(4):
        ids, values = oracle.nearest(rows[left], rows[number], 6, metric)
        assert (found.ids[number].tolist(), found.distances[number].tolist()) == (left[ids].tolist(), values)


def test_rows_that_have_a_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two segments of more than 8,192 rows like text, one of them with rows that are gone, and a few rows at the end."""
    random = np.random.default_rng(0)
    low = random.standard_normal((20_000, 12)) @ random.standard_normal((12, 96))
    rows = (low + 0.05 * random.standard_normal(low.shape)).astype(np.float32)
    monkeypatch.setattr(making, "COARSE", 0)
    index = knnscope.ExactIndex(rows[:10_000])
    monkeypatch.setattr(merging, "due", lambda _: None)
    index.add(rows[10_000:19_990])
    index.add(rows[19_990:])
    gone = random.permutation(20_000)[:2_000]
    index.remove(gone)
    left = np.setdiff1d(np.arange(20_000), gone)
    assert index.ids.tolist() == left.tolist()
    queries = rows[gone[:40]]
    assert "plane" in index.search(queries[0], 10).certificate.path
    for batch in (1, 4, 40):
        same(index, rows[left], queries[:batch], 10)
    proof = index.search(queries, 10).certificate
    assert proof.rows_scanned == 20_000
    assert (np.median(proof.candidates)) < 1000
    values = np.sort(definition.distances(rows[left], queries, "l2"), axis=1)
    for number in range(len(queries)):  # what was not computed is further than the k-th by the margin
        rest = values[number, int(proof.computed[number])]
        assert proof.margin[number] <= np.sqrt(rest) - np.sqrt(values[number, 9]) + 1e-9
    mask = random.random(len(left)) < 0.3
    found = index.search(queries, 10, where=mask)
    expected = definition.search(rows[left[mask]], queries, 10, "l2")
    np.testing.assert_array_equal(found.ids, left[mask][expected.ids])
    index.merge()
    same(index, rows[left], queries, 10)
    assert index.search(queries, 10).certificate.rows_scanned == len(left)


def test_the_example_of_a_life() -> None:
    index = knnscope.ExactIndex(dim=3)
    assert (len(index), index.ids.tolist(), 0 in index, repr(index)[:21]) == (0, [], False, "ExactIndex(0 rows x 3")
    with pytest.raises(KnnscopeError, match="the index holds no rows"):
        index.search(np.ones(3), 1)
    assert index.add(np.eye(3)).tolist() == [0, 1, 2]
    assert index.add([7, 8, 9], ids=20).tolist() == [20]
    assert index.add(np.ones(3)).tolist() == [21], "the next after the largest"
    index.remove(21)
    assert index.add(np.ones(3)).tolist() == [22], "a number is not given twice"
    index.update([1, 20], np.zeros((2, 3)))
    assert index.ids.tolist() == [0, 2, 22, 1, 20]
    assert index.get(20).tolist() == [0, 0, 0]
    assert index.get([22, 0, 22]).tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 1]]
    assert index.get([]).shape == (0, 3)
    assert 20 in index
    assert not any(other in index for other in (21, -1, "20", None, 2**70, [20], 1.5))
    index.remove(index.ids)
    assert len(index) == 0
    assert index.add(np.ones((1, 3))).tolist() == [23]


def test_types_of_later_rows() -> None:
    index = knnscope.ExactIndex(np.eye(3, dtype=np.float32))
    for fits in (np.eye(3, dtype=np.float16), np.eye(3, dtype=np.int8), np.eye(3), [[1, 2, 3]], np.full((1, 3), True)):
        index.add(fits)
    assert index.get(index.ids).dtype == np.float32
    for lost in (np.full((1, 3), 0.1), np.full((2, 3), 2**24 + 1), np.full((1, 3), 1e300)):
        with pytest.raises(
            KnnscopeError, match=r"row 0 has .* in component 0, which float32, the type of the rows that are there"
        ):
            index.add(lost)
    bytes_ = knnscope.ExactIndex(np.eye(3, dtype=np.uint8))
    with pytest.raises(KnnscopeError, match="which uint8"):
        bytes_.add(np.full((1, 3), -1))
    with pytest.raises(KnnscopeError, match=r"rows have shape \(1, 1, 3\)"):
        bytes_.add(np.ones((1, 1, 3)))
    with pytest.raises(KnnscopeError, match="rows have 4 components, those of the index 3"):
        bytes_.add(np.ones((1, 4)))


def test_added_rows_are_copied() -> None:
    for count in (3, 400):
        buffer = data(count)
        index = knnscope.ExactIndex(dim=24)
        index.add(buffer)
        kept = buffer.copy()
        buffer[:] = 0
        same(index, kept, kept[:2], 2)


def test_an_empty_index_needs_its_dimension() -> None:
    for wrong in ({}, {"dim": 3, "ids": [1]}):
        with pytest.raises(KnnscopeError, match=r"ExactIndex\(dim=384\)"):
            knnscope.ExactIndex(**wrong)
    for dim in (0, -1, 2.5, True):
        with pytest.raises(KnnscopeError, match="dim = "):
            knnscope.ExactIndex(dim=dim)
    with pytest.raises(KnnscopeError, match="dim = 4, but the vectors have 3 components"):
        knnscope.ExactIndex(np.eye(3), dim=4)


def test_few_segments_whatever_is_added(small_segments: None) -> None:
    index = knnscope.ExactIndex(dim=4)
    for first in range(0, 4000, 10):
        index.add(np.full((10, 4), first))
    index.wait()
    sizes = [len(part.segment.ids) for part in index._living.state.parts]
    assert sum(sizes) == 4000
    assert len(sizes) <= 7
    index.remove(np.arange(0, 4000, 2))
    index.wait()
    assert sum(len(part.segment.ids) for part in index._living.state.parts) <= 2000 * 17 / 16 + 16


def test_an_error_of_the_background_thread_is_told_once_and_answers_stay(
    small_segments: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, rows = knnscope.ExactIndex(dim=24), data(200)

    def fail(*_: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(making.OnCpu, "joined", staticmethod(fail))
        index.add(rows[:100])
        index.add(rows[100:150])
        deadline = time.monotonic() + 30
        while not index._living.turns._error and time.monotonic() < deadline:
            time.sleep(0.01)
        same(index, rows[:150], rows[:3], 5)
    with pytest.raises(
        KnnscopeError, match=r"in the background failed and will be tried again with the next change; .*no room"
    ):
        index.add(rows[150:])
    assert len(index) == 150
    index.add(rows[150:])
    index.wait()
    same(index, rows, rows[:3], 5)


def test_what_is_removed_while_it_is_merged_stays_removed(
    small_segments: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is added, or updated, meanwhile is there."""
    rows, joined = data(300), making.OnCpu.joined
    index = knnscope.ExactIndex(rows[:100])
    index.add(rows[100:150])
    index.wait()

    def slowly(parts: Any) -> Any:
        made = joined(parts)
        monkeypatch.setattr(making.OnCpu, "joined", staticmethod(joined))
        index.remove([3, 120])
        index.update(7, rows[200])
        index.add(rows[250:253], ids=[900, 901, 902])
        return made

    monkeypatch.setattr(making.OnCpu, "joined", staticmethod(slowly))
    index.add(rows[150:190])
    index.merge()
    index.wait()
    left = [i for i in range(190) if i not in (3, 7, 120)]
    assert index.ids.tolist() == [*left, 7, 900, 901, 902]
    now = np.concatenate([rows[left], rows[200:201], rows[250:253]])
    np.testing.assert_array_equal(index.get(index.ids), now)
    found = index.search(rows[200:202], 4)
    assert found.ids[0, 0] == 7


def test_readers_and_writers_at_once(small_segments: None) -> None:
    """Every answer is that of a state that was: pairs of rows come and go together."""
    index, random, stop, wrong = knnscope.ExactIndex(data(50, 4) + 100), np.random.default_rng(0), threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            found = index.search(np.zeros(4), 40)
            near = found.ids[found.distances < 100].tolist()
            if sorted(near) != sorted({i ^ 1 for i in near}):
                wrong.append(near)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    there: list[int] = []
    for number in range(500, 900, 2):
        index.add(random.standard_normal((2, 4)).astype(np.float32), ids=[number, number + 1])
        there.append(number)
        if len(there) > 15:
            gone = there.pop(int(random.integers(len(there))))
            index.remove([gone, gone + 1])
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong


ENDING = """
import numpy as np, os, sys, warnings
from knnscope import ExactIndex
warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # Python 3.12 and later, of any fork beside threads
rows = np.random.default_rng(0).standard_normal((60_000, 64)).astype(np.float32)
index = ExactIndex(rows)
index.search(rows[5], 1)
for first in range(0, 60_000, 3_000):
    index.add(rows[first : first + 3_000])
if sys.argv[1] == "fork":
    if (child := os.fork()) == 0:
        index.add(rows[:3_000])
        index.wait()
        assert index.search(rows[5], 1).ids[0] == 5
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print("done")
"""


@pytest.mark.parametrize("how", ["exit", "fork"])
def test_a_process_ends_while_segments_are_merged(how: str, child_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDING, how],
        env=child_environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_merging_stops_when_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "_ending", True)
    with pytest.raises(ending.EndingError):
        making.OnCpu.joined([(np.ones((4, 3)), None)])


def test_a_signal_handler_that_interrupts_a_change_is_told_so() -> None:
    index = knnscope.ExactIndex(np.eye(3))
    with index._living.turns.writing(), pytest.raises(KnnscopeError, match="what this signal handler interrupted"):
        index.add(np.ones(3))
    index.add(np.ones(3))
    assert len(index) == 4


def test_before_there_is_compiled_code(monkeypatch: pytest.MonkeyPatch, small_segments: None) -> None:
    """NumPy answers, from segments of every kind."""
    monkeypatch.setattr(making.OnCpu, "_is_compiled", lambda *_: False)
    rows = data(200)
    index = knnscope.ExactIndex(rows[:100])
    index.add(rows[100:103])
    assert "plain" in index.search(rows[0], 3).certificate.path
    index.add(rows[103:])
    index.remove([1, 150])
    left = np.setdiff1d(np.arange(200), [1, 150])
    same(index, rows[left], rows[:3], 5)
