"""An index in a folder: written, read, and kept up to date by its one writer.

    manifest        which segments there are, which of their rows are left, and the first journal of changes since
    segment-000001  rows, ids and codes, mapped where they are read
    journal-000002  changes since, in order (journal.py)
    lock            its writer holds it

Files are written under a new name and synced; then the manifest takes their place in one step; then those that it does not name are removed. Before
segments are written, changes go on in a new journal, and the last record of the old one says so; so no writer waits, and whatever has a manifest has all
journals from its first one on.
"""

from __future__ import annotations

import os
import secrets
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from knnscope.certified.cpu.saved import UnfitError
from knnscope.certified.ids import Numbers
from knnscope.certified.living import Living
from knnscope.certified.making import Maker
from knnscope.certified.saved import changes, journal, manifest, sections, segments
from knnscope.certified.saved.changes import Change
from knnscope.certified.saved.files import (
    MANIFEST,
    Lock,
    damaged,
    journal_name,
    numbers,
    open_plain,
    read_at,
    remove_files,
    segment_name,
    strangers,
)
from knnscope.certified.saved.journal import Found, Journal
from knnscope.certified.saved.manifest import Entry, Manifest
from knnscope.certified.state import Part, Segment, State, state_of
from knnscope.errors import KnnscopeError
from knnscope.store import make_folder, os_problem, sync_folder

JOURNALLED = 1 << 26
"""Bytes of a journal from which on segments are written in its place: reading so many back takes 0.1 s."""
SUMMED = ("ids", "strings", "ranks")
"""Arrays that are summed whenever a segment is opened: a wrong id is a wrong answer of its own."""
AGAIN = 10
"""Times that a folder is read which its writer changes meanwhile."""

Files = weakref.WeakKeyDictionary[Segment, Entry]


class How(NamedTuple):
    """Whether files are mapped; whether changes are written to the folder; whether all of it is summed first."""

    mapped: bool
    writable: bool
    verify: bool


def save(living: Living, folder: Path) -> None:
    """Write an index to a folder: a new one, an empty one, or in place of another index.

    Raises:
        KnnscopeError: the folder holds something else, or another writer has it, or it cannot be written.
    """
    keeper = living.keeper
    if isinstance(keeper, Kept) and folder.exists() and folder.samefile(keeper.path):
        living.save()
        return
    make_folder(folder)
    try:
        if not (folder / MANIFEST).exists() and (strange := strangers(folder)):
            raise KnnscopeError(
                f"{folder}: not an index, and not empty ({strange[0][:60]!r} is there): choose a folder of its own"
            )
        lock = Lock(folder)
        try:
            token = secrets.token_hex(16)
            first = max(numbers(folder, "journal"), default=0) + 1
            Journal.create(folder, first, token).close()
            next_file = max(numbers(folder, "segment"), default=0) + 1
            _write_segments(folder, living, Files(), (token, first, next_file))
            with suppress(PermissionError):  # the name of the folder itself
                sync_folder(folder.absolute().parent)
        finally:
            lock.release()
    except OSError as error:
        raise os_problem(error, folder) from error


def load(folder: Path, how: How, maker_of: Callable[[str], Maker]) -> Living:
    """The index in a folder.

    Args:
        folder: as ``save`` wrote it, and changes since.
        how: see ``How``.
        maker_of: who makes rows searchable, for fast or small memory.

    Raises:
        KnnscopeError: there is none, it is damaged, or another writer has it.
    """
    if not (folder / MANIFEST).exists():
        has_part = folder.is_dir() and numbers(folder, "segment")
        why = "saving was not finished" if has_part else "ExactIndex.save writes one"
        raise KnnscopeError(f"{folder}: no index here: {why}")
    if how.writable:
        lock = Lock(folder)
        try:
            return _read(folder, how, maker_of, lock)
        except BaseException:
            lock.release()
            raise
    for _ in range(AGAIN):
        now = _front(folder)
        try:
            return _read(folder, how, maker_of, None)
        except KnnscopeError:
            if _front(folder) == now:  # nobody wrote meanwhile
                raise
    raise KnnscopeError(f"{folder}: another process writes this index faster than it is read: load it again")


def _front(folder: Path) -> bytes:
    """What tells one manifest from another: where it begins, and the sums in it."""
    handle = open_plain(folder / MANIFEST)
    try:
        return read_at(handle, sections.HEAD_AT, 0)
    finally:
        os.close(handle)


class Kept:
    """A folder, for its one writer: a ``Keeper``."""

    def __init__(self, folder: Path, lock: Lock, end: Journal, about: tuple[str, int, Files]) -> None:
        """A folder that was read; ``about``: token, a number for the next segment, and which segments it has."""
        self.path, self._lock, self._journal = folder, lock, end
        self._token, self._next_file, self._files = about
        self._process, self._is_half, self._is_closed = os.getpid(), False, False
        _open.add(self)

    @contextmanager
    def recorded(self, change: Change) -> Iterator[None]:
        """See ``Keeper``."""
        self._refuse()
        self._is_half = True
        try:
            self._journal.append(change)
        except OSError as error:  # and the journal is as before
            self._is_half = False
            raise os_problem(error, self._journal.path) from error
        yield
        self._is_half = False

    def is_due(self) -> bool:
        """See ``Keeper``."""
        is_mine = self._process == os.getpid() and not self._is_closed and not self._is_half
        return is_mine and self._journal.end > JOURNALLED

    def save(self, living: Living) -> None:
        """See ``Keeper``."""
        with living.turns.writing():
            self._refuse()
            if not self._journal.count and all(part.segment in self._files for part in living.state.parts):
                return
            before = self._journal
            try:
                after = Journal.create(self.path, before.number + 1, self._token)
                with self.recorded(changes.NEXT_ONE):
                    self._journal = after
            except OSError as error:
                raise os_problem(error, self.path) from error
            before.close()
            state = living.state
        try:
            about = self._token, after.number, self._next_file
            self._next_file = _write_segments(self.path, living, self._files, about, state)
        except OSError as error:
            raise os_problem(error, self.path) from error

    def close(self) -> None:
        """Let others write to the folder."""
        if not self._is_closed:
            self._is_closed = True
            self._journal.close()
            self._lock.release()

    def _refuse(self) -> None:
        if self._process != os.getpid():
            raise KnnscopeError(
                f"{self.path}: this process was forked from the one that writes here: only that one may change the index"
            )
        if self._is_closed:
            raise KnnscopeError(f"{self.path}: the index is closed: load it again with writable=True to change it")
        if self._is_half:
            raise KnnscopeError(
                f"{self.path}: a change was interrupted while it was written, and may be there or not: load the index again"
            )


