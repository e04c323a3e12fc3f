"""knnscope info."""

from __future__ import annotations

import argparse
import json
from typing import Any

from knnscope import environment, threads
from knnscope.ceilings import cache
from knnscope.ceilings.record import DEVICES, Ceilings
from knnscope.cli import options
from knnscope.cli.notes import notes
from knnscope.cli.options import positive
from knnscope.encoders.onnx_encoder import OnnxEncoder
from knnscope.encoders.recipes import told
from knnscope.errors import KnnscopeError, require
from knnscope.report.text import plain, table
from knnscope.search import catalog
from knnscope.search.device import gpu_problem
from knnscope.units import size


class Info:
    """This machine: processor, memory, GPU, libraries, every engine or the line that installs it, what hides or clashes.

    --measure finds out what it can do at best, in 10 to 20 seconds for the CPU and as many for a GPU: bytes read by size, from
    the caches (hot) and from memory (cold), bytes copied, matrix products. The figures are kept and shown from then on.
    --encoder opens an encoder and tells what its files, its graph and the options decide: pooling, limit, prompts, metric.
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--json", action="store_true", help="print a JSON object")
        parser.add_argument("--measure", action="store_true", help="measure anew what CPU and GPU can do at best")
        parser.add_argument(
            "--threads", type=positive, metavar="N", help="of the CPU's figures (default: every usable core)"
        )
        options.add_encoder(parser, devices=None, usual="(tells of it instead of the machine)")

    def run(self, args: argparse.Namespace) -> int:
        """Print it."""
        if args.encoder:
            return _tell_encoder(args)
        if given := [
            o for o in ("weights", "recipe", "query_prompt", "document_prompt") if getattr(args, o) is not None
        ]:
            raise KnnscopeError(f"--{given[0].replace('_', '-')} belongs to an encoder: give --encoder NAME|DIR too")
        facts = environment.collect()
        facts["engines"] = {
            name: {
                "available": (why := catalog.problem(name)) is None,
                "state": "available"
                if why is None
                else "no GPU"
                if entry.device == "cuda" and gpu_problem()
                else "missing",
                "problem": why,
                "what": entry.what,
            }
            for name, entry in catalog.ENGINES.items()
        }
        facts["clashes"] = environment.clashes()
        ceilings = _ceilings(args.measure, args.threads, facts)
        if args.json:
            facts["ceilings"] = {device: found and found.to_json() for device, found in ceilings.items()}
            print(json.dumps(facts, indent=2, allow_nan=False))
        else:
            _show(facts)
            for found in filter(None, ceilings.values()):
                _show_ceilings(found, whole=args.measure)
        return 0


def _tell_encoder(args: argparse.Namespace) -> int:
    """What an encoder's files, its graph and the options decide."""
    model, recipe = options.encoder_options(args, "cpu").open()
    encoder = OnnxEncoder(model, recipe)
    if args.json:
        facts = {
            **model.as_dict(),
            "dim": encoder.dim,
            "recipe": encoder.recipe.as_dict(),
            "prompts": model.declared.prompts,
        }
        print(json.dumps({**facts, "notes": [*model.notes, *encoder.notes]}, indent=2, allow_nan=False))
        return 0
    notes((*model.notes, *encoder.notes))
    named = ", ".join(f"{name} {text!r}" for name, text in model.declared.prompts.items() if text)
    rows = [
        ("encoder", f"{model.name}, {encoder.dim} components"),
        ("weights", f"{model.weights.name}, sha256 {model.sha256[:16]}"),
        ("recipe", told(encoder.recipe)),
        ("prompts", named or "none named"),
    ]
    print("\n".join(f"{name:<9} {plain(said)}" for name, said in rows))
    return 0


