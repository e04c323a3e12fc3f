"""What a finding would save, held against what it does save: simulated programs are run once more with the finding mended."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from knnscope.trace import reader
from knnscope.trace.explain import Explanation, explain
from knnscope.trace.phases import USUAL_NS
from knnscope.trace.rules.slow_transfer import LINK
from knnscope.trace.rules.sort_for_topk import SELECTION_NS
from tests.trace.pipeline import SORT, Step, mended, random_steps, run
from tests.trace.test_laws import held
from tests.trace.write import MS, US, Trace, rules_of

TIMES = 8
KNOWN = ("sync-in-loop", "startup-cost", "blocking-copies", "slow-transfer", "sort-for-topk", "tiny-copies")
"""Rules whose remedy the simulation can follow."""
OFF = 0.08
"""Of the run: so much more may be promised than comes true."""


def simulated(path: Path, steps: list[Step]) -> Explanation:
    trace = Trace(path, gpus=())
    run(steps, TIMES, trace)
    return held(trace.done())


def saved(steps: list[Step], rule: str) -> float:
    """Milliseconds, in all."""
    return (run(steps, TIMES) - run(mended(steps, rule, LINK / 1e9, SELECTION_NS), TIMES)) / 1e6


def least_that_may_be_wrong(rule: str, count: int) -> float:
    """Milliseconds: how long a call takes is known to some microseconds, and what the host does before one may be its preparation."""
    return count * (5 * US + (USUAL_NS if rule == "tiny-copies" else 0)) / 1e6


def promised(path: Path, seed: int) -> tuple[int, list[str]]:
    """Of a random program: how many findings were held against the truth, and which promise too much."""
    steps = random_steps(random.Random(seed))
    trace = Trace(path, gpus=())
    took = run(steps, TIMES, trace) / 1e6
    known = [f for f in explain(reader.read(trace.done())).findings if f.rule in KNOWN]
    wrong = []
    for f in known:
        may = saved(steps, f.rule) + OFF * took + least_that_may_be_wrong(f.rule, f.cause.count)
        if f.saving_ms * f.times > may:
            wrong.append(f"program {seed}: {f.rule}: {f.title}")
    return len(known), wrong


def promised_by(path: Path, seeds: range) -> tuple[int, list[str]]:
    found = [promised(path, seed) for seed in seeds]
    return sum(count for count, _ in found), [line for _, lines in found for line in lines]


def test_what_random_programs_are_promised_comes_true(path: Path) -> None:
    count, wrong = promised_by(path, range(80))
    assert count > 40
    assert wrong == []


@pytest.mark.slow
def test_what_a_thousand_random_programs_are_promised_comes_true(path: Path) -> None:
    """All but one finding in 300."""
    count, wrong = promised_by(path, range(80, 1080))
    assert count > 500
    assert len(wrong) <= count // 300, wrong


@pytest.mark.parametrize(
    ("rule", "step"),
    [("sort-for-topk", ("kernel", SORT, 600 * US)), ("slow-transfer", ("copy", 2, 4 << 20, 6.0, True))],
)
@pytest.mark.parametrize("waits", [True, False])
def test_work_that_the_host_never_waits_for_saves_nothing(path: Path, rule: str, step: Step, waits: bool) -> None:
    """The same work, and the host computes longer meanwhile, or waits."""
    back = ("copy", 2, 8, 25.0, True)
    steps = [step, back, ("sync",)] if waits else [step, back, ("host", 2 * MS)]
    found = rules_of(simulated(path, steps))
    assert (rule in found) is waits
    assert saved(steps, rule) > 3 if waits else saved(steps, rule) < 0.7, "the end of the last one is waited for"


def test_a_gpu_that_calls_back_may_be_waited_for_unseen(path: Path) -> None:
    trace = Trace(path, gpus=())
    trace.call("cudaLaunchHostFunc_v10000", 0, US)
    run([("copy", 2, 4 << 20, 6.0, True), ("host", 2 * MS)], TIMES, trace)
    assert "slow-transfer" in rules_of(held(trace.done()))


def test_a_host_that_asks_again_and_again_waits(path: Path) -> None:
    trace = Trace(path)
    for i in range(10):
        at = 10 * MS * i
        trace.copy(1, at + 10 * US, at + 9 * MS, 8 << 20, trace.call("cudaMemcpyAsync_v3020", at, at + 5 * US))
        for j in range(1, 450):
            trace.call("cudaEventQuery_v3020", at + 20 * US * j, at + 20 * US * j + US)
    assert rules_of(held(trace.done()))["slow-transfer"].share > 0.5


@pytest.mark.parametrize("host", [100 * US, 3 * MS])
def test_work_of_the_host_between_two_small_copies_is_not_theirs(path: Path, host: int) -> None:
    told = simulated(path, [("host", host), ("copy", 2, 8, 25.0, False)] * 20)
    assert sum(f.share for f in told.findings if not f.at_most) < 0.35


def test_pinned_memory_does_not_shorten_a_wait(path: Path) -> None:
    """Between two waits the GPU has as much to do as before."""
    steps: list[Step] = [
        ("kernel", "gemm", 9 * US),
        ("copy", 1, 1 << 16, 3.0, False),
        ("sync",),
        ("host", 12 * US),
    ] * 20
    took = run(steps, TIMES) / 1e6
    assert saved(steps, "blocking-copies") < 0.05 * took
    found = rules_of(simulated(path, steps))
    assert "blocking-copies" not in found or found["blocking-copies"].share < 0.1


@pytest.mark.parametrize("kernel", [2 * MS, 9 * MS, 30 * MS])
def test_together_nothing_hides_behind_what_is_gone(path: Path, kernel: int) -> None:
    """10 ms of slow copies could take 2 ms, or kernels could run beside them: both together save no more than all but the longer."""
    steps: list[Step] = [("copy", 1, 50 << 20, 5.0, True), ("kernel", "gemm", kernel), ("sync",)]
    told = simulated(path, steps)
    copies, quick = (50 << 20) / 5.0, (50 << 20) / (LINK / 1e9)
    most = (TIMES - 1) * (copies + kernel - max(quick, kernel)) / 1e6
    assert {f.rule for f in told.findings} >= {"slow-transfer"}
    (total,) = told.totals
    assert total.saving_ms <= 1.02 * most
