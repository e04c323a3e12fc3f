"""Collections as they lie about: every variant is the same data set, and nDCG, recall and MRR are trec_eval's on its raw judgements."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope.analysis import quality
from knnscope.datasets import registry
from knnscope.errors import KnnscopeError
from knnscope.records import TextDataset
from tests.analysis.test_quality import by_trec_eval

Record = dict[str, Any]
DOCUMENTS = [{"_id": f"d{i}", "title": "T" if i % 3 == 0 else "", "text": f"text {i}, ü"} for i in range(14)]
QUERIES = [{"_id": f"q{i}", "text": f"query {i}"} for i in range(4)]
RAW: dict[str, dict[str, int]] = {
    "q0": {"d1": 2, "d2": 1, "d3": 0, "d13": -1},
    "q1": {"d4": 1, "gone": 3, "d5": 2},
    "q2": {"gone too": 1},
    "q3": {"d0": 0, "d7": -2},
    "ghost": {"d1": 1},
}
TRIPLES = [(q, d, g) for q, line in RAW.items() for d, g in line.items()]
RUN = {f"q{i}": [f"d{(5 * i + 3 * j) % 14}" for j in range(14)] for i in range(4)}


def jsonl(rows: Sequence[Record]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def columns(rows: Sequence[Record]) -> pyarrow.Table:
    return pyarrow.table({key: [row[key] for row in rows] for key in rows[0]})


def tsv(grade: Callable[[int], object] = lambda g: g, head: str = "query-id\tcorpus-id\tscore\n") -> bytes:
    return (head + "".join(f"{q}\t{d}\t{grade(g)}\n" for q, d, g in TRIPLES)).encode()


QRELS = [{"query-id": q, "corpus-id": d, "score": g} for q, d, g in TRIPLES]
TREC = "".join(f"{q} 0 {d.replace(' ', '_')} {g}\n" for q, d, g in TRIPLES).encode()


def put(folder: Path, files: dict[str, bytes | pyarrow.Table]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif path.suffix == ".parquet":
            pyarrow.parquet.write_table(content, path, row_group_size=4)
        else:
            with pyarrow.ipc.new_file(path, content.schema) as file:
                file.write_table(content, max_chunksize=5)
    return folder


def beir(**changes: bytes) -> dict[str, bytes]:
    return {
        "corpus.jsonl": changes.get("corpus", jsonl(DOCUMENTS)),
        "queries.jsonl": changes.get("queries", jsonl(QUERIES)),
        "qrels/test.tsv": changes.get("qrels", tsv()),
    }


def hub(splits: bool = False) -> dict[str, bytes | pyarrow.Table]:
    """As datasets.push_to_hub lays them: a folder for each configuration, tables in parts."""
    part = "test" if splits else "corpus"
    return {
        f"corpus/{part}-00000-of-00002.parquet": columns(DOCUMENTS[:9]),
        f"corpus/{part}-00001-of-00002.parquet": columns(DOCUMENTS[9:]),
        f"queries/{'test' if splits else 'queries'}-00000-of-00001.parquet": columns(QUERIES),
        f"{'data' if splits else 'qrels'}/test-00000-of-00001.parquet": columns(QRELS),
    }


def renamed(rows: Sequence[Record], **new: str) -> list[Record]:
    return [{new.get(key, key): value for key, value in row.items()} for row in rows]


BOM = b"\xef\xbb\xbf"
CSV = "_id,title,text\n" + "".join(f'{d["_id"]},{d["title"]},"{d["text"]}"\n' for d in DOCUMENTS)

VARIANTS: dict[str, dict[str, Any]] = {
    "beir": beir(),
    "no header": beir(qrels=tsv(head="")),
    "last header column": beir(qrels=tsv(head="query-id\tcorpus-id\trelevance\n")),
    "float grades": beir(qrels=tsv(float)),
    "repeated lines": beir(qrels=tsv() + tsv(head="")),
    "TREC": beir(qrels=TREC),
    "BOM": beir(corpus=BOM + jsonl(DOCUMENTS), queries=BOM + jsonl(QUERIES), qrels=BOM + tsv()),
    "BOM before the first judgement": beir(qrels=BOM + tsv(head="")),
    "CRLF and blank lines": {k: v.replace(b"\n", b"\r\n") + b"\r\n\r\n" for k, v in beir().items()},
    "id for _id": beir(corpus=jsonl(renamed(DOCUMENTS, _id="id")), queries=jsonl(renamed(QUERIES, _id="id"))),
    "query for text": beir(queries=jsonl(renamed(QUERIES, text="query"))),
    "gzipped": {f"{name}.gz": gzip.compress(raw) for name, raw in beir().items()},
    "qrels beside": {"corpus.jsonl": jsonl(DOCUMENTS), "queries.jsonl": jsonl(QUERIES), "qrels.tsv": tsv()},
    "split beside": {"corpus.jsonl": jsonl(DOCUMENTS), "queries.jsonl": jsonl(QUERIES), "test.tsv": tsv()},
    "validation": {"corpus.jsonl": jsonl(DOCUMENTS), "queries.jsonl": jsonl(QUERIES), "qrels/validation.txt": TREC},
    "JSON judgements": {
        "corpus.jsonl": jsonl(DOCUMENTS),
        "queries.jsonl": jsonl(QUERIES),
        "qrels/test.jsonl": jsonl(QRELS),
    },
    "hub": hub(),
    "hub by splits": hub(splits=True),
    "hub, judgements by lines": {k: v for k, v in hub().items() if k[:5] != "qrels"} | {"test.tsv": tsv()},
    "hub's copies": {
        "corpus/corpus/0000.parquet": columns(DOCUMENTS[:5]),
        "corpus/corpus/0001.parquet": columns(DOCUMENTS[5:]),
        "queries/queries/0000.parquet": columns(QUERIES),
        "qrels/test.parquet": columns(QRELS),
    },
    "single Parquet files": {
        "corpus.parquet": columns(DOCUMENTS),
        "queries.parquet": columns(QUERIES),
        "qrels.parquet": columns(QRELS),
    },
    "Arrow": {"corpus.arrow": columns(DOCUMENTS), "queries.feather": columns(QUERIES), "qrels/test.arrow": columns(QRELS)},
    "parts beside each other": {
        "corpus-00000-of-00002.parquet": columns(DOCUMENTS[:1]),
        "corpus-00001-of-00002.parquet": columns(DOCUMENTS[1:]),
        "queries.jsonl": jsonl(QUERIES),
        "qrels/test.tsv": tsv(),
    },
    "CSV": {"corpus.csv": CSV.encode(), "queries.tsv": b"q0\tquery 0\nq1\tquery 1\nq2\tquery 2\nq3\tquery 3\n", "qrels/test.tsv": tsv()},
    "other splits too": beir() | {"qrels/dev.tsv": b"q0\td9\t1\n", "qrels/train.tsv": b"q1\td9\t1\n"},
    "one level down": {f"scifact/{name}": raw for name, raw in beir().items()} | {"README.md": b"x"},
    "two levels down": {f"beir/scifact/{name}": raw for name, raw in beir().items()},
    "hub one level down": {f"repo/{name}": table for name, table in hub().items()},
}  # fmt: skip


def same_as_trec_eval(found: object) -> None:
    assert isinstance(found, TextDataset)
    assert list(found.documents.ids) == [d["_id"] for d in DOCUMENTS]
    assert list(found.documents.texts) == [f"{d['title']} {d['text']}".strip() for d in DOCUMENTS]
    assert list(found.queries.ids) == list(RUN)
    assert list(found.queries.texts) == [q["text"] for q in QUERIES]
    for k in (1, 3, 14, 100):
        lines = [[int(d[1:]) for d in RUN[q]] for q in found.queries.ids]
        measured = quality.measures(lines, found.qrels, k, range(len(found.queries)))
        assert measured == pytest.approx(by_trec_eval(RUN, RAW, k), abs=1e-12)
        assert 0 < measured["ndcg_at_10"] < 1


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_judged_as_trec_eval_judges_its_raw_judgements(
    tmp_path: Path, variant: str, packed: bool
) -> None:
    folder = put(tmp_path / "set", VARIANTS[variant])
    if packed:
        folder = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path))
    same_as_trec_eval(registry.load(str(folder))[0])


def test_a_zip_is_unpacked_once_and_another_of_its_name_is_another(tmp_path: Path, home: Path) -> None:
    put(tmp_path / "set", beir())
    zipped = shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "set")
    for _ in range(2):
        same_as_trec_eval(registry.load(zipped)[0])
    assert len([p for p in (home / "unpacked").iterdir() if p.is_dir()]) == 1
    put(tmp_path / "set", beir(corpus=jsonl(DOCUMENTS[:3])))
    shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "set")
    found, _ = registry.load(zipped)
    assert len(found.documents) == 3


def test_a_collection_without_queries(tmp_path: Path) -> None:
    found, notes = registry.load(str(put(tmp_path, {"corpus.jsonl": jsonl(DOCUMENTS)})))
    assert (len(found.documents), len(found.queries), len(found.qrels)) == (14, 0, 0)
    assert "no queries.jsonl: it can be searched with words" in notes[0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"readme.md": b"x"}, "no corpus.jsonl or corpus.jsonl.gz there"),
        ({"a/corpus.jsonl": jsonl(DOCUMENTS), "b/corpus.jsonl": jsonl(DOCUMENTS)}, "2 data sets .*a, .*b.: name one"),
        ({k: v for k, v in hub().items() if "00001-of-00002" not in k}, "1 of the 2 parts of corpus"),
        (
            {"corpus/a.parquet": columns(DOCUMENTS), "corpus/b.parquet": columns(DOCUMENTS)},
            r"several tables \(a, b\): leave one",
        ),
        ({"a.csv": CSV.encode(), "b.csv": CSV.encode()}, r"several tables \(a, b\) and no corpus: name one file"),
        (beir(queries=jsonl([{"text": "x"}])), "queries.jsonl, line 1: has no '_id'"),
        ({**hub(), "corpus/corpus-00001-of-00002.parquet": columns(DOCUMENTS[:2])}, "document id 'd0' stands twice"),
        ({"corpus.parquet": pyarrow.table({"_id": ["a"], "text": [None]})}, "row 0: has NoneType for 'text'"),
        ({"corpus.parquet": pyarrow.table({"_id": ["a"], "tokens": ["x"]})}, "no column of texts among _id, tokens"),
        ({"corpus.parquet": b"PAR1 no PAR1"}, "corpus.parquet: no Parquet file, or a damaged one"),
    ],
)  # fmt: skip
def test_what_is_no_collection_is_one_line(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    with pytest.raises(KnnscopeError, match=message):
        registry.load(str(put(tmp_path, files)))


TEXTS = ["one", "two, with a comma", 'three "quoted"', "four\nlines", "", "ü\u2028 "]
TABLES: dict[str, bytes | pyarrow.Table] = {
    "a.jsonl": jsonl([{"text": t} for t in TEXTS]),
    "b.jsonl.gz": gzip.compress(jsonl([{"contents": t, "other": 1} for t in TEXTS])),
    "a.csv": ("text\n" + "".join('"' + t.replace('"', '""') + '"\n' for t in TEXTS)).encode(),
    "b.csv": ("id;text\r\n" + "".join(f'{i};"' + t.replace('"', '""') + '"\r\n' for i, t in enumerate(TEXTS))).encode(),
    "bom.csv": ("\ufeffid,text\n" + "".join(f'{i},"' + t.replace('"', '""') + '"\n' for i, t in enumerate(TEXTS))).encode(),
    "a.parquet": pyarrow.table({"text": TEXTS}),
    "b.parquet": pyarrow.table({"id": list(range(len(TEXTS))), "text": pyarrow.array(TEXTS).dictionary_encode()}),
    "c.parquet": pyarrow.table({"text": pyarrow.array(TEXTS, pyarrow.large_string()), "emb": [[None]] * len(TEXTS)}),
    "a.arrow": pyarrow.table({"text": pyarrow.array(TEXTS, pyarrow.string_view())}),
    "a.ipc": pyarrow.table({"text": TEXTS, "score": [0.5] * len(TEXTS)}),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_texts_is_a_data_set(tmp_path: Path, name: str) -> None:
    put(tmp_path, {name: TABLES[name]})
    for spec in (tmp_path / name, tmp_path):
        found, _ = registry.load(str(spec))
        assert isinstance(found, TextDataset)
        assert list(found.documents.texts) == [t.strip() for t in TEXTS]
        assert list(found.documents.ids) == [str(i) for i in range(len(TEXTS))]
        assert len(found.queries) == 0
    limited, _ = registry.load(str(tmp_path / name), registry.DatasetOptions(registry.beir.Selection(limit=2)))
    assert len(limited.documents) == 2
    with pytest.raises(KnnscopeError, match="do not apply"):
        registry.load(str(tmp_path / name), registry.DatasetOptions(registry.beir.Selection(subset="relevant")))


def test_tab_separated_texts_are_not_unquoted(tmp_path: Path) -> None:
    (tmp_path / "collection.tsv").write_text('7\t"not closed\n8\tand "here" too\n')
    found, _ = registry.load(str(tmp_path / "collection.tsv"))
    assert list(found.documents.ids) == ["7", "8"]
    assert list(found.documents.texts) == ['"not closed', 'and "here" too']


def test_a_column_of_texts_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,said,meant\na,x,y\n")
    with pytest.raises(KnnscopeError, match=r"no column of texts among id, said, meant: .* named as .*x.csv#COLUMN"):
        registry.load(str(tmp_path / "x.csv"))
    assert list(registry.load(f"{tmp_path}/x.csv#meant")[0].documents.texts) == ["y"]
    pyarrow.parquet.write_table(pyarrow.table({"said": ["x"], "v": [[1.0, 2.0]]}), tmp_path / "x.parquet")
    assert registry.load(f"{tmp_path}/x.parquet")[0].documents.dim == 2, "a column of vectors is what is searched"
    assert list(registry.load(f"{tmp_path}/x.parquet#said")[0].documents.texts) == ["x"]


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("x.csv", b"text\n\"open\n", r"x.csv, line \d: no row of comma"),
        ("x.csv", b"text,text\na,b\n", "two columns have one name"),
        ("x.csv", b"id,text\na\n", "line 2: 1 cells, the header has 2"),
        ("x.csv", b"id,text\n", r"a header \(id, text\) and no rows"),
        ("x.csv", b"\xff\xfe", "line 1: not UTF-8"),
        ("x.csv", b"id\rtext\na,b\n", "line 1: no row of comma-"),
        ("x.csv", b'"' + b"x" * 200_000 + b'",text\na,b\nc\n', "line 3: 1 cells, the header has 2"),
        ("x.csv", b"1,2", r"a header \(1, 2\) and no rows"),
        ("x.jsonl", b'{"text": "a"}\n{"id": 1, "text": 2}\n', "line 2: has int for 'text'"),
        ("x.jsonl", b'{"id": "1", "text": "a"}\n{"text": "b"}\n', "line 2: has no '_id'"),
        ("x.jsonl", b"{}", "line 1: has no 'text'"),
        ("x.csv", b"", "x.csv: the file is empty"),
        ("x.csv", b"id,text\n \n,\n", "line 3: the document id is empty"),
        ("t.jsonl", b'{"text": "a"}\n{"id": "x", "text": "b"}\n', "line 2: has 'id', and the first row has no id"),
    ],
)  # fmt: skip
def test_damaged_tables_are_one_line(tmp_path: Path, name: str, raw: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(KnnscopeError, match=message):
        registry.load(str(tmp_path / name))


@given(data=st.data())
@pytest.mark.parametrize("name", ["a.csv", "b.csv", "a.jsonl", "a.parquet", "b.parquet", "a.arrow"])
def test_any_bytes_give_texts_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    folder = put(tmp_path_factory.mktemp("fuzz"), {name: TABLES[name]})
    raw = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 5))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    (folder / name).write_bytes(raw)
    try:
        found, _ = registry.load(str(folder / name))
    except KnnscopeError as error:
        assert "\n" not in str(error)
    else:
        assert sum(map(len, found.documents.ids)) < 10_000


def test_a_table_that_unpacks_to_far_more_than_it_stores_is_refused(tmp_path: Path) -> None:
    column = pyarrow.DictionaryArray.from_arrays(np.zeros(20_000, np.int32), ["x" * 20_000])
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), tmp_path / "x.parquet", compression="zstd")
    with pytest.raises(KnnscopeError, match="unpacks to over 1,000 times its size"):
        registry.load(str(tmp_path / "x.parquet"))


ENCODINGS = ["PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"]
STRINGS = [pyarrow.string(), pyarrow.large_string()]


@pytest.mark.parametrize("kind", STRINGS, ids=str)
@pytest.mark.parametrize("encoding", [*ENCODINGS, "RLE_DICTIONARY"])
def test_every_encoding_of_strings_that_parquet_has_is_read(
    tmp_path: Path, encoding: str, kind: pyarrow.DataType
) -> None:
    """Row groups of two encodings in one file, too."""
    texts = [f"text {number} of many" for number in range(700)]
    table = pyarrow.table({"id": [str(n) for n in range(700)], "text": pyarrow.array(texts, kind)})
    how: dict[str, Any] = {"row_group_size": 300}
    if encoding != "RLE_DICTIONARY":
        how |= {"use_dictionary": False, "column_encoding": {"text": encoding}}
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet", **how)
    assert list(registry.load(str(tmp_path / "x.parquet"))[0].documents.texts) == texts


@pytest.mark.parametrize("kind", STRINGS, ids=str)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_strings_that_unpack_to_far_more_are_refused_in_every_encoding(
    tmp_path: Path, encoding: str, kind: pyarrow.DataType
) -> None:
    table = pyarrow.table({"text": pyarrow.array(["x" * 100_000] * 1000, kind)})
    pyarrow.parquet.write_table(
        table, tmp_path / "x.parquet", use_dictionary=False, column_encoding={"text": encoding}, compression="zstd"
    )
    with pytest.raises(KnnscopeError, match="unpacks to over 1,000 times its size"):
        registry.load(str(tmp_path / "x.parquet"))


@given(data=st.data())
def test_a_damaged_file_of_deltas_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("deltas") / "x.parquet"
    encoding = data.draw(st.sampled_from(ENCODINGS))
    texts = pyarrow.table({"text": [f"text {number} of many" for number in range(90)]})
    pyarrow.parquet.write_table(texts, path, use_dictionary=False, column_encoding={"text": encoding})
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        registry.load(str(path))
    except KnnscopeError as error:
        assert "\n" not in str(error)
