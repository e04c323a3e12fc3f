"""Products by one thread for a moment, and as many threads as before afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from knnscope.certified.cpu import blas


def test_threads_are_as_many_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    known, said = [3], list[int]()

    def put(count: int) -> None:
        known[0] = count
        said.append(count)

    monkeypatch.setattr(blas, "_threads", lambda: (lambda: known[0], put))
    with blas.one_thread():
        assert known == [1]
    with pytest.raises(ZeroDivisionError), blas.one_thread():
        raise ZeroDivisionError
    assert (known, said) == ([3], [1, 3, 1, 3])


def test_numpys_own_library_is_told() -> None:
    assert np.ones((2, 2)) @ np.ones(2) is not None
    found = blas._threads()
    if found is None:
        pytest.skip("NumPy has another library of products")
    get, put = found
    before = get()
    put(2)
    try:
        with blas.one_thread():
            assert get() == 1
        assert get() == 2
    finally:
        put(before)


def test_another_library_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "LIBRARY", blas.re.compile("no such library"))
    blas._threads.cache_clear()
    try:
        with blas.one_thread():
            assert blas._threads() is None
    finally:
        blas._threads.cache_clear()
