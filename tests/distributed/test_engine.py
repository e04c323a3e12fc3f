"""The engine dask: a little of the contract that its slow tests keep whole, and a comparison."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from knnscope import cli
from knnscope.distributed import cluster
from tests.contracts.suite import check
from tests.distributed.data import tied


@pytest.fixture(scope="module", autouse=True)
def _one_worker() -> None:
    """The cluster of this process, which all tests of it share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        assert cluster.client() is cluster.client()


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_right_as_every_engine(metric: str) -> None:
    rows, queries = tied(300, 12)
    for k in (1, 300):
        check("dask", metric, rows, queries, k)


@pytest.mark.slow
def test_it_is_compared_like_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows, queries = tied(2000, 12)
    np.save("rows.npy", rows)
    np.save("queries.npy", queries)
    words = "compare rows.npy --queries queries.npy --quick --seconds 1 --engines certified,dask --batch 1,9 -k 5 --out run --json"
    assert cli.main(words.split()) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert {(one["engine"], one["status"], one["grade"]) for one in lines} == {
        ("certified", "ok", "exact"), ("dask", "ok", "exact"),
    }  # fmt: skip
