"""What a comparison looks like in words, for rows that no machine here makes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from knnscope.bench import session
from knnscope.report.comparison import report, verdict
from knnscope.search import geometry
from tests.analysis.test_verdict import failed
from tests.analysis.test_verdict import rows as made_up


def test_what_is_printed_of_a_gpu_and_of_doubtful_figures(tmp_path: Path) -> None:
    gpu = {"device": "cuda", "noise": 0.0}
    made = (
        made_up("far", 900, event_us=95, **gpu)
        + made_up("far", 100, boundary="device", event_us=90, **gpu)
        + made_up("near", 50, event_us=40, **gpu)
        + made_up("near", 45, boundary="device", event_us=40, **gpu)
        + made_up("cpu", 100, noise=0.0)
        + made_up("loud", 300, noise=0.9)
        + made_up("few", 500, "float32", noise=0.0)
    )
    for row in made:
        if row["engine"] == "cpu":
            row.update(cores=3.4, stable=False, warmup_calls=50)
    measured = session.Result(made, {}, {}, geometry.Geometry(1, 1, 1, "l2", 5, {"ip": 5}), False)
    text = report(measured, session.Task("made up", np.ones((9, 3)), np.ones((4, 3)), "l2"))
    assert "1 query a call, k = 10, from and to GPU memory" in text
    assert re.search(
        r"^far +10 +1 +500 µs +900 µs +800 µs +10\.0 µs +90\.0 µs +9 times slower than cpu, 89% is transfer$",
        text,
        re.M,
    )
    assert re.search(r"^near .* 2 times as fast as cpu$", text, re.M)
    assert re.search(r"^loud +exact .* too noisy to tell ", text, re.M)
    assert re.search(r"^few +float32 \(3 of 50 differ\) ", text, re.M)
    assert "kept 3.4 cores busy" not in text, "6 ms are too few to know"
    for row in made:
        row["samples_ns"] = [[1000 * w for w in walls] for walls in row["samples_ns"]]
    task = session.Task("made up", np.ones((9, 3)), np.ones((4, 3)), "l2", held_out=True)
    assert "cpu kept 3.4 cores busy at batch 1: more than its 2 threads" in report(measured, task)
    assert "4 queries held out\n" in report(measured, task)
    assert "still changing after the warm-up: cpu (batch 1)" in text
    assert re.search(r"^cpu +1 ns +unknown +unknown", text, re.M), "no peak was read"


def test_the_last_words() -> None:
    made = made_up("a", 100) + made_up("b", 200)
    flat = geometry.Geometry(1, 1, 1, "l2", 5, {"ip": 5})
    quiet = verdict(session.Result(made, {"other_cores": 0.1}, {}, flat, False))
    assert quiet.startswith("1 query: fastest exact: a, ")
    assert "\n" not in quiet
    disturbed = verdict(session.Result(made, {"other_cores": 0.9}, {}, flat, True)).splitlines()
    assert disturbed[1] == "other work kept 0.9 cores busy meanwhile: on an idle machine times and ranking may differ"
    assert disturbed[2].startswith("interrupted: ")


def test_engines_without_a_gpu_are_one_line() -> None:
    gpu = [row for name in ("cupy", "cuvs", "torch-cuda") for batch in (1, 10) for row in failed(name, "no-gpu", batch)]
    flat = geometry.Geometry(1, 1, 1, "l2", 5, {"ip": 5})
    task = session.Task("made up", np.ones((9, 3)), np.ones((4, 3)), "l2")
    text = report(session.Result(made_up("a", 100) + gpu, {}, {}, flat, False), task)
    assert [line for line in text.splitlines() if "cu" in line] == [
        "not measured: cupy, cuvs, torch-cuda: for a reason"
    ]
    text = report(session.Result(made_up("a", 100) + failed("x", "missing") + gpu, {}, {}, flat, False), task)
    assert re.search(r"^  x +missing +for a reason$", text, re.M)
    assert "\nnot measured: cupy, cuvs, torch-cuda: for a reason" in text
