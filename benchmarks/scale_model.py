"""Time, memory and machine-hours of exact search over many machines, from what was measured; scale_page.py writes docs/scale.md of it.

Each rate comes from one result of benchmarks/results; ``checks`` holds each term to other results.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from knnscope.certified.memory import as_memory, most_of

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
OFF = 0.25
"""How far a term may be from a measurement."""
DIM = 384
"""Components of the rows that rates were measured on."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One of several alike. These numbers are the reader's: a usual server, not one that was measured.

    cores: that search. memory: bytes for rows and codes. memory_rate, link_rate: bytes a second, of all cores together and of the network.
    hour: what an hour of it costs, in any currency.
    """

    cores: float = 32
    memory: float = 512 * 2.0**30
    memory_rate: float = 200e9
    link_rate: float = 1.25e9
    hour: float = 1.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU beside host memory that holds rows and codes. Numbers of the reader's, likewise.

    memory: bytes of it for codes. link_rate: bytes a second from the host's memory.
    """

    memory: float = 128 * 2.0**30
    link_rate: float = 50e9


@dataclass(frozen=True, slots=True)
class Work:
    """Rows of float32 with dim components; queries in all, so many a batch; k neighbors of each."""

    rows: float
    dim: int
    queries: float = 1e6
    batch: int = 1000
    k: int = 10


class Rates(NamedTuple):
    """What was measured.

    build: bytes of rows a second and core. pair: seconds a row, query and component, one core. survivor: seconds a query and neighbor of a shard, one
    core: the rows that a bound leaves. first, task: CPU seconds of the client and the
    scheduler for a call, and for each shard of it. sort, merge: seconds of a merging, and for each value and doubling of their number.
    """

    build: float
    pair: float
    survivor: float
    first: float
    task: float
    sort: float
    merge: float


class Terms(NamedTuple):
    """Seconds of a batch, one after another."""

    reading: float
    survivors: float
    network: float
    tasks: float
    merging: float


class Check(NamedTuple):
    """A term against a measurement that its rate does not come from, in ``unit``."""

    term: str
    what: str
    predicted: float
    measured: float
    unit: str
    source: str

    @property
    def off(self) -> float:
        """How far the term is from it."""
        return self.predicted / self.measured - 1


@cache
def result(name: str) -> dict[str, Any]:
    """A result of benchmarks/results."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return found


def searched(rows: int, batch: int, k: int) -> float:
    """Seconds of a call on one core of an EPYC, codes of a byte."""
    (found,) = (
        row["median_ns"]
        for row in result(f"certified-cpu-{rows}-epyc")["rows"]
        if (row["engine"], row["batch"], row["k"], row["cache"]) == ("certified", batch, k, "hot")
    )
    return float(found) * 1e-9


def memory_rate() -> float:
    """Bytes a second that one core of that EPYC reads: measured by itself, not by a search."""
    row = next(row for row in result("certified-cpu-1000000-epyc")["rows"] if row["engine"] == "certified")
    return float(row["bytes_moved"]) / (float(row["floor_ns"]) * 1e-9)


def calls(shards: int) -> float:
    """CPU seconds of client and scheduler for a call of so many shards that do nothing."""
    (found,) = (line["own_cpu_ms"] for line in result("distributed")["tasks"] if line["shards"] == shards)
    return float(found) * 1e-3


def merged(shards: int, queries: int, k: int) -> float:
    """CPU seconds in which the client merges."""
    size = {"shards": shards, "queries": queries, "k": k}
    (found,) = (line["cpu_ms"] for line in result("distributed")["merging"] if size.items() <= line.items())
    return float(found) * 1e-3


def values(shards: int, queries: int, k: int) -> float:
    """What merging sorts: values times the doublings of those of a query."""
    return queries * shards * k * math.log2(shards * k)


@cache
def rates() -> Rates:
    """Each from one result; ``checks`` uses others."""
    small, many = searched(75_000, 1000, 10), searched(75_000, 1000, 100)
    survivor = (many - small) / (1000 * 90)
    pair = (small - 1000 * 10 * survivor) / (75_000 * 1000 * DIM)
    build = result("certified-build-epyc")["builds"][0]["gb_per_s"] * 1e9
    task = (calls(16) - calls(2)) / 14  # from two on: a single shard has one worker to be told of, and costs less
    few, more = (merged(4, queries, 10) for queries in (100, 1000))
    merge = (more - few) / (values(4, 1000, 10) - values(4, 100, 10))
    return Rates(build, pair, survivor, calls(2) - 2 * task, task, few - merge * values(4, 100, 10), merge)


def kept(rows: float, dim: int) -> float:
    """Bytes beside the rows: codes of a byte and a plane of half the components (docs/memory.md)."""
    return rows * (1.25 * dim + 36)


def codes(rows: float, dim: int) -> float:
    """Bytes of the codes alone: what a search of one query read when it was measured; with a plane it reads fewer."""
    return rows * (dim + 12.0)


def answer_bytes(queries: int, k: int) -> float:
    """Of a shard's answer: an id and a distance each, three numbers of the certificate a query."""
    return queries * (16.0 * k + 24)


def merging(shards: int, queries: int, k: int) -> float:
    """CPU seconds of the client's last step."""
    return rates().sort + rates().merge * values(shards, queries, k)


def one_query(rows: float, dim: int, memory_rate: float) -> float:
    """Seconds in which a machine reads the codes of its rows: what bounds a search of one query."""
    return codes(rows, dim) / memory_rate


def brought(rows: float, dim: int, gpu: Gpu) -> float:
    """Bytes of codes that come to a GPU for each batch: those that its memory does not hold, beside 12 bytes a row that stay there (decision 056)."""
    return max(0.0, rows * dim - max(0.0, gpu.memory - 12 * rows))


