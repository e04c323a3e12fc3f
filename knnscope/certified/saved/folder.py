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
    is_own,
    journal_name,
    numbers,
    open_plain,
    read_at,
    remove_files,
    segment_name,
    strangers,
    told,
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


class Files:
    """What a folder has, for its writer.

    token: of the folder. entries: segments that the manifest in place names. first: the first journal that it names; -1 until a save is through. behind:
    bytes of journals from that one up to the last.
    """

    def __init__(self, token: str, following: int) -> None:
        """None yet. following: a number for the next segment."""
        self.entries = weakref.WeakKeyDictionary[Segment, Entry]()
        self.token, self.following, self.first, self.behind = token, following, -1, 0

    def number(self, folder: Path) -> int:
        """One that no file has, nor gets again: what a save has left that failed is never written over."""
        while True:
            self.following += 1
            if not os.path.lexists(folder / segment_name(self.following - 1)):
                return self.following - 1


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
    with told(folder):
        if isinstance(keeper, Kept) and keeper.is_at(folder):
            living.save()
            return
        make_folder(folder)
        if not is_own(folder / MANIFEST) and (strange := strangers(folder)):
            raise KnnscopeError(
                f"{folder}: not an index, and not empty ({strange[0][:60]!r} is there): choose a folder of its own"
            )
        lock = Lock(folder)
        try:
            files = Files(secrets.token_hex(16), max(numbers(folder, "segment"), default=0) + 1)
            first = max(numbers(folder, "journal"), default=0) + 1
            while os.path.lexists(folder / journal_name(first)):  # another's
                first += 1
            Journal.create(folder, first, files.token).close()
            _write_segments(folder, living, files, first, living.state)
            with suppress(PermissionError):  # the name of the folder itself
                sync_folder(folder.absolute().parent)
        finally:
            lock.release()


def load(folder: Path, how: How, maker_of: Callable[[str], Maker]) -> Living:
    """The index in a folder.

    Args:
        folder: as ``save`` wrote it, and changes since.
        how: see ``How``.
        maker_of: who makes rows searchable, for fast or small memory.

    Raises:
        KnnscopeError: there is none, it is damaged, or another writer has it.
    """
    with told(folder):
        return _loaded(folder, how, maker_of)


def _loaded(folder: Path, how: How, maker_of: Callable[[str], Maker]) -> Living:
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

    def __init__(self, folder: Path, lock: Lock, end: Journal, files: Files) -> None:
        """A folder that was read."""
        self.path, self._lock, self._journal, self._files = folder, lock, end, files
        self._process, self._is_half, self._is_closed = os.getpid(), False, False
        _open.add(self)

    def is_at(self, folder: Path) -> bool:
        """Whether it is this folder, by whatever name, and not another in its place."""
        try:
            return self._lock.is_there() and folder.samefile(self.path)
        except FileNotFoundError:
            return False

    @contextmanager
    def recorded(self, change: Change) -> Iterator[None]:
        """See ``Keeper``."""
        self._refuse()
        self._is_half = True
        try:
            self._journal.append(change)
        except (OSError, MemoryError) as error:  # and the journal is as before
            self._is_half = False
            if isinstance(error, OSError):
                raise os_problem(error, self._journal.path) from error
            raise
        yield
        self._is_half = False

    def is_due(self) -> bool:
        """See ``Keeper``."""
        is_mine = self._process == os.getpid() and not self._is_closed and not self._is_half
        return is_mine and self._files.behind + self._journal.end > JOURNALLED

    def save(self, living: Living) -> None:
        """See ``Keeper``."""
        with living.turns.writing():
            self._refuse()
            before, files = self._journal, self._files
            is_known = all(part.segment in files.entries for part in living.state.parts)
            if is_known and not before.count and files.first == before.number:
                return
            with told(self.path):
                after = Journal.create(self.path, before.number + 1, files.token)
                with self.recorded(changes.NEXT_ONE):
                    self._journal = after
            before.close()
            files.behind += before.end
            state = living.state
        with told(self.path):
            _write_segments(self.path, living, files, after.number, state)

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
        if not self._lock.is_there():
            raise KnnscopeError(
                f"{self.path}: no longer the folder that this index was loaded from: save the index to a new folder, by name"
            )
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


