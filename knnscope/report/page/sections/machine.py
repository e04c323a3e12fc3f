"""Where it was measured: the machine, its libraries, and how it stood before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from knnscope.report.page.content import Block, Facts, Folded, Section, Text
from knnscope.units import size

MOST = 400
"""Facts of the folded list."""
BYTES = ("memory.", "cpu.caches.")
"""Beginnings of what is counted in bytes."""
DEEP = 6
"""Levels of a file that are looked into."""


def section(environment: Mapping[str, Any]) -> Section:
    """The main facts, then all of environment.json as it is."""
    if not environment:
        return Section(
            "environment", "Environment", [Text("The folder has no environment.json: the machine is unknown.")]
        )
    blocks: list[Block] = [Facts(list(_main(environment)))]
    known = list(_flat(environment, "", DEEP))
    rest = known[:MOST]
    if len(known) > MOST:
        rest.append(("…", f"{len(known) - MOST:,} more in environment.json"))
    return Section("environment", "Environment", [*blocks, Folded("All of environment.json", [Facts(rest)])])


def _main(environment: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    cpu, memory = _dict(environment.get("cpu")), _dict(environment.get("memory"))
    if cpu:
        yield "processor", _words(cpu.get("model"), _unit(cpu.get("usable_cores"), "usable cores"))
        yield "vector instructions", _words(*_list(cpu.get("vector_instructions")))
    if isinstance(total := memory.get("total"), int | float):
        yield "memory", size(total)
    for gpu in _list(environment.get("gpus")):
        gpu = _dict(gpu)
        yield (
            "GPU",
            _words(
                gpu.get("name"),
                *(f"{key.replace('_', ' ')} {value}" for key, value in gpu.items() if key != "name" and _short(value)),
            ),
        )
    for name, key in (("system", "system"), ("Python", "python"), ("knnscope", "knnscope"), ("commit", "commit")):
        if _short(environment.get(key)):
            yield name, str(environment[key])
    libraries = _dict(environment.get("libraries"))
    if here := [f"{name} {version}" for name, version in libraries.items() if version]:
        yield "libraries", ", ".join(here)
    if _short(environment.get("other_cores")):
        yield "other work meanwhile", f"{environment['other_cores']} cores"


def _flat(value: Any, name: str, deep: int) -> Iterator[tuple[str, str]]:
    """Every value with the way to it; long lists of numbers stay lists."""
    if isinstance(value, dict) and deep:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key), deep - 1)
    elif isinstance(value, list) and deep and any(isinstance(inner, dict | list) for inner in value):
        for place, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{place}]", deep - 1)
    else:
        yield name, _said(name, value)


def _said(name: str, value: Any) -> str:
    """A value as people write it, and whole numbers of bytes with their unit."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "not installed" if name.startswith("libraries.") else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,} bytes" if name.startswith(BYTES) and isinstance(value, int) else str(value)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _short(value: Any) -> bool:
    return isinstance(value, str | int | float) and value != ""


def _unit(value: Any, unit: str) -> str | None:
    return f"{value} {unit}" if _short(value) else None


def _words(*values: Any) -> str:
    return ", ".join(str(v) for v in values if _short(v)) or "unknown"
