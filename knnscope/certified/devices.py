"""Where an index lives, as a user says it."""

from __future__ import annotations

from collections.abc import Sequence

from knnscope.certified.cpu.scanner import CpuScanner
from knnscope.certified.either import OnEither, gpu_beside
from knnscope.certified.making import Maker, OnCpu, OnCuda
from knnscope.certified.memory import as_memory
from knnscope.errors import KnnscopeError, NoGpuError, require
from knnscope.search.device import gpu_problem

DEVICES = ("auto", "cpu", "cuda")
Device = str | Sequence[str]


def maker_for(device: Device, threads: int | None, memory: str | int) -> Maker:
    """What makes rows searchable there; see ``ExactIndex``.

    Raises:
        KnnscopeError: no such device or memory.
    """
    memory = as_memory(memory)
    several = device.split(",") if isinstance(device, str) else list(device) if isinstance(device, list | tuple) else []
    names = [one.partition(":")[::2] if isinstance(one, str) else ("", "") for one in several]
    name, part = names[0] if names else ("", "")
    numbers = [int(number or 0) for one, number in names if one == "cuda" and (not number or number.isdecimal())]
    if (
        name not in DEVICES
        or (part and name == "auto")
        or len(numbers) != len(names) * (name == "cuda" or len(names) > 1)
    ):
        raise KnnscopeError(
            f"device {device!r}: certified search runs on {', '.join(DEVICES)}; a certain one is written cpu:avx2 or cuda:1, several GPUs "
            "['cuda:0', 'cuda:1']"
        )
    if name == "cuda":
        if memory == "small":
            raise KnnscopeError("memory='small' is for processors: give a size, such as \"8GiB\", or say device='cpu'")
        if why := gpu_problem():
            raise NoGpuError(f"{why}: device='cpu' gives the same answers")
        most = None if memory == "fast" else int(memory)
        return OnCuda(require("knnscope.certified.cuda.living", "cuda13", "cupy"), numbers, most)
    here = CpuScanner(part or None, threads, memory)
    return OnCpu(here) if name == "cpu" or threads is not None else OnEither(here, gpu_beside())
