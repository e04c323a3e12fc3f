# The source of from_seconds_to_microseconds.ipynb: `python -m notebooks build` makes it, `./dev notebook` runs it.

# %% [markdown]
# # From seconds to microseconds
#
# One exact vector search, made faster step by step: of 75,000 rows of numbers, which are the three nearest to a query? A study did this with
# Faiss and cuVS (libraries that search, cuVS on NVIDIA's GPUs), CuPy (NumPy on a GPU) and Nsight Systems (it records what a program does, in a *trace*).
# Here it is told again, on your machine, and goes on where the study ended. Each section asks a question, and the cell below it computes the answer.
# You need NumPy, and no knowledge of GPUs: a *kernel* is a function that runs on the GPU, a *launch* the order to run it, the *host* the processor
# with its memory, the *device* the GPU with its own. Other words: `docs/words.md`.
#
# Without an NVIDIA GPU every cell runs as well. A cell that needs one then shows results that were measured on other machines before and are part
# of this repository. It says so in its first line: `kept:`.

# %%
import contextlib
import inspect
import json
import lzma
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("KNNSCOPE_COMPILE", "wait")  # we measure: wait for the compiled search
warnings.filterwarnings("ignore", message=".*CUDA.*")
import numpy as np

import knnscope
from knnscope.api.embedding import time_devices
from knnscope.api.explaining import Part
from knnscope.api.recording import RecordOptions, record
from knnscope.api.workload import EncoderOptions
from knnscope.search import catalog, ladder
from knnscope.search.device import gpu_problem
from knnscope.search.ladder.verbose import explain

ROOT = next(p for p in (Path.cwd(), *Path.cwd().parents) if (p / "benchmarks" / "results").is_dir())
RESULTS, TRACES = ROOT / "benchmarks" / "results", ROOT / "tests" / "fixtures" / "traces"
SCRATCH = Path(tempfile.mkdtemp(prefix="knnscope-notebook-"))
NO_GPU = gpu_problem()
GPU = NO_GPU is None