def _write_segments(folder: Path, living: Living, files: Files, first: int, state: State) -> None:
    """Write what has no file yet, put a manifest in place, remove the rest.

    Args:
        folder: the lock of which is held.
        living: the index.
        files: what is there, and afterwards what is there then.
        first: number of the first journal of changes since.
        state: what is written.
    """
    made = dict(files.entries)
    begun = list[str]()
    try:
        for segment in (part.segment for part in state.parts if part.segment not in made):
            meta, arrays = segments.told(segment, living.maker)
            number = files.number(folder)
            begun.append(segment_name(number))
            mark = sections.write(folder / begun[-1], "segment", meta, arrays)
            made[segment] = Entry(number, mark, len(segment.ids), None)
    except BaseException:
        with suppress(OSError):  # no manifest names them, and the disk may be full
            for name in begun:
                (folder / name).unlink(missing_ok=True)
        raise
    entries = tuple(made[part.segment]._replace(live=part.live) for part in state.parts)
    kind = state.parts[0].segment.ids.kind if state.parts else ""
    dtype = "" if living.dtype is None else np.dtype(living.dtype).newbyteorder("<").str
    about = living.metric, living.dim, dtype, living.maker.memory, kind, state.next_id
    manifest.write(folder, Manifest(files.token, *about, first, files.following, entries))
    files.entries = weakref.WeakKeyDictionary({part.segment: made[part.segment] for part in state.parts})
    files.behind = 0
    journals = {journal_name(one) for one in numbers(folder, "journal", by_name=True) if one >= first}
    remove_files(folder, {segment_name(entry.number) for entry in entries} | journals)
    files.first = first


def _read(folder: Path, how: How, maker_of: Callable[[str], Maker], lock: Lock | None) -> Living:
    named = manifest.read(folder)
    living = Living(maker_of(named.memory), named.metric, named.dim)
    entries = list[tuple[Segment, Entry]]()
    living.dtype = np.dtype(named.dtype) if named.dtype else None
    reader = segments.Reader(living.maker, named.metric, named.dim)
    parts = []
    for entry in named.entries:
        path = folder / segment_name(entry.number)
        found = sections.read(path, "segment", how.mapped, lambda _: segments.NAMES)
        if found.mark != entry.mark:
            raise damaged(path, "it is not the one that the manifest names")
        if how.mapped:
            sections.check(found, None if how.verify else {*SUMMED} & found.arrays.keys())
        try:
            parts.append(_part(found, entry, (reader, named, entry is named.entries[-1])))
        except UnfitError as error:
            raise damaged(path, str(error)) from error
        entries.append((parts[-1].segment, entry))
    living.state = state_of(parts, named.next_id)
    done, journals = journal.replayed(folder, named.journal, named.token, named.dim)
    try:
        living.replay(_together(done))
    except KnnscopeError as error:
        raise damaged(journals[-1].path, f"changes that are none of this index ({error})") from error
    reader.say(folder)
    if lock is not None:
        files = Files(named.token, named.next_file)
        files.entries.update(entries)
        living.keeper = _kept(folder, lock, files, (named, journals))
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


def _kept(folder: Path, lock: Lock, files: Files, found: tuple[Manifest, list[Found]]) -> Kept:
    named, journals = found
    last = named.journal + len(journals) - 1
    stay = {journal_name(number) for number in range(named.journal, last + 1)}
    # a later journal was made by a process that was killed before a record said so: nothing in it was acknowledged
    remove_files(folder, stay | {segment_name(entry.number) for entry in named.entries})
    files.first, files.behind = named.journal, sum(one.end for one in journals[:-1])
    return Kept(folder, lock, Journal(journals[-1].path, last, journals[-1].count, journals[-1].end), files)
