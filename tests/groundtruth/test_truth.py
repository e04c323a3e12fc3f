"""Ground truth: the definition's answer whatever the blocks, in every format; and a certificate that says what it hangs by."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import uuid
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from knnscope import KnnscopeError, Truth, truth
from knnscope.datasets import ground_truth, vector_files
from knnscope.groundtruth import answers, parts
from knnscope.records import METRICS, Neighbors
from knnscope.search import definition
from tests.cli.conftest import (
    Run,
    knnscope,  # noqa: F401 - a fixture
    refused,
)
from tests.groundtruth.blocks import BASE, QUERIES, in_blocks

FORMATS = ("gt.npy", "gt.hdf5", "gt.h5", "gt.ivecs", "gt.ibin", "gt.bin")


@cache
def defined_of(metric: str) -> Neighbors:
    """The answer that whatever blocks give is held to."""
    return definition.search(BASE, QUERIES, 18, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("rows", "batch"), [(900, 40), (100, 40), (17, 7), (5, 13), (1, 40)])
def test_blocks_of_any_size_give_the_same_bits(metric: str, rows: int, batch: int) -> None:
    found = in_blocks(rows, batch, metric, 18).found
    defined = defined_of(metric)
    np.testing.assert_array_equal(found.ids, defined.ids)
    np.testing.assert_array_equal(found.distances.view(np.int64), defined.distances.view(np.int64))


@given(
    steps=st.lists(st.tuples(st.integers(1, 400), st.integers(0, 12)), max_size=6),
    batch=st.integers(3, 40),
    metric=st.sampled_from(METRICS),
)
def test_any_plan_continues_the_work_of_any_other(steps: list[tuple[int, int]], batch: int, metric: str) -> None:
    """Each step: blocks of so many rows, and after how many parts it is stopped."""

    class StoppedError(Exception):
        pass

    class Store(parts.InMemory):
        left = -1

        def put(self, number: int, part: parts.Part) -> None:
            super().put(number, part)
            self.left -= 1
            if self.left == 0:
                raise StoppedError

    store = Store(len(QUERIES), batch)
    for rows, count in steps:
        store.left = count
        with contextlib.suppress(StoppedError):
            in_blocks(rows, batch, metric, 18, store)
    store.left = -1
    found = in_blocks(100, batch, metric, 18, store).found
    defined = defined_of(metric)
    np.testing.assert_array_equal(found.ids, defined.ids)
    np.testing.assert_array_equal(found.distances, defined.distances)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("rows", [900, 50])
def test_rows_nearer_than_the_floor_were_ranked(metric: str, rows: int) -> None:
    part = in_blocks(rows, 40, metric, 18)
    every = answers.keys(definition.distances(BASE, QUERIES, metric), metric)
    nearer = (every < part.floor[:, None]).sum(axis=1)
    assert (nearer <= part.computed).all()
    assert (part.computed[np.isinf(part.floor)] == len(BASE)).all()
    last = answers.keys(part.found.distances[:, -1], metric)
    assert (part.floor >= last - 1e-12).all()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("metric", METRICS)
def test_each_format_is_read_back_by_our_own_readers_and_by_hand(files: Path, metric: str, name: str) -> None:
    made = truth(files / "b.npy", files / "q.npy", 10, files / name, metric=metric)
    defined = definition.search(BASE, QUERIES, 10, metric)
    found = ground_truth.given(str(files / name))
    np.testing.assert_array_equal(found.ids, defined.ids)
    assert found.distances is not None
    np.testing.assert_array_equal(found.distances, by_hand(files / name, defined, metric))
    np.testing.assert_array_equal(made.ids, defined.ids)
    again = Truth.load(files / name)
    assert again.to_dict() == made.to_dict()
    assert again.rows()[11]["id"] == defined.ids[1, 1]
    assert made.metric == metric
    assert not (files / f"{name}.work").exists()


def by_hand(path: Path, defined: Any, metric: str) -> np.ndarray:
    """Ids as the layout's own page has them are the defined ones; the distances that stand there."""
    queries, k = defined.ids.shape
    ids, distances = defined.ids.astype("<i4"), defined.distances.astype("<f4")
    counts = np.array([queries, k], "<u4").tobytes()
    if path.suffix == ".npy":
        np.testing.assert_array_equal(np.load(path), defined.ids)
        return np.asarray(np.load(path.with_name("gt.distances.npy")))
    if path.suffix in (".hdf5", ".h5"):
        with h5py.File(path) as file:
            assert file["neighbors"].dtype == np.int32
            np.testing.assert_array_equal(file["neighbors"][()], defined.ids)
            assert file.attrs["distance"] == {"l2": "euclidean", "cosine": "angular", "ip": "dot"}[metric]
        x = defined.distances
        return np.asarray({"l2": np.sqrt(x), "cosine": 1 - x, "ip": -x}[metric].astype(np.float32))
    if path.suffix == ".bin":
        assert path.read_bytes() == counts + ids.tobytes() + distances.tobytes()
    elif path.suffix == ".ibin":
        assert path.read_bytes() == counts + ids.tobytes()
        assert path.with_suffix(".fbin").read_bytes() == counts + distances.tobytes()
    else:
        head = np.int32(k).tobytes()
        assert path.read_bytes() == b"".join(head + line.tobytes() for line in ids)
        assert path.with_suffix(".fvecs").read_bytes() == b"".join(head + line.tobytes() for line in distances)
        np.testing.assert_array_equal(vector_files.load(str(path)).documents.values, ids)
    return distances


