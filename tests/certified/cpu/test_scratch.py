"""Arrays that a thread uses again."""

from __future__ import annotations

import threading

import numpy as np

from knnscope.certified.cpu import scratch


def test_arrays_do_not_overlap_and_are_used_again() -> None:
    borrowed = scratch.borrow("a", (2, 3), 4, 5)
    one = borrowed.state
    assert [x.shape for x in one] == [(2, 3, 4), (2, 3, 5), (2, 3, 5), (2, 3)]
    for number, array in enumerate(one):
        array[:] = number
    assert all((array == number).all() for number, array in enumerate(one))
    scratch.give_back("a", borrowed)
    assert scratch.borrow("a", (2, 3), 4, 5) is borrowed
    scratch.give_back("a", borrowed)
    less = scratch.borrow("a", (3,), 4, 5).state
    assert np.shares_memory(less.heaps, one.heaps)
    assert not np.shares_memory(scratch.borrow("b", (3,), 4, 5).state.heaps, one.heaps)


def test_what_is_borrowed_is_nobody_elses() -> None:
    """A search in a signal handler asks while the one that it interrupted still writes; one that was stopped never gives back."""
    held = [scratch.borrow("a", (8,), 3, 9).state for _ in range(3)]
    assert not any(np.shares_memory(a, b) for a in held[0] for b in (*held[1], *held[2]))


def test_each_thread_has_its_own() -> None:
    mine, theirs = scratch.borrow("a", (8,), 3, 9), []
    scratch.give_back("a", mine)
    thread = threading.Thread(target=lambda: theirs.append(scratch.borrow("a", (8,), 3, 9)))
    thread.start()
    thread.join()
    assert not any(np.shares_memory(a, b) for a, b in zip(mine.state, theirs[0].state, strict=True))


def test_much_is_given_back_to_the_system() -> None:
    room = scratch.KEPT_BYTES // 16
    much = scratch.borrow("a", (2,), 1, room)
    scratch.give_back("a", much)
    assert scratch.borrow("a", (2,), 1, room) is not much
