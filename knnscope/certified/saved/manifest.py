"""What a folder's index consists of at one moment: the file that is put in place last, in one step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from knnscope.certified.cpu.saved import Arrays
from knnscope.certified.ids import Numbers, Strings
from knnscope.certified.memory import is_memory
from knnscope.certified.saved import sections
from knnscope.certified.saved.files import MANIFEST, check_free, damaged
from knnscope.certified.saved.segments import ROWS
from knnscope.errors import KnnscopeError
from knnscope.search import definition

MOST_PARTS = 1 << 16
MOST_NUMBER = 1 << 48
FIELDS = ("token", "metric", "dim", "dtype", "memory", "ids", "next_id", "journal", "next_file")


class Entry(NamedTuple):
    """A segment's file by its number, the mark of that file (sections.py), its rows, and which are left: bool, (1, rows), or None for all."""

    number: int
    mark: int
    rows: int
    live: Any


class Manifest(NamedTuple):
    """An index in a folder.

    token: of this folder; its journals have it too. dtype: of rows, empty where there has been none. ids: their kind, likewise. journal: the number of
    the first journal of changes since. next_file: a number from which on none has been given to a segment.
    """

    token: str
    metric: str
    dim: int
    dtype: str
    memory: str
    ids: str
    next_id: int
    journal: int
    next_file: int
    entries: tuple[Entry, ...]


def write(folder: Path, made: Manifest) -> None:
    """Put it in place, whole or not at all; on disk when this returns.

    Raises:
        KnnscopeError: it would not be read, or cannot be written, or what is in place is another's.
    """
    path = folder / MANIFEST
    check_free(path)
    meta: dict[str, Any] = {name: getattr(made, name) for name in FIELDS}
    meta["parts"] = [[entry.number, entry.mark, entry.rows] for entry in made.entries]
    masks = {f"left-{entry.number}": np.packbits(entry.live[0]) for entry in made.entries if entry.live is not None}
    try:
        _parsed(meta, masks)
    except ValueError as error:
        raise KnnscopeError(
            f"{path}: not written, since it would not be read ({error}): save the index to a new folder"
        ) from error
    sections.write(path, MANIFEST, meta, masks)


def read(folder: Path) -> Manifest:
    """What is in place.

    Raises:
        KnnscopeError: there is none, or it is not as it was written.
    """
    path = folder / MANIFEST
    try:
        found = sections.read(path, MANIFEST, mapped=False, names=_masks)
        return _parsed(found.meta, found.arrays)
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(path, f"it does not hold together ({str(error)[:80]})") from error


def _masks(meta: dict[str, Any]) -> set[str]:
    """Names of the arrays that it may have."""
    if not _is_sound(meta):
        raise ValueError("what it says of the index")
    return {f"left-{number}" for number, _, _ in meta["parts"]}


def _parsed(meta: dict[str, Any], arrays: Arrays) -> Manifest:
    """What it says.

    Raises:
        ValueError, TypeError, KeyError: it says nothing that can be.
    """
    if not _is_sound(meta):
        raise ValueError("what it says of the index")
    entries = []
    for number, mark, rows in meta["parts"]:
        if any(type(one) is not int for one in (number, mark, rows)) or not 0 <= number < meta["next_file"]:
            raise ValueError("a segment")
        if not 0 < rows < MOST_NUMBER:
            raise ValueError("the rows of a segment")
        entries.append(Entry(number, mark, rows, _live(arrays.get(f"left-{number}"), rows)))
    if len({entry.number for entry in entries}) < len(entries):
        raise ValueError("a segment twice")
    return Manifest(entries=tuple(entries), **{name: meta[name] for name in FIELDS})


def _is_sound(meta: dict[str, Any]) -> bool:
    numbers = {name: meta[name] for name in ("dim", "next_id", "journal", "next_file")}
    return (
        all(type(number) is int and number >= 0 for number in numbers.values())
        and 0 < numbers["dim"] <= 1 << 31
        and numbers["next_id"] < 1 << 63
        and max(numbers["journal"], numbers["next_file"]) < MOST_NUMBER
        and isinstance(meta["token"], str)
        and re.fullmatch("[0-9a-f]{32}", meta["token"]) is not None
        and meta["metric"] in definition.METRICS
        and is_memory(meta["memory"])
        and meta["dtype"] in {"", *ROWS}
        and meta["ids"] in ("", Numbers.kind, Strings.kind)
        and isinstance(meta["parts"], list)
        and len(meta["parts"]) <= MOST_PARTS
    )


def _live(packed: Any, rows: int) -> Any:
    if packed is None:
        return None
    if packed.dtype != np.uint8 or packed.shape != (-(-rows // 8),):
        raise ValueError("which rows are left")
    live = np.unpackbits(packed, count=rows).astype(np.bool_)[None]
    if not live.any():
        raise ValueError("a segment without rows")
    return live
