"""Files of vectors by their endings: the one list of formats. Adding one is a file and a line in ``READERS``.

Files are memory-mapped where their layout allows it and never unpickled. tests/datasets holds every ending to a writer in
tests/datasets/vector_writers.py: there and back, and every kind of damage one line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from knnscope.datasets import endings
from knnscope.errors import KnnscopeError
from knnscope.records import VectorDataset
from knnscope.store import no_file, os_problem

READERS = {
    ".npy": "numpy_files:npy",
    ".npz": "numpy_files:npz",
    ".fvecs": "packed_files:vecs",
    ".bvecs": "packed_files:vecs",
    ".ivecs": "packed_files:vecs",
    ".fbin": "packed_files:bin_",
    ".f16bin": "packed_files:bin_",
    ".u8bin": "packed_files:bin_",
    ".i8bin": "packed_files:bin_",
    ".ibin": "packed_files:bin_",
    ".hdf5": "hdf5_file:hdf5",
    ".h5": "hdf5_file:hdf5",
    ".parquet": "arrow_vectors:load",
    ".arrow": "arrow_vectors:load",
    ".arrows": "arrow_vectors:load",
    ".feather": "arrow_vectors:load",
    ".ipc": "arrow_vectors:load",
    ".safetensors": "safetensors_file:safetensors",
}
"""By ending, the function of a module beside this one that takes a path and what stands behind ``#``. The longest ending counts."""
NAMED = 3
"""Files that a message names."""
OF_ONE = ("numpy_files:npy", "packed_files:vecs", "packed_files:bin_")
"""Formats of one array, which has no name."""


def split(spec: str) -> tuple[Path, str]:
    """A path and what stands behind ``#``: the column, array or tensor to take."""
    if Path(spec).exists() or "#" not in spec:
        return Path(spec), ""
    text, _, column = spec.rpartition("#")
    return Path(text), column


def ending(path: Path) -> str:
    """The ending that says the format, before ``.crop_nb_N``; empty where it is none of ``READERS``."""
    return endings.of(endings.uncropped(path), READERS)


def is_vector_file(spec: str) -> bool:
    """Whether the name ends in one of the formats read here."""
    return bool(ending(split(spec)[0]))


def check_folder(folder: Path) -> None:
    """Refuse a folder in which files of vectors lie, of which nobody says what they are to each other.

    Raises:
        KnnscopeError: names some, and says what to do with parts of one array.
    """
    names = sorted(path.name for path in folder.iterdir() if is_vector_file(path.name) and path.is_file())
    if not names:
        return
    some = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
    raise KnnscopeError(
        f"{folder}: a folder with files of vectors ({some}): name one of them, such as {folder / names[0]}; only tables are read in parts, those of "
        'one array are joined first: numpy.save("all.npy", numpy.concatenate([numpy.load(part) for part in parts]))'
    )


def load(spec: str) -> VectorDataset:
    """Read a file of vectors.

    Args:
        spec: a path; ``path#name`` where it holds several columns, arrays or tensors.

    Raises:
        KnnscopeError: missing, cut off, damaged, of another type, or too large for the memory it needs.
    """
    path, column = split(spec)
    named = READERS[ending(path)]
    if column and named in OF_ONE:
        raise KnnscopeError(f"{path}: #{column} names nothing there: such a file holds one array")
    reader: Callable[[Path, str], VectorDataset] = endings.reader(named)
    try:
        if not path.is_file():
            raise no_file(path)
        if path.stat().st_size == 0:
            raise KnnscopeError(f"{path}: the file is empty")
        return reader(path, column)
    except OSError as error:
        raise os_problem(error, path) from error
    except MemoryError as error:
        raise KnnscopeError(f"{path}: does not fit into memory") from error
