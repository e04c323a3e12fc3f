"""Nothing half-written, nothing lost."""

from __future__ import annotations

import errno
import multiprocessing
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from knnscope import progress, store
from knnscope.certified.cpu import code_cache
from knnscope.errors import KnnscopeError
from knnscope.store import VectorCache, home, whole_file, write_json
from tests.processes import LONG


def test_a_file_appears_whole_with_ordinary_rights(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with whole_file(path) as file:
        file.write(b"all of it")
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    assert os.listdir(path.parent) == ["file"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def break_off() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only")]
)
def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(KnnscopeError, match=message):
        write_json(tmp_path / "x.json", {"a": 1})
    assert os.listdir(tmp_path) == []


def test_no_nan_in_records(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert os.listdir(tmp_path) == []


def test_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KNNSCOPE_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home() == tmp_path / "knnscope"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/somewhere")
    assert home() == Path("/somewhere/.cache/knnscope")


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


@pytest.mark.parametrize("how", ["lock", "part", "cache", "open"])
def test_what_others_laid_under_a_name_that_they_can_guess_is_not_followed(tmp_path: Path, how: str) -> None:
    """A home that others can write to: a link to a file of the user's own would be emptied or written to."""
    precious, link = tmp_path / "precious", tmp_path / "there"
    precious.write_text("precious")
    link.symlink_to(precious)
    (tmp_path / "v.open").symlink_to(precious)
    opens: dict[str, Callable[[], object]] = {
        "lock": lambda: store.locked(link).__enter__(),
        "part": lambda: store.open_own(link),
        "cache": lambda: store.VectorCache(link, 4),
        "open": lambda: store.VectorCache(tmp_path / "v.sqlite", 4),
    }
    with pytest.raises(KnnscopeError, match="a link, which is not followed"):
        opens[how]()
    assert precious.read_text() == "precious"


def test_a_lock_keeps_what_is_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("of somebody")
    with store.locked(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == "of somebody"
    with store.locked(tmp_path / "new"):
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    (tmp_path / "fifo").mkdir()
    with pytest.raises(KnnscopeError), store.locked(tmp_path / "fifo"):
        pass


def test_the_home_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, inner in (("a", ""), ("b/c", "downloads/x")):
        monkeypatch.setenv("KNNSCOPE_HOME", str(tmp_path / name))
        store.make_folder(store.home() / inner)
        assert store.home().stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("KNNSCOPE_HOME", str(tmp_path / "d" / "e"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    code_cache.write("x.code", b"what is compiled first")
    assert (tmp_path / "d/e").stat().st_mode & 0o777 == 0o700
    for name in ("a", "b/c"):
        monkeypatch.setenv("KNNSCOPE_HOME", str(tmp_path / name))
        assert store.home().stat().st_mode & 0o777 == 0o700
    there = tmp_path / "there"
    there.mkdir()
    there.chmod(0o755)  # whatever the umask
    monkeypatch.setenv("KNNSCOPE_HOME", str(there))
    store.make_folder(there / "inner")
    assert there.stat().st_mode & 0o777 == 0o755, "a folder that is there stays as it is"


def test_a_write_that_numpy_could_not_end_is_told_in_words() -> None:
    said = str(store.os_problem(OSError("160000 requested and 25568 written"), "rows.npy"))
    assert said.startswith("rows.npy: not all could be written (160000 requested and 25568 written): the disk is full")
