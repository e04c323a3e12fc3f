"""compare for Python does what the command does; its result saves, loads and shows itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope.api import climbing, comparing
from knnscope.api.climbing import ClimbOptions, Ladder, climb
from knnscope.api.comparing import CompareOptions, Comparison, compare
from knnscope.bench import session
from knnscope.errors import KnnscopeError
from knnscope.search import catalog
from tests.bench import planted
from tests.bench.test_result import CEILINGS
from tests.cli.conftest import Run, knnscope

__all__ = ["knnscope"]
VECTORS = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
QUICK = CompareOptions(quick=True, threads=1, seconds=0.1)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session.cache, "cached", lambda *_: CEILINGS)
    monkeypatch.setattr(climbing.cache, "obtain", lambda *_: CEILINGS)
    for name, entry in planted.ENGINES.items():
        monkeypatch.setitem(catalog.ENGINES, name, entry)


def test_arrays_are_compared_and_the_result_is_kept(tmp_path: Path) -> None:
    found = compare(
        VECTORS, VECTORS[:5] + 0.01, ["Right", "WrongOrder"], k=3, batch=2, options=QUICK, out=tmp_path / "run"
    )
    assert {(m.engine, m.k, m.batch, m.rows) for m in found.measurements} == {
        ("Right", 3, 2, 60),
        ("WrongOrder", 3, 2, 60),
    }
    assert [v.engine for v in found.verdicts] == ["Right"]
    assert found.folder == tmp_path / "run"
    assert found.run.facts.queries == 5
    again = Comparison.load(tmp_path / "run")
    assert str(again) == str(found)
    assert again.to_dict() == found.to_dict()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["verdict"]["quick"] is True
    again.save(tmp_path / "other")
    assert Comparison.load(tmp_path / "other").rows() == found.rows()
    assert all(not isinstance(value, (list, dict)) for row in found.rows() for value in row.values())
    assert "\n" not in repr(found)
    assert "fastest exact: Right at batch 2" in repr(found)
    assert found._repr_html_().count("<table>") == 1
    found.report(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text("utf-8").startswith("# ")
    assert {path.suffix for path in found.charts(tmp_path / "charts", ["svg"])} == {".svg"}
    with pytest.raises(KnnscopeError, match="not a run of knnscope ladder"):
        Ladder.load(tmp_path / "run")


def test_a_command_and_a_call_measure_the_same_cases(knnscope: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", VECTORS)
    argv = ("--engines", "Right,Missing", "-k", "2,1", "--batch", "3,1", "--threads", 1, "--quick", "--queries", 9)
    assert knnscope("compare", tmp_path / "v.npy", *argv, "--out", tmp_path / "out")[0] == 0
    told = Comparison.load(tmp_path / "out")
    found = compare(tmp_path / "v.npy", 9, ["Right", "Missing"], (1, 2), [1, 3], quick=True, threads=1)
    assert found.folder is None
    same = (
        "engine",
        "dataset",
        "rows",
        "dim",
        "metric",
        "k",
        "batch",
        "boundary",
        "cache",
        "threads",
        "status",
        "grade",
        "quick",
    )
    assert [[row[n] for n in same] for row in found.rows()] == [[row[n] for n in same] for row in told.rows()]
    assert found.run.facts.held_out == told.run.facts.held_out is True
    unlike = {key for key, value in found.run.options.items() if value != told.run.options[key]}
    assert not unlike


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engines": ["numpi"]}, "no engine named 'numpi': did you mean numpy"),
        ({"engines": []}, "^engines is empty: "),
        ({"k": 0}, "^k 0: whole numbers"),
        ({"k": 61, "queries": VECTORS[:3]}, "k = 61 is outside 1 to 60"),
        ({"batch": (1, True)}, r"^batch \(1, True\): whole numbers"),
        ({"metric": "l3"}, "no metric named 'l3'"),
        ({"rounds": 4}, "^rounds 4: at least 5"),
        ({"threads": 10**9}, "^threads 1000000000: at most 1,024"),
        ({"seconds": 0}, "^seconds 0: a number above 0"),
        ({"queries": 31}, "^queries 31: at most half of the 60 rows"),
        ({"queries": 0}, "^queries 0: a number above 0"),
        ({"queries": "nosuch.npy"}, "^queries nosuch.npy: no such file"),
        ({"boundary": ["hots"]}, "no boundary named 'hots': did you mean host"),
        ({"sed": 1}, "no option named 'sed': did you mean seed"),
        ({"vectors_or_dataset": np.ones(3)}, "vectors have shape"),
        ({"vectors_or_dataset": "smaple"}, "did you mean sample"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "measure", None)
    with pytest.raises(KnnscopeError, match=message) as caught:
        compare(**{"vectors_or_dataset": VECTORS, "engines": ["numpy"], **arguments})
    assert "\n" not in str(caught.value)


def test_the_ladder_is_climbed_and_the_result_is_kept(tmp_path: Path) -> None:
    seen: list[str] = []
    how = ClimbOptions(device="cpu", repeat=2, each=lambda row: seen.append(row.rung))
    found = climb(VECTORS, 2, ["topk", "argsort"], how, tmp_path / "run")
    assert seen == [m.rung for m in found.measurements] == ["argsort", "topk"]
    assert {m.rows for m in found.measurements} == {44}, "16 are held out"
    again = Ladder.load(tmp_path / "run")
    assert (str(again), again.to_dict()) == (str(found), found.to_dict())
    assert "\n" not in repr(found)
    assert "2 rungs" in repr(found)
    assert found._repr_html_().count("<tr>") == 3
    with pytest.raises(KnnscopeError, match="not a run of knnscope compare"):
        Comparison.load(tmp_path / "run")
    with pytest.raises(KnnscopeError, match="no rung or engine named 'argsrt': did you mean argsort"):
        climb(VECTORS, rungs=["argsrt"])
    with pytest.raises(KnnscopeError, match=r"^device 'tpu': cpu or cuda"):
        climb(VECTORS, device="tpu")


def test_what_was_measured_is_saved_before_its_texts_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens then: minutes of measuring are not lost."""

    def breaks(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(comparing, "answers", breaks)
    with pytest.raises(MemoryError):
        compare(VECTORS, engines=["Right"], k=1, batch=1, options=QUICK, out=tmp_path / "run")
    assert len(Comparison.load(tmp_path / "run").measurements) == 2
