"""A format is a file and a line: its ending is found, its function is there, and a writer tries it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from knnscope.datasets import arrow, endings, ground_truth, packed_files, registry, tables, vector_files
from knnscope.errors import KnnscopeError
from knnscope.records import TextDataset, VectorDataset
from tests.datasets.vector_writers import WRITERS


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endings with two dots, read by a module that lies beside the others."""
    module = ModuleType("knnscope.datasets.planted")
    module.read = lambda path, _: VectorDataset(str(path), vector_files.load(f"{path}.npy").documents)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for ending in (".vecs.txt", ".vecs.csv", ".x.fvecs"):
        monkeypatch.setitem(vector_files.READERS, ending, "planted:read")


@pytest.mark.parametrize("name", ["a.vecs.txt", "A.VECS.TXT", "a.b.vecs.txt", "a.vecs.csv", "a.x.fvecs"])
@pytest.mark.usefixtures("planted")
def test_the_longest_ending_counts(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("anything")
    np.save(tmp_path / f"{name}.npy", np.eye(3))
    np.testing.assert_array_equal(registry.load(str(tmp_path / name))[0].documents.values, np.eye(3))
    with pytest.raises(KnnscopeError, match=r"none\.vecs\.txt: no such file$"):
        registry.load(str(tmp_path / "none.vecs.txt"))


@pytest.mark.usefixtures("planted")
def test_a_shorter_ending_is_still_a_table(tmp_path: Path) -> None:
    (tmp_path / "vecs.csv").write_text("id,text\n1,one\n")
    assert isinstance(registry.load(str(tmp_path / "vecs.csv"))[0], TextDataset)


@pytest.mark.parametrize("name", [".npy", "npy", "a.npy.gz", "a.txt", "a.crop_nb_3", ".crop_nb_3", "", "/", "."])
def test_what_has_no_ending_is_no_format(name: str) -> None:
    assert vector_files.ending(Path(name)) == ""
    assert not ground_truth.is_one(Path(name))


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.jsonl", ".jsonl"),
        ("a.b.CSV.GZ", ".csv"),
        ("a.parquet.gz", ""),
        ("a.gz", ""),
        (".gz", ""),
        (".csv", ""),
        ("a.csv.crop_nb_3", ""),
        ("", ""),
    ],
)
def test_endings_of_tables(name: str, ending: str) -> None:
    assert tables.ending(Path(name)) == ending


@pytest.mark.parametrize("place", [*vector_files.READERS.values(), *tables.READERS.values()])
def test_every_reader_is_there(place: str) -> None:
    assert callable(endings.reader(place))


def test_every_ending_has_a_line_and_a_writer() -> None:
    assert {*packed_files.VECS, *packed_files.BIN, *arrow.FORMATS} <= set(vector_files.READERS)
    written = {vector_files.ending(Path(name)) for name in WRITERS}
    assert written == set(vector_files.READERS), "every ending has a line in tests/datasets/vector_writers.py"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere/vectors", "^nowhere/vectors: no such file or folder$"),
        ("./vectors.npz", r"^vectors\.npz: no such file$"),
        ("vectors.fbin", r"^vectors\.fbin: no such file$"),
        ("vectors.npx", r"^vectors\.npx: no such file$"),
        ("texts.csv", r"^texts\.csv: no such file$"),
        ("/nowhere/at/all/", "^/nowhere/at/all: no such file or folder$"),
        ("smaple", "^no data set, folder or file named 'smaple': did you mean sample"),
        ("cqadupstak/android", "did you mean cqadupstack/android"),
        ("qwertz", "named 'qwertz': knnscope data list names"),
    ],
)
def test_what_is_no_path_here_is_said(spec: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KnnscopeError, match=message):
        registry.load(spec)
