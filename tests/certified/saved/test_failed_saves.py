"""A save that fails at any of its steps: nothing is lost, the next one that works leaves the folder whole, and nothing else in it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope import ExactIndex
from knnscope.certified.saved import folder as folders
from knnscope.certified.saved import manifest, sections
from knnscope.errors import KnnscopeError
from tests.certified.saved.failing import Failure, failing
from tests.certified.saved.made import check_same, some

KINDS: list[dict[str, Any]] = [
    {"error": OSError}, {"error": OSError, "after": True}, {"error": OSError, "stays": True},
    {"error": MemoryError}, {"error": KeyboardInterrupt}, {"error": KeyboardInterrupt, "after": True},
]  # fmt: skip
FAILURES = [pytest.param(how, id=how["error"].__name__ + " ".join(["", *list(how)[1:]])) for how in KINDS]
STRIDES = [3, pytest.param(1, marks=pytest.mark.slow)]
"""Each failure at one step of so many, with another one at the next."""
RAISED = (KnnscopeError, MemoryError, KeyboardInterrupt)
"""What a failed save raises: an error of the system as one line."""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def named(folder: Path) -> list[str]:
    """What the manifest in place needs, once no change follows it."""
    found = manifest.read(folder)
    segments = [f"segment-{entry.number:06}" for entry in found.entries]
    return sorted(["lock", "manifest", f"journal-{found.journal:06}", *segments])


def loaded(folder: Path, writable: bool = False) -> ExactIndex:
    return ExactIndex.load(folder, verify=True, writable=writable, threads=1)


def check_rows(one: ExactIndex, other: ExactIndex) -> None:
    """In their order, none twice."""
    ids = one.ids.tolist()
    assert ids == other.ids.tolist()
    assert len(set(ids)) == len(ids)
    np.testing.assert_array_equal(one.get(ids), other.get(ids))


def fails(save: Callable[[], None], failure: Failure) -> bool:
    """Save; whether the failure was met."""
    with failing(failure) as steps:
        try:
            save()
        except RAISED as error:
            assert steps.struck
            assert "\n" not in str(error)
    return steps.struck


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing is a step that may fail, and takes no time."""
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _: None)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("how", FAILURES)
def test_a_save_of_changes_that_fails_at_any_step(
    tmp_path: Path, small_segments: None, unsynced: None, how: dict[str, Any], stride: int
) -> None:
    """Two new segments, an open one, and rows that are gone. Every other time there are changes before it is tried again."""
    step, struck = KINDS.index(how) % stride, True
    while struck:
        folder = tmp_path / str(step)
        ExactIndex(some(1500, dim=4), threads=1).save(folder)
        index = loaded(folder, writable=True)
        for number, count in enumerate((150, 17, 3)):
            index.add(some(count, dim=4, seed=number))
        index.remove([1, 1501, 1669])
        assert len(index._living.state.parts) == 4
        struck = fails(index.save, Failure(step, **how))
        check_rows(index, loaded(folder))
        try:
            if step % 2:
                index.add(some(2, dim=4, seed=9))
            index.save()
        except KnnscopeError as error:  # it was interrupted within a record: it cannot say what is on disk
            assert "may be there or not" in str(error)
            index.close()
            index = loaded(folder, writable=True)
            index.save()
        check_rows(index, loaded(folder))
        assert names(folder) == named(folder)
        index.close()
        with loaded(folder, writable=True) as again:
            check_rows(index, again)
        assert names(folder) == named(folder)
        step += stride
    assert step > 40


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize("how", FAILURES)
def test_a_save_to_a_folder_that_fails_at_any_step(
    tmp_path: Path, small_segments: None, unsynced: None, how: dict[str, Any], is_new: bool, stride: int
) -> None:
    """The folder holds all of what it held, or all of what is saved."""
    before, after = ExactIndex(some(30, dim=4), threads=1), ExactIndex(some(1500, dim=4, seed=1), threads=1)
    after.add(some(17, dim=4, seed=2))
    step, struck = KINDS.index(how) % stride, True
    while struck:
        folder = tmp_path / str(step)
        if not is_new:
            before.save(folder)
        struck = fails(lambda folder=folder: after.save(folder), Failure(step, **how))  # type: ignore[misc]
        try:
            found = loaded(folder)
            check_rows(found, before if len(found) == 30 and not is_new else after)
        except KnnscopeError as error:
            assert is_new
            assert "no index here" in str(error)
        after.save(folder)
        check_rows(after, loaded(folder))
        assert names(folder) == named(folder)
        step += stride
    assert step > 25


