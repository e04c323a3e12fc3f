"""Compiled code on disk: what this version, this compiler and this processor made, or nothing.

A folder for each of them, whose name is a digest of all that the code depends on: so nothing has to be found out of date. A file for
each function and types, which takes its name when it is whole, and holds a digest of its content: what is damaged is compiled anew.
What is read here is run: so the folder has to be the user's own, closed to everybody else, and no link is
followed. Whatever goes wrong here, a search goes on with code that is kept in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from knnscope.certified import forks
from knnscope.certified.cpu import processor
from knnscope.progress import say
from knnscope.store import home, make_home

HEAD = b"knnscope compiled code 1\n"
MOST_BYTES = 1 << 26
"""Of a file: the largest has 0.1 MB."""
PREFIX = "knnscope-"
KEPT = 8
"""Folders of other versions and processors that stay when a new one is made."""
PART = ".part"
INSTRUCTIONS = "instructions"
"""The file of what the compiler may use of this processor, as LLVM said."""
ABANDONED = 3600
"""Seconds after which nobody writes to a part any more."""
IRRELEVANT = ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")


class UnusableError(Exception):
    """The folder is not used; says why."""


def sources() -> dict[str, bytes]:
    """All that is compiled here, file by file, as it stands on disk; none where that cannot be read, in an archive."""
    try:
        return {os.fspath(file): file.read_bytes() for file in sorted(Path(__file__).parents[1].rglob("*.py"))}
    except OSError:
        return {}


SOURCES = sources()
"""Read when the package is imported: the nearest that one gets to what Python itself has read. The compiler takes its texts from here, too."""


def llvm_version() -> str:
    """Of llvmlite, which brings LLVM; without importing it."""
    return metadata.version("llvmlite")


def told_by_llvm() -> str:
    """The processor, where the system does not tell."""
    with forks.held_off():
        from knnscope.certified.cpu.compiler import machine

        return repr(machine.processor())


@cache
def stamp() -> str:
    """A digest of what compiled code depends on.

    Raises:
        UnusableError: the sources cannot be read.
    """
    if not SOURCES:
        raise UnusableError("the package's sources cannot be read")
    steering = sorted((k, v) for k, v in os.environ.items() if k.startswith("NUMBA_") and k not in IRRELEVANT)
    versions = (sys.version, str(sys.implementation.cache_tag), llvm_version())
    parts = (*versions, processor.identity() or told_by_llvm(), repr(steering))
    return hashlib.blake2b(
        b"\0".join(SOURCES.values()) + "\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=16
    ).hexdigest()


def path() -> Path:
    """The folder: in ``NUMBA_CACHE_DIR`` where that is set, else beside the other caches.

    Raises:
        UnusableError: see ``stamp``.
    """
    base = os.environ.get("NUMBA_CACHE_DIR")
    return (Path(base) if base else home() / "compiled") / (PREFIX + stamp())


@contextlib.contextmanager
def _folder(make: bool) -> Iterator[int]:
    """The open folder.

    Raises:
        UnusableError: it is not this user's own.
        OSError: it is not there, or cannot be made.
    """
    where = path()
    if make and not where.is_dir():
        if home() in where.parents:
            make_home()
        os.makedirs(where.parent, mode=0o700, exist_ok=True)
        _prune(where.parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(where, 0o700)
    folder = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        facts = os.fstat(folder)
        if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
            raise UnusableError(f"{where} is open to other users: remove it, or chmod 700 if it is yours")
        yield folder
    finally:
        os.close(folder)


def _prune(base: Path) -> None:
    """Remove the folders that have not been written to for longest."""
    with contextlib.suppress(OSError):
        others = [
            entry for entry in os.scandir(base) if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False)
        ]
        others.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime, reverse=True)
        for entry in others[KEPT - 1 :]:
            shutil.rmtree(entry.path, ignore_errors=True)


def _sweep(folder: int) -> None:
    """Remove what processes that were killed left half."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.endswith(PART) and time.time() - entry.stat(follow_symlinks=False).st_mtime > ABANDONED:
                os.unlink(entry.name, dir_fd=folder)


def read(name: str) -> bytes | None:
    """The content of a file, None where there is none or it is damaged.

    Raises:
        UnusableError: see ``_folder``.
    """
    try:
        with _folder(make=False) as folder:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
            with os.fdopen(file, "rb") as opened:
                facts = os.fstat(opened.fileno())
                if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_size > MOST_BYTES:
                    return None
                data = opened.read(MOST_BYTES)
    except OSError:
        return None
    body = data[len(HEAD) + 32 :]
    return body if data[: len(HEAD) + 32] == HEAD + hashlib.sha256(body).digest() else None


def write(name: str, body: bytes) -> None:
    """Keep a content under a name, whole or not at all.

    Raises:
        UnusableError: see ``_folder``.
        OSError: it cannot be written.
    """
    with _folder(make=True) as folder:
        _sweep(folder)
        part = f".{uuid.uuid4().hex}{PART}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(part, flags, 0o600, dir_fd=folder), "wb") as file:
                file.write(HEAD + hashlib.sha256(body).digest() + body)
            os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=folder)
            raise


def keep(name: str, body: bytes) -> None:
    """Keep what is not there yet, where that can be."""
    with contextlib.suppress(UnusableError, OSError):
        if read(name) is None:
            write(name, body)


def takes() -> bool:
    """Whether something can be kept."""
    try:
        with _folder(make=True) as folder:
            part = f".{uuid.uuid4().hex}{PART}"
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder))
            os.unlink(part, dir_fd=folder)
    except (UnusableError, OSError):
        return False
    return True


def any_kept() -> bool:
    """Whether some compiled code of this version and processor is there."""
    try:
        return path().is_dir() and any(path().iterdir())
    except (UnusableError, OSError):
        return False


@cache
def _notice() -> None:
    """Told once in a process."""


def _say_once(reason: str) -> None:
    if not _notice.cache_info().currsize:
        _notice()
        say(
            f"compiled code is not kept on disk, each process compiles anew: {reason} (NUMBA_CACHE_DIR chooses a folder)"
        )


def read_kept(file: str, head: bytes | None = None) -> bytes | None:
    """What ``Shelf`` wrote, of a certain function and types, or of those that the file's name stands for; None where it is not there."""
    try:
        body = read(file)
    except UnusableError as error:
        _say_once(str(error))
        return None
    found, _, rest = (body or b"").partition(b"\0")
    return rest if body and (found == head or (head is None and file.endswith(f"-{_digest(found)}.code"))) else None


def _digest(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=12).hexdigest()


class Shelf:
    """Machine code of one function on disk, for each of the types that it was compiled for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def save(self, types: str, body: bytes) -> None:
        """Keep what was just compiled."""
        try:
            write(self.file(types), self.head(types) + b"\0" + body)
        except UnusableError as error:
            _say_once(str(error))
        except OSError as error:
            _say_once(f"{error.filename or path()}: {error.strerror or error}")

    def symbol(self, types: str) -> str:
        """The name of the function in the code."""
        return f"knnscope_{_digest(self.head(types))}"

    def head(self, types: str) -> bytes:
        """What it is."""
        return f"{self._name}({types})".encode()

    def file(self, types: str) -> str:
        """The name of its file."""
        short = re.sub(r"\W+", "-", self._name.rpartition(".")[2])
        return f"{short}-{_digest(self.head(types))}.code"
