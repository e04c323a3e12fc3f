"""Lines of text and of JSON, plain or gzipped, with errors that name the line; and the names that fields go by."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Container, Iterator
from pathlib import Path
from typing import IO, Any, cast

from knnscope.errors import KnnscopeError
from knnscope.progress import bar
from knnscope.store import os_problem

MAX_LINE = 1 << 26
BOM = b"\xef\xbb\xbf"
"""Some editors put it before the first character of a UTF-8 file; it is none of the text."""
NAMES = {
    "_id": ("_id", "id", "corpus-id", "corpus_id", "query-id", "query_id", "doc_id", "docid", "docno", "qid", "pid"),
    "title": ("title",),
    "text": ("text", "contents", "content", "passage", "body", "query", "question", "sentence"),
}
"""BEIR's name of a field, and those that others give it; the first that is there counts."""


def find(folder: Path, name: str) -> Path | None:
    """``name`` or ``name.gz`` in a folder."""
    for candidate in (folder / name, folder / (name + ".gz")):
        if candidate.is_file():
            return candidate
    return None


def read_lines(path: Path, what: str = "", raw: bool = False) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines without their ends, blank ones left out; ``raw``: as they are, blank ones too.

    A line ends with a line feed, and with nothing else that Unicode counts as a line end. A byte order mark is left out.

    Raises:
        KnnscopeError: unreadable, not UTF-8, a damaged gzip file, a line over 64 MiB.
    """
    number = 0
    try:
        with path.open("rb") as packed, bar(path.stat().st_size, what or path.name, "B", scale=True) as progress:
            file = cast(IO[bytes], gzip.GzipFile(fileobj=packed)) if path.suffix == ".gz" else packed
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) >= MAX_LINE:
                    raise KnnscopeError(f"{path}, line {number}: longer than {MAX_LINE:,} bytes")
                if number % 4096 == 0:
                    progress.update(packed.tell() - progress.n)
                text = (line.removeprefix(BOM) if number == 1 else line).decode("utf-8")
                if raw:
                    yield number, text
                elif not text.isspace() and text:
                    yield number, text.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise KnnscopeError(f"{path}, line {number}: not UTF-8 text ({error.reason})") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise KnnscopeError(f"{path}: the gzip file is cut off or damaged after line {number}: get it again") from error
    except OSError as error:
        raise os_problem(error, path) from error


def read_objects(path: Path, what: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and JSON objects of a JSON Lines file.

    Raises:
        KnnscopeError: a line is no JSON object.
    """
    for number, line in read_lines(path, what):
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise KnnscopeError(
                f"{path}, line {number}: bad JSON at character {error.pos + 1} ({error.msg}): a JSON object was expected"
            ) from error
        except (ValueError, RecursionError) as error:
            raise KnnscopeError(f"{path}, line {number}: bad JSON ({error})") from error
        if not isinstance(value, dict):
            raise KnnscopeError(f"{path}, line {number}: a JSON object was expected, found {type(value).__name__}")
        yield number, value


def known_name(fields: Container[str], name: str) -> str | None:
    """The name among ``fields`` that stands for BEIR's ``name``."""
    if name in fields:  # millions of rows ask
        return name
    return next((known for known in NAMES.get(name, ()) if known in fields), None)


def string_field(place: str, value: dict[str, Any], name: str, default: str | None = None) -> str:
    """A field that must be a string (an id may be a whole number), by any of its names.

    Raises:
        KnnscopeError: absent, or something else.
    """
    key = known_name(value, name)
    found = default if key is None else value[key]
    if isinstance(found, str):
        return found
    if name == "_id" and isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    if found is None and default is not None:
        return default
    problem = "has no" if key is None else f"has {type(found).__name__} for"
    raise KnnscopeError(f"{place}: {problem} {key or name!r}, a string was expected")
