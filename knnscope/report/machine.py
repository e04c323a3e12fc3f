"""This machine and an encoder in words: what ``knnscope info`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knnscope.ceilings.record import Ceilings
from knnscope.encoders.models import Model
from knnscope.encoders.recipes import Recipe, told
from knnscope.report.text import plain, table
from knnscope.units import size


def machine_text(facts: Mapping[str, Any]) -> str:
    """Processor, memory, GPUs, engines, libraries, and what clashes."""
    lines = [f"knnscope  {facts['knnscope']}, Python {facts['python']}, {facts['system']}", *_hardware(facts)]
    rows = [(f"  {n}", e["state"], e["problem"] or e["what"]) for n, e in facts["engines"].items()]
    lines += ["\nEngines", table(rows, ("  name", "state", "what, or how to get it"))]
    if any(engine["state"] == "installed" for engine in facts["engines"].values()):
        lines.append("  installed: its library is there, and was not loaded to see whether it works, which takes long")
    libraries: Mapping[str, str | None] = facts["libraries"]
    lines += [
        "\nLibraries",
        f"  {', '.join(f'{name} {version}' for name, version in libraries.items() if version)}",
        f"  not installed: {', '.join(name for name, version in libraries.items() if not version)}",
    ]
    if facts["clashes"]:
        lines += ["\nProblems and notices", *(f"  {line}" for line in facts["clashes"])]
    return "\n".join(lines)


def _hardware(facts: Mapping[str, Any]) -> list[str]:
    cpu, memory = facts["cpu"], facts["memory"]
    caches = ", ".join(f"{name} {size(value)}" for name, value in cpu["caches"].items())
    quota = f", {cpu['quota_cores']:g} granted" if cpu["quota_cores"] else ""
    limit = f", limited to {size(memory['limit'])}" if memory["limit"] else ""
    lines = [
        f"CPU       {cpu['model']}, {cpu['usable_cores']} of {cpu['logical_cores']} cores usable{quota}",
        f"          {caches or 'caches unknown'}",
        f"          {' '.join(cpu['vector_instructions']) or 'vector instructions unknown'}",
        f"Memory    {size(memory['total'])}, {size(memory['available'])} available{limit}",
    ]
    for gpu in facts["gpus"]:
        room = size(gpu["memory_mib"] and gpu["memory_mib"] * 2**20)
        lines += [
            f"GPU       {gpu['name']}, compute capability {gpu['compute_capability']}, {room}",
            f"          driver {gpu['driver']}, CUDA up to {facts['cuda_driver_version']}",
            f"          clocks now {gpu['sm_clock_mhz']} MHz (memory {gpu['memory_clock_mhz']}), "
            f"at most {gpu['max_sm_clock_mhz']} (memory {gpu['max_memory_clock_mhz']})",
        ]
    return lines if facts["gpus"] else [*lines, "GPU       none seen (nvidia-smi is absent or lists none)"]


def ceilings_text(found: Ceilings, whole: bool) -> str:
    """All figures of a device, or one line of them."""
    budget = f", {found.threads} thread{'s' if found.threads != 1 else ''}" if found.threads else ""
    products = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in found.products.items())
    if not whole:
        small, large = found.read[0], found.read[-1]
        return (
            f"\nAt best, {found.device_name}{budget}: reads {small.hot / 1e9:,.1f} GB/s ({size(small.bytes)}, hot) "
            f"to {large.cold / 1e9:,.1f} ({size(large.bytes)}, cold), copies {found.copy / 1e9:,.1f}; Gop/s: {products}"
        )
    rows = [(f"  {size(rate.bytes)}", f"{rate.hot / 1e9:,.1f}", f"{rate.cold / 1e9:,.1f}") for rate in found.read]
    lines = [
        f"\nAt best, {found.device_name}{budget}",
        table(rows, ("  reads", "hot GB/s", "cold GB/s"), right=(1, 2)),
        f"  copies {found.copy / 1e9:,.1f} GB/s (read plus written)",
    ]
    for way, rates in (("host to device", found.host_to_device), ("device to host", found.device_to_host)):
        if rates:
            lines.append(
                f"  {way} {rates.pageable / 1e9:,.1f} GB/s, from or to pinned memory {rates.pinned / 1e9:,.1f}"
            )
    return "\n".join([*lines, f"  products in Gop/s: {products}"])


def encoder_text(model: Model, recipe: Recipe, dim: int) -> str:
    """Weights, recipe and prompts."""
    named = ", ".join(f"{name} {text!r}" for name, text in model.declared.prompts.items() if text)
    rows: Sequence[tuple[str, str]] = [
        ("encoder", f"{model.name}, {dim} components"),
        ("weights", f"{model.weights.name}, sha256 {model.sha256[:16]}"),
        ("recipe", told(recipe)),
        ("prompts", named or "none named"),
    ]
    return "\n".join(f"{name:<9} {plain(said)}" for name, said in rows)
