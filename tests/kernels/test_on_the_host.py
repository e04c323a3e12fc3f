"""A kernel without warp instructions, compiled for the host and run by its threads: what goes wrong between blocks and threads goes wrong here too."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from knnscope.kernels import sources

HOST = Path(__file__).parent / "host"
COMPILER = shutil.which("c++")
PTX = re.compile(r'asm(\s+volatile)?\s*\((?:[^;"]|"[^"]*")*\);')


@pytest.fixture(scope="module")
def fallback(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("host")
    source = sources.exact("fallback", (("CELL", 0), ("METRIC", 0)))
    (folder / "fallback.inc").write_text("#define CELL 0\n#define METRIC 0\n" + PTX.sub(";", source.code))
    program = folder / "fallback"
    options = ("-O2", "-w", "-fno-strict-aliasing", "-ffp-contract=off", "-pthread", f"-I{folder}", f"-I{HOST}")
    subprocess.run([COMPILER, *options, str(HOST / "fallback.cpp"), "-o", str(program)], check=True)
    return program


@pytest.mark.parametrize("in_turn", [False, True])
@pytest.mark.parametrize(
    "shape",
    [
        (3000, 20, 6, 4, 3, 4), (5000, 512, 5, 5, 9, 4), (4000, 300, 5, 7, 2, 36), (257, 257, 3, 2, 100, 3), (100, 1, 300, 2, 50, 4),
        (700, 5, 3, 3, 2, 1044),
    ],
)  # fmt: skip
def test_all_rows_answer_what_a_path_could_not(fallback: Path, shape: tuple[int, ...], in_turn: bool) -> None:
    """Ties and large k: lists that fill, and lists of one query beside those of the next. In turn: no block waits for one that has not begun."""
    rows, k, queries, blocks, levels, dim = shape
    for seed in range(1 if in_turn else 2):  # who waits for whom does not depend on the data
        done = subprocess.run(
            [str(fallback), *map(str, (rows, k, queries, blocks, seed, levels, dim, int(in_turn)))],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout
