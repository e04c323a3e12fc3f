"""The limit that a damaged file's claims are held to goes again, however many threads read."""

from __future__ import annotations

import os
import resource
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from knnscope.datasets import vector_files
from knnscope.datasets.address_space import grows_by
from tests.datasets.vector_writers import make

ROOM = 1 << 40


def limit() -> int:
    return resource.getrlimit(resource.RLIMIT_AS)[0]


@pytest.fixture
def before() -> Iterator[int]:
    """The limit, which a failed test does not leave behind."""
    found = resource.getrlimit(resource.RLIMIT_AS)
    yield found[0]
    resource.setrlimit(resource.RLIMIT_AS, found)


def test_threads_that_read_leave_no_limit_behind(tmp_path: Path, before: int) -> None:
    path, values = make(tmp_path, "list.arrow")
    failed: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(40):
                np.testing.assert_array_equal(vector_files.load(str(path)).documents.values, values)
        except BaseException as error:
            failed.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failed
    assert limit() == before


@pytest.mark.parametrize(("first", "second"), [(ROOM, 2 * ROOM), (2 * ROOM, ROOM)])
def test_the_last_one_out_restores_what_the_first_found(before: int, first: int, second: int) -> None:
    """The first one goes first: so threads do whose files differ."""
    one, other = grows_by(first), grows_by(second)
    with one:
        assert limit() != before
        other.__enter__()
        both = limit()
        assert 2 * ROOM <= both < 3 * ROOM, "each has its room"
        with grows_by(ROOM):
            assert limit() == both, "a third one takes no room of the others"
    assert limit() == both, "another one is still inside"
    other.__exit__(None, None, None)
    assert limit() == before


def test_an_error_inside_restores_it_too(before: int) -> None:
    with pytest.raises(MemoryError), grows_by(ROOM):
        raise MemoryError
    assert limit() == before


def test_a_lower_limit_stays(before: int) -> None:
    lower = 1 << 42
    resource.setrlimit(resource.RLIMIT_AS, (lower, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with grows_by(1 << 44):
        assert limit() == lower
    assert limit() == lower


def test_a_forked_process_is_not_held(before: int) -> None:
    """Another thread was inside when it was forked: there is no such thread in it."""
    with grows_by(ROOM):
        child = os.fork()
        if not child:
            os._exit(0 if limit() == before else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert limit() == before
