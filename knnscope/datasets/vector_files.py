"""Vectors as they are: .npy, .fvecs/.bvecs/.ivecs, .fbin/.u8bin/.i8bin/.ibin, ANN-benchmarks HDF5, Parquet.

Files are memory-mapped where their layout allows it and never unpickled. Layouts: the vecs family has a little-endian
int32 dimension before every row (http://corpus-texmex.irisa.fr); the bin family has uint32 rows and dimension once
(https://big-ann-benchmarks.com).
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from knnscope.environment import memory
from knnscope.errors import KnnscopeError, require
from knnscope.processes import PACKAGE, PARENT
from knnscope.records import VectorDataset, Vectors
from knnscope.store import os_problem

MAX_DIM = 1 << 22
"""Components of a row: with more, rounding in float32 may make anything of a cosine (search/rounding.py), and nothing could be graded."""
PROBE_SECONDS = 20
MAX_GROWTH = 1000
"""Bytes of numbers for each byte stored: compressed zeros, but no bomb."""
DTYPES = ("float16", "float32", "float64", "int8", "uint8", "int32")
_VECS = {".fvecs": "<f4", ".bvecs": "u1", ".ivecs": "<i4"}
_BIN = {".fbin": "<f4", ".u8bin": "u1", ".i8bin": "i1", ".ibin": "<i4"}


def suffix_of(spec: str) -> str:
    """The file name's ending that says the format; ``file.parquet#column`` names a column."""
    return Path(spec.partition("#")[0]).suffix.lower()


def is_vector_file(spec: str) -> bool:
    """Whether the name ends in one of the formats read here."""
    return suffix_of(spec) in READERS


def load(spec: str) -> VectorDataset:
    """Read a file of vectors.

    Args:
        spec: a path; for Parquet with several list columns ``path#column``.

    Raises:
        KnnscopeError: missing, cut off, damaged, of another type, or too large for the memory it needs.
    """
    text, _, column = spec.partition("#")
    path = Path(text)
    reader = READERS[path.suffix.lower()]
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


def _checked(path: Path, values: npt.NDArray[Any]) -> Vectors:
    if values.ndim != 2:
        raise KnnscopeError(f"{path}: an array of shape {values.shape}, two dimensions (rows, dim) were expected")
    if values.dtype.name not in DTYPES or not values.dtype.isnative:
        raise KnnscopeError(
            f"{path}: components of type {values.dtype}, expected one of {', '.join(DTYPES)}, little-endian"
        )
    if 0 in values.shape:
        raise KnnscopeError(f"{path}: {values.shape[0]} rows of {values.shape[1]} components, nothing to search")
    if values.shape[1] > MAX_DIM:
        raise KnnscopeError(f"{path}: {values.shape[1]:,} components a row are more than the limit of {MAX_DIM:,}")
    return Vectors(values)


def _npy(path: Path, _: str) -> VectorDataset:
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            raise KnnscopeError(f"{path}: an .npz archive under the name of an .npy file")
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False, max_header_size=10_000)
    except (ValueError, EOFError, TypeError, SyntaxError, OverflowError, RecursionError, TokenError) as error:
        if "object" in str(error).lower() or "pickle" in str(error).lower():
            reason = "an array of Python objects, or no .npy file; it is never unpickled: save it as np.asarray(x, dtype='float32')"
        else:
            reason = f"no .npy file, or cut off ({str(error).splitlines()[0]})"
        raise KnnscopeError(f"{path}: {reason}") from error
    return VectorDataset(str(path), _checked(path, values))


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _vecs(path: Path, _: str) -> VectorDataset:
    dtype = np.dtype(_VECS[path.suffix.lower()])
    size = path.stat().st_size
    if size < 4:
        raise KnnscopeError(f"{path}: {size} bytes are too few for a row")
    data = _map(path)
    dim = int.from_bytes(data[:4], "little", signed=True)
    width = 4 + dim * dtype.itemsize
    if not 0 < dim <= MAX_DIM:
        raise KnnscopeError(
            f"{path}: its first row claims {dim:,} components (limit {MAX_DIM:,}): not a {path.suffix} file"
        )
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
    return VectorDataset(str(path), _checked(path, values))


