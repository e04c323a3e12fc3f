"""Stored ground truth is read from every place where benchmarks keep it, and named."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.datasets import ground_truth, registry
from knnscope.errors import KnnscopeError
from tests.cli.conftest import (
    Run,
    knnscope,  # noqa: F401 - a fixture
    refused,
)
from tests.datasets.vector_writers import write_vecs

IDS = np.random.default_rng(1).permuted(np.tile(np.arange(50, dtype=np.int32), (7, 1)), axis=1)[:, :10]
DISTANCES = np.sort(np.random.default_rng(2).random((7, 10), dtype=np.float32), axis=1)


def write(path: Path, counts: str = "<u4", distances: bool = True) -> None:
    raw = np.array(IDS.shape, counts).tobytes() + IDS.tobytes()
    path.write_bytes(raw + (DISTANCES.tobytes() if distances else b""))


def write_hdf5(path: Path, **datasets: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values


ROWS = np.random.default_rng(3).standard_normal((50, 4)).astype(np.float32)
FILES = {
    "gt.bin": (write, True),
    "GT.public.1B.ibin": (write, True),
    "wide.bin": (lambda p: write(p, "<u8"), True),
    "ids.ibin": (lambda p: write(p, distances=False), False),
    "wide.ibin": (lambda p: write(p, "<u8", distances=False), False),
    "gt.ivecs": (lambda p: write_vecs(p, IDS, "i4"), False),
    "a.hdf5": (lambda p: write_hdf5(p, train=ROWS, test=ROWS[:7], neighbors=IDS, distances=DISTANCES), True),
    "b.hdf5": (lambda p: write_hdf5(p, train=ROWS, test=ROWS[:7], neighbors=IDS.astype(np.int64)), False),
    "gt.npy": (lambda p: np.save(p, IDS), False),
}


@pytest.mark.parametrize("name", FILES)
def test_it_is_read_and_named(tmp_path: Path, knnscope: Run, name: str) -> None:  # noqa: F811
    writer, distances = FILES[name]
    writer(tmp_path / name)
    found = ground_truth.load(str(tmp_path / name))
    np.testing.assert_array_equal(found.ids, IDS)
    if distances:
        np.testing.assert_array_equal(found.distances, DISTANCES)
    else:
        assert found.distances is None
    code, out, err = knnscope("data", "show", tmp_path / name)
    assert code == 0, err
    told = (
        f"10 neighbors of each of 7 queries, ids {IDS.min()} to {IDS.max()}, with{'' if distances else 'out'} distances"
    )
    assert re.search(f"ground truth.*: {told}", out)
    if distances and "hdf5" not in name:
        refused(knnscope("compare", tmp_path / name), "ground truth .*, not vectors: knnscope data show")


@pytest.mark.parametrize(
    "rows",
    [IDS - 5, np.zeros((3, 2), np.int32), IDS.astype(np.float32), IDS.astype(np.uint8)],
    ids=["below -1", "one id twice", "no whole numbers", "bytes"],
)
def test_rows_that_cannot_be_ids_are_none(tmp_path: Path, rows: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", rows)
    with pytest.raises(KnnscopeError, match="holds no ground truth"):
        ground_truth.load(str(tmp_path / "x.npy"))


def test_places_that_were_not_filled_are_ids_of_minus_one(tmp_path: Path) -> None:
    padded = IDS.copy()
    padded[:, 8:] = -1
    write_vecs(tmp_path / "x.ivecs", padded, "i4")
    assert ground_truth.described(ground_truth.load(str(tmp_path / "x.ivecs"))).startswith("10 neighbors of each of 7")


@pytest.mark.parametrize(
    ("datasets", "note"),
    [
        ({"neighbors": IDS[:, :3], "distances": DISTANCES}, "do not belong together"),
        ({"neighbors": DISTANCES}, "do not belong together"),
        ({"neighbors": np.arange(3)}, "'neighbors' has shape .*: the stored neighbors are not used"),
    ],
)
def test_damaged_neighbors_do_not_stand_in_the_way(tmp_path: Path, datasets: dict[str, np.ndarray], note: str) -> None:
    write_hdf5(tmp_path / "x.hdf5", train=ROWS, **datasets)
    found, notes = registry.load(str(tmp_path / "x.hdf5"))
    np.testing.assert_array_equal(found.documents.values, ROWS)
    assert found.truth is None
    assert re.search(note, notes[0])


def test_links_to_neighbors_elsewhere_are_not_followed(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "secret.hdf5", neighbors=IDS)
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["train"] = ROWS
        file["neighbors"] = h5py.ExternalLink(str(tmp_path / "secret.hdf5"), "neighbors")
    found, notes = registry.load(str(tmp_path / "x.hdf5"))
    assert found.truth is None
    assert "link to another place" in notes[0]


def test_a_bin_file_of_something_else(tmp_path: Path, knnscope: Run) -> None:  # noqa: F811
    (tmp_path / "x.bin").write_bytes(np.array([7, 10], "<u4").tobytes() + bytes(7 * 10 * 4))
    refused(knnscope("data", "show", tmp_path / "x.bin"), "this type of file is not read")
    with pytest.raises(KnnscopeError, match="no ground truth: ids as int32"):
        ground_truth.load(str(tmp_path / "x.bin"))


@given(st.data())
def test_damage_gives_ids_or_one_line(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x.bin"
    write(path, data.draw(st.sampled_from(["<u4", "<u8"])))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, 19))] = data.draw(st.sampled_from([0, 1, 7, 10, 255]))
    path.write_bytes(raw[: data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))])
    try:
        found = ground_truth.load(str(path))
    except KnnscopeError as error:
        assert str(path) in str(error)
    else:
        assert found.ids.nbytes + found.distances.nbytes <= len(raw)
