"""Changes one after another in a file, each on disk before the call that made it returns.

    0    "knnsjrnl", version uint32, zero uint32, number uint64, token 16 bytes; CRC-32 of these
    64   the mark: uint64, up to which byte records were acknowledged; CRC-32 of these 8 bytes
    128  records: CRC-32 of what follows, zero uint32, bytes of the change uint64, number of the record uint64, the change (changes.py),
         zeros up to a multiple of 8

A record is written and synced, then the mark is moved behind it, then the call returns. So what is damaged before the mark was acknowledged, and is an error;
what is incomplete behind it was not, and is dropped. The mark itself is synced with the next record: where the system goes down, not only the process,
it may lie one record too low, never too high.
"""

from __future__ import annotations

import os
import struct
import time
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path

from knnscope.certified.cpu.saved import UnfitError
from knnscope.certified.saved import changes
from knnscope.certified.saved.changes import NEXT, Change
from knnscope.certified.saved.files import (
    BEGINS,
    check_free,
    damaged,
    journal_name,
    open_plain,
    read_at,
    write_at,
)
from knnscope.errors import KnnscopeError
from knnscope.store import os_problem, sync_folder, whole_file

MAGIC, VERSION = BEGINS["journal"], 1
FRONT, MARK, RECORD = struct.Struct("<8sIIQ16s"), struct.Struct("<Q"), struct.Struct("<IIQQ")
SUM = struct.Struct("<I")
MARK_AT, BEGIN = 64, 128
TRIES, PAUSE = 20, 0.01
"""A mark that another process moves while it is read is read again, so often, after so many seconds."""


class Journal:
    """The end of a folder's last journal, for its one writer."""

    def __init__(self, path: Path, number: int, count: int, end: int) -> None:
        """Open it to append.

        Args:
            path: of the file.
            number: of the journal.
            count: records in it.
            end: where the last whole one ends; what lies behind is dropped.

        Raises:
            KnnscopeError: it cannot be written.
        """
        self.path, self.number, self.count, self.end = path, number, count, end
        self._handle = open_plain(path, os.O_RDWR)
        self.close = weakref.finalize(self, os.close, self._handle)
        try:
            os.ftruncate(self._handle, end)
            self._acknowledge(end)
            os.fsync(self._handle)
        except OSError as error:
            self.close()
            raise os_problem(error, path) from error

    @classmethod
    def create(cls, folder: Path, number: int, token: str) -> Journal:
        """An empty one, on disk when this returns.

        Raises:
            KnnscopeError: another's file has its name, or it cannot be written.
        """
        path = folder / journal_name(number)
        check_free(path)
        front = FRONT.pack(MAGIC, VERSION, 0, number, bytes.fromhex(token))
        with whole_file(path) as file:
            file.write((front + SUM.pack(zlib.crc32(front))).ljust(MARK_AT, b"\0"))
            file.write(_mark(BEGIN).ljust(BEGIN - MARK_AT, b"\0"))
        try:
            sync_folder(folder)
        except OSError as error:
            raise os_problem(error, path) from error
        return cls(path, number, 0, BEGIN)

    def append(self, change: Change) -> None:
        """Add a change; on disk when this returns.

        Raises:
            OSError: it cannot be written; the file is as before then.
            MemoryError: likewise.
            KnnscopeError: nor can that be.
        """
        pieces = changes.written(change)
        size = sum(memoryview(piece).nbytes for piece in pieces)
        head = struct.pack("<IQQ", 0, size, self.count)
        total = zlib.crc32(head)
        for piece in pieces:
            total = zlib.crc32(piece, total)
        pieces = [SUM.pack(total) + head, *pieces, b"\0" * (-size % 8)]
        at = self.end
        try:
            if size < 1 << 16:
                pieces = [b"".join(pieces)]
            for piece in pieces:
                write_at(self._handle, piece, at)
                at += memoryview(piece).nbytes
            os.fdatasync(self._handle)
            self._acknowledge(at)
        except (OSError, MemoryError):
            self._restore()
            raise
        self.end, self.count = at, self.count + 1

    def _restore(self) -> None:
        """Drop what follows the last record."""
        try:
            os.ftruncate(self._handle, self.end)
            self._acknowledge(self.end)
            os.fsync(self._handle)
        except OSError as error:
            raise os_problem(error, self.path) from error

    def _acknowledge(self, end: int) -> None:
        write_at(self._handle, _mark(end), MARK_AT)