def test_the_certificate_says_what_it_was_computed_from_and_what_it_hangs_by(files: Path, knnscope: Run) -> None:  # noqa: F811
    code, out, err = knnscope(
        "truth", files / "b.npy", "--queries", files / "q.npy", "-k", 10, "-o", files / "gt.bin", "--json"
    )
    assert code == 0, err
    certificate = json.loads(out)
    assert certificate == json.loads((files / "gt.bin.certificate.json").read_text())
    for part, name in (("base", "b.npy"), ("queries", "q.npy")):
        assert certificate["key"][part]["sha256"] == hashlib.sha256((files / name).read_bytes()).hexdigest()
    assert certificate["files"][0]["sha256"] == hashlib.sha256((files / "gt.bin").read_bytes()).hexdigest()
    defined = definition.search(BASE, QUERIES, 900, "l2")
    tied = np.flatnonzero(defined.distances[:, 9] == defined.distances[:, 10])
    ties = certificate["ties_at_k"]
    assert 5 < len(tied) < 40
    assert ties["queries"] == len(tied)
    assert [one["query"] for one in ties["listed"]] == tied.tolist()
    for one in ties["listed"]:
        line = one["query"]
        equal = defined.ids[line][defined.distances[line] == one["distance"]]
        inside = np.isin(equal, defined.ids[line, :10])
        assert one["in"] == equal[inside].tolist()
        assert one["out"] == equal[~inside][: len(one["out"])].tolist()
        assert one["more_out"] or len(one["out"]) == (~inside).sum()
    gaps = np.sqrt(defined.distances[:, 10]) - np.sqrt(defined.distances[:, 9])
    assert certificate["margins"]["to_the_next"]["most"] == gaps.max()
    verify = certificate["check"]["command"].split()[1:]
    os.chdir(files)
    code, out, err = knnscope(*verify)
    assert code == 0, err
    assert "exact: the ids" in out


@pytest.mark.parametrize("k", [1, 900, 895])
def test_all_rows_and_one(files: Path, k: int) -> None:
    found = truth(files / "b.npy", files / "q.npy", k, files / "gt.npy")
    np.testing.assert_array_equal(found.ids, definition.search(BASE, QUERIES, k, "l2").ids)
    assert str(found)


