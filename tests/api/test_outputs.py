"""A link under a name that the user typed stays, whatever is written; one under a name of ours, in a folder from anywhere, is not followed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from knnscope import Truth, truth, verify
from knnscope.analysis import trec_run
from knnscope.api import reporting
from knnscope.datasets import synthetic
from knnscope.records import Neighbors
from knnscope.tensors import write_named

ROWS = np.eye(5, dtype=np.float32)


def found() -> Truth:
    return truth(ROWS, ROWS[:2], 2)


WRITERS: dict[str, Callable[[Path], object]] = {
    "answer.npz": lambda path: Neighbors(np.zeros((1, 1), np.int64), np.zeros((1, 1))).save(path),
    "grade.json": lambda path: verify(ROWS, found(), ROWS[:2]).save(path),
    "truth.npy": lambda path: found().save(path),
    "truth.ivecs": lambda path: found().save(path),
    "truth.ibin": lambda path: found().save(path),
    "truth.bin": lambda path: found().save(path),
    "truth.hdf5": lambda path: found().save(path),
    "rows.npy": lambda path: synthetic.write(synthetic.parse("synthetic:ties,rows=9,dim=2"), path),
    "run.trec": lambda path: trec_run.write(path, trec_run.TrecRun(("q",), ("d",), ((0,),), ((0.5,),), "l2", "tag")),
    "named.npz": lambda path: write_named(path, ["a"], ROWS[:1]),
    "page.html": lambda path: reporting._written(path, "page"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_users_link_leads_to_what_is_written(tmp_path: Path, name: str) -> None:
    for folder in ("far", "plain"):
        (tmp_path / folder).mkdir()
    (tmp_path / name).symlink_to(f"far/{name}")
    WRITERS[name](tmp_path / "plain" / name)
    for _ in range(2):
        WRITERS[name](tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert [path.name for path in (tmp_path / "far").iterdir()] == [name]
        assert (tmp_path / "far" / name).stat().st_size == (tmp_path / "plain" / name).stat().st_size


@pytest.mark.parametrize("name", [reporting.PAGE, reporting.CHANGES])
def test_a_link_in_the_folder_of_a_run_is_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / name).symlink_to("precious")
    reporting._written(tmp_path / name, "page")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / name).read_text() == "page"
