"""AVX-512 VNNI and AMX on a processor that lacks them: the same code, but that what multiplies whole numbers is done by what it has.

As a plug-in of pytest (``-p tests.certified.cpu.emulated``) every test of this process has them; AMX is then the fastest, so what names none takes it.
Nothing is said of speed, and processes that tests start go without.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from knnscope.certified.cpu import dispatch, loader, products
from knnscope.certified.cpu.compiler import machine

TILES = Path(__file__).with_name("tiles.c")
OF_TILES = ("ldtilecfg", "tilerelease", "tilezero", "tileloadd64", "tdpbssd", "tilestored64")
PREFIX = "emulated_"
DECLARED = re.compile(r'^declare (?P<gives>.*) @"llvm\.x86\.(?P<name>avx512\.\S+)"\((?P<given>.*)\)$', re.MULTILINE)
LANES = {"avx512.vpdpbusd.512": (4, "zext", "sext"), "avx512.pmaddw.d.512": (2, "sext", "sext")}
"""Products that are added up to one sum of 32 bits, and how their two factors are made as wide."""


def summed(name: str, gives: str, given: str) -> str:
    """LLVM's instructions of a product of AVX-512, as Intel's manual defines it: sums are of 32 bits and wrap.

    Args:
        name: its intrinsic, without ``llvm.x86.``.
        gives: type of its sums.
        given: types of its arguments: sums to begin with, where it has them, and two factors.
    """
    (each, first, second), bits = LANES[name], {"avx512.vpdpbusd.512": 8, "avx512.pmaddw.d.512": 16}[name]
    types = given.split(", ") if "," not in given.split(">")[0] else [f"{one}>" for one in given.split(">")[:-1]]
    types = [one.strip(", ") for one in types]
    count = 16 * each
    lines = [
        f'define internal {gives} @"llvm_x86_{name}"({", ".join(f"{one} %g{i}" for i, one in enumerate(types))}) alwaysinline {{'
    ]
    for factor, how in zip(range(len(types) - 2, len(types)), (first, second), strict=True):
        lines += [
            f"%b{factor} = bitcast {types[factor]} %g{factor} to <{count} x i{bits}>",
            f"%w{factor} = {how} <{count} x i{bits}> %b{factor} to <{count} x i32>",
        ]
    lines.append(f"%p = mul <{count} x i32> %w{len(types) - 2}, %w{len(types) - 1}")
    total = "%g0" if len(types) == 3 else "zeroinitializer"
    for lane in range(each):
        places = ", ".join(f"i32 {place}" for place in range(lane, count, each))
        lines.append(f"%l{lane} = shufflevector <{count} x i32> %p, <{count} x i32> undef, <16 x i32> <{places}>")
        lines.append(f"%s{lane} = add <16 x i32> {total}, %l{lane}")
        total = f"%s{lane}"
    return "\n".join([*lines, f"ret {gives} {total}", "}"])


class Emulated:
    """A unit's instructions, without those that this processor lacks."""

    def __init__(self, module: Any) -> None:
        object.__setattr__(self, "_module", module)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._module, name, value)

    def __str__(self) -> str:
        text = str(self._module)
        text = DECLARED.sub(lambda of: summed(of["name"], of["gives"], of["given"]), text)
        for name in LANES:
            text = text.replace(f'@"llvm.x86.{name}"', f'@"llvm_x86_{name}"')
        for name in OF_TILES:
            text = text.replace(f'@"llvm.x86.{name}"', f'@"{PREFIX}{name}"')
        return text


def tiles_of(folder: Path) -> dict[str, int]:
    """Addresses of functions for tiles, by name; they stay in memory.

    Raises:
        subprocess.CalledProcessError: tiles.c does not compile.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = folder / "tiles.so"
    subprocess.run(
        [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", str(TILES), "-o", str(library)], check=True
    )
    loaded = ctypes.CDLL(str(library))
    return {PREFIX + name: ctypes.cast(getattr(loaded, PREFIX + name), ctypes.c_void_p).value or 0 for name in OF_TILES}


@contextmanager
def emulated(folder: Path, *isas: str) -> Iterator[None]:
    """These instruction sets are there, the first ones before this processor's own; compiled code is kept in a folder of its own."""
    compiled, own = machine.compiled, dispatch.available()
    lacking = tuple(isa for isa in isas if isa not in own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", os.fspath(folder / "compiled"))
        patch.setattr(machine, "compiled", lambda module, *more: compiled(Emulated(module), *more))
        patch.setattr(dispatch, "available", lambda: lacking + own)
        patch.setattr(products, "amx_permitted", lambda: True)
        if "amx" in lacking:
            loader.addresses.update(tiles_of(folder))
        yield


def pytest_configure(config: pytest.Config) -> None:
    """For all tests of this process."""
    folder = TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    patch = emulated(Path(folder.name), "amx", "vnni")
    patch.__enter__()
    config.add_cleanup(lambda: patch.__exit__(None, None, None))