def _bin(path: Path, _: str) -> VectorDataset:
    dtype = np.dtype(_BIN[path.suffix.lower()])
    size = path.stat().st_size
    if size < 8:
        raise KnnscopeError(f"{path}: {size} bytes are too few for its header")
    data = _map(path)
    rows, dim = (int.from_bytes(data[i : i + 4], "little") for i in (0, 4))
    expected = 8 + rows * dim * dtype.itemsize
    if size != expected:
        raise KnnscopeError(
            f"{path}: {size:,} bytes, its header ({rows:,} x {dim:,}) needs {expected:,}: cut off, or another format"
        )
    values = np.ndarray((rows, dim), dtype, buffer=data, offset=8)
    return VectorDataset(str(path), _checked(path, values))


def _memory_limit(path: Path, needed: int, stored: int) -> None:
    """Refuse what does not fit into memory, and what claims far more than the file holds."""
    facts = memory()
    available = min(filter(None, (facts["available"], facts["limit"])), default=None)
    if available is not None and needed > available:
        raise KnnscopeError(
            f"{path}: needs {needed:,} bytes of memory, {available:,} are free: save it as .npy, which is memory-mapped"
        )
    if needed > MAX_GROWTH * stored + (1 << 20):
        raise KnnscopeError(f"{path}: claims {needed:,} bytes of numbers and stores {stored:,}: not a file of vectors")


def _probe(path: Path) -> None:
    """Open a file once in a process of its own: libhdf5 loops or crashes on some damaged files, and cannot be stopped in this one.

    Raises:
        KnnscopeError: it did not come to an end.
    """
    code = "import sys; from knnscope import processes; processes.end_with_parent()\nimport h5py\n"
    code += "with h5py.File(sys.argv[1]) as f: f.attrs.get('distance'), [f.get(n) for n in f]"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(path.absolute())],
            env={**os.environ, PARENT: str(os.getpid())},
            cwd=PACKAGE,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise KnnscopeError(f"{path}: a damaged HDF5 file: reading its header does not end") from error
    if done.returncode < 0:
        raise KnnscopeError(f"{path}: a damaged HDF5 file: reading its header crashes (signal {-done.returncode})")


def _hdf5(path: Path, _: str) -> VectorDataset:
    h5py = require("h5py", "files")
    _probe(path)
    notes: tuple[str, ...] = ()
    metrics = {"euclidean": "l2", "angular": "cosine", "dot": "ip", "ip": "ip", "l2": "l2", "cosine": "cosine"}
    try:
        with h5py.File(path, "r") as file:
            parts = {}
            for name in ("train", "test"):
                link = file.get(name, getlink=True)
                if link is None:
                    continue
                if not isinstance(link, h5py.HardLink):
                    raise KnnscopeError(f"{path}: {name!r} is a link to another place, which is not followed")
                item = file[name]
                if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
                    raise KnnscopeError(f"{path}: {name!r} is no plain dataset of this file")
                if item.ndim != 2 or item.dtype.kind not in "fiu":
                    raise KnnscopeError(
                        f"{path}: {name!r} has shape {item.shape} and type {item.dtype}, numbers in two dimensions were expected"
                    )
                if item.shape[1] > MAX_DIM:
                    raise KnnscopeError(
                        f"{path}: {name!r} has {item.shape[1]:,} components a row, the limit is {MAX_DIM:,}"
                    )
                _memory_limit(path, item.size * item.dtype.itemsize, item.id.get_storage_size())
                parts[name] = _checked(path, item[()])
            if "train" not in parts:
                raise KnnscopeError(
                    f"{path}: no dataset 'train': an ANN-benchmarks file holds 'train' and 'test'; there is {', '.join(file) or 'nothing'}"
                )
            declared = file.attrs.get("distance")
            declared = declared.decode("ascii", "replace") if isinstance(declared, bytes) else declared
            metric = metrics.get(declared) if isinstance(declared, str) else None
            if declared is not None and metric is None:
                notes = (
                    f"{path}: declares the distance {declared!r}, which is not one of {', '.join(metrics)}: choose --metric",
                )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise KnnscopeError(f"{path}: no HDF5 file, or a damaged one ({str(error).splitlines()[0][:120]})") from error
    return VectorDataset(str(path), parts["train"], parts.get("test"), metric, notes)


