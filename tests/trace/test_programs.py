"""Several programs, GPUs and streams in one trace: what one does is not told of another. Every law of ``test_laws`` holds on each."""

from __future__ import annotations

from pathlib import Path

import pytest

from knnscope.trace.explain import Explanation
from tests.trace.test_laws import held
from tests.trace.write import GPU, LAUNCH, MS, SECOND, US, WAIT, Trace, rules_of

OTHER = (200 << 24) | 200


def neighbors(path: Path, call: str) -> Explanation:
    """Process 100 computes between long kernels on GPU 0; process 200 makes short calls again and again, beside GPU 1."""
    trace = Trace(path, gpus=(GPU, GPU))
    for i in range(20):
        at = SECOND + i * 10 * MS
        trace.kernel("long", at + 6 * US, at + 2 * MS, trace.call(LAUNCH, at, at + 5 * US))
        for j in range(40):
            here = at + j * 250 * US
            number = trace.call(LAUNCH, here, here + 5 * US, OTHER)
            trace.kernel("short", here + 8 * US, here + 20 * US, number, device=1, process=200)
            trace.call(call, here + 21 * US, here + 220 * US, OTHER)
    return held(trace.done())


@pytest.mark.parametrize(("rule", "call"), [("sync-in-loop", WAIT), ("startup-cost", "cudaMalloc_v3020")])
def test_calls_of_another_program_cost_this_gpu_nothing(path: Path, rule: str, call: str) -> None:
    told = neighbors(path, call)
    assert {f.gpu for f in told.findings if f.rule == rule} == {1}


def test_a_gpu_does_not_wait_in_another_programs_calls(path: Path) -> None:
    found = {bound.gpu: bound for bound in neighbors(path, WAIT).bounds}
    assert (found[0].what, found[0].shares["waiting"]) == ("host", 0)
    assert found[1].what == "waiting"


@pytest.mark.parametrize("apart", [False, True])
def test_kernels_of_several_streams_are_no_chain(path: Path, apart: bool) -> None:
    trace = Trace(path)
    for i in range(5):
        at = SECOND + i * MS
        trace.range("knnscope: search x rows=1000 dim=4 k=10 batch=1", at, at + 900 * US)
        for j in range(3):
            start = at + 50 * US + j * 200 * US
            call = trace.call(LAUNCH, at + 10 * US * j, at + 10 * US * j + 5 * US)
            trace.kernel("elementwise", start, start + 199 * US, call, stream=7 + j * apart)
        trace.call(WAIT, at + 40 * US, at + 800 * US)
    assert ("unfused-chain" in rules_of(held(trace.done()))) is not apart
