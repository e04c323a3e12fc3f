"""Where things are kept: folders, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from lzma import LZMAError
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError

BAD_HEADER = (ValueError, EOFError, TypeError, SyntaxError, OverflowError, RecursionError, TokenError)
"""What NumPy raises for a damaged .npy file."""
BAD_ZIP = (zipfile.BadZipFile, zlib.error, LZMAError, NotImplementedError, RuntimeError)
"""What ``zipfile`` raises for a damaged file, or one that it cannot unpack."""
NAME_PART = 40
"""Characters of a name that the temporary one begins with, so that it is never too long."""
COPIED = 1 << 20
"""Bytes that are copied at once."""
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a file is opened that must not be there yet."""


def home() -> Path:
    """Folder of downloads and caches: ``KNNSCOPE_HOME``, else ``knnscope`` in the user's cache folder."""
    if chosen := os.environ.get("KNNSCOPE_HOME"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "knnscope"


def os_problem(error: OSError, path: object) -> KnnscopeError:
    """An operating system's refusal as one line that says what to do."""
    where = error.filename or path
    advice = {
        errno.ENOSPC: "the disk is full: free some space, or use another disk (KNNSCOPE_HOME moves downloads and cache)",
        errno.EDQUOT: "your disk quota is used up: free some space, or use another disk (KNNSCOPE_HOME moves downloads and cache)",
        errno.EACCES: "permission denied: choose a folder that you may write to",
        errno.EROFS: "the file system is read-only: choose another folder",
        errno.ENOENT: "no such file or folder",
        errno.EEXIST: "this is a file, a folder was expected",
        errno.EISDIR: "this is a folder, a file was expected",
        errno.EFBIG: "the file grows beyond what this process may write (ulimit -f): raise the limit",
        errno.EIO: "the disk cannot be read or written: it may be faulty",
        errno.EMFILE: "too many files are open (ulimit -n): raise the limit",
        errno.ENOTDIR: "a part of this path is a file, a folder was expected",
    }
    if not error.errno and str(error).endswith(" written"):  # NumPy's "160000 requested and 25568 written"
        return KnnscopeError(f"{where}: not all could be written ({error}): the disk is full, or ulimit -f is reached")
    return KnnscopeError(f"{where}: {advice.get(error.errno or 0, error.strerror or str(error))}")


def make_home() -> None:
    """Create ``home``, of this user alone; one that is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    home().mkdir(mode=0o700, parents=True, exist_ok=True)


def make_folder(path: Path) -> Path:
    """Create a folder and its parents.

    Raises:
        KnnscopeError: it cannot be made.
    """
    try:
        if home() in (path, *path.parents):
            make_home()
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise os_problem(error, path) from error
    return path


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """The name of a folder that can be made: who writes into it makes it, so that a process that is killed before leaves none.

    On the way out what is empty of it and its new parents goes again.

    Raises:
        KnnscopeError: it cannot be made.
    """
    whole = path.absolute()
    new = [folder for folder in (whole, *whole.parents) if not folder.exists()]

    def remove() -> None:
        with contextlib.suppress(OSError):  # it holds something, or was not made
            for folder in new:
                folder.rmdir()

    try:
        make_folder(path)
        remove()
        yield path
    finally:
        remove()


def free(path: Path, taken: Callable[[Path], bool] = Path.exists) -> Path:
    """A name that nobody typed, for what was measured: with date and time behind it where something has it, which then stays."""
    if not taken(path):
        return path
    return path.with_name(f"{path.stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}{path.suffix}")


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Refuse to write over a file or folder that is read, by whatever name.

    Raises:
        KnnscopeError: names the file.
    """
    read = {path.resolve() for path in inputs if path is not None}
    for path in outputs:
        if path is not None and path.resolve() in read:
            raise KnnscopeError(f"{path}: this command reads it, and would write over it: choose another output")


def not_ours(path: Path) -> KnnscopeError:
    """What is said of a file that somebody else wrote, where a command would write its own."""
    return KnnscopeError(f"{path}: knnscope did not write it, and would write over it: choose another folder")


def check_file(path: Path) -> None:
    """Refuse a name that the user gave and that ``whole_file`` would refuse, before anything is computed: a file of another name is tried.

    Raises:
        KnnscopeError: nothing can be written there, or see ``is_stream``.
    """
    if is_stream(path, follow=True):
        return
    target = Path(os.path.realpath(path))
    with new_folder(target.parent) as folder:
        make_folder(folder)
        temporary = _temporary(target)
        try:
            os.close(os.open(temporary, NEW, 0o600))
        except OSError as error:
            error.filename = str(path)
            raise os_problem(error, path) from error
        temporary.unlink(missing_ok=True)


def no_file(path: Path) -> KnnscopeError:
    """What is said of an input that is no plain file: not there, a folder, or something that cannot be read twice."""
    if path.is_dir():
        return os_problem(OSError(errno.EISDIR, ""), path)
    if path.exists():
        return KnnscopeError(f"{path}: a pipe or a device, which cannot be read twice: save it as a file")
    if path.is_symlink():
        return KnnscopeError(f"{path}: a link to {os.readlink(path)}, which is not there")
    return KnnscopeError(f"{path}: no such file")


def is_stream(path: Path, *, follow: bool = False) -> bool:
    """Whether what has this name is a pipe or a character device: it is written into, and not replaced.

    Raises:
        KnnscopeError: it is a folder, a socket or a disk, or cannot be looked at.
    """
    try:
        kind = os.stat(path, follow_symlinks=follow).st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise os_problem(error, path) from error
    if stat.S_ISDIR(kind):
        raise os_problem(OSError(errno.EISDIR, ""), path)
    if stat.S_ISSOCK(kind) or stat.S_ISBLK(kind):
        raise KnnscopeError(f"{path}: no plain file, and would be replaced by one: choose another name")
    return stat.S_ISFIFO(kind) or stat.S_ISCHR(kind)


@contextlib.contextmanager
def whole_file(path: Path, mode: str = "wb", *, follow: bool = False) -> Iterator[IO[Any]]:
    """A file that takes its name only when all of it is on disk; on any error nothing is left behind.

    A pipe or a character device stays what it is, and gets its bytes when all are there.

    Args:
        path: its name.
        mode: wb, w+b or w, which is UTF-8.
        follow: where the name is a link, what it leads to is written: for names that the user gave. Else the link is replaced, since others
            may have laid it.

    Raises:
        KnnscopeError: the disk is full, the folder cannot be written, or see ``is_stream``.
    """
    make_folder(path.parent)
    if is_stream(path, follow=follow):
        with _poured(path, mode) as file:
            yield file
        return
    target = Path(os.path.realpath(path)) if follow else path
    temporary = _temporary(target)
    try:
        handle = os.open(temporary, NEW, 0o666)
        try:
            with os.fdopen(handle, mode, encoding=_encoding(mode)) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.filename == str(temporary):  # a name that nobody asked for
            error.filename = str(path)
        raise os_problem(error, path) from error


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name[:NAME_PART]}.{secrets.token_hex(8)}.part")


