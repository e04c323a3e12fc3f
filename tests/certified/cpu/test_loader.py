"""Compiled code on its way: arrays as it reads them, object files as the loader and LLVM load them, units after those that they call."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope.certified.cpu import jit, loader, object_code
from knnscope.certified.cpu.compiler import kinds, machine
from knnscope.certified.cpu.compiler.unit import Unit
from knnscope.certified.cpu.jit import HEAD, compiled
from knnscope.errors import KnnscopeError
from tests.certified.cpu.test_compiler import floats


def test_arrays_are_read_where_numpy_has_them() -> None:
    for array in (np.zeros((3, 5)), np.zeros((4, 6), np.int8).T, np.zeros(7)[::-2], np.zeros((2, 0, 3))):
        assert array.ctypes.data == _word(id(array) + HEAD)
        for place, sizes in ((2, array.shape), (3, array.strides)):
            base = _word(id(array) + HEAD + 8 * place)
            assert tuple(_word(base + 8 * i) for i in range(array.ndim)) == sizes


def test_arrays_that_lie_otherwise_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "HEAD", 0)
    jit._check_layout.cache_clear()
    with pytest.raises(KnnscopeError, match=r"keeps arrays otherwise than compiled code reads them"):
        jit._check_layout()
    monkeypatch.undo()
    jit._check_layout()


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def code_of(function: Any, *given_: Any) -> bytes:
    unit = Unit("computed", lambda *_: None)
    unit.entry(function, [kinds.kind_of(one) for one in given_], HEAD)
    return machine.compiled(unit.module)


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Of what is loaded in a test."""
    found: dict[str, int] = {}
    monkeypatch.setattr(loader, "addresses", found)
    return found


def test_the_loader_and_llvm_load_the_same(addresses: dict[str, int]) -> None:
    out = np.zeros(14)
    code = code_of(floats, 1.0, 2.0, out)
    by_llvm: dict[str, int] = {}
    assert loader.load(code)
    machine.load(code, by_llvm, "computed")
    answers = []
    for address in (addresses["computed"], by_llvm["computed"]):
        ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p)(address)(struct.pack("ddq", 1.25, -2.5, id(out)))
        answers.append(out.tobytes())
        out[:] = 0
    assert answers[0] == answers[1] != out.tobytes()
    assert addresses != by_llvm


def test_what_the_loader_does_not_know_it_leaves_to_llvm(addresses: dict[str, int]) -> None:
    code = code_of(floats, 1.0, 2.0, np.zeros(14))
    other = bytearray(code)
    other[18] = 183  # a processor of Arm's
    for damaged in (b"", code[:60], b"\x7fELF" + bytes(100), bytes(other), code[: len(code) // 2]):
        assert not loader.load(damaged)
    assert not addresses
    assert loader.load(code)
    assert list(addresses) == ["computed"]


@compiled(apart=True)
def _doubled(values: Any) -> int:
    memory = np.empty(values.shape[0], dtype=np.int64)
    for i in range(values.shape[0]):
        memory[i] = 2 * values[i]
    return memory[0] + memory[1]


def doubled_and_more() -> Any:
    """A function that calls another unit, which this process has not loaded."""

    def more(values: Any) -> int:
        return _doubled(values) + 1

    for symbol in [
        name
        for name in object_code.loaded
        if "doubled" in object_code.loaded[name].file or "more" in object_code.loaded[name].file
    ]:
        del object_code.loaded[symbol]
    return compiled()(more)


def test_a_unit_is_loaded_after_those_that_it_calls(folder: Path) -> None:
    values = np.array([3, 4])

    def made() -> tuple[int, int, list[str]]:
        function, before = doubled_and_more(), _doubled.from_disk
        assert function(values) == 15
        return (
            function.from_disk,
            _doubled.from_disk - before,
            sorted(n for n in os.listdir(folder) if n.endswith(".code")),
        )

    found, _, names = made()
    assert (found, len(names)) == (0, 2)
    assert made() == (1, 0, names), "the unit that calls brings the other"
    (called,) = [name for name in names if name.startswith("_doubled")]
    (folder / called).write_bytes(b"damaged")
    assert made() == (0, 0, names), "where that is damaged, both are compiled"
    assert made() == (1, 0, names)


def test_who_finds_all_compiled_goes_without_llvm() -> None:
    code = (
        "import sys, numpy as np, knnscope\n"
        "rows = np.random.default_rng(0).standard_normal((300, 20)).astype(np.float32)\n"
        "index = knnscope.ExactIndex(rows, threads=1)\n"
        "for queries in (rows[:1], rows[:3]): index.search(queries, 3); index.search(queries, 3, threads=1)\n"
        "print(*[name for name in sys.modules if name.startswith(('llvmlite', 'numba'))])\n"
    )
    found = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert found[1].stdout == "\n", "the first may have compiled"