_open: weakref.WeakSet[Kept] = weakref.WeakSet()


def _in_child() -> None:
    """A fork keeps neither lock nor journal: the parent's end with the parent."""
    for kept in list(_open):
        kept.close()


os.register_at_fork(after_in_child=_in_child)


def _write_segments(
    folder: Path, living: Living, files: Files, about: tuple[str, int, int], state: State | None = None
) -> int:
    """Write what has no file yet, put a manifest in place, remove the rest; returns a number for the next segment.

    Args:
        folder: the lock of which is held.
        living: the index.
        files: segments that are there, added to.
        about: token, number of the first journal, and a number for the next segment.
        state: what is written (default: that of now).
    """
    token, first, number = about
    state = state or living.state
    dtype = "" if living.dtype is None else np.dtype(living.dtype).newbyteorder("<").str
    for part in state.parts:
        if part.segment not in files:
            meta, arrays = segments.told(part.segment, living.maker)
            mark = sections.write(folder / segment_name(number), "segment", meta, arrays)
            files[part.segment] = Entry(number, mark, len(part.segment.ids), None)
            number += 1
    entries = tuple(files[part.segment]._replace(live=part.live) for part in state.parts)
    kind = state.parts[0].segment.ids.kind if state.parts else ""
    made = Manifest(
        token, living.metric, living.dim, dtype, living.maker.memory, kind, state.next_id, first, number, entries
    )
    manifest.write(folder, made)
    journals = {journal_name(one) for one in numbers(folder, "journal") if one >= first}
    remove_files(folder, {segment_name(entry.number) for entry in entries} | journals)
    return number


def _read(folder: Path, how: How, maker_of: Callable[[str], Maker], lock: Lock | None) -> Living:
    named = manifest.read(folder)
    living, files = Living(maker_of(named.memory), named.metric, named.dim), Files()
    living.dtype = np.dtype(named.dtype) if named.dtype else None
    reader = segments.Reader(living.maker, named.metric, named.dim)
    parts = []
    for entry in named.entries:
        path = folder / segment_name(entry.number)
        found = sections.read(path, "segment", how.mapped)
        if found.mark != entry.mark:
            raise damaged(path, "it is not the one that the manifest names")
        if how.mapped:
            sections.check(found, None if how.verify else {*SUMMED} & found.arrays.keys())
        try:
            parts.append(_part(found, entry, (reader, named, entry is named.entries[-1])))
        except UnfitError as error:
            raise damaged(path, str(error)) from error
        files[parts[-1].segment] = entry
    living.state = state_of(parts, named.next_id)
    done, journals = journal.replayed(folder, named.journal, named.token, named.dim)
    try:
        living.replay(_together(done))
    except KnnscopeError as error:
        raise damaged(journals[-1].path, f"changes that are none of this index ({error})") from error
    reader.say(folder)
    if lock is not None:
        _make_writable(living, folder, lock, (named, files, journals))
    return living


def _part(found: sections.Sections, entry: Entry, about: tuple[segments.Reader, Manifest, bool]) -> Part:
    reader, named, is_last = about
    segment = reader.segment(found.meta, found.arrays)
    if len(segment.ids) != entry.rows or segment.ids.kind != named.ids or segment.rows.dtype.str != named.dtype:
        raise UnfitError("it has other rows than the manifest says")
    if segment.is_open and not is_last:
        raise UnfitError("rows follow those that were added last")
    if isinstance(segment.ids, Numbers) and segment.ids.largest() >= named.next_id:
        raise UnfitError("an id is larger than the manifest says")
    return Part(segment, entry.live, entry.rows if entry.live is None else int(np.count_nonzero(entry.live)))


def _together(done: list[Change]) -> Iterator[Change]:
    """Changes, those that can be made at once as one."""
    run: list[Change] = []
    for change in done:
        if run and not changes.can_join(run[-1], change):
            yield changes.joined(run)
            run = []
        run.append(change)
    if run:
        yield changes.joined(run)


def _make_writable(living: Living, folder: Path, lock: Lock, about: tuple[Manifest, Files, list[Found]]) -> None:
    named, files, journals = about
    last = named.journal + len(journals) - 1
    stay = {journal_name(number) for number in range(named.journal, last + 1)}
    # a later journal was made by a process that was killed before a record said so: nothing in it was acknowledged
    remove_files(folder, stay | {segment_name(entry.number) for entry in named.entries})
    end = Journal(journals[-1].path, last, journals[-1].count, journals[-1].end)
    living.keeper = Kept(folder, lock, end, (named.token, named.next_file, files))
