"""knnscope sql."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from knnscope.cli.notes import notes
from knnscope.cli.options import positive
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.report.text import plain, table
from knnscope.trace.database import Tables, ask, connect
from knnscope.trace.queries import QUERIES

SECONDS = 60.0
CELL = 100
"""Characters of a cell in a table; other formats give all."""
STOPPED = sqlite3.SQLITE_INTERRUPT
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR)


class Sql:
    """Questions to a trace of Nsight Systems (.sqlite): by name, or any SELECT. The trace is only read.

    Without a question the named ones are listed. Times in a trace are nanoseconds since the session's start.

    knnscope sql trace.sqlite
    knnscope sql trace.sqlite copy-throughput
    knnscope sql trace.sqlite "SELECT name FROM sqlite_master" --format csv
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("trace", metavar="TRACE", help="made by nsys export --type sqlite, or knnscope profile")
        parser.add_argument("question", nargs="?", metavar='NAME|"SELECT ..."', help=f"{', '.join(QUERIES)}, or SQL")
        parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default: table")
        parser.add_argument(
            "--raw-cells",
            action="store_true",
            help="csv: texts that begin like a formula (= + - @) as they are; a spreadsheet would run them",
        )
        parser.add_argument("--limit", type=positive, default=200, metavar="N", help="rows to print (default 200)")

    def run(self, args: argparse.Namespace) -> int:
        """Ask and print."""
        if args.question is None:
            with connect(args.trace) as base:
                Tables(base, Path(args.trace))  # a trace that cannot be asked is told of now
            head, rows = ["name", "question"], [(name, query.sentence) for name, query in QUERIES.items()]
            _print(head, rows, args.format, args.raw_cells)
            return 0
        head, rows, more = answer(args.trace, args.question, args.limit)
        _print(head, rows, args.format, args.raw_cells)
        if more:
            notes([f"there are more rows than these {args.limit:,}: --limit N prints more"])
        return 0


def answer(path: str, question: str, limit: int) -> tuple[list[str], list[tuple[Any, ...]], bool]:
    """Names of columns, at most ``limit`` rows, and whether there are more.

    Raises:
        KnnscopeError: the trace or the question is none, or it takes too long.
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
            rows = cursor.fetchmany(limit + 1)
            head = [str(column[0]) for column in cursor.description]
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == STOPPED and time.monotonic() < end:  # not by the clock: SQLite has swallowed the user's Ctrl-C
                raise KeyboardInterrupt from error
            if code == STOPPED:
                raise KnnscopeError(f"stopped after {SECONDS:g} s: ask for less, with WHERE or fewer joins") from error
            if code == sqlite3.SQLITE_AUTH:
                raise KnnscopeError(
                    f"only a SELECT may be asked of a trace, nothing else is done to it ({error})"
                ) from error
            if code in DAMAGED or named:
                raise
            raise KnnscopeError(f"SQLite does not answer this question: {error}") from error
    return head, rows[:limit], len(rows) > limit


def _print(head: list[str], rows: list[tuple[Any, ...]], form: str, raw: bool = False) -> None:
    if form == "json":
        names = _apart(head)
        print(json.dumps([dict(zip(names, map(_value, row), strict=True)) for row in rows], indent=2, allow_nan=False))
        return
    cells = [[plain(_text(cell)) for cell in row] for row in rows]
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([_no_formula(plain(name), raw) for name in head])
        for line, row in zip(cells, rows, strict=True):
            writer.writerow(
                [text if _number(cell) else _no_formula(text, raw) for text, cell in zip(line, row, strict=True)]
            )
        return
    numbers = [
        i for i in range(len(head)) if any(row[i] is not None for row in rows) and all(_number(row[i]) for row in rows)
    ]
    print(table([[_cut(cell) for cell in row] for row in cells], [_cut(plain(name)) for name in head], right=numbers))


def _no_formula(text: str, raw: bool) -> str:
    """A text that a spreadsheet does not take for a formula and run."""
    return f"'{text}" if not raw and text.startswith(("=", "+", "-", "@")) else text


def _apart(names: list[str]) -> list[str]:
    """The names, none twice: an object has each key once."""
    taken: dict[str, None] = {}
    for name in names:
        number, mine = 1, name
        while mine in taken:
            number += 1
            mine = f"{name}_{number}"
        taken[mine] = None
    return list(taken)


def _number(cell: object) -> bool:
    return cell is None or isinstance(cell, int | float)


def _value(cell: Any) -> Any:
    """What JSON can hold: bytes as hexadecimal digits, no infinities."""
    if isinstance(cell, bytes):
        return cell.hex()
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _text(cell: Any) -> str:
    return "" if cell is None else cell.hex() if isinstance(cell, bytes) else str(cell)


def _cut(text: str) -> str:
    return text if len(text) <= CELL else f"{text[: CELL - 4]} ..."
