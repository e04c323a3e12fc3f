"""Files of vectors: every format there and back, every kind of damage one line."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from knnscope.datasets import array_checks, hdf5_file, names, vector_files
from knnscope.errors import KnnscopeError
from tests.processes import LONG

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
    "lz4.feather": (write_arrow("list", compression="lz4"), "f4"),
    "zstd.feather": (write_arrow("fixed", compression="zstd"), "f4"),
}


def make(folder: Path, name: str) -> tuple[Path, np.ndarray]:
    writer, dtype = WRITERS[name]
    values = (X * 20 + 100).astype(dtype) if dtype in ("u1", "i1", "i4") else X.astype(dtype)
    writer(folder / name, values, dtype)
    return folder / name, values


@pytest.mark.parametrize("name", WRITERS)
def test_there_and_back(tmp_path: Path, name: str) -> None:
    path, values = make(tmp_path, name)
    found, _ = names.load(str(path))
    np.testing.assert_array_equal(found.documents.values, values)
    assert found.documents.values.dtype == values.dtype
    limited, _ = names.load(str(path), names.DatasetOptions(names.beir.Selection(limit=5)))
    assert len(limited.documents) == 5


@pytest.mark.parametrize(
    "name",
    ["a.npy", "a.fvecs", "a.bvecs", "a.fbin", "a.f16bin", "a.u8bin", "wide.fbin", "a.safetensors", "a.fbin.crop_nb_37"],
)
def test_mapped_files_are_not_read_into_memory(tmp_path: Path, name: str) -> None:
    path, _ = make(tmp_path, name)
    values = vector_files.load(str(path)).documents.values
    assert not values.flags.owndata
    assert not values.flags.writeable


def test_hdf5_brings_queries_and_metric(tmp_path: Path) -> None:
    path, values = make(tmp_path, "a.hdf5")
    found = vector_files.load(str(path))
    assert found.metric == "cosine"
    assert found.queries is not None
    np.testing.assert_array_equal(found.queries.values, values[:3])


def test_parquet_with_two_list_columns_wants_a_name(tmp_path: Path) -> None:
    path = tmp_path / "two.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": list(X[:4]), "b": list(X[4:8])}), path)
    with pytest.raises(KnnscopeError, match=r"2 list columns \(a, b\): name one as"):
        vector_files.load(str(path))
    np.testing.assert_array_equal(vector_files.load(f"{path}#b").documents.values, X[4:8])
    with pytest.raises(KnnscopeError, match="no list column 'c'; there is a, b"):
        vector_files.load(f"{path}#c")


class Bomb:
    """Unpickling it would leave a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    np.save(tmp_path / "object.npy", np.array([[Bomb(trace)]], dtype=object))
    np.savez(tmp_path / "object.npz", np.array([[Bomb(trace)]], dtype=object))
    np.savez(tmp_path / "two.npz", a=np.array([[Bomb(trace)]], dtype=object), b=X)
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(Bomb(trace)))
    with zipfile.ZipFile(tmp_path / "plain.npz", "w") as bundle:
        bundle.writestr("x.npy", pickle.dumps(Bomb(trace)))
    np.testing.assert_array_equal(vector_files.load(str(tmp_path / "two.npz")).documents.values, X)
    for name in ("object.npy", "plain.npy", "object.npz", "two.npz#a", "plain.npz"):
        with pytest.raises(KnnscopeError, match=r"never unpickled|magic string is not correct"):
            vector_files.load(str(tmp_path / name))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(5, np.float32), "two dimensions"),
        (np.ones((2, 2, 2), np.float32), "two dimensions"),
        (np.ones((0, 3), np.float32), "0 rows"),
        (np.ones((3, 0), np.float32), "0 components"),
        (np.ones((2, 3), np.complex64), "complex64"),
        (np.array([["a"]]), "<U1"),
        (np.ones((1, array_checks.MAX_DIM + 1), np.int8), "4,194,305 components"),
    ],
)
def test_wrong_arrays(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(KnnscopeError, match=message):
        vector_files.load(str(tmp_path / "x.npy"))


def test_bad_numbers_are_named(tmp_path: Path) -> None:
    broken = X.copy()
    broken[20, 3], broken[30, 0] = np.nan, np.inf
    np.save(tmp_path / "x.npy", broken)
    with pytest.raises(KnnscopeError, match=r"row 20 has nan in component 3 \(2 such rows from"):
        names.load(str(tmp_path / "x.npy"))


def test_rows_of_different_lengths(tmp_path: Path) -> None:
    path = tmp_path / "x.fvecs"
    write_vecs(path, X, "f4")
    raw = bytearray(path.read_bytes())
    raw[5 * 52 : 5 * 52 + 4] = np.int32(11).tobytes()
    path.write_bytes(raw)
    with pytest.raises(KnnscopeError, match="row 5 claims 11 components, the first row 12"):
        vector_files.load(str(path))
    pyarrow.parquet.write_table(pyarrow.table({"v": [[1.0, 2.0], [1.0]]}), tmp_path / "x.parquet")
    with pytest.raises(KnnscopeError, match="row 1 has 1 components, the first row 2"):
        vector_files.load(str(tmp_path / "x.parquet"))
    pyarrow.parquet.write_table(pyarrow.table({"v": [[1.0, 2.0], None]}), tmp_path / "y.parquet")
    with pytest.raises(KnnscopeError, match="empty cell"):
        vector_files.load(str(tmp_path / "y.parquet"))


def test_hdf5_links_are_not_followed(tmp_path: Path) -> None:
    secret, path = tmp_path / "secret.hdf5", tmp_path / "x.hdf5"
    write_hdf5(secret, X, "f4")
    with h5py.File(path, "w") as file:
        file["train"] = h5py.ExternalLink(str(secret), "train")
    with pytest.raises(KnnscopeError, match="link to another place"):
        vector_files.load(str(path))
    raw = tmp_path / "raw"
    raw.write_bytes(X.tobytes())
    with h5py.File(path, "w") as file:
        file.create_dataset("train", X.shape, "f4", external=[(str(raw), 0, X.nbytes)])
    with pytest.raises(KnnscopeError, match="no plain dataset"):
        vector_files.load(str(path))
    with h5py.File(path, "w") as file:
        file.create_dataset("train", (1 << 40, 64), "f4", chunks=(1024, 64))
    with pytest.raises(KnnscopeError, match="bytes of memory"):
        vector_files.load(str(path))


def test_missing_empty_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(KnnscopeError, match="no such file"):
        vector_files.load(str(tmp_path / "x.npy"))
    (tmp_path / "x.npy").touch()
    with pytest.raises(KnnscopeError, match="the file is empty"):
        vector_files.load(str(tmp_path / "x.npy"))
    (tmp_path / "x.odt").write_text("1,2")
    with pytest.raises(KnnscopeError, match="not a kind of file read here"):
        names.load(str(tmp_path / "x.odt"))
    with pytest.raises(KnnscopeError, match="did you mean sample"):
        names.load("smaple")


@pytest.mark.parametrize("name", WRITERS)
@given(data=st.data())
def test_damage_gives_an_array_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    path, _ = make(tmp_path_factory.mktemp("fuzz"), name)
    raw = bytearray(path.read_bytes())
    head = min(len(raw), 200)
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.one_of(st.integers(0, head - 1), st.integers(0, len(raw) - 1)))
        raw[place] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))]
    path.write_bytes(bytes(raw))
    try:
        found = vector_files.load(str(path))
    except KnnscopeError as error:
        assert str(path) in str(error)
    else:
        assert found.documents.values.ndim == 2
        assert found.documents.values.nbytes <= 1 << 24


