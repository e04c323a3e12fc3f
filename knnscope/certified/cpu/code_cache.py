"""Compiled code on disk: what this version, this compiler and this processor made, or nothing.

A folder for each of them, whose name is a digest of all that the code depends on: so nothing has to be found out of date. A file for
each function and types, which takes its name when it is whole, and holds a digest of its content: what is damaged is compiled anew.
Numba's format is a pickle, which runs what it says: so the folder has to be the user's own, closed to everybody else, and no link is
followed. Whatever goes wrong here, a search goes on with code that is kept in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from knnscope.progress import say
from knnscope.store import home, make_home

HEAD = b"knnscope compiled code 1\n"
MOST_BYTES = 1 << 26
"""Of a file: the largest has 0.4 MB."""
PREFIX = "knnscope-"
KEPT = 8
"""Folders of other versions and processors that stay when a new one is made."""
PART = ".part"
ABANDONED = 3600
"""Seconds after which nobody writes to a part any more."""
IRRELEVANT = ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")


class UnusableError(Exception):
    """The folder is not used; says why."""


def sources() -> bytes:
    """All that is compiled here, as it stands on disk; empty where that cannot be read, in an archive."""
    try:
        return b"\0".join(file.read_bytes() for file in sorted(Path(__file__).parents[1].rglob("*.py")))
    except OSError:
        return b""


SOURCES = sources()
"""Read when the package is imported: the nearest that one gets to what Python itself has read."""


@cache
def stamp() -> str:
    """A digest of what compiled code depends on.

    Raises:
        UnusableError: the sources cannot be read.
    """
    if not SOURCES:
        raise UnusableError("the package's sources cannot be read")
    steering = sorted((k, v) for k, v in os.environ.items() if k.startswith("NUMBA_") and k not in IRRELEVANT)
    versions = (sys.version, sys.implementation.cache_tag, numba.__version__, llvmlite.__version__)
    parts = (*versions, repr(cpu_target.target_context.codegen().magic_tuple()), repr(steering))
    return hashlib.blake2b(SOURCES + "\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


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


class CodeCache:
    """What Numba's dispatcher asks for, by the names that it asks by."""

    def __init__(self, function: Any) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"

    @property
    def cache_path(self) -> str:
        """Where files lie; shown in statistics."""
        try:
            return os.fspath(path())
        except UnusableError:
            return ""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Code for these types, None where it is to be compiled."""
        target_context.refresh()
        try:
            body = read(self._file(sig))
            if body is None:
                return None
            kept, payload = pickle.loads(body)  # noqa: S301 - Numba's own format, in a folder of the user's own
            return CompileResult._rebuild(target_context, *payload) if kept == (self._name, str(sig)) else None
        except UnusableError as error:
            _say_once(str(error))
        except Exception:  # whole, and yet nothing that Numba reads: compiled anew
            return None
        return None

    def save_overload(self, sig: Any, made: Any) -> None:
        """Keep code that was just compiled."""
        if made.lifted or made.library.has_dynamic_globals:
            return
        try:
            write(self._file(sig), dumps(((self._name, str(sig)), made._reduce())))
        except UnusableError as error:
            _say_once(str(error))
        except OSError as error:
            _say_once(f"{error.filename or path()}: {error.strerror or error}")

    def enable(self) -> None:
        """Nothing to do: this cache is always on."""

    def disable(self) -> None:
        """Nothing to do, as above."""

    def flush(self) -> None:
        """Nothing to do: when the sources change, the folder's name does."""

    def _file(self, sig: Any) -> str:
        short = re.sub(r"\W+", "-", self._name.rpartition(".")[2])
        return f"{short}-{hashlib.blake2b(f'{self._name}{sig}'.encode(), digest_size=12).hexdigest()}.code"
