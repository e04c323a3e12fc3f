"""Ground truth: the definition's answer whatever the blocks, in every format, after every kill; and a certificate that says what it hangs by."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
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
from knnscope.groundtruth.inputs import open_inputs
from knnscope.records import METRICS
from knnscope.search import definition
from tests.cli.conftest import (
    Run,
    knnscope,  # noqa: F401 - a fixture
    refused,
)

CHANCE = np.random.default_rng(0)
BASE = CHANCE.integers(-3, 4, (900, 6)).astype(np.float32)  # many ties
QUERIES = np.concatenate([CHANCE.integers(-3, 4, (30, 6)), CHANCE.standard_normal((10, 6))]).astype(np.float32)
FORMATS = ("gt.npy", "gt.hdf5", "gt.h5", "gt.ivecs", "gt.ibin", "gt.bin")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    np.save(tmp_path / "b.npy", BASE)
    np.save(tmp_path / "q.npy", QUERIES)
    return tmp_path


def in_blocks(rows: int, batch: int, metric: str, width: int, store: parts.Store | None = None) -> parts.Part:
    """All of it in blocks of so many rows; one part."""
    inputs = open_inputs(BASE, QUERIES, metric)
    store = store or parts.InMemory(len(QUERIES), batch)
    answers.compute(inputs, answers.Plan(10, width, rows, batch), store)
    found = [store.get(i) for i in range(len(store.batches))]
    return parts.Part(
        len(BASE),
        definition.Neighbors(
            np.concatenate([p.found.ids for p in found if p]), np.concatenate([p.found.distances for p in found if p])
        ),
        np.concatenate([p.floor for p in found if p]),
        np.concatenate([p.candidates for p in found if p]),
        np.concatenate([p.computed for p in found if p]),
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("rows", "batch"), [(900, 40), (100, 40), (17, 7), (5, 13), (1, 40)])
def test_blocks_of_any_size_give_the_same_bits(metric: str, rows: int, batch: int) -> None:
    found = in_blocks(rows, batch, metric, 18).found
    defined = definition.search(BASE, QUERIES, 18, metric)
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
    defined = definition.search(BASE, QUERIES, 18, metric)
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


SLOW_CHILD = """
import sys, time
from knnscope import cli
from knnscope.groundtruth import parts
inner = parts.OnDisk.put
def put(self, number, part):
    inner(self, number, part)
    print("part", flush=True)
    time.sleep(0.02)
parts.OnDisk.put = put
sys.argv = ["knnscope", *sys.argv[1:]]
sys.exit(cli.run())
"""


@pytest.mark.parametrize("name", ["gt.hdf5", "gt.ibin"])
def test_killed_five_times_it_has_the_same_bytes(files: Path, child_environment: dict[str, str], name: str) -> None:
    rows = np.random.default_rng(3).integers(-3, 4, (300_000, 6)).astype(np.float32)
    np.save(files / "large.npy", rows)
    once = files / "once"
    once.mkdir()
    truth(files / "large.npy", files / "q.npy", 10, once / name)
    command = [
        sys.executable,
        "-c",
        SLOW_CHILD,
        "truth",
        "large.npy",
        "--queries",
        "q.npy",
        "-k",
        "10",
        "-o",
        name,
        "--memory",
        "1",
    ]
    moments = iter([3, 1, 4, 2, 5])
    kills = 0
    while True:
        child = subprocess.Popen(
            command, cwd=files, env=child_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        wanted = next(moments, None)
        if wanted is None:
            _, err = child.communicate()
            assert child.returncode == 0, err
            break
        for _ in range(wanted):
            assert child.stdout.readline() == "part\n"
        time.sleep(0.004 * kills)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        kills += 1
        assert not (files / name).exists()
        assert (files / f"{name}.work" / "work.json").is_file()
    assert kills == 5
    assert (files / name).read_bytes() == (once / name).read_bytes()
    ours, theirs = (json.loads((f / f"{name}.certificate.json").read_text()) for f in (files, once))
    assert ours["ties_at_k"] == theirs["ties_at_k"]
    assert ours["margins"]["to_the_next"] == theirs["margins"]["to_the_next"]


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(files: Path, child_environment: dict[str, str]) -> None:
    np.save(files / "large.npy", np.random.default_rng(3).integers(-3, 4, (300_000, 6)).astype(np.float32))
    command = [
        sys.executable,
        "-c",
        SLOW_CHILD,
        "truth",
        "large.npy",
        "--queries",
        "q.npy",
        "-o",
        "gt.bin",
        "--memory",
        "1",
    ]
    child = subprocess.Popen(
        command, cwd=files, env=child_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "part\n"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate()
    assert child.returncode == 130
    assert err.strip().splitlines()[-1] == "knnscope: interrupted; the same command goes on from what is in gt.bin.work"
    assert "Traceback" not in err


def stopped(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A work folder with a part, left by an error."""

    def put(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parts.OnDisk, "put", put)
        with pytest.raises(KeyboardInterrupt):
            truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("b.npy", "unfinished work for another base than now"),
        ("q.npy", "another queries"),
        ("k", "another k"),
        ("metric", "another metric"),
    ],
)
def test_what_was_changed_since_is_noticed(
    files: Path, monkeypatch: pytest.MonkeyPatch, changed: str, message: str
) -> None:
    stopped(files, monkeypatch)
    if changed.endswith(".npy"):
        values = np.load(files / changed)
        values[3, 2] += 1
        np.save(files / changed, values)
    with pytest.raises(KnnscopeError, match=message):
        truth(
            files / "b.npy",
            files / "q.npy",
            11 if changed == "k" else 10,
            files / "gt.bin",
            metric="ip" if changed == "metric" else "l2",
        )
    assert not (files / "gt.bin").exists()