@pytest.mark.parametrize(
    "stored",
    ["angular", b"angular", np.array(["angular"], dtype=object), np.array([[b"angular"]]), np.bytes_(b"angular")],
)
def test_an_hdf5_attribute_may_be_stored_as_an_array(tmp_path: Path, stored: object) -> None:
    path, _ = make(tmp_path, "a.hdf5")
    with h5py.File(path, "r+") as file:
        file.attrs["distance"] = stored
    assert vector_files.load(str(path)).metric == "cosine"


@pytest.mark.parametrize("stored", [3, np.array(["angular", "angular"], dtype=object), h5py.Empty("S1"), np.zeros(0)])
def test_an_hdf5_attribute_that_is_no_name_is_said(tmp_path: Path, stored: object) -> None:
    path, _ = make(tmp_path, "a.hdf5")
    with h5py.File(path, "r+") as file:
        file.attrs["distance"] = stored
    found = vector_files.load(str(path))
    assert found.metric is None
    assert "declares the distance" in found.notes[0]


def test_arrays_and_tensors_are_named_where_there_are_several(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=X, b=X[:5], n=np.arange(3))
    save_file({"a": X, "b": X[:5], "n": np.arange(3)}, tmp_path / "two.safetensors")
    for name in ("two.npz", "two.safetensors"):
        with pytest.raises(KnnscopeError, match=f"2 (arrays|tensors) of two dimensions.*name one as .*{name}#NAME"):
            vector_files.load(str(tmp_path / name))
        np.testing.assert_array_equal(vector_files.load(f"{tmp_path}/{name}#b").documents.values, X[:5])
        np.testing.assert_array_equal(names.load(f"{tmp_path}/{name}#a")[0].documents.values, X)
        with pytest.raises(KnnscopeError, match=rf"{name}.*"):
            vector_files.load(f"{tmp_path}/{name}#n")
    np.savez(tmp_path / "ann.npz", train=X, test=X[:3], neighbors=np.zeros((3, 2), np.int32))
    save_file({"train": X, "test": X[:3], "neighbors": np.zeros((3, 2), np.int32)}, tmp_path / "ann.safetensors")
    for name in ("ann.npz", "ann.safetensors"):
        found = vector_files.load(str(tmp_path / name))
        np.testing.assert_array_equal(found.documents.values, X)
        np.testing.assert_array_equal(found.queries.values, X[:3])


