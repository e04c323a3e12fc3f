"""Files of a folder that may come from anywhere, and that another process may write meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import weakref
from pathlib import Path

from knnscope.errors import KnnscopeError
from knnscope.store import open_own, os_problem

MANIFEST, LOCK = "manifest", "lock"
NUMBERED = re.compile(r"(segment|journal)-([0-9]{6,15})")
PART = re.compile(r"\.(manifest|(segment|journal)-[0-9]{6,15})\.[a-z0-9_]+\.part")
"""What store.whole_file leaves where its process is killed."""
WRITE_BYTES = 1 << 24
"""Bytes that are read, written or summed in one step."""


class MissingFileError(KnnscopeError):
    """A file is not there: damage, or another process has replaced it since the manifest was read."""


def damaged(path: Path, what: str) -> KnnscopeError:
    """The error for a file that is not as it was written."""
    return KnnscopeError(
        f"{path}: {what}: the file is damaged, or not of this index: take it from a copy of the folder"
    )


def segment_name(number: int) -> str:
    """The file of a segment."""
    return f"segment-{number:06}"


def journal_name(number: int) -> str:
    """The file of a journal."""
    return f"journal-{number:06}"


def numbers(folder: Path, what: str) -> set[int]:
    """Of the files of one kind, segment or journal, that are there."""
    found = (NUMBERED.fullmatch(name) for name in os.listdir(folder))
    return {int(match[2]) for match in found if match and match[1] == what}


def strangers(folder: Path) -> list[str]:
    """Names in the folder that no index gives."""
    return sorted(
        name
        for name in os.listdir(folder)
        if name not in (MANIFEST, LOCK) and not NUMBERED.fullmatch(name) and not PART.fullmatch(name)
    )


def open_plain(path: Path, flags: int = os.O_RDONLY) -> int:
    """A plain file's descriptor: no link is followed, and nothing waits for a pipe.

    Raises:
        MissingFileError: it is not there.
        KnnscopeError: it is something else, or cannot be opened.
    """
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file: the index in this folder is damaged, or none") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise KnnscopeError(f"{path}: a link, which is not followed: put the file itself there") from error
        raise os_problem(error, path) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise KnnscopeError(f"{path}: not a plain file: an index consists of plain files")
    return handle


def read_at(handle: int, size: int, offset: int) -> bytes:
    """Up to so many bytes; fewer at the file's end."""
    found = bytearray()
    while len(found) < size:
        some = os.pread(handle, min(size - len(found), 1 << 28), offset + len(found))
        if not some:
            break
        found += some
    return bytes(found)


def write_at(handle: int, data: bytes | memoryview, offset: int) -> None:
    """All of the bytes."""
    left = memoryview(data).cast("B")
    while len(left):
        done = os.pwrite(handle, left, offset)
        left, offset = left[done:], offset + done


class Lock:
    """The right to write to a folder: it ends with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        """Take it.

        Raises:
            KnnscopeError: another index has it.
        """
        file = open_own(folder / LOCK)
        self.release = weakref.finalize(self, file.close)
        """Give it back; in a forked process that closes a copy of the descriptor, and the parent keeps the lock."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise KnnscopeError(
                    f"{folder}: another index writes here: close it or end its process, or load this one without writable=True"
                ) from error
            raise os_problem(error, folder / LOCK) from error


def remove_files(folder: Path, kept: set[str]) -> None:
    """Remove segments, journals and what was half written, but for these."""
    for name in os.listdir(folder):
        if name not in kept and (NUMBERED.fullmatch(name) or PART.fullmatch(name)):
            (folder / name).unlink(missing_ok=True)
