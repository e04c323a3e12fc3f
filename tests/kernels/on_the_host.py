"""Programs of tests/kernels/host: kernels compiled for the host, which run on its threads."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from knnscope.kernels import sources
from knnscope.store import locked, make_folder
from tests.conftest import KEPT

HOST = Path(__file__).parent / "host"
COMPILER = shutil.which("c++")
PTX = re.compile(r'asm(\s+volatile)?\s*\((?:[^;"]|"[^"]*")*\);')
HOSTS_OWN = re.compile(
    r"(void|float|u16|u64|uint2|uint4|ulonglong2) (multiply|multiply_unsigned|stream|load_four|load_here|from_half|half_(?:up|down|near)"
    r"|inverse_about|(?:tell|look)(?=\((?:const )?(?:u64|ulonglong2)\*)|(?:wait|arrive)_at|(?:wait|arrive)_at_pair)(?=\()"
)
"""What is an instruction on a GPU, and a function of the host's own here; so is all of some files."""
HOSTS_FILES = ("copies.cuh", "warpgroups.cuh")
CHANGEABLE = re.compile(r"constexpr(?= u32 PATIENCE)")
"""Numbers that a program may set."""
DYNAMIC = re.compile(r"extern __shared__ (?:__align__\(\d+\) )?(\w+) (\w+)\[\];")
OPTIONS = ("-std=c++17", "-Og", "-w", "-fno-strict-aliasing", "-ffp-contract=off", "-U_FORTIFY_SOURCE")
"""Threads jump from stack to stack, which a fortified longjmp takes for an error."""


@cache
def surroundings() -> bytes:
    """All that decides a program beside its source: the compiler, its options, the host's files, and what stands here."""
    assert COMPILER is not None
    version = subprocess.run([COMPILER, "--version"], capture_output=True, check=True).stdout
    files = (path.read_bytes() for path in (Path(__file__), *sorted(HOST.iterdir())) if path.is_file())
    return b"\0".join((version, repr(OPTIONS).encode(), *files))


def standard_library() -> Path:
    """host/standard.h, compiled once for all programs: read by each, it would be half of its compiling."""
    kept = make_folder(KEPT / "host") / f"standard-{hashlib.sha256(surroundings()).hexdigest()}"
    with locked(kept.with_suffix(".lock")):  # the others wait for the first
        if not kept.exists():
            with TemporaryDirectory(dir=kept.parent) as folder:
                made = shutil.copy(HOST / "standard.h", make_folder(Path(folder) / "made"))
                subprocess.run([COMPILER, *OPTIONS, "-x", "c++-header", made, "-o", f"{made}.gch"], check=True)
                Path(made).parent.rename(kept)
    return kept / "standard.h"


def for_the_host(source: sources.Source) -> str:
    """Its code, without instructions of a GPU."""
    macros = "".join(f"#define {macro} {value}\n" for macro, value in source.macros)
    source = replace(source, before=tuple(file for file in source.before if file not in HOSTS_FILES))
    code = CHANGEABLE.sub("static", HOSTS_OWN.sub(r"\1 of_a_gpu_\2", PTX.sub(";", source.code)))
    return macros + DYNAMIC.sub(r"\1* const \2 = reinterpret_cast<\1*>(shared_memory);", code)


def built(folder: Path, name: str, source: sources.Source, **beside: sources.Source) -> Path:
    """A program of host/NAME.cpp and a source; one that was built of the same words before is kept.

    Args:
        folder: to compile in.
        name: of the program.
        source: which it includes as kernel.inc.
        beside: others, by the names that it includes them by.

    Raises:
        subprocess.CalledProcessError: it does not compile.
    """
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    included = {included_as: for_the_host(one) for included_as, one in {"kernel": source, **beside}.items()}
    made_of = hashlib.sha256(b"\0".join((surroundings(), name.encode(), *map(str.encode, included.values()))))
    program = make_folder(KEPT / "host") / f"{name}-{made_of.hexdigest()}"
    if not program.exists():
        for included_as, code in included.items():
            (folder / f"{included_as}.inc").write_text(code)
        made = program.with_name(f"{name}-{os.getpid()}.part")
        paths = (
            "-include",
            str(standard_library()),
            f"-I{folder}",
            f"-I{HOST}",
            str(HOST / f"{name}.cpp"),
            "-o",
            str(made),
        )
        subprocess.run([COMPILER, *OPTIONS, *paths], check=True)
        made.replace(program)
    return program


def run(program: Path, *given: int | str) -> str:
    """Run it; 0 is its word that all is right. What it prints."""
    done = subprocess.run([str(program), *map(str, given)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (program, given, done.returncode, done.stdout, done.stderr)
    return done.stdout
