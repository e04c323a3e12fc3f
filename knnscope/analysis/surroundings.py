"""What differs around two runs: machine, data, options, libraries, load. Which of it forbids a comparison, and which engines it concerns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, Literal

import msgspec

from knnscope.analysis.run import ComparisonRun, Run
from knnscope.search import catalog
from knnscope.units import short

LONGEST = 120
"""Characters of a value that is shown."""
SAME_NORM = 1e-6
"""Norms of the same rows may differ by so much where another NumPy added them up."""
LOAD = 0.15
"""Cores that others keep busy, by which two runs have to differ to be worth a line."""
UNKNOWN = "not recorded"
DISTRIBUTIONS = {
    "faiss": ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs", "faiss-gpu-cu12", "faiss-gpu-cu11"),
    "sklearn": ("scikit-learn", "numpy"),
    "cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
    "cuvs": ("cuvs-cu13", "cuvs-cu12"),
}
"""What brings a module, and what else of the list of libraries it computes with; of all others the module's own name."""
OWN = ("knnscope.certified.", "knnscope.distributed.")
"""Engines of this package: another version of it may be another engine."""
DRIVER = ("driver of the GPU", "CUDA of the driver")
RUNG_USES = {"cpu": "numpy", "cuda": "cupy"}
"""What a rung computes with."""


class Difference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something around the runs that is not the same.

    forbids: which rows cannot be compared for it: "all", those of engines on a GPU ("cuda"), or none (""). engines: which may have
    changed by it.
    """

    what: str
    before: str
    after: str
    forbids: Literal["", "cuda", "all"] = ""
    engines: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """In a few words, as a reason."""
        return f"{self.what}: {self.before}, then {self.after}"

    @property
    def moved(self) -> str:
        """In a few words, as a library's versions."""
        return f"{self.what} {self.before} -> {self.after}"


def differences(before: Run, after: Run) -> list[Difference]:
    """All that differs, what forbids a comparison first."""
    found = [*_machine(before, after), *_data(before, after), *_libraries(before, after), *_rest(before, after)]
    return sorted(found, key=lambda d: not d.forbids)


def changed(engine: str, device: str, climbed: bool, found: list[Difference]) -> tuple[str, ...] | None:
    """What of an engine's libraries is not the same, in words; None where it is not known what the engine uses.

    Args:
        engine: name in the catalog, or of a rung.
        device: where it computes.
        climbed: whether the runs are of the ladder.
        found: what differs.
    """
    if engine in catalog.ENGINES:
        return tuple(d.moved for d in found if engine in d.engines)
    if not climbed:
        return None
    uses = DISTRIBUTIONS.get(RUNG_USES[device], (RUNG_USES[device],))
    return tuple(d.moved for d in found if d.what in uses or (device == "cuda" and d.what in DRIVER))


def _at(run: Run, *path: str) -> Any:
    """A value of environment.json, which is anybody's; None where there is none."""
    value: Any = run.environment
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _said(value: Any) -> str:
    """A value in one short line."""
    if value is None:
        return UNKNOWN
    if isinstance(value, dict):
        value = [f"{name} {_one(one)}" for name, one in islice(value.items(), LONGEST)]
    if isinstance(value, list):
        return short(", ".join(map(_one, value[:LONGEST])), LONGEST) or "none"
    return short(_one(value), LONGEST) or "none"


def _one(value: Any) -> str:
    """A single value; nothing that is nested, which may be nested deeper than Python goes."""
    if isinstance(value, str):
        return short(value, LONGEST)
    return str(value) if value is None or isinstance(value, bool | float) else _number(value)


def _number(value: Any) -> str:
    return f"{value}" if isinstance(value, int) and abs(value) < 2**64 else "something else"


def _pair(what: str, a: Any, b: Any, **more: Any) -> Iterator[Difference]:
    was, now = _said(a), _said(b)
    if was != now:
        yield Difference(what=what, before=was, after=now, **more)


def _machine(before: Run, after: Run) -> Iterator[Difference]:
    model = "cpu", "model"
    if _at(before, *model) is None or _at(after, *model) is None:
        yield Difference(
            what="processor", before=_said(_at(before, *model)), after=_said(_at(after, *model)), forbids="all"
        )
    else:
        yield from _pair("processor", _at(before, *model), _at(after, *model), forbids="all")
    for what, name in (
        ("caches of the processor", "caches"),
        ("vector instructions", "vector_instructions"),
        ("usable cores", "usable_cores"),
        ("cores of the machine", "logical_cores"),
        ("cores that the control group grants", "quota_cores"),
    ):
        yield from _pair(what, _at(before, "cpu", name), _at(after, "cpu", name), forbids="all")
    if isinstance(before, ComparisonRun) and isinstance(after, ComparisonRun):
        budgets = [{"stock" if row.threads is None else str(row.threads) for row in r.rows} for r in (before, after)]
        yield from _pair("threads", *(", ".join(sorted(some)) for some in budgets), forbids="all")
        if budgets == [{"stock"}] * 2:
            yield from _pair("thread variables", _at(before, "threads"), _at(after, "threads"), forbids="all")
    names = [[str(gpu.get("name")) for gpu in _gpus(run)] for run in (before, after)]
    yield from _pair("GPU", *names, forbids="cuda")


