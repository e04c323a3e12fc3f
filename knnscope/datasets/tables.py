"""Rows of a table of texts, by the names of its columns: JSON Lines, CSV and TSV (plain or gzipped), Parquet, Arrow."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from knnscope.datasets import arrow, endings
from knnscope.datasets.lines import MAX_LINE, NAMES, known_name, read_lines, read_objects, string_field
from knnscope.errors import KnnscopeError

Rows = Iterator[tuple[str, dict[str, Any]]]
"""Place, for errors, and the cells of a row by column."""
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
_SHARD = re.compile(r"(?P<name>.+?)-(?P<number>\d{4,6})-of-(?P<count>\d{4,6})(?:-[0-9a-f]{16})?")


def ending(path: Path) -> str:
    """The ending that says the format, without .gz; empty where it is none of ``READERS``."""
    packed = path.name.lower().endswith(".gz")
    return endings.of(path.with_suffix(""), PACKED) if packed else endings.of(path, READERS)


def read(path: Path, what: str) -> Rows:
    """The rows of one file.

    Args:
        path: ends in one of ``READERS``.
        what: label of the progress bar.

    Raises:
        KnnscopeError: unreadable or damaged; names the line or row.
    """
    reader: Callable[[Path, str], Rows] = endings.reader(READERS[ending(path)])
    return reader(path, what)


def texts(paths: Sequence[Path], what: str, column: str = "", numbered: bool = False) -> Iterator[tuple[str, str, str]]:
    """(place, id, text) of the parts of one table, ``title text`` where there is a title.

    Args:
        paths: the parts, in order.
        what: label of the progress bar.
        column: of the texts; empty: the one by a known name.
        numbered: a table whose first row has no id gets row numbers, from 0, as ids.

    Raises:
        KnnscopeError: no id, or some rows alone have one; no column of texts, or a cell that is no text.
    """
    row, named = 0, None
    for path in paths:
        for place, value in read(path, what):
            if named is None:
                named = not numbered or known_name(value, "_id") is not None
                _check_column(path, value, column)
            text = string_field(place, value, column or "text")
            title = "" if column else string_field(place, value, "title", "")
            if not named and (name := known_name(value, "_id")) is not None:
                raise KnnscopeError(
                    f"{place}: has {name!r}, and the first row has no id: give one to every row, or to none"
                )
            yield place, string_field(place, value, "_id") if named else str(row), f"{title} {text}".strip()
            row += 1


def _check_column(path: Path, row: dict[str, Any], column: str) -> None:
    if not column and row and all(_NUMBER.fullmatch(cell) for cell in (*row, *row.values()) if isinstance(cell, str)):
        raise KnnscopeError(f"{path}: numbers and no texts: save vectors as .npy, with numpy.save")
    if (column and column not in row) or (not column and ending(path) != ".jsonl" and known_name(row, "text") is None):
        raise KnnscopeError(
            f"{path}: no column {column or 'of texts'} among {', '.join(row) or 'none'}: "
            f"it is called one of {', '.join(NAMES['text'])}, or named as {path}#COLUMN"
        )


def jsonl(path: Path, what: str) -> Rows:
    """JSON Lines."""
    for number, value in read_objects(path, what):
        yield f"{path}, line {number}", value


def csv_(path: Path, what: str) -> Rows:
    """Comma-separated values, by whichever separator the header shows."""
    raw = (line for _, line in read_lines(path, what, raw=True))
    first = next(raw, "")
    # a semicolon where the comma is the decimal point; else the header tells
    known = {d: sum(name.strip(' "\r\n') in _KNOWN for name in first.split(d)) for d in ",;\t"}
    yield from _separated(path, _chain(first, raw), max(known, key=lambda d: known[d]), quoted=True)


def tsv(path: Path, what: str) -> Rows:
    """Tab-separated values have no quoting, but for programs that write them as CSV, whose header is quoted too."""
    raw = (line for _, line in read_lines(path, what, raw=True))
    first = next(raw, "")
    yield from _separated(path, _chain(first, raw), "\t", quoted=first.startswith('"'))


_KNOWN = {name for names in NAMES.values() for name in names}


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _separated(path: Path, lines: Iterator[str], delimiter: str, quoted: bool) -> Rows:
    csv.field_size_limit(MAX_LINE)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    names: list[str] | None = None
    try:
        for cells in reader:
            place = f"{path}, line {reader.line_num}"
            if not cells or (names is not None and len(names) > 1 and not "".join(cells).strip() and len(cells) == 1):
                continue
            if names is None:
                if delimiter == "\t" and len(cells) == 2 and not _KNOWN & set(cells):
                    names = ["_id", "text"]  # a collection of MS MARCO has no header
                else:
                    names = [name.strip() for name in cells]
                    if len(set(names)) < len(names):
                        raise KnnscopeError(f"{place}: two columns have one name: {', '.join(names)}")
                    continue
            if len(cells) != len(names):
                raise KnnscopeError(f"{place}: {len(cells)} cells, the header has {len(names)}")
            yield place, dict(zip(names, cells, strict=True))
        if names is not None and reader.line_num == 1:
            raise KnnscopeError(f"{path}: a header ({', '.join(names)}) and no rows")
    except csv.Error as error:
        raise KnnscopeError(
            f"{path}, line {reader.line_num}: no row of comma- or tab-separated cells ({error})"
        ) from error


def arrow_rows(path: Path, _: str) -> Rows:
    """Tables of Apache Arrow."""
    for number, row in enumerate(arrow.rows(path)):
        yield f"{path}, row {number:,}", row


READERS = {
    ".jsonl": "tables:jsonl",
    ".csv": "tables:csv_",
    ".tsv": "tables:tsv",
    **dict.fromkeys(arrow.FORMATS, "tables:arrow_rows"),
}
"""By ending, the function of a module beside this one that takes a path and the label of the progress bar."""
PACKED = (".jsonl", ".csv", ".tsv")
"""Formats that may be gzipped."""
TYPED = (".jsonl", *arrow.FORMATS)
"""Formats whose columns have names, always."""


def groups(folder: Path) -> dict[str, list[Path]]:
    """The tables in a folder, not below it: name to file, or to the parts of it in order (NAME-00000-of-00002, 0000, 0001).

    Raises:
        KnnscopeError: a part is missing, or the folder cannot be read.
    """
    found: dict[str, list[Path]] = {}
    counts: dict[str, int] = {}
    try:
        files = sorted(p for p in folder.iterdir() if ending(p) and not p.name.startswith(".") and p.is_file())
    except OSError as error:
        raise KnnscopeError(f"{folder}: cannot be read ({error.strerror})") from error
    for path in files:
        stem = path.name[: path.name.lower().rindex(ending(path))]
        if shard := _SHARD.fullmatch(stem):
            stem = shard["name"]
            counts[stem] = max(counts.get(stem, 0), int(shard["count"]))
        elif re.fullmatch(r"(part-?)?\d+", stem):
            stem = ""
        found.setdefault(stem, []).append(path)
    for stem, count in counts.items():
        if len(found[stem]) != count:
            raise KnnscopeError(
                f"{folder}: {len(found[stem])} of the {count} parts of {stem}: get the others, or remove what is not of this table"
            )
    return found
