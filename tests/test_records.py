"""An answer prints itself shortly, gives its rows, and comes back from its file as it was; a file is not trusted."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from knnscope import ExactIndex
from knnscope.errors import KnnscopeError
from knnscope.records import SHOWN, Certificate, Neighbors

RNG = np.random.default_rng(11)
VECTORS = RNG.standard_normal((50, 6)).astype(np.float32)
INDEX = ExactIndex(VECTORS, "ip")
MANY = INDEX.search(VECTORS[:4], 3)
ONE = INDEX.search(VECTORS[0], 3)
FEW = INDEX.search(VECTORS[:2], 3, where=np.arange(50) < 2)
BARE = Neighbors(np.array([[4, 2]]), np.array([[0.5, 1.5]], np.float32))


def huge() -> Neighbors:
    ids = np.zeros((100_000, 100), np.int64)
    ones = np.ones(len(ids), np.int64)
    proof = Certificate(len(ids), ones, ones, np.linspace(0, 1, len(ids)), ("<script>",) * 500)
    return Neighbors(ids, np.zeros(ids.shape), proof)


def test_a_neighbor_is_a_row() -> None:
    assert MANY.rows()[4] == {
        "query": 1,
        "rank": 2,
        "id": int(MANY.ids[1, 1]),
        "distance": float(MANY.distances[1, 1]),
    }
    assert len(MANY.rows()) == 12
    assert [(row["query"], row["rank"], row["id"]) for row in ONE.rows()] == [
        (0, rank, key) for rank, key in enumerate(ONE.ids.tolist(), 1)
    ]
    assert [type(value) for value in ONE.rows()[0].values()] == [int, int, int, float]
    assert [row["rank"] for row in FEW.rows()] == [1, 2, 1, 2], "a neighbor that is missing is no row"
    assert INDEX.search(VECTORS[:0], 3).rows() == []


def test_in_jsons_own_types() -> None:
    said = json.loads(json.dumps(FEW.to_dict(), allow_nan=False))
    assert said["ids"] == FEW.ids.tolist()
    assert said["distances"][1] == [*FEW.distances[1, :2].tolist(), None]
    assert said["certificate"]["path"] == list(FEW.certificate.path) if FEW.certificate else False
    assert said["certificate"]["margin"] == [None, None], "nothing was left out"
    assert said["certificate"]["rows_scanned"] == 50
    assert json.loads(json.dumps(ONE.to_dict()))["distances"] == ONE.distances.tolist()
    assert BARE.to_dict()["certificate"] is None


@pytest.mark.parametrize(
    "found", [MANY, ONE, FEW, BARE, INDEX.search(VECTORS[:0], 3)], ids=["many", "one", "few", "bare", "none"]
)
def test_comes_back_as_it_was(found: Neighbors, tmp_path: Path) -> None:
    found.save(tmp_path / "found.npz")
    again = Neighbors.load(tmp_path / "found.npz")
    np.testing.assert_array_equal(again.ids, found.ids)
    np.testing.assert_array_equal(again.distances, found.distances)
    assert (again.ids.dtype, again.distances.dtype) == (found.ids.dtype, found.distances.dtype)
    assert again.to_dict() == found.to_dict()
    assert repr(again) == repr(found)
    with np.load(tmp_path / "found.npz") as other:
        assert (other["ids"] == found.ids).all()


def test_printed_shortly_and_escaped() -> None:
    found = huge()
    assert "\n" not in repr(found)
    assert len(repr(found)) < 600
    page = found._repr_html_()
    assert len(page) < 4000
    assert "<script>" not in page
    assert page.count("<tr>") == SHOWN[0] + 1
    assert "10 of 100,000 queries, 5 of 100 neighbors" in page
    assert "&lt;script&gt;" in (found.certificate or MANY.certificate)._repr_html_()  # type: ignore[union-attr]
    assert ONE._repr_html_().count("<tr>") == 2
    assert f"<td>{MANY.ids[3, 2]} ({MANY.distances[3, 2]:.6g})</td>" in MANY._repr_html_()
    assert INDEX.search(VECTORS[:0], 3)._repr_html_().count("<tr>") == 1


def test_a_file_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"

    def refused(message: str) -> None:
        with pytest.raises(KnnscopeError, match=message) as said:
            Neighbors.load(path)
        assert str(path) in str(said.value)
        assert "\n" not in str(said.value)

    refused("no such file")
    path.write_bytes(b"no zip")
    refused("damaged")
    np.savez(path, ids=np.array([print], dtype=object), distances=np.zeros(1))
    refused("pickle|Object")
    np.savez_compressed(path, ids=MANY.ids, distances=MANY.distances)
    refused("compressed")
    np.savez(path, ids=MANY.ids)
    refused("'distances'")
    np.savez(path, ids=MANY.ids, distances=MANY.distances[:2])
    refused("Neighbors.save")
    np.savez(path, ids=MANY.ids.astype(float), distances=MANY.distances)
    refused("Neighbors.save")
    with zipfile.ZipFile(path, "w") as bundle:
        header = {"descr": "<i8", "fortran_order": False, "shape": (1 << 50,)}
        with bundle.open("ids.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, header)
    refused("damaged")
    MANY.save(path)
    whole = path.read_bytes()
    with np.load(path) as saved:
        arrays = dict(saved)
    np.savez(path, **{**arrays, "margin": arrays["margin"][:1]})
    refused("certificate belongs to another answer")
    np.savez(path, **{**arrays, "path": np.arange(2)})
    refused("certificate belongs to another answer")
    path.write_bytes(whole[: len(whole) // 2])
    refused("damaged")
    path.write_bytes(pickle.dumps(1))
    refused("damaged")


def test_damage_anywhere_is_a_refusal_or_an_answer(tmp_path: Path) -> None:
    path = tmp_path / "found.npz"
    MANY.save(path)
    whole, chance = path.read_bytes(), np.random.default_rng(3)
    for _ in range(300):
        mine = bytearray(whole)
        for place in chance.integers(0, len(mine), 3):
            mine[place] = chance.integers(256)
        path.write_bytes(mine)
        try:
            found = Neighbors.load(path)
        except KnnscopeError:
            continue
        assert found.ids.shape == found.distances.shape
        repr(found), found.rows(), found._repr_html_()


def test_a_name_says_what_the_file_is(tmp_path: Path) -> None:
    with pytest.raises(KnnscopeError, match=r"must end in \.npz"):
        MANY.save(tmp_path / "found.json")
    assert list(tmp_path.iterdir()) == []
