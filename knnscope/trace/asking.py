"""One question to a trace, by name or as a SELECT, and its answer as rows."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knnscope.errors import KnnscopeError, unknown_name
from knnscope.trace.database import Tables, ask, connect
from knnscope.trace.queries import QUERIES
from knnscope.units import short

SECONDS = 60.0
"""How long a question may take."""
LIMIT = 200
"""Rows where none says how many."""
STOPPED = sqlite3.SQLITE_INTERRUPT
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR)


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """Rows with the names of their columns. more: there were more rows than were asked for."""

    columns: tuple[str, ...]
    lines: tuple[tuple[Any, ...], ...]
    more: bool = False

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.lines)

    def __getitem__(self, row: int) -> tuple[Any, ...]:
        return self.lines[row]

    def rows(self) -> list[dict[str, Any]]:
        """A dict a row; a column's name that stands twice gets a number. Bytes as hexadecimal digits, infinities as None."""
        names = distinct(self.columns)
        return [dict(zip(names, map(json_value, line), strict=True)) for line in self.lines]

    def to_dict(self) -> dict[str, Any]:
        """``columns``, ``rows`` and ``more`` in JSON's own types."""
        return {
            "columns": [*self.columns],
            "rows": [[*map(json_value, line)] for line in self.lines],
            "more": self.more,
        }

    def __repr__(self) -> str:
        more = ", of more" if self.more else ""
        return f"<Answer of {len(self.lines):,} rows{more}: {short(', '.join(map(ascii, self.columns)), 300)}>"


def answer(path: str | Path, question: str, limit: int = LIMIT) -> Answer:
    """At most ``limit`` rows that answer a question; the file is only read.

    Args:
        path: a trace.
        question: a name of ``QUERIES``, or one SELECT.
        limit: rows at most.

    Raises:
        KnnscopeError: no trace, no reading statement, or it takes longer than ``SECONDS``.
    """
    named = QUERIES.get(question)
    words = question.split()
    if named is None and len(words) == 1 and words[0].replace("-", "").isidentifier():
        raise unknown_name("query", question, QUERIES, "(or write a SELECT)")
    with connect(path) as base:
        text = named.build(Tables(base, Path(path))) if named else question
        end = time.monotonic() + SECONDS
        try:
            cursor = ask(base, text, SECONDS)
            found = cursor.fetchmany(limit + 1)
            columns = tuple(str(column[0]) for column in cursor.description)
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == STOPPED and time.monotonic() < end:  # not by the clock: SQLite has swallowed the user's Ctrl-C
                raise KeyboardInterrupt from error
            if code == STOPPED:
                raise KnnscopeError(f"stopped after {SECONDS:g} s: ask for less, with WHERE or fewer joins") from error
            if code == sqlite3.SQLITE_AUTH:
                raise KnnscopeError(f"a trace is only read: write one SELECT ({error})") from error
            if code in DAMAGED or named:
                raise
            raise KnnscopeError(f"SQLite cannot answer this: {error}") from error
    return Answer(columns, tuple(found[:limit]), len(found) > limit)


def check(path: str | Path) -> None:
    """Refuse what is no trace.

    Raises:
        KnnscopeError: says what it is.
    """
    with connect(path) as base:
        Tables(base, Path(path))


def distinct(names: tuple[str, ...]) -> list[str]:
    """The names, none twice: an object has each key once."""
    taken: dict[str, None] = {}
    for name in names:
        number, mine = 1, name
        while mine in taken:
            number += 1
            mine = f"{name}_{number}"
        taken[mine] = None
    return list(taken)


def json_value(cell: Any) -> Any:
    """What JSON can hold: bytes as hexadecimal digits, no infinities."""
    if isinstance(cell, bytes):
        return cell.hex()
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
