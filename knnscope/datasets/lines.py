"""Lines of JSON and tab-separated files, plain or gzipped, with errors that name the line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from knnscope.errors import KnnscopeError
from knnscope.progress import bar
from knnscope.store import os_problem

MAX_LINE = 1 << 26


def find(folder: Path, name: str) -> Path | None:
    """``name`` or ``name.gz`` in a folder."""
    for candidate in (folder / name, folder / (name + ".gz")):
        if candidate.is_file():
            return candidate
    return None


def read_lines(path: Path, what: str = "") -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines without their ends, blank ones left out.

    Raises:
        KnnscopeError: unreadable, not UTF-8, a damaged gzip file, a line over 64 MiB.
    """
    number = 0
    try:
        with path.open("rb") as raw, bar(path.stat().st_size, what or path.name, "B", scale=True) as progress:
            file = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if path.suffix == ".gz" else raw
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) >= MAX_LINE:
                    raise KnnscopeError(f"{path}, line {number}: longer than {MAX_LINE:,} bytes")
                if number % 4096 == 0:
                    progress.update(raw.tell() - progress.n)
                text = line.decode("utf-8").removesuffix("\n").removesuffix("\r")
                if text and not text.isspace():
                    yield number, text
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
        except (ValueError, RecursionError) as error:
            raise KnnscopeError(f"{path}, line {number}: bad JSON ({error})") from error
        if not isinstance(value, dict):
            raise KnnscopeError(f"{path}, line {number}: a JSON object was expected, found {type(value).__name__}")
        yield number, value


def string_field(path: Path, number: int, value: dict[str, Any], key: str, default: str | None = None) -> str:
    """A field that must be a string (an id may be a number).

    Raises:
        KnnscopeError: absent, or something else.
    """
    found = value.get(key, default)
    if isinstance(found, str):
        return found
    if key == "_id" and isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    if found is None and default is not None:
        return default
    problem = "has no" if key not in value else f"has {type(found).__name__} for"
    raise KnnscopeError(f"{path}, line {number}: {problem} {key!r}, a string was expected")
