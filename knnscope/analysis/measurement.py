"""What was measured, as it is written to a file: a row of compare, a row of the ladder. Types, JSON and schema in one place.

A record made here is held to the rules between its fields (``__post_init__``); ``jsonl`` holds what is written and read to the types
as well. The schemas beside this file are written by ``python -m knnscope.analysis.schema``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from knnscope.search.grading import Evidence

SCHEMA_VERSION: Literal[1] = 1
FAILED = ("unsupported", "missing", "no-gpu", "oom", "timeout", "crashed")
"""Statuses of a row without figures."""
NOT_HERE = ("missing", "no-gpu", "unsupported")
"""Those that say that the engine cannot be asked on this machine, or not this."""
CACHES = ("first", "cold", "hot")
"""First call of a case in its process; caches overwritten before the call; repeated at once."""
BOUNDARIES = ("host", "device")
"""Where queries start and answers end."""
MOST = 2**62
"""No whole number is larger: 146 years in nanoseconds, four exbibytes."""

Status = Literal["ok", "wrong", "unsupported", "missing", "no-gpu", "oom", "timeout", "crashed", "interrupted"]
GradeName = Literal["exact", "float32", "wrong"]
Device = Literal["cpu", "cuda"]
Metric = Literal["l2", "ip", "cosine"]
Count = Annotated[int, Meta(ge=0, le=MOST)]
Positive = Annotated[int, Meta(ge=1, le=MOST)]
Share = Annotated[float, Meta(ge=0, le=1)]
Ratio = Annotated[float, Meta(ge=0)]


def _say(text: str) -> Meta:
    return Meta(description=text)


class Measurement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of knnscope compare: one engine, k, batch size and boundary, in one state of the caches."""

    schema_version: Literal[1]
    engine: Annotated[str, _say("name in the catalog")]
    dataset: str
    rows: Annotated[Positive, _say("vectors searched")]
    dim: Annotated[Positive, _say("components of a vector")]
    dtype: Annotated[str, _say("type of the rows as given")]
    metric: Metric
    k: Positive
    batch: Annotated[Positive, _say("queries in one call")]
    boundary: Annotated[
        Literal["host", "device"],
        _say("host: queries start and answers end in host memory; device: both in GPU memory"),
    ]
    device: Annotated[Device, _say("where the engine computes")]
    cache: Annotated[
        Literal["first", "cold", "hot"],
        _say(
            "first: first call of this case in its process (fresh: of anything); "
            "cold: processor and GPU caches overwritten before the call; hot: repeated at once"
        ),
    ]
    threads: Annotated[Positive | None, _say("budget set for every library; null: stock, nothing set")]
    status: Annotated[
        Status,
        _say(
            "ok and wrong have a grade and median_ns; interrupted has what there was; "
            "all others have a reason and no figures"
        ),
    ]
    reason: Annotated[str | None, _say("one line, where the status is not ok")]
    formula: Annotated[str | None, _say("how the engine says that it computes; grades hold it to that")]
    grade: GradeName | None
    judged: Annotated[
        Count, _say("queries whose answers were compared with the definition; one that was asked again counts once")
    ]
    differing: Annotated[
        Count,
        _say("of those, queries whose ids are not the defined ones, or whose distances rounding does not explain"),
    ]
    beyond: Annotated[Count, _say("of those, queries where rounding does not explain it")]
    evidence: Annotated[Evidence | None, _say("where an answer departs from the definition furthest")]
    samples_ns: Annotated[
        list[list[Positive]],
        _say("wall time of every call, by round; an empty list where the case took no part"),
    ]
    median_ns: Annotated[Positive | None, _say("median of the rounds' medians")]
    low_ns: Annotated[Count | None, _say("95% interval of the median, bootstrapped over rounds")]
    high_ns: Count | None
    p99_ns: Annotated[Count | None, _say("from 100 samples up")]
    cpu_ns: Annotated[
        Count | None,
        _say(
            "median over the rounds of the mean CPU time of a call, all threads of the process: the system counts other threads' time in ticks of up to 4 ms, "
            "so that a single call may show none; null where processes of the engine's own compute, whose time is not counted"
        ),
    ]
    cores: Annotated[Ratio | None, _say("CPU time over wall time, all calls together")] = None
    event_ns: Annotated[Count | None, _say("median time between GPU events around the call")]
    noisy: Annotated[bool | None, _say("the interval is wider than a fifth of the median: too noisy to tell")]
    fresh: Annotated[bool | None, _say("cache first: nothing had been searched before in that process")]
    warmup_calls: Count | None
    stable: Annotated[bool | None, _say("warm-up ended because calls took the same time again")]
    overhead_ns: Annotated[Count | None, _say("what timing an empty call reads")]
    builds: Annotated[
        Count,
        _say(
            "times the index was built: more than one where memory did not allow all engines at once, or after a failure"
        ),
    ]
    rounds_a_process: Annotated[
        Positive, _say("rounds of samples_ns that one process answered before it was started anew")
    ]
    quick: Annotated[
        bool,
        _say("of a quick run: one process an engine and few rounds, so that only large differences are told apart"),
    ] = False
    how: Annotated[str, _say("how the engine computes, in its own words")] = ""
    build_ns: Count | None
    build_compile_ns: Annotated[
        Count | None,
        _say("compiling the engine's own code, or reading it compiled, while the index was built: not in build_ns"),
    ] = None
    compile_ns: Annotated[
        Count | None,
        _say(
            "first: the same, in the first call: not in its sample; what other libraries compile cannot be told apart"
        ),
    ] = None
    build_peak_host_bytes: Annotated[Count | None, _say("resident memory of the process, libraries included")]
    build_peak_gpu_bytes: Annotated[Count | None, _say("taken from the GPU's free memory, context included")]
    peak_host_bytes: Annotated[Count | None, _say("the same while searching")]
    peak_gpu_bytes: Count | None
    bytes_moved: Annotated[Count, _say("rows and queries read once, ids and distances written once")]
    floor_ns: Annotated[
        Count | None,
        _say("bytes_moved at this machine's read bandwidth for that size (knnscope info --measure)"),
    ]
    product_floor_ns: Annotated[
        Count | None, _say("2 * rows * dim * batch operations at this machine's float32 matrix rate")
    ]
    ndcg_at_10: Share | None
    recall_at_k: Share | None
    mrr_at_10: Share | None

    def __post_init__(self) -> None:
        """Hold the fields to each other.

        Raises:
            ValueError: names the field that does not fit.
        """
        if self.status in FAILED:
            _need(self.reason is not None, "reason", f"a row that is {self.status} says why")
            figures = (self.grade, self.median_ns, self.cpu_ns, self.low_ns, self.high_ns)
            _need(not self.samples_ns and figures == (None,) * 5, "median_ns", f"{self.status} has no figures")
        if self.status in ("ok", "wrong"):
            _need(self.median_ns is not None, "median_ns", f"a row that is {self.status} has one")
            _need(self.cpu_ns is not None or self.cores is None, "cpu_ns", "goes with cores")
            right = ("wrong",) if self.status == "wrong" else ("exact", "float32")
            _need(self.grade in right, "grade", f"{self.grade} does not go with {self.status}")
        if self.grade == "wrong":
            _need(self.evidence is not None, "evidence", "a wrong answer has some")
        _need(self.judged >= self.differing >= self.beyond, "judged", "no more can differ than were judged")
        _need(self.grade is None or self.judged > 0, "judged", "a grade needs an answer")
        _need((self.low_ns is None) == (self.high_ns is None), "low_ns", "an interval has two ends")
        _need((self.stable is None) == (self.warmup_calls is None), "stable", "goes with warmup_calls")
        _need(self.median_ns is None or any(self.samples_ns), "samples_ns", "a median needs some")

    @property
    def took_ns(self) -> int:
        """The median, of a row that has one."""
        assert self.median_ns is not None
        return self.median_ns

    @property
    def case(self) -> tuple[str, int, int, str]:
        """Engine, k, batch, boundary."""
        return self.engine, self.k, self.batch, self.boundary

    @property
    def group(self) -> tuple[int, int, str]:
        """k, batch, boundary: what competes."""
        return self.k, self.batch, self.boundary


