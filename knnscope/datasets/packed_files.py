"""Rows of numbers behind a few counts: .fvecs .bvecs .ivecs, .fbin .f16bin .u8bin .i8bin .ibin, mapped, not read.

The vecs family has a little-endian int32 dimension before every row (http://corpus-texmex.irisa.fr); the bin family has rows
and dimension once (https://big-ann-benchmarks.com), as uint32, or, in newer cuVS, as uint64: the size of the file tells.
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from knnscope.datasets import endings
from knnscope.datasets.array_checks import MAX_DIM, checked
from knnscope.errors import KnnscopeError
from knnscope.records import VectorDataset

VECS = {".fvecs": "<f4", ".bvecs": "u1", ".ivecs": "<i4"}
BIN = {".fbin": "<f4", ".f16bin": "<f2", ".u8bin": "u1", ".i8bin": "i1", ".ibin": "<i4"}


def mapped(path: Path) -> mmap.mmap:
    """The bytes of a file, read-only."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def vecs(path: Path, _: str) -> VectorDataset:
    """A dimension before every row, the same in all.

    Raises:
        KnnscopeError: the size of the file and the dimensions do not agree.
    """
    ending = endings.of(endings.uncropped(path), VECS)
    dtype = np.dtype(VECS[ending])
    size = path.stat().st_size
    if size < 4:
        raise KnnscopeError(f"{path}: {size} bytes are too few for a row")
    data = mapped(path)
    dim = int.from_bytes(data[:4], "little", signed=True)
    width = 4 + dim * dtype.itemsize
    if not 0 < dim <= MAX_DIM:
        raise KnnscopeError(f"{path}: its first row claims {dim:,} components (limit {MAX_DIM:,}): not a {ending} file")
    if size % width:
        raise KnnscopeError(
            f"{path}: {size:,} bytes are no whole number of rows of {dim} components ({width} bytes): cut off"
        )
    rows = size // width
    raw = np.frombuffer(data, dtype=np.uint8).reshape(rows, width)
    for start in range(0, rows, 1 << 16):
        claimed = np.ascontiguousarray(raw[start : start + (1 << 16), :4]).view("<i4").ravel()
        if (wrong := np.flatnonzero(claimed != dim)).size:
            raise KnnscopeError(
                f"{path}: row {start + wrong[0]:,} claims {claimed[wrong[0]]:,} components, the first row {dim}"
            )
    values = np.ndarray((rows, dim), dtype, buffer=data, offset=4, strides=(width, dtype.itemsize))
    return VectorDataset(str(path), checked(path, values))


def counts(path: Path, entry: int) -> tuple[int, int, int]:
    """Rows, entries a row and bytes of the header of a file of the bin family: whichever width of counts fits its size.

    Args:
        path: the file.
        entry: bytes of an entry.

    Raises:
        KnnscopeError: neither fits.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(16)
    if len(head) < 8:
        raise KnnscopeError(f"{path}: {size} bytes are too few for its header")
    cropped = endings.CROP.search(path.name.lower())
    for width in (4, 8):
        if len(head) < 2 * width:
            continue
        rows, dim = (int.from_bytes(head[i : i + width], "little") for i in (0, width))
        if cropped and int(cropped[1]) < rows:
            rows = int(cropped[1])
        if size == 2 * width + rows * dim * entry:
            return rows, dim, 2 * width
    rows, dim = (int.from_bytes(head[i : i + 4], "little") for i in (0, 4))
    raise KnnscopeError(
        f"{path}: {size:,} bytes, its header ({rows:,} x {dim:,}) needs {8 + rows * dim * entry:,}: cut off, or another format"
    )


def bin_(path: Path, _: str) -> VectorDataset:
    """Two counts, then all rows.

    Raises:
        KnnscopeError: the size of the file and the counts do not agree.
    """
    dtype = np.dtype(BIN[endings.of(endings.uncropped(path), BIN)])
    rows, dim, start = counts(path, dtype.itemsize)
    if not rows * dim:
        raise KnnscopeError(f"{path}: {rows:,} rows of {dim:,} components, nothing to search")
    if dim > MAX_DIM:
        raise KnnscopeError(f"{path}: {dim:,} components a row are more than the limit of {MAX_DIM:,}")
    return VectorDataset(str(path), checked(path, np.ndarray((rows, dim), dtype, buffer=mapped(path), offset=start)))
