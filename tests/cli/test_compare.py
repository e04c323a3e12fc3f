"""knnscope compare as a user runs it: what it prints, writes and refuses, and its exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope import threads
from knnscope.analysis import jsonl
from knnscope.analysis.measurement import Measurement
from knnscope.bench import result, session
from knnscope.cli.compare import FAIL_ON
from knnscope.search import catalog
from tests.bench import planted
from tests.bench.test_result import CEILINGS
from tests.cli.conftest import Run, refused

QUICK = ("--rounds", 5, "--seconds", 1, "--threads", 1)
"""Each round is a process of each engine; a verdict takes 7."""
VERDICT = ("--rounds", 7)
Compare = Callable[..., tuple[int, str, str]]


@pytest.fixture
def compare(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """The command with few rounds, no cold rows, given ceilings, and planted engines beside the real ones."""
    monkeypatch.setattr(session.cache, "obtain", lambda *_: CEILINGS)
    inner = session.measure
    monkeypatch.setattr(session, "measure", lambda task, grid, o: inner(task, grid, replace(o, cold=False)))
    for name, entry in planted.ENGINES.items():
        monkeypatch.setitem(catalog.ENGINES, name, entry)
    return lambda *argv: knnscope(
        "compare", *QUICK[: 4 if "--threads" in argv else 6], *argv, "--out", tmp_path / "out"
    )


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32))
    return tmp_path / "v.npy"


def saved(folder: Path) -> list[Measurement]:
    return jsonl.read(folder / "out" / "results.jsonl", Measurement, "knnscope compare")


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "environment.json").read_text())
    return found


@pytest.mark.usefixtures("encoded")
def test_the_sample_and_all_that_is_printed(knnscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference where it is named, cold rows too, in the folder that the help names."""
    monkeypatch.setattr(session.cache, "obtain", lambda *_: CEILINGS)
    monkeypatch.chdir(tmp_path)
    code, out, _ = knnscope("compare", *QUICK, *VERDICT, "--batch", "1,10", "--engines", "numpy64,numpy")
    assert code == 0
    assert "sample: 240 x 384 float32, cosine, 1 thread, 60 queries" in out
    assert re.search(r"^10 queries a call, k = 10$", out, re.M)
    assert re.search(r"^numpy64 +exact +\d", out, re.M)
    assert re.search(r"^1 query: fastest exact: numpy, .* times \(.*\) as fast as numpy64$", out, re.M)
    assert "all vectors have norm 1; of 50 queries, l2 on 50 and ip on 50 rank as cosine does" in out
    assert re.search(r"^all +10 +0\.\d{4} +0\.\d{4} +0\.\d{4}$", out, re.M), "both are equally good"
    assert "query q-congestion-charge" in out
    assert "both engines agree on the ids and their order" in out
    (folder,) = tmp_path.glob("runs/compare-20*")
    assert out.rstrip().splitlines()[-1].startswith(f"saved in {folder}: ")
    rows = jsonl.read(folder / "results.jsonl", Measurement, "knnscope compare")
    told = json.loads((folder / "verdict.json").read_text())
    last = out.rstrip().split("\n\n")[-2].splitlines()
    assert last[:2] == told["sentences"], "the verdict comes last, before a word on other work and where all is saved"
    assert [(r.engine, r.batch, r.cache) for r in rows] == [
        (engine, batch, cache)
        for engine in ("numpy64", "numpy")
        for batch in (1, 10)
        for cache in ("first", "cold", "hot")
    ]
    assert all(r.status == "ok" and r.ndcg_at_10 > 0.5 and r.dataset == "sample" for r in rows)
    assert [r.fresh for r in rows if r.cache == "first"] == [True, False, True, False]
    assert all(len(r.samples_ns) == 7 for r in rows if r.cache == "hot")