def test_a_save_whose_manifest_failed_is_made_up_for_with_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ExactIndex(some(100)).save(tmp_path)
    index = ExactIndex.load(tmp_path, writable=True)
    index.remove([3])
    with monkeypatch.context() as patch:
        patch.setattr(folders.manifest, "write", full)
        with pytest.raises(KnnscopeError, match="the disk is full"):
            index.save()
    before = (tmp_path / "manifest").read_bytes()
    index.save()
    assert (tmp_path / "manifest").read_bytes() != before
    assert names(tmp_path) == named(tmp_path)


def full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_what_a_save_wrote_before_it_failed_takes_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a full disk would be filled further by each that is tried."""
    ExactIndex(some(3000)).save(tmp_path)
    index = ExactIndex.load(tmp_path, writable=True)
    index.add(some(1100))
    index.add(some(40))
    write = sections.write
    for number in range(3):
        calls = list[Path]()

        def once(path: Path, *more: Any, calls: list[Path] = calls) -> int:
            calls.append(path)
            return write(path, *more) if len(calls) == 1 else full()  # type: ignore[func-returns-value]

        with monkeypatch.context() as patch:
            patch.setattr(sections, "write", once)
            with pytest.raises(KnnscopeError, match="the disk is full"):
                index.save()
        assert len(calls) == 2
        assert [name for name in names(tmp_path) if name.startswith("segment")] == ["segment-000001"], number


def test_a_manifest_that_would_not_be_read_is_not_written(tmp_path: Path) -> None:
    ExactIndex(some(100)).save(tmp_path)
    before, found = (tmp_path / "manifest").read_bytes(), manifest.read(tmp_path)
    for wrong in (
        {"entries": found.entries * 2},
        {"next_file": found.entries[0].number},
        {"journal": manifest.MOST_NUMBER},
        {"next_id": 1 << 63},
    ):
        with pytest.raises(KnnscopeError, match="manifest: not written, since it would not be read"):
            manifest.write(tmp_path, found._replace(**wrong))  # type: ignore[arg-type]
        assert (tmp_path / "manifest").read_bytes() == before


def waited(done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)
    return done()


@pytest.mark.parametrize("beside", [True, False])
def test_a_save_that_failed_in_the_background_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    """With the next change, and not when the journal has grown as much once more. beside: whether there is a thread for it."""
    monkeypatch.setattr(folders, "JOURNALLED", 20_000)
    ExactIndex(some(600)).save(tmp_path)
    index = ExactIndex.load(tmp_path, writable=True)
    monkeypatch.setattr(index._living.maker, "beside", beside)
    with monkeypatch.context() as patch:
        patch.setattr(folders.manifest, "write", full)
        index.add(some(500, seed=1))  # is there, whatever became of the save
        assert waited(lambda: bool(index._living.turns._error))
    assert len(index) == 1100
    check_same(index, ExactIndex.load(tmp_path, verify=True), some(3))
    with pytest.raises(KnnscopeError, match=r"will be tried again with the next change.*the disk is full"):
        index.add(some(1, seed=2))
    assert len(index) == 1100
    index.add(some(1, seed=2))
    assert waited(lambda: names(tmp_path) == named(tmp_path) and manifest.read(tmp_path).journal > 1)
    assert manifest.read(tmp_path).next_id == 1101
    check_same(index, ExactIndex.load(tmp_path, verify=True), some(3))


def test_a_failed_save_that_is_not_due_again_is_not_said_to_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record that goes on to the next journal was neither written nor taken back: the index takes no more changes."""
    monkeypatch.setattr(folders, "JOURNALLED", 20_000)
    ExactIndex(some(600)).save(tmp_path)
    index = ExactIndex.load(tmp_path, writable=True)
    append = folders.Journal.append

    def broken(self: folders.Journal, change: Any) -> None:
        if change is folders.changes.NEXT_ONE:
            raise KnnscopeError("the disk is gone")
        append(self, change)

    monkeypatch.setattr(folders.Journal, "append", broken)
    index.add(some(500, seed=1))
    assert waited(lambda: bool(index._living.turns._error))
    with pytest.raises(KnnscopeError, match="the disk is gone") as error:
        index.add(some(1))
    assert "again" not in str(error.value)
    with pytest.raises(KnnscopeError, match=re.escape("load the index again")):
        index.add(some(1))


def test_no_memory_for_a_change_leaves_the_index_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ExactIndex(some(50)).save(tmp_path)
    index = ExactIndex.load(tmp_path, writable=True)

    def none(*_: Any) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(folders.changes, "written", none)
        with pytest.raises(MemoryError):
            index.add(some(2))
    assert len(index) == 50
    np.testing.assert_array_equal(index.add(some(2)), [50, 51])
    check_same(index, ExactIndex.load(tmp_path), some(3))
