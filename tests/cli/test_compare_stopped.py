"""knnscope compare, stopped by Ctrl-C in the middle of its rounds."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope import cli, store
from knnscope.analysis import jsonl
from knnscope.analysis.measurement import Measurement
from knnscope.ceilings import cache
from knnscope.cli import compare
from tests.bench.test_result import CEILINGS
from tests.processes import LONG, gone, offspring, until


def saved(folder: Path) -> list[Measurement]:
    return jsonl.read(folder / "out" / "results.jsonl", Measurement, "knnscope compare")


def test_ctrl_c_keeps_what_was_measured(
    tmp_path: Path, home: Path, child_environment: dict[str, str], popen: Callable[..., Any]
) -> None:
    """In the middle of the rounds: exit code 130, whole rows of what was timed until then, no process left. An eighth of them is a process' share."""
    key = cache.key_of("cpu", 1)
    store.write_json(cache.path_of(key), replace(CEILINGS, threads=1, key=key).to_json())
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32))
    argv = ["v.npy", "--engines", "numpy,numpy64", "--batch", "1", "-k", "50", "--threads", "1"]
    process = popen(
        [
            sys.executable,
            "-m",
            "knnscope",
            "compare",
            *argv,
            "--rounds",
            "20000",
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
    )
    children: set[int] = set()

    def a_third() -> bool:
        """Then the first two have had their rounds."""
        assert process.poll() is None
        children.update(filter(is_engine, offspring(process.pid)))
        return len(children) >= 3

    until(a_third, "a third process of an engine")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "knnscope: interrupted; what was " in err
    assert "interrupted: the figures are those of the rounds until then" in out
    assert re.search(r"exact \([\d,]+ of 1,000 queries\), interrupted", out), out
    rows = saved(tmp_path)
    assert {r.status for r in rows} == {"interrupted"}
    timed = {r.engine: sum(map(len, r.samples_ns)) for r in rows if r.cache == "hot"}
    assert timed.keys() == {"numpy", "numpy64"}
    assert all(timed.values())
    # they die with their parent, if Ctrl-C came while it was starting or ending them
    until(lambda: all(map(gone, children)), "the end of all engines' processes")
    assert not list(home.rglob("rows.npy"))
    assert json.loads((tmp_path / "out/environment.json").read_text())["options"]["rounds"] == 20_000


def is_engine(number: int) -> bool:
    """It asks git and others as well."""
    try:
        return b"knnscope.bench.child" in Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return False


def test_before_anything_was_measured_nothing_is_said_to_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "v.npy", np.eye(9, dtype=np.float32))

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "_measured", stopped)
    with pytest.raises(KeyboardInterrupt, match=r"^interrupted; nothing was measured yet, no run was written$"):
        cli.main(["compare", str(tmp_path / "v.npy"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
