"""Rows and queries from files or arrays, with what ties a computation to them: checksums, and whether a file was changed meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.certified.rows import as_ids, as_rows
from knnscope.datasets import numpy_files, registry, vector_files
from knnscope.distributed import sources
from knnscope.errors import ArgumentError, KnnscopeError
from knnscope.progress import bar
from knnscope.records import TextDataset, VectorDataset
from knnscope.store import os_problem

Stamp = tuple[int, ...]
CHUNK = 1 << 20
"""Bytes that are read at once for a checksum."""
LINE = 100
"""Bytes of a line with a whole number, more than any has."""
LARGEST = 2**63 - 2
"""Of an id: certified/rows.py."""
NAMES = (
    "files of ground truth hold no texts: leave the ids out, and rows are called 0, 1, 2 ..., the lines of your names"
)
"""What to do with names that are texts."""


@dataclass(frozen=True, slots=True)
class Input:
    """Numbers and where they come from: ``path`` is None for arrays and for what lies in several files. stamp: the file's before it was opened."""

    name: str
    values: npt.NDArray[Any]
    path: Path | None = None
    column: str = ""
    stamp: Stamp = ()

    def check(self, sha256: str | None = None) -> None:
        """Refuse a file that is not the one that was opened, or was written to since.

        Args:
            sha256: of the values, as ``facts`` gave it: a map of an unknown file is summed again.

        Raises:
            KnnscopeError: it is another, was written to, or is gone.
        """
        if self.path is not None:
            same = _stamp(self.path) == self.stamp
        else:
            same = sha256 is None or not sources.is_mapped(self.values) or self.facts()["sha256"] == sha256
        if not same:
            raise KnnscopeError(
                f"{self.name}: was changed or replaced while it was read: let it be, and run this again"
            )

    def facts(self) -> dict[str, Any]:
        """Name, shape, type and SHA-256: of the file's bytes, as ``sha256sum`` gives it; of an array of its values, row by row.

        Raises:
            KnnscopeError: the file cannot be read.
        """
        found, done = hashlib.sha256(), 0
        with bar(self._size(), f"checksum of {self.name}", "B", scale=True) as progress:
            for chunk in self._chunks():
                found.update(chunk)
                done += len(chunk)
                progress.update(len(chunk))
        rows = {"rows": len(self.values), **({"dim": self.values.shape[1]} if self.values.ndim > 1 else {})}
        of = "file" if self.path is not None else "values"
        return {
            "name": self.name,
            **rows,
            "dtype": self.values.dtype.name,
            "bytes": done,
            "sha256": found.hexdigest(),
            "sha256_of": of,
            **({"file": str(self.path)} if self.path is not None else {}),
            **({"column": self.column} if self.column else {}),
        }

    def release(self) -> None:
        """Give back the pages of a file that were read: they count as this process's memory until then, and can be read again.

        Only of files that were mapped here, for reading: of other maps that would lose what was written into them.
        """
        if self.path is not None:
            sources.release(self.values)

    def _size(self) -> int:
        return int(self.values.nbytes) if self.path is None else _stamp(self.path)[-1]

    def _chunks(self) -> Iterator[memoryview | bytes]:
        if self.path is not None:
            try:
                with self.path.open("rb") as file:
                    while chunk := file.read(CHUNK):
                        yield chunk
            except OSError as error:
                raise os_problem(error, self.path) from error
            return
        width = self.values.itemsize * (self.values.shape[1] if self.values.ndim > 1 else 1)
        step = max(1, CHUNK // width)
        for first in range(0, len(self.values), step):
            yield np.ascontiguousarray(self.values[first : first + step]).view(np.uint8).reshape(-1).data


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is searched and what is asked; ids: what the rows are called, None for their numbers."""

    base: Input
    queries: Input
    metric: str
    ids: Input | None = None
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> npt.NDArray[np.int64] | None:
        """Ids of the rows."""
        return None if self.ids is None else self.ids.values

    def check(self, key: Mapping[str, Any] | None = None) -> None:
        """Refuse files that were replaced or written to since they were opened.

        Args:
            key: of ``certificate.key_of``: maps of unknown files are held to its sums.

        Raises:
            KnnscopeError: names the first one.
        """
        for name, one in (("base", self.base), ("queries", self.queries), ("ids", self.ids)):
            if one is not None:
                one.check(None if key is None else key[name]["sha256"])

    def paths(self) -> list[Path | None]:
        """Of all files; None for what is none."""
        return [one.path for one in (self.base, self.queries, self.ids) if one is not None]


def open_inputs(base: Any, queries: Any = None, metric: str | None = None, ids: Any = None) -> Inputs:
    """Rows, queries and ids; queries and metric are the data's own where none are given.

    Args:
        base: an array, a data set of vectors, or the name or path of one; files are mapped where their format allows it.
        queries: the same; of a file with rows and queries its rows.
        metric: None is what the data declares, else l2.
        ids: an array, or a file: .npy of one dimension, or text with a number a line.

    Raises:
        KnnscopeError: no such file, texts, no queries, shapes that do not fit, or a file that is replaced meanwhile.
    """
    stamps = _stamps(base)
    dataset, rows = _opened(base, "base")
    notes = dataset.notes if dataset is not None else ()
    if queries is not None:
        asked = _opened(queries, "queries")[1]
    elif dataset is not None and dataset.queries is not None:
        beside = _beside(rows)
        stamp = stamps.get(beside, ()) if beside is not None else ()
        asked = Input(f"queries of {dataset.name}", dataset.queries.values, beside, "queries", stamp)
    else:
        raise ArgumentError("queries is missing: a file of vectors was expected, since the base has none of its own")
    if asked.values.shape[1] != rows.values.shape[1]:
        raise KnnscopeError(
            f"{asked.name}: {asked.values.shape[1]:,} components, the rows of {rows.name} have {rows.values.shape[1]:,}: "
            "use the same encoder for both"
        )
    declared = dataset.metric if dataset is not None else None
    found = Inputs(rows, asked, metric or declared or "l2", _names(ids, len(rows.values)), notes)
    found.check()
    return found


def _stamp(path: Path) -> Stamp:
    """What changes when a file is replaced or written to: device, number, time, size; nothing where there is no file.

    Raises:
        KnnscopeError: it cannot be looked at.
    """
    try:
        facts = path.stat()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise os_problem(error, path) from error
    return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size


def _stamps(given: Any) -> dict[Path, Stamp]:
    """Of the files that a name may lead to."""
    if not isinstance(given, str | Path):
        return {}
    path = vector_files.split(str(given))[0]
    folder = path if path.is_dir() else path.parent
    places = (path, folder / "vectors.npy", folder / "queries" / "vectors.npy")
    return {place: stamp for place in places if (stamp := _stamp(place))}


def _beside(rows: Input) -> Path | None:
    """The file of the queries that came with the rows: the same one, or that of the folder that embed wrote."""
    if rows.path is None or rows.path.suffix.lower() in (".hdf5", ".h5", ".npz"):
        return rows.path
    inside = rows.path.parent / "queries" / "vectors.npy"
    return inside if rows.path.name == "vectors.npy" and inside.is_file() else None


def _opened(given: Any, what: str) -> tuple[VectorDataset | None, Input]:
    if isinstance(given, VectorDataset):
        return given, Input(given.name, given.documents.values)
    if not isinstance(given, str | Path):
        return None, Input(what, as_rows(given))
    spec, stamps = str(given), _stamps(given)
    path, column = vector_files.split(spec)
    if vector_files.is_vector_file(spec) and not path.is_dir():
        dataset = vector_files.load(spec)  # rows are looked at when they are searched, not before
        return dataset, Input(spec, dataset.documents.values, path, column, stamps.get(path, ()))
    found, notes = registry.load(spec)
    if isinstance(found, TextDataset):
        raise KnnscopeError(
            f"{spec}: holds texts, not vectors: knnscope embed {spec} -o DIR writes a folder to give here"
        )
    alone = path / "vectors.npy"
    source = alone if alone.is_file() else None
    return VectorDataset(
        found.name, found.documents, found.queries, found.metric, notes, found.encoded_by, found.truth
    ), Input(spec, found.documents.values, source, stamp=stamps.get(alone, ()))


def _names(ids: Any, rows: int) -> Input | None:
    """Ids of the rows as int64.

    Raises:
        KnnscopeError: no such file, something else than whole numbers, as many as there are no rows, or one twice.
    """
    if ids is None:
        return None
    path = Path(ids) if isinstance(ids, str | Path) else None
    stamp = _stamp(path) if path is not None else ()
    values = ids if path is None else _numbers(path)
    where = str(path) if path is not None else "ids"
    if isinstance(values, list | tuple | np.ndarray) and np.asarray(values).dtype.kind in "USTO":
        raise KnnscopeError(f"{where}: texts: whole numbers from 0 up were expected: {NAMES}")
    try:
        return Input(where, as_ids(values, rows), path, stamp=stamp)
    except KnnscopeError as error:
        raise KnnscopeError(f"{where}: {error}" if path is not None else str(error)) from error


def _numbers(path: Path) -> npt.NDArray[Any]:
    """Whole numbers of a file.

    Raises:
        KnnscopeError: it cannot be read, or holds something else.
    """
    if path.exists() and not path.is_file():
        raise KnnscopeError(f"{path}: no plain file, and is read twice, once for its sum: save the ids as a file")
    try:
        if path.suffix.lower() == ".npy":
            return numpy_files.mapped(path)
        with path.open("rb") as file:
            lines = enumerate(iter(partial(file.readline, LINE), b""), 1)
            return np.array([_number(line, f"{path}, line {at:,}") for at, line in lines], np.int64)
    except OSError as error:
        raise os_problem(error, path) from error


def _number(line: bytes, where: str) -> int:
    digits = line.strip()
    if len(line) == LINE or not digits.isdigit():
        raise KnnscopeError(f"{where}: a whole number from 0 up was expected: {NAMES}")
    found = int(digits)
    if found > LARGEST:
        raise KnnscopeError(f"{where}: {found} is too large: ids lie between 0 and 2^63 - 2")
    return found
