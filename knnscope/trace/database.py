"""A database that is not trusted: opened for reading only, with bounds on what it may make SQLite do."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from knnscope.errors import KnnscopeError
from knnscope.trace.model import UNKNOWN

HEADER = b"SQLite format 3\x00"
CHUNK = 1 << 15
ROWS = 1 << 27
"""Rows of a table at most."""
ROW = 4
"""Bytes that a row takes in a file at the very least."""
CELL = 1 << 25
"""Bytes of a text that SQLite makes or reads at all."""
SUFFIXED = re.compile(r"(\w+?)_[Vv]\d+")
PREFIXES = (
    "CUPTI_ACTIVITY_KIND_",
    "NVTX_EVENTS",
    "TARGET_INFO_",
    "META_DATA_",
    "CUDA_",
    "OSRT_",
    "SCHED_",
    "ENUM_CUDA_",
    "ENUM_NVTX_",
)
"""How tables of Nsight Systems' exports begin."""
OTHERS = (
    "EXPORT_META_DATA",
    "COMPOSITE_EVENTS",
    "ProcessStreams",
    "PROFILER_OVERHEAD",
    "ThreadNames",
    "ANALYSIS_FILE",
    "DIAGNOSTIC_EVENT",
)
NVPROF = {"CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL", "StringTable", "CUPTI_ACTIVITY_KIND_MARKER_DATA"}
"""Tables that only nvprof and its Visual Profiler write."""
STEPS = 32
"""Steps of SQLite's machine for each byte of the file; reading a real trace takes less than one."""


