"""Files of vectors by their endings: the one list of formats. Adding one is a file and a line in ``READERS``.

Files are memory-mapped where their layout allows it and never unpickled.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from knnscope.datasets import arrow, arrow_vectors, hdf5_file, numpy_files, packed_files, safetensors_file
from knnscope.errors import KnnscopeError
from knnscope.records import VectorDataset
from knnscope.store import os_problem

READERS: dict[str, Callable[[Path, str], VectorDataset]] = {
    ".npy": numpy_files.npy,
    ".npz": numpy_files.npz,
    **dict.fromkeys(packed_files.VECS, packed_files.vecs),
    **dict.fromkeys(packed_files.BIN, packed_files.bin_),
    ".hdf5": hdf5_file.hdf5,
    ".h5": hdf5_file.hdf5,
    **dict.fromkeys(arrow.FORMATS, arrow_vectors.load),
    ".safetensors": safetensors_file.safetensors,
}


def split(spec: str) -> tuple[Path, str]:
    """A path and what stands behind ``#``: the column, array or tensor to take."""
    if Path(spec).exists() or "#" not in spec:
        return Path(spec), ""
    text, _, column = spec.rpartition("#")
    return Path(text), column


def is_vector_file(spec: str) -> bool:
    """Whether the name ends in one of the formats read here."""
    return packed_files.suffix_of(split(spec)[0]) in READERS


def load(spec: str) -> VectorDataset:
    """Read a file of vectors.

    Args:
        spec: a path; ``path#name`` where it holds several columns, arrays or tensors.

    Raises:
        KnnscopeError: missing, cut off, damaged, of another type, or too large for the memory it needs.
    """
    path, column = split(spec)
    reader = READERS[packed_files.suffix_of(path)]
    try:
        if not path.is_file():
            raise KnnscopeError(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise KnnscopeError(f"{path}: the file is empty")
        return reader(path, column)
    except OSError as error:
        raise os_problem(error, path) from error
    except MemoryError as error:
        raise KnnscopeError(f"{path}: does not fit into memory") from error