class Found:
    """A journal that is read. end: where its last whole record ends. count: records. goes_on: whether there is a next journal."""

    def __init__(self, folder: Path, number: int, token: str) -> None:
        """Read the front of it.

        Raises:
            MissingFileError: it is not there.
            KnnscopeError: it is another's, or not as it was written.
        """
        self.path = folder / journal_name(number)
        self.end, self.count, self.goes_on = BEGIN, 0, False
        handle = open_plain(self.path)
        try:
            front = read_at(handle, FRONT.size + SUM.size, 0)
            if len(front) < FRONT.size + SUM.size or front[:8] != MAGIC:
                raise damaged(self.path, "it does not begin as journals do")
            if SUM.unpack(front[FRONT.size :])[0] != zlib.crc32(front[: FRONT.size]):
                raise damaged(self.path, "the checksum of its front is wrong")
            _, version, _, own, named = FRONT.unpack(front[: FRONT.size])
            if version != VERSION:
                raise KnnscopeError(
                    f"{self.path}: format {version}, this knnscope reads {VERSION}: use the version that wrote it"
                )
            if own != number or named.hex() != token:
                raise damaged(self.path, "it belongs to another index, or another place in this one")
        except OSError as error:
            raise os_problem(error, self.path) from error
        finally:
            os.close(handle)

    def changes(self, dim: int) -> Iterator[Change]:
        """Whole records, in their order.

        Raises:
            KnnscopeError: one that was acknowledged is not as it was written.
        """
        handle = open_plain(self.path)
        try:
            acknowledged, size = self._acknowledged(handle), os.fstat(handle).st_size
            if size < acknowledged:
                raise damaged(self.path, f"it ends at byte {size:,}, and was acknowledged up to {acknowledged:,}")
            while not self.goes_on:
                record = self._record(handle, size)
                if record is None:
                    break
                try:
                    change = changes.read(record, dim)
                except UnfitError as error:
                    raise damaged(self.path, f"record {self.count - 1:,}: {error}") from error
                self.goes_on = change.what == NEXT
                if not self.goes_on:
                    yield change
            if self.end < acknowledged:
                raise damaged(self.path, f"record {self.count:,} at byte {self.end:,} is not as it was written")
            if self.goes_on and self.end < size:
                raise damaged(self.path, f"bytes follow its last record, from byte {self.end:,} on")
        except OSError as error:
            raise os_problem(error, self.path) from error
        finally:
            os.close(handle)

    def _acknowledged(self, handle: int) -> int:
        for number in range(TRIES):
            mark = read_at(handle, MARK.size + SUM.size, MARK_AT)
            if len(mark) == MARK.size + SUM.size and SUM.unpack(mark[MARK.size :])[0] == zlib.crc32(mark[: MARK.size]):
                end = int(MARK.unpack(mark[: MARK.size])[0])
                if end >= BEGIN:
                    return end
                break
            if number + 1 < TRIES:
                time.sleep(PAUSE)
        raise damaged(self.path, "its mark is not as it was written")

    def _record(self, handle: int, size: int) -> bytes | None:
        """The bytes of the next change; None where there is no whole one."""
        head = read_at(handle, RECORD.size, self.end)
        if len(head) < RECORD.size:
            return None
        total, zero, length, number = RECORD.unpack(head)
        room = size - self.end - RECORD.size
        if zero or number != self.count or length > room:
            return None
        found = read_at(handle, length, self.end + RECORD.size)
        if len(found) < length or zlib.crc32(found, zlib.crc32(head[SUM.size :])) != total:
            return None
        self.end += RECORD.size + -(-length // 8) * 8
        self.count += 1
        return found


def replayed(folder: Path, first: int, token: str, dim: int) -> tuple[list[Change], list[Found]]:
    """All changes from a journal on, and the journals that they are in.

    Raises:
        KnnscopeError: see ``Found``.
    """
    made, found = list[Change](), list[Found]()
    while True:
        one = Found(folder, first + len(found), token)
        found.append(one)
        made.extend(one.changes(dim))
        if not one.goes_on:
            return made, found


def _mark(end: int) -> bytes:
    mark = MARK.pack(end)
    return mark + SUM.pack(zlib.crc32(mark))
