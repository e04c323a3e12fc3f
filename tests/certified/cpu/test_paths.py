"""Plane or byte codes: the prices of dispatch.py choose, of what was measured on real processors, nowhere a path much slower than the other."""

from __future__ import annotations

import bisect
import json
from pathlib import Path

import numpy as np
import pytest

from knnscope.certified import components
from knnscope.certified.components import Directions
from knnscope.certified.cpu import dispatch, plane

RESULTS = Path(__file__).resolve().parents[3] / "benchmarks" / "results"
RECORDS = sorted(RESULTS.glob("certified-paths-*.json"))
"""Of ``python -m benchmarks.certified_paths``."""
WORST = 1.2
"""Times the quicker path that the chosen one may take. Queries are more unlike rows in some data than in others, which no sample of rows tells."""


def said(survivors: tuple[float, ...], m: int = 192, dim: int = 384) -> Directions:
    return Directions(np.zeros((m, dim), dtype=np.float32), 0.0, survivors)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_the_chosen_path_is_nowhere_much_slower_than_the_other(record: Path) -> None:
    told = json.loads(record.read_text())
    chosen = set()
    for data in told["data"]:
        most = said(tuple(data["survivors"]), data["m"], data["dim"]).most_neighbors(dispatch.PRICES[told["isa"]])
        for case in data["cases"]:
            by_plane = case["k"] <= most[bisect.bisect_left(plane.UP_TO, case["queries"])]
            chosen.add(by_plane)
            took, other = (case[name] for name in (("plane_ms", "codes_ms") if by_plane else ("codes_ms", "plane_ms")))
            assert took <= WORST * other, (data["data"], case)
    assert chosen == {True, False}, "both paths are measured where they are chosen"


def test_there_are_records() -> None:
    assert RECORDS


def test_survivors_between_and_beyond_the_numbers_that_were_counted() -> None:
    made = said((0.001, 0.01, 0.04))
    between = made._left(31)
    assert made._left(10) == pytest.approx(0.01 * components.UNLIKE)
    assert between == pytest.approx(components.UNLIKE * 0.01 * 4 ** np.log10(3.1))
    assert made._left(200) == pytest.approx(components.UNLIKE * 0.04 * 4 ** np.log10(2))
    assert said((0.001, 0.001, 0.1))._left(200) == pytest.approx(components.UNLIKE * 0.2), "no faster than k"
    assert said((0.0, 0.0, 0.0)).most_neighbors(dispatch.PRICES["avx2"])[0] > 10_000
    assert said((1.0, 1.0, 1.0)).most_neighbors(dispatch.PRICES["avx2"]) == (0, 0, 0, 0)


def test_who_pays_more_for_looking_asks_the_plane_less() -> None:
    made, dear = said((0.001, 0.005, 0.03)), dispatch.PRICES["avx2"]
    cheap = dear._replace(looks=tuple(look / 2 for look in dear.looks))
    assert all(
        more > less > 0 for more, less in zip(made.most_neighbors(cheap), made.most_neighbors(dear), strict=True)
    )
