"""Arrays that a thread uses again."""

from __future__ import annotations

import threading

import numpy as np

from knnscope.certified import scratch


def test_arrays_do_not_overlap_and_are_used_again() -> None:
    one = scratch.state("a", (2, 3), 4, 5)
    assert [x.shape for x in one] == [(2, 3, 4), (2, 3, 5), (2, 3, 5), (2, 3)]
    for number, array in enumerate(one):
        array[:] = number
    assert all((array == number).all() for number, array in enumerate(one))
    assert scratch.state("a", (2, 3), 4, 5) is one
    less = scratch.state("a", (3,), 4, 5)
    assert np.shares_memory(less.heaps, one.heaps)
    assert not np.shares_memory(scratch.state("b", (3,), 4, 5).heaps, one.heaps)


def test_each_thread_has_its_own() -> None:
    mine, theirs = scratch.state("a", (8,), 3, 9), []
    thread = threading.Thread(target=lambda: theirs.append(scratch.state("a", (8,), 3, 9)))
    thread.start()
    thread.join()
    assert not any(np.shares_memory(a, b) for a, b in zip(mine, theirs[0], strict=True))


def test_much_is_given_back() -> None:
    room = scratch.KEPT_BYTES // 16
    much = scratch.state("a", (2,), 1, room)
    assert scratch.state("a", (2,), 1, room) is not much
