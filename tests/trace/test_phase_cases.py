"""What belongs to which phase, GPU and program, one small trace a situation. Every law of ``test_laws`` holds on each."""

from __future__ import annotations

from pathlib import Path

import pytest

from knnscope.trace import reader
from knnscope.trace.excerpt import whole
from knnscope.trace.explain import figures
from knnscope.trace.lanes import lanes
from tests.trace.test_laws import held
from tests.trace.write import GPU, LAUNCH, MS, SECOND, TID, US, Trace, steps


def test_work_belongs_to_the_range_that_launched_it(path: Path) -> None:
    trace, at = Trace(path), SECOND
    for _ in range(5):
        gpu = at + 20 * US
        for name in ("forward", "backward"):
            begin = at
            for _ in range(100):
                trace.kernel(name, gpu, gpu + MS, trace.call(LAUNCH, at, at + 5 * US))
                gpu, at = gpu + MS + US, at + 10 * US
            trace.range(name, begin, at)
        trace.range("wait", at, gpu + 5 * US)
        trace.call("cudaStreamSynchronize_v3020", at, gpu + 4 * US)
        at = gpu + 10 * US
    told = held(trace.done())
    assert {p.name: figures(p)["kernels"] for p in told.phases} == {"forward": 100, "backward": 100, "wait": 0}
    assert {p.name: figures(p)["total"]["kernels"] for p in told.phases} == {"forward": 500, "backward": 500, "wait": 0}
    assert told.findings == ()


def test_ranges_of_a_library_are_no_phases(path: Path) -> None:
    trace = Trace(path)
    trace.range("CCCL", 0, None, 75, domain=1)
    steps(trace, 200)
    for i in range(200):
        trace.range("cub::DeviceRadixSort::SortPairs", SECOND + i * 10 * MS, SECOND + i * 10 * MS + 10 * US, domain=1)
    told = held(trace.done())
    assert [p.name for p in told.phases] == ["the whole run"]
    assert figures(told.phases[0])["kernels"] == 200


@pytest.mark.parametrize(
    ("domain", "phases"), [("cuBLAS", "the whole run"), ("libcudf", "the whole run"), ("my program", "mine")]
)
def test_a_domain_is_a_librarys_or_the_programs(path: Path, domain: str, phases: str) -> None:
    trace = Trace(path)
    trace.range(domain, 0, None, 75, domain=3)
    steps(trace)
    trace.range("mine", SECOND, SECOND + 300 * MS, domain=3)
    assert [p.name for p in held(trace.done()).phases] == [phases]


def test_what_no_phase_holds_is_stated(path: Path) -> None:
    trace = Trace(path)
    steps(trace)
    trace.range("a part", SECOND, SECOND + 45 * MS)
    told = held(trace.done())
    (outside,), (everything,) = told.outside, told.whole
    assert (outside.kernels, everything.kernels) == (15, 20)
    assert outside.host_ms == pytest.approx(154)
    assert outside.gpu_ms == pytest.approx(15 * 8.994)


def test_an_open_range_lasts_to_the_end(path: Path) -> None:
    trace = Trace(path)
    steps(trace, 60, lambda _: "step")
    trace.range("training", SECOND, None)
    told = held(trace.done())
    (phase,) = told.phases
    assert (phase.name, figures(phase)["kernels"]) == ("training", 60)
    assert figures(phase)["host_ms"] == pytest.approx(599)
    assert not told.trace.notes


def test_a_negative_start_is_cut(path: Path) -> None:
    trace = Trace(path)
    trace.range("epoch", -500 * MS, 1700 * MS)
    steps(trace, 60, lambda _: "step")
    told = held(trace.done())
    assert [(p.name, figures(p)["host_ms"]) for p in told.phases] == [("epoch", pytest.approx(1700))]
    assert not told.trace.notes


@pytest.mark.parametrize("name", ["iteration {}", "epoch {} of 60", "batch_{:05d}", "step#{}"])
def test_numbered_ranges_are_one_phase(path: Path, name: str) -> None:
    trace = Trace(path)
    steps(trace, 60, name.format)
    (phase,) = held(trace.done()).phases
    assert figures(phase)["times"] == 60
    assert phase.name.count("#") >= 1
    assert not any(digit in phase.name for digit in "0123456789")


def test_parts_of_a_program_keep_their_numbers(path: Path) -> None:
    trace = Trace(path)
    steps(trace, 60, lambda i: f"layer {i % 3}")
    assert [p.name for p in held(trace.done()).phases] == ["layer 0", "layer 1", "layer 2"]


def test_ranges_that_cross_share_nothing(path: Path) -> None:
    trace = Trace(path)
    for i in range(10):
        at = SECOND + i * 20 * MS
        trace.range("load", at, at + 10 * MS, 60)
        trace.range("compute", at + 5 * MS, at + 15 * MS, 60)
        trace.kernel("k", at + 7 * MS, at + 9 * MS, trace.call(LAUNCH, at + 6 * MS, at + 6 * MS + 5 * US))
    told = held(trace.done())
    assert {p.name: figures(p)["total"]["kernels"] for p in told.phases} == {"load": 0, "compute": 10}


