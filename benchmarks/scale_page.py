"""docs/scale.md: what the model of scale_model.py says, and what it is held to. ``./dev pages`` writes it."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.scale_model import (
    Check,
    Gpu,
    Machine,
    Work,
    brought,
    checks,
    fits,
    hours,
    kept,
    least,
    merging,
    money,
    one_query,
    rates,
    result,
    terms,
)
from knnscope.units import difference

SIZES = (1e8, 1e9, 1e10)
COUNTS = (1, 4, 16, 64)
HEAD = """# Scale

What exact search over 10^8 to 10^10 rows takes on 1 to 64 machines: a model, from what was measured on one. `./dev pages` writes
this page from
`benchmarks/results`; a test holds each term within 25% of measurements that it was not made from. **No such cluster was run**: what several machines
do together is computed, not seen.

## The terms

Rows lie in shards of equal size, one a machine ([several machines](distributed.md)). Seconds of a batch are those of the slowest machine, then the
client's, one after another:

| term | is | measured |
|---|---|---|
{rates}

Machines here have {machine}: numbers of the reader's, arguments of the model (`Machine`). That {cores:g} cores do {cores:g} times the work of one was
not measured beyond two threads.

## What the terms are held to

A rate comes from one result, a line below from another: other rows, queries, k, threads or shards.

| term | what | predicted | measured | off | result |
|---|---|--:|--:|--:|---|
{checks}

## A search in shards, measured as a whole

{whole}

| workers | queries | one index: wall | its CPU | shards: wall | CPU of client and scheduler | CPU of workers |
|--:|--:|--:|--:|--:|--:|--:|
{searches}

Wall is the median of calls, and the least in brackets; all in ms. All answers were equal to the last bit. What client and scheduler take while
they wait is in theirs, so it grows with the wall time. Shards on one machine gain nothing; they pay where a batch takes longer than its tasks,
and where one machine does not hold the rows.

## Tables

{batch:,} queries a batch, {queries:,.0f} in all, k = {k}, float32. *One query* is a batch of one. *All queries* has building in it; machine-hours
times what an hour costs is the money
(`Machine(hour=...)`). Where rows and codes do not lie in memory, the model says nothing of time: rows would come from disks, which was not measured.

| rows | components | machines | memory of each | one query | a batch | most of it | all queries | machine-hours |
|--:|--:|--:|--:|--:|--:|---|--:|--:|
{table}

## What breaks first