def _ceilings(measure: bool, budget: int | None, facts: dict[str, Any]) -> dict[str, Ceilings | None]:
    """What is kept, or measured now; a GPU that cannot be measured is a note."""
    if budget and budget > threads.usable():
        raise KnnscopeError(f"--threads {budget}: this process may use {threads.usable()} cores")
    if not measure:
        return {"cpu": cache.cached("cpu", budget), "cuda": cache.cached("cuda") if facts["gpus"] else None}
    found: dict[str, Ceilings | None] = dict.fromkeys(DEVICES)
    found["cpu"] = cache.obtain("cpu", budget, fresh=True)
    try:
        if not facts["gpus"]:
            raise KnnscopeError("none seen (nvidia-smi is absent or lists none)")
        require("cupy", "cuda13")
        found["cuda"] = cache.obtain("cuda", fresh=True)
    except KnnscopeError as error:
        notes([f"the GPU was not measured: {error}"])
    return found


def _show(facts: dict[str, Any]) -> None:
    cpu, memory = facts["cpu"], facts["memory"]
    caches = ", ".join(f"{name} {size(value)}" for name, value in cpu["caches"].items())
    quota = f", {cpu['quota_cores']:g} granted" if cpu["quota_cores"] else ""
    limit = f", limited to {size(memory['limit'])}" if memory["limit"] else ""
    print(f"knnscope  {facts['knnscope']}, Python {facts['python']}, {facts['system']}")
    print(f"CPU       {cpu['model']}, {cpu['usable_cores']} of {cpu['logical_cores']} cores usable{quota}")
    print(f"          {caches or 'caches unknown'}")
    print(f"          {' '.join(cpu['vector_instructions']) or 'no vector instructions known'}")
    print(f"Memory    {size(memory['total'])}, {size(memory['available'])} available{limit}")
    for gpu in facts["gpus"]:
        print(
            f"GPU       {gpu['name']}, compute capability {gpu['compute_capability']}, {size(gpu['memory_mib'] and gpu['memory_mib'] * 2**20)}"
        )
        print(f"          driver {gpu['driver']}, CUDA up to {facts['cuda_driver_version']}")
        print(
            f"          clocks now {gpu['sm_clock_mhz']} MHz (memory {gpu['memory_clock_mhz']}), "
            f"at most {gpu['max_sm_clock_mhz']} (memory {gpu['max_memory_clock_mhz']})"
        )
    if not facts["gpus"]:
        print("GPU       none seen (nvidia-smi is absent or lists none)")
    print("\nEngines")
    rows = [(f"  {n}", e["state"], e["problem"] or e["what"]) for n, e in facts["engines"].items()]
    print(table(rows, ("  name", "state", "what, or how to get it")))
    print("\nLibraries")
    print("  " + ", ".join(f"{n} {v}" for n, v in facts["libraries"].items() if v))
    print("  not installed: " + ", ".join(n for n, v in facts["libraries"].items() if not v))
    if facts["clashes"]:
        print("\nTo mend or to know")
        for line in facts["clashes"]:
            print(f"  {line}")


def _show_ceilings(found: Ceilings, whole: bool) -> None:
    """All figures, or one line of them."""
    budget = f", {found.threads} thread{'s' if found.threads != 1 else ''}" if found.threads else ""
    products = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in found.products.items())
    if not whole:
        small, large = found.read[0], found.read[-1]
        print(
            f"\nAt best, {found.device_name}{budget}: reads {small.hot / 1e9:,.1f} GB/s ({size(small.bytes)}, hot) "
            f"to {large.cold / 1e9:,.1f} ({size(large.bytes)}, cold), copies {found.copy / 1e9:,.1f}; Gop/s: {products}"
        )
        return
    print(f"\nAt best, {found.device_name}{budget}")
    rows = [(f"  {size(rate.bytes)}", f"{rate.hot / 1e9:,.1f}", f"{rate.cold / 1e9:,.1f}") for rate in found.read]
    print(table(rows, ("  reads", "hot GB/s", "cold GB/s"), right=(1, 2)))
    print(f"  copies {found.copy / 1e9:,.1f} GB/s (read plus written)")
    for way, rates in (("host to device", found.host_to_device), ("device to host", found.device_to_host)):
        if rates:
            print(f"  {way} {rates.pageable / 1e9:,.1f} GB/s, from or to pinned memory {rates.pinned / 1e9:,.1f}")
    print(f"  products in Gop/s: {products}")
