"""Ground truth that was killed, stopped or damaged goes on, with the same bytes; inputs that changed meanwhile are noticed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knnscope import KnnscopeError, truth
from knnscope.groundtruth import parts
from tests.groundtruth.blocks import BASE, QUERIES, in_blocks

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


def slow_truth(out: str, *more: str) -> list[str]:
    """``knnscope truth`` of large.npy, which says when a part is done."""
    files = ["large.npy", "--queries", "q.npy", "-o", out]
    return [sys.executable, "-c", SLOW_CHILD, "truth", *files, "--memory", "1", *more]


@pytest.mark.parametrize(
    ("name", "moments"),
    [
        ("gt.hdf5", (3, 1, 4, 2, 5)),
        ("gt.ibin", (3, 1)),
        pytest.param("gt.ibin", (3, 1, 4, 2, 5), marks=pytest.mark.slow),
    ],
)
def test_killed_again_and_again_it_has_the_same_bytes(
    files: Path, child_environment: dict[str, str], name: str, moments: tuple[int, ...]
) -> None:
    """Each time after so many further parts."""
    rows = np.random.default_rng(3).integers(-3, 4, (300_000, 6)).astype(np.float32)
    np.save(files / "large.npy", rows)
    once = files / "once"
    once.mkdir()
    truth(files / "large.npy", files / "q.npy", 10, once / name)
    command = slow_truth(name, "-k", "10")
    kills = 0
    for wanted in (*moments, None):
        child = subprocess.Popen(
            command, cwd=files, env=child_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
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
    assert kills == len(moments)
    assert (files / name).read_bytes() == (once / name).read_bytes()
    ours, theirs = (json.loads((f / f"{name}.certificate.json").read_text()) for f in (files, once))
    assert ours["ties_at_k"] == theirs["ties_at_k"]
    assert ours["margins"]["to_the_next"] == theirs["margins"]["to_the_next"]


def test_ctrl_c_is_one_line_and_the_same_command_goes_on(files: Path, child_environment: dict[str, str]) -> None:
    np.save(files / "large.npy", np.random.default_rng(3).integers(-3, 4, (300_000, 6)).astype(np.float32))
    command = slow_truth("gt.bin")
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
    inner = parts.OnDisk.put

    def put(self: parts.OnDisk, number: int, part: parts.Part) -> None:
        inner(self, number, part)
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


@pytest.mark.parametrize("ends", [KnnscopeError, KeyboardInterrupt])
def test_who_stops_before_anything_is_finished_leaves_nothing(
    files: Path, monkeypatch: pytest.MonkeyPatch, ends: type[BaseException]
) -> None:
    """Inputs that are mended then are not another computation's."""

    def put(*_: object) -> None:
        raise ends

    monkeypatch.setattr(parts.OnDisk, "put", put)
    with pytest.raises(ends):
        truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin")
    assert sorted(p.name for p in files.iterdir()) == ["b.npy", "q.npy"]


