"""An index that was pickled, copied or forked answers as before, while threads search it."""

from __future__ import annotations

import copy
import fcntl
import multiprocessing
import os
import pickle
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope import ExactIndex
from knnscope.certified.cpu import dispatch
from knnscope.errors import KnnscopeError
from knnscope.records import Neighbors
from tests.certified.saved.made import check_same, counted, same, some


def busy(index: ExactIndex, queries: np.ndarray, expected: Neighbors, stop: threading.Event, wrong: list[int]) -> None:
    while not stop.is_set():
        wrong.append(not same(index.search(queries, 5), expected))


@pytest.fixture
def index() -> Any:
    """With several segments, rows that are gone, an open one; and threads that search it."""
    made = ExactIndex(some(700), threads=2)
    made.add(some(300, seed=1))
    made.add(some(9, seed=2))
    made.remove([4, 800, 1002])
    queries = some(6, seed=3)
    expected, stop, wrong = made.search(queries, 5), threading.Event(), list[int]()
    threads = [threading.Thread(target=busy, args=(made, queries, expected, stop, wrong)) for _ in range(2)]
    for thread in threads:
        thread.start()
    yield made
    stop.set()
    for thread in threads:
        thread.join()
    assert not any(wrong)


@pytest.mark.parametrize("protocol", [2, 5])
def test_pickle(index: ExactIndex, protocol: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = pickle.dumps(index, protocol)
    with index._living.turns.merging():  # what is merged beside writes codes too
        built = counted(monkeypatch)
        found = pickle.loads(kept)
        assert not built
    check_same(index, found, some(6))
    assert index.add(some(1)).tolist() == found.add(some(1)).tolist()
    index.remove([1009])


def test_a_pickle_of_another_processor(index: ExactIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = pickle.dumps(index)
    monkeypatch.setattr(dispatch, "available", lambda: ("portable",))
    assert pickle.loads(kept).isa == "portable"
    check_same(index, pickle.loads(kept), some(6))


def test_pickled_strings() -> None:
    made = ExactIndex(some(300), ids=[f"{n:o}é" for n in range(300)])
    made.remove(["0é", "7é"])
    check_same(made, pickle.loads(pickle.dumps(made)), some(6))


def test_deepcopy_shares_rows_and_codes(index: ExactIndex) -> None:
    for copied in (copy.deepcopy, copy.copy):
        before = index._living.state.parts
        made = copied(index)
        shared = {
            id(part.segment) for part in (*before, *index._living.state.parts)
        }  # which may have been merged meanwhile
        assert {id(part.segment) for part in made._living.state.parts} <= shared
        check_same(index, made, some(6))
        made.add(some(300, seed=8))
        made.remove([5])
        assert 5 in index
        assert len(made) == len(index) + 299
        own = copy.deepcopy(made)
        own.add(some(1, seed=9), ids=[5])
        made.add(some(1, seed=10), ids=[6000])  # behind the same rows, and not in the same place
        np.testing.assert_array_equal(own.get(5), some(1, seed=9)[0])
        np.testing.assert_array_equal(made.get(6000), some(1, seed=10)[0])


def answered(index: ExactIndex, queries: np.ndarray, into: Any) -> None:
    found = index.search(queries, 5)
    into.send((found.ids, found.distances))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes(index: ExactIndex, method: str) -> None:
    context = multiprocessing.get_context(method)
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=answered, args=(index, some(6), there))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads is what is tried
        process.start()
    there.close()
    ids, distances = here.recv()
    process.join()
    here.close()
    expected = index.search(some(6), 5)
    assert (expected.ids == ids).all()
    assert (expected.distances == distances).all()


def test_a_fork_of_a_writer_searches_and_leaves_the_folder_alone(tmp_path: Path) -> None:
    ExactIndex(some(50)).save(tmp_path)
    index = ExactIndex.load(tmp_path, writable=True)
    index.add(some(2))
    if (child := os.fork()) == 0:
        right = same(index.search(some(3), 5), ExactIndex.load(tmp_path).search(some(3), 5))
        for change in (lambda: index.add(some(1)), lambda: index.remove([1]), index.save):
            try:
                change()
                right = False
            except KnnscopeError as error:
                right &= "forked" in str(error)
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    with pytest.raises(KnnscopeError, match="another index writes"):  # the lock is still the parent's
        ExactIndex.load(tmp_path, writable=True)
    index.add(some(2, seed=1))
    assert len(ExactIndex.load(tmp_path)) == 54
    # a child that lives longer keeps no lock
    here, there = os.pipe()
    if (child := os.fork()) == 0:
        os.write(there, b"x")  # what runs after a fork has run
        threading.Event().wait(20)
        os._exit(0)
    try:
        os.read(here, 1)
        index.close()
        with (tmp_path / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(here)
        os.close(there)


def test_an_attached_index_pickles_and_copies_as_one_in_memory(tmp_path: Path) -> None:
    ExactIndex(some(50)).save(tmp_path)
    with ExactIndex.load(tmp_path, writable=True) as index:
        for made in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
            made.add(some(2))
            assert len(made) == 52
        assert len(ExactIndex.load(tmp_path)) == 50
