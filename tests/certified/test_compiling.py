"""Compiled code is kept on disk: where the package cannot be written to, and when two processes compile at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import knnscope

CODE = """
import numpy as np, knnscope
rows = np.random.default_rng(0).standard_normal((300, 20)).astype(np.float32)
found = knnscope.ExactIndex(rows, threads=1, kind="portable").search(rows[:2], 3)
assert found.ids[:, 0].tolist() == [0, 1], found
from knnscope.certified.scan import SCANS
print(knnscope.__file__, sum(SCANS["portable"].stats.cache_hits.values()))
"""


def test_two_processes_compile_at_once_beside_a_package_that_cannot_be_written_to(
    tmp_path: Path, child_environment: dict[str, str]
) -> None:
    site = tmp_path / "site"
    shutil.copytree(Path(knnscope.__file__).parent, site / "knnscope", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "knnscope/certified/__pycache__").write_text(
        "a file, so that no folder of this name can be made, root or not"
    )
    environment = {k: v for k, v in child_environment.items() if k != "NUMBA_CACHE_DIR"}
    environment |= {
        "PYTHONPATH": os.fspath(site),
        "HOME": os.fspath(tmp_path),
        "XDG_CACHE_HOME": os.fspath(tmp_path / "cache"),
    }

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", CODE],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    said = []
    for together in (2, 1):
        for process in [start() for _ in range(together)]:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err
            said.append(out.split())
    assert all(Path(path).is_relative_to(site) for path, _ in said)
    assert said[-1][1] == "1", "the third compiles no scan"
    assert list((tmp_path / "cache").rglob("*.nbi"))
    with (site / "knnscope/certified/certificate.py").open("a") as file:
        file.write("# another bound\n")
    changed = start()
    out, err = changed.communicate(timeout=300)
    assert out.split()[1:] == ["0"], (
        err or "code that holds a function of another file is compiled anew when that changes"
    )
    assert (site / "knnscope/certified/__pycache__").is_file()
