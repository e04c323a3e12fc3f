"""knnscope crossover: what it prints, saves, continues and refuses; show reads it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from knnscope.analysis import crossover
from knnscope.search import catalog
from tests.bench import planted
from tests.cli.conftest import Run, refused

ASK = ("--rows", "20,60", "--batch", "1", "-k", 3, "--threads", 1, "--queries", 5)


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch, one_process: None) -> None:
    for name, entry in planted.ENGINES.items():
        monkeypatch.setitem(catalog.ENGINES, name, entry)


def test_it_measures_saves_and_is_shown(knnscope: Run, vectors: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ask = ("crossover", vectors, "--engines", "Right,Takes,WrongOrder,Missing", *ASK, "--out", out)
    code, text, err = knnscope(*ask)
    assert code == 0, err
    assert "20 to 60 rows; Right, Takes, WrongOrder, Missing; " in text
    assert "1 query a call: no crossing found from 20 rows to 60 rows: Right is fastest, " in text
    assert "\nWrongOrder at 20, 60: wrong\n" in text
    assert "\nMissing at 20: missing: " in text, "asked once"
    assert f"saved in {out / crossover.FILE}" in text
    saved = crossover.load(out)
    assert saved.finished
    assert {row.rows for row in saved.rows()} == {20, 60}
    assert knnscope("show", out)[1].strip() == text[: text.index("\nsaved in")].strip()
    assert json.loads(knnscope("show", out, "--json")[1])["finished"] is True
    before = (out / crossover.FILE).read_bytes()
    code, again, _ = knnscope(*ask)
    assert (code, again) == (0, text), "nothing is left to measure"
    assert json.loads((out / crossover.FILE).read_bytes()) == json.loads(before)
    refused(knnscope(*ask[:4], *ASK, "-k", 4, "--out", out), "holds a crossover with other k: choose another folder")


def test_batches_may_grow(knnscope: Run, vectors: Path, tmp_path: Path) -> None:
    code, text, err = knnscope(
        *("crossover", vectors, "--engines", "Right,Takes", "--over", "batch", "--batch", "1,2", "--rows", "50,60"),
        *("-k", 3, "--threads", 1, "--queries", 5, "--out", tmp_path / "out", "--json"),
    )
    assert code == 0, err
    found = json.loads(text)
    assert found["question"]["over"] == "batch"
    assert set(found["leaders"]) == {"50", "60"}
    assert {(row.rows, row.batch) for row in crossover.load(tmp_path / "out").rows()} == {
        (rows, batch) for rows in (50, 60) for batch in (1, 2)
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--engines", "Right"), "--engines Right: two or more were expected"),
        (
            ("--engines", "Right,Takes", "--rows", "50"),
            "--rows 50: where it grows, two different numbers were expected",
        ),
        (("--engines", "Right,Takes", "--rows", "2,50", "-k", "3"), "k = 3 is more than 2, the fewest rows"),
        (("--engines", "Right,Takes", "--rows", "50,100000"), "--rows 100000: .* has "),
        (("--engines", "Right,Takes", "--over", "batch", "--batch", "3"), "--batch 3: where it grows"),
        (("--engines", "Right,Missing", "--rows", "20,60", "-k", "3"), "takes two engines that are here: Missing: "),
        (("--engines", "Right,Takes", "--rows", "a,b"), "--rows: 'a' is not a whole number above 0"),
        (
            ("--engines", "Right,Takes", "--queries", "151"),
            "--queries 151: at most half of the 300 rows can be held out",
        ),
        (
            ("--engines", "Right,Takes", "--queries", "0"),
            "--queries: '0' is not a whole number above 0: it says how many",
        ),
        (
            ("--engines", "Right,Takes", "--queries", "q.npy"),
            "'q.npy' is not .*; knnscope compare asks those of a file",
        ),
    ],
)
def test_what_cannot_be_is_one_line(
    knnscope: Run, vectors: Path, tmp_path: Path, given: tuple[str, ...], message: str
) -> None:
    refused(knnscope("crossover", vectors, *given, "--threads", 1, "--out", tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["crossover", "compare"])
def test_more_queries_than_the_data_has_are_refused(knnscope: Run, tmp_path: Path, command: str) -> None:
    data = "synthetic:text,rows=300,dim=4,queries=40"
    done = knnscope(command, data, "--engines", "numpy,numpy64", "--queries", 41, "--out", tmp_path / "out")
    refused(done, "--queries 41: .* has 40 queries of its own: ask for so many at most")
    assert not (tmp_path / "out").exists()
