"""Reads of rows that stay in a file: at any places, short ones, interrupted ones, and those of a disk that fails."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from knnscope.certified import row_file
from knnscope.errors import KnnscopeError
from tests.certified.test_row_file import RANDOM, falling, saved


def test_rows_are_read_at_any_places(tmp_path: Path) -> None:
    rows = falling(500)
    filed = row_file.opened(saved(tmp_path, rows))
    places = RANDOM(0).integers(0, 500, 200)
    np.testing.assert_array_equal(row_file.some(filed, places), rows[places])
    np.testing.assert_array_equal(row_file.some(filed, slice(3, 2000, 7)), rows[3::7])
    np.testing.assert_array_equal(row_file.piece(filed, 490, 900), rows[490:])
    assert row_file.file_of(filed[1:]) is None, "what is made of rows is not all of them"
    file = row_file.file_of(filed)
    assert file is not None
    with pytest.raises(KnnscopeError, match="has become shorter"):
        file.read(499, 501, filed)


BY_BITS = """
import ctypes, errno, os, sys
import numpy as np
from knnscope import ExactIndex
from knnscope.certified.cpu import loader

calls = []


@ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, use_errno=True)
def pread(handle, to, size, place):
    calls.append(size)
    if len(calls) % 3 == 0:
        ctypes.set_errno(int(sys.argv[2]))
        return -1
    some = os.pread(handle, min(size, 1 + len(calls) % 50), place)
    ctypes.memmove(to, some, len(some))
    return len(some)


loader.addresses["pread"] = ctypes.cast(pread, ctypes.c_void_p).value
rows = np.load(sys.argv[1])
index = ExactIndex.build(sys.argv[1], memory=int(sys.argv[3]))
for count in (1, 20):
    found, expected = index.search(rows[:count] + 0.01, 3), ExactIndex(rows).search(rows[:count] + 0.01, 3)
    assert (found.ids == expected.ids).all() and (found.distances == expected.distances).all()
assert len(calls) > 100
print("same")
"""


@pytest.mark.parametrize("reason", [errno.EINTR, errno.EIO], ids=["interrupted", "faulty"])
def test_reads_that_come_short_or_are_interrupted_go_on(
    tmp_path: Path, reason: int, child_environment: dict[str, str]
) -> None:
    """As network file systems answer. A disk that fails is an error."""
    path, rows = tmp_path / "rows.npy", np.random.default_rng(0).standard_normal((5000, 48)).astype(np.float32)
    np.save(path, rows)
    argv = [sys.executable, "-c", BY_BITS, str(path), str(reason), str(2 << 20)]
    done = subprocess.run(argv, env=child_environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == ("same\n" if reason == errno.EINTR else ""), done.stderr
    if reason != errno.EINTR:
        assert f"KnnscopeError: {path}: rows cannot be read" in done.stderr
