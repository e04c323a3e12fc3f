"""What is peculiar to one format: names of arrays, widths of counts, links, and files that claim more than they store."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from safetensors.numpy import save_file

from knnscope.certified.index import ExactIndex
from knnscope.datasets import registry, vector_files
from knnscope.errors import KnnscopeError
from tests.datasets.vector_writers import X, make, write_cropped, write_fixed, write_hdf5, write_vecs


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
        np.testing.assert_array_equal(registry.load(f"{tmp_path}/{name}#a")[0].documents.values, X)
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
    np.testing.assert_array_equal(registry.load(str(path))[0].documents.values, X)
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
        found, _ = registry.load(str(spec))
        np.testing.assert_array_equal(found.documents.values, X)
    with pytest.raises(KnnscopeError, match="no column 'w'; there is v"):
        registry.load(f"{tmp_path}#w")
    write_fixed(tmp_path / "train-00001-of-00003.parquet", X[:5, :7], "f4")
    with pytest.raises(
        KnnscopeError, match=r"00001-of-00003\.parquet: its rows have 7 components, those before them 12"
    ):
        registry.load(str(tmp_path))
    write_fixed(tmp_path / "train-00001-of-00003.parquet", X[:5], "f8")
    with pytest.raises(KnnscopeError, match="its parts have float32 and float64 components"):
        registry.load(str(tmp_path))
    (tmp_path / "train-00001-of-00003.parquet").unlink()
    with pytest.raises(KnnscopeError, match="2 of the 3 parts of train"):
        registry.load(str(tmp_path))


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
    dataset, notes = registry.load(str(path))
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


@pytest.mark.parametrize("endings", [(".npy", ".npy"), (".npy", ".fvecs")])
def test_a_folder_with_files_of_vectors_says_how_to_go_on(tmp_path: Path, endings: tuple[str, ...]) -> None:
    """Whoever opens it."""
    for number, ending in enumerate(endings):
        some = X[5 * number : 5 * number + 5]
        np.save(tmp_path / f"part-{number}.npy", some) if ending == ".npy" else write_vecs(
            tmp_path / f"part-{number}{ending}", some, "f4"
        )
    message = rf"part-0.npy, part-1{endings[1]}\): name one of them, such as .*part-0.npy; .*joined first: numpy.save"
    for opens in (lambda: registry.load(str(tmp_path)), lambda: ExactIndex.build(tmp_path)):
        with pytest.raises(KnnscopeError, match=message):
            opens()
