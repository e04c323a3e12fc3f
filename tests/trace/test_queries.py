"""Named questions give what the reader's own arrays give, from any schema, or say what is missing."""

from __future__ import annotations

import lzma
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from knnscope.errors import KnnscopeError
from knnscope.trace import intervals, reader
from knnscope.trace.database import Tables, ask, connect
from knnscope.trace.model import TO_HOST
from knnscope.trace.queries import QUERIES
from tests.trace import mutate

FIXTURES = mutate.FIXTURE.parent


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    path = tmp_path / "loop.sqlite"
    path.write_bytes(lzma.decompress(mutate.FIXTURE.read_bytes()))
    return path


def asked(path: Path, name: str) -> list[dict[str, Any]]:
    with connect(path) as base:
        cursor = ask(base, QUERIES[name].build(Tables(base, path)), 60)
        head = [column[0] for column in cursor.description]
        return [dict(zip(head, row, strict=True)) for row in cursor.fetchmany(1000)]


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """A trace of the given statements."""

    def make(*statements: str) -> Path:
        path = tmp_path / "made.sqlite"
        base = sqlite3.connect(path)
        for statement in statements:
            base.execute(statement)
        base.commit()
        base.close()
        return path

    return make


@pytest.fixture(scope="module", params=sorted(FIXTURES.glob("*.xz")), ids=lambda path: path.stem)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, reader.Trace]:
    """A real trace, unpacked and read once for all queries."""
    path = tmp_path_factory.mktemp("recorded") / "trace.sqlite"
    path.write_bytes(lzma.decompress(request.param.read_bytes()))
    return path, reader.read(path)


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_answers_every_real_trace(recorded: tuple[Path, reader.Trace], name: str) -> None:
    path, trace = recorded
    asks = {
        "kernels": len(trace.kernels),
        **dict.fromkeys(("copies", "copy-latency", "copy-throughput"), len(trace.copies)),
        **dict.fromkeys(("gaps", "kernel-memory-ratio"), len(trace.kernels) + len(trace.copies)),
    }
    if not asks.get(name, 1):  # nothing of it was recorded
        with pytest.raises(KnnscopeError, match=r"none of the tables|no table CUPTI_ACTIVITY_KIND"):
            asked(path, name)
        return
    rows = asked(path, name)
    assert rows
    assert all(value is not None for key, value in rows[-1].items() if key not in ("device", "begins_ms"))


def test_figures_are_the_readers(loop: Path) -> None:
    trace = reader.read(loop)
    back = trace.copies.kind == TO_HOST
    throughput = {row["direction"]: row for row in asked(loop, "copy-throughput")}["Device-to-Host"]
    seconds = trace.copies.duration[back].sum() / 1e9
    assert throughput["copies"] == back.sum() == 300
    assert throughput["mib_per_s"] == round(trace.copies.nbytes[back].sum() / 2**20 / seconds, 1)
    latency = {row["direction"]: row for row in asked(loop, "copy-latency")}["Device-to-Host"]
    assert (latency["source"], latency["target"]) == ("Device", "Pageable")
    assert latency["median_us"] == pytest.approx(np.median(trace.copies.duration[back]) / 1e3, abs=0.006)
    assert latency["max_us"] == pytest.approx(trace.copies.duration[back].max() / 1e3, abs=0.006)
    (ratio,) = asked(loop, "kernel-memory-ratio")
    assert ratio["kernel_ms"] == pytest.approx(trace.kernels.duration.sum() / 1e6, abs=0.001)
    assert ratio["copy_ms"] == pytest.approx(trace.copies.duration.sum() / 1e6, abs=0.001)
    assert ratio["kernel_percent"] + ratio["copy_percent"] == pytest.approx(100, abs=0.11)
    assert sum(row["copies"] for row in asked(loop, "copies")) == len(trace.copies)
    assert sum(row["ranges"] for row in asked(loop, "phases")) == len(trace.ranges)


def test_a_mean_of_rates_is_named_so(loop: Path) -> None:
    row = {row["direction"]: row for row in asked(loop, "copy-throughput")}["Host-to-Device"]
    assert (round(row["mib_per_s"]), round(row["mean_of_each_copys_mib_per_s"])) == (13557, 2915), "as in the errata"


def test_api_names_lose_their_version_and_merge(loop: Path) -> None:
    rows = {row["api"]: row for row in asked(loop, "api-time")}
    assert (rows["cudaMemcpyAsync"]["calls"], rows["cudaMemcpyAsync"]["mean_us"]) == (317, 12.11)
    assert (rows["cuLaunchKernel"]["interface"], rows["cudaMemcpyAsync"]["interface"]) == ("driver", "runtime")
    assert not [name for name in rows if name[-5:-4] == "v"]
    loop.write_bytes(
        mutate.statements(loop.read_bytes(), "UPDATE StringIds SET value = 'x_v' || id WHERE value LIKE 'cuda%'")
    )
    assert {row["api"] for row in asked(loop, "api-time")} >= {"x", "cuLaunchKernel"}
    loop.write_bytes(
        mutate.statements(loop.read_bytes(), "UPDATE StringIds SET value = 'cuKeep' || id WHERE value LIKE 'x%'")
    )
    assert "cuKeep" not in {row["api"] for row in asked(loop, "api-time")}


def test_gaps_are_what_no_work_covers(loop: Path) -> None:
    trace = reader.read(loop)
    start = np.concatenate((trace.kernels.start, trace.copies.start))
    begins, ends = intervals.gaps(start, np.concatenate((trace.kernels.end, trace.copies.end)))
    whole, *longest = asked(loop, "gaps")
    assert whole["gaps"] == len(begins)
    assert whole["median_us"] == pytest.approx(np.median(ends - begins) / 1e3, abs=0.006)
    assert whole["total_ms"] == pytest.approx((ends - begins).sum() / 1e6, abs=0.001)
    assert [row["total_ms"] for row in longest] == pytest.approx(np.sort(ends - begins)[::-1][:10] / 1e6, abs=0.001)