def test_a_change_while_it_is_computed_is_noticed(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = parts.OnDisk.put

    def put(self: parts.OnDisk, number: int, part: parts.Part) -> None:
        inner(self, number, part)
        np.save(files / "q.npy", QUERIES[::-1])

    monkeypatch.setattr(parts.OnDisk, "put", put)
    with pytest.raises(KnnscopeError, match="were changed while they were read"):
        truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin")
    assert not (files / "gt.bin").exists()


def test_what_is_finished_is_not_computed_again(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin")
    with monkeypatch.context() as patch:
        patch.setattr(parts.OnDisk, "put", None)
        again = truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin")
    assert "is there already" in again.notes[-1]
    assert again.to_dict() == first.to_dict()
    raw = bytearray((files / "gt.bin").read_bytes())
    raw[20] ^= 1
    (files / "gt.bin").write_bytes(raw)
    truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin")
    raw[20] ^= 1
    assert (files / "gt.bin").read_bytes() == raw


@given(damage=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_part_is_computed_again(
    tmp_path_factory: pytest.TempPathFactory, damage: int, value: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    store = parts.OnDisk(folder, {"k": 10}, len(QUERIES), 40)
    expected = in_blocks(900, 40, "l2", 18, store)
    path = next(folder.glob("queries-*.npz"))
    raw = bytearray(path.read_bytes())
    raw[damage % len(raw)] = value
    path.write_bytes(raw[: damage % len(raw)] if cut else raw)
    found = in_blocks(900, 40, "l2", 18, parts.OnDisk(folder, {"k": 10}, len(QUERIES), 40))
    np.testing.assert_array_equal(found.found.ids, expected.found.ids)
    np.testing.assert_array_equal(found.found.distances, expected.found.distances)


def test_two_processes_do_not_write_one_output(files: Path, child_environment: dict[str, str]) -> None:
    with parts.work_folder(files / "gt.bin"):
        done = subprocess.run(
            [sys.executable, "-m", "knnscope", "truth", "b.npy", "--queries", "q.npy", "-o", "gt.bin"],
            cwd=files,
            env=child_environment,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2
    assert "another process is computing gt.bin" in done.stderr
    assert sorted(p.name for p in files.iterdir()) == ["b.npy", "q.npy"]


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (("-o", "gt.txt"), "gt.txt: the ending says the format: .npy"),
        (("-o", "gt.bin", "-k", "901"), "k"),
        (("-o", "gt.bin", "--memory", "0"), "not a whole number above 0"),
        (("-o", "gt.bin", "--threads", "many"), "--threads: 'many' is not a whole number"),
        (("-o", "gt.bin", "--ids", "none.npy"), "none.npy: no such file"),
        (("-o", "gt.bin", "--ids", "q.npy"), "whole numbers"),
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
