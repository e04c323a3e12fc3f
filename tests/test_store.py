"""Nothing half-written, nothing lost."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from knnscope import store
from knnscope.certified.cpu import code_cache
from knnscope.encoders.vector_cache import VectorCache
from knnscope.errors import KnnscopeError
from knnscope.store import home, whole_file, write_json


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
        "cache": lambda: VectorCache(link, 4),
        "open": lambda: VectorCache(tmp_path / "v.sqlite", 4),
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
