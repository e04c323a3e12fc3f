"""knnscope search: one query from several engines side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from knnscope.search import catalog
from tests.cli.conftest import Run, refused


@pytest.mark.usefixtures("encoded")
def test_search_says_whether_the_engines_agree(knnscope: Run) -> None:
    code, out, _ = knnscope("search", "sample", "--query-id", "q-sugar-tax", "-k", 4)
    assert code == 0
    assert f"all {len(catalog.usual())} engines agree on the ids and their order" in out
    assert "<- relevant, grade" in out
    assert re.search(r"relevant: .*\(grade 2\) at rank \d", out)


@pytest.mark.usefixtures("encoded")
def test_search_json(knnscope: Run) -> None:
    code, out, _ = knnscope(
        "search", "sample", "free trams for everyone", "--engines", "numpy64,faiss", "-k", 5, "--json"
    )
    answer = json.loads(out)
    assert code == 0
    assert list(answer["engines"]) == ["numpy64", "faiss"]
    assert answer["engines"]["numpy64"]["ids"] == answer["engines"]["faiss"]["ids"]
    assert answer["agree"] is True
    assert any("free-transit" in i for i in answer["engines"]["numpy64"]["ids"][:2])
    for metric in ("l2", "ip"):
        other = json.loads(
            knnscope(
                "search",
                "sample",
                "free trams for everyone",
                "--engines",
                "numpy64",
                "--metric",
                metric,
                "-k",
                5,
                "--json",
            )[1]
        )
        assert other["engines"]["numpy64"]["ids"] == answer["engines"]["numpy64"]["ids"], "unit vectors rank alike"


@pytest.mark.usefixtures("encoded")
def test_search_shows_a_difference_and_its_size(knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from knnscope.search.engines import numpy

    inner = numpy.NumpyIndex.search

    def swapped(self: numpy.NumpyIndex, queries: np.ndarray, k: int) -> object:
        found = inner(self, queries, k)
        found.ids[:, [0, 1]] = found.ids[:, [1, 0]]
        return found

    monkeypatch.setattr(numpy.NumpyIndex, "search", swapped)
    _, out, _ = knnscope("search", "sample", "--query-id", "q-zoos", "--engines", "numpy64,numpy,faiss")
    assert "2 of 3 engines agree" in out
    assert re.search(r"numpy differs from numpy64 at rank 1: .* apart in float64", out)


def test_search_vectors(knnscope: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(6, dtype=np.float32))
    code, out, _ = knnscope("search", tmp_path / "v.npy", "--query-id", 4, "-k", 2)
    assert code == 0
    assert "1. row 4" in out
    assert "squared distance by rank" in out
    refused(knnscope("search", tmp_path / "v.npy", "words"), "holds vectors, no texts, and does not say what encoded")
    refused(knnscope("search", tmp_path / "v.npy", "--query-id", "6"), "a row from 0 to 5")
    refused(knnscope("search", tmp_path / "v.npy", "--query-id", "0", "-k", "7"), "k = 7 is outside 1 to 6")
    refused(knnscope("embed", tmp_path / "v.npy"), "holds vectors, no texts")
    refused(knnscope("search", tmp_path / "v.npy", "--query-id", "0", "--subset", "relevant"), "do not apply")


def test_fewer_rows_than_the_default_k_are_all_neighbors(knnscope: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.eye(2, dtype=np.float32))
    ask = ("search", tmp_path / "two.npy", "--query-id", 0, "--engines", "numpy64,numpy")
    code, out, _ = knnscope(*ask)
    assert code == 0
    assert "2. row 1" in out
    refused(knnscope(*ask, "-k", 3), "k = 3 is outside 1 to 2, the number of rows")


@pytest.mark.usefixtures("encoded")
def test_engines_that_cannot_are_left_out_and_said(knnscope: Run) -> None:
    code, _out, err = knnscope("search", "sample", "--query-id", "q-zoos", "--metric", "ip")
    assert code == 0
    assert "note: sklearn has no metric 'ip': it has cosine, l2" in err
    refused(
        knnscope("search", "sample", "--query-id", "q-zoos", "--metric", "ip", "--engines", "sklearn"),
        "sklearn has no metric 'ip'",
    )


@pytest.mark.usefixtures("encoded")
def test_options_may_stand_anywhere(knnscope: Run) -> None:
    answers = [
        knnscope("search", "sample", "-k", 2, "sugar tax", "--engines", "numpy64"),
        knnscope("search", "-k", 2, "--engines", "numpy64", "sample", "sugar tax"),
        knnscope("search", "sample", "sugar tax", "--engines", "numpy64", "-k", 2),
    ]
    assert answers[0][0] == 0
    assert len({out for _, out, _ in answers}) == 1