def test_each_gpu_by_itself(path: Path) -> None:
    trace = Trace(path, gpus=(GPU, GPU))
    for i in range(40):
        at = SECOND + i * 10 * MS
        trace.kernel("stage", at, at + 10 * MS, trace.call(LAUNCH, at, at + 5 * US), i % 2, 7 + 8 * (i % 2))
    told = held(trace.done())
    assert [(b.gpu, round(b.shares["GPU"], 2)) for b in told.bounds] == [(0, 0.5), (1, 0.5)]
    assert [(f.rule, f.gpu, f.rows) for f in told.findings] == [("gpu-idle", 0, 19), ("gpu-idle", 1, 19)]
    assert [lane.title for lane in lanes(told.trace, whole(told.trace), 1000)][-2:] == [
        "GPU 0: kernels",
        "GPU 1: kernels",
    ]


def test_ranks_with_a_gpu_each_do_not_mix(path: Path) -> None:
    """Both call theirs 0: which is which, the export says."""
    trace = Trace(path, gpus=(GPU, GPU))
    trace.base.execute("CREATE TABLE TARGET_INFO_CUDA_DEVICE(gpuId int, cudaId int, pid int)")
    trace.base.executemany("INSERT INTO TARGET_INFO_CUDA_DEVICE VALUES(?, 0, ?)", [(0, 100), (1, 200)])
    for process, length in ((100, 9 * MS), (200, 3 * MS)):
        thread = process << 24 | process
        for i in range(20):
            at = SECOND + i * 10 * MS
            trace.range("step", at, at + 9 * MS, thread=thread)
            trace.kernel("k", at, at + length, trace.call(LAUNCH, at, at + 5 * US, thread, i + 1), process=process)
    told = held(trace.done())
    assert [(p.gpu, p.times, round(figures(p)["gpu_busy_ms"])) for p in told.phases] == [(0, 19, 9), (1, 19, 3)]


@pytest.mark.parametrize("table", ["TARGET_INFO_GPU", "TARGET_INFO_CUDA_GPU", "META_DATA_CAPTURE", "EXPORT_META_DATA"])
def test_the_gpu_that_ran_the_kernels_is_named(path: Path, table: str) -> None:
    trace = Trace(path, gpus=())
    if table.startswith("TARGET"):
        trace.base.execute(f"CREATE TABLE {table}({'id' if table == 'TARGET_INFO_GPU' else 'deviceId'} int, name text)")
        trace.base.executemany(f"INSERT INTO {table} VALUES(?, ?)", [(0, "NVIDIA T400"), (1, "NVIDIA H100")])
    else:
        trace.base.execute(f"CREATE TABLE {table}(name text, value text)")
        trace.base.executemany(
            f"INSERT INTO {table} VALUES(?, ?)", [("GPU_0_NAME", "NVIDIA T400"), ("GPU_1_NAME", "NVIDIA H100")]
        )
    steps(trace, device=1)
    assert held(trace.done()).trace.gpu.name == "NVIDIA H100"


def test_streams_of_large_numbers_and_of_several_programs_stay_apart(path: Path) -> None:
    trace = Trace(path)
    trace.kernel("a", SECOND, SECOND + 10 * MS, stream=7)
    trace.kernel("b", SECOND, SECOND + 15 * MS, stream=7 + 65536)
    trace.kernel("c", SECOND, SECOND + 20 * MS, stream=7, process=200)
    read = reader.read(trace.done())
    assert len(set(read.kernels.lane.tolist())) == 3
    assert len([lane for lane in lanes(read, whole(read), 1000) if lane.group == "kernels"]) == 3


def test_the_same_correlation_ids_in_two_processes(path: Path) -> None:
    trace = Trace(path)
    for process in (100, 200):
        thread = process << 24 | process
        trace.range(f"of {'one' if process == 100 else 'two'}", SECOND, SECOND + 10 * MS, thread=thread)
        for i in range(40):
            at = SECOND + i * 100 * US
            trace.call("cudaMemcpyAsync_v3020", at, at + 40 * US, thread, i + 1)
            trace.copy(1, at + US, at + 39 * US, 100_000, i + 1, process=process)
    told = held(trace.done())
    assert [(p.name, figures(p)["copies"]) for p in told.phases] == [("of one", 40), ("of two", 40)]


def test_launches_of_a_thread_without_ranges_are_outside(path: Path) -> None:
    trace = Trace(path)
    trace.range("step", SECOND, SECOND + 200 * MS)
    for i in range(20):
        at = SECOND + i * 10 * MS
        trace.kernel("k", at, at + 5 * MS, trace.call(LAUNCH, at, at + 5 * US, TID + i % 2))
    told = held(trace.done())
    assert (figures(told.phases[0])["kernels"], told.outside[0].kernels) == (10, 10)
