"""Programs: laid out once, run with other arrays each time; nothing that was filled in before is read again, and nothing laid out goes before them."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from knnscope.certified.cpu import board
from knnscope.certified.cpu.jit import compiled
from knnscope.certified.cpu.kept import KEPT, Kept
from knnscope.certified.cpu.programs import Program, steps_of
from knnscope.certified.cpu.workers import Workers


@compiled()
def add_up(fixed: Any, given: Any, out: Any, some: tuple[int, int]) -> None:
    """Sums of some places."""
    for i in range(some[0], some[1]):
        out[i] = fixed[i] + given[i]


@compiled()
def total_of(out: Any, least: int) -> int:
    """The sum of all; negative where it is too little."""
    total = 0
    for i in range(out.shape[0]):
        total += out[i]
    return total if total >= least else -7


def sums(fixed: Any, threads: int, least: int = 0) -> Program:
    """Two arrays are added in three parts, then their sum is taken twice."""
    given, out = np.full(9, 1 << 40), np.full(9, 1 << 40)  # whoever reads these is wrong
    parts = [((first, first + 3),) for first in (0, 3, 6)]
    steps = steps_of((fixed, given, out), ((add_up, parts),)) + steps_of((out,), ((total_of, [(least,)]),))
    return Program(steps, threads, (given, out))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("how", ["board", "no board", "board in use"])
def test_a_program_runs_with_the_arrays_of_each_time(threads: int, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workers, fixed = Workers(threads), np.arange(9)
    if how == "no board":
        monkeypatch.setattr(board, "FUTEX", 0)
    elif how == "board in use":
        workers._crew().helpers()._free.acquire()
    program = sums(fixed, threads)
    for turn in range(50):
        given, out = np.full(9, turn), np.zeros(9, dtype=np.int64)
        assert workers.run(program, given, out) == 36 + 9 * turn
        np.testing.assert_array_equal(out, fixed + turn)
        del given, out  # their memory is the next ones', or nobody's


def test_what_was_laid_out_lives_as_long_as_the_program() -> None:
    class Seen(np.ndarray[Any, Any]):
        """An array that can be watched."""

    fixed: Any = np.arange(9).view(Seen)
    gone = weakref.ref(fixed)
    program = sums(fixed, 2)
    del fixed
    gc.collect()
    assert gone() is not None
    assert Workers(2).run(program, np.zeros(9, dtype=np.int64), np.zeros(9, dtype=np.int64)) == 36
    del program
    gc.collect()
    assert gone() is None, "and no longer"


@pytest.mark.parametrize("threads", [1, 3])
def test_after_a_negative_answer_nothing_more_begins(threads: int) -> None:
    out, seen = np.zeros(9, dtype=np.int64), np.zeros(9, dtype=np.int64)
    steps = steps_of((out,), ((total_of, [(1,)]),)) + steps_of((out, out, seen), ((add_up, [((0, 9),)]),))
    assert Workers(threads).run(Program(steps, threads)) == -7
    out[:] = 1
    assert not seen.any()
    Workers(threads).run(Program(steps, threads))
    assert (seen == 2).all()


class Sized:
    """Something to keep."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes


def test_what_is_kept_is_had_by_one_and_is_what_was_used_last() -> None:
    kept, made = Kept[Sized](10), [Sized(10) for _ in range(KEPT + 3)]
    for number, one in enumerate(made):
        kept.give_back(number, one)
        if number:
            assert kept.take(0, lambda: Sized(0)) is made[0]
            assert kept.find(0) is None
            kept.give_back(0, made[0])
    assert [kept.find(number) for number in range(len(made))].count(None) == len(made) - KEPT
    kept.give_back("large", Sized(11))
    assert kept.find("large") is None


def test_threads_never_have_the_same_one() -> None:
    kept, wrong, busy = Kept[Sized](10), list[int](), set[int]()

    def use() -> None:
        for turn in range(3000):
            one = kept.take(turn % 6, lambda: Sized(1))
            if id(one) in busy:
                wrong.append(turn)
            busy.add(id(one))
            busy.discard(id(one))
            kept.give_back(turn % 6, one)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
