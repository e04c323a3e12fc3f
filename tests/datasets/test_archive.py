"""Archives that mean harm, and archives that are broken."""

from __future__ import annotations

import errno
import os
import random
import stat
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.datasets.archive import unzip
from knnscope.errors import KnnscopeError


def make(path: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(info, data)
    return path


def test_unpacks_whole(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"set/corpus.jsonl": b"x" * 1000, "set/qrels/test.tsv": b"y"})
    unzip(archive, tmp_path / "out")
    assert (tmp_path / "out/set/corpus.jsonl").read_bytes() == b"x" * 1000
    assert (tmp_path / "out/set/qrels/test.tsv").read_bytes() == b"y"


def test_all_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is there counts as the data set: power lost afterwards must not leave empty files in it."""
    members = {"set/corpus.jsonl": random.Random(0).randbytes(1_500_000), "set/qrels/test.tsv": b"y", "note": b"z"}
    done: list[tuple[str, int]] = []
    sync, rename = os.fsync, os.replace

    def synced(handle: int) -> None:
        done.append((os.readlink(f"/proc/self/fd/{handle}"), os.fstat(handle).st_size))
        sync(handle)

    def renamed(source: Any, target: Any) -> None:
        done.append(("renamed", 0))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    unzip(make(tmp_path / "a.zip", members), tmp_path / "out")
    names = [name for name, _ in done]
    before, after = done[: names.index("renamed")], names[names.index("renamed") + 1 :]
    (temporary,) = {name.removesuffix("/note") for name, _ in before if name.endswith("/note")}
    inside = {os.path.relpath(name, temporary): size for name, size in before}
    assert {name: inside[name] for name in members} == {name: len(data) for name, data in members.items()}
    assert set(inside) - set(members) == {".", "set", "set/qrels"}
    for name in members:  # a folder's names are those of files that are there
        assert list(inside).index(name) < list(inside).index(os.path.dirname(name) or ".")
    assert after == [str(tmp_path)], "the archive may be deleted now: its folder's name is on disk"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> str:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / ".out.x"))

    archive = make(tmp_path / "a.zip", {"a": b"x"})
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(KnnscopeError, match=f"^{tmp_path}: permission denied: choose a folder that you may write to$"):
        unzip(archive, tmp_path / "out")


def test_a_full_disk_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    archive = make(tmp_path / "a.zip", {"a": b"x"})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KnnscopeError, match="the disk is full"):
        unzip(archive, tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"a.zip"}


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "a\\..\\evil", "C:evil"])
def test_no_member_lands_outside(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(KnnscopeError, match="outside its folder"):
        unzip(make(tmp_path / "a.zip", {"fine": b"1", name: b"2"}), inner / "out")
    assert list(inner.iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_no_links(tmp_path: Path) -> None:
    with pytest.raises(KnnscopeError, match="no plain file"):
        unzip(make(tmp_path / "a.zip", {"link": b"/etc/passwd"}, stat.S_IFLNK | 0o777), tmp_path / "out")


def test_no_bombs(tmp_path: Path) -> None:
    with pytest.raises(KnnscopeError, match="over 100 times its size"):
        unzip(make(tmp_path / "a.zip", {"zeros": bytes(10_000_000)}), tmp_path / "out")
    many = make(tmp_path / "b.zip", {f"f{i}": b"" for i in range(10_001)})
    with pytest.raises(KnnscopeError, match="10,001 members"):
        unzip(many, tmp_path / "out")


@given(st.data())
def test_damage_gives_one_line_and_no_folder(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("zip")
    archive = make(folder / "a.zip", {"set/corpus.jsonl": bytes(range(256)) * 8, "q.tsv": b"1\t2\t3\n"})
    raw = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    archive.write_bytes(raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw)
    try:
        unzip(archive, folder / "out")
    except KnnscopeError:
        assert not (folder / "out").exists()
    assert {p.name for p in folder.iterdir()} <= {"a.zip", "out"}


def test_an_archive_that_is_not_what_was_wanted_leaves_no_folder(tmp_path: Path) -> None:
    def wanted(folder: Path) -> None:
        assert (folder / "notes.txt").is_file()
        raise KnnscopeError("no corpus.jsonl")

    with pytest.raises(KnnscopeError, match="no corpus"):
        unzip(make(tmp_path / "a.zip", {"notes.txt": b"x"}), tmp_path / "out", wanted)
    assert {p.name for p in tmp_path.iterdir()} == {"a.zip"}


@pytest.mark.parametrize("members", [{"a": b"x", "a/b": b"y"}, {"a" * 300: b"x"}, {"a/" * 2500 + "b": b"x"}])
def test_members_that_cannot_be_made_are_the_archives_fault(tmp_path: Path, members: dict[str, bytes]) -> None:
    with pytest.raises(KnnscopeError, match=r"a\.zip: a damaged zip file \(.*\): delete it") as caught:
        unzip(make(tmp_path / "a.zip", members), tmp_path / "out")
    assert ".out." not in str(caught.value), "a folder that is gone tells nobody anything"
    assert {p.name for p in tmp_path.iterdir()} == {"a.zip"}


def test_an_archive_of_nothing_is_no_data_set(tmp_path: Path) -> None:
    for members in ({}, {"folder/": b""}):
        with pytest.raises(KnnscopeError, match="holds no file"):
            unzip(make(tmp_path / "a.zip", members), tmp_path / "out")
        assert not (tmp_path / "out").exists()