def test_rows_by_other_names(files: Path) -> None:
    names = np.random.default_rng(5).permutation(10**10 + np.arange(900))
    np.save(files / "ids.npy", names)
    (files / "ids.txt").write_text("".join(f"{n}\n" for n in names))
    for ids in (names, files / "ids.npy", files / "ids.txt"):
        found = truth(BASE, QUERIES, 10, ids=ids, memory=2)
        order = np.argsort(names)
        defined = definition.search(BASE[order], QUERIES, 10, "l2")
        np.testing.assert_array_equal(found.ids, names[order][defined.ids])
    with pytest.raises(KnnscopeError, match=r"holds int32: write \.npy or \.hdf5"):
        truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin", ids=names)
    with_hdf5 = truth(files / "b.npy", files / "q.npy", 10, files / "gt.hdf5", ids=files / "ids.txt")
    assert with_hdf5.ids.max() >= 10**10


def test_from_arrays_and_saved(tmp_path: Path) -> None:
    found = truth(BASE, QUERIES, 10)
    defined = definition.search(BASE, QUERIES, 10, "l2")
    np.testing.assert_array_equal(found.distances, defined.distances)
    assert found.tied > 5
    found.save(tmp_path / "gt.ivecs")
    assert "place 10 is a tie" in str(Truth.load(tmp_path / "gt.ivecs"))
    assert "Truth of base: 40 queries" in repr(found)
    assert "<pre>" in found._repr_html_()


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (("-o", "gt.txt"), "gt.txt: the ending says the format: .npy"),
        (("-o", "gt.bin", "-k", "901"), "k"),
        (("-o", "gt.bin", "--memory", "0"), "not a whole number above 0"),
        (("-o", "gt.bin", "--threads", "many"), "--threads: 'many' is not a whole number"),
        (("-o", "gt.bin", "--ids", "none.npy"), "none.npy: no such file"),
        (("-o", "gt.bin", "--ids", "q.npy"), "one for each row"),
        (("-o", f"{'x' * 245}.bin"), "x.bin.certificate.json: File name too long"),
        (("-o", "no/such/../folder/gt.bin", "--queries", "none.npy"), "none.npy"),
    ],
)
def test_what_cannot_be_is_one_line(
    files: Path,
    knnscope: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    given_: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(files)
    asked = () if "--queries" in given_ else ("--queries", "q.npy")
    refused(knnscope("truth", "b.npy", *asked, *given_), message)
    assert not list(files.glob("*.work"))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<i8', 'fortran_order': False, 'shape': (900,",
        "{'descr': '<i8', 'fortran_order': False, 'shape': ('''",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (-5,)}",
        "{'descr': '<i8', 'fortran_order': False, 'shape': (" + "9" * 40 + ",)}",
        "(" * 100,
        "-" * 9000 + "1",
        "1+" * 4000 + "1",
        "{" * 150 + "}" * 150,
        "lambda: 0",
    ],
    ids=["cut", "quoted", "negative", "huge", "deep", "signs", "sums", "sets", "code"],
)
def test_a_broken_header_is_one_line_whatever_the_file_is_for(
    files: Path,
    knnscope: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    header: str,
) -> None:
    monkeypatch.chdir(files)
    raw = header.encode().ljust(118) + b"\n"
    whole = b"\x93NUMPY\1\0" + len(raw).to_bytes(2, "little") + raw + bytes(7200)
    Path("bad.npy").write_bytes(whole)
    with zipfile.ZipFile("bad.npz", "w") as bundle:
        bundle.writestr("rows.npy", whole)
    said = r"bad\.np[yz]: (no \.np[yz] file, or (cut off|a damaged one)|0 arrays of two dimensions)"
    for argv in (
        "truth b.npy --queries q.npy -o o.npy --ids bad.npy",
        "truth bad.npy --queries q.npy -o o.npy",
        "truth b.npy --queries bad.npy -o o.npy",
        "truth bad.npz --queries q.npy -o o.npy",
        "verify b.npy bad.npy --queries q.npy",
        "data show bad.npy",
    ):
        refused(knnscope(*argv.split()), said)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n99999999999999999999\n", "line 2: 99999999999999999999 is too large: ids lie between 0 and 2^63 - 2"),
        ("9223372036854775807\n", "line 1: 9223372036854775807 is too large"),
        ("1\n-2\n", "line 2: a whole number from 0 up was expected"),
        ("1\n" + "0" * 200 + "\n", "line 2: a whole number from 0 up was expected"),
        ("1\n2.5\n", "line 2: a whole number from 0 up was expected"),
        ("1\n\n", "line 2: a whole number from 0 up was expected"),
    ],
)
def test_an_id_that_cannot_be_is_named_by_its_line(files: Path, text: str, message: str) -> None:
    (files / "ids.txt").write_text(text)
    with pytest.raises(KnnscopeError, match=f"ids.txt, {re.escape(message)}"):
        truth(BASE, QUERIES, 10, ids=files / "ids.txt")


