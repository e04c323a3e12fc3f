# The source of from_seconds_to_microseconds.ipynb: `python -m notebooks build` makes it, `./dev notebook` runs it.

# %% [markdown]
# # From seconds to microseconds
#
# One exact vector search, made faster step by step: of 75,000 rows of numbers, which are the three nearest to a query? A study did this first, on a
# laptop's GPU: *Comparing different types of vector search using Faiss, cuVS, CuPy and optimizing it with the help of NVIDIA Nsight Systems*. Here it
# is told again, on your machine, and goes on where the study ended. Each section asks a question, and the cell below it computes the answer.
#
# You need NumPy, and no knowledge of GPUs. Faiss and cuVS are libraries that search, cuVS on NVIDIA's GPUs; CuPy is NumPy on a GPU; Nsight Systems
# records what a program does, in a *trace*. A *kernel* is a function that runs on the GPU, a *launch* the order to run it; the *host* is the processor
# with its memory, the *device* the GPU with its own. Other words: `docs/words.md`.
#
# Without an NVIDIA GPU every cell runs as well. A cell that needs one then shows results that were measured on other machines before and are part
# of this repository: figures of an H200, traces of an H100. They begin with `kept:`. A line that begins with `study:` quotes what the study printed
# (`examples/study.json`). It is another machine: compare ratios, not times.

# %%
import contextlib
import inspect
import json
import lzma
import os
import re
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
STUDY = json.loads((ROOT / "examples" / "study.json").read_text())
KEPT = knnscope.Ladder.load(RESULTS / "ladder-75000-k3")


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
# Which machine will the figures below be of?

# %%
machine = knnscope.info()
print(machine)
print("study:", STUDY["gpu"])
table(
    ["engine", "here", "why not"],
    [[r["engine"], r["available"], (r["problem"] or "").split(":")[0]] for r in machine.rows()],
)

# %% [markdown]
# ## The data and its relevant pairs
#
# What does a search have to find? The study took ArguAna, of BEIR: an argument is the query, its counterargument the document to find. That is a
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
told = STUDY["encoding"]
print(
    f"study: up to {told['batches'] * told['batch_size']:,} texts, CPU {took(told['cpu'])}, GPU {took(told['cuda'])}: "
    f"{told['cpu'] / told['cuda']:.0f} times as fast; 75,000 texts, GPU {took(told['cuda_75000'])}"
)
if compared is not None and len(compared.vectors) == 2:
    difference = abs(compared.vectors[0] - compared.vectors[1]).max()
    print(f"CPU and GPU differ by at most {difference:.2g} a component")
else:
    print("kept: embed-devices-h200.json, an H200 and 16 cores")
    kept = json.loads((RESULTS / "embed-devices-h200.json").read_text())["medians"]
    lines = [[r["recipe"], r["device"], f"{r['texts']:,}", took(r["wall_s"]), f"{r['texts_per_s']:,.0f}"] for r in kept]
    table(["recipe", "device", "texts", "time", "texts a second"], lines)
    walls = {(r["recipe"], r["device"]): r["wall_s"] for r in kept}
    for recipe in ("own", "notebook"):
        print(f"{recipe}: the GPU is {walls[recipe, 'cpu'] / walls[recipe, 'cuda']:.0f} times as fast")

# %% [markdown]
# In the kept table, `notebook` is the study's way: the first token's vector, not normalised, every text padded to 128 tokens. `own` is the model's
# own: a mean over tokens, normalised; texts are sorted by length, and a batch is padded to its longest.

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
# Is the GPU faster? All search all rows, for one query, k = 3. An index without compression is little more than the rows in memory; *build* says how
# long making it takes. The first call is shown by itself: it is the one that the study measured. (certified's waits for its compiler, the first
# time after an installation.)


