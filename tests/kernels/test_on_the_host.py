"""Kernels without shuffles, compiled for the host and run by its threads: what goes wrong between blocks and threads goes wrong here too."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from knnscope.kernels import sources

HOST = Path(__file__).parent / "host"
COMPILER = shutil.which("c++")
PTX = re.compile(r'asm(\s+volatile)?\s*\((?:[^;"]|"[^"]*")*\);')
SHARED = re.compile(r"extern __shared__ uint4 (\w+)\[\];")
KINDS = {"float32": (0, 0, 128), "bfloat16, cosine": (2, 2, 64), "float64": (3, 0, 256), "uint8, ip": (5, 1, 64)}
"""CELL, METRIC and WIDE."""
FULL = {"together": 4, "held": 512, "stages": 3, "masked": 1, "offset": 0}


class Programs:
    """all_rows.cpp, built for a kernel and a kind when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._built = folder, dict[tuple[str, str], Path]()

    def __call__(self, part: str, kind: str, *arguments: int, **more: int) -> None:
        """Run it; the arguments are those of all_rows.cpp, as far as ``late``."""
        program = self._built.get((part, kind)) or self._build(part, kind)
        given = map(str, (*arguments, *(FULL | more).values()))
        done = subprocess.run([str(program), *given], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (part, kind, arguments, more, done.returncode, done.stdout)

    def _build(self, part: str, kind: str) -> Path:
        folder = self._folder / f"{part}-{len(self._built)}"
        folder.mkdir()
        macros = dict(zip(("CELL", "METRIC", "WIDE"), KINDS[kind], strict=True)) | {"DIRECT": int(part == "direct")}
        source = sources.exact(part, tuple(macros.items()))
        code = replace(source, before=tuple(name for name in source.before if name != "copies.cuh")).code
        code = SHARED.sub(r"alignas(16) static uint4 \1[SHARED_BYTES / 16];", PTX.sub(";", code))
        (folder / "kernel.inc").write_text(
            "".join(f"#define {name} {value}\n" for name, value in macros.items()) + code
        )
        program = folder / "program"
        options = ("-std=c++17", "-O1", "-w", "-fno-strict-aliasing", "-ffp-contract=off")
        paths = (f"-I{folder}", f"-I{HOST}", str(HOST / "all_rows.cpp"), "-o", str(program))
        subprocess.run([str(COMPILER), *options, *paths], check=True)
        self._built[part, kind] = program
        return program


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    return Programs(tmp_path_factory.mktemp("host"))


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize(
    "shape",
    [
        (3000, 20, 6, 4, 3, 4), (2000, 512, 5, 5, 9, 4), (1500, 300, 5, 7, 2, 36), (257, 257, 3, 2, 100, 3), (100, 1, 300, 2, 50, 4),
        (300, 5, 3, 3, 2, 1044),
    ],
)  # fmt: skip
def test_all_rows_answer_what_a_path_could_not(run: Programs, shape: tuple[int, ...], late: int) -> None:
    """Ties and large k: lists that fill, and lists of one query beside those of the next. In turn: no block waits for one that has not begun."""
    rows, k, queries, blocks, levels, dim = shape
    for in_turn, together in ((0, 4), (1, 4), (late, 1)):
        run("fallback", "float32", rows, k, queries, blocks, in_turn, levels, dim, in_turn, late, together=together)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_wherever_they_begin(run: Programs, kind: str) -> None:
    """Whole tiles and parts of one, components held in several turns, two tiles or five on their way, masks, rows that begin anywhere."""
    for seed, (dim, offset) in enumerate(((48, 0), (160, 1), (37, 0), (320, 0), (531, 0))):
        run(
            ("fallback", "direct")[(seed + list(KINDS).index(kind)) % 2], kind, 290, 9, 5, 2, seed, 5, dim, 0, seed % 2,
            held=512 if seed % 3 else 256, stages=2 + 3 * (seed % 2) * (kind != "float64"), masked=1 + 2 * (seed in (1, 4)), offset=offset,
        )  # fmt: skip


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1, 2, 8), (257, 257, 3, 2, 100, 3), (2000, 512, 6, 4, 4, 20), (600, 10, 17, 1, 3, 5)]
)
def test_blocks_of_the_same_queries_answer_together(run: Programs, shape: tuple[int, ...]) -> None:
    rows, k, queries, blocks, levels, dim = shape
    for seed, together in ((0, 4), (1, 1)):
        run("direct", "float32", rows, k, queries, blocks, seed, levels, dim, seed, seed, together=together)
