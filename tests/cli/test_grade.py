"""knnscope grade: what is printed, saved and held; and the committed record, held to the engines that are here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from knnscope.analysis import grades
from knnscope.search import catalog
from tests.bench import planted
from tests.cli.conftest import Run, refused

RECORD = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "grades-cpu.json"
HERE = ",".join(name for name in catalog.timed() if catalog.ENGINES[name].device == "cpu")


def test_it_prints_saves_and_holds(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.ENGINES, "odd", planted.ENGINES["Right"])
    ask = ("grade", "--engines", "certified,odd,cupy", "--metric", "l2", "--cases", "ties;d = 1", "--threads", 1)
    code, out, err = knnscope(*ask, "--out", tmp_path / "g.json")
    assert code == 0, err
    assert "2 engines, 2 hard cases, 12 questions" in out
    assert "not here\n  cupy: " in out
    assert f"saved in {tmp_path / 'g.json'}" in out
    monkeypatch.setitem(catalog.ENGINES, "odd", planted.ENGINES["WrongIds"])
    code, out, err = knnscope(*ask, "--hold", tmp_path / "g.json", "--json")
    assert code == 1
    assert {g["outcome"] for g in json.loads(out)["grades"] if g["engine"] == "odd"} == {"wrong"}
    assert "note: --hold: odd, ties, l2, 1 query a call: was exact, is wrong on 20 of 20 queries" in err
    before = (tmp_path / "g.json").read_bytes()
    code, out, err = knnscope(*ask, "--hold", tmp_path / "g.json", "--out", tmp_path / "g.json")
    assert (code, out) == (2, "")
    assert "g.json: this command reads it, and would write over it" in err
    assert (tmp_path / "g.json").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--engines", "fais"), "no engine named 'fais': did you mean faiss"),
        (("--engines", ","), "--engines is empty"),
        (("--metric", "l3"), "no metric named 'l3'"),
        (("--cases", "tie"), "no case named 'tie': did you mean ties"),
        (("--hold", "nothing.json"), "nothing.json"),
        (("--threads", "all"), "--threads 'all': a number or stock was expected"),
        (("--timeout", "0"), "not a whole number above 0"),
        (("--out", "/proc/g.json"), "^knnscope: /proc/g.json: (no such file|permission denied|the file system)"),
    ],
)
def test_what_cannot_be_is_one_line(knnscope: Run, given: tuple[str, ...], message: str) -> None:
    refused(knnscope("grade", *given), message)


def test_the_committed_record_is_whole() -> None:
    run = grades.load(RECORD)
    assert not run.interrupted
    assert {e.name for e in run.engines} >= set(HERE.split(",")) - {"torch"}
    certified = [g for g in run.grades if g.engine == "certified"]
    assert {g.outcome for g in certified} == {"exact", "not offered"}
    assert {g.case for g in certified if g.outcome == "not offered"} == {"rows added later"}


@pytest.mark.parametrize(
    ("metrics", "some"),
    [
        pytest.param("l2", ("--cases", "ties;offset 1,000;small norms;rows added later", "--threads", 1), id="some"),
        pytest.param("l2,ip,cosine", (), id="all", marks=pytest.mark.slow),
    ],
)
def test_the_engines_here_are_as_the_committed_record_says(
    knnscope: Run, metrics: str, some: tuple[object, ...]
) -> None:
    """What of it is held to: docs/decisions/033. One thread: more of them wait busily for each other, which is a third of the time."""
    code, out, err = knnscope(
        "grade", "--engines", HERE, "--metric", metrics, *some, "--timeout", 400, "--hold", RECORD, "--json"
    )
    assert code == 0, err
    asked = json.loads(out)["grades"]
    assert {g["engine"] for g in asked} >= {"certified", "numpy", "faiss", "sklearn", "usearch"}
    assert {g["outcome"] for g in asked if g["engine"] == "certified"} == {"exact", "not offered"}
