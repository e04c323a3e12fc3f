"""A k above the number of rows is an error in every index of ours, however it came by its rows; a filter that leaves fewer pads. Hosts' own rules stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import knnscope
from knnscope import ExactIndex
from knnscope.errors import KnnscopeError

ROWS = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)


def changed(folder: Path) -> ExactIndex:
    index = ExactIndex(ROWS[:9])
    index.add(ROWS[9:])
    index.remove([3, 12])
    index.update(5, ROWS[3])
    index.add(ROWS[[3, 12]], ids=[3, 12])
    return index


def loaded(folder: Path) -> ExactIndex:
    changed(folder).save(folder / "index")
    return ExactIndex.load(folder / "index")


def in_a_file(folder: Path) -> ExactIndex:
    np.save(folder / "rows.npy", ROWS)
    return ExactIndex.build(folder / "rows.npy")


MAKERS: dict[str, Callable[[Path], ExactIndex]] = {
    "as built": lambda _: ExactIndex(ROWS),
    "changed": changed,
    "loaded": loaded,
    "in a file": in_a_file,
    "strings": lambda _: ExactIndex(ROWS, ids=[f"d{number}" for number in range(len(ROWS))]),
}


@pytest.mark.parametrize("made", MAKERS)
def test_every_index_refuses_it_and_a_filter_pads(tmp_path: Path, made: str) -> None:
    index = MAKERS[made](tmp_path)
    for where in (None, np.arange(20) < 5):
        with pytest.raises(KnnscopeError, match="k = 21 is outside 1 to 20, the number of rows"):
            index.search(ROWS[:2], 21, where=where)
    with pytest.raises(KnnscopeError, match="k = 20 is outside 1 to 19, the rows that may be neighbors of one"):
        index.knn_graph(20)
    assert index.search(ROWS[:2], 20).ids.shape == (2, 20)
    found = index.search(ROWS[:2], 20, where=np.arange(20) < 5)
    assert (np.isinf(found.distances).sum(axis=1) == 15).all()
    assert (found.ids[:, 5:] == ("" if made == "strings" else -1)).all()
    index.remove(index.ids[:19])
    with pytest.raises(KnnscopeError, match="k = 2 is outside 1 to 1, the number of rows"):
        index.search(ROWS[:2], 2)


def test_functions_refuse_it(tmp_path: Path) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: knnscope.knn(ROWS[:2], ROWS, 21),
        lambda: knnscope.truth(ROWS, ROWS[:2], 21),
        lambda: knnscope.compare(ROWS, ROWS[:2], k=21, engines=["numpy"]),
    ]
    for call in calls:
        with pytest.raises(KnnscopeError, match="k = 21 is outside 1 to 20, the number of rows"):
            call()


def test_drop_ins_do_as_their_hosts() -> None:
    faiss, host = pytest.importorskip("knnscope.faiss"), pytest.importorskip("faiss")
    ours, theirs = faiss.IndexFlatL2(4), host.IndexFlatL2(4)
    for index in (ours, theirs):
        index.add(ROWS)
        assert (index.search(ROWS[:2], 21)[1][:, 20] == -1).all()
    neighbors, sklearn = pytest.importorskip("knnscope.sklearn"), pytest.importorskip("sklearn.neighbors")
    for module in (neighbors, sklearn):
        with pytest.raises(ValueError, match="n_neighbors = 21, n_samples_fit = 20"):
            module.NearestNeighbors(n_neighbors=3).fit(ROWS).kneighbors(ROWS[:2], 21)
