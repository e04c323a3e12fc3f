"""Files that are written to, or replaced, while ground truth is computed of them: never an answer of the one under the sum of the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope import KnnscopeError, load, truth, verify
from knnscope.api import ground_truth as api
from knnscope.api import verifying
from knnscope.datasets import vector_files
from knnscope.distributed import sources
from knnscope.groundtruth import inputs
from tests.groundtruth.blocks import BASE, QUERIES

OTHER = {"b.npy": BASE[::-1].copy(), "q.npy": QUERIES[::-1].copy(), "ids.npy": np.arange(900)[::-1].copy()}
CHANGED = r"(b|q|ids)\.npy.*: was changed or replaced while it was read: let it be, and run this again"


def rewrite(path: Path) -> None:
    """Other numbers in the same file, of the same size."""
    with path.open("r+b") as file:
        file.seek(-OTHER[path.name].nbytes, os.SEEK_END)
        file.write(OTHER[path.name].tobytes())


def replace(path: Path) -> None:
    """Another file under its name, of the same size and time."""
    facts = path.stat()
    np.save(path.with_name("new.npy"), OTHER[path.name])
    os.utime(path.with_name("new.npy"), ns=(facts.st_atime_ns, facts.st_mtime_ns))
    path.with_name("new.npy").rename(path)
    assert path.stat().st_size == facts.st_size


@pytest.fixture
def old(files: Path) -> Path:
    """Files that were written a while ago: clocks of file systems tick some times a second."""
    np.save(files / "ids.npy", np.arange(900))
    for path in files.iterdir():
        os.utime(path, ns=(10**18, 10**18))
    return files


def meanwhile(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, change: Callable[[], None]) -> None:
    """Whatever a step does, the change comes before it, once."""
    inner, done = getattr(module, name), list[bool]()

    def step(*args: Any) -> Any:
        if not done:
            done.append(True)
            change()
        return inner(*args)

    monkeypatch.setattr(module, name, step)


@pytest.mark.parametrize("change", [rewrite, replace])
@pytest.mark.parametrize("name", ["b.npy", "q.npy", "ids.npy"])
@pytest.mark.parametrize("step", ["plan", "compute"])
@pytest.mark.parametrize("out", [None, "gt.npy"])
def test_a_change_at_any_step_is_noticed(
    old: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], name: str, step: str, out: str | None
) -> None:
    meanwhile(monkeypatch, api, step, lambda: change(old / name))
    there = sorted(path.name for path in old.iterdir())
    with pytest.raises(KnnscopeError, match=CHANGED):
        truth(old / "b.npy", old / "q.npy", 10, out and old / out, ids=old / "ids.npy")
    assert sorted(path.name for path in old.iterdir()) == there, "what was computed of both goes as well"
    found = truth(old / "b.npy", old / "q.npy", 10, out and old / out, ids=old / "ids.npy")
    base, queries, ids = (np.load(old / name) for name in ("b.npy", "q.npy", "ids.npy"))
    np.testing.assert_array_equal(found.ids, truth(base, queries, 10, ids=ids).ids)


def test_a_file_that_is_replaced_while_it_is_opened_is_noticed(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = vector_files.load

    def load_(spec: str) -> Any:
        found = inner(spec)
        if Path(spec).name == "b.npy":
            replace(old / "b.npy")
        return found

    monkeypatch.setattr(vector_files, "load", load_)
    with pytest.raises(KnnscopeError, match=CHANGED):
        inputs.open_inputs(old / "b.npy", old / "q.npy")
    with pytest.raises(KnnscopeError, match=r"b.npy: the file was changed while it was opened: try again"):
        sources.opened(str(old / "b.npy"))


def test_queries_that_came_with_the_base_are_watched_too(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (old / "b.npy").rename(old / "rows.npy")
    (old / "q.npy").rename(old / "rows-queries.npy")

    def change() -> None:
        with (old / "rows-queries.npy").open("r+b") as file:
            file.seek(-QUERIES.nbytes, os.SEEK_END)
            file.write(OTHER["q.npy"].tobytes())

    meanwhile(monkeypatch, api, "compute", change)
    with pytest.raises(KnnscopeError, match=r"queries of .*rows.npy: was changed or replaced"):
        truth(load(str(old / "rows.npy")), None, 10)


def test_a_folder_of_embeddings_is_watched(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (old / "both" / "queries").mkdir(parents=True)
    (old / "b.npy").rename(old / "both" / "vectors.npy")
    (old / "q.npy").rename(old / "both" / "queries" / "vectors.npy")
    place = old / "both" / "queries" / "vectors.npy"
    assert truth(old / "both", None, 10).certificate["key"]["queries"]["sha256_of"] == "file"
    meanwhile(monkeypatch, api, "compute", lambda: os.utime(place))
    with pytest.raises(KnnscopeError, match=r"queries of .*both.*: was changed or replaced"):
        truth(old / "both", None, 10)


@pytest.mark.parametrize("change", [rewrite, replace])
def test_what_is_graded_is_watched_too(
    old: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    truth(old / "b.npy", old / "q.npy", 10, old / "gt.npy")
    meanwhile(monkeypatch, verifying, "verify_inputs", lambda: change(old / "b.npy"))
    with pytest.raises(KnnscopeError, match=CHANGED):
        verify(old / "b.npy", old / "gt.npy", old / "q.npy")


def test_a_worker_notices_a_file_of_the_same_size_and_time(old: Path) -> None:
    file, _ = sources.opened(str(old / "b.npy"))
    some = sources.pieces([file], range(3))
    np.testing.assert_array_equal(sources.read(some), BASE[:3])
    elsewhere = [piece._replace(file=file._replace(place=("another", 0))) for piece in some]
    np.testing.assert_array_equal(sources.read(elsewhere), BASE[:3])  # machines may number files each in its own way
    replace(old / "b.npy")
    with pytest.raises(KnnscopeError, match="the file was changed after its rows were split"):
        sources.read(some)
