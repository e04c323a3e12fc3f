"""Where things are kept: folders, files that appear whole or not at all, and the cache of encoded texts."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import sqlite3
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from lzma import LZMAError
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from knnscope import progress
from knnscope.errors import KnnscopeError

BAD_HEADER = (ValueError, EOFError, TypeError, SyntaxError, OverflowError, RecursionError, TokenError)
"""What NumPy raises for a damaged .npy file."""
BAD_ZIP = (zipfile.BadZipFile, zlib.error, LZMAError, NotImplementedError, RuntimeError)
"""What ``zipfile`` raises for a damaged file, or one that it cannot unpack."""


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


@contextlib.contextmanager
def whole_file(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """A file that takes its name only when all of it is on disk; on any error nothing is left behind.

    Raises:
        KnnscopeError: the disk is full, or the folder cannot be written.
    """
    make_folder(path.parent)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise os_problem(error, path) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        raise os_problem(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


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


def write_json(path: Path, value: object) -> None:
    """Write a record as indented JSON, whole or not at all; NaN is refused."""
    with whole_file(path, "w") as file:
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


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays of any shape by name as an .npz file, whole or not at all, uncompressed.

    Raises:
        KnnscopeError: another ending, or the file cannot be written.
    """
    if path.suffix != ".npz":
        raise KnnscopeError(f"{path}: file name must end in .npz")
    with whole_file(path) as file:
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


class VectorCache:
    """Vectors by the digest of their text, one SQLite file for each encoder; what is committed survives kill -9.

    The digest of the encoder (weights, tokenizer, recipe, device) names the file, the digest of the text the row, so
    the same text is encoded once however many datasets hold it.
    """

    def __init__(self, path: Path, dim: int) -> None:
        make_folder(path.parent)
        open_own(path).close()  # SQLite itself would follow a link
        self.path = path
        self.dim = dim
        self._db = sqlite3.connect(path, timeout=60, isolation_level=None)
        try:
            with locked(
                path.with_suffix(".open")
            ):  # switching to the write-ahead log does not wait for other processes
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.execute("CREATE TABLE IF NOT EXISTS vectors (digest BLOB PRIMARY KEY, value BLOB NOT NULL)")
        except sqlite3.Error as error:
            self._db.close()
            raise self._problem(error) from error
        except BaseException:  # its lock is refused
            self._db.close()
            raise

    def _problem(self, error: sqlite3.Error) -> KnnscopeError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return KnnscopeError(
                f"{self.path}: the disk is full: free some space, or set KNNSCOPE_HOME to another disk"
            )
        if code == sqlite3.SQLITE_IOERR:
            return KnnscopeError(
                f"{self.path}: cannot be read or written: the disk is full or faulty, or ulimit -f is reached"
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return KnnscopeError(f"{self.path}: the cache is damaged ({error}): delete the file to start it afresh")
        return KnnscopeError(
            f"{self.path}: the cache cannot be used ({error}): is the folder writable, is another process busy with it?"
        )

    @contextlib.contextmanager
    def writing(self, digests: Sequence[bytes]) -> Iterator[None]:
        """Hold these texts for one writer: a second process with the same ones waits, says so, then finds them encoded. Other texts wait for nobody."""
        texts = hashlib.blake2b(b"".join(sorted(digests)), digest_size=7).digest()
        place = int.from_bytes(texts, "little")  # a byte of the file, which need not be there, stands for them
        asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
        with open_own(self.path.with_suffix(".lock")) as lock:
            try:
                fcntl.fcntl(lock, fcntl.F_OFD_SETLK, asked)
            except BlockingIOError:
                progress.say("another process encodes these texts: waiting for it (Ctrl-C ends this one only)")
                fcntl.fcntl(lock, fcntl.F_OFD_SETLKW, asked)
            yield

    def have(self, digests: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """Which of these texts are encoded already: bool, (digests,).

        Raises:
            KnnscopeError: the file cannot be read.
        """
        find = self._db.execute
        try:
            return np.fromiter(
                (find("SELECT 1 FROM vectors WHERE digest = ?", (d,)).fetchone() is not None for d in digests),
                dtype=bool,
                count=len(digests),
            )
        except sqlite3.Error as error:
            raise self._problem(error) from error

    def add(self, digests: Sequence[bytes], values: npt.NDArray[np.float32]) -> None:
        """Commit vectors, (digests, dim), in one transaction: after it they survive any kill.

        Raises:
            KnnscopeError: the disk is full, or the file cannot be written.
            ValueError: another shape.
        """
        rows = np.ascontiguousarray(values, dtype="<f4")
        if rows.shape != (len(digests), self.dim):
            raise ValueError(f"{rows.shape} vectors for {len(digests)} texts of {self.dim} dimensions")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(
                    "INSERT OR IGNORE INTO vectors VALUES (?, ?)",
                    [(d, row.tobytes()) for d, row in zip(digests, rows, strict=True)],
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has rolled it back already
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._problem(error) from error

    def read(self, digests: Sequence[bytes], into: npt.NDArray[np.float32]) -> None:
        """Fill ``into``, shape (len(digests), dim), with the vectors of these texts.

        Raises:
            KnnscopeError: a text is missing, or the file was damaged.
        """
        find = self._db.execute
        try:
            for i, digest in enumerate(digests):
                row = find("SELECT value FROM vectors WHERE digest = ?", (digest,)).fetchone()
                if row is None or len(row[0]) != 4 * self.dim:
                    raise KnnscopeError(
                        f"{self.path}: the cache lost a vector: delete the file and run the command again"
                    )
                into[i] = np.frombuffer(row[0], dtype="<f4")
        except sqlite3.Error as error:
            raise self._problem(error) from error

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM vectors").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()
