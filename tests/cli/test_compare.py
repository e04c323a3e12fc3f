"""knnscope compare as a user runs it: what it prints and writes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from knnscope import threads
from knnscope.analysis import jsonl
from knnscope.analysis.measurement import Measurement
from knnscope.bench import session
from knnscope.search import catalog
from tests.bench.test_result import CEILINGS
from tests.cli.conftest import QUICK, VERDICT, Compare, Run, facts, saved


@pytest.mark.usefixtures("encoded", "one_process")
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
    assert "all vectors have norm 1; of 50 queries, l2 gives 50 the same neighbors as cosine does, ip 50" in out
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
    _, out, _ = knnscope(*argv, "--out", tmp_path / "other", "--json")
    assert all(json.loads(line)["quick"] for line in out.splitlines())


@pytest.mark.usefixtures("one_process")
def test_a_quick_run_asks_fewer_queries(knnscope: Run, tmp_path: Path) -> None:
    argv = ("--engines", "numpy", "--batch", 1, "--threads", 1, "--quick", "--out", tmp_path / "out")
    for own, asked in (("", 200), (",queries=40", 40), (",queries=900", 200)):
        _, out, _ = knnscope("compare", f"synthetic:text,rows=2000,dim=8{own}", *argv)
        assert re.search(rf", 1 thread, {asked} queries", out), own
        shutil.rmtree(tmp_path / "out")
    np.save(tmp_path / "q.npy", np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32))
    _, out, _ = knnscope("compare", "synthetic:text,rows=2000,dim=8", "--queries", tmp_path / "q.npy", *argv)
    assert re.search(", 1 thread, 200 queries", out), "a file with hours of reference answers is no quick run"


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


@pytest.mark.usefixtures("processes")
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
