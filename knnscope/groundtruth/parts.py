"""Answers so far: one for each batch of queries, over the rows looked at until now. Kept in memory, or in a folder that survives kill -9."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from knnscope.errors import KnnscopeError
from knnscope.progress import say
from knnscope.records import Neighbors
from knnscope.search import definition
from knnscope.store import (
    make_folder,
    not_ours,
    open_own,
    os_problem,
    read_arrays,
    read_json,
    write_arrays,
    write_json,
)

KIND, VERSION = "knnscope unfinished ground truth", 1
WORK = ".work"
"""Behind the name of the output."""
LOCK, ABOUT, WRITING = "lock", "work.json", "writing"
"""Who works there; what of; and, once outputs are written, an empty file that says so."""
PART = re.compile(r"queries-[0-9]{9,}\.npz|\.(work\.json|queries-[0-9]{9,}\.npz)\.[0-9a-z_]+\.part")
"""Answers, and what store.whole_file leaves where its process is killed."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The nearest of the first ``rows`` rows for a batch of queries.

    found: (queries, at most width). floor: float64, (queries,): no row that a bound left out is nearer: a plain distance for l2, a negated
    similarity else. candidates, computed: as in ``records.Certificate``, summed over blocks.
    """

    rows: int
    found: Neighbors
    floor: npt.NDArray[np.float64]
    candidates: npt.NDArray[np.int64]
    computed: npt.NDArray[np.int64]

    def with_block(self, block: Part, width: int, metric: str) -> Part:
        """Both together: ``block`` is of the rows that follow."""
        return Part(
            self.rows + block.rows,
            definition.merge(self.found, block.found, width, metric),
            np.minimum(self.floor, block.floor),
            self.candidates + block.candidates,
            self.computed + block.computed,
        )


class Store(Protocol):
    """Where parts are kept. ``batches`` are ranges of queries."""

    batches: list[range]

    def rows_done(self) -> list[int]:
        """Rows that each batch has been asked for."""
        ...

    def get(self, number: int) -> Part | None:
        """What is known of a batch."""
        ...

    def put(self, number: int, part: Part) -> None:
        """Keep a part: after it returns it survives."""
        ...


def batches_of(queries: int, batch: int) -> list[range]:
    """Queries in order, at most ``batch`` at a time."""
    return [range(first, min(first + batch, queries)) for first in range(0, queries, batch)]


class InMemory:
    """Parts of this process alone."""

    def __init__(self, queries: int, batch: int) -> None:
        self.batches = batches_of(queries, batch)
        self._parts: dict[int, Part] = {}

    def rows_done(self) -> list[int]:
        """See ``Store``."""
        return [self._parts[i].rows if i in self._parts else 0 for i in range(len(self.batches))]

    def get(self, number: int) -> Part | None:
        """See ``Store``."""
        return self._parts.get(number)

    def put(self, number: int, part: Part) -> None:
        """See ``Store``."""
        self._parts[number] = part


class OnDisk:
    """Parts in a folder, each file whole or not there; the folder says which inputs and arguments it belongs to."""

    def __init__(self, folder: Path, key: dict[str, Any], queries: int, batch: int) -> None:
        """Open a folder, made if need be.

        Raises:
            KnnscopeError: it belongs to something else; says what differs.
        """
        self.folder = folder
        about = folder / ABOUT
        if about.is_file() and not _is_bare(folder):
            known = read_json(about)
            batch = _same(folder, known, key)
        else:
            write_json(about, {"kind": KIND, "version": VERSION, "key": key, "batch": batch})
        self.batches = batches_of(queries, batch)
        self._done = [0] * len(self.batches)
        for number in range(len(self.batches)):
            part = self.get(number)
            self._done[number] = part.rows if part is not None else 0

    def rows_done(self) -> list[int]:
        """See ``Store``."""
        return list(self._done)

    def get(self, number: int) -> Part | None:
        """See ``Store``; a damaged file counts as none, and is said."""
        path = self._path(number)
        if not path.is_file():
            return None
        try:
            return _part(read_arrays(path), len(self.batches[number]))
        except (KnnscopeError, KeyError, ValueError) as error:
            say(f"{path.name} is damaged and is computed again ({str(error)[:120]})")
            with contextlib.suppress(OSError):
                path.unlink()
            return None

    def put(self, number: int, part: Part) -> None:
        """See ``Store``."""
        write_arrays(
            self._path(number),
            {
                "rows": np.array([part.rows], np.int64),
                "ids": part.found.ids,
                "distances": part.found.distances,
                "floor": part.floor,
                "candidates": part.candidates,
                "computed": part.computed,
            },
        )
        self._done[number] = part.rows

    def _path(self, number: int) -> Path:
        return self.folder / f"queries-{self.batches[number].start:09d}.npz"


def _same(folder: Path, known: dict[str, Any], key: dict[str, Any]) -> int:
    """The size of the batches of a folder that belongs to this computation.

    Raises:
        KnnscopeError: it belongs to another; says what differs.
    """
    stored, batch = known.get("key"), known.get("batch")
    if known.get("version") != VERSION or not isinstance(stored, dict) or type(batch) is not int or batch < 1:
        raise KnnscopeError(
            f"{folder}: no work folder of this version of knnscope: delete it, or choose another output"
        )
    if different := [name for name in key if stored.get(name) != key[name]]:
        raise KnnscopeError(
            f"{folder}: unfinished work for another {' and another '.join(different)} than now: delete the folder to start afresh, "
            "or choose another output"
        )
    return batch


def _part(arrays: dict[str, npt.NDArray[Any]], queries: int) -> Part:
    ids, distances = arrays["ids"], arrays["distances"]
    columns = [arrays[name] for name in ("floor", "candidates", "computed")]
    fits = (
        ids.dtype == np.int64 and distances.dtype == np.float64 and ids.shape == distances.shape and len(ids) == queries
    )
    types = (np.float64, np.int64, np.int64)
    if not fits or any(a.shape != (queries,) or a.dtype != t for a, t in zip(columns, types, strict=True)):
        raise ValueError("other arrays than were written")
    return Part(int(arrays["rows"][0]), Neighbors(ids, distances), *columns)


@contextlib.contextmanager
def work_folder(output: Path) -> Iterator[Path]:
    """The work folder beside an output, held by this process alone. It stays: who is done calls ``remove``.

    Raises:
        KnnscopeError: another process works there, somebody else's files lie there, or it cannot be made.
    """
    folder = output.with_name(output.name + WORK)
    _check_own(folder)
    make_folder(folder)
    with open_own(folder / LOCK) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise KnnscopeError(
                f"{folder}: another process is computing {output}: wait for it, or choose another output"
            ) from error
        try:
            yield folder
        finally:
            if folder.is_dir() and _is_bare(folder):  # nothing was computed: a refusal leaves nothing
                remove(folder)


def _is_bare(folder: Path) -> bool:
    """Whether nothing is finished there: only what says whose it is, or what a killed process had begun to write."""
    return all(name in (LOCK, ABOUT) or (PART.fullmatch(name) and name.startswith(".")) for name in os.listdir(folder))


def _check_own(folder: Path) -> None:
    """Refuse a folder that this program did not make, before anything is written there.

    Raises:
        KnnscopeError: names the file.
    """
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        raise os_problem(error, folder) from error
    if ABOUT in names:
        if _kind(folder / ABOUT) != KIND:
            raise not_ours(folder / ABOUT)
        return
    for name in names:  # killed before it was said what the work is of, or after that was removed
        is_empty = name in (LOCK, WRITING) and not (folder / name).lstat().st_size
        if not is_empty and not (name.startswith(".") and PART.fullmatch(name)):
            raise not_ours(folder / name)


def _kind(about: Path) -> object:
    try:
        return read_json(about).get("kind") if about.is_file() else None
    except KnnscopeError:
        return None


def begin_writing(folder: Path) -> None:
    """Say that outputs are written from here on: what has their names is this program's.

    Raises:
        KnnscopeError: the disk is full.
    """
    open_own(folder / WRITING).close()


def is_writing(folder: Path) -> bool:
    """Whether a process was stopped while it wrote outputs."""
    return (folder / WRITING).is_file()


def remove(folder: Path) -> None:
    """Remove a work folder whose result is written, but for what others have put there.

    Raises:
        KnnscopeError: it cannot be.
    """
    try:
        for name in os.listdir(folder):
            if PART.fullmatch(name):
                (folder / name).unlink(missing_ok=True)
        for name in (WRITING, ABOUT, LOCK):  # answers go before the file that says whose they are
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise os_problem(error, folder) from error
    try:
        folder.rmdir()
    except OSError:
        say(f"{folder} stays: others have put something there")
