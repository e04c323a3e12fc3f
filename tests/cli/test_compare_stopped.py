"""knnscope compare, stopped by Ctrl-C in the middle of its rounds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from knnscope import store
from knnscope.bench import result
from knnscope.ceilings import cache
from tests.bench.test_result import CEILINGS
from tests.cli.test_bad_input import heed_interrupts


def saved(folder: Path) -> list[result.Row]:
    return result.read(folder / "out" / "results.jsonl")


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path, home: Path, child_environment: dict[str, str]) -> None:
    """In the middle of the rounds: exit code 130, whole rows of what was timed until then, no process left."""
    key = cache.key_of("cpu", 1)
    store.write_json(cache.path_of(key), replace(CEILINGS, threads=1, key=key).to_json())
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((20_000, 64)).astype(np.float32))
    argv = ["v.npy", "--engines", "numpy,numpy64", "--batch", "1", "-k", "50", "--threads", "1"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "knnscope",
            "compare",
            *argv,
            "--rounds",
            "100000",
            "--seconds",
            "100000",
            "--out",
            "out",
        ],
        env=child_environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    deadline = time.monotonic() + 30
    children: set[int] = set()
    while time.monotonic() < deadline and len(children) < 3:  # a third process: the first two have had their rounds
        assert process.poll() is None
        time.sleep(0.02)
        children |= set(offspring(process.pid))
    assert len(children) >= 3
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "knnscope: interrupted; what was " in err
    assert "interrupted: the figures are those of the rounds until then" in out
    assert "exact, interrupted" in out
    rows = saved(tmp_path)
    assert {r["status"] for r in rows} == {"interrupted"}
    timed = {r["engine"]: sum(map(len, r["samples_ns"])) for r in rows if r["cache"] == "hot"}
    assert timed.keys() == {"numpy", "numpy64"}
    assert all(timed.values())
    while time.monotonic() < deadline and any(Path(f"/proc/{number}").exists() for number in children):
        time.sleep(0.02)  # they die with their parent, if Ctrl-C came while it was starting or ending them
    assert not [number for number in children if Path(f"/proc/{number}").exists()]
    assert not list(home.rglob("rows.npy"))
    assert json.loads((tmp_path / "out/environment.json").read_text())["options"]["rounds"] == 100_000


def offspring(parent: int) -> list[int]:
    """Processes of engines that this one started; it asks git and others as well."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) != parent:
                continue
            if b"knnscope.bench.child" in (stat.parent / "cmdline").read_bytes():
                found.append(int(stat.parent.name))
        except OSError:
            continue
    return found
