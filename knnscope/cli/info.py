"""knnscope info."""

from __future__ import annotations

import argparse
import json
from typing import Any

from knnscope import catalog, environment
from knnscope.cli.show import size, table


class Info:
    """This machine: processor, memory, GPU, libraries, every engine or the line that installs it, what hides or clashes."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--json", action="store_true", help="print a JSON object")

    def run(self, args: argparse.Namespace) -> int:
        """Print it."""
        facts = environment.collect()
        facts["engines"] = {
            name: {"available": (why := catalog.problem(name)) is None, "problem": why, "what": entry.what}
            for name, entry in catalog.ENGINES.items()
        }
        facts["clashes"] = environment.clashes()
        if args.json:
            print(json.dumps(facts, indent=2, allow_nan=False))
        else:
            _show(facts)
        return 0


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
    rows = [
        (f"  {n}", "available" if e["available"] else "missing", e["problem"] or e["what"])
        for n, e in facts["engines"].items()
    ]
    print(table(rows, ("  name", "state", "what, or how to get it")))
    print("\nLibraries")
    print("  " + ", ".join(f"{n} {v}" for n, v in facts["libraries"].items() if v))
    print("  not installed: " + ", ".join(n for n, v in facts["libraries"].items() if not v))
    if facts["clashes"]:
        print("\nTo mend or to know")
        for line in facts["clashes"]:
            print(f"  {line}")
