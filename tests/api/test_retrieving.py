"""Runs in TREC's layout: what is printed is what trec_eval makes of the file, also where scores are equal."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from knnscope import KnnscopeError, Retrieval, embed, load, run
from knnscope.analysis import trec_run
from knnscope.api import grading, retrieving
from knnscope.records import TextDataset
from knnscope.search import definition
from tests.cli.conftest import (
    Run,
    knnscope,  # noqa: F401 - a fixture
    refused,
)
from tests.encoders.folders import lay_out

pytestmark = pytest.mark.usefixtures("encoded")
MEASURES = {"ndcg_at_10": "ndcg_cut_10", "recall_at_k": "recall_20", "mrr_at_10": "recip_rank"}


def qrels(data: TextDataset) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    both = zip(data.qrels.queries.tolist(), data.qrels.documents.tolist(), data.qrels.grades.tolist(), strict=True)
    for query, document, grade in both:
        found.setdefault(data.queries.ids[query], {})[data.documents.ids[document]] = grade
    return found


def judged(path: Path, data: TextDataset) -> dict[str, float]:
    """Means that trec_eval's own reader and measures give for a file."""
    with path.open() as file:
        answers = pytrec_eval.parse_run(file)
    found = pytrec_eval.RelevanceEvaluator(qrels(data), {"ndcg_cut.10", "recall.20"}).evaluate(answers)
    first = {q: dict(sorted(s.items(), key=lambda one: -one[1])[:10]) for q, s in answers.items()}
    short = pytrec_eval.RelevanceEvaluator(qrels(data), {"recip_rank"}).evaluate(first)
    return {n: float(np.mean([{**found[q], **short[q]}[t] for q in found])) for n, t in MEASURES.items()}


def test_what_is_printed_is_what_trec_eval_makes_of_the_file(tmp_path: Path, knnscope: Run) -> None:  # noqa: F811
    out = tmp_path / "run.trec"
    code, printed, err = knnscope("run", "sample", "-o", out, "-k", 20)
    assert code == 0, err
    data = load("sample")
    assert isinstance(data, TextDataset)
    found = Retrieval.load(out)
    assert found.systems[0].means == pytest.approx(judged(out, data), abs=1e-12)
    for mean in found.systems[0].means.values():
        assert f"{mean:.4f}" in printed
    lines = [line.split() for line in out.read_text().splitlines()]
    assert len(lines) == 60 * 20
    assert {(line[1], line[5]) for line in lines} == {("Q0", "knnscope-all-MiniLM-L6-v2")}
    assert [line[3] for line in lines[:20]] == [str(rank) for rank in range(1, 21)]
    assert len(found.rows()) == 60
    code, printed, _ = knnscope("run", "sample", "-o", out, "-k", 20, "--json")
    assert json.loads(printed) == json.loads(Path(f"{out}.measures.json").read_text())


def test_encoders_are_compared_on_the_same_queries(tmp_path: Path, knnscope: Run) -> None:  # noqa: F811
    lay_out("pooling-mean", tmp_path / "tiny")
    code, printed, err = knnscope(
        "run", "sample", "-o", tmp_path / "r.trec", "-k", 20, "--encoder", f"all-MiniLM-L6-v2,{tmp_path / 'tiny'}"
    )
    assert code == 0, err
    data = load("sample")
    assert isinstance(data, TextDataset)
    found = Retrieval.load(tmp_path / "r.trec")
    assert [one.encoder for one in found.systems] == ["all-MiniLM-L6-v2", "tiny"]
    for one in found.systems:
        assert one.means == pytest.approx(judged(tmp_path / f"r-{one.encoder}.trec", data), abs=1e-12)
    ndcg = found.differences[0]
    assert ndcg.verdict == "worse"
    assert ndcg.difference == pytest.approx(found.systems[1].means["ndcg_at_10"] - found.systems[0].means["ndcg_at_10"])
    assert "nDCG@10: tiny less all-MiniLM-L6-v2: -0." in printed
    assert "tiny is worse" in printed
    assert "p corrected for 3 tests by Holm's method" in printed


def test_saved_vectors_with_judgements_beside(tmp_path: Path, knnscope: Run) -> None:  # noqa: F811
    code, _, err = knnscope("embed", "sample", "-o", tmp_path / "v")
    assert code == 0, err
    data = load("sample")
    assert isinstance(data, TextDataset)
    lines = [f"{q}\t{d}\t{g}" for q, of in qrels(data).items() for d, g in of.items()]
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(lines) + "\n")
    found = run(tmp_path / "v", out=tmp_path / "v.trec", qrels=tmp_path / "qrels.tsv", k=20)
    of_texts = run("sample", out=tmp_path / "t.trec", k=20)
    assert found.systems[0].means == of_texts.systems[0].means
    assert (tmp_path / "v.trec").read_text() == (tmp_path / "t.trec").read_text()
    without = run(tmp_path / "v", k=20)
    assert without.systems[0].means == {}
    assert "no judgements" in without.notes[-1]
    (tmp_path / "other.tsv").write_text("query-id\tcorpus-id\tscore\na\tb\t1\n")
    with pytest.raises(KnnscopeError, match=r"other\.tsv: this command reads it"):
        run(tmp_path / "v", out=tmp_path / "other.tsv", qrels=tmp_path / "other.tsv")
    with pytest.raises(KnnscopeError, match="judges no pair"):
        run(tmp_path / "v", qrels=tmp_path / "other.tsv")


