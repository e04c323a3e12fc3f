"""Writers of every format of vectors, by libraries or by the layouts' own pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
from safetensors.numpy import save_file

X = np.random.default_rng(0).standard_normal((37, 12)).astype(np.float32)


def write_vecs(path: Path, values: np.ndarray, dtype: str) -> None:
    with path.open("wb") as file:
        for row in values.astype(dtype):
            file.write(np.int32(len(row)).tobytes() + row.tobytes())


def write_bin(path: Path, values: np.ndarray, dtype: str) -> None:
    path.write_bytes(np.array(values.shape, "<u4").tobytes() + np.ascontiguousarray(values, dtype=dtype).tobytes())


def write_hdf5(path: Path, values: np.ndarray, dtype: str) -> None:
    with h5py.File(path, "w") as file:
        file["train"], file["test"] = values.astype(dtype), values[:3].astype(dtype)
        file.attrs["distance"] = "angular"


def write_parquet(path: Path, values: np.ndarray, dtype: str) -> None:
    column = pyarrow.array(list(values.astype(dtype)))
    pyarrow.parquet.write_table(pyarrow.table({"id": list(range(len(values))), "vector": column}), path)


def write_fixed(path: Path, values: np.ndarray, dtype: str) -> None:
    flat = pyarrow.array(values.astype(dtype).ravel())
    column = pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
    pyarrow.parquet.write_table(pyarrow.table({"v": column}), path, row_group_size=10)


def write_wide(path: Path, values: np.ndarray, dtype: str) -> None:
    """Counts of 64 bits, as newer cuVS writes them."""
    path.write_bytes(np.array(values.shape, "<u8").tobytes() + np.ascontiguousarray(values, dtype=dtype).tobytes())


def write_cropped(path: Path, values: np.ndarray, dtype: str) -> None:
    """The first rows of a billion, under the header of all."""
    path.write_bytes(np.array([10**9, values.shape[1]], "<u4").tobytes() + values.astype(dtype).tobytes())


def write_arrow(kind: str, stream: bool = False, compression: str | None = None) -> Callable[..., None]:
    """A list column of this kind, in batches of 10 rows."""

    def write(path: Path, values: np.ndarray, dtype: str) -> None:
        rows, dim = values.shape
        flat = pyarrow.array(values.astype(dtype).ravel())
        offsets = pyarrow.array(np.arange(rows + 1) * dim, pyarrow.int64() if "large" in kind else pyarrow.int32())
        sizes = pyarrow.array(np.full(rows, dim), offsets.type)
        column = {
            "list": lambda: pyarrow.ListArray.from_arrays(offsets, flat),
            "large_list": lambda: pyarrow.LargeListArray.from_arrays(offsets, flat),
            "fixed": lambda: pyarrow.FixedSizeListArray.from_arrays(flat, dim),
            "list_view": lambda: pyarrow.ListViewArray.from_arrays(offsets[:-1], sizes, flat),
            "large_list_view": lambda: pyarrow.LargeListViewArray.from_arrays(offsets[:-1], sizes, flat),
            "tensor": lambda: pyarrow.FixedShapeTensorArray.from_numpy_ndarray(values.astype(dtype)),
        }[kind]()
        table = pyarrow.table({"name": [f"row {i}" for i in range(rows)], "v": column})
        if path.suffix == ".parquet":
            pyarrow.parquet.write_table(table, path, row_group_size=10)
            return
        options = pyarrow.ipc.IpcWriteOptions(compression=compression)
        with (pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file)(path, table.schema, options=options) as file:
            file.write_table(table, max_chunksize=10)

    return write


WRITERS: dict[str, tuple[Callable[[Path, np.ndarray, str], None], str]] = {
    "a.npy": (lambda p, v, d: np.save(p, v.astype(d)), "f4"),
    "b.npy": (lambda p, v, d: np.save(p, np.asfortranarray(v.astype(d))), "f8"),
    "c.npy": (lambda p, v, d: np.save(p, v.astype(d)), "f2"),
    "big-endian.npy": (lambda p, v, d: np.save(p, v.astype(">" + d)), "f4"),
    "big-endian-whole.npy": (lambda p, v, d: np.save(p, v.astype(">" + d)), "i4"),
    "a.npz": (lambda p, v, d: np.savez(p, v.astype(d)), "f4"),
    "b.npz": (lambda p, v, d: np.savez_compressed(p, x=np.asfortranarray(v.astype(">" + d)), n=np.arange(3)), "f8"),
    "a.safetensors": (lambda p, v, d: save_file({"e": v.astype(d), "n": np.ones(3)}, p, {"format": "np"}), "f4"),
    "b.safetensors": (lambda p, v, d: save_file({"e": v.astype(d)}, p), "f2"),
    "a.fvecs": (write_vecs, "f4"),
    "a.bvecs": (write_vecs, "u1"),
    "a.ivecs": (write_vecs, "i4"),
    "a.fbin": (write_bin, "f4"),
    "a.f16bin": (write_bin, "f2"),
    "a.u8bin": (write_bin, "u1"),
    "a.i8bin": (write_bin, "i1"),
    "a.ibin": (write_bin, "i4"),
    "wide.fbin": (write_wide, "f4"),
    "wide.u8bin": (write_wide, "u1"),
    "a.fbin.crop_nb_37": (write_cropped, "f4"),
    "a.u8bin.crop_nb_37": (write_bin, "u1"),
    "a.hdf5": (write_hdf5, "f4"),
    "a.h5": (write_hdf5, "f8"),
    "a.parquet": (write_parquet, "f4"),
    "fixed.parquet": (write_fixed, "f4"),
    "large.parquet": (write_arrow("large_list"), "f4"),
    "list.arrow": (write_arrow("list"), "f4"),
    "large.arrow": (write_arrow("large_list"), "f8"),
    "fixed.arrow": (write_arrow("fixed"), "f2"),
    "view.arrow": (write_arrow("list_view"), "f4"),
    "large-view.arrow": (write_arrow("large_list_view"), "u1"),
    "tensor.arrow": (write_arrow("tensor"), "f4"),
    "stream.arrow": (write_arrow("fixed", stream=True), "f4"),
    "view.arrows": (write_arrow("list_view", stream=True), "i1"),
    "file.ipc": (write_arrow("list"), "f4"),
    "lz4.feather": (write_arrow("list", compression="lz4"), "f4"),
    "zstd.feather": (write_arrow("fixed", compression="zstd"), "f4"),
}


def make(folder: Path, name: str) -> tuple[Path, np.ndarray]:
    writer, dtype = WRITERS[name]
    values = (X * 20 + 100).astype(dtype) if dtype in ("u1", "i1", "i4") else X.astype(dtype)
    writer(folder / name, values, dtype)
    return folder / name, values