def batch_seconds(rows: float, dim: int, queries: int, k: int, cores: float = 1) -> tuple[float, float]:
    """Seconds of a machine for a batch over its rows: products, and what the bound leaves."""
    found = rates()
    return rows * queries * dim * found.pair / cores, queries * k * found.survivor / cores


def terms(work: Work, machine: Machine, count: int, batch: int | None = None) -> Terms:
    """Seconds of a batch on so many machines: the slowest, then the client, one after another, which nothing overlaps."""
    found, queries = rates(), work.batch if batch is None else batch
    rows = math.ceil(work.rows / count)
    products, survivors = batch_seconds(rows, work.dim, queries, work.k, machine.cores)
    reading = max(products, one_query(rows, work.dim, machine.memory_rate))
    if count == 1:
        return Terms(reading, survivors, 0.0, 0.0, 0.0)
    network = count * (queries * work.dim * 4 + answer_bytes(queries, work.k)) / machine.link_rate
    return Terms(reading, survivors, network, found.first + count * found.task, merging(count, queries, work.k))


def hours(work: Work, machine: Machine, count: int) -> float:
    """Of all queries, building included."""
    build = work.rows / count * work.dim * 4 / (rates().build * machine.cores)
    return (build + math.ceil(work.queries / work.batch) * sum(terms(work, machine, count))) / 3600


def money(work: Work, machine: Machine, count: int) -> float:
    """What all queries cost, in the currency of ``Machine.hour``."""
    return hours(work, machine, count) * count * machine.hour


def fits(work: Work, machine: Machine, count: int) -> bool:
    """Whether rows and codes lie in memory."""
    return work.rows * work.dim * 4 + kept(work.rows, work.dim) <= count * machine.memory


def least(work: Work, machine: Machine) -> int:
    """Machines whose memory holds it."""
    return math.ceil((work.rows * work.dim * 4 + kept(work.rows, work.dim)) / machine.memory)


PIECES = "beyond-gpu-pieces-h200"
"""Codes in pieces, as benchmarks/beyond_gpu.py measured them."""


def link_checks() -> Iterator[Check]:
    """What codes in pieces take, from the rate of a plain copy; none before it was measured."""
    if not (RESULTS / f"{PIECES}.json").exists():
        return
    found = result(PIECES)["pieces"]
    for line in found["lines"]:
        if line["path"] == "codes" and line["queries"] <= 100:
            gpu = Gpu(float(most_of(as_memory(line["memory"])) or 0), line["link_gb_s"] * 1e9)
            predicted = brought(found["rows"], DIM, gpu) / gpu.link_rate
            what = f"{found['rows']:,} rows beside {line['memory']}, {line['queries']:,} queries"
            yield Check("link", what, predicted * 1e3, line["call_us"] / 1e3, "ms", PIECES)


def checks() -> Iterator[Check]:
    """Every term against measurements that its rate does not come from."""
    yield from link_checks()
    for name in ("certified-build-epyc", "certified-build"):
        one, two = result(name)["builds"]
        yield Check(
            "build",
            f"two threads from one, {'EPYC' if 'epyc' in name else 'Xeon'}",
            2 * one["gb_per_s"],
            two["gb_per_s"],
            "GB/s",
            name,
        )
    measured = result("certified-build")["builds"][0]["bytes_a_row"]
    yield Check("memory", "codes alone, 384 components", codes(1, DIM), measured, "bytes a row", "certified-build")
    measured = result("distributed")["bytes_a_row"]
    yield Check("memory", "codes and plane, 384 components", kept(1, DIM), measured, "bytes a row", "distributed")
    for rows in (75_000, 1_000_000):
        yield Check(
            "one query", f"{rows:,} rows, by the rate of memory alone", one_query(rows, DIM, memory_rate()) * 1e3, searched(rows, 1, 10) * 1e3, "ms",
            f"certified-cpu-{rows}-epyc",
        )  # fmt: skip
    for queries in (100, 1000):
        for k in (10, 100):
            yield Check(
                "batch", f"1,000,000 rows from 75,000, {queries:,} queries, k = {k}", sum(batch_seconds(1e6, DIM, queries, k)) * 1e3,
                searched(1_000_000, queries, k) * 1e3, "ms", "certified-cpu-1000000-epyc",
            )  # fmt: skip
    more = searched(1_000_000, 1000, 100) - searched(1_000_000, 1000, 10)
    yield Check(
        "survivors", "1,000,000 rows from 75,000: k = 100 less k = 10, 1,000 queries", 90_000 * rates().survivor * 1e3, more * 1e3, "ms",
        "certified-cpu-1000000-epyc",
    )  # fmt: skip
    for shards in (4, 8):
        yield Check(
            "tasks",
            f"{shards} shards from 2 and 16, CPU",
            (rates().first + shards * rates().task) * 1e3,
            calls(shards) * 1e3,
            "ms",
            "distributed",
        )
    for line in result("distributed")["merging"]:
        size = line["shards"], line["queries"], line["k"]
        what = f"{size[0]} shards, {size[1]:,} queries, k = {size[2]}"
        if size[0] != 4:
            yield Check("merging", f"{what}, CPU", merging(*size) * 1e3, line["cpu_ms"], "ms", "distributed")
        if size in ((4, 1000, 10), (16, 100, 100)):
            yield Check(
                "network",
                f"an answer, {what}",
                answer_bytes(*size[1:]) / 1e3,
                line["answer_bytes"] / 1e3,
                "kB",
                "distributed",
            )