# %%
def measure(engine, rows, query, k=3, calls=30):
    """Seconds of building, of the first call, of the median of the others; and the ids. To an engine on the GPU the query is copied in each call."""
    start = time.perf_counter()
    index = catalog.load(engine).build(rows, "l2")
    built = time.perf_counter() - start
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
    return built, times[0], float(np.median(times[1:])), [int(i) for i in ids]


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
    lines = [[engine, *map(took, seconds), ids] for engine, (*seconds, ids) in found.items()]
    table(["engine", "build", "first call", "median call", "ids"], lines)
    answers = {tuple(sorted(ids)) for *_, ids in found.values()}
    print("all have the same rows" if len(answers) == 1 else f"{len(answers)} different answers")
    return found


def quote(size):
    """The study's calls."""
    calls = STUDY["first_calls"]
    print(
        f"study: first calls: faiss {took(calls['faiss'][size])}, cuvs {took(calls['cuvs'][size])}; the same texts from both"
    )


few = faceoff(small_rows, small_queries[0])
quote("few")
print("\nquery:", texts.queries.texts[0])
for row in next(iter(few.values()))[-1]:
    print(f"{texts.qrels.of(0).get(row, 0)} ", texts.documents.texts[row][:110])

# %% [markdown]
# The number before a text is the grade that people gave it for this query; 0 is "not judged relevant".
#
# ## The same on 75,000 rows
#
# What changes with the size? The study encoded 75,000 entries of DBpedia-Entity. That takes long on few cores, so these rows are generated: clustered,
# of 384 components and norms around 10. They mean nothing. To an engine that visits every row that makes no difference; what certified takes does
# depend on the rows.

# %%
data = knnscope.load("synthetic:text,rows=75000,dim=384,queries=16")
rows = np.ascontiguousarray(data.documents.values, dtype=np.float32)
queries = np.ascontiguousarray(data.queries.values, dtype=np.float32)
print(f"{rows.shape[0]:,} rows of {rows.shape[1]}, {rows.nbytes / 1e6:.0f} MB")
many = faceoff(rows, queries[0])
quote("75,000")

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
# The study names two causes: moving data to the GPU, and setting it up. Moving is hardly one: rows and query lay in the GPU's memory before its clock
# ran. Setting up may well be, since it timed the first call. And a later call? How much of it depends on the rows at all?

# %%
sizes = [250, 1_000, 4_000, 16_000, 75_000]
costs = {}
for engine in [e for e in ("faiss", "cuvs") if e in many]:
    times = [measure(engine, rows[:n], queries[0])[1] for n in sizes]
    costs[engine] = times
    table(["rows", f"{engine}, a call"], [[f"{n:,}", took(t)] for n, t in zip(sizes, times, strict=True)])
    print(f"{engine}: a call on {sizes[0]} rows takes {times[0] / times[-1]:.2%} of the time on {sizes[-1]:,}\n")
for engine in [e for e in costs if e in few]:
    _, first, later, _ = few[engine]
    print(f"{engine}, few rows: the first call takes {first / later:.1f} times as long as a later one")
if "cuvs" in many:
    import cupy

    start = time.perf_counter()
    cupy.asarray(small_queries[0]), cupy.cuda.Device().synchronize()
    print(f"moving a query to the GPU: {took(time.perf_counter() - start)}")
else:
    print(
        "\nkept: compare-gpu-75000, compare-gpu-1000000 and ladder-75000-k3, one query, k = 3, caches hot, an H200 and 16 cores"
    )
    kept = {}
    for n in (75_000, 1_000_000):
        for m in knnscope.Comparison.load(RESULTS / f"compare-gpu-{n}").run.rows:
            if (m.batch, m.k, m.cache) == (1, 3, "hot") and m.median_ns:
                kept[m.engine, m.boundary, n] = m.median_ns / 1e9
    lines = []
    for engine, boundary in (("faiss", "host"), ("cuvs", "host"), ("cuvs", "device")):
        less, more = (kept[engine, boundary, n] for n in (75_000, 1_000_000))
        fixed = max(less - 75_000 * (more - less) / 925_000, 0)  # where the line through both meets no rows
        lines.append([engine, boundary, took(less), took(more), f"{more / less:.1f}", f"{fixed / less:.0%}"])
    head = [
        "engine",
        "query and answer on the",
        "75,000 rows",
        "1,000,000 rows",
        "times as long",
        "fixed part of 75,000",
    ]
    table(head, lines)
    cuvs = next(r for r in KEPT.measurements if r.rung == "cuvs")
    print(f"cuVS, 75,000 rows: the first call takes {cuvs.first_ns / cuvs.wall_ns:.1f} times as long as a later one")
    moving = 1 - kept["cuvs", "device", 75_000] / kept["cuvs", "host", 75_000]
    print(f"cuVS, 75,000 rows: moving query and answer is {moving:.0%} of a call from the host")

