"""The cache of encoded texts."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from knnscope import progress
from knnscope.errors import KnnscopeError
from knnscope.store import locked, make_folder, open_own


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