def test_gaps_are_of_each_gpu(made: Any) -> None:
    path = made(
        "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, deviceId INTEGER)",
        "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (0, 1000, 0), (500, 3000, 1), (5000, 6000, 0), (5500, 5600, 0), (7000, 8000, 0)",
    )
    whole, *longest = asked(path, "gaps")
    assert (whole["gaps"], whole["total_ms"], whole["median_us"]) == (2, 0.005, 2.5)
    assert [(row["device"], row["median_us"]) for row in longest] == [(0, 4.0), (0, 1.0)]


def test_the_most_frequent_grid(made: Any) -> None:
    path = made(
        "CREATE TABLE StringIds (id INTEGER, value TEXT)",
        "INSERT INTO StringIds VALUES (1, 'one')",
        "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start, end, demangledName, gridX, gridY, gridZ, blockX, blockY, blockZ)",
        "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (0, 9000, 1, 1, 1, 1, 32, 1, 1), (1, 1001, 1, 7, 2, 1, 64, 1, 1), "
        "(2, 1002, 1, 7, 2, 1, 64, 1, 1), (9, 10, 5, 1, 1, 1, 1, 1, 1), ('bad', 10, 5, 1, 1, 1, 1, 1, 1)",
    )
    first, second = asked(path, "kernels")
    assert (first["kernel"], first["launches"], first["mean_us"], first["total_ms"]) == ("one", 3, 3.67, 0.011)
    assert (first["most_frequent_grid"], first["its_block"]) == ("7 x 2 x 1", "64 x 1 x 1")
    assert (second["kernel"], second["launches"]) == ("unnamed kernel", 1)


def test_memory_kinds_go_by_the_traces_own_names(made: Any) -> None:
    table = "CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start, end, bytes, copyKind, srcKind, dstKind)"
    row = "INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES (5, 105, 8, 2, 3, 1)"
    enum = "CREATE TABLE ENUM_CUDA_MEM_KIND (id INTEGER, name TEXT)"
    path = made(table, row, enum, "INSERT INTO ENUM_CUDA_MEM_KIND VALUES (3, 'CUPTI_DEVICE'), (1, 'CUPTI_PAGEABLE')")
    (found,) = asked(path, "copies")
    assert [found[k] for k in ("direction", "source", "target")] == ["Device-to-Host", "CUPTI_DEVICE", "CUPTI_PAGEABLE"]
    path.write_bytes(mutate.statements(path.read_bytes(), "DROP TABLE ENUM_CUDA_MEM_KIND"))
    assert asked(path, "copies")[0]["source"] == "number 3", "no guess"


def test_phases_of_old_and_new_schemas(made: Any) -> None:
    path = made(
        "CREATE TABLE NVTX_EVENTS (start, end, eventType, text, textId)",
        "CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT)",
        "INSERT INTO StringIds VALUES (4, 'search')",
        "INSERT INTO NVTX_EVENTS VALUES (0, 3000000, 59, 'search', NULL), (1, 1000001, 60, NULL, 4), (5, NULL, 34, 'mark', NULL)",
    )
    assert asked(path, "phases") == [{"phase": "search", "ranges": 2, "total_ms": 4.0, "mean_ms": 2.0}]
    path.write_bytes(mutate.statements(path.read_bytes(), "ALTER TABLE NVTX_EVENTS DROP COLUMN textId"))
    assert {row["phase"] for row in asked(path, "phases")} == {"search", "unnamed range"}


@pytest.mark.parametrize(
    ("name", "statement", "message"),
    [
        ("copies", "DROP TABLE CUPTI_ACTIVITY_KIND_MEMCPY", r"no table CUPTI_ACTIVITY_KIND_MEMCPY"),
        (
            "copy-throughput",
            "ALTER TABLE CUPTI_ACTIVITY_KIND_MEMCPY DROP COLUMN bytes",
            r"KIND_MEMCPY has no column bytes",
        ),
        ("copy-latency", "ALTER TABLE CUPTI_ACTIVITY_KIND_MEMCPY DROP COLUMN srcKind", r"has no column srcKind"),
        ("api-time", "DROP TABLE StringIds", r"no table StringIds"),
        ("kernels", "ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL DROP COLUMN gridY", r"has no column gridY"),
        ("gaps", "ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL DROP COLUMN end", r"has no column end"),
        ("phases", "DROP TABLE NVTX_EVENTS", r"no table NVTX_EVENTS"),
    ],
)
def test_what_is_missing_is_named(loop: Path, name: str, statement: str, message: str) -> None:
    loop.write_bytes(mutate.statements(loop.read_bytes(), statement))
    with pytest.raises(KnnscopeError, match=message):
        asked(loop, name)


def test_no_copies_is_no_time_in_copies(loop: Path) -> None:
    loop.write_bytes(mutate.statements(loop.read_bytes(), "DROP TABLE CUPTI_ACTIVITY_KIND_MEMCPY"))
    (ratio,) = asked(loop, "kernel-memory-ratio")
    assert (ratio["copy_ms"], ratio["kernel_percent"]) == (0.0, 100.0)
    loop.write_bytes(mutate.statements(loop.read_bytes(), "DROP TABLE CUPTI_ACTIVITY_KIND_KERNEL"))
    with pytest.raises(KnnscopeError, match=r"nothing on a GPU"):
        asked(loop, "kernel-memory-ratio")