{breaks}
"""


def duration(seconds: float) -> str:
    """With the unit that fits."""
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= 2 * size or unit == "ms":
            return f"{seconds / size:,.4g} {unit}" if seconds >= 1000 * size else f"{seconds / size:.3g} {unit}"
    raise AssertionError


def _table(machine: Machine) -> Iterator[str]:
    for rows in SIZES:
        for dim in (384, 768):
            work = Work(rows, dim)
            for count in COUNTS:
                each = (rows * dim * 4 + kept(rows, dim)) / count / 2**30
                head = f"| {rows:,.0f} | {dim} | {count} | {each:,.0f} GiB |"
                if not fits(work, machine, count):
                    yield f"{head} does not fit | | | | |"
                    continue
                some = terms(work, machine, count)
                most = max(some._fields, key=lambda name, some=some: getattr(some, name))
                spent = hours(work, machine, count)
                yield (
                    f"{head} {duration(sum(terms(work, machine, count, 1)))} | {duration(sum(some))} | {most} {getattr(some, most) / sum(some):.0%} | "
                    f"{duration(spent * 3600)} | {money(work, machine, count):,.0f} |"
                )


def _breaks(machine: Machine) -> Iterator[str]:
    needs = "; ".join(
        f"{rows:,.0f} rows x {dim}: {least(Work(rows, dim), machine):,}" for rows in SIZES for dim in (384, 768)
    )
    yield f"- **Memory**, before anything else. Machines of {machine.memory / 2**30:.0f} GiB that hold rows and codes: {needs}."
    found, work = rates(), Work(1e8, 384)
    alone = next(
        n
        for n in range(2, 10_000)
        if found.first + n * found.task > one_query(work.rows / n, work.dim, machine.memory_rate)
    )
    yield (
        f"- **One query at a time**: Dask's tasks. A call costs the client {found.first * 1e3:.1f} ms and {found.task * 1e3:.1f} "
        "ms a shard, while each shard gets smaller: with "
        f"10^8 rows x 384, from {alone} machines on it is more than the reading. More machines then make one query slower; ask in batches."
    )
    some = terms(Work(1e9, 384), machine, 64)
    yield (
        f"- **Batches**: products, as long as shards are large. With 10^9 rows x 384 on 64 machines they are {some.reading / sum(some):.0%} of the time, "
        f"the network {some.network / sum(some):.1%}, tasks {some.tasks / sum(some):.1%}, merging {some.merging / sum(some):.1%}."
    )
    answers = terms(Work(1e8, 384, k=100), machine, 64)
    yield (
        f"- **A large k on many machines**: every shard ranks k rows of its own, and the client merges all. With 10^8 rows x 384, "
        "k = 100, 64 machines, survivors and merging are "
        f"{(answers.survivors + answers.merging) / sum(answers):.0%} of a batch. Merging in a tree would share the client's part; at k = 10 it is "
        f"{merging(64, 1000, 10) * 1e3:.0f} ms for 1,000 queries and 64 shards, so it is not done."
    )
    yield (
        "- **On a GPU**, memory: 60,000,000 rows x 384 stay in the host's, and a batch of 1,000 queries takes 43 ms (`beyond-gpu-host-h200.json`); lists of "
        "candidates grow with the rows, and were tried up to there. Batches on GPUs are not modelled: "
        "from 384 to 768 components they took three times as long, not twice."
    )
    gpu, rows = Gpu(), 1e9
    seconds = brought(rows, 384, gpu) / gpu.link_rate
    yield (
        f"- **Where a GPU does not hold the codes**, its link: each batch brings the rest ([056](decisions/056-codes-in-pieces.md)). {rows:,.0f} rows x 384 "
        f"beside {gpu.memory / 2**30:.0f} GiB for codes and {gpu.link_rate / 1e9:.0f} GB/s, numbers of the reader's (`Gpu`): {duration(seconds)} a batch, "
        "of tens of queries or of thousands; up to four bring the plane alone."
    )


def page() -> str:
    """The page."""
    found, machine, work = rates(), Machine(), Work(1, 1)
    lines = (
        ("memory", "rows + codes and a plane", "4 bytes a component; 1.25 and 36 a row"),
        ("build", "bytes of rows / (rate x cores)", f"{found.build / 1e9:.2f} GB/s a core"),
        ("one query", "bytes of codes / rate of memory", "1 byte a component and 12 a row"),
        ("batch", "rows x queries x components x time / cores", f"{found.pair * 1e12:.2f} ps"),
        ("survivors", "queries x k x time / cores, on every machine", f"{found.survivor * 1e6:.2f} µs"),
        ("network", "machines x (queries + answers) / link", "4 bytes a component; 16 an answer, 24 a query"),
        (
            "tasks",
            "a call + machines x a task, client's CPU",
            f"{found.first * 1e3:.1f} ms + {found.task * 1e3:.1f} ms",
        ),
        (
            "merging",
            "once + n log2(n) x time, n = machines x k, for each query",
            f"{found.sort * 1e3:.2f} ms + {found.merge * 1e9:.1f} ns",
        ),
        ("link of a GPU", "bytes of codes that its memory does not hold / link", "1 byte a component; 12 a row stay"),
        ("money", "machines x hours x price of an hour", "yours"),
    )
    has = ", ".join(
        (
            f"{machine.cores:g} cores",
            f"{machine.memory / 2**30:.0f} GiB",
            f"{machine.memory_rate / 1e9:.0f} GB/s of memory",
            f"{machine.link_rate * 8e-9:g} Gbit/s of network",
        )
    )
    return HEAD.format(
        rates="\n".join(f"| {' | '.join(line)} |" for line in lines),
        machine=has,
        cores=machine.cores,
        batch=work.batch,
        queries=work.queries,
        k=work.k,
        checks="\n".join(_line(one) for one in checks()),
        table="\n".join(_table(machine)),
        breaks="\n".join(_breaks(machine)),
        whole=_whole(),
        searches="\n".join(_searches()),
    )


def _whole() -> str:
    found = result("distributed")
    loads = " to ".join(f"{found[name]:.0f}" for name in ("load_before", "load_after"))
    about = found["environment"]
    libraries = ", ".join(f"{name} {about['libraries'][name]}" for name in ("dask", "distributed"))
    searched = f"{found['rows']:,} rows of clustered text x {found['dim']}, k = {found['k']}"
    machine = f"{about['cpu']['usable_cores']} cores of an {about['cpu']['model']}"
    return (
        f"`python -m benchmarks.distributed`: {searched}, workers of one thread, by turns with one `ExactIndex` of one thread, on\n{machine} "
        f"that other work kept busy (load average {loads}); {libraries}.\n"
        "Wall times there are other work's as well: the least says what it can be, and CPU times what it takes, workers' less what they take while nobody asks."
    )


def _searches() -> Iterator[str]:
    for line in result("distributed")["cases"]:
        one, several = line["one_index"], line["shards"]
        assert line["same_bits"]
        walls = [f"{_short(some['wall_ms'])} ({_short(some['least_wall_ms'])})" for some in (one, several)]
        cpu = [_short(value) for value in (one["own_cpu_ms"], several["own_cpu_ms"], several["workers_cpu_ms"])]
        yield f"| {line['workers']} | {line['queries']:,} | {walls[0]} | {cpu[0]} | {walls[1]} | {cpu[1]} | {cpu[2]} |"


def _short(value: float) -> str:
    """Three digits or whole ones."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _line(one: Check) -> str:
    numbers = " | ".join(f"{value:,.4g} {one.unit}" for value in (one.predicted, one.measured))
    return f"| {one.term} | {one.what} | {numbers} | {difference(one.off)} | `{one.source}.json` |"
