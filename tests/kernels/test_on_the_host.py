"""Kernels compiled for the host and run by its threads: what goes wrong between blocks and threads, or in the layout of codes, goes wrong here too."""

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


HOSTS_OWN = re.compile(r"(?<=void )multiply(?=\()|(?<=uint4 )stream(?=\()|(?<=void )prefetch(?=\()")
"""What is an instruction on a GPU, and a function of the host's own here."""
DYNAMIC = re.compile(r"extern __shared__(.*)\[\];")
SPACE = 1 << 16


def built(folder: Path, name: str, source: sources.Source) -> Path:
    """A program of host/NAME.cpp and a source.

    Raises:
        subprocess.CalledProcessError: it does not compile.
    """
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    macros = "".join(f"#define {macro} {value}\n" for macro, value in source.macros)
    code = DYNAMIC.sub(rf"static \1[{SPACE}];", HOSTS_OWN.sub("of_a_gpu", PTX.sub(";", source.code)))
    (folder / f"{name}.inc").write_text(macros + code)
    program = folder / name
    options = (
        "-std=c++17",
        "-O2",
        "-w",
        "-fno-strict-aliasing",
        "-ffp-contract=off",
        "-pthread",
        f"-I{folder}",
        f"-I{HOST}",
    )
    subprocess.run([COMPILER, *options, str(HOST / f"{name}.cpp"), "-o", str(program)], check=True)
    return program


def run(program: Path, *given: int) -> None:
    done = subprocess.run([str(program), *map(str, given)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def fallback(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = sources.exact("fallback", (("CELL", 0), ("METRIC", 0)))
    return built(tmp_path_factory.mktemp("host"), "fallback", source)


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
    for seed in range(2):
        run(fallback, rows, k, queries, blocks, seed, levels, dim, int(in_turn))


@pytest.mark.parametrize(("width", "shapes"), [
    (384, ((300, 16, 1), (1000, 5, 2))), (384, ((700, 19, 2),)), (128, ((500, 3, 1),)), (512, ((400, 32, 2),)), (768, ((260, 16, 3),)),
])  # fmt: skip
def test_fragments_are_loaded_as_codes_lie(
    tmp_path: Path, width: int, shapes: tuple[tuple[int, int, int], ...]
) -> None:
    """Rows, queries and blocks: products, groups and hits of exact_few.cu are those of the components in their own order."""
    macros = sources.few_macros(width, shapes[0][1])
    assert macros
    source = sources.exact(
        "few", (("CELL", 0), ("METRIC", 0), ("FULL", width), ("WIDTH", width), ("LEADING", 0), *macros)
    )
    program = built(tmp_path, "few", source)
    for rows, queries, blocks in shapes:
        run(program, rows, queries, blocks, 1)


@pytest.mark.parametrize(
    ("metric", "full", "wide"),
    [(2, 128, 0), pytest.param(0, 256, 1, marks=pytest.mark.slow), pytest.param(1, 128, 1, marks=pytest.mark.slow)],
)
def test_few_queries_are_written_as_many_are(tmp_path: Path, metric: int, full: int, wide: int) -> None:
    """The last block of eight queries finds what all others have written."""
    source = sources.exact("queries", (("CELL", 0), ("METRIC", metric), ("FULL", full), ("WIDTH", 128)))
    run(built(tmp_path, "queries", source), 11, full - 6, wide, 1)
