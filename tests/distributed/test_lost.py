"""Workers and schedulers that end in the middle: the answer of one index, or one line that says what is gone, within a bounded time."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from knnscope import cli
from knnscope.certified.index import ExactIndex
from knnscope.distributed import DaskIndex, DaskOptions
from knnscope.distributed.cluster import local_cluster
from knnscope.errors import KnnscopeError
from tests.distributed.conftest import file_of, until
from tests.distributed.data import assert_same, tied

distributed = pytest.importorskip("distributed")
ROWS, QUERIES = tied()
SLOW = 1.5
"""Seconds of a task, so that its worker is killed in the middle; a worker that is started anew is quick."""


def slow_down(what: str) -> None:
    """On a worker: let each build or search take its time."""
    from knnscope.distributed import tasks

    if what == "build":
        quick = tasks.index_of
        tasks.index_of = lambda *given: (time.sleep(SLOW), quick(*given))[1]
    else:
        asked = ExactIndex.search
        ExactIndex.search = lambda *given, **named: (time.sleep(SLOW), asked(*given, **named))[1]  # type: ignore[assignment, method-assign]


def kill_one_at_work(client: Any) -> None:
    """SIGKILL to a worker that has a task; returns when the scheduler has noticed."""
    pids, busy = client.run(os.getpid), list[str]()

    def at_work() -> bool:
        """A task may end between two looks."""
        busy[:] = [name for name, keys in client.processing().items() if keys and name in pids]
        return bool(busy)

    until(at_work)
    os.kill(pids[busy[0]], signal.SIGKILL)
    until(lambda: busy[0] not in client.scheduler_info()["workers"])


def source(kind: str, folder: Path) -> Any:
    """The rows as a file, as an array of the client, as a Dask array."""
    if kind == "file":
        return file_of(ROWS, folder)
    if kind == "array":
        return ROWS
    import dask.array

    return dask.array.from_array(ROWS, chunks=(400, -1))


KINDS = pytest.mark.parametrize(
    "kind", ["file", pytest.param("array", marks=pytest.mark.slow), pytest.param("chunks", marks=pytest.mark.slow)]
)
COUNTS = pytest.mark.parametrize(
    "workers", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)


@KINDS
@COUNTS
def test_killed_while_it_builds_searches_and_restarts(
    own_client: Callable[[int], Any], tmp_path: Path, kind: str, workers: int
) -> None:
    whole = ExactIndex(ROWS).search(QUERIES, 30)
    client = own_client(workers)
    rows = source(kind, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        client.run(slow_down, "build")
        building = pool.submit(DaskIndex, client, rows, options=DaskOptions(shards=max(2, workers)))
        kill_one_at_work(client)
        index = building.result(120)
        assert_same(index.search(QUERIES, 30), whole)

        until(lambda: len(client.scheduler_info()["workers"]) == workers)
        client.run(slow_down, "search")
        searching = pool.submit(index.search, QUERIES, 30)
        kill_one_at_work(client)
        assert_same(searching.result(120), whole)

    until(lambda: len(client.scheduler_info()["workers"]) == workers)
    client.restart(wait_for_workers=False)  # with it, Dask now and then waits in vain for one that it has just started
    assert_same(index.search(QUERIES, 30), whole)
    assert_same(index.search(QUERIES, 30), whole)
    index.close()


@pytest.mark.slow
def test_workers_that_always_end_are_one_line(own_client: Callable[[int], Any]) -> None:
    client = own_client(2)
    index = DaskIndex(client, ROWS)
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(lambda: index._asked(_end, [()] * 2))
        with pytest.raises(KnnscopeError, match=r"workers ended again and again|shards were lost 4 times"):
            ending.result(240)


def _end(_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_no_workers_and_no_answer_in_time(own_client: Callable[[int], Any], tmp_path: Path) -> None:
    client = own_client(1)
    index = DaskIndex(client, file_of(ROWS, tmp_path), options=DaskOptions(patience=1.0, timeout=0.6))
    client.run(slow_down, "search")
    with pytest.raises(KnnscopeError, match=r"no answer within 0\.6 s"):
        index.search(QUERIES, 1)
    client.cluster.scale(0)
    until(lambda: not client.scheduler_info()["workers"])
    patient = DaskOptions(patience=1.0)
    object.__setattr__(index, "_options", patient)
    began = time.monotonic()
    with pytest.raises(KnnscopeError, match=r"no worker takes tasks \(waited 1 s\)"):
        index.search(QUERIES, 1)
    with pytest.raises(KnnscopeError, match=r"no worker takes tasks \(waited 1 s\)"):
        DaskIndex(client, ROWS, options=patient)
    assert time.monotonic() - began < 20


@contextmanager
def cluster(port: int, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """``knnscope cluster`` as a process of its own, and its address."""
    command = [sys.executable, "-m", "knnscope", "cluster", "--workers", "1", "--threads", "1", "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.match(r"(tcp://127\.0\.0\.1:\d+): 1 worker of 1 thread; Ctrl-C ends it$", line)
            assert found, line
            yield process, found[1]
        finally:
            process.kill()


@pytest.mark.parametrize("again", [True, False])
def test_a_scheduler_is_killed(tmp_path: Path, child_environment: dict[str, str], again: bool) -> None:
    whole = ExactIndex(ROWS).search(QUERIES, 30)
    with cluster(0, child_environment) as (process, address), distributed.Client(address, timeout=8) as client:
        (pid,) = client.run(os.getpid).values()
        index = DaskIndex(client, file_of(ROWS, tmp_path), options=DaskOptions(patience=30))
        assert_same(index.search(QUERIES, 30), whole)
        process.kill()
        process.wait()
        until(lambda: not Path(f"/proc/{pid}").exists())  # workers end with the process that started them
        began = time.monotonic()
        if again:  # at the same address: the client finds it, and the index is built anew
            with cluster(int(address.rpartition(":")[2]), child_environment) as (other, _):
                assert_same(index.search(QUERIES, 30), whole)
                other.send_signal(signal.SIGINT)
                assert other.communicate(timeout=30)[0] == "ended\n"
                assert other.returncode == 0
        else:
            gone = rf"{address}: (the connection to this scheduler has ended|the scheduler has gone).*start"
            with pytest.raises(KnnscopeError, match=gone) as error:
                index.search(QUERIES, 30)
            assert "\n" not in str(error.value)
            assert time.monotonic() - began < 60


def test_a_port_that_is_taken_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr("sys.argv", ["knnscope", "cluster", "--port", str(port)])
        assert cli.run() == 2
    said = rf"^knnscope: 127\.0\.0\.1:{port}: Address already in use: choose another --port$"
    assert re.search(said, capsys.readouterr().err, re.M)


def test_workers_that_do_not_start_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """So Dask ends in a script without a main part, which each of its workers would run."""

    def refused(**_: Any) -> None:
        raise RuntimeError("Nanny failed to start.") from RuntimeError("Nanny failed to start worker process\nand more")

    monkeypatch.setattr(distributed, "LocalCluster", refused)
    said = r"^the workers of a cluster did not start \(Nanny failed to start worker process\): .* below if __name__ == '__main__'$"
    with pytest.raises(KnnscopeError, match=said), local_cluster(1, 1):
        pass