@contextmanager
def connect(path: str | Path) -> Iterator[sqlite3.Connection]:
    """A trace, open for reading and nothing else.

    Raises:
        KnnscopeError: no file, or no SQLite database.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise KnnscopeError(f"{path}: {'a folder' if path.is_dir() else 'no file'}: a trace (.sqlite) was expected")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(len(HEADER))
    except OSError as error:
        raise KnnscopeError(f"{path}: {error.strerror or error}: a trace (.sqlite) was expected") from error
    if head != HEADER:
        raise KnnscopeError(f"{path}: {_what(path, head)}")
    for ending in ("-wal", "-journal"):
        beside = path.with_name(path.name + ending)
        if beside.exists() and beside.stat().st_size:
            raise KnnscopeError(
                f"{path}: {beside.name} beside it holds changes that are not in the file: close the program that writes it, "
                f'or fold them in with sqlite3 {path.name} "PRAGMA wal_checkpoint(TRUNCATE)"'
            )
    base = sqlite3.connect(f"file:{quote(os.fsencode(path.resolve()))}?mode=ro&immutable=1", uri=True)
    try:
        base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, CELL)
        # pages that lead back to each other are a table without end, and SQLite follows them
        left = iter(range(10 + size * STEPS // 100_000))
        base.set_progress_handler(lambda: next(left, None) is None, 100_000)
        base.execute("PRAGMA query_only = ON")
        base.execute("PRAGMA trusted_schema = OFF")
        base.execute("PRAGMA cell_size_check = ON")
        base.text_factory = lambda raw: raw.decode("utf-8", "replace")
        yield base
    except (sqlite3.Error, OverflowError, UnicodeError) as error:
        raise KnnscopeError(f"{path}: damaged, or no trace ({error}): export it again") from error
    finally:
        base.close()


def _what(path: Path, head: bytes) -> str:
    if path.suffix in (".nsys-rep", ".qdrep", ".qdstrm"):
        return f"a report of Nsight Systems: export it with nsys export --type sqlite {path.name}"
    if not head:
        return "an empty file: the export was cut off, export it again"
    return "no SQLite database: an export of Nsight Systems (--type sqlite) was expected"


class Tables:
    """What tables and columns this trace has."""

    def __init__(self, base: sqlite3.Connection, path: Path) -> None:
        self.base = base
        self.most = min(ROWS, path.stat().st_size // ROW)
        self.columns: dict[str, frozenset[str]] = {}
        """Columns by the table's name; a table of a later version of the schema goes by the name without the version."""
        self.actual: dict[str, str] = {}
        """What the file calls it."""
        # the type that is written there may be a lie, the statement is what SQLite goes by
        found = base.execute("SELECT name, substr(sql, 1, 13) FROM sqlite_master WHERE type = 'table' AND rootpage > 0")
        for name, statement in found.fetchall():
            if isinstance(name, str) and re.fullmatch(r"\w+", name) and str(statement).upper() == "CREATE TABLE ":
                self._add(name)
        self._judge(path)

    def _add(self, name: str) -> None:
        known = SUFFIXED.fullmatch(name)
        called = known[1] if known and known[1].startswith(PREFIXES) else name
        if self.actual.get(called) == called or (
            called in self.actual and called != name and self.actual[called] > name
        ):
            return
        self.actual[called] = name
        self.columns[called] = frozenset(str(row[1]) for row in self.base.execute(f'PRAGMA table_info("{name}")'))

    def _judge(self, path: Path) -> None:
        if self.columns.keys() & NVPROF:
            raise KnnscopeError(
                f"{path}: a database of nvprof, which ended with CUDA 12: record with Nsight Systems (nsys profile)"
            )
        if not any(name.startswith(PREFIXES) or name in OTHERS for name in self.columns):
            raise KnnscopeError(
                f"{path}: a database without any table of a trace: an export of Nsight Systems (--type sqlite) was expected"
            )

    def expected(self, table: str) -> int:
        """About how many rows there are, at once; counting them would follow a tree that leads back into itself."""
        try:
            (last,) = self.base.execute(f'SELECT max(rowid) FROM "{self.actual[table]}"').fetchone()  # noqa: S608
        except sqlite3.OperationalError:  # a table without them
            return 0
        return max(0, min(last, self.most // 4)) if isinstance(last, int) else 0

    def rows(self, table: str, chosen: str) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a table, some at a time.

        Raises:
            sqlite3.DatabaseError: there are more than the file has room for.
        """
        seen = 0
        cursor = self.base.execute(f'SELECT {chosen} FROM "{self.actual[table]}"')  # noqa: S608 - names are checked above
        for chunk in iter(lambda: cursor.fetchmany(CHUNK), []):
            seen += len(chunk)
            if seen > self.most:
                raise sqlite3.DatabaseError(f"more rows in {table} than a file of this size can hold, or than {ROWS:,}")
            yield chunk

    def numbers(self, table: str, wanted: Sequence[str]) -> Iterator[Any]:
        """Columns as int64, some rows at a time; a column that is not there is all ``UNKNOWN``."""
        have = self.columns[table]
        # whatever lies in a cell, a whole number comes out; all else counts as nothing
        chosen = ", ".join(
            f'CASE typeof("{c}") WHEN \'integer\' THEN "{c}" ELSE {UNKNOWN} END' if c in have else str(UNKNOWN)
            for c in wanted
        )
        for chunk in self.rows(table, chosen):
            flat = np.fromiter(chain.from_iterable(chunk), np.int64, len(chunk) * len(wanted))
            yield flat.reshape(len(chunk), len(wanted)).T


ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def ask(base: sqlite3.Connection, question: str, seconds: float) -> sqlite3.Cursor:
    """A cursor over the answer to one reading statement; fetching from it is under the same limits.

    Raises:
        KnnscopeError: it is none, or more than one.
        sqlite3.Error: SQLite does not understand it.
    """

    def judge(action: int, _first: str | None, second: str | None, *_: object) -> int:
        fine = action in ALLOWED and not (action == sqlite3.SQLITE_FUNCTION and str(second).lower() == "load_extension")
        return sqlite3.SQLITE_OK if fine else sqlite3.SQLITE_DENY

    end = time.monotonic() + seconds
    base.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    base.set_authorizer(judge)
    try:
        cursor = base.execute(question)
    except (sqlite3.Warning, sqlite3.ProgrammingError) as error:
        raise KnnscopeError(f"one question at a time: {error}") from error
    if cursor.description is None:
        raise KnnscopeError("write one SELECT: this statement returns no rows")
    return cursor