# %% [markdown]
# ## Norms and metrics
#
# Is the nearest by Euclidean distance also the nearest by angle? With equal norms it is. The study has norms of roughly 10 and takes the metrics for
# equivalent. How near to equal is near enough? The table squeezes the norms of generated rows toward 10 step by step.


# %%
def agreement(r, q):
    """Norms, and for how many queries the same 3 rows come in the same order as by l2."""
    norms = np.linalg.norm(r, axis=1)
    by = {metric: knnscope.knn(q[:16], r, k=3, metric=metric).ids for metric in ("l2", "cosine", "ip")}
    same = [int((by["l2"] == by[metric]).all(axis=1).sum()) for metric in ("cosine", "ip")]
    return [f"{norms.min():.4f} to {norms.max():.4f}", *same]


part = rows[:8_000]
norms = np.linalg.norm(part, axis=1, keepdims=True)
lines = [["the sample", *agreement(small_rows, small_queries)]]
for spread in (1, 0.3, 0.1, 0.03, 0.01, 0):
    squeezed = (part * (STUDY["norm"] / norms) ** (1 - spread)).astype(np.float32)
    lines.append([f"generated, {spread:.0%} of the spread", *agreement(squeezed, queries)])
table(["rows", "norms", "cosine, of 16", "inner product, of 16"], lines)

# %% [markdown]
# ## The loop, spelled out
#
# What does a search do? The study's four rows of two components, every step in words. Ties go to the smaller row.

# %%
print(explain())

# %% [markdown]
# ## The loop, timed
#
# How long does that take for 75,000 rows, on the processor and on the GPU? Every version from here on is a *rung* of knnscope's ladder. The tables
# count its kernels and its copies between host and GPU; the grade says whether its rows are those of float64. Its source is the lesson (`xp` is NumPy
# or CuPy):

# %%
print(inspect.getsource(ladder.rung_class("cupy-loop").search))

# %%
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
    notes = [f"{r.rung}: {r.note}" for r, _ in lines if r.note]
    table(
        ["rung", "measured", "on", "a search", "kernels", "copies", "grade"],
        [[r.rung, w, r.device, took(r.wall_ns / 1e9), r.kernels, r.copies, r.grade] for r, w in lines],
    )
    print(*notes, sep="\n", end="\n" if notes else "")


def retell(*names, of="versions"):
    """What the study has for these."""
    print("study:", ", ".join(f"{name} {took(STUDY[of][name])}" for name in names))


climb("numpy-loop", "cupy-loop")
alone = {r.rung: r.wall_ns for r in ([r for r, _ in MEASURED.values()] if GPU else KEPT.measurements)}
print(
    f"on one machine, {'this' if GPU else 'the kept one'}: the GPU's loop takes {alone['cupy-loop'] / alone['numpy-loop']:.1f} times as long as NumPy's"
)
print(f"study: the loop on the CPU {took(STUDY['numpy_loop_as_run'])}")
retell("cupy-loop")

# %% [markdown]
# In the study the loop on the GPU wins by far. Its own code says why; the next section comes to it.
#
# ## Arrays on the host or on the device: which step runs where?
#
# The same loop with NumPy arrays passed to `cupy.sum` and `cupy.sqrt`. The study found it faster than the one with all arrays on the GPU. It supposed
# that each row is copied to the GPU without the trace showing it, and that this costs less than more kernels. Is there a transfer?

# %%
climb("cupy-loop-numpy-input", "cupy-loop")
retell("cupy-loop-numpy-input", "cupy-loop")

# %% [markdown]
# A trace says what ran where. Each visits 300 rows and searches four times.

# %%
SEARCHES = 4