def test_bfloat16_is_held_exactly(tmp_path: Path) -> None:
    halves = (X.view(np.uint32) >> 16).astype("<u2")
    header = json.dumps({"e": {"dtype": "BF16", "shape": list(X.shape), "data_offsets": [0, halves.nbytes]}}).encode()
    raw = len(header).to_bytes(8, "little") + header + halves.tobytes()
    (tmp_path / "x.safetensors").write_bytes(raw)
    found = vector_files.load(str(tmp_path / "x.safetensors")).documents.values
    np.testing.assert_array_equal(found.view(np.uint32), X.view(np.uint32) >> 16 << 16)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"shape": [37, 12], "data_offsets": [0, 1776], "dtype": "F8_E4M3"}, "components of type F8_E4M3"),
        ({"shape": [37, 12], "data_offsets": [4, 1780], "dtype": "F32"}, "does not lie in bytes 4 to 1,780: cut off"),
        ({"shape": [37, 12], "data_offsets": [0, 1772], "dtype": "F32"}, "37 x 12 F32 does not lie"),
        ({"shape": [37, 12], "data_offsets": [1776, 0], "dtype": "F32"}, "does not lie"),
        ({"shape": [1 << 61, 1 << 61], "data_offsets": [0, 0], "dtype": "F32"}, "does not lie"),
        ({"shape": [-37, -12], "data_offsets": [0, 1776], "dtype": "F32"}, "no whole numbers"),
        ({"shape": [0, 12], "data_offsets": [0, 0], "dtype": "F32"}, "0 rows of 12 components"),
        ({"shape": [37, 12], "dtype": "F32"}, "no whole numbers"),
        ({"dtype": "F32"}, "its header is damaged"),
        ([], "its header is damaged"),
    ],
)  # fmt: skip
def test_wrong_safetensors(tmp_path: Path, about: object, message: str) -> None:
    header = json.dumps({"e": about}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + X.tobytes())
    with pytest.raises(KnnscopeError, match=message):
        vector_files.load(str(tmp_path / "x.safetensors"))


