"""knnscope show prints what the run printed, byte for byte, from the files alone; a folder that is no run is one line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope.api import climbing, reporting
from knnscope.api.comparing import Comparison
from knnscope.bench import runner, session
from knnscope.bench.child import Child
from knnscope.bench.ladder import climb
from knnscope.search import catalog
from tests.bench import planted
from tests.bench.test_result import CEILINGS
from tests.cli.conftest import Run, refused
from tests.cli.test_terminal import EVIL, steers

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
BESIDE = reporting.beside
FEW = ("--rounds", 5, "--seconds", 1, "--threads", 1)
ABSENT = ("faiss", "usearch", "sklearn", "onnxruntime", "onnx", "torch", "cupy", "cuvs", "flashlib", "pytrec_eval")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None) -> Path:
    """A folder with vectors; planted engines beside the real ones, in this process, ceilings given, no page drawn."""
    monkeypatch.setattr(reporting, "beside", lambda _: [])
    monkeypatch.setenv("COLUMNS", "100")  # the same paper for both
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session.cache, "obtain", lambda *_: CEILINGS)
    monkeypatch.setattr(climbing.cache, "obtain", lambda *_: CEILINGS)
    for name, entry in planted.ENGINES.items():
        monkeypatch.setitem(catalog.ENGINES, name, entry)
    np.save("v.npy", np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32))
    return tmp_path


def notes(err: str) -> list[str]:
    return [line for line in err.splitlines() if line.startswith("note: ")]


def shown_again(knnscope: Run, *argv: object, code: int = 0) -> str:
    """What a run printed; it is checked that show prints the same."""
    shutil.rmtree("out", ignore_errors=True)
    ran, out, err = knnscope(*argv, "--out", "out")
    assert ran == code, err
    assert out
    again, shown, said = knnscope("show", "out")
    assert again == 0, said
    assert shown == out
    kept = [line for line in notes(err) if not line.startswith("note: --fail-on")]
    assert notes(said) == [line for line in kept if line in notes(said)], "only notes of the run"
    assert steers(shown) is False
    return out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--engines", "Right,AlsoRight,Missing,AbortsAtTen,cupy", "--batch", "1,10"), "150 queries held out"),
        (("--engines", "WrongOrder,Right", "--batch", 1, "-k", "4,2"), "stands where one is nearer"),
        (
            ("--engines", "Right,numpy", "--batch", 7, "--queries", 20, "--threads", "stock"),
            "stock threads, 20 queries held",
        ),
        (("--engines", "numpy,numpy64", "--batch", 1, "--quick"), "quick: few rounds"),
        (("--engines", "Right,Negative", "--batch", 5, "--queries", "q.npy"), "1 thread, 5 queries\n"),
    ],
)
def test_a_comparison(
    here: Path, knnscope: Run, argv: tuple[object, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "AbortsAtTen" in str(argv):  # as a user runs it, but with fewer processes of each engine
        inner = session.measure
        monkeypatch.setattr(session, "measure", lambda task, grid, o: inner(task, grid, replace(o, rounds=2)))
        monkeypatch.setattr(session, "Child", Child)
        monkeypatch.setattr(reporting, "beside", BESIDE)
    np.save("q.npy", np.load("v.npy")[:5])
    few = FEW[:4] if "--threads" in argv else FEW[4:] if "--quick" in argv else FEW
    assert says in shown_again(knnscope, "compare", "v.npy", *few, *argv)


def test_a_comparison_where_nothing_was_measured(here: Path, knnscope: Run) -> None:
    assert "not measured" in shown_again(knnscope, "compare", "v.npy", *FEW, "--engines", "Missing", code=2)


def test_an_interrupted_comparison(here: Path, knnscope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inner, turns = runner.Runner._turn, []

    def turn(self: runner.Runner, *args: Any) -> None:
        turns.append(1)
        if len(turns) > 3:
            raise KeyboardInterrupt
        inner(self, *args)

    monkeypatch.setattr(runner.Runner, "_turn", turn)
    argv = ("compare", "v.npy", *FEW, "--engines", "Right,AlsoRight", "--batch", 1)
    assert "interrupted: the figures are those" in shown_again(knnscope, *argv, code=130)


@pytest.mark.usefixtures("encoded")
def test_texts_of_a_wrong_answer_and_quality(here: Path, knnscope: Run, child_environment: dict[str, str]) -> None:
    """The evidence's texts come from the files: the data set is not opened again, nor any library of an engine."""
    argv = ("compare", "sample", *FEW, "--engines", "numpy64,WrongAtTheEnd", "--batch", 5, "--queries", 5, "-k", 3)
    out = shown_again(knnscope, *argv)
    assert "1 of 2 engines agree\nWrongAtTheEnd differs from numpy64 at rank 1" in out
    assert "nDCG@10" in out
    without = f"import sys; sys.modules.update(dict.fromkeys({ABSENT})); from knnscope.cli import run; sys.exit(run())"
    shown = subprocess.run(
        [sys.executable, "-c", without, "show", "out"],
        env={**child_environment, "COLUMNS": os.environ["COLUMNS"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == out


def test_a_climb(here: Path, knnscope: Run) -> None:
    argv = ("ladder", "--rows", 500, "--repeat", 2, "--device", "cpu")
    assert "no GPU: what says cupy" in shown_again(knnscope, *argv)
    scaled = shown_again(knnscope, *argv, "--rungs", "numpy-loop,topk,faiss-gpu", "--loop-rows", 50)
    assert "its time was scaled" in scaled
    assert "not measured: faiss-gpu: " in scaled
    assert "--device cuda" in scaled or "no GPU" in scaled


@pytest.mark.parametrize("climbed", [0, 1])
def test_an_interrupted_climb(here: Path, knnscope: Run, monkeypatch: pytest.MonkeyPatch, climbed: int) -> None:
    def stopped(names: list[str], plan: Any) -> Iterator[Any]:
        yield from climb(names[:climbed], plan)
        raise KeyboardInterrupt

    monkeypatch.setattr(climbing.climbing, "climb", stopped)
    argv = ("ladder", "v.npy", "--repeat", 1, "--device", "cpu", "--rungs", "topk,argsort")
    if climbed:
        assert "components, k = 3" in shown_again(knnscope, *argv, code=130)
        return
    code, _, err = knnscope(*argv, "--out", "out")
    assert (code, err) == (130, "knnscope: interrupted; no rung was climbed yet, no run was written\n")
    assert not (here / "out").exists(), "it would keep the folder from the next climb"


def test_rows_as_json(here: Path, knnscope: Run) -> None:
    code, out, _ = knnscope("compare", "v.npy", *FEW, "--engines", "Right", "--batch", 1, "--json", "--out", "out")
    assert code == 0
    assert knnscope("show", "out", "--json")[1] == out == (here / "out" / "results.jsonl").read_text()


def figures(line: str) -> str:
    """A line without the unit at the end of an interval, which had none at first, and the room that it takes."""
    return " ".join(re.sub(r"( to [\d.,]+) [mµn]?s\b", r"\1", line).split())


@pytest.mark.parametrize(
    "folder", sorted(RESULTS.glob("compare-*/")) + sorted(RESULTS.glob("ladder-*/")), ids=lambda p: p.name
)
def test_runs_of_before_are_shown(knnscope: Run, folder: Path) -> None:
    """Written without run.json: what no file says is left out, all else is there."""
    code, out, err = knnscope("show", folder)
    assert code == 0, err
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    for row in rows:
        assert (row.get("engine") or row["rung"]) in out
    if (report := folder / "report.txt").exists():
        then = {figures(line) for line in report.read_text().splitlines() if " ms" in line or " µs" in line}
        assert len(then & set(map(figures, out.splitlines()))) > 0.8 * len(then), "the tables say what they said"


def test_a_hostile_run_steers_no_terminal(here: Path, knnscope: Run) -> None:
    shown_again(knnscope, "compare", "v.npy", *FEW, "--engines", "WrongOrder,Right,Missing", "--batch", 1)
    path = here / "out" / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        for name, value in row.items():
            if isinstance(value, str) and name not in ("metric", "boundary", "device", "cache", "status", "grade"):
                row[name] = f"{value}{EVIL}\nforged: fastest exact: mine"
        if row["evidence"]:
            row["evidence"]["why"] = EVIL
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = knnscope("show", "out")
    assert code == 0
    assert not steers(out)
    assert not [line for line in out.splitlines() if line.startswith("forged")]
    found = Comparison.load("out")
    for text in (str(found), repr(found), found._repr_html_()):
        assert not steers(text), "also where no command stands between"


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "gone": (
        lambda out: out.rename(out.with_name("x")),
        "out: no such folder: the folder of a run of knnscope compare",
    ),
    "no rows": (lambda out: (out / "results.jsonl").unlink(), "out: holds no results.jsonl: the folder of a run of"),
    "empty": (lambda out: (out / "results.jsonl").write_text(""), "results.jsonl: holds no row"),
    "not JSON": (
        lambda out: (out / "results.jsonl").write_text("{\n"),
        r"results.jsonl:1: not a row of knnscope compare \(",
    ),
    "deep": (lambda out: (out / "run.json").write_text("[" * 100_000), "run.json: not what knnscope compare or"),
    "no command": (lambda out: (out / "run.json").write_text("{}"), r"run.json: not what .*command"),
    "queries": (lambda out: edit(out / "run.json", queries=-1), r"run.json: not what .*`\$.queries`"),
    "more": (lambda out: edit(out / "run.json", mood="good"), "run.json: not what .*mood"),
    "geometry": (
        lambda out: edit(out / "environment.json", geometry=[1]),
        r"environment.json: not what .*`\$.geometry`",
    ),
    "cores": (lambda out: edit(out / "environment.json", other_cores="x"), r"environment.json: not what .*other_cores"),
    "list": (lambda out: (out / "environment.json").write_text("[]"), "environment.json: not what"),
    "other": (lambda out: edit(out / "run.json", command="ladder"), "run.json: not what"),
    "huge": (lambda out: (out / "run.json").write_text(" " * (1 << 24) + "{}"), "run.json: larger than"),
    "a pipe": (
        lambda out: ((out / "run.json").unlink(), os.mkfifo(out / "run.json")),
        "run.json: not a plain file",
    ),
    "rows in a pipe": (
        lambda out: ((out / "results.jsonl").unlink(), os.mkfifo(out / "results.jsonl")),
        "holds no results.jsonl",
    ),
    "a folder": (lambda out: ((out / "run.json").unlink(), (out / "run.json").mkdir()), "run.json: this is a folder"),
}


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run for all damages."""
    from knnscope.analysis import run as runs
    from tests.report.test_comparison import made_up, run_of

    folder = tmp_path_factory.mktemp("saved") / "out"
    runs.save(run_of(made_up("a", 100) + made_up("b", 200)), folder)
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_run_is_one_line(knnscope: Run, saved: Path, tmp_path: Path, damage: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for file in saved.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    assert knnscope("show", out)[0] == 0
    change, message = DAMAGES[damage]
    change(out)
    refused(knnscope("show", out), message)