def trace(rung, count=300):
    """Record a rung on this GPU; where there is none, or no recorder, a trace that was recorded before."""
    if GPU:
        argv = [sys.executable, "-m", "knnscope.search.ladder", rung, "--rows", str(count), "--repeat", str(SEARCHES)]
        try:
            with contextlib.chdir(ROOT):
                found = record(argv, SCRATCH / f"{rung}.sqlite", RecordOptions(ours=True))
            print(
                f"recorded here by {found.by}: {len(found.trace.kernels):,} kernels, {len(found.trace.copies):,} copies"
            )
            return knnscope.Trace(found.path)
        except Exception as error:
            print(f"not recorded here: {type(error).__name__}: {str(error)[:150]}")
    path = SCRATCH / f"nsys-{rung}.sqlite"
    path.write_bytes(lzma.decompress((TRACES / f"{path.name}.xz").read_bytes()))
    found = knnscope.Trace(path)
    print(f"kept: the trace {path.stem}, recorded on {', '.join(gpu.name for gpu in found.recorded.gpus.values())}")
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

numpy_input = trace("cupy-loop-numpy-input")
ask(numpy_input, KERNELS)
ask(numpy_input, COPIES)

# %% [markdown]
# **Where the study erred.** If each row were copied to the GPU, the table would list a copy from host to device for each of them. And a sum on the
# GPU would be a kernel: it is NumPy's, so three steps of four run on the processor, not two. Only the sum, one number, goes up, as an argument of the
# root's kernel. The study was right about the other loop, four kernels a row, and about its rows, which went up in one copy:

# %%
on_gpu = trace("cupy-loop")
ask(on_gpu, KERNELS)
ask(on_gpu, COPIES)

# %% [markdown]
# **Where the study erred, again.** Its cells define the distance by NumPy, define it by CuPy under the same name, and only then time the loop "on the
# CPU". In that order, this loop takes roots on the GPU and sorts what stays there: each comparison of the sort is a kernel, whose answer is copied
# back and waited for. How many comparisons are that, and what does each cost?

# %%


class Counted(float):
    """A distance that counts how often it is compared."""

    times = 0

    def __lt__(self, other):
        Counted.times += 1
        return float.__lt__(self, other)


sorted(map(Counted, np.sqrt(((rows - queries[0]) ** 2).sum(axis=1))))
beyond = STUDY["numpy_loop_as_run"] - STUDY["versions"]["cupy-loop-numpy-input"]
print(f"sorting {len(rows):,} distances compares {Counted.times:,} times")
print(f"study: beyond the loop that fetches every root: {took(beyond)}, or {took(beyond / Counted.times)} a comparison")
ask(
    numpy_input,
    """SELECT 'a kernel, a copy back, a wait' AS calls, round(sum(r.end - r.start) / 1e3 / sum(s.value = 'cuLaunchKernel'), 1) AS us
FROM CUPTI_ACTIVITY_KIND_RUNTIME r JOIN StringIds s ON s.id = r.nameId
WHERE s.value = 'cuLaunchKernel' OR s.value LIKE 'cudaMemcpyAsync%' OR s.value LIKE 'cudaStreamSynchronize%'""",
)
print("a loop of NumPy alone:", took(MEASURED["numpy-loop"][0].wall_ns / 1e9))


# %% [markdown]
# ## The traces
#
# What does one iteration of the loop look like? API calls of the host above, kernels and copies of the GPU below. First with all arrays on the GPU:
# four launches, a copy that the host is kept in, a wait, and a GPU that hardly works.


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


picture(on_gpu, Part(around=1_000))

# %% [markdown]
# And with NumPy's arrays: one launch, the same copy, and gaps in which NumPy computes.

# %%
picture(numpy_input, Part(around=1_000))

# %% [markdown]
# Why is it slow? Asked of the trace:

# %%
why = knnscope.explain(on_gpu)
for bound in why.bounds:
    print("bound by:", bound.what)
for finding in why.findings[:4]:
    print(f"{finding.rule}: {finding.saving_ms:.2f} ms a search. {finding.remedy}")