def test_a_query_that_is_a_document_is_left_out_of_texts_and_of_their_vectors(tmp_path: Path) -> None:
    """ArguAna, as a collection and as the folder that embed wrote of it: the same run and the same measures."""
    said = [
        "a tax on sugar",
        "free trams for everyone",
        "cats purr",
        "the bus is late",
        "sugar is taxed",
        "trams are free",
    ]
    (tmp_path / "c/qrels").mkdir(parents=True)
    for part in ("corpus", "queries"):
        lines = (json.dumps({"_id": f"a{i}", "text": text}) for i, text in enumerate(said))
        (tmp_path / f"c/{part}.jsonl").write_text("\n".join(lines))
    file = tmp_path / "c/qrels/test.tsv"
    file.write_text("query-id\tcorpus-id\tscore\na0\ta4\t1\na1\ta5\t1\na4\ta4\t1\n")
    (tmp_path / "judged.tsv").write_text(file.read_text())
    embed(tmp_path / "c", out=tmp_path / "v")
    for keep_own in (False, True):
        texts = run(tmp_path / "c", out=tmp_path / "c.trec", k=3, keep_own=keep_own)
        vectors = run(tmp_path / "v", out=tmp_path / "v.trec", k=3, keep_own=keep_own, qrels=tmp_path / "judged.tsv")
        assert (tmp_path / "c.trec").read_text() == (tmp_path / "v.trec").read_text()
        assert texts.systems[0].means == vectors.systems[0].means
        own = [line for line in (tmp_path / "v.trec").read_text().splitlines() if line.split()[0] == line.split()[2]]
        assert len(own) == 3 * keep_own
        for found in (texts, vectors):
            notes = [note for note in found.notes if "have the id of a document" in note]
            assert len(notes) == (not keep_own)
            assert all("3 queries have" in note and "1 of these documents are judged" in note for note in notes)
    assert vectors.systems[0].means["mrr_at_10"] < 1
    np.save(tmp_path / "v/vectors.npy", np.eye(3, dtype=np.float32))
    for name in ("ids.txt", "texts.jsonl", "queries/ids.txt", "queries/texts.jsonl"):
        (tmp_path / "v" / name).unlink()
    np.save(tmp_path / "v/queries/vectors.npy", np.eye(3, dtype=np.float32))
    run(tmp_path / "v", out=tmp_path / "v.trec", k=1)
    assert [line.split()[2] for line in (tmp_path / "v.trec").read_text().splitlines()] == ["0", "1", "2"], (
        "numbers of rows are no names"
    )


def saved_ids(folder: Path, documents: str, queries: str) -> Path:
    """A folder of three vectors, and three queries, by these ids."""
    for place, ids in ((folder, documents), (folder / "queries", queries)):
        place.mkdir()
        np.save(place / "vectors.npy", np.eye(3, dtype=np.float32))
        (place / "ids.txt").write_text("\n".join(ids) + "\n")
    return folder


def test_an_id_of_vectors_that_stands_twice_is_told(tmp_path: Path) -> None:
    """trec_eval takes no query or document twice, and a mean over queries by their ids would lose one."""
    for documents, queries, said in (("abb", "qrs", "document id 'b'"), ("abc", "qrq", "query id 'q'")):
        with pytest.raises(KnnscopeError, match=f"{said} stands twice"):
            run(saved_ids(tmp_path / said[-3:-1].strip("'"), documents, queries), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("k", "told"), [(3, True), (10, False)])
def test_measures_at_ten_of_fewer_answers_say_so(k: int, told: bool) -> None:
    found = run("sample", k=k)
    assert any(f"nDCG@10 and MRR@10 are of {k} answers" in note for note in found.notes) == told


