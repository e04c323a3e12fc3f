"""Files of vectors: every format there and back, every kind of damage one line."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnscope.datasets import array_checks, registry, vector_files
from knnscope.errors import KnnscopeError
from tests.datasets.vector_writers import WRITERS, X, make, write_vecs


@pytest.mark.parametrize("name", WRITERS)
def test_there_and_back(tmp_path: Path, name: str) -> None:
    path, values = make(tmp_path, name)
    found, _ = registry.load(str(path))
    np.testing.assert_array_equal(found.documents.values, values)
    assert found.documents.values.dtype == values.dtype
    limited, _ = registry.load(str(path), registry.DatasetOptions(registry.beir.Selection(limit=5)))
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


def test_an_hdf5_file_without_rows_says_what_there_is(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["test"] = np.eye(3, dtype=np.float32)
    with pytest.raises(KnnscopeError, match=r"no dataset 'train': .*; there is test"):
        vector_files.load(str(tmp_path / "x.hdf5"))


def test_a_dataset_of_hdf5_is_taken_by_its_name(tmp_path: Path) -> None:
    """Not the rows in its place: what is named as queries would be answered with, and certified, otherwise."""
    random = np.random.default_rng(0)
    train, test, own = (random.standard_normal((rows, 4)).astype(np.float32) for rows in (9, 3, 5))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["train"], file["test"], file["own"] = train, test, own
        file["within/deep"] = own[:2]
    for name, values in (("train", train), ("test", test), ("own", own), ("within/deep", own[:2])):
        found = vector_files.load(f"{tmp_path / 'x.h5'}#{name}")
        np.testing.assert_array_equal(found.documents.values, values)
        assert found.queries is None
    with pytest.raises(KnnscopeError, match=r"no dataset 'tset': there is .*test"):
        vector_files.load(f"{tmp_path / 'x.h5'}#tset")


@pytest.mark.parametrize("name", ["out", "out/own", "here/out/own", "soft", "/", "here/none", "here"])
def test_a_name_leads_to_no_other_place(tmp_path: Path, name: str) -> None:
    """Links within a group, and groups that are links."""
    with h5py.File(tmp_path / "other.h5", "w") as other, h5py.File(tmp_path / "x.h5", "w") as file:
        other["own"] = X
        file["out"], file["here/out"] = (h5py.ExternalLink(str(tmp_path / "other.h5"), "/") for _ in range(2))
        file["soft"] = h5py.SoftLink("/here")
    with pytest.raises(KnnscopeError, match=r"not followed|no dataset|no plain dataset"):
        vector_files.load(f"{tmp_path / 'x.h5'}#{name}")


@pytest.mark.parametrize("name", ["a.npy", "a.fvecs", "a.fbin"])
def test_a_name_in_a_file_of_one_array_is_refused(tmp_path: Path, name: str) -> None:
    path, _ = make(tmp_path, name)
    with pytest.raises(KnnscopeError, match="#other names nothing there: such a file holds one array"):
        vector_files.load(f"{path}#other")


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
        with pytest.raises(
            KnnscopeError, match=r"never unpickled|magic string is not correct|no \.npy file, whatever its name says"
        ):
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
        registry.load(str(tmp_path / "x.npy"))


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


def test_missing_empty_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(KnnscopeError, match="no such file"):
        vector_files.load(str(tmp_path / "x.npy"))
    (tmp_path / "x.npy").touch()
    with pytest.raises(KnnscopeError, match="the file is empty"):
        vector_files.load(str(tmp_path / "x.npy"))
    (tmp_path / "x.odt").write_text("1,2")
    with pytest.raises(KnnscopeError, match="this type of file is not read"):
        registry.load(str(tmp_path / "x.odt"))
    with pytest.raises(KnnscopeError, match="did you mean sample"):
        registry.load("smaple")


OF_EACH_READER = {
    *("a.npy", "big-endian.npy", "b.npz", "a.safetensors", "a.fvecs", "a.fbin", "wide.fbin", "a.fbin.crop_nb_37"),
    *("a.parquet", "list.arrow", "tensor.arrow", "stream.arrow", "zstd.feather"),
}
"""What is damaged most often: others differ from them in their types, their lists or their names alone."""


@pytest.mark.parametrize(
    ("name", "examples"),
    [
        # of HDF5 each is opened in a process of its own first, by either name alike
        *(
            (name, {".hdf5": 8, ".h5": 3}.get(Path(name).suffix, 60 if name in OF_EACH_READER else 15))
            for name in WRITERS
        ),
        *(pytest.param(name, 30, marks=pytest.mark.slow) for name in WRITERS if name.endswith((".h5", ".hdf5"))),
    ],
)
def test_damage_gives_an_array_or_one_line(tmp_path_factory: pytest.TempPathFactory, name: str, examples: int) -> None:
    @settings(max_examples=examples)
    @given(data=st.data())
    def damaged(data: st.DataObject) -> None:
        one_line_or_an_array(tmp_path_factory.mktemp("fuzz"), name, data)

    damaged()


def one_line_or_an_array(folder: Path, name: str, data: st.DataObject) -> None:
    path, _ = make(folder, name)
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


def test_what_this_program_wrote_is_read_back_with_ids_queries_and_metric(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for part, count in ((folder, 4), (folder / "queries", 2)):
        part.mkdir()
        np.save(part / "vectors.npy", X[:count])
        (part / "ids.txt").write_text("".join(f"{part.name}-{i}\n" for i in range(count)))
    (folder / "meta.json").write_text('{"recipe": {"metric": "cosine"}}')
    found, _ = registry.load(str(folder))
    assert found.metric == "cosine"
    assert list(found.documents.ids) == ["run-0", "run-1", "run-2", "run-3"]
    assert list(found.queries.ids) == ["queries-0", "queries-1"]
    (folder / "ids.txt").write_text("one\n")
    with pytest.raises(KnnscopeError, match="1 ids for 4 rows"):
        registry.load(str(folder))
    (folder / "ids.txt").unlink()
    for text, message in (
        ('{"recipe": {"metric": "hamming"}}', "no metric 'hamming'"),
        ("{}", "holds no recipe"),
        ("[", "holds no recipe"),
    ):
        (folder / "meta.json").write_text(text)
        with pytest.raises(KnnscopeError, match=message):
            registry.load(str(folder))


def test_queries_that_data_get_left_beside_the_rows_are_used_and_said(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "x-queries.npy", X[:2] + 1)
    found, notes = registry.load(str(tmp_path / "x.npy"))
    np.testing.assert_array_equal(found.queries.values, X[:2] + 1)
    assert "x-queries.npy" in notes[0]
    np.save(tmp_path / "x-queries.npy", X[:2, :5])
    found, notes = registry.load(str(tmp_path / "x.npy"))
    assert found.queries is None
    assert "not taken as queries" in notes[0]