# %% [markdown]
# ## Pinned and pageable memory
#
# Ordinary memory is pageable: the system may move it, so the GPU cannot write into it directly. Pinned memory stays where it is. Does it help to
# copy into that? First, 4 bytes a row: how long is the copy, and how long is the host kept in the call? The study's loop waits after each copy;
# `cupy-pinned` waits once, at the end.

# %%
climb("cupy-loop", "cupy-pinned")
retell("cupy-loop", "pinned, each copy waited for")
pinned = trace("cupy-pinned")
BACK = """SELECT count(*) AS copies, round(avg(m.end - m.start) / 1e3, 2) AS copy_us, round(avg(r.end - r.start) / 1e3, 2) AS call_us,
round(sum(r.end - r.start) / 1e6, 2) AS all_calls_ms FROM CUPTI_ACTIVITY_KIND_MEMCPY m
JOIN CUPTI_ACTIVITY_KIND_RUNTIME r ON r.correlationId = m.correlationId WHERE m.copyKind = 2"""
for name, of in (("pageable", on_gpu), ("pinned", pinned)):
    print(f"\n{name}: the copies back, and the host's calls for them")
    ask(of, BACK)
    copy, call = STUDY["copies_back"][name]["mean_us"], STUDY["cudaMemcpyAsync"][name]["mean_us"]
    print(f"study: copy {copy:.2f} µs, call {call:.2f} µs")

# %% [markdown]
# The study found the same: the copy takes as long either way, the call three times as long with pageable memory.
#
# **Where the study erred.** Times in a trace are nanoseconds: divided by 1,000 they are microseconds, by 1,000,000 milliseconds. The study calls
# them nanoseconds and seconds. Which is it? Its mean and its total together give the number of calls, and its loop makes one for each of 75,000 rows:

# %%
for name, call in STUDY["cudaMemcpyAsync"].items():
    mean_s, total = call["mean_us"] / 1e6, call["total_called_sec"]
    print(
        f"study: {name}, {total:.1f} in all: {total / mean_s:,.0f} calls if these are seconds, {total / 1e3 / mean_s:,.0f} if milliseconds"
    )

# %% [markdown]
# It also says that copies to the host have `copyKind` 1, while its queries ask for 2. And its throughput is the mean of every copy's own rate. That is
# nearly the rate for its copies, which are all of 4 bytes. Where sizes differ, as on the way up, it is not. What the trace says:

# %%
ask(on_gpu, "SELECT id, label FROM ENUM_CUDA_MEMCPY_OPER WHERE id IN (1, 2)")
ask(
    on_gpu,
    """SELECT copyKind, min(bytes) AS smallest, max(bytes) AS largest,
round(avg(1.0 * bytes / (end - start)) * 1e9 / 1048576, 2) AS mean_of_rates_mib_s,
round(1e9 * sum(bytes) / sum(end - start) / 1048576, 2) AS rate_mib_s FROM CUPTI_ACTIVITY_KIND_MEMCPY GROUP BY 1""",
)

# %% [markdown]
# One iteration with pinned memory: does the call end before the copy?

# %%
picture(pinned, Part(around=1_000))

# %% [markdown]
# Second, all rows in one copy. How much faster is pinned memory there? The study has nearly half the rate for pageable memory, and over 9 ms
# gained. (NumPy computes the distances after the copy, and takes most of the search: look at the copies.)

# %%
climb("pageable-bulk", "pinned-bulk")
bulk, rates = {}, {}
for memory in ("pageable", "pinned"):
    bulk[memory] = trace(f"{memory}-bulk", 75_000)
    large = "FROM CUPTI_ACTIVITY_KIND_MEMCPY WHERE copyKind = 2 AND bytes > 1000000"
    ask(
        bulk[memory],
        f"SELECT bytes, round((end - start) / 1e6, 2) AS ms, round(1.0 * bytes / (end - start), 1) AS gb_s {large}",
    )
    rates[memory], milliseconds = next(
        iter(bulk[memory].sql(f"SELECT 1.0 * sum(bytes) / sum(end - start), avg(end - start) / 1e6 {large}"))
    )
    print(f"{memory}: {milliseconds:.2f} ms a copy, {rates[memory]:.1f} GB/s")
