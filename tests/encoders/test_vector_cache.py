"""The cache of encoded texts: the same bits again, and nothing lost."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from knnscope import progress
from knnscope.encoders.vector_cache import VectorCache
from knnscope.errors import KnnscopeError
from tests.processes import LONG


def keys(*numbers: int) -> list[bytes]:
    return [n.to_bytes(20, "big") for n in numbers]


def test_cache_gives_back_the_same_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    cache = VectorCache(tmp_path / "c.sqlite", 7)
    cache.add(keys(1, 2, 3, 4, 5), values)
    cache.add(keys(2), values[:1] + 1)  # what is there stays
    assert cache.have(keys(0, 1, 5, 6)).tolist() == [False, True, True, False]
    out = np.empty((2, 7), np.float32)
    cache.read(keys(5, 2), out)
    np.testing.assert_array_equal(out, values[[4, 1]])
    assert len(cache) == 5
    with pytest.raises(KnnscopeError, match="lost a vector"):
        cache.read(keys(9), out)
    cache.close()


def test_a_damaged_cache_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"this is no database, it only has its name" * 100)
    with pytest.raises(KnnscopeError, match="delete the file to start it afresh"):
        VectorCache(tmp_path / "c.sqlite", 7)


def test_a_full_cache_disk_is_one_line_and_keeps_what_was_committed(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "c.sqlite", 100)
    cache.add(keys(1), np.zeros((1, 100), np.float32))
    cache._db.execute("PRAGMA max_page_count = 12")
    with pytest.raises(KnnscopeError, match="the disk is full"):
        cache.add(keys(*range(2, 2000)), np.zeros((1998, 100), np.float32))
    assert len(cache) == 1
    cache.close()


def _hold(path: Path, began: multiprocessing.synchronize.Event, done: multiprocessing.synchronize.Event) -> None:
    cache = VectorCache(path, 3)
    with cache.writing(keys(1, 2)):
        began.set()
        done.wait(LONG)
        cache.add(keys(1), np.ones((1, 3), np.float32))
    cache.close()


@pytest.mark.parametrize(("asked", "waits"), [(keys(1, 2), True), (keys(2, 1), True), (keys(1), False), ([], False)])
def test_a_writer_waits_for_one_of_the_same_texts_only_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[bytes], waits: bool
) -> None:
    """A collection may take hours to encode, and nothing else should wait for it."""
    context = multiprocessing.get_context("spawn")
    began, done = context.Event(), context.Event()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        done.set()

    monkeypatch.setattr(progress, "say", say)
    other = context.Process(target=_hold, args=(tmp_path / "c.sqlite", began, done))
    other.start()
    assert began.wait(LONG)
    cache = VectorCache(tmp_path / "c.sqlite", 3)
    with cache.writing(asked):
        assert len(cache) == waits
    assert len(said) == waits
    cache.close()
    done.set()
    other.join()


def test_the_file_is_plain_sqlite(tmp_path: Path) -> None:
    VectorCache(tmp_path / "c.sqlite", 3).close()
    with sqlite3.connect(tmp_path / "c.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def _open_many(path: Path, count: int) -> None:
    for i in range(count):
        VectorCache(path.with_name(f"{i}.sqlite"), 3).close()


def test_many_processes_may_open_a_new_cache_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=_open_many, args=(tmp_path / "x", 30)) for _ in range(6)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0] * 6


def _fill(folder: Path, limit: int) -> None:
    """In a process of its own: what a limit of file sizes does to the cache."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        cache = VectorCache(folder / "c.sqlite", 100)
        cache.add(keys(*range(2000)), np.zeros((2000, 100), np.float32))
    except KnnscopeError as error:
        (folder / "said").symlink_to(str(error).replace("/", "|"))  # no byte more may be written


@pytest.mark.parametrize("limit", [0, 1000, 60_000])
def test_a_limit_of_file_sizes_is_told_of_as_such(tmp_path: Path, limit: int) -> None:
    process = multiprocessing.get_context("fork").Process(target=_fill, args=(tmp_path, limit))
    process.start()
    process.join()
    assert "the disk is full or faulty, or ulimit -f is reached" in os.readlink(tmp_path / "said")


def test_a_healthy_cache_is_never_advised_to_be_deleted(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "c.sqlite", 3)
    cache._db.execute("PRAGMA query_only = 1")
    with pytest.raises(KnnscopeError, match="is the folder writable") as caught:
        cache.add(keys(1), np.zeros((1, 3), np.float32))
    assert "delete" not in str(caught.value)
    cache.close()
