"""NumPy's own files: .npy, memory-mapped, and the arrays of an .npz. Nothing is ever unpickled.

Layout: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from knnscope.datasets.array_checks import checked, memory_limit
from knnscope.errors import KnnscopeError
from knnscope.records import VectorDataset
from knnscope.store import BAD_HEADER, BAD_ZIP

MAX_HEADER = 10_000
MAGIC = b"\x93NUMPY"
PICKLED = (
    "an array of Python objects, which are never unpickled: save it as numbers, like np.asarray(x, dtype='float32')"
)


def _reason(error: Exception) -> str:
    told = str(error).splitlines() or [type(error).__name__]
    if "<ast." in told[0]:  # and where that lies in memory
        return "no .npy file, or cut off (its header is no dictionary of plain values)"
    if "object" in told[0].lower() or "pickle" in str(error).lower():
        return PICKLED
    return f"no .npy file, or cut off ({told[0]})"


def npy(path: Path, _: str) -> VectorDataset:
    """One array, mapped, not read.

    Raises:
        KnnscopeError: see ``mapped``; or no rows of numbers.
    """
    return VectorDataset(str(path), checked(path, mapped(path)))


def mapped(path: Path) -> npt.NDArray[Any]:
    """The array of an .npy file, of any shape and type, mapped, not read.

    Raises:
        KnnscopeError: no .npy file, one of objects, or cut off.
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        begin = file.read(len(MAGIC))
    if begin.startswith(b"PK"):
        raise KnnscopeError(f"{path}: an .npz archive under the name of an .npy file: rename it")
    if begin != MAGIC:
        raise KnnscopeError(f"{path}: no .npy file, whatever its name says: np.save writes one")
    try:
        with warnings.catch_warnings(action="ignore"):  # of old names of types
            values: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False, max_header_size=MAX_HEADER)
    except (*BAD_HEADER, MemoryError) as error:  # a map takes none: its header is nested too deep
        raise KnnscopeError(f"{path}: {_reason(error)}") from error
    return values


def npz(path: Path, column: str) -> VectorDataset:
    """The array of two dimensions; of several the one named, or ``train`` with the queries ``test``.

    Raises:
        KnnscopeError: no .npz file, a damaged one, or no such array.
    """
    try:
        with zipfile.ZipFile(path) as bundle:
            members = {m.filename.removesuffix(".npy"): m for m in bundle.infolist() if m.filename.endswith(".npy")}
            rows = {}
            for name, member in members.items():
                with bundle.open(member) as file:
                    shape, _, dtype = _header(file)
                    if dtype.hasobject and (name == column or len(members) == 1):
                        raise ValueError("an array of objects")
                    if len(shape) == 2 and dtype.kind in "fiu":
                        rows[name] = member
            return _chosen(path, bundle, members, rows, column)
    except BAD_ZIP as error:
        raise KnnscopeError(f"{path}: no .npz file, or a damaged one ({str(error)[:120]})") from error
    except BAD_HEADER as error:
        raise KnnscopeError(f"{path}: {_reason(error)}") from error


def _chosen(
    path: Path,
    bundle: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    rows: dict[str, zipfile.ZipInfo],
    column: str,
) -> VectorDataset:
    wanted = [column] if column else ["train", "test"] if "train" in rows else list(rows)
    if column and column not in rows:
        raise KnnscopeError(f"{path}: no array {column!r} of two dimensions; there is {', '.join(members) or 'none'}")
    if not rows or (len(wanted) > 1 and "train" not in rows):
        raise KnnscopeError(
            f"{path}: {len(rows)} arrays of two dimensions ({', '.join(rows or members)}): name one as {path}#NAME"
        )
    parts = [checked(path, _member(path, bundle, rows[name])) for name in wanted if name in rows]
    return VectorDataset(str(path), parts[0], parts[1] if len(parts) > 1 else None)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the columns lie together, and type.

    Raises:
        ValueError: no header of an .npy file.
    """
    version = np.lib.format.read_magic(file)
    read: Any = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"version {version} of the format")
    try:
        with warnings.catch_warnings(action="ignore"):
            shape, fortran, dtype = read(file, max_header_size=MAX_HEADER)
    except MemoryError as error:
        raise ValueError("its header is nested too deep") from error
    return shape, fortran, dtype


def _member(path: Path, bundle: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with bundle.open(member) as file:
        shape, fortran, dtype = _header(file)
        needed = shape[0] * shape[1] * dtype.itemsize
        memory_limit(path, needed, member.compress_size)
        if needed > member.file_size:
            raise ValueError(f"{member.file_size:,} bytes, its header needs {needed:,}")
        values = np.empty(needed // dtype.itemsize, dtype)
        view = values.view(np.uint8).data
        got = 0
        while got < needed and (count := cast(io.BufferedIOBase, file).readinto(view[got : got + (1 << 24)])):
            got += count
        if got < needed:
            raise ValueError(f"{got:,} bytes of {needed:,}")
    return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)