def table(head, rows):
    """Print columns."""
    cells = [[str(c) for c in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


def took(seconds):
    """A time in words."""
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.0f} ns"


print("a GPU is here" if GPU else f"no GPU: {NO_GPU}")

# %% [markdown]
# ## The machine
#
# What will the figures below be figures of?

# %%
machine = knnscope.info()
print(machine)
table(
    ["engine", "here", "why not"],
    [[r["engine"], r["available"], (r["problem"] or "").split(":")[0]] for r in machine.rows()],
)

# %% [markdown]
# ## The data and its relevant pairs
#
# What does a search have to find? The study took ArguAna: an argument is the query, its counterargument the document to find. That is a
# download; with a network, `knnscope.load("arguana")` gets it. Here we take the sample that knnscope ships: few texts, of the same form.

# %%
texts = knnscope.load("sample")
print(texts, "\n")
for query in range(3):
    print("query:   ", texts.queries.texts[query])
    for row, grade in sorted(texts.qrels.of(query).items(), key=lambda pair: -pair[1])[:2]:
        print(f"grade {grade}: ", texts.documents.texts[row][:120])
    print()

# %% [markdown]
# ## Texts to vectors, on CPU and GPU
#
# How long does encoding take, and how much faster is a GPU? The encoder is all-MiniLM-L6-v2 (the study's gte-small is a download).

# %%
encoder = EncoderOptions()
devices = ["cpu"]
if GPU and knnscope.info().facts["libraries"].get("onnxruntime-gpu"):
    devices.append("cuda")
elif GPU:
    print("the GPU is left out: onnxruntime-gpu is not installed")
compared = None
try:
    compared = time_devices("sample", encoder, devices)
    lines = [[r.device, r.texts, took(r.wall_s), f"{r.texts / r.wall_s:,.0f}"] for r in compared.runs]
    table(["device", "texts", "time", "texts a second"], lines)
except knnscope.KnnscopeError as error:
    print(f"not encoded here: {error}")

# %%
if compared is not None and len(compared.vectors) == 2:
    difference = abs(compared.vectors[0] - compared.vectors[1]).max()
    print(f"CPU and GPU differ by at most {difference:.2g} a component")
else:
    print("kept: embed-devices-h200.json, an H200 and 16 cores")
    kept = json.loads((RESULTS / "embed-devices-h200.json").read_text())["medians"]
    rows = [[r["recipe"], r["device"], f"{r['texts']:,}", took(r["wall_s"]), f"{r['texts_per_s']:,.0f}"] for r in kept]
    table(["recipe", "device", "texts", "time", "texts a second"], rows)

# %% [markdown]
# In the kept table, `notebook` is the study's way: every text is padded to 128 tokens. `own` sorts texts by length and pads a batch to its
# longest text.

# %%
try:
    small = knnscope.embed(texts)
    small_rows, small_queries = (np.array(v, dtype=np.float32) for v in (small.vectors, small.dataset.queries.values))
except knnscope.KnnscopeError as error:
    print(f"kept: sample_vectors.npz, the same texts encoded on a processor before, since {error}")
    with np.load(ROOT / "examples" / "sample_vectors.npz") as file:
        small_rows, small_queries = file["rows"], file["queries"]
print("rows", small_rows.shape, "queries", small_queries.shape)

# %% [markdown]
# ## Faiss against cuVS, on few rows
#
# Is the GPU faster? Both search all rows, for one query, k = 3. The first call is shown by itself: the study measured only that one.
# (certified's first call waits for its compiler, the first time after an installation.)


# %%
def measure(engine, rows, query, k=3, calls=30):
    """First and median time of a call, in seconds, and the ids: the array goes to the GPU with every call where the engine is there."""
    index = catalog.load(engine).build(rows, "l2")
    on_gpu = catalog.ENGINES[engine].device == "cuda"
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        if on_gpu:
            import cupy

            ids = cupy.asnumpy(cupy.asarray(index.search(cupy.asarray(query[None]), k).ids))[0]
        else:
            ids = np.asarray(index.search(query[None], k).ids)[0]
        times.append(time.perf_counter() - start)
    return times[0], float(np.median(times[1:])), [int(i) for i in ids]


def missing(engine):
    """Why an engine cannot run here, or None."""
    row = next(r for r in machine.rows() if r["engine"] == engine)
    return None if row["available"] else (row["problem"] or row["state"]).split(":")[0]


def faceoff(rows, query):
    """Faiss, cuVS and certified side by side."""
    found = {}
    for engine in ("faiss", "faiss-gpu", "cuvs", "certified"):
        if why := missing(engine):
            print(f"{engine} is left out: {why}")
            continue
        try:
            found[engine] = measure(engine, rows, query)
        except Exception as error:  # a library that is installed and does not work must not end the story
            print(f"{engine} is left out: {type(error).__name__}: {str(error)[:120]}")
    table(["engine", "first call", "median call", "ids"], [[e, took(f), took(m), i] for e, (f, m, i) in found.items()])
    answers = {tuple(sorted(ids)) for _, _, ids in found.values()}
    print("all have the same rows" if len(answers) == 1 else f"{len(answers)} different answers")
    return found


few = faceoff(small_rows, small_queries[0])
print("\nquery:", texts.queries.texts[0])
for row in next(iter(few.values()))[2]:
    print(f"{texts.qrels.of(0).get(row, 0)} ", texts.documents.texts[row][:110])

# %% [markdown]
# The number before a text is the grade that people gave it for this query; 0 is "not judged relevant".
#
# ## The same on 75,000 rows
#
# What changes with the size? The study encoded 75,000 entries of DBpedia. That takes long on few cores, so these rows are generated: clustered,
# of 384 components and norms about 10, as the study's encoder gave. They mean nothing, but a search takes as long.

# %%
data = knnscope.load("synthetic:text,rows=75000,dim=384,queries=16")
rows = np.ascontiguousarray(data.documents.values, dtype=np.float32)
queries = np.ascontiguousarray(data.queries.values, dtype=np.float32)
print(f"{rows.shape[0]:,} rows of {rows.shape[1]}, {rows.nbytes / 1e6:.0f} MB")
many = faceoff(rows, queries[0])

# %%
if "cuvs" not in many:
    print("kept: compare-gpu-75000, one query, k = 3, caches hot, an H200 and 16 cores")
    run = knnscope.Comparison.load(RESULTS / "compare-gpu-75000")
    lines = [m for m in run.run.rows if m.batch == 1 and m.k == 3 and m.cache == "hot" and m.median_ns]
    lines = [m for m in lines if m.engine in ("faiss", "faiss-gpu", "cuvs")]
    table(
        ["engine", "boundary", "median call", "grade"],
        [[m.engine, m.boundary, took(m.median_ns / 1e9), m.grade] for m in lines],
    )

# %% [markdown]
# ## Why the small one loses
#
# Is it "moving data to the GPU", as the study says? Its index lay in GPU memory before the clock ran, so hardly. We time more and more rows,
# and see how much of a call is left when hardly any rows are.

# %%
sizes = [250, 1_000, 4_000, 16_000, 75_000]
costs = {}
for engine in [e for e in ("faiss", "cuvs") if e in many]:
    times = [measure(engine, rows[:n], queries[0])[1] for n in sizes]
    costs[engine] = times
    table(["rows", f"{engine}, a call"], [[f"{n:,}", took(t)] for n, t in zip(sizes, times, strict=True)])
    print(f"{engine}: a call on {sizes[0]} rows takes {times[0] / times[-1]:.2%} of the time on {sizes[-1]:,}\n")
first, later, _ = few["faiss"]
print(f"Faiss, few rows: the first call is {first / later:.1f} times a later one")
if "cuvs" in few:
    first, later, _ = few["cuvs"]
    import cupy

    start = time.perf_counter()
    cupy.asarray(small_queries[0]), cupy.cuda.Device().synchronize()
    print(
        f"cuVS, few rows: first call {took(first)}, later ones {took(later)}; moving the query: {took(time.perf_counter() - start)}"
    )
else:
    print("kept: no cuVS run on so few rows is kept; the cell measures it where cuVS is installed")

# %% [markdown]
# ## Norms and metrics
#
# Is the nearest by Euclidean distance also the nearest by angle? Only if all norms are equal. Are they?

# %%
for name, r, q in (("sample", small_rows, small_queries), ("generated", rows, queries)):
    norms = np.linalg.norm(r, axis=1)
    by = {metric: knnscope.knn(q[:16], r, k=3, metric=metric).ids for metric in ("l2", "cosine", "ip")}
    same = {metric: int((by["l2"] == by[metric]).all(axis=1).sum()) for metric in ("cosine", "ip")}
    print(
        f"{name}: norms {norms.min():.4f} to {norms.max():.4f}; of {len(by['l2'])} queries, the same 3 rows in the same order as l2:"
    )
    print(f"  cosine {same['cosine']}, inner product {same['ip']}")

# %% [markdown]
# The study has norms of "roughly" 10 and calls the metrics equivalent. The cell above counts how far roughly is enough.
#
# ## The loop, spelled out
#
# What does a search do? Four rows of two components, every step in words. Ties go to the smaller row.

# %%
print(explain())

# %% [markdown]
# ## The loop, timed
#
# How long does that take for 75,000 rows? Every version from here on is a *rung* of knnscope's ladder. The tables count its kernels and its copies
# between host and GPU; the grade says whether its rows are those of float64. Its source is the lesson (`xp` is NumPy or CuPy):

# %%
print(inspect.getsource(ladder.rung_class("cupy-loop").search))

# %%
KEPT = knnscope.Ladder.load(RESULTS / "ladder-75000-k3")
MEASURED = {}


def climb(*names, **how):
    """Measure rungs here; those that need a GPU come from kept results where there is none."""
    here = [n for n in names if GPU or n in ("numpy-loop", "certified", "faiss")]
    shown = [(r, where) for r, where in MEASURED.values() if r.rung in here]
    if new := [n for n in here if n not in MEASURED]:
        found = knnscope.climb(data, 3, new, repeat=3 if any("loop" in n or "pinned" in n for n in new) else 10, **how)
        shown += [(r, "here") for r in found.measurements]
    if others := [n for n in names if n not in here]:
        print("kept: ladder-75000-k3, an H200 and 16 cores:", ", ".join(others))
        shown += [(r, "kept") for r in KEPT.measurements if r.rung in others]
    for r, where in shown:
        if r.wall_ns is None:
            print(f"{r.rung}: {r.reason}")
        else:
            MEASURED[r.rung] = (r, where)
    lines = [(r, w) for r, w in shown if r.wall_ns is not None]
    table(
        ["rung", "measured", "on", "a search", "kernels", "copies", "grade"],
        [[r.rung, w, r.device, took(r.wall_ns / 1e9), r.kernels, r.copies, r.grade] for r, w in lines],
    )


climb("numpy-loop", "cupy-loop")

# %% [markdown]
# ## Arrays on the host or on the device: which step runs where?
#
# The same loop with NumPy arrays passed to `cupy.sum` and `cupy.sqrt`. The study found it faster than the one with all arrays on the GPU, and
# explained: a transfer of the row costs less than more kernels. Is there a transfer?

# %%
climb("cupy-loop-numpy-input", "cupy-loop")


# %%
def trace(rung, kept, count=300):
    """Record a rung on this GPU; where there is none, or no recorder, a trace that was recorded before."""
    if GPU:
        argv = [sys.executable, "-m", "knnscope.search.ladder", rung, "--rows", str(count)]
        argv += ["--repeat", "1" if count < 1_000 else "3"]
        try:
            with contextlib.chdir(ROOT):
                found = record(argv, SCRATCH / f"{rung}.sqlite", RecordOptions(ours=True))
            print(
                f"recorded here by {found.by}: {len(found.trace.kernels):,} kernels, {len(found.trace.copies):,} copies"
            )
            return knnscope.Trace(found.path)
        except Exception as error:
            print(f"not recorded here: {type(error).__name__}: {str(error)[:150]}")
    path = SCRATCH / f"{kept}.sqlite"
    path.write_bytes(lzma.decompress((TRACES / f"{kept}.sqlite.xz").read_bytes()))
    found = knnscope.Trace(path)
    print(f"kept: the trace {kept}, recorded on {', '.join(gpu.name for gpu in found.recorded.gpus.values())}")
    return found


def ask(of, sql):
    """Print a query's answer."""
    try:
        answer = of.sql(sql)
        table(answer.columns, [list(row) for row in answer])
    except knnscope.KnnscopeError as error:
        print(error)


KERNELS = """SELECT s.value AS kernel, count(*) AS launches FROM CUPTI_ACTIVITY_KIND_KERNEL k
JOIN StringIds s ON s.id = k.shortName GROUP BY 1 ORDER BY 2 DESC"""
COPIES = """SELECT CASE copyKind WHEN 1 THEN 'host to device' WHEN 2 THEN 'device to host' ELSE 'other' END AS direction,
count(*) AS copies, sum(bytes) AS bytes FROM CUPTI_ACTIVITY_KIND_MEMCPY GROUP BY 1"""

numpy_input = trace("cupy-loop-numpy-input", "300-cupy-loop-numpy-input")
ask(numpy_input, KERNELS)
ask(numpy_input, COPIES)

# %% [markdown]
# **Where the study erred.** If each row were copied to the GPU, the table would list a copy from host to device for each of them. And a sum on the
# GPU would be a kernel. Compare with all arrays on the GPU:

# %%
on_gpu = trace("cupy-loop", "300-cupy-loop")
ask(on_gpu, KERNELS)
ask(on_gpu, COPIES)


# %% [markdown]
# ## The traces
#
# What does one iteration of the loop look like? API calls of the host above, kernels and copies of the GPU below.


# %%
class Picture:
    """A picture that notebooks show."""

    def __init__(self, of, part=None):
        self.path = SCRATCH / f"picture-{len(list(SCRATCH.glob('picture-*')))}.png"
        self.drawn = of.draw(self.path, part)

    def _repr_png_(self):
        return self.path.read_bytes()

    def __repr__(self):
        return f"<timeline, {self.drawn.what}>"


def picture(of, part=None):
    """A timeline, or the whole trace where the part is not there."""
    try:
        return Picture(of, part)
    except knnscope.KnnscopeError as error:
        print(error)
        return Picture(of) if part is not None else None


picture(on_gpu, Part(around=100))

# %%
picture(numpy_input, Part(around=100))

# %% [markdown]
# Why is it slow? Asked of the trace:

# %%
why = knnscope.explain(on_gpu if GPU else trace("cupy-loop", "nsys-cupy-loop"))
for bound in why.bounds:
    print("bound by:", bound.what)
for finding in why.findings[:4]:
    print(f"{finding.rule}: {finding.saving_ms:.2f} ms a search. {finding.remedy}")

# %% [markdown]
# ## Pinned and pageable memory
#
# Ordinary memory is pageable: the system may move it, so the GPU cannot write into it directly. Pinned memory stays where it is. Does it help to
# copy into that? First, 4 bytes a row: how long is the copy, and how long is the host kept in the call?

# %%
climb("cupy-loop", "cupy-pinned")
pinned = trace("cupy-pinned", "300-cupy-pinned")
CALLS = """SELECT count(*) AS calls, round(avg(r.end - r.start) / 1e3, 2) AS mean_us, round(sum(r.end - r.start) / 1e6, 3) AS total_ms
FROM CUPTI_ACTIVITY_KIND_RUNTIME r JOIN StringIds s ON s.id = r.nameId WHERE s.value LIKE '%MemcpyAsync%'"""
BACK = """SELECT count(*) AS copies, round(avg(end - start) / 1e3, 2) AS mean_us
FROM CUPTI_ACTIVITY_KIND_MEMCPY WHERE copyKind = 2"""
for name, of in (("pageable", on_gpu), ("pinned", pinned)):
    print(f"\n{name}: the calls of the host, then the copies back")
    ask(of, CALLS)
    ask(of, BACK)

# %% [markdown]
# **Where the study erred.** Times in a trace are nanoseconds: divided by 1,000 they are microseconds, by 1,000,000 milliseconds. The study calls
# them nanoseconds and seconds. And it takes copies to the host for `copyKind` 1; what the trace says:

# %%
ask(on_gpu, "SELECT id, label FROM ENUM_CUDA_MEMCPY_OPER WHERE id IN (1, 2)")
ask(
    on_gpu,
    """SELECT round(avg(1.0 * bytes / (end - start)) * 1e9 / 1048576) AS mean_of_rates_mib_s,
round(1e9 * sum(bytes) / sum(end - start) / 1048576) AS rate_mib_s FROM CUPTI_ACTIVITY_KIND_MEMCPY WHERE copyKind = 1""",
)

# %% [markdown]
# The last table is one more: a mean of rates, as the study has it, is not the rate at which the bytes went.
#
# One iteration with pinned memory: does the call end before the copy?

# %%
picture(pinned, Part(around=100))

# %% [markdown]
# Second, all rows in one copy. How much faster is pinned memory there?

# %%
climb("pageable-bulk", "pinned-bulk")
bulk = {}
for kind in ("pageable", "pinned"):
    bulk[kind] = trace(f"{kind}-bulk", f"75000-{kind}-bulk", 75_000)
    ask(
        bulk[kind],
        "SELECT bytes, round(1e9 * bytes / (end - start) / 1048576) AS mib_s FROM CUPTI_ACTIVITY_KIND_MEMCPY WHERE copyKind = 2 AND bytes > 1000000",
    )

# %%
picture(bulk["pageable"], Part(phase="search"))

# %%
picture(bulk["pinned"], Part(phase="search"))

# %% [markdown]
# ## Vectorising
#
# What if four kernels compute all distances at once? What is left to do one by one?

# %%
climb("cupy-loop", "vectorized")
print(inspect.getsource(ladder.rung_class("vectorized").search))

# %% [markdown]
# ## Sorting on the GPU
#
# How much was that loop of `item()`? And what does a sort do that needs only the first three?

# %%
climb("vectorized", "argsort")
sorting = trace("argsort", "nsys-argsort", 75_000)
ask(
    sorting,
    """SELECT s.value AS kernel, count(*) AS launches, round(sum(k.end - k.start) / 1e3, 1) AS gpu_us
FROM CUPTI_ACTIVITY_KIND_KERNEL k JOIN StringIds s ON s.id = k.shortName GROUP BY 1 ORDER BY 3 DESC""",
)

# %%
picture(sorting, Part(phase="search"))

# %% [markdown]
# ## Fusing
#
# Difference, square, sum, root in one kernel: how many bytes are not moved any more?

# %%
climb("argsort", "fused")
for name in ("argsort", "fused"):
    r, _ = MEASURED.get(name, (None, ""))
    if r is not None and r.bytes_moved:
        print(f"{name}: {r.bytes_moved / 1e6:,.0f} MB moved, {r.bytes_moved / rows.nbytes:.1f} times the rows")

# %% [markdown]
# ## Past the study's end: selection instead of a sort
#
# The study stops at the fused kernel and a sort. Nobody asked for the order of the other 74,997 rows: `topk` selects. `gemm` computes the distances
# by a matrix product instead, and selects too.

# %%
climb("fused", "topk", "gemm")

# %% [markdown]
# ## One kernel
#
# Distances and selection in one: rows are read once, nothing else is. How near is that to the time that reading takes?

# %%
climb("topk", "fused-topk", "graph")
for name in ("topk", "fused-topk", "graph"):
    r, where = MEASURED.get(name, (None, ""))
    if r is not None and r.floor_ns:
        spent = r.event_ns or r.wall_ns
        print(
            f"{name} ({where}): reading the rows once would take {took(r.floor_ns / 1e9)}, {r.floor_ns / spent:.0%} of the search"
        )

# %% [markdown]
# ## Certified search
#
# Can an exact search read less than all rows? It reads codes of a byte a component, bounds every distance from them, and computes only those rows
# that the bound cannot exclude. Is the answer that of float64?

# %%
index = knnscope.ExactIndex(rows, metric="l2").wait()
found = index.search(queries, k=3)
print(found.certificate)
check = rows.astype(np.float64)
for q, ids in zip(queries[:4], found.ids, strict=False):
    exact = np.argsort(((check - q) ** 2).sum(axis=1), kind="stable")[:3]
    print(ids, "float64 has", exact, "the same" if (ids == exact).all() else "DIFFERENT")
del check
climb("faiss", "certified", *(("faiss-gpu", "cuvs", "certified-gpu") if GPU else ()))

# %% [markdown]
# ## Half a byte a component
#
# On a GPU the first pass reads half a byte a component (`plane` in the table), for many queries a byte (`codes`). What does that come to?

# %%
if GPU:
    try:
        import cupy

        on_device = knnscope.ExactIndex(rows, metric="l2", device="cuda")
        q = cupy.asarray(queries[:1])
        times = []
        for _ in range(200):
            start = time.perf_counter()
            ids = on_device.search(q, k=3).ids
            cupy.cuda.Device().synchronize()
            times.append(time.perf_counter() - start)
        print(
            f"measured here, one query, k = 3: {took(float(np.median(times)))} a call; rows {cupy.asnumpy(cupy.asarray(ids))[0]}"
        )
        print("the same as on the processor:", bool((cupy.asnumpy(cupy.asarray(ids))[0] == found.ids[0]).all()))
    except Exception as error:
        print(f"not run here: {type(error).__name__}: {str(error)[:150]}")
else:
    print("kept: certified-gpu-h200-alone.json, an H200, k = 10")
    kept = json.loads((RESULTS / "certified-gpu-h200-alone.json").read_text())
    for b in kept["builds"]:
        print(f"{b['rows']:,} rows: {b['bytes_a_row']:.0f} bytes a row beside them; {b['levels']}")
    lines = [x for x in kept["lines"] if x["queries"] in (1, 100)]
    table(
        ["rows", "queries", "reads", "a call"],
        [[f"{x['rows']:,}", x["queries"], x["path"], took(x["call_us"] / 1e6)] for x in lines],
    )

# %% [markdown]
# ## All of it
#
# From the first version to the last: what did each step bring?

# %%
groups = {"here": [r for r, where in MEASURED.values() if where == "here"]}
if not GPU:
    groups["kept: ladder-75000-k3, an H200 and 16 cores"] = [r for r in KEPT.measurements if r.wall_ns is not None]
for where, measured in groups.items():
    slowest = max(r.wall_ns for r in measured)
    print(f"\n{where}; ratios are of the same machine")
    lines = [[r.rung, r.device, took(r.wall_ns / 1e9), f"{slowest / r.wall_ns:,.1f}"] for r in measured]
    table(["version", "on", "a search", "times as fast as the slowest"], lines)

# %% [markdown]
# Each version is also a program of its own, for any profiler: `python -m knnscope.search.ladder fused-topk`. On your own vectors:
# `knnscope ladder vectors.npy`, `knnscope compare vectors.npy`.