def test_rows_that_are_mended_are_taken_by_the_same_command(files: Path) -> None:
    base = np.load(files / "b.npy")
    broken = base.astype(np.float32)
    broken[3, 2] = np.nan
    np.save(files / "b.npy", broken)
    with pytest.raises(KnnscopeError, match="row 3 has nan"):
        truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin")
    np.save(files / "b.npy", base)
    assert len(truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin").ids) == len(QUERIES)


@pytest.mark.parametrize(
    "begun", ["", ".work.json.0123456789abcdef.part", ".queries-000000000.npz.0123456789abcdef.part"]
)
def test_a_folder_of_who_was_killed_before_anything_was_finished_is_taken_over(
    files: Path, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(parts, "remove", lambda _: None)  # as kill -9 leaves it
        patch.setattr(parts.OnDisk, "put", None)
        with pytest.raises(TypeError):
            truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin")
    assert (files / "gt.bin.work" / "work.json").is_file()
    if begun:
        (files / "gt.bin.work" / begun).touch()
    truth(files / "b.npy", files / "q.npy", 11, files / "gt.bin")
    assert not (files / "gt.bin.work").exists()


def test_a_change_while_it_is_computed_is_noticed(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = parts.OnDisk.put

    def put(self: parts.OnDisk, number: int, part: parts.Part) -> None:
        inner(self, number, part)
        np.save(files / "q.npy", QUERIES[::-1])

    monkeypatch.setattr(parts.OnDisk, "put", put)
    with pytest.raises(KnnscopeError, match="was changed or replaced while it was read"):
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
    "name", ["thesis.tex", "work.json", "lock", "writing", "queries-000000000.npz", ".hidden.part"]
)
def test_a_folder_of_others_is_refused_and_stays_as_it_is(
    files: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = files / "gt.bin.work"
    folder.mkdir()
    (folder / name).write_text('{"version": 1, "key": {}, "batch": 9}')
    monkeypatch.setattr("knnscope.groundtruth.certificate.key_of", None)  # before anything is computed
    with pytest.raises(KnnscopeError, match=f"gt.bin.work/{name}: knnscope did not write it, and would write over it"):
        truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin")
    assert [(path.name, path.read_text()[:9]) for path in folder.iterdir()] == [(name, '{"version')]


def test_what_others_put_there_meanwhile_stays(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(files, monkeypatch)
    folder = files / "gt.bin.work"
    (folder / "thesis.tex").write_text("mine")
    (folder / "queries").mkdir()
    said: list[str] = []
    monkeypatch.setattr(parts, "say", said.append)
    truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin")
    assert sorted(path.name for path in folder.iterdir()) == ["queries", "thesis.tex"]
    assert said == [f"{folder} stays: others have put something there"]


@pytest.mark.parametrize("left", [(), ("lock",), ("lock", ".work.json.0123456789abcdef.part"), ("lock", "writing")])
def test_what_a_killed_process_left_is_taken_over(files: Path, left: tuple[str, ...]) -> None:
    folder = files / "gt.bin.work"
    folder.mkdir()
    for name in left:
        (folder / name).touch()
    truth(files / "b.npy", files / "q.npy", 10, files / "gt.bin")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("out", "beside"), [("g.ivecs", "g.fvecs"), ("g.npy", "g.distances.npy"), ("g.ibin", "g.fbin")]
)
def test_a_file_that_happens_to_lie_beside_is_not_written_over(
    files: Path, monkeypatch: pytest.MonkeyPatch, out: str, beside: str
) -> None:
    (files / beside).write_text("mine")
    there = sorted(path.name for path in files.iterdir())
    found = truth(BASE, QUERIES, 10)
    with pytest.raises(KnnscopeError, match=f"{beside}: knnscope did not write it, and would write over it"):
        found.save(files / out)
    with monkeypatch.context() as patch:
        patch.setattr("knnscope.api.ground_truth.compute", None)
        with pytest.raises(KnnscopeError, match=f"{beside}: knnscope did not write it, and would write over it"):
            truth(files / "b.npy", files / "q.npy", 10, files / out)
    assert sorted(path.name for path in files.iterdir()) == there
    assert (files / beside).read_text() == "mine"
    (files / beside).unlink()
    found.save(files / out)
    for k in (10, 11, 9):  # its own are replaced
        truth(files / "b.npy", files / "q.npy", k, files / out)
    found.save(files / out)
    (files / beside).write_text("mine")
    with pytest.raises(KnnscopeError, match=f"{beside}: knnscope did not write it"):
        truth(files / "b.npy", files / "q.npy", 9, files / out)


def test_stopped_between_its_files_it_goes_on(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("knnscope.groundtruth.certificate.save", stop)
        with pytest.raises(KeyboardInterrupt):
            truth(files / "b.npy", files / "q.npy", 10, files / "g.ivecs")
    assert (files / "g.fvecs").exists()
    truth(files / "b.npy", files / "q.npy", 10, files / "g.ivecs")
    assert not (files / "g.ivecs.work").exists()


@pytest.mark.parametrize("name", ["g.npy", "g.distances.npy"])
def test_a_pipe_is_refused_at_once(files: Path, name: str) -> None:
    """It would have to be read again for the sum in the certificate."""
    os.mkfifo(files / name)
    with pytest.raises(KnnscopeError, match=f"{name}: a pipe or a device, which cannot be read again for its sum"):
        truth(files / "b.npy", files / "q.npy", 10, files / "g.npy")
    assert (files / name).is_fifo()
    assert not (files / "g.npy.work").exists()


def test_an_output_that_is_a_link_leads_to_the_answers(files: Path) -> None:
    (files / "far").mkdir()
    (files / "g.npy").symlink_to("far/there.npy")
    for _ in range(2):
        truth(files / "b.npy", files / "q.npy", 10, files / "g.npy")
        assert (files / "g.npy").is_symlink()
        assert [path.name for path in (files / "far").iterdir()] == ["there.npy"]
