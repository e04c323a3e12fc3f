"""Anyone's ground truth: each kind of file, right ones and wrong ones of every kind, and files of nothing in particular."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knnscope import KnnscopeError, Verification, truth, verify
from knnscope.datasets import ground_truth
from knnscope.records import METRICS
from knnscope.search import definition
from tests.cli.conftest import (
    Run,
    knnscope,  # noqa: F401 - a fixture
    refused,
)
from tests.datasets.vector_writers import write_vecs

CHANCE = np.random.default_rng(0)
BASE = CHANCE.standard_normal((700, 8)).astype(np.float32)
BASE[300:320] = BASE[0]
QUERIES = np.concatenate([CHANCE.standard_normal((24, 8)).astype(np.float32), BASE[:1]])
K = 10


def defined(metric: str = "l2") -> tuple[np.ndarray, np.ndarray]:
    found = definition.search(BASE, QUERIES, K, metric)
    return found.ids, found.distances


def write_both(path: Path, ids: np.ndarray, distances: np.ndarray, counts: str = "<u4") -> None:
    path.write_bytes(
        np.array(ids.shape, counts).tobytes() + ids.astype("<i4").tobytes() + distances.astype("<f4").tobytes()
    )


def write_hdf5(path: Path, ids: np.ndarray, distances: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["neighbors"], file["distances"] = ids.astype(np.int32), np.sqrt(distances).astype(np.float32)


def write_ids(path: Path, ids: np.ndarray, _: np.ndarray) -> None:
    path.write_bytes(np.array(ids.shape, "<u4").tobytes() + ids.astype("<i4").tobytes())


WRITERS = {
    "gt.bin": write_both,
    "GT.public.1B.ibin": write_both,
    "wide.bin": lambda p, i, d: write_both(p, i, d, "<u8"),
    "ids.ibin": write_ids,
    "gt.ivecs": lambda p, i, _: write_vecs(p, i, "i4"),
    "gt.hdf5": write_hdf5,
    "gt.npy": lambda p, i, _: np.save(p, i),
    "small.npy": lambda p, i, _: np.save(p, i.astype(np.uint16)),
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    np.save(tmp_path / "b.npy", BASE)
    np.save(tmp_path / "q.npy", QUERIES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", WRITERS)
def test_a_right_file_of_each_kind_is_exact_and_a_wrong_one_is_not(files: Path, knnscope: Run, name: str) -> None:  # noqa: F811
    ids, distances = defined()
    WRITERS[name](files / name, ids, distances)
    code, out, err = knnscope("verify", "b.npy", name, "--queries", "q.npy")
    assert code == 0, err
    assert "exact: the ids that float64 defines" in out
    assert "25 exact\nrecall 1.000000 by ids, 1.000000 where" in out
    wrong = ids.copy()
    farthest = int(definition.distances(BASE, QUERIES[7:8], "l2")[0].argmax())
    wrong[7, 4] = farthest
    WRITERS[name](files / name, wrong, distances)
    code, out, err = knnscope("verify", "b.npy", name, "--queries", "q.npy", "--json")
    assert code == 1, err
    found = json.loads(out)
    assert found["grade"] == "wrong"
    assert found["counts"] == {"exact": 24, "ties": 0, "float32": 0, "undecided": 0, "wrong": 1}
    assert found["recall"] == pytest.approx(1 - 1 / (25 * K))
    evidence = found["evidence"][0]
    assert (evidence["query"], evidence["rank"], evidence["row"]) == (7, 5, farthest)
    assert evidence["distance"] == definition.distances(BASE[[farthest]], QUERIES[7:8], "l2")[0, 0]
    by_row = dict(enumerate(definition.distances(BASE, QUERIES[7:8], "l2")[0].tolist()))
    assert evidence["rival_distance"] == by_row[evidence["rival"]]
    assert evidence["rival_distance"] < evidence["distance"]


def one_wrong(kind: str, ids: np.ndarray) -> np.ndarray:
    ids = ids.copy()
    if kind == "twice":
        ids[3, 5] = ids[3, 2]
    elif kind == "beyond":
        ids[3, 5] = 700
    elif kind == "negative":
        ids[3, 5:] = -1
    elif kind == "order":
        ids[3, [0, 9]] = ids[3, [9, 0]]
    elif kind == "shifted":
        ids += 1
    elif kind == "another query's":
        ids[[3, 4]] = ids[[4, 3]]
    elif kind == "huge":
        ids[3, 5] = 2**62
    return ids


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("twice", "query 3, place 6: row .* is given twice"),
        ("beyond", "query 3, place 6: id 700 is no row of the base"),
        ("negative", "query 3, place 6: id -1 is no row of the base"),
        ("huge", "query 3, place 6: id 4,611,686,018,427,387,904 is no row of the base"),
        ("order", "query 3, place 1: row .* should, which is nearer and comes later"),
        ("shifted", "query 0, place .* should, which is nearer and is missing"),
        ("another query's", "query 3, place .* should, which is nearer and is missing"),
    ],
)
def test_a_file_that_is_wrong_in_some_way(files: Path, knnscope: Run, kind: str, why: str) -> None:  # noqa: F811
    ids, _ = defined()
    np.save(files / "gt.npy", one_wrong(kind, ids))
    code, out, err = knnscope("verify", "b.npy", "gt.npy", "--queries", "q.npy")
    assert code == 1, err
    assert re.search(why, out), out


def test_ties_in_another_order_and_for_each_other_are_told_apart(files: Path, knnscope: Run) -> None:  # noqa: F811
    """The last query has 21 rows at distance 0."""
    ids, distances = defined()
    assert not distances[24].any()
    ids[24] = [*range(319, 310, -1), 0]
    np.save("gt.npy", ids)
    code, out, err = knnscope("verify", "b.npy", "gt.npy", "--queries", "q.npy")
    assert code == 0, err
    assert "right up to ties" in out
    assert "24 exact, 1 ties" in out
    assert "recall 0.964000 by ids, 1.000000 where rows as near as place 10 count as found" in out
    assert "query 24, place 1: row 319 (0) stands where 0 (0) should, which is as near and has the smaller id" in out
    assert verify(BASE, ids, QUERIES).grade == "float32"


def test_what_float32_cannot_tell_apart_is_float32_and_a_little_more_is_wrong() -> None:
    base = np.zeros((40, 2), np.float64)
    base[:, 0] = 1000
    base[:, 1] = np.arange(40) * 1e-4  # squares differ by 1e-8 and more, of 1e6
    query = np.zeros((1, 2))
    ids = definition.search(base, query, 5, "l2").ids
    swapped = ids[:, [1, 0, 2, 3, 4]]
    found = verify(base, swapped, query)
    assert (found.grade, found.ok) == ("undecided", False), "it cannot tell any of the rows apart"
    base[15:, 0] = 2000
    found = verify(base, swapped, query)
    assert (found.grade, found.record.told, found.ok) == ("float32", "float32", True)
    assert found.record.evidence[0].allowed is not None
    base[:, 1] *= 1e4
    base[:, 0] = 1
    found = verify(base, swapped, query)
    assert (found.grade, found.ok) == ("wrong", False)


@pytest.mark.parametrize("metric", METRICS)
def test_distances_of_whatever_form_are_named(metric: str) -> None:
    ids, values = defined(metric)
    forms = {
        "l2": {"squared distances": values, "distances, not squared": np.sqrt(np.abs(values))},
        "ip": {"inner products": values, "negated inner products": -values, "1 - inner product": 1 - values},
        "cosine": {
            "cosine similarities": values,
            "1 - cosine similarity": 1 - values,
            "squared distances of scaled vectors": 2 - 2 * values,
        },
    }[metric]
    for form, stored in forms.items():
        found = verify(BASE, (ids, stored.astype(np.float32)), QUERIES, metric=metric)
        assert found.ok
        assert found.record.distances is not None
        assert found.record.distances.form == form
        wrong = stored.astype(np.float32)
        wrong[5, 3] += 0.01
        found = verify(BASE, (ids, wrong), QUERIES, metric=metric)
        assert (found.grade, found.ok) == ("exact", False)
        told = found.record.distances
        assert told is not None
        assert (told.query, told.rank) == (5, 4)
        assert "distances: wrong: nearest to" in str(found)


def test_distances_that_are_no_numbers(tmp_path: Path) -> None:
    ids, values = defined()
    values = values.copy()
    values[2, 2] = np.nan
    found = verify(BASE, (ids, values), QUERIES)
    assert not found.ok
    assert "query 2, place 3 the file has nan" in str(found)
    found.save(tmp_path / "v.json")
    again = Verification.load(tmp_path / "v.json")
    assert again.to_dict() == found.to_dict()
    assert "no finite number" in str(again)


def test_a_sample_is_the_seed_s_and_says_so(files: Path, knnscope: Run) -> None:  # noqa: F811
    ids, _ = defined()
    ids[[3, 20]] = ids[[20, 3]]
    np.save("gt.npy", ids)
    grades = set()
    for seed in range(8):
        found = verify("b.npy", "gt.npy", "q.npy", sample=5, seed=seed)
        chosen = np.random.default_rng(seed).choice(25, 5, replace=False)
        assert found.grade == ("wrong" if {3, 20} & set(chosen.tolist()) else "exact")
        grades.add(found.grade)
    assert grades == {"wrong", "exact"}
    _, out, _ = knnscope("verify", "b.npy", "gt.npy", "--queries", "q.npy", "--sample", 5)
    assert "gt.npy: 5 of 25 queries (seed 0), k = 10, l2" in out
    refused(
        knnscope("verify", "b.npy", "gt.npy", "--queries", "q.npy", "--sample", 26), "--sample 26: there are 25 queries"
    )


def test_rows_by_other_names() -> None:
    names = np.random.default_rng(2).permutation(5000)[:700]
    made = truth(BASE, QUERIES, K, ids=names)
    found = verify(BASE, made, QUERIES, ids=names)
    assert found.grade == "exact"
    assert found.record.distances is not None
    wrong = made.ids.copy()
    wrong[0, 0] = next(n for n in range(5000) if n not in set(names.tolist()))
    found = verify(BASE, wrong, QUERIES, ids=names)
    assert found.record.evidence[0].row == wrong[0, 0]
    assert f"id {wrong[0, 0]:,} is no row of the base" in str(found)
    wrong[0] = made.ids[1]
    found = verify(BASE, wrong, QUERIES, ids=names)
    evidence = found.record.evidence[0]
    assert evidence.row in wrong[0]
    assert evidence.rival in made.ids[0]


def test_what_is_no_ground_truth_of_these_is_one_line(files: Path, knnscope: Run) -> None:  # noqa: F811
    ids, distances = defined()
    np.save("short.npy", ids[:20])
    np.save("long.npy", np.zeros((25, 701), np.int64))
    np.save("float.npy", distances)
    np.save("flat.npy", ids[0])
    np.save("objects.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    Path("x.bin").write_bytes(np.array([7, 10], "<u4").tobytes() + bytes(7 * 10 * 4))
    Path("x.txt").write_text("1 2 3")
    with h5py.File("x.hdf5", "w") as file:
        file["train"] = BASE
    cases = {
        "short.npy": "answers 20 queries, q.npy holds 25",
        "long.npy": "701 neighbors of each query, b.npy has 700 rows",
        "float.npy": "ids were expected",
        "flat.npy": "numbers in two dimensions",
        "objects.npy": "an array of Python objects, which are never unpickled",
        "x.bin": "ids were expected",
        "x.txt": "ids were expected",
        "x.hdf5": "no dataset 'neighbors'",
        "none.npy": "no such file",
    }
    for name, message in cases.items():
        refused(knnscope("verify", "b.npy", name, "--queries", "q.npy"), message)
    np.save("gt.npy", ids)
    np.save("gt.distances.npy", distances[:5])
    refused(knnscope("verify", "b.npy", "gt.npy", "--queries", "q.npy"), "not the distances of gt.npy")
    refused(knnscope("verify", "b.npy", "gt.npy"), "--queries is missing")


def test_the_truth_of_an_ann_benchmarks_file_with_its_own_rows(files: Path, knnscope: Run) -> None:  # noqa: F811
    ids, similarities = defined("cosine")
    with h5py.File("a.hdf5", "w") as file:
        file["train"], file["test"] = BASE, QUERIES
        file["neighbors"], file["distances"] = ids.astype(np.int32), (1 - similarities).astype(np.float32)
        file.attrs["distance"] = "angular"
    code, out, err = knnscope("verify", "a.hdf5", "a.hdf5")
    assert code == 0, err
    assert "k = 10, cosine" in out
    assert "distances: 1 - cosine similarity, right up to float32 rounding" in out


@given(name=st.sampled_from(sorted(WRITERS)), data=st.data())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_damaged_file_is_graded_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    """Bytes changed, cut off or appended: no other exception, and never a right grade for other ids."""
    if name == "gt.hdf5":
        return  # each takes a process: tests/datasets fuzzes the reader
    path = tmp_path_factory.mktemp("fuzz") / name
    ids, distances = defined()
    WRITERS[name](path, ids, distances)
    raw = bytearray(path.read_bytes())
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=4)):
        raw[place] = value
    cut = data.draw(st.integers(0, len(raw)))
    raw = raw[:cut] if data.draw(st.booleans()) else raw + data.draw(st.binary(max_size=9))
    path.write_bytes(raw)
    judged(path)


def test_a_stored_nan_that_signals_is_no_warning(tmp_path: Path) -> None:
    """Of float32, in a file or given: the processor says "invalid" where it is widened."""
    ids, distances = defined()
    write_both(tmp_path / "gt.bin", ids, distances)
    raw = bytearray((tmp_path / "gt.bin").read_bytes())
    raw[-4:] = (0x7F800001).to_bytes(4, "little")
    (tmp_path / "gt.bin").write_bytes(raw)
    stored = np.frombuffer(raw, "<f4")[-ids.size :].reshape(ids.shape)
    for held in (str(tmp_path / "gt.bin"), (ids, stored)):
        found = verify(BASE, held, QUERIES)
        assert found.grade == "exact"
        assert "where the defined value is" in str(found)


@given(name=st.sampled_from(["x.bin", "x.ibin", "x.ivecs", "x.npy"]), raw=st.binary(max_size=300))
def test_any_bytes_are_graded_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, raw: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(raw)
    judged(path)


def judged(path: Path) -> None:
    try:
        given_: Any = ground_truth.given(str(path))
        found = verify(BASE, str(path), QUERIES)
    except KnnscopeError as error:
        assert "\n" not in str(error)
        return
    ids, _ = defined()
    same = np.array_equal(np.asarray(given_.ids).astype(np.int64), ids[:, : given_.ids.shape[1]])
    assert (found.grade == "exact") == same
    json.dumps(found.to_dict(), allow_nan=False)
    assert str(found)


def test_random_answers_far_from_the_origin_are_undecided() -> None:
    """The expanded form in float32 excuses any row there; the defined ids are exact all the same."""
    chance = np.random.default_rng(0)
    base, queries = ((chance.standard_normal((n, 128)) + 1000).astype(np.float32) for n in (500, 20))
    drawn = np.stack([chance.permutation(500)[:10] for _ in queries])
    found = verify(base, drawn, queries, metric="l2").record
    assert (found.grade, found.told, found.ok) == ("undecided", "undecided", False)
    assert found.counts["undecided"] == 20
    assert found.recall < 0.1
    defined = definition.search(base, queries, 10, "l2").ids
    assert verify(base, defined, queries, metric="l2").record.ok