def test_a_crop_is_what_its_name_says(tmp_path: Path) -> None:
    """Whoever cut it corrected the header or did not; fewer rows than the name says are a file cut off."""
    path = tmp_path / "base.1B.fbin.crop_nb_37"
    write_cropped(path, X, "f4")
    np.testing.assert_array_equal(names.load(str(path))[0].documents.values, X)
    path.write_bytes(path.read_bytes()[:-48])
    with pytest.raises(KnnscopeError, match="cut off, or another format"):
        vector_files.load(str(path))


def test_counts_of_64_bits_beyond_32(tmp_path: Path) -> None:
    """A sparse file of 4,294,967,298 rows of one byte: its rows are mapped, none is read."""
    path = tmp_path / "huge.u8bin"
    with path.open("wb") as file:
        file.write(np.array([2**32 + 2, 1], "<u8").tobytes())
        file.truncate(16 + 2**32 + 2)
    assert vector_files.load(str(path)).documents.values.shape == (2**32 + 2, 1)


def test_the_parts_of_a_table_of_vectors_are_one_data_set(tmp_path: Path) -> None:
    for i, rows in enumerate((X[:20], X[20:30], X[30:])):
        write_fixed(tmp_path / f"train-{i:05d}-of-00003.parquet", rows, "f4")
    for spec in (tmp_path, f"{tmp_path}#v"):
        found, _ = names.load(str(spec))
        np.testing.assert_array_equal(found.documents.values, X)
    with pytest.raises(KnnscopeError, match="no column 'w'; there is v"):
        names.load(f"{tmp_path}#w")
    write_fixed(tmp_path / "train-00001-of-00003.parquet", X[:5, :7], "f4")
    with pytest.raises(
        KnnscopeError, match=r"00001-of-00003\.parquet: its rows have 7 components, those before them 12"
    ):
        names.load(str(tmp_path))
    write_fixed(tmp_path / "train-00001-of-00003.parquet", X[:5], "f8")
    with pytest.raises(KnnscopeError, match="its parts have float32 and float64 components"):
        names.load(str(tmp_path))
    (tmp_path / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(KnnscopeError, match="2 of the 3 parts of train"):
        names.load(str(tmp_path))


def test_lists_that_overlap_in_a_file_do_not_fill_memory(tmp_path: Path) -> None:
    rows, dim = 400_000, 3000
    zeros = pyarrow.array(np.zeros(rows, np.int32))
    column = pyarrow.ListViewArray.from_arrays(zeros, pyarrow.array(np.full(rows, dim, np.int32)), np.zeros(dim, "f4"))
    table = pyarrow.table({"v": column})
    with pyarrow.ipc.new_file(tmp_path / "x.arrow", table.schema) as file:
        file.write_table(table)
    with pytest.raises(KnnscopeError, match=r"claims .* and stores|bytes of memory"):
        vector_files.load(str(tmp_path / "x.arrow"))


def test_a_compressed_buffer_is_not_given_what_it_claims(tmp_path: Path, child_environment: dict[str, str]) -> None:
    """256 MiB of zeros in a file of some KiB, read where allocators get 64 MiB; the limit is taken back afterwards."""
    path = tmp_path / "x.feather"
    table = pyarrow.table({"v": pyarrow.FixedSizeListArray.from_arrays(np.zeros(1 << 26, np.float32), 1 << 16)})
    with pyarrow.ipc.new_file(path, table.schema, options=pyarrow.ipc.IpcWriteOptions(compression="zstd")) as file:
        file.write_table(table)
    assert path.stat().st_size < 64 << 10
    code = (
        "import resource, sys; from pathlib import Path; import pyarrow, pyarrow.parquet, pyarrow.ipc\n"
        "from knnscope.datasets import arrow, vector_files; from knnscope.errors import KnnscopeError\n"
        "arrow.SLACK = 64 << 20\n"
        "try: vector_files.load(sys.argv[1])\n"
        "except KnnscopeError as error: print(error)\n"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=child_environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert re.search(r"x.feather: no Arrow file, or a damaged one \((malloc|realloc).* failed\)", out[0]), out
    assert out[1] == "True"
    with pytest.raises(KnnscopeError, match=r"claims .* and stores"):
        vector_files.load(str(path))


def test_an_npz_that_unpacks_to_far_more_than_it_stores_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", np.zeros((30_000, 1000), np.float32))
    with pytest.raises(KnnscopeError, match="claims 120,000,000 bytes of numbers and stores"):
        vector_files.load(str(tmp_path / "x.npz"))


def test_an_hdf5_distance_that_is_not_known_is_said(tmp_path: Path) -> None:
    path, _ = make(tmp_path, "a.hdf5")
    with h5py.File(path, "r+") as file:
        file.attrs["distance"] = "hamming"
    dataset, notes = names.load(str(path))
    assert dataset.metric is None
    assert "declares the distance 'hamming'" in notes[0]


def test_small_files_with_large_claims_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    table = pyarrow.table({"v": pyarrow.array([np.zeros(5_000_000)])})
    pyarrow.parquet.write_table(table, tmp_path / "wide.parquet", compression="zstd")
    with pytest.raises(KnnscopeError, match="5,000,000 numbers in 1 rows"):
        vector_files.load(str(tmp_path / "wide.parquet"))
    table = pyarrow.table({"v": pyarrow.FixedSizeListArray.from_arrays(np.zeros(30_000_000, np.float32), 1000)})
    pyarrow.parquet.write_table(table, tmp_path / "long.parquet", compression="zstd")
    with pytest.raises(KnnscopeError, match=r"claims .* and stores"):
        vector_files.load(str(tmp_path / "long.parquet"))
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file.create_dataset("train", (2_000_000, 64), "f4", chunks=(1024, 64))
    with pytest.raises(KnnscopeError, match="claims 512,000,000 bytes of numbers and stores 0"):
        vector_files.load(str(tmp_path / "x.hdf5"))


def test_a_library_that_does_not_end_or_crashes_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = make(tmp_path, "a.hdf5")
    monkeypatch.setattr(hdf5_file.sys, "executable", str(tmp_path / "stand-in"))
    for script, message in (("kill -SEGV $$", "crashes \\(signal 11\\)"), ("sleep 3600", "does not end")):
        (tmp_path / "stand-in").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "stand-in").chmod(0o755)
        monkeypatch.setattr(hdf5_file, "PROBE_SECONDS", 1 if "sleep" in script else LONG)
        with pytest.raises(KnnscopeError, match=message):
            vector_files.load(str(path))


def test_what_this_program_wrote_is_read_back_with_ids_queries_and_metric(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for part, count in ((folder, 4), (folder / "queries", 2)):
        part.mkdir()
        np.save(part / "vectors.npy", X[:count])
        (part / "ids.txt").write_text("".join(f"{part.name}-{i}\n" for i in range(count)))
    (folder / "meta.json").write_text('{"recipe": {"metric": "cosine"}}')
    found, _ = names.load(str(folder))
    assert found.metric == "cosine"
    assert list(found.documents.ids) == ["run-0", "run-1", "run-2", "run-3"]
    assert list(found.queries.ids) == ["queries-0", "queries-1"]
    (folder / "ids.txt").write_text("one\n")
    with pytest.raises(KnnscopeError, match="1 ids for 4 rows"):
        names.load(str(folder))
    (folder / "ids.txt").unlink()
    for text, message in (
        ('{"recipe": {"metric": "hamming"}}', "no metric 'hamming'"),
        ("{}", "holds no recipe"),
        ("[", "holds no recipe"),
    ):
        (folder / "meta.json").write_text(text)
        with pytest.raises(KnnscopeError, match=message):
            names.load(str(folder))


def test_queries_that_data_get_left_beside_the_rows_are_used_and_said(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "x-queries.npy", X[:2] + 1)
    found, notes = names.load(str(tmp_path / "x.npy"))
    np.testing.assert_array_equal(found.queries.values, X[:2] + 1)
    assert "x-queries.npy" in notes[0]
    np.save(tmp_path / "x-queries.npy", X[:2, :5])
    found, notes = names.load(str(tmp_path / "x.npy"))
    assert found.queries is None
    assert "not taken as queries" in notes[0]
