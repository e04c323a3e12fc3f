"""This machine for Python: what ``knnscope info`` shows."""

from __future__ import annotations

from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from knnscope import environment, threads
from knnscope.api.workload import EncoderOptions
from knnscope.ceilings import cache
from knnscope.ceilings.record import DEVICES, Ceilings
from knnscope.encoders.onnx_encoder import OnnxEncoder
from knnscope.errors import ArgumentError, KnnscopeError, require
from knnscope.report import markup
from knnscope.report.text import plain
from knnscope.search import catalog
from knnscope.search.device import gpu_problem
from knnscope.store import read_json, write_json
from knnscope.units import short

ENGINE_HEAD = ("engine", "state", "what, or how to get it")


class Machine:
    """Processor, memory, GPUs, libraries and engines.

    Attributes:
        facts: the machine and its libraries, ``engines`` by name and ``clashes`` among them.
        ceilings: what CPU and GPU ("cpu", "cuda") do at best; None where it was not measured.
        notes: why a device was not measured.
    """

    def __init__(self, facts: dict[str, Any], ceilings: dict[str, Ceilings | None], notes: tuple[str, ...]) -> None:
        """Made by ``info``."""
        self.facts, self.ceilings, self.notes = facts, ceilings, notes

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types."""
        ceilings = {device: found and found.to_json() for device, found in self.ceilings.items()}
        return {**self.facts, "ceilings": ceilings, "notes": list(self.notes)}

    def save(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises:
            KnnscopeError: the file cannot be written.
        """
        write_json(Path(path), self.to_dict(), follow=True)

    @classmethod
    def load(cls, path: str | Path) -> Machine:
        """Read what ``save`` wrote, of this machine or another.

        Raises:
            KnnscopeError: no such file, or not the record of a machine.
        """
        facts = read_json(Path(path))
        try:
            ceilings = facts.pop("ceilings")
            known = {d: None if ceilings[d] is None else Ceilings.from_json(ceilings[d]) for d in DEVICES}
            notes = tuple(str(note) for note in facts.pop("notes"))
            machine = cls(facts, known, notes)
            repr(machine), machine.rows(), machine._repr_html_()  # all that they look up is there
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise KnnscopeError(f"{path}: not a machine that knnscope.info() saved ({error!r})") from error
        return machine

    def rows(self) -> list[dict[str, Any]]:
        """A flat dict an engine: name, available, state, problem, what."""
        return [{"engine": name, **entry} for name, entry in self.facts["engines"].items()]

    def __repr__(self) -> str:
        gpus = ", ".join(str(gpu["name"]) for gpu in self.facts["gpus"]) or "no GPU"
        here = sum(entry["available"] for entry in self.facts["engines"].values())
        model, cores = plain(str(self.facts["cpu"]["model"])), self.facts["cpu"]["usable_cores"]
        return f"<Machine: {short(model, 100)}, {cores} cores, {short(plain(gpus), 200)}; {here} engines available>"

    def _repr_html_(self) -> str:
        lines = [(e["engine"], e["state"], e["problem"] or e["what"]) for e in self.rows()]
        return markup.div([markup.paragraph(repr(self).strip("<>")), markup.table(ENGINE_HEAD, lines)])


def info(measure: bool = False, threads: int | None = None) -> Machine:
    """What this machine has, every engine or why it is missing, and what was measured of CPU and GPU.

    Args:
        measure: measure anew what CPU and GPU do at best: 10 to 20 seconds each. Figures are kept and shown from then on.
        threads: of the CPU's figures; by default every usable core.

    Raises:
        KnnscopeError: more threads than cores that this process may use.
    """
    facts = environment.collect(catalog.libraries())
    facts["engines"] = {name: _engine(name) for name in catalog.ENGINES}
    facts["clashes"] = environment.clashes(catalog.libraries())
    ceilings, notes = _ceilings(measure, threads, gpus=bool(facts["gpus"]))
    return Machine(facts, ceilings, notes)


def _engine(name: str) -> dict[str, Any]:
    """Whether it is here; a library that takes long to load is not loaded for that, and its engine is called installed."""
    entry, why = catalog.ENGINES[name], catalog.problem(name, loading=False)
    absent = "no GPU" if entry.device == "cuda" and gpu_problem() else "missing"
    here = "installed" if entry.slow else "available"
    state = here if why is None else absent
    return {"available": why is None, "state": state, "problem": why, "what": entry.what}


def _ceilings(measure: bool, budget: int | None, gpus: bool) -> tuple[dict[str, Ceilings | None], tuple[str, ...]]:
    """What is kept, or measured now; a GPU that cannot be measured is a note."""
    if budget and budget > threads.usable():
        raise ArgumentError(f"threads {budget}: this process may use {threads.usable()} cores")
    if not measure:
        return {"cpu": cache.cached("cpu", budget), "cuda": cache.cached("cuda") if gpus else None}, ()
    found: dict[str, Ceilings | None] = dict.fromkeys(DEVICES)
    found["cpu"] = cache.obtain("cpu", budget, fresh=True)
    try:
        if not gpus:
            raise KnnscopeError("none seen (nvidia-smi is absent or lists none)")
        require("cupy", "cuda13")
        found["cuda"] = cache.obtain("cuda", fresh=True)
    except KnnscopeError as error:
        return found, (f"the GPU was not measured: {error}",)
    return found, ()


class EncoderFacts:
    """What an encoder's files, its graph and the options decide: pooling, limit, prompts, metric."""

    def __init__(self, encoder: OnnxEncoder) -> None:
        """Made by ``describe_encoder``."""
        self.model, self.recipe, self.dim = encoder.model, encoder.recipe, encoder.dim
        self.notes = (*encoder.model.notes, *encoder.notes)

    def to_dict(self) -> dict[str, Any]:
        """All of it in JSON's own types."""
        return {
            **self.model.as_dict(),
            "dim": self.dim,
            "recipe": asdict(self.recipe),
            "prompts": self.model.declared.prompts,
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return f"<EncoderFacts of {self.model.name}: {self.dim} components, recipe {self.recipe.name}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def describe_encoder(options: EncoderOptions) -> EncoderFacts:
    """Open an encoder on the CPU and say what was decided.

    Raises:
        KnnscopeError: it cannot be had.
    """
    model, recipe = options.open()
    return EncoderFacts(OnnxEncoder(model, recipe))
