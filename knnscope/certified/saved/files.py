"""Files of a folder that may come from anywhere, and that another process may write meanwhile."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from knnscope.checks import check_named
from knnscope.errors import KnnscopeError
from knnscope.store import not_ours, open_own, os_problem

MANIFEST, LOCK = "manifest", "lock"
BEGINS = {"manifest": b"knnscope", "segment": b"knnscope", "journal": b"knnsjrnl"}
"""The first bytes of each kind of file."""
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


def is_own(path: Path) -> bool:
    """Whether an index wrote this file: it has such a name, and begins as such files do; while it is half written it may begin with zeros.

    Raises:
        OSError: it cannot be opened, for a reason that is not the file's.
    """
    numbered, part = NUMBERED.fullmatch(path.name), PART.fullmatch(path.name)
    kind = numbered[1] if numbered else (part[2] or MANIFEST) if part else path.name
    if kind not in (*BEGINS, LOCK):
        return False
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (
            errno.ELOOP,
            errno.ENOENT,
            errno.ENXIO,
            errno.EACCES,
        ):  # a link, nothing, a socket, somebody else's
            return False
        raise
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return False
        front = os.pread(handle, 8, 0)
    finally:
        os.close(handle)
    if kind == LOCK:
        return not front
    return front == BEGINS[kind] or (part is not None and not front.strip(b"\0"))


def check_free(path: Path) -> None:
    """Refuse to write over a file that no index wrote.

    Raises:
        KnnscopeError: names it.
    """
    if os.path.lexists(path) and not is_own(path):
        raise not_ours(path)


def numbers(folder: Path, what: str, by_name: bool = False) -> set[int]:
    """Of the files of one kind, segment or journal, that are there and that an index wrote; by_name: or that are only called so."""
    found = (NUMBERED.fullmatch(name) for name in os.listdir(folder))
    return {int(match[2]) for match in found if match and match[1] == what and (by_name or is_own(folder / match[0]))}


def strangers(folder: Path) -> list[str]:
    """Names in the folder of what no index wrote."""
    return sorted(name for name in os.listdir(folder) if not is_own(folder / name))


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
        self._path, self._file = folder / LOCK, os.fstat(file.fileno())
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

    def is_there(self) -> bool:
        """Whether the folder still has it: neither was removed, nor put in place anew."""
        try:
            return os.path.samestat(os.stat(self._path, follow_symlinks=False), self._file)
        except OSError:
            return False


def remove_files(folder: Path, kept: set[str]) -> None:
    """Remove segments, journals and what was half written, but for these."""
    for name in os.listdir(folder):
        if name not in {MANIFEST, LOCK, *kept} and is_own(folder / name):
            (folder / name).unlink(missing_ok=True)


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Errors of the system, and too little memory, as one line.

    Raises:
        KnnscopeError: either.
    """
    try:
        yield
    except OSError as error:
        raise os_problem(error, folder) from error
    except MemoryError as error:
        raise KnnscopeError(f"{folder}: there is not enough memory for what it holds") from error


def folder_of(name: str | os.PathLike[str]) -> Path:
    """The folder of this name.

    Raises:
        KnnscopeError: it is empty, or no file can have it.
    """
    check_named(name, "the name of the folder")
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:
        raw = b"\0"
    if b"\0" in raw:
        raise KnnscopeError(f"{os.fspath(name)!a}: no folder can be called so: choose another name")
    return Path(name)