def _parquet(path: Path, column: str) -> VectorDataset:
    pyarrow = require("pyarrow", "files")
    parquet = require("pyarrow.parquet", "files")
    try:
        with parquet.ParquetFile(path, memory_map=True) as file:
            schema = file.schema_arrow
            lists = [f.name for f in schema if _is_list(pyarrow, f.type)]
            if column and column not in lists:
                raise KnnscopeError(f"{path}: no list column {column!r}; there is {', '.join(lists) or 'none'}")
            if not column and len(lists) != 1:
                raise KnnscopeError(
                    f"{path}: {len(lists)} list columns ({', '.join(lists)}): name one as {path}#COLUMN"
                )
            name = column or lists[0]
            _check_column(path, file.metadata, name)
            values = np.concatenate(_list_batches(path, file, name))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise KnnscopeError(
            f"{path}: no Parquet file, or a damaged one ({str(error).splitlines()[0][:120]})"
        ) from error
    return VectorDataset(str(path), _checked(path, values))


def _check_column(path: Path, metadata: Any, name: str) -> None:
    """Before anything is decoded: a list column is bounded by the counts of its row groups."""
    chunks = [
        chunk
        for group in (metadata.row_group(i) for i in range(metadata.num_row_groups))
        for chunk in (group.column(c) for c in range(metadata.num_columns))
        if chunk.path_in_schema.split(".")[0] == name
    ]
    values = sum(chunk.num_values for chunk in chunks)
    if values > MAX_DIM * max(metadata.num_rows, 1):
        raise KnnscopeError(
            f"{path}: {values:,} numbers in {metadata.num_rows:,} rows: more than the limit of {MAX_DIM:,} components a row"
        )
    _memory_limit(path, 16 * values, sum(chunk.total_compressed_size for chunk in chunks) * 16)


def _is_list(pyarrow: Any, kind: Any) -> bool:
    types = pyarrow.types
    nested = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(nested and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)))


def _list_batches(path: Path, file: Any, name: str) -> list[npt.NDArray[Any]]:
    blocks, dim, start = [], None, 0
    for batch in file.iter_batches(columns=[name], batch_size=1 << 14):
        array = batch.column(0)
        if array.null_count:
            raise KnnscopeError(
                f"{path}: column {name!r} has an empty cell in rows {start:,} to {start + len(array):,}"
            )
        widths = np.asarray(array.value_lengths()) if not hasattr(array.type, "list_size") else None
        width = int(array.type.list_size) if widths is None else int(widths[0]) if len(widths) else 0
        if widths is not None and (wrong := np.flatnonzero(widths != (dim or width))).size:
            raise KnnscopeError(
                f"{path}: row {start + wrong[0]:,} has {widths[wrong[0]]} components, the first row {dim or width}"
            )
        if dim is not None and width != dim:
            raise KnnscopeError(f"{path}: row {start:,} has {width} components, the first row {dim}")
        dim = width
        flat = array.flatten()
        if flat.null_count:
            raise KnnscopeError(
                f"{path}: column {name!r} has a missing number in rows {start:,} to {start + len(array):,}"
            )
        blocks.append(flat.to_numpy(zero_copy_only=False).reshape(len(array), width))
        start += len(array)
    if not blocks:
        raise KnnscopeError(f"{path}: zero rows, nothing to search")
    return blocks


READERS: dict[str, Callable[[Path, str], VectorDataset]] = {
    ".npy": _npy,
    **dict.fromkeys(_VECS, _vecs),
    **dict.fromkeys(_BIN, _bin),
    ".hdf5": _hdf5,
    ".h5": _hdf5,
    ".parquet": _parquet,
}
