"""Records as lines of JSON. Each is held to its type when it is written and when it is read; NaN and infinity are refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from knnscope.errors import KnnscopeError
from knnscope.store import os_problem, whole_file

S = TypeVar("S", bound=msgspec.Struct)
LONGEST = 1 << 26
"""Bytes of a line; a row of compare with 100,000 samples has 1,000,000."""
LARGEST = 1 << 24
"""Bytes of a file with one record."""


def check(record: S) -> S:
    """The record itself, if every value is of its field's type and every number finite.

    Raises:
        KnnscopeError: names the field.
    """
    text(record)
    return record


def text(record: msgspec.Struct) -> str:
    """The line of a record.

    Raises:
        KnnscopeError: a value is not of its field's type, or not finite; names the field.
    """
    try:
        plain: dict[str, Any] = msgspec.to_builtins(record)
        msgspec.convert(plain, type(record))
        return json.dumps(plain, allow_nan=False)  # NaN is a number to a type, and above no maximum
    except ValueError as error:  # msgspec's own is one
        raise KnnscopeError(f"a record of type {type(record).__name__} cannot be written: {error}") from error


def write(path: Path, records: Iterable[msgspec.Struct]) -> None:
    """All records, a JSON object a line, each checked first; whole or not at all.

    Raises:
        KnnscopeError: as ``text``, or the file cannot be written.
    """
    lines = [text(record) + "\n" for record in records]
    with whole_file(path, "w") as file:
        file.writelines(lines)


def read(path: Path, record: type[S], command: str) -> list[S]:
    """The records of a file.

    Args:
        path: the file; nobody is trusted to have written it well.
        record: the type of every line.
        command: what writes such files.

    Raises:
        KnnscopeError: a line that is no such record: names file, line and field.
    """
    decoder = msgspec.json.Decoder(record)
    found = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST), b""), 1):
                if len(line) == LONGEST:
                    raise KnnscopeError(f"{path}:{number}: a line of {LONGEST:,} bytes or more is no row of {command}")
                try:
                    found.append(decoder.decode(line))
                except (ValueError, RecursionError) as error:
                    raise KnnscopeError(
                        f"{path}:{number}: not a row of {command} ({error}): run {command} again"
                    ) from error
    except OSError as error:
        raise os_problem(error, path) from error
    return found


def read_one(path: Path, record: Any, command: str) -> Any:
    """The one record of a file, as ``record`` says.

    Raises:
        KnnscopeError: it is none, or the file is larger than such files are.
    """
    if not path.is_file() and not path.is_dir():  # a pipe would be waited for
        raise KnnscopeError(f"{path}: not a plain file: {command} writes one")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise os_problem(error, path) from error
    if len(content) > LARGEST:
        raise KnnscopeError(f"{path}: larger than {LARGEST:,} bytes: {command} writes no such file")
    try:
        return msgspec.json.decode(content, type=record)
    except (ValueError, RecursionError) as error:
        raise KnnscopeError(f"{path}: not what {command} writes ({error}): run {command} again") from error