def test_the_reference_is_not_timed_unless_it_is_named(
    compare: Compare, vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default all others are; without it in the run answers are judged all the same."""
    for name in set(catalog.ENGINES) - {"numpy64", "numpy", "WrongOrder"}:
        monkeypatch.delitem(catalog.ENGINES, name)
    assert compare(vectors, "--batch", 1)[0] == 0
    assert {r.engine: r.grade for r in saved(tmp_path)} == {"numpy": "exact", "WrongOrder": "wrong"}
    assert compare(vectors, "--batch", 1, "--engines", "numpy64")[0] == 0
    assert {r.engine for r in saved(tmp_path)} == {"numpy64"}


def test_a_quick_run_is_marked_wherever_it_is_told(
    knnscope: Run, vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.cache, "obtain", None)  # nothing is measured for it that takes seconds
    argv = ("compare", vectors, "--engines", "numpy,numpy64", "--batch", "1,10", "--threads", 1, "--quick")
    code, out, _ = knnscope(*argv, "--out", tmp_path / "out")
    assert code == 0
    assert out.startswith(f"quick: {vectors}: 150 x 8 float32")
    assert re.search(r"^quick: few rounds by one process an engine.*1\.5 times", out, re.M)
    assert not re.search(r"\bcold\b", out.split("\n\n")[1]), "a column that no row has"
    rows = saved(tmp_path)
    assert all(r.quick and r.builds == 1 and r.cache != "cold" for r in rows)
    assert facts(tmp_path)["options"]["quick"] is True
    assert json.loads((tmp_path / "out/verdict.json").read_text())["quick"] is True
    _, out, _ = knnscope(*argv, "--out", tmp_path / "out", "--json")
    assert all(json.loads(line)["quick"] for line in out.splitlines())


def test_a_quick_run_asks_fewer_queries(knnscope: Run, tmp_path: Path) -> None:
    argv = ("--engines", "numpy", "--batch", 1, "--threads", 1, "--quick", "--out", tmp_path / "out")
    for own, asked in (("", 200), (",queries=40", 40), (",queries=900", 200)):
        _, out, _ = knnscope("compare", f"synthetic:text,rows=2000,dim=8{own}", *argv)
        assert re.search(rf", 1 thread, {asked} queries", out), own


def test_rows_held_out_are_the_queries_of_a_file_without_any(compare: Compare, vectors: Path, tmp_path: Path) -> None:
    code, out, _ = compare(
        vectors, *VERDICT, "--engines", "Right,AlsoRight", "-k", "3,1", "--batch", "7,1,7", "--queries", 50
    )
    assert code == 0
    assert ": 250 x 8 float32, l2, 1 thread, 50 queries held out" in out
    rows = saved(tmp_path)
    assert [(r.k, r.batch) for r in rows if r.engine == "Right" and r.cache == "hot"] == [
        (1, 1),
        (1, 7),
        (3, 1),
        (3, 7),
    ]
    assert re.search(r"^7 queries, k = 3: fastest exact: ", out, re.M)
    assert {r.rows for r in rows} == {250}
    assert compare(vectors, "--engines", "Right", "--batch", 1)[0] == 0
    assert saved(tmp_path)[0].rows == 150, "half of so few"


def test_all_queries_of_another_file_are_asked(compare: Compare, vectors: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "q.npy", np.random.default_rng(1).standard_normal((1203, 8)).astype(np.float32))
    _, out, _ = compare(vectors, "--queries", tmp_path / "q.npy", "--engines", "Right", "--batch", 1203)
    assert "1,203 queries" in out
    assert {row.judged for row in saved(tmp_path)} == {1203}


def test_queries_of_another_file(compare: Compare, vectors: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "q.npy", np.load(vectors)[:5] + np.float32(0.01))
    code, out, _ = compare(
        vectors, "--queries", tmp_path / "q.npy", "--engines", "Right", "--batch", 1, "--metric", "ip"
    )
    assert code == 0
    assert "300 x 8 float32, ip, 1 thread, 5 queries" in out


@pytest.mark.usefixtures("encoded")
def test_queries_of_another_file_for_texts(compare: Compare, tmp_path: Path) -> None:
    np.save(tmp_path / "q.npy", np.random.default_rng(0).standard_normal((4, 384)).astype(np.float32))
    code, out, _ = compare("sample", "--queries", tmp_path / "q.npy", "--engines", "numpy64", "--batch", 1)
    assert code == 0
    assert "cosine, 1 thread, 4 queries" in out
    assert "only numpy64 was asked" in out
    assert saved(tmp_path)[0].ndcg_at_10 is None


def test_rows_as_json(compare: Compare, vectors: Path, tmp_path: Path) -> None:
    code, out, _ = compare(vectors, "--engines", "Right,Missing", "--batch", 1, "--json")
    assert code == 0
    assert out == (tmp_path / "out" / "results.jsonl").read_text()
    rows = saved(tmp_path)
    missing = rows[-1]
    assert (missing.engine, missing.status, missing.samples_ns) == ("Missing", "missing", [])
    assert re.fullmatch(r"no_such_library is not installed: .*pip install -e .*\[cpu\]'", missing.reason)


def test_failures_are_rows_and_listed(compare: Compare, vectors: Path) -> None:
    code, out, _ = compare(vectors, "--engines", "AbortsAtTen,Missing,Right,OnlyL2,Shallow", "--batch", "1,10", "-k", 6)
    assert code == 0
    listed = out[out.index("not measured") :]
    assert re.search(r"^  Missing +missing +no_such_library is not installed: .*pip install", listed, re.M)
    assert re.search(r"^  AbortsAtTen +crashed +batch 10: its process ended by signal SIGABRT$", listed, re.M)
    assert re.search(r"^  Shallow +unsupported +k = 6 is above this engine's limit of 5$", listed, re.M)
    assert re.search(r"^AbortsAtTen +exact", out, re.M)


def test_where_nothing_was_measured_the_exit_code_is_2(compare: Compare, vectors: Path, tmp_path: Path) -> None:
    code, out, err = compare(vectors, "--engines", "Missing", "--batch", 1)
    assert code == 2
    assert err.splitlines()[-1].startswith(
        "knnscope: nothing was measured: Missing: no_such_library is not installed: "
    )
    assert "fastest" not in out
    assert [r.status for r in saved(tmp_path)] == ["missing"], "a row all the same"


def test_more_queries_than_can_be_held_out(compare: Compare, vectors: Path) -> None:
    refused(
        compare(vectors, "--engines", "Right", "--queries", 151),
        "--queries 151: at most half of the 300 rows can be held out as queries",
    )


@pytest.mark.parametrize(
    ("engines", "fail_on", "code"),
    [
        ("Right", "wrong,crashed", 0),
        ("Right,WrongOrder", "wrong", 1),
        ("Right,WrongOrder", "crashed,missing", 0),
        ("Right,Missing", "missing", 1),
        ("Right,Missing", "any", 1),
        ("Right,Missing", "wrong,any", 1),
    ],
)
def test_fail_on(compare: Compare, vectors: Path, engines: str, fail_on: str, code: int) -> None:
    found, out, err = compare(vectors, "--engines", engines, "--batch", 1, "--fail-on", fail_on)
    assert found == code, err
    assert "fastest exact: Right" in out, "printed all the same"
    assert ("--fail-on: " in err) == bool(code)
    if code:
        # any counts rows that are too noisy to tell as well, which a busy machine makes
        assert re.search(r"--fail-on: (\w+ noisy; )*(WrongOrder wrong|Missing missing)$", err, re.M)


def test_fail_on_noise(compare: Compare, vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for width, code in ((-1, 1), (10**9, 0)):
        monkeypatch.setattr(result, "NOISY", width)
        found, out, _ = compare(vectors, "--engines", "Right", "--batch", 1, "--fail-on", "noisy")
        assert found == code
        assert ("too noisy to tell" in out) == bool(code)


def test_a_wrong_engine_is_shown_with_its_evidence(compare: Compare, vectors: Path, tmp_path: Path) -> None:
    _, out, _ = compare(vectors, "--engines", "WrongOrder,Right", "--batch", 1, "-k", 4)
    (row,) = [r for r in saved(tmp_path) if r.engine == "WrongOrder" and r.cache == "hot"]
    evidence = row.evidence
    assert row.status == row.grade == "wrong"
    assert re.search(rf"^WrongOrder +wrong \({row.beyond} of {row.judged} wrong\)", out, re.M)
    assert f"query {evidence.query}, rank 1: row {evidence.row} stands where one is nearer and comes later" in out
    assert row.formula == "difference float32"
    apart = abs(evidence.distance - evidence.rival_distance)
    assert f"{apart:.3g} apart" in out
    assert f"rounding explains {evidence.allowed:.3g})" in out
    assert f"  found    {' '.join(map(str, evidence.ids))}\n" in out
    assert f"  defined  {' '.join(map(str, evidence.expected))}\n" in out
    assert evidence.ids[:2] == evidence.expected[1::-1]
    assert "fastest exact: Right" in out


@pytest.mark.usefixtures("encoded")
def test_answers_that_are_no_rows_do_not_end_the_run(compare: Compare, tmp_path: Path) -> None:
    """Side by side are shown those that gave rows, for a query that one of them was wrong on."""
    code, out, err = compare(
        "sample", "--engines", "numpy64,Negative,OutOfRange,TooFew,WrongAtTheEnd", "--batch", 5, "--queries", 5
    )
    assert code == 0, err
    assert out.count("is no row: there are 240") == 3
    assert re.search(r"^rank +numpy64 +Negative +WrongAtTheEnd$", out, re.M), "-1 stands below the third rank"
    assert {r.status for r in saved(tmp_path) if r.engine != "numpy64"} == {"wrong"}
    assert {r.ndcg_at_10 is None for r in saved(tmp_path) if r.engine == "TooFew"} == {True}


@pytest.mark.usefixtures("encoded")
def test_side_by_side_is_a_query_that_one_is_wrong_on(compare: Compare, tmp_path: Path) -> None:
    _, out, _ = compare("sample", "--engines", "numpy64,WrongAtTheEnd", "--batch", 5, "--queries", 5, "-k", 3)
    evidence = saved(tmp_path)[-1].evidence
    assert evidence.query == 4
    assert "1 of 2 engines agree\nWrongAtTheEnd differs from numpy64 at rank 1" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["smaple"], "no data set, folder or file named 'smaple': did you mean sample"),
        (["sample", "--engines", "numpi"], "no engine named 'numpi': did you mean numpy"),
        (["sample", "--engines", ","], "--engines is empty"),
        (["sample", "--boundary", "hots"], "no boundary named 'hots': did you mean host"),
        (["sample", "--fail-on", "any,wrnog"], "no choice for --fail-on named 'wrnog': did you mean wrong"),
        (["sample", "--threads", "9999"], r"--threads 9999: at most 1,024; this process may use \d+ cores$"),
        (["sample", "--threads", "9" * 18], "--threads 9+: at most 1,024"),
        (["sample", "--fail-on", "wrnog"], "no choice for --fail-on named 'wrnog': did you mean wrong"),
        (["sample", "-k", "0"], "-k: '0' is not a whole number above 0"),
        (["sample", "-k", "3,x"], "-k: 'x' is not a whole number"),
        (["sample", "--batch", ","], "--batch is empty"),
        (["sample", "-k", ""], "-k is empty"),
        (["sample", "--engines", ""], "--engines is empty"),
        (["sample", "--fail-on", ""], "--fail-on is empty"),
        (["sample", "--batch", "-5"], "--batch"),
        (["sample", "-k", "10,241"], "k = 241 is outside 1 to 240"),
        (["sample", "--rounds", "0"], "'0' is not a whole number above 0"),
        (["sample", "--seconds", "half"], "'half' is not a whole number"),
        (["sample", "--threads", "many"], "--threads 'many': a number or stock was expected"),
        (["sample", "--threads", "0"], "--threads '0': a number or stock was expected"),
        (["sample", "--queries", "0"], "--queries: '0' is not a whole number above 0"),
        (["sample", "--queries", "9" * 30], "--queries: '9+' is not a whole number"),
        (
            ["sample", "--queries", "sample"],
            "--queries sample: no such file: a file of vectors or a number was expected",
        ),
        (["sample", "--queries", "nowhere.npy"], "nowhere.npy"),
        (["sample", "--metric", "l3"], "invalid choice: 'l3'"),
        (["sample", "--out", "/proc/nowhere"], "/proc/nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    knnscope: Run, tmp_path: Path, argv: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "measure", None)
    refused(knnscope("compare", *argv), message)


def test_vectors_that_cannot_be_searched(compare: Compare, vectors: Path, tmp_path: Path) -> None:
    def queries(values: np.ndarray) -> Path:
        np.save(tmp_path / "q.npy", values.astype(np.float32))
        return tmp_path / "q.npy"

    broken = np.ones((4, 8))
    broken[2, 1] = np.nan
    refused(compare(vectors, "--queries", queries(np.ones((3, 5)))), "queries have 5 components, the rows 8")
    refused(compare(vectors, "--queries", queries(broken)), "row 2 has nan in component 1")
    refused(compare(vectors, "-k", 200), "k = 200 is outside 1 to 150, the number of rows")
    np.save(tmp_path / "one.npy", np.ones((1, 3), np.float32))
    refused(compare(tmp_path / "one.npy", "-k", 1), "one row and no queries: give some, as a file")
    assert not (tmp_path / "out" / "results.jsonl").exists()


def test_thread_budgets_are_recorded(
    compare: Compare, vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    _, out, err = compare(vectors, "--engines", "Right,Tells", "--batch", 1, "--threads", "3")
    assert "note: set to the thread budget or cleared for the measurement: OPENBLAS_CORETYPE" in err
    assert "l2, 3 threads" in out
    assert facts(tmp_path)["cleared_variables"] == {"OPENBLAS_CORETYPE": "Haswell"}
    assert facts(tmp_path)["options"]["threads"] == 3
    told = [json.loads(r.reason) for r in saved(tmp_path) if r.engine == "Tells"]
    assert told == [dict.fromkeys(threads.COUNTS, "3")]
    assert {r.threads for r in saved(tmp_path)} == {3}
    _, out, _ = compare(vectors, "--engines", "Right,Tells", "--batch", 1, "--threads", "stock")
    assert "l2, stock threads" in out
    assert facts(tmp_path)["options"]["threads"] is None
    assert [r.reason for r in saved(tmp_path) if r.engine == "Tells"] == ["{}"]
    assert {r.threads for r in saved(tmp_path)} == {None}


def test_the_environment_is_saved(compare: Compare, vectors: Path, tmp_path: Path) -> None:
    compare(vectors, "--engines", "Right", "--batch", 1, "--memory", 2000, "--timeout", 50, "--seed", 4)
    found = facts(tmp_path)
    assert found["options"] == {
        "threads": 1,
        "rounds": 5,
        "seconds": 1,
        "timeout": 50,
        "memory": 2000 << 20,
        "seed": 4,
        "cold": False,
        "quick": False,
    }
    assert found["ceilings"]["cpu"]["products"] == CEILINGS.products
    assert found["before"].keys() == found["after"].keys()
    assert found["libraries"]["numpy"] == np.__version__
    assert found["cleared_variables"] == {}


@pytest.mark.skipif(threads.usable() < 2, reason="Faiss splits one query over threads only where there are two")
def test_faiss_on_large_norms_is_wrong_and_says_why(compare: Compare, tmp_path: Path) -> None:
    argv = ("--engines", "faiss", "--batch", 1, "--threads", "2", "--queries", 40, "--fail-on", "wrong")
    code, out, _ = compare("synthetic:large-norm,rows=20000,queries=40", *argv)
    (row,) = [r for r in saved(tmp_path) if r.cache == "hot"]
    if row.grade != "wrong":
        assert code == 0
        pytest.skip("on this processor, with this build, Faiss is right")
    assert code == 1
    assert (row.status, row.grade, row.threads) == ("wrong", "wrong", 2)
    evidence = row.evidence
    apart = abs(evidence.distance - evidence.rival_distance)
    assert apart > 10 * evidence.allowed > 0
    assert re.search(rf"^faiss +wrong \({row.beyond} of {row.judged} wrong\) ", out, re.M)
    assert f"{apart:.3g} apart" in out
    assert f"rounding explains {evidence.allowed:.3g})" in out
    assert "1 query: no engine gave a right answer; faiss took " in out


def test_numpy_on_large_norms_differs_as_float32_may(compare: Compare, tmp_path: Path) -> None:
    """The README's example: whatever the processor, numbers near 1,000,000 are 0.06 apart, and certified is exact."""
    argv = ("--engines", "certified,numpy", "--batch", 100, "--queries", 200)
    assert compare("synthetic:large-norm,rows=20000,queries=200", *argv)[0] == 0
    rows = {r.engine: r for r in saved(tmp_path) if r.cache == "hot"}
    assert rows["certified"].grade == "exact"
    assert rows["numpy"].grade == "float32"
    assert rows["numpy"].differing > rows["numpy"].judged / 2


def test_memory_limit_and_timeout_end_as_their_status(compare: Compare, vectors: Path, tmp_path: Path) -> None:
    compare(vectors, "--engines", "Exhausts,Right", "--batch", 1, "--memory", 400)
    assert {r.engine: r.status for r in saved(tmp_path)} == {"Exhausts": "oom", "Right": "ok"}
    compare(vectors, "--engines", "Hangs", "--batch", 1, "--timeout", 2)
    assert {r.engine: r.status for r in saved(tmp_path)} == {"Hangs": "timeout"}


def test_every_failing_status_can_be_failed_on() -> None:
    assert set(FAIL_ON) == {*result.FAILED, "wrong", "noisy"}


@pytest.mark.usefixtures("encoded")
def test_a_judged_document_with_the_querys_own_id_is_left_out_and_said_or_kept(
    compare: Compare, tmp_path: Path
) -> None:
    """beir 169: here the ids of queries and documents are the same numbers by accident."""
    words = ("sugar", "salt", "oil", "rice", "tea", "milk", "corn", "figs", "plums", "bread", "eggs", "nuts")
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": str(i), "text": w}) + "\n" for i, w in enumerate(words))
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "0", "text": "sugar"}\n{"_id": "q", "text": "milk"}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("0\t0\t1\nq\t5\t1\n")
    for option, mrr in (((), 0.5), (("--keep-own",), 1.0)):
        code, _, err = compare(tmp_path, "--engines", "numpy64", "--batch", 1, *option)
        assert code == 0
        assert {row.mrr_at_10 for row in saved(tmp_path)} == {mrr}
        said = "note: .*: 1 queries have the id of a document, .*; 1 of these documents are judged"
        assert bool(re.search(said, err)) == (not option)