def _gpus(run: Run) -> list[dict[str, Any]]:
    found = _at(run, "gpus")
    return [gpu for gpu in found if isinstance(gpu, dict)] if isinstance(found, list) else []


def _data(before: Run, after: Run) -> Iterator[Difference]:
    shapes = [_shape(run) for run in (before, after)]
    for what in shapes[0]:
        yield from _pair(what, shapes[0][what], shapes[1].get(what), forbids="all")
    norms = [_norms(run) for run in (before, after)]
    if all(norms) and not all(math.isclose(a, b, rel_tol=SAME_NORM) for a, b in zip(*norms, strict=True)):
        yield from _pair("norms of the rows", *([f"{n:.7g}" for n in some] for some in norms), forbids="all")


def _shape(run: Run) -> dict[str, str]:
    """What is searched; a file is known by its last name, since folders differ between machines."""
    if isinstance(run, ComparisonRun):
        some = run.rows[0]
        form = {"rows": f"{some.rows:,} x {some.dim} {some.dtype}", "metric": str(some.metric)}
        return {"data": PurePosixPath(some.dataset).name, **form}
    facts = run.facts
    return {"data": PurePosixPath(facts.dataset).name, "rows": f"{facts.rows:,} x {facts.dim}"}


def _norms(run: Run) -> tuple[float, ...]:
    shape = run.geometry if isinstance(run, ComparisonRun) else None
    return (shape.smallest, shape.median, shape.largest) if shape is not None else ()


def _libraries(before: Run, after: Run) -> Iterator[Difference]:
    a, b = (value if isinstance(value := _at(run, "libraries"), dict) else {} for run in (before, after))
    for name in sorted(a.keys() & b.keys()):  # a list that lacks a name is older than the name
        was, now = ("not installed" if some[name] is None else _said(some[name]) for some in (a, b))
        yield from _pair(short(name, LONGEST), was, now, engines=_users(name))
    was, now = (_said(_at(run, "source_sha256")) for run in (before, after))
    if was != now:
        own = tuple(name for name, entry in catalog.ENGINES.items() if entry.path.startswith(OWN))
        names = [_version(run, sha) for run, sha in ((before, was), (after, now))]
        yield Difference(what="knnscope", before=names[0], after=names[1], engines=own)
    on_gpu = tuple(name for name, entry in catalog.ENGINES.items() if entry.device == "cuda")
    drivers = [[gpu.get("driver") for gpu in _gpus(run)] for run in (before, after)]
    cudas = [_at(run, "cuda_driver_version") for run in (before, after)]
    for what, (was, now) in zip(DRIVER, (drivers, cudas), strict=True):
        yield from _pair(what, was, now, engines=on_gpu)


def _version(run: Run, sha: str) -> str:
    """Version, commit and digest of the sources: the first two may be the same while a file was changed."""
    commit = _at(run, "commit")
    parts = [
        _said(_at(run, "knnscope")),
        f"commit {_said(commit)[:10]}" if commit else "",
        f"sources {sha[:10]}",
    ]
    return ", ".join(part for part in parts if part)


def _users(library: str) -> tuple[str, ...]:
    """Engines that compute with a library."""
    return tuple(
        name for name, entry in catalog.ENGINES.items() if library in DISTRIBUTIONS.get(entry.library, (entry.library,))
    )


def _rest(before: Run, after: Run) -> Iterator[Difference]:
    """What is worth knowing and concerns no engine more than another."""
    for what, *path in (("Python", "python"), ("system", "system"), ("memory, bytes", "memory", "total")):
        yield from _pair(what, _at(before, *path), _at(after, *path))
    for option in ("rounds", "seconds", "seed", "quick", "cold", "memory"):
        was, now = _at(before, "options", option), _at(after, "options", option)
        if (was is not None and now is not None) or option == "memory":
            yield from _pair(f"option {option}", was, now)
    yield from _pair("queries", before.facts.queries, after.facts.queries)
    if isinstance(before, ComparisonRun) and isinstance(after, ComparisonRun):
        was, now = before.other_cores, after.other_cores
        if was is not None and now is not None and abs(was - now) >= LOAD:
            yield Difference(what="cores kept busy by other work", before=f"{was:.2g}", after=f"{now:.2g}")
