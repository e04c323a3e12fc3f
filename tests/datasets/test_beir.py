"""BEIR folders: what is read, what is left out and said, what is refused and where."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.datasets.beir import Selection, load_folder
from knnscope.errors import KnnscopeError

CORPUS = [
    {"_id": "d1", "title": "Cats", "text": "They purr."},
    {"_id": "d2", "title": "", "text": "Dogs bark."},
    {"_id": "d3", "text": ""},
    {"_id": 4, "title": None, "text": "Numbers as ids."},
]
QUERIES = [
    {"_id": "q1", "text": "pets"},
    {"_id": "q2", "text": "unjudged"},
    {"_id": "q3", "text": "sound", "metadata": {}},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\td2\t2\nq1\td1\t1\nq3\t4\t0\n"


def write(folder: Path, corpus: str | None = None, queries: str | None = None, qrels: str | None = QRELS) -> Path:
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    lines = "\n".join
    (folder / "corpus.jsonl").write_text(lines(map(json.dumps, CORPUS)) if corpus is None else corpus)
    (folder / "queries.jsonl").write_text(lines(map(json.dumps, QUERIES)) if queries is None else queries)
    if qrels is not None:
        (folder / "qrels" / "test.tsv").write_text(qrels)
    return folder


def test_reads_titles_grades_and_order(tmp_path: Path) -> None:
    found = load_folder(write(tmp_path), "toy")
    assert list(found.documents.ids) == ["d1", "d2", "d3", "4"]
    assert list(found.documents.texts) == ["Cats They purr.", "Dogs bark.", "", "Numbers as ids."]
    assert list(found.queries.ids) == ["q1", "q3"]
    assert found.qrels.of(0) == {1: 2, 0: 1}
    assert found.qrels.of(1) == {3: 0}
    assert any("1 documents and 0 queries have an empty text" in note for note in found.notes)


def test_gz_is_the_same(tmp_path: Path) -> None:
    plain = load_folder(write(tmp_path / "plain"), "toy")
    folder = write(tmp_path / "packed")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        path = folder / name
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    packed = load_folder(folder, "toy")
    assert packed.documents == plain.documents
    assert packed.queries == plain.queries
    assert (packed.qrels.documents == plain.qrels.documents).all()


def test_subset_and_limit(tmp_path: Path) -> None:
    folder = write(tmp_path)
    relevant = load_folder(folder, "toy", Selection(subset="relevant"))
    assert list(relevant.documents.ids) == ["d1", "d2", "4"]
    first = load_folder(folder, "toy", Selection(limit=1))
    assert list(first.documents.ids) == ["d1"]
    assert first.qrels.of(0) == {0: 1}
    assert list(first.queries.ids) == ["q1"]
    assert any("keeps 1 of 3 judgements" in note and "1 queries" in note for note in first.notes)


def test_judgements_of_unknown_ids_are_said(tmp_path: Path) -> None:
    """A document that the corpus lacks counts in the ideal; a query that the queries lack is never asked."""
    found = load_folder(write(tmp_path, qrels=QRELS + "q1\tnowhere\t3\nghost\td1\t1\nghost\tnowhere\t1\n"), "toy")
    assert len(found.qrels) == 4
    assert found.qrels.of(0) == {1: 2, 0: 1}
    assert found.qrels.absent_queries.tolist() == [0]
    assert found.qrels.absent_grades.tolist() == [3]
    assert "1 of 6 judgements are about documents that the corpus lacks" in found.notes[0]
    assert "2 of 6 judgements are about 1 queries that the data set lacks" in found.notes[1]


def test_a_query_whose_judged_documents_are_all_absent_stays(tmp_path: Path) -> None:
    """trec_eval counts it as 0; only --limit, which cuts documents off, leaves queries out."""
    folder = write(tmp_path, qrels=QRELS + "q2\tnowhere\t1\n")
    assert list(load_folder(folder, "toy").queries.ids) == ["q1", "q2", "q3"]
    same = load_folder(folder, "toy", Selection(limit=len(CORPUS)))
    assert list(same.queries.ids) == ["q1", "q2", "q3"], "a limit that cuts nothing off changes nothing"
    assert same.qrels.absent_queries.tolist() == [1]
    cut = load_folder(folder, "toy", Selection(limit=2))
    assert list(cut.queries.ids) == ["q1"]
    assert not cut.qrels.absent_queries.size


def test_without_judgements_every_query_is_kept(tmp_path: Path) -> None:
    found = load_folder(write(tmp_path, qrels=None), "toy")
    assert len(found.queries) == 3
    assert "no judgements" in found.notes[0]
    with pytest.raises(KnnscopeError, match="needs judgements"):
        load_folder(tmp_path, "toy", Selection(subset="relevant"))


BAD = {
    "bad json": ({"corpus": '{"_id": "a", "text": "x"}\n{oops'}, r"corpus.jsonl, line 2: bad JSON"),
    "not an object": ({"corpus": "[1]"}, r"line 1: a JSON object was expected, found list"),
    "no text": ({"corpus": '{"_id": "a"}'}, r"line 1: has no 'text'"),
    "text is a number": ({"corpus": '{"_id": "a", "text": 3}'}, r"line 1: has int for 'text'"),
    "no id": ({"queries": '{"text": "x"}'}, r"queries.jsonl, line 1: has no '_id'"),
    "empty id": ({"corpus": '{"_id": "", "text": "x"}'}, r"line 1: the document id is empty"),
    "duplicate": (
        {"corpus": '{"_id": "z", "text": "x"}\n{"_id": "z", "text": "y"}'},
        r"document id 'z' stands twice, in rows 1 and 2",
    ),
    "duplicate judged": (
        {"corpus": '{"_id": "d1", "text": "x"}\n{"_id": "d1", "text": "y"}'},
        r"line 2: document id 'd1' stands twice",
    ),
    "no documents": ({"corpus": ""}, r"no documents are left"),
    "no queries": ({"queries": ""}, r"no queries"),
    "fields": ({"qrels": "q1 d1 1\n"}, r"test.tsv, line 1: 1 tab-separated fields"),
    "score": ({"qrels": "q1\td1\thigh\n"}, r"line 1: the score 'high' is no whole number"),
    "judged twice": ({"qrels": "q1\td1\t1\nq1\td1\t2\n"}, r"line 2: query 'q1' judges document 'd1' twice"),
    "deep": ({"corpus": '{"_id": "a", "text": ' + "[" * 100_000}, r"line 1: bad JSON"),
    "line break in an id": (
        {"corpus": '{"_id": "a\\nb", "text": "x"}'},
        r"document id 'a\\nb' has a tab",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_refusals_say_where(tmp_path: Path, case: str) -> None:
    files, message = BAD[case]
    with pytest.raises(KnnscopeError, match=message):
        load_folder(write(tmp_path, **files), "toy")


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(KnnscopeError, match=r"no corpus.jsonl or corpus.jsonl.gz"):
        load_folder(tmp_path, "toy")
    folder = write(tmp_path)
    with pytest.raises(KnnscopeError, match=r"no train.tsv; there is test.tsv"):
        load_folder(folder, "toy", Selection(split="train"))
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(b'{"_id": "a", "text": "x"}\n' * 999)[:-20])
    with pytest.raises(KnnscopeError, match="gzip file is cut off or damaged"):
        load_folder(folder, "toy")
    (folder / "corpus.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(KnnscopeError, match="gzip file is cut off or damaged"):
        load_folder(folder, "toy")
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "a", "text": "\xff\xfe"}')
    with pytest.raises(KnnscopeError, match="line 1: not UTF-8"):
        load_folder(folder, "toy")


@given(st.binary(max_size=200), st.sampled_from(["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"]), st.data())
def test_any_bytes_give_a_data_set_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, name: str, data: st.DataObject
) -> None:
    folder = write(tmp_path_factory.mktemp("fuzz"))
    raw = (folder / name).read_bytes()
    at = data.draw(st.integers(0, len(raw)))
    (folder / name).write_bytes(raw[:at] + noise + raw[at + data.draw(st.integers(0, 40)) :])
    try:
        load_folder(folder, "toy")
    except KnnscopeError as error:
        assert "\n" not in str(error).strip()


def test_memory_above_what_is_kept_is_small(tmp_path: Path) -> None:
    """The same code that reads 4.6 million rows (benchmarks/read_beir.py): 60,000 rows within 64 bytes a row above the result."""
    rows = 60_000
    with (tmp_path / "corpus.jsonl").open("w") as file:
        for i in range(rows):
            file.write(
                json.dumps({"_id": f"<dbpedia:Thing_{i}>", "title": f"Thing {i}", "text": "some words about it " * 12})
                + "\n"
            )
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "thing"}\n')
    tracemalloc.start()
    found = load_folder(tmp_path, "big")
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.documents) == rows
    assert peak - kept < 64 * rows + 2_000_000
    assert kept < 400 * rows