print(f"pageable memory is copied at {rates['pageable'] / rates['pinned']:.0%} of pinned memory's rate")

# %% [markdown]
# The last copy, on the same scale twice: with pageable memory the host is kept in the copying call, with pinned memory it could do something else
# than wait.


# %%
def last_copy(of):
    """From half a millisecond before it, as long as the slowest copy and a millisecond more."""
    began, _ = next(iter(of.sql(f"SELECT max(start), 0 {large}")))
    begin = (began - of.recorded.span[0]) / 1e6 - 0.5
    return picture(of, Part(begin=begin, end=begin + 1 + slowest))


slowest = max(next(iter(of.sql(f"SELECT max(end - start) / 1e6, 0 {large}")))[0] for of in bulk.values())
last_copy(bulk["pageable"])

# %%
last_copy(bulk["pinned"])

# %% [markdown]
# ## Vectorising
#
# What if four kernels compute all distances at once? What is left to do one by one?

# %%
climb("cupy-loop", "vectorized")
retell("cupy-loop", "vectorized")
print(inspect.getsource(ladder.rung_class("vectorized").search))

# %% [markdown]
# A search of 300 rows: four kernels, and then one copy after the other, each waited for.

# %%
whole_arrays = trace("vectorized")
picture(whole_arrays, Part(phase="search"))

# %% [markdown]
# ## Sorting on the GPU
#
# How much was that loop of `item()`? And what does a sort do that needs only the first three? (`copies` are those inside the search. The answer, k row
# numbers, is copied after it; the time has both.)

# %%
climb("vectorized", "argsort")
retell("vectorized", "argsort")
sorting = trace("argsort", 75_000)
A_SEARCH = f"""SELECT s.value AS kernel, count(*) / {SEARCHES} AS launches, round(sum(k.end - k.start) / 1e3 / {SEARCHES}, 1) AS us_a_search
FROM CUPTI_ACTIVITY_KIND_KERNEL k JOIN StringIds s ON s.id = k.shortName GROUP BY 1 ORDER BY 3 DESC"""
ask(sorting, A_SEARCH)
ask(
    sorting,
    """SELECT round(100.0 * sum((k.end - k.start) * (s.value LIKE '%RadixSort%')) / sum(k.end - k.start), 1) AS percent_sorting
FROM CUPTI_ACTIVITY_KIND_KERNEL k JOIN StringIds s ON s.id = k.shortName""",
)

# %% [markdown]
# As in the study: one histogram, one sum, four sweeps; and the distances take longer than the sort.

# %%
picture(sorting, Part(phase="search"))

# %% [markdown]
# The study follows one number from version to version: the kernels' share of the GPU's time, of which copies are the rest. Its profiler counts the whole
# program, and there the rows go up once. What is the share of a search alone? (300 rows in the first two traces, 75,000 in the last.)


# %%
def shares(of, rung):
    """Of a search, and of a search and the copy of the rows before it."""
    phases = {p["phase"]: p for p in knnscope.explain(of).phases}
    search, load = phases[f"search {rung}"], phases[f"load {rung}"]
    kernels = search["kernel_share"] * search["gpu_work_ms"]
    return [rung, f"{search['kernel_share']:.1%}", f"{kernels / (search['gpu_work_ms'] + load['gpu_work_ms']):.1%}"]


lines = [
    [*shares(of, rung), f"{STUDY['kernel_share_of_gpu_time'][rung]:.1%}"]
    for rung, of in (("cupy-loop", on_gpu), ("vectorized", whole_arrays), ("argsort", sorting))
]
table(["kernels' share", "of a search", "with the rows' copy", "study"], lines)

# %% [markdown]
# ## Fusing
#
# Difference, square, sum, root in one kernel: how many bytes are not moved any more?

# %%
climb("argsort", "fused")
retell("argsort", "fused", of="means_of_ten")
for name in ("argsort", "fused"):
    r, _ = MEASURED.get(name, (None, ""))
    if r is not None and r.bytes_moved:
        print(f"{name}: {r.bytes_moved / 1e6:,.0f} MB moved, {r.bytes_moved / rows.nbytes:.1f} times the rows")
