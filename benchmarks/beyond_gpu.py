"""Rows that do not fit: in host memory beside codes on the GPU or there too, and shared out among GPUs. Event-timed medians, queries and answers on the GPU.

    python -m benchmarks.beyond_gpu [--host-rows 60000000] [--piece-rows 40000000] [--piece-memory 1GiB,8GiB] [--shared-rows 40000000]
                                    [--gpus 1,2,4] [--queries 1,100,1000,10000] [--out FILE]

Rows in host memory: a search as a share of reading what it scans, once, by a kernel that adds it up; the first queries held against float64.
Codes in pieces: a search as a share of what one copy of what it brings would take, at the rate of a copy of a gigabyte; by the bytes of memory for pieces.
GPUs: the same rows on one and shared out among several; "times" is one GPU's time by theirs. The answers have to be the same.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cupy as cp
import numpy as np

from benchmarks.certified_gpu import called, clustered, timed
from knnscope import environment
from knnscope.certified.cuda.staging import ANYWHERE
from knnscope.certified.index import ExactIndex
from knnscope.search import definition

DIM, K, CHUNK, CHECKED, BUDGET = 384, 10, 1 << 20, 4, "60GiB"


def to_host(count: int) -> np.ndarray:
    """Rows, made on the GPU some at a time."""
    rows = np.empty((count, DIM), dtype=np.float32)
    for first in range(0, count, CHUNK):
        some = min(CHUNK, count - first)
        cp.asnumpy(clustered(some, DIM, first + 3), out=rows[first : first + some])
    return rows


def is_right(rows: np.ndarray, queries: Any, found: Any) -> bool:
    """Whether ids and distances of the first queries are the definition's."""
    asked = queries[:CHECKED].astype(cp.float64)
    near: list[list[int]] = [[] for _ in range(CHECKED)]
    for first in range(0, len(rows), CHUNK // 4):
        some = cp.asarray(rows[first : first + CHUNK // 4]).astype(cp.float64)
        for number, query in enumerate(asked):
            sums = ((some - query) ** 2).sum(axis=1)
            last = float(found.distances[number, -1]) * (1 + 1e-9)
            near[number] += [first + int(row) for row in cp.flatnonzero(sums <= last)]
    for number, places in enumerate(near):
        values = definition.distances(rows[places], cp.asnumpy(asked[number])[None], "l2")
        best = definition.select(values, K, "l2")
        if not np.array_equal(np.asarray(places)[best.ids[0]], cp.asnumpy(found.ids[number])):
            return False
        if not np.array_equal(best.distances[0], cp.asnumpy(found.distances[number])):
            return False
    return True


def read_us(array: Any) -> float:
    """Microseconds of reading an array once."""
    words = array.reshape(-1)[: array.nbytes // 8 * 8 // array.itemsize].view(cp.uint64)
    words.max()
    return timed(lambda: words.max(), fewest=9)


def host_rows(count: int, batches: Sequence[int]) -> dict[str, Any]:
    """Rows in host memory."""
    began = time.perf_counter()
    rows = to_host(count)
    made, began = time.perf_counter() - began, time.perf_counter()
    index = ExactIndex(rows, device="cuda", memory=BUDGET)
    built = time.perf_counter() - began
    queries = clustered(max(batches), DIM, 4)
    codes = index._living.state.whole.codes
    reading = {"plane": read_us(codes.plane), "codes": read_us(codes.codes)}
    facts: dict[str, Any] = {
        "rows": count, "gib": round(rows.nbytes / 2**30, 1), "made_s": round(made, 1), "built_s": round(built, 1), "levels": index.levels,
        "codes_gib": round(index.nbytes / 2**30, 2), "reading_us": reading, "lines": [],
    }  # fmt: skip
    print(facts, flush=True)
    for batch in batches:
        asked = queries[:batch]
        found = index.search(asked, K)
        assert found.certificate is not None
        path, took = " ".join(found.certificate.path), called(partial(index.search, asked, K))
        line = {
            "queries": batch, "path": path, "call_us": took,
            "computed": float(np.mean(found.certificate.computed)),
        }  # fmt: skip
        line["by_reading"] = round(took / reading["plane" if path == "plane" else "codes"], 3)
        if batch == max(batches):
            line["right"] = is_right(rows, queries, found)
        facts["lines"].append(line)
        print(line, flush=True)
    return facts


def link_rate(array: Any) -> float:
    """Bytes a microsecond of a copy from pinned host memory."""
    size = min(array.nbytes, 1 << 30)
    to = cp.cuda.alloc(size)
    stream = cp.cuda.get_current_stream()
    return size / timed(
        lambda: cp.cuda.runtime.memcpyAsync(to.ptr, array.data.ptr, size, ANYWHERE, stream.ptr), fewest=9
    )


def in_pieces(count: int, memories: Sequence[str], batches: Sequence[int]) -> dict[str, Any]:
    """Codes in host memory, as little of them on the GPU at once as is said."""
    rows, queries = to_host(count), clustered(max(batches), DIM, 4)
    facts: dict[str, Any] = {"rows": count, "gib": round(rows.nbytes / 2**30, 1), "lines": []}
    for memory in memories:
        began = time.perf_counter()
        index = ExactIndex(rows, device="cuda", memory=memory)
        built = round(time.perf_counter() - began, 1)
        codes = index._living.state.whole.codes
        streaming, rate = codes.streaming, link_rate(codes.codes)
        print(index.levels, f"{index.nbytes / 2**30:.2f} GiB of codes, link {rate / 1e3:.1f} GB/s", flush=True)
        for batch in batches:
            search = partial(index.search, queries[:batch], K)
            first = search()
            assert first.certificate is not None
            path, came = " ".join(first.certificate.path), streaming.brought
            search()
            cp.cuda.Device().synchronize()
            came = streaming.brought - came
            took = called(search)
            line = {
                "memory": memory, "built_s": built, "queries": batch, "path": path, "call_us": took, "brought_gib": round(came / 2**30, 3),
                "of_gib": round((codes.plane if path == "plane" else codes.codes).nbytes / 2**30, 3), "link_gb_s": round(rate / 1e3, 2),
                "by_link": round(took * rate / came, 3) if came else None, "computed": float(np.mean(first.certificate.computed)),
            }  # fmt: skip
            if batch == max(batches):
                line["right"] = is_right(rows, queries, first)
            facts["lines"].append(line)
            print(line, flush=True)
        del index, codes, streaming, search, first  # whose certificate has the index
        cp.get_default_memory_pool().free_all_blocks()
    return facts


def shared(count: int, gpus: Sequence[int], batches: Sequence[int]) -> list[dict[str, Any]]:
    """The same rows on one GPU, and on several."""
    rows, queries = clustered(count, DIM, 3), clustered(max(batches), DIM, 4)
    lines: list[dict[str, Any]] = []
    alone: dict[int, tuple[float, Any]] = {}
    for number in gpus:
        began = time.perf_counter()
        index = ExactIndex(rows, device=[f"cuda:{i}" for i in range(number)])
        built = time.perf_counter() - began
        for batch in batches:
            asked = queries[:batch]
            found = index.search(asked, K)
            took = called(partial(index.search, asked, K))
            assert found.certificate is not None
            ids = cp.asnumpy(found.ids)
            if number == 1:
                alone[batch] = took, ids
            one, same = alone[batch]
            line = {
                "gpus": number, "rows": count, "queries": batch, "call_us": took, "times": round(one / took, 3),
                "same": bool(np.array_equal(ids, same)), "path": " ".join(found.certificate.path), "built_s": round(built, 2),
            }  # fmt: skip
            lines.append(line)
            print(line, flush=True)
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host-rows", type=int, default=60_000_000)
    parser.add_argument("--piece-rows", type=int, default=40_000_000)
    parser.add_argument("--piece-memory", default="1GiB,8GiB")
    parser.add_argument("--shared-rows", type=int, default=40_000_000)
    parser.add_argument("--gpus", default="1,2,4")
    parser.add_argument("--queries", default="1,100,1000,10000")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    batches, there = [int(n) for n in args.queries.split(",")], cp.cuda.runtime.getDeviceCount()
    gpus = [n for n in map(int, args.gpus.split(",")) if n <= there]
    facts: dict[str, Any] = {"environment": environment.collect()}
    if args.shared_rows:
        facts["shared"] = shared(args.shared_rows, gpus, batches)
        cp.get_default_memory_pool().free_all_blocks()
    if args.host_rows:
        facts["host rows"] = host_rows(args.host_rows, [n for n in batches if n <= 1000])
        cp.get_default_memory_pool().free_all_blocks()
    if args.piece_rows:
        facts["pieces"] = in_pieces(args.piece_rows, args.piece_memory.split(","), batches)
    if args.out:
        args.out.write_text(json.dumps(facts, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
