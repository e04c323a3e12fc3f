"""Judgements as public files have them: every layout the same rows, every contradiction one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.datasets import qrels
from knnscope.errors import KnnscopeError

ROWS = [("q1", "d1", 1), ("q1", "d2", 0), ("q2", "d1", 2)]
LINES = "q1\td1\t1\nq1\td2\t0\nq2\td1\t2\n"
HEAD = "query-id\tcorpus-id\tscore\n"

SAME = {
    "as BEIR writes them": HEAD + LINES,
    "no header": LINES,
    "CRLF": (HEAD + LINES).replace("\n", "\r\n"),
    "no end": (HEAD + LINES).rstrip(),
    "blank lines": HEAD + "\n" + LINES.replace("\n", "\n\n") + "\n \n\t\n\n",
    "BOM": "\ufeff" + HEAD + LINES,
    "BOM, no header": "\ufeff" + LINES,
    "relevance": HEAD.replace("score", "relevance") + LINES,
    "Score": "Query_ID\tDoc ID\tScore\n" + LINES,
    "label": "qid\tdocid\tlabel\n" + LINES,
    "grade by another name": "query-id\tcorpus-id\thow good\n" + LINES,
    "columns in another order": "score\tcorpus-id\tquery-id\n1\td1\tq1\n0\td2\tq1\n2\td1\tq2\n",
    "a further column": "query-id\tcorpus-id\tscore\twho\nq1\td1\t1\tx\nq1\td2\t0\t\nq2\td1\t2\ty\n",
    "whole floats": HEAD + "q1\td1\t1.0\nq1\td2\t0.000\nq2\td1\t2e0\n",
    "signs and blanks": HEAD + "q1\td1\t+1\nq1\td2\t-0 \nq2\td1\t 2\t\n",
    "TREC": "q1 0 d1 1\nq1 0 d2 0\nq2 0 d1 2\n",
    "TREC by tabs": "q1\tQ0\td1\t1\nq1\tQ0\td2\t0\nq2\tQ0\td1\t2\n",
    "TREC, aligned": "q1   0  d1\t1\nq1   0  d2\t0 \n q2  0  d1\t2\r\n",
    "TREC with a header": "query iter document relevance\nq1 0 d1 1\nq1 0 d2 0\nq2 0 d1 2\n",
    "blanks with a header": "query-id corpus-id score\nq1 d1 1\nq1 d2 0\nq2 d1 2\n",
    "commas": "query-id,corpus-id,score\nq1,d1,1\nq1,d2,0\nq2,d1,2\n",
    "commas, no header": "q1,d1,1\nq1,d2,0\nq2,d1,2\n",
    "quoted": '"query-id"\t"corpus-id"\t"score"\n"q1"\t"d1"\t"1"\n"q1"\t"d2"\t0\nq2\t"d1"\t"2"\n',
    "repeated": HEAD + LINES + LINES.replace("\t1\n", "\t1.0\n"),
}


@pytest.mark.parametrize("case", SAME)
def test_every_layout_gives_the_same_rows(tmp_path: Path, case: str) -> None:
    path, packed = tmp_path / "test.tsv", tmp_path / "test.tsv.gz"
    path.write_bytes(SAME[case].encode())
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, packed):
        rows, notes = qrels.read([file])
        assert rows == ROWS
        assert bool(notes) == (case == "repeated")
    if notes:
        assert "3 judgements stand there again with the same grade: each counts once" in notes[0]


def test_tables_with_named_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"query-id": q, "corpus-id": d, "score": g}) + "\n" for q, d, g in ROWS)
    )
    columns = {
        "query-id": [r[0] for r in ROWS],
        "corpus-id": [r[1] for r in ROWS],
        "score": [float(r[2]) for r in ROWS],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        assert qrels.read([tmp_path / name])[0] == ROWS
    numbered = {"query-id": [1, 1], "corpus-id": [10, 11], "score": [1, 0]}
    pyarrow.parquet.write_table(pyarrow.table(numbered), tmp_path / "b.parquet")
    assert qrels.read([tmp_path / "b.parquet"])[0] == [("1", "10", 1), ("1", "11", 0)]


def test_ids_may_hold_what_other_layouts_separate_by(tmp_path: Path) -> None:
    rows = [("a b", "c,d", 1), ("e\u2028f", "g\x85h", 2), ("i\x1cj k", "l m n", 3)]
    for head in ("", HEAD):
        (tmp_path / "x.tsv").write_bytes((head + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in rows)).encode())
        assert qrels.read([tmp_path / "x.tsv"])[0] == rows
    (tmp_path / "x.txt").write_bytes("e\u2028f 0 g\x85h 2\n".encode())
    assert qrels.read([tmp_path / "x.txt"])[0] == [("e\u2028f", "g\x85h", 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEAD + LINES + "\nq1\td1\t3\n",
            r"x.tsv, line 6: query 'q1' judges document 'd1' twice, with grade 3 here and 1 in .*x.tsv, line 2$",
        ),
        ("q1\td1\thigh\n", "line 1: the score 'high' is no whole number"),
        (
            HEAD + "q1\td1\t0.5\n",
            "line 2: the score '0.5' is no whole number, and trec_eval would take it for 0: multiply",
        ),
        (HEAD + "q1\td1\t\n", "line 2: the score '' is no whole number"),
        (HEAD + "q1\td1\tnan\n", "line 2: the score 'nan' is no whole number"),
        (HEAD + "q1\td1\tinf\n", "line 2: the score 'inf' is no whole number"),
        (HEAD + "q1\td1\t1_0\n", "line 2: the score '1_0' is no whole number"),
        (HEAD + "q1\td1\t١\n", "line 2: the score '١' is no whole number"),
        (HEAD + f"q1\td1\t{'9' * 999}\n", "line 2: the score 9+ is outside -1000 to 1000"),
        (HEAD + "q1\td1\t1e999\n", "line 2: the score 1e999 is outside"),
        (HEAD + "q1\td1\n", "line 2: 2 tab-separated fields, 3 were expected"),
        ("q1 0 d1 1\nq1 d2 0\n", "line 2: 3 fields, 4 were expected"),
        (HEAD + "\td1\t1\n", "line 2: the id of the query is empty"),
        (HEAD + "q1\t\t1\n", "line 2: the id of the document is empty"),
        ("query-id\ta\tb\tc\td\n", "line 1: columns query-id, a, b, c, d: which are"),
        ("one\n", "line 1: 1 tab-separated fields, expected query-id, corpus-id, score"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.tsv").write_text(text)
    with pytest.raises(KnnscopeError, match=message):
        qrels.read([tmp_path / "x.tsv"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"query-id": "q", "corpus-id": "d"}', "line 1: no column for the grade among query-id, corpus-id"),
        ('{"query-id": "q", "corpus-id": 1.5, "score": 1}', "line 1: has float for 'corpus-id'"),
        ('{"query-id": "q", "corpus-id": "d", "score": true}', "line 1: has bool for 'score'"),
        ('{"query-id": null, "corpus-id": "d", "score": 1}', "line 1: has NoneType for 'query-id'"),
        ('{"query-id": "q", "corpus-id": "d", "score": NaN}', "line 1: the score 'nan' is no whole number"),
    ],
)
def test_tables_that_cannot_be_read_are_one_line(tmp_path: Path, row: str, message: str) -> None:
    (tmp_path / "x.jsonl").write_text(row)
    with pytest.raises(KnnscopeError, match=message):
        qrels.read([tmp_path / "x.jsonl"])


@given(st.sampled_from(sorted(SAME)), st.binary(max_size=20), st.integers(0, 80), st.integers(0, 20))
def test_any_bytes_give_rows_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, case: str, noise: bytes, at: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x.tsv"
    raw = SAME[case].encode()
    path.write_bytes(raw[:at] + noise + raw[at + cut :])
    try:
        rows, _ = qrels.read([path])
    except KnnscopeError as error:
        assert "\n" not in str(error)
    else:
        assert len({row[:2] for row in rows}) == len(rows)
        assert all(query and document and isinstance(grade, int) for query, document, grade in rows)
