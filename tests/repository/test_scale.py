"""The model of docs/scale.md is held to what was measured, and is a model of what it says."""

from __future__ import annotations

import math

import pytest

from benchmarks.scale_model import (
    OFF,
    Check,
    Gpu,
    Machine,
    Work,
    brought,
    checks,
    fits,
    hours,
    least,
    link_checks,
    money,
    one_query,
    rates,
    terms,
)
from benchmarks.scale_page import duration

CHECKS = list(checks())


@pytest.mark.parametrize("one", CHECKS, ids=lambda one: f"{one.term}: {one.what}")
def test_a_term_is_within_a_quarter_of_what_was_measured(one: Check) -> None:
    assert abs(one.off) <= OFF


def test_every_term_is_held_to_something() -> None:
    assert {one.term for one in CHECKS} == {
        "build", "memory", "one query", "batch", "survivors", "tasks", "merging", "network", *(one.term for one in link_checks()),
    }  # fmt: skip


def test_what_a_gpu_does_not_hold_comes_for_each_batch() -> None:
    assert brought(1e8, 384, Gpu(memory=1e8 * 396)) == 0
    assert brought(1e8, 384, Gpu(memory=1e8 * 12 + 8.4e9)) == pytest.approx(30e9)
    assert brought(1e8, 384, Gpu(memory=0)) == 1e8 * 384


def test_more_machines_share_the_rows_and_ask_more_of_the_client() -> None:
    work, machine = Work(1e9, 384), Machine()
    few, many = terms(work, machine, 16), terms(work, machine, 64)
    assert few.reading == pytest.approx(4 * many.reading)
    assert few.survivors == many.survivors
    assert many.network == pytest.approx(4 * few.network)
    assert few.tasks < many.tasks
    assert few.merging < many.merging
    assert terms(work, machine, 1)[2:] == (0, 0, 0)  # nothing is sent


def test_what_fits() -> None:
    machine = Machine()
    for rows in (1e8, 1e9, 1e10):
        count = least(Work(rows, 768), machine)
        assert fits(Work(rows, 768), machine, count)
        assert not fits(Work(rows, 768), machine, count - 1)
    assert least(Work(1e9, 384), machine) == math.ceil((1e9 * 384 * 4 + 1e9 * (480 + 36)) / machine.memory)


def test_hours_are_building_and_batches() -> None:
    work, machine = Work(1e8, 384, queries=1), Machine()
    build = 1e8 * 384 * 4 / 4 / (rates().build * machine.cores)
    assert hours(work, machine, 4) * 3600 == pytest.approx(build + sum(terms(work, machine, 4)))
    assert money(work, Machine(hour=2.5), 4) == pytest.approx(hours(work, machine, 4) * 10)
    more = Work(1e8, 384, queries=10_001)
    assert hours(more, machine, 4) * 3600 == pytest.approx(build + 11 * sum(terms(work, machine, 4)))


def test_one_query_is_bound_by_memory() -> None:
    machine = Machine(memory_rate=1e9, cores=1000)
    assert terms(Work(1e6, 384), machine, 1, 1).reading == one_query(1e6, 384, 1e9) == pytest.approx(0.396)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0421, "42.1 ms"), (1.5, "1,500 ms"), (3, "3 s"), (200, "3.33 min"), (3e5, "83.3 h")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