@contextlib.contextmanager
def _poured(path: Path, mode: str) -> Iterator[IO[Any]]:
    """A file without a name, which is copied into a pipe or a device: formats that end with their beginning can be written there too."""
    try:
        whole = tempfile.TemporaryFile(mode, encoding=_encoding(mode))  # noqa: SIM115 - closed below
    except OSError as error:
        raise no_temporary_folder(error) from error
    try:
        with whole:
            yield whole
            whole.flush()
            with open(whole.fileno(), "rb", closefd=False) as done, path.open("wb") as into:
                done.seek(0)
                shutil.copyfileobj(done, into, COPIED)
    except OSError as error:
        raise os_problem(error, path) from error


def _encoding(mode: str) -> str | None:
    return None if "b" in mode else "utf-8"


def sync_folder(folder: Path) -> None:
    """Names in the folder are on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_own(path: Path, mode: str = "ab") -> IO[bytes]:
    """A file of a predictable name, opened for writing: nothing in it is lost, and a link is not followed, which others may have laid there.

    Raises:
        KnnscopeError: it is a link, or cannot be opened.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise KnnscopeError(f"{path}: not a plain file: remove it, or set KNNSCOPE_HOME to a folder of your own")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise KnnscopeError(
                f"{path}: a link, which is not followed: remove it, or set KNNSCOPE_HOME to a folder of your own"
            ) from error
        raise os_problem(error, path) from error
    return os.fdopen(handle, mode)


def no_temporary_folder(error: OSError) -> KnnscopeError:
    """The error for a system on which nothing temporary can be written."""
    return KnnscopeError(f"no temporary file can be written ({error.strerror}): set TMPDIR to a folder with room")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file; another process waits here until this one is done."""
    make_folder(path.parent)
    with open_own(path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_json(path: Path, value: object, *, follow: bool = False) -> None:
    """Write a record as indented JSON, whole or not at all; NaN is refused. follow: see ``whole_file``."""
    with whole_file(path, "w", follow=follow) as file:
        json.dump(value, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        KnnscopeError: it cannot be read, or is no JSON object.
    """
    try:
        found = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise os_problem(error, path) from error
    except (ValueError, RecursionError) as error:
        raise KnnscopeError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise KnnscopeError(f"{path}: not a JSON object")
    return found


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]], *, follow: bool = False) -> None:
    """Write arrays of any shape by name as an .npz file, whole or not at all, uncompressed. follow: see ``whole_file``.

    Raises:
        KnnscopeError: another ending, or the file cannot be written.
    """
    if path.suffix != ".npz":
        raise KnnscopeError(f"{path}: file name must end in .npz")
    with whole_file(path, follow=follow) as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays that ``write_arrays`` wrote. Neither pickles nor compressed members are read: a small file stays small in memory.

    Raises:
        KnnscopeError: no such file, or a damaged one.
    """
    found = {}
    try:
        with zipfile.ZipFile(path) as bundle:
            for member in bundle.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"{member.filename} is compressed")
                with bundle.open(member) as file:
                    found[member.filename.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise os_problem(error, path) from error
    except (*BAD_HEADER, *BAD_ZIP, MemoryError) as error:
        raise KnnscopeError(f"{path}: no .npz file, or a damaged one ({str(error)[:120]})") from error
    return found
