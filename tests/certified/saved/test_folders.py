"""Folders that hold files of others, cannot be read or written, or have names that no file has: one line each, and nothing of others is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from knnscope import ExactIndex
from knnscope.errors import KnnscopeError
from tests.certified.saved.made import check_same, some


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "lock"}


@pytest.mark.parametrize(
    "name",
    [
        "journal-20240101", "segment-000001", "manifest", "lock", ".manifest.abc.part", ".segment-000001.abc.part", "thesis.tex",
    ],
)  # fmt: skip
@pytest.mark.parametrize("data", [b"dear diary", b"kn", b"knnscop\n"])
def test_files_of_others_are_neither_removed_nor_written_over(tmp_path: Path, name: str, data: bytes) -> None:
    """Whatever they are called: what an index wrote begins as it does."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(KnnscopeError, match=rf"not an index, and not empty \('{name}' is there\)"):
        ExactIndex(some(9)).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == data


@pytest.mark.parametrize("kind", ["file", "folder", "link", "pipe"])
def test_names_of_files_that_are_taken_beside_an_index(tmp_path: Path, kind: str) -> None:
    """It is saved to, loaded and written beside them; it takes other numbers."""
    folder, elsewhere = tmp_path / "index", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"knnsjrnl knnscope")
    make: dict[str, Callable[[Path], object]] = {
        "file": lambda path: path.write_bytes(b"dear diary"), "folder": Path.mkdir,
        "link": lambda path: path.symlink_to(elsewhere), "pipe": os.mkfifo,
    }  # fmt: skip
    first, second = ExactIndex(some(30)), ExactIndex(some(400, seed=1))
    first.save(folder)
    taken = ["segment-000002", "segment-000777", "journal-000009", ".segment-000005.abc.part"]
    for name in taken:
        make[kind](folder / name)
    check_same(first, ExactIndex.load(folder), some(3))
    second.save(folder)
    with ExactIndex.load(folder, writable=True) as index:
        for seed in range(3):
            for one in (index, second):
                one.add(some(300, seed=seed))
            index.save()
    check_same(second, ExactIndex.load(folder, verify=True), some(3))
    assert set(taken) <= {path.name for path in folder.iterdir()}
    if kind == "file":
        assert all((folder / name).read_bytes() == b"dear diary" for name in taken)
    assert elsewhere.read_bytes() == b"knnsjrnl knnscope"


def test_a_journal_s_name_that_is_taken(tmp_path: Path) -> None:
    """Journals are numbered one after another, so there is no other name."""
    ExactIndex(some(30)).save(tmp_path)
    (tmp_path / "journal-000002").write_bytes(b"dear diary")
    with ExactIndex.load(tmp_path, writable=True) as index:
        index.add(some(3))
        with pytest.raises(KnnscopeError, match="journal-000002: knnscope did not write it, and would write over it"):
            index.save()
        assert index.add(some(2)).tolist() == [33, 34]
    assert (tmp_path / "journal-000002").read_bytes() == b"dear diary"
    assert len(ExactIndex.load(tmp_path)) == 35
    ExactIndex(some(5)).save(tmp_path)
    assert len(ExactIndex.load(tmp_path)) == 5
    assert (tmp_path / "journal-000002").read_bytes() == b"dear diary"


def test_a_manifest_that_became_another_s_is_not_replaced(tmp_path: Path) -> None:
    ExactIndex(some(30)).save(tmp_path)
    with ExactIndex.load(tmp_path, writable=True) as index:
        index.add(some(3))
        (tmp_path / "manifest").write_bytes(b"my own")
        with pytest.raises(KnnscopeError, match="manifest: knnscope did not write it, and would write over it"):
            index.save()
    assert (tmp_path / "manifest").read_bytes() == b"my own"


STRANGE = ["a" * 300, "x/" * 3000, "a\0b", "\udcff\ud800", "file/below", "file"]


@pytest.mark.parametrize("name", STRANGE, ids=["long", "deep", "NUL", "surrogate", "below a file", "a file"])
def test_names_that_no_folder_has(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"x")
    path = f"{tmp_path}/{name}"
    for work in (
        lambda: ExactIndex.load(path),
        lambda: ExactIndex.load(path, writable=True),
        lambda: ExactIndex(some(9)).save(path),
    ):
        with pytest.raises(KnnscopeError) as error:
            work()
        assert "\n" not in str(error.value)
        str(error.value).encode()
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["manifest", "lock", "journal-000001", "segment-000001"])
def test_a_folder_in_place_of_a_file(tmp_path: Path, name: str) -> None:
    ExactIndex(some(30)).save(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(KnnscopeError) as error:
        ExactIndex.load(tmp_path, writable=True)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


UNPRIVILEGED = """
import os, sys
import numpy as np
from knnscope import ExactIndex
from knnscope.errors import KnnscopeError
folder, mode, own = sys.argv[1], int(sys.argv[2], 8), ExactIndex(np.eye(8, dtype=np.float32))
ExactIndex.load(folder)  # what has to be imported and compiled is
os.chmod(folder, mode)
if not os.getuid():
    os.chown(folder, 65534, 65534)
    os.seteuid(65534)
for work in (lambda: ExactIndex.load(folder), lambda: ExactIndex.load(folder, writable=True), lambda: own.save(folder), lambda: own.save(folder + "/x")):
    try:
        work()
        print("fine")
    except KnnscopeError as error:
        assert "\\n" not in str(error)
        print(error)
"""


@pytest.mark.parametrize("mode", ["000", "300", "400", "500", "600"])
def test_folders_that_may_not_be_read_or_written(tmp_path: Path, mode: str) -> None:
    """In a process of its own, which gives up the rights of root where it has them."""
    tmp_path.chmod(0o755)
    folder = tmp_path / "index"
    ExactIndex(some(30)).save(folder)
    (folder / "journal-000009").write_bytes((folder / "journal-000001").read_bytes())
    for path in folder.iterdir():
        path.chmod(0o666)
    try:
        done = subprocess.run(
            [sys.executable, "-c", UNPRIVILEGED, folder.name, mode],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert sum("permission denied" in line for line in lines) >= 2


@pytest.mark.parametrize("is_replaced", [False, True])
def test_an_index_whose_folder_is_gone(tmp_path: Path, is_replaced: bool) -> None:
    """A change would be acknowledged and lost; a manifest would name segments that are not there."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        ExactIndex(some(30)).save(folder)
    index = ExactIndex.load(one, writable=True)
    index.add(some(3))
    shutil.rmtree(one)
    if is_replaced:
        shutil.copytree(other, one)
    for change in (lambda: index.add(some(3)), index.save):
        with pytest.raises(KnnscopeError, match="one: no longer the folder that this index was loaded from"):
            change()
    assert len(index) == 33
    for folder in (other, one):
        index.save(folder)
        check_same(index, ExactIndex.load(folder, verify=True), some(3))
