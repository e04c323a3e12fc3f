"""Ground truth on workers: the bytes of that of one process, whoever began it and whoever is killed."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope import cli
from knnscope.api.ground_truth import truth
from knnscope.distributed import waiting
from knnscope.errors import KnnscopeError
from knnscope.groundtruth import answers, on_workers
from tests.distributed.data import tied
from tests.distributed.test_lost import kill_one_at_work, slow_down

dask = pytest.importorskip("dask")
ROWS, QUERIES = tied(30_000, 16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.save(tmp_path / "base.npy", ROWS)
    np.save(tmp_path / "queries.npy", QUERIES)
    np.save(tmp_path / "ids.npy", np.arange(len(ROWS))[::-1] * 3)
    return tmp_path


def address(client: Any) -> str:
    return str(client.scheduler.address)


def computed(folder: Path, out: str, **options: Any) -> dict[str, Any]:
    """The bytes of both files, and what the certificate proves."""
    made = truth(folder / "base.npy", folder / "queries.npy", 20, folder / out, **options)
    stem = out.partition(".")[0]
    files = [(folder / name).read_bytes() for name in (out, f"{stem}.distances.npy")]
    certificate = made.to_dict()
    return {"files": files, "ties": certificate["ties_at_k"], "gaps": certificate["margins"]["to_the_next"]}


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_the_same_bytes_as_in_one_process(
    client: Any, folder: Path, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "BATCH", 4)
    whole = computed(folder, "one.npy", metric=metric)
    assert computed(folder, "several.npy", metric=metric, scheduler=address(client)) == whole
    named = computed(folder, "named.npy", metric=metric, ids=folder / "ids.npy", memory=6)
    again = computed(folder, "named2.npy", metric=metric, ids=folder / "ids.npy", memory=12, scheduler=address(client))
    assert again == named
    found = truth(folder / "base.npy", QUERIES, 20, metric=metric, scheduler=address(client))
    np.testing.assert_array_equal(found.ids, np.load(folder / "one.npy"))


def test_the_command(
    client: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)  # the workers are elsewhere
    words = [
        "truth",
        "base.npy",
        "--queries",
        "queries.npy",
        "-k",
        "5",
        "-o",
        "gt.ivecs",
        "--json",
        "--scheduler",
        address(client),
    ]
    assert cli.main(words) == 0
    certificate = json.loads(capsys.readouterr().out)
    assert certificate["proof"]["rows"] == len(ROWS)
    assert cli.main(["verify", "base.npy", "gt.ivecs", "--queries", "queries.npy"]) == 0


def test_either_goes_on_from_the_other(client: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "BATCH", 4)
    whole = computed(folder, "one.npy")
    here, there = {"memory": 2}, {"memory": 4, "scheduler": address(client)}
    for number, (first, then) in enumerate(((here, there), (there, here))):
        out, module, kept = f"begun-{number}.npy", (answers, on_workers)[number], []

        def some(*given: Any, plain: Callable[..., None] = module.keep, kept: list[Any] = kept) -> None:
            if len(kept) == 4:
                raise KeyboardInterrupt
            kept.append(plain(*given))

        with monkeypatch.context() as patch:
            patch.setattr(module, "keep", some)
            with pytest.raises(KeyboardInterrupt):
                computed(folder, out, **first)
        assert len(list((folder / f"{out}.work").glob("queries-*.npz"))) >= 3
        assert computed(folder, out, **then) == whole


def command(client: Any, *more: str) -> list[str]:
    """``knnscope truth`` as a process."""
    words = ["truth", "base.npy", "--queries", "queries.npy", "-k", "20", "-o", "several.npy", "--scheduler"]
    return [sys.executable, "-m", "knnscope", *words, address(client), *more]


def test_a_worker_is_killed(own_client: Callable[[int], Any], folder: Path) -> None:
    whole = computed(folder, "one.npy")
    client = own_client(2)
    client.run(slow_down, "search")
    with subprocess.Popen(command(client), cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        kill_one_at_work(client)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert (folder / "several.npy").read_bytes() == whole["files"][0]


def written(parts: Path) -> dict[str, int]:
    """Finished parts, and when each was written last."""
    return {path.name: path.stat().st_mtime_ns for path in parts.glob("queries-*.npz")}


@pytest.mark.slow
def test_a_killed_client_goes_on(own_client: Callable[[int], Any], folder: Path) -> None:
    whole = computed(folder, "one.npy")
    client = own_client(2)
    client.run(slow_down, "search")
    words = command(client, "--memory", "4")
    parts = folder / "several.npy.work"
    for _ in range(3):
        before = written(parts)
        with subprocess.Popen(words, cwd=folder) as process:
            while written(parts) == before and process.poll() is None:
                time.sleep(0.02)
            process.kill()
    assert subprocess.run(words, cwd=folder).returncode == 0
    assert (folder / "several.npy").read_bytes() == whole["files"][0]


def test_what_workers_cannot_do_is_one_line(client: Any, folder: Path) -> None:
    where = address(client)
    bad = ROWS.copy()
    bad[20_000, 3] = np.inf
    np.save(folder / "bad.npy", bad)
    np.save(folder / "asked.npy", bad[20_000:20_001])
    np.savez(folder / "base.npz", rows=ROWS)
    for base, queries, said in (
        (folder / "bad.npy", QUERIES, r"bad\.npy: row 20,000 has inf in component 3"),
        (folder / "base.npy", folder / "asked.npy", r"asked\.npy: row 0 has inf in component 3"),
        (ROWS, QUERIES, "base: workers read the base themselves"),
        (folder / "base.npz", QUERIES, "read whole, by every worker"),
    ):
        with pytest.raises(KnnscopeError, match=said):
            truth(base, queries, 5, scheduler=where)
    for nobody in ("tcp://127.0.0.1:9", "http:/x"):
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
            pytest.raises(KnnscopeError, match="no Dask scheduler answers there"),
        ):
            truth(folder / "base.npy", QUERIES, 5, scheduler=nobody)


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1", "127.0.0.1:x"])
def test_what_is_no_address_is_one_line_at_once(folder: Path, address: str) -> None:
    words = ["truth", "base.npy", "--queries", "queries.npy", "-k", "5", "-o", "no.npy", "--scheduler", address]
    done = subprocess.run(
        [sys.executable, "-m", "knnscope", *words], cwd=folder, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 2
    assert re.fullmatch(f"knnscope: {address}: no Dask scheduler answers there .*\\n", done.stderr)


def test_who_waits_for_a_scheduler_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(waiting, "SILENT", 0.1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
            pytest.raises(KnnscopeError, match="no Dask scheduler answers there"),
            waiting.connected(address),
        ):
            pass
    assert f"{address}: no Dask scheduler has answered yet" in capsys.readouterr().err
