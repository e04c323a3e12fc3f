"""The compiler: what it compiles computes as Python and NumPy do, and what it does not know it refuses, saying where."""

from __future__ import annotations

import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import knnscope
from knnscope.certified.cpu import loader
from knnscope.certified.cpu.compiler import kinds
from knnscope.certified.cpu.jit import compiled
from knnscope.errors import KnnscopeError

WHOLE = st.integers(-(2**31), 2**31)
FLOATS = st.floats(width=64)
SINGLES = st.floats(width=32)
THREE = 3


class Pair(NamedTuple):
    values: Any
    scale: float


def same(found: Any, expected: Any) -> bool:
    return struct.pack("<d", found) == struct.pack("<d", expected) or (math.isnan(found) and math.isnan(expected))


@compiled()
def whole(a: int, b: int, out: Any) -> None:
    out[0], out[1], out[2], out[3] = a + b, a - b, a * b, -a
    out[4], out[5] = a // b, a % b
    out[6], out[7] = a // 8, a % 8
    out[8], out[9], out[10], out[11] = a & b, a | b, a ^ b, ~a
    out[12], out[13] = a >> 3, (a & 255) << 5
    out[14], out[15], out[16] = min(a, b), max(a, b, 7), abs(a)
    out[17] = a if a > b else b
    out[18] = (a < b) + 2 * (a == b) + 4 * (-9 <= a <= b)
    out[19] = not a
    out[20] = -a // THREE


@given(WHOLE, WHOLE.filter(bool))
def test_whole_numbers(a: int, b: int) -> None:
    found, expected = np.zeros((2, 21), dtype=np.int64)
    whole(a, b, found)
    whole.py_func(a, b, expected)
    assert found.tolist() == expected.tolist()


@compiled()
def floats(a: float, b: float, out: Any) -> None:
    out[0], out[1], out[2], out[3] = a + b, a - b, a * b, -a
    out[4], out[5], out[6] = min(a, b), max(a, b), abs(a)
    out[7], out[8] = np.rint(a), np.floor(a)
    out[9] = (a < b) + 2 * (a <= b) + 4 * (a == b) + 8 * (a != b) + 16 * (not a > b) + 32 * np.isnan(a)
    out[10] = math.sqrt(abs(b))
    out[11] = np.float32(a)
    out[12] = a * 3 + 2.0**-40
    out[13] = 1 if a else 2


@given(FLOATS, FLOATS)
def test_floats_are_rounded_once_and_compared_as_python_does(a: float, b: float) -> None:
    found, expected = np.zeros((2, 14))
    floats(a, b, found)
    with np.errstate(all="ignore"):
        floats.py_func(a, b, expected)
    assert all(map(same, found, expected)), (found, expected)


@compiled()
def singles(a: Any, out: Any, wide: Any) -> None:
    out[0], out[1], out[2] = a[0] + a[1], a[0] * a[1], a[0] - a[1] * a[1]
    out[3] = abs(a[0]) if a[0] < a[1] else max(a[0], a[1])
    out[4] = np.float32(2) * a[0]
    wide[0], wide[1], wide[2] = a[0] * 2.0**-30, a[0] * np.float64(a[1]), a[0] * 3


@given(SINGLES, SINGLES)
def test_singles_stay_single_until_they_meet_a_double(a: float, b: float) -> None:
    given_ = np.array([a, b], dtype=np.float32)
    found, expected = np.zeros((2, 5), dtype=np.float32)
    wide = np.zeros(3)
    singles(given_, found, wide)
    with np.errstate(all="ignore"):
        singles.py_func(given_, expected, np.zeros(3))
        x, y = map(np.float64, given_)
        assert all(map(same, wide, (x * 2.0**-30, x * y, x * 3)))
    assert all(map(same, found, expected)), (found, expected)


@compiled()
def narrow(value: int, out: Any) -> None:
    out[0], out[1], out[2] = np.int32(value), np.uint32(value), np.int8(value)
    out[3], out[4], out[5] = np.uint8(value), np.int16(value), np.uint16(value)


@pytest.mark.parametrize("value", [0, 1, -1, 127, 128, 255, 40_000, 2**31 - 1, 2**31, -(2**31) - 1, 2**40 + 77])
def test_narrower_numbers_keep_their_lowest_bits(value: int) -> None:
    found = np.zeros(6, dtype=np.int64)
    narrow(value, found)
    types = (np.int32, np.uint32, np.int8, np.uint8, np.int16, np.uint16)
    assert found.tolist() == [int(np.array([value]).astype(one)[0]) for one in types]