class RungMeasurement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row of knnscope ladder: one version of the search, timed, counted and judged."""

    schema_version: Literal[1]
    rung: Annotated[str, _say("name of the rung, or of an engine beside it")]
    changed: Annotated[str, _say("what is new against the rung below")]
    dataset: str
    rows: Positive
    dim: Positive
    k: Positive
    device: Annotated[Device, _say("where it computes; of a rung without figures, what was asked for")]
    status: Literal["ok", "wrong", "unsupported", "missing", "no-gpu", "oom", "crashed"]
    reason: str | None = None
    visited: Annotated[Positive | None, _say("rows that were searched")] = None
    scaled: Annotated[bool | None, _say("whether the times are those of the visited rows, scaled to all")] = None
    grade: GradeName | None = None
    judged: Annotated[Count | None, _say("queries whose answers were judged")] = None
    differing: Annotated[Count | None, _say("of those, with other ids than defined")] = None
    ids: Annotated[list[Count] | None, _say("answer to the first query")] = None
    load_ns: Annotated[Count | None, _say("rows to where the search wants them")] = None
    build_ns: Annotated[Count | None, _say("what does not depend on the query")] = None
    first_ns: Annotated[Count | None, _say("first search, which loads kernels, and copying its answer back")] = None
    compile_ns: Annotated[
        Count | None,
        _say(
            "own code compiled, or read compiled, until the end of the last search: not in build_ns and first_ns; "
            "what other libraries compile cannot be told apart"
        ),
    ] = None
    samples_ns: Annotated[
        list[Count] | None, _say("a search and copying its answer back, on the wall, of the visited rows")
    ] = None
    wall_ns: Annotated[Positive | None, _say("their median, of all rows")] = None
    event_ns: Annotated[
        Count | None,
        _say("median between GPU events around the search, without copying the answer back, of all rows"),
    ] = None
    copy_back_ns: Annotated[
        Count | None, _say("median of copying the answer back, waiting for the search included")
    ] = None
    bytes_moved: Annotated[
        Count | None, _say("that the array operations read and write, each by itself; selection is not counted")
    ] = None
    kernels: Annotated[Count | None, _say("in a search of the visited rows")] = None
    copies: Annotated[Count | None, _say("between host and GPU, likewise")] = None
    copied_bytes: Annotated[Count | None, _say("of those copies")] = None
    counted_by: Annotated[Literal["cupti", "code"] | None, _say("recorded, or what follows from the code")] = None
    floor_ns: Annotated[Count | None, _say("reading the rows once at this device's measured best")] = None
    ratio_below: Annotated[Ratio | None, _say("time of the rung below over this one's")] = None
    ratio_first: Annotated[Ratio | None, _say("time of the first rung over this one's")] = None
    note: str | None = None

    def __post_init__(self) -> None:
        """Hold the fields to each other.

        Raises:
            ValueError: names the field that does not fit.
        """
        measured = self.status in ("ok", "wrong")
        _need((self.wall_ns is not None) == measured, "wall_ns", f"does not go with {self.status}")
        if measured:
            right = ("wrong",) if self.status == "wrong" else ("exact", "float32")
            _need(self.grade in right, "grade", f"{self.grade} does not go with {self.status}")
        else:
            _need(self.reason is not None, "reason", f"a row that is {self.status} says why")


def to_dict(record: msgspec.Struct) -> dict[str, Any]:
    """The record in JSON's own types, as it stands in a file."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    return plain


def _need(fits: bool, name: str, why: str) -> None:
    if not fits:
        raise ValueError(f"{name}: {why}")