fusing = trace("fused", 75_000)
ask(fusing, A_SEARCH)

# %% [markdown]
# The study ends here, and expects cuVS to be quite a bit faster still. Is it, for one query?

# %%
climb("fused", "cuvs")
print(
    f"study: cuvs {took(STUDY['first_calls']['cuvs']['75,000'])} (a first call); fused {took(STUDY['means_of_ten']['fused'])} (a mean of ten)"
)

# %% [markdown]
# ## Past the study's end: selection instead of a sort
#
# What is left to gain after the fused kernel and its sort? Asked of the trace:

# %%
for finding in knnscope.explain(fusing).findings[:3]:
    print(f"{finding.rule}: {finding.saving_ms * 1e3:.0f} µs a search. {finding.remedy}")

# %% [markdown]
# Nobody asked for the order of the other 74,997 rows: `topk` selects, and its threads read side by side. `gemm` selects as well, and takes the
# distances from a matrix product and norms that are known beforehand. Does that pay, for one query?

# %%
climb("fused", "topk", "gemm")

# %% [markdown]
# ## One kernel
#
# Distances and selection in one, `fused-topk`: rows are read once, nothing else is. `graph` is the same launch, recorded and replayed. How near are they
# to the time that reading takes?

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
# Can an exact search read less than the rows? It reads codes instead, at most a byte a component, bounds every distance from them, and computes only
# those that the bound cannot exclude (`candidates`). Is the answer that of float64?

# %%
index = knnscope.ExactIndex(rows, metric="l2").wait()
found = index.search(queries, k=3)
print(found.certificate)
print(f"beside the rows' {rows.nbytes / 1e6:.0f} MB: {index.nbytes / 1e6:.0f} MB of codes")
check = rows.astype(np.float64)
for q, ids in zip(queries[:4], found.ids, strict=False):
    exact = np.argsort(((check - q) ** 2).sum(axis=1), kind="stable")[:3]
    print(ids, "float64 has", exact, "the same" if (ids == exact).all() else "DIFFERENT")
del check
climb("faiss", "certified", *(("faiss-gpu", "cuvs", "certified-gpu") if GPU else ()))

# %% [markdown]
# ## Half a byte a component
#
# What has to be read of a row before the bound can exclude it? Where rows vary in few directions, half a byte for each of the leading ones (`plane` in
# the table); only what these leave is looked at in codes of a byte (`codes`: these alone). On this processor, and on a GPU:


# %%
def read_first(where, levels):
    """How much less than the row."""
    if leading := re.search(r"half a byte for the (\d+) leading", levels):
        codes = int(leading[1]) / 2
        print(
            f"{where}: {codes:.0f} bytes of codes instead of {rows.shape[1] * 4:,} of the row, {rows.shape[1] * 4 / codes:.0f} times fewer"
        )
    else:
        print(f"{where}: {levels}")


read_first("this processor", index.levels)
if GPU:
    try:
        import cupy

        on_device = knnscope.ExactIndex(rows, metric="l2", device="cuda")
        read_first("this GPU", on_device.levels)
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
        read_first(f"{b['rows']:,} rows", b["levels"])
    lines = [x for x in kept["lines"] if x["queries"] in (1, 100)]
    print("plane: the half bytes first; codes: a byte a component, for many queries")
    table(
        ["rows", "queries", "reads", "a call"],
        [[f"{x['rows']:,}", x["queries"], x["path"], took(x["call_us"] / 1e6)] for x in lines],
    )

# %% [markdown]
# ## All of it
#
# From the first version to the last: what did each step bring?

# %%
print(f"study: {STUDY['gpu']}; one run each, the last by a mean of ten; the slowest is its loop on the GPU")
told = {**STUDY["versions"], "fused": STUDY["means_of_ten"]["fused"]}
table(
    ["version", "a search", "times as fast as the slowest"],
    [[n, took(t), f"{max(told.values()) / t:,.1f}"] for n, t in told.items()],
)
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