@compiled()
def through(source: Any, target: Any) -> None:
    for i in range(source.shape[0]):
        target[i] = source[i]


@pytest.mark.parametrize("dtype", sorted(kinds.ITEMS))
def test_every_type_is_read_and_written(dtype: str) -> None:
    bits = np.random.default_rng(0).integers(0, 100, 40)
    source = (bits - 50 * (not dtype.startswith("u"))).astype(dtype)
    target = np.zeros_like(source)
    through(source, target)
    np.testing.assert_array_equal(target, source)
    through(source[::2], target[1::2])
    np.testing.assert_array_equal(target[1::2], source[::2])


@compiled()
def views(table: Any, out: Any, first: int, last: int) -> int:
    row, some, part = table[1], table[:, first:last], table[2, first:]
    total = 0
    for item in row:
        total += item
    for i in range(some.shape[0]):
        for j in range(some.shape[1]):
            out[i, j] = some[i, j]
    out[3, : part.shape[0]] = part
    out[4, :2] = 7
    flat = out.reshape(out.shape[0] * out.shape[1])
    bytes_ = flat.view(np.int8)
    return total + 1000 * bytes_.shape[0] + 100000 * (some.strides[0] // table.itemsize) + flat[0]


@pytest.mark.parametrize(("first", "last"), [(0, 5), (2, 4), (3, 3), (4, 2), (2, 90), (6, 9)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_views_are_those_of_numpy(first: int, last: int, order: Any) -> None:
    table = np.asarray(np.arange(15).reshape(3, 5), order=order)
    found, expected = np.zeros((2, 5, 6), dtype=np.int64)
    if order == "C":
        assert views(table, found, first, last) == views.py_func(table, expected, first, last)
    else:
        views(table, found, first, last)
        views.py_func(table, expected, first, last)
    np.testing.assert_array_equal(found, expected)


@compiled()
def _made(size: int, start: Any) -> Any:
    square = np.full((size, size), np.inf)
    square[0] = start.values
    return Pair(square, start.scale), np.arange(size)


@compiled()
def tuples(pair: Any, out: Any) -> int:
    made, order = _made(pair.values.shape[0], pair)
    (a, b), (c, _) = (1, 2), (made, order)
    for place in order:
        out[place] = c.values[0, place] * c.scale
    ones, zeros = np.ones(3, dtype=np.int32), np.zeros((2, out.shape[0]))
    return a + b + ones[2] + int(zeros[1, 0]) + (made.values[1, 0] == np.inf)


def test_tuples_go_in_and_come_out() -> None:
    pair = Pair(np.arange(4.0), 0.5)
    out = np.zeros(4)
    assert tuples(pair, out) == 5
    assert out.tolist() == [0, 0.5, 1, 1.5]


@compiled()
def loops(values: Any) -> int:
    total = 0
    for i in range(10):
        if i == 3:
            continue
        if i == 7:
            break
        total += i
    for i in range(9, 0, -2):
        total = 10 * total + i
    place = 0
    while place < values.shape[0] and values[place]:
        place += 1
    while True:
        place += 1
        if place > 100:
            return 1000 * total + place
    return 0


def test_loops_end_where_they_should() -> None:
    for values in ([1, 1, 0], [], [1]):
        array = np.array(values, dtype=np.int64)
        assert loops(array) == loops.py_func(array)


@compiled()
def guarded(values: Any, place: int) -> int:
    return values[place] if values.shape[0] and place < values.shape[0] and values[place] > 0 else -1


def test_what_is_guarded_is_not_read() -> None:
    assert guarded(np.empty(0, dtype=np.int64), 2**50) == -1
    assert [guarded(np.array([5, -5]), place) for place in (0, 1, 2**50)] == [5, -1, -1]


@compiled()
def by_type(values: Any) -> int:
    if values.dtype == np.float32:
        return 32
    if values.dtype == np.float64 and values.ndim == 1:
        return 64
    return values.nobody_has_this  # never compiled for those above


def test_what_is_asked_of_types_is_decided_when_it_is_compiled() -> None:
    assert (by_type(np.zeros(1, np.float32)), by_type(np.zeros(1))) == (32, 64)
    with pytest.raises(kinds.CompileError, match=r"by_type.*, line \d+: .* has no nobody_has_this"):
        by_type(np.zeros(1, np.int32))


@compiled()
def hungry(count: int) -> int:
    total = 0
    for i in range(count):
        total += _much(1 << (60 if i > 500 else 20))
    return total


@compiled()
def _much(items: int) -> int:
    memory = np.empty(items, dtype=np.uint8)
    memory[items - 1] = 1
    return memory[items - 1]


def test_memory_is_given_back_and_none_left_is_an_error() -> None:
    assert hungry(400) == 400
    with pytest.raises(MemoryError, match="no memory"):
        hungry(600)


@compiled()
def unknown(a: int) -> int:
    return sorted(a)  # type: ignore[call-overload]


@compiled()
def backwards(values: Any) -> int:
    return values[-1]


@compiled()
def mixed(values: Any) -> int:
    a = values.shape[0]
    a = values
    return a[0]


@compiled()
def too_soon(values: Any) -> int:
    total = loader + values.shape[0]  # type: ignore[has-type]  # noqa: F823
    loader = 1  # noqa: F841 - also the name of a module
    return total


@pytest.mark.parametrize(
    ("function", "given_", "message"),
    [
        (too_soon, np.zeros(3), "loader is read before it is assigned"),
        (unknown, 1, "sorted.* is not called here"),
        (backwards, np.zeros(3), "places count from the front"),
        (mixed, np.zeros(3), "a variable is i64 and"),
        (through, "text", "str is not computed with"),
    ],
)
def test_what_is_not_compiled_is_refused(function: Any, given_: Any, message: str) -> None:
    with pytest.raises(kinds.CompileError, match=message):
        function(given_, given_) if function is through else function(given_)


def test_without_its_text_a_function_is_not_compiled() -> None:
    scope: dict[str, Any] = {"__name__": "tests.textless"}
    exec(compile("def textless(x):\n    return x\n", "<textless>", "exec"), scope)
    with pytest.raises(KnnscopeError, match="<textless> cannot be read: certified search is compiled from its text"):
        compiled()(scope["textless"])(1)


def test_what_is_compiled_is_what_was_imported(tmp_path: Path, child_environment: dict[str, str]) -> None:
    """An update that comes while a process runs: its code would be kept as that of the version before."""
    shutil.copytree(Path(knnscope.__file__).parent, tmp_path / "knnscope", ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "from pathlib import Path\n"
        "from knnscope.certified.cpu import values\n"
        "text = Path(values.__file__).read_text()\n"
        "Path(values.__file__).write_text(text.replace('size = np.float64(digits)', 'size = 2 * np.float64(digits)'))\n"
        "print(values.__file__, values.half_of(1) / 2.0**-24)\n"
    )
    environment = {
        **child_environment,
        "PYTHONPATH": os.fspath(tmp_path),
        "NUMBA_CACHE_DIR": os.fspath(tmp_path / "kept"),
    }
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        )
        told.append(done.stdout.split())
    assert told == [[os.fspath(tmp_path / "knnscope/certified/cpu/values.py"), value] for value in ("1.0", "2.0")]


@compiled(apart=True)
def shared(values: Any, times: int) -> float:
    total = 0.0
    for value in values:
        total += value
    return total * times


@compiled()
def calling(values: Any) -> float:
    return shared(values, 2) + shared(values, 3)


def test_what_compiled_code_called_first_python_calls_too() -> None:
    values = np.array([1.0, 2.5])
    assert calling(values) == 17.5
    assert shared(values, 4) == 14.0
    single = values.astype(np.float32)
    assert shared(single, 4) == 14.0
    assert calling(single) == 17.5, "and the other way round"


@compiled()
def branches(values: Any, count: int, out: Any) -> None:
    """Names that get a value once, some where not everybody comes from."""
    if count > 1:
        first = values[0]
        out[0] = first
    for i in range(count):
        item = values[i]
        if item > 2:
            last = item
            out[1] = last
    size = 3
    while size > count:
        out[2] += item + size
        size -= 1
    a, b = values[0], values[1]
    out[3], out[4] = b, a
    values[0], values[1] = b, a
    out[5], out[6] = a, i


def test_names_that_get_a_value_once_keep_it() -> None:
    for count in (1, 2, 3):
        found, expected = np.zeros((2, 7))
        for function, out in ((branches, found), (branches.py_func, expected)):
            function(np.array([1.0, 5.0, 4.0]), count, out)
        assert found.tolist() == expected.tolist()