@pytest.mark.parametrize("as_file", ["txt", "npy", None])
def test_ids_that_are_texts_say_what_to_do(files: Path, as_file: str | None) -> None:
    """Whole numbers are all that the formats hold."""
    texts = [str(uuid.UUID(int=number)) for number in range(len(BASE))]
    ids: object = files / f"names.{as_file}" if as_file else texts
    (files / "names.txt").write_text("\n".join(texts))
    np.save(files / "names.npy", texts)
    with pytest.raises(
        KnnscopeError, match=r"whole numbers? from 0 up w.*: leave the ids out, and rows are called 0, 1, 2"
    ) as said:
        truth(BASE, QUERIES, 10, ids=ids)
    assert f"names.{as_file}" in str(said.value) or as_file is None


def test_ids_of_a_pipe_are_refused_before_they_are_waited_for(files: Path) -> None:
    os.mkfifo(files / "ids")
    with pytest.raises(KnnscopeError, match="ids: no plain file, and is read twice, once for its sum"):
        truth(BASE, QUERIES, 10, ids=files / "ids")


def test_a_number_that_is_not_finite_is_named_by_its_row_among_all(files: Path) -> None:
    rows = np.random.default_rng(3).standard_normal((60_000, 6)).astype(np.float32)
    rows[50_123, 4] = np.nan
    np.save(files / "large.npy", rows)
    with pytest.raises(KnnscopeError, match="row 50,123 has nan in component 4"):
        truth(files / "large.npy", files / "q.npy", 10, files / "gt.bin", memory=1)
    bad = QUERIES.copy()
    bad[33, 0] = np.inf
    with pytest.raises(KnnscopeError, match="queries: row 33 has inf in component 0"):
        truth(BASE, bad, 10)


def test_texts_and_too_little_memory_are_refused(files: Path) -> None:
    with pytest.raises(KnnscopeError, match="holds texts, not vectors: knnscope embed sample -o DIR"):
        truth("sample", files / "q.npy", 10, files / "gt.bin")
    with pytest.raises(KnnscopeError, match=r"at least [0-9,]+ are needed"):
        truth(np.zeros((5000, 512), np.float32), np.zeros((3, 512), np.float32), 10, memory=1)
    with pytest.raises(KnnscopeError, match="queries is missing"):
        truth(files / "b.npy", None, 10)


@given(arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=st.integers(-2, 2)), st.integers(1, 5))
def test_any_rows(rows: np.ndarray, k: int) -> None:
    k = min(k, len(rows))
    found = truth(rows, rows[:4], k)
    defined = definition.search(rows, rows[:4], k, "l2")
    np.testing.assert_array_equal(found.ids, defined.ids)
    assert found.certificate["ties_at_k"]["queries"] <= 4
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("base", "queries", "out"),
    [
        ("base.npy", "queries.npy", "base.npy"),
        ("base.npy", "queries.npy", "queries.npy"),
        ("base.npy", "link.npy", "queries.npy"),  # by another name
        ("gt.distances.npy", "queries.npy", "gt.npy"),  # what lies beside the answers
    ],
)
def test_no_input_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, queries: str, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, values in (("base.npy", BASE), ("gt.distances.npy", BASE), ("queries.npy", QUERIES)):
        np.save(name, values)
    Path("link.npy").symlink_to("queries.npy")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KnnscopeError, match=f"{out.split('.')[0]}.*: this command reads it"):
        truth(base, queries, k=3, out=out)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