def test_judgements_of_a_file_that_are_about_others_are_told(tmp_path: Path) -> None:
    folder = saved_ids(tmp_path / "v", "abc", "qrs")
    lines = ["q\ta\t1", "q\ta\t1", "q\tgone\t1", "other\ta\t1", "other\tb\t1", "third\tb\t1"]
    (tmp_path / "j.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(lines) + "\n")
    found = run(folder, qrels=tmp_path / "j.tsv", k=3)
    assert found.systems[0].means["recall_at_k"] == 0.5
    assert not any("answers, as in trec_eval" in note for note in found.notes), "there are no more documents"
    for said in (
        "1 judgements stand there again with the same grade",
        "1 of 5 judgements are about documents that the corpus lacks",
        "3 of 5 judgements are about 2 queries that the data set lacks",
    ):
        assert sum(f"j.tsv: {said}" in note for note in found.notes) == 1


values = st.lists(st.floats(-1e39, 1e39, allow_nan=False), min_size=1, max_size=30)


@given(values, st.sampled_from(["l2", "ip"]))
def test_scores_keep_the_order_in_float32_whatever_they_are(distances: list[float], metric: str) -> None:
    ordered = np.sort(distances)[:: -1 if definition.descending(metric) else 1]
    found = trec_run.scores(ordered, metric)
    assert (found[1:] < found[:-1]).all()
    printed = np.array([np.float32(f"{x:.9g}") for x in found.tolist()])
    np.testing.assert_array_equal(printed, found)
    plain = np.clip(ordered if metric == "ip" else -ordered, -1.7e38, 1.7e38).astype(np.float32)
    if len(set(plain.tolist())) == len(plain) and np.abs(ordered).max() < 1.7e38:
        np.testing.assert_array_equal(found, plain)


def test_ids_with_blanks_and_other_mistakes_are_one_line(tmp_path: Path, knnscope: Run) -> None:  # noqa: F811
    with pytest.raises(KnnscopeError, match="document id 'a b': a TREC run has no room for blanks"):
        trec_run.write(tmp_path / "x", trec_run.TrecRun(["q"], ["a b"], [[0]], [[0.5]], "ip", "t"))
    assert not (tmp_path / "x").exists()
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32))
    refused(knnscope("run", tmp_path / "v.npy", "-o", tmp_path / "x"), "holds no queries")
    refused(knnscope("run", "sample", "-o", tmp_path / "x", "--encoder", ","), "--encoder is empty")
    refused(knnscope("run", "sample", "-o", tmp_path / "x", "--encoder", "no-such"), "no-such")
    with pytest.raises(KnnscopeError, match="no metric named 'l3'"):
        run("sample", metric="l3")


def test_a_loaded_record_has_no_answers_to_write(tmp_path: Path) -> None:
    found = run("sample", out=tmp_path / "a.trec", k=5)
    again = Retrieval.load(tmp_path / "a.trec")
    assert again.to_dict() == found.to_dict()
    assert "Retrieval of sample: 240 documents, 60 queries (60 judged), k = 5: all-MiniLM-L6-v2" in repr(again)
    assert "<pre>" in again._repr_html_()
    with pytest.raises(KnnscopeError, match="was loaded and has no answers"):
        again.save(tmp_path / "b.trec")


def test_a_run_goes_into_a_pipe_or_a_device_and_replaces_neither(tmp_path: Path, knnscope: Run) -> None:  # noqa: F811
    np.save(tmp_path / "rows.npy", np.eye(8, dtype=np.float32))
    np.save(tmp_path / "rows-queries.npy", np.eye(8, dtype=np.float32)[:3])
    run(tmp_path / "rows.npy", None, tmp_path / "plain", k=2)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit((tmp_path / "pipe").read_bytes)
        for name in ("pipe", "device"):
            code, printed, err = knnscope("run", tmp_path / "rows.npy", "-k", 2, "-o", tmp_path / name)
            assert code == 0, err
            assert "measures, query by query" not in printed
        assert read.result() == (tmp_path / "plain").read_bytes()
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "device").is_char_device()
    there = {"rows.npy", "rows-queries.npy", "plain", "plain.measures.json", "pipe", "device"}
    assert {path.name for path in tmp_path.iterdir()} == there


def test_a_folder_is_no_run_file_and_that_is_said_at_once(
    tmp_path: Path,
    knnscope: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrieving, "opened", None)
    refused(knnscope("run", "sample", "-o", tmp_path), "this is a folder, a file was expected")
    refused(knnscope("run", "sample", "-o", tmp_path / ("x" * 250)), "x.measures.json: File name too long")
    monkeypatch.setattr(grading, "asking", None)
    refused(knnscope("grade", "--out", tmp_path), "this is a folder, a file was expected")


def test_measures_are_not_written_over_another_file(
    tmp_path: Path,
    knnscope: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    np.save(tmp_path / "rows.npy", np.eye(8, dtype=np.float32))
    np.save(tmp_path / "rows-queries.npy", np.eye(8, dtype=np.float32)[:3])
    found = run(tmp_path / "rows.npy", None, tmp_path / "a.trec", k=2)
    found.save(tmp_path / "a.trec")  # its own are replaced
    (tmp_path / "a.trec.measures.json").write_text('{"mine": 1}')
    said = r"a.trec.measures.json: knnscope did not write it, and would write over it"
    with pytest.raises(KnnscopeError, match=said):
        found.save(tmp_path / "a.trec")
    monkeypatch.setattr(retrieving, "opened", None)
    refused(knnscope("run", tmp_path / "rows.npy", "-o", tmp_path / "a.trec"), said)
    assert (tmp_path / "a.trec.measures.json").read_text() == '{"mine": 1}'
