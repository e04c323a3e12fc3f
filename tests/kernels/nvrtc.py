"""NVRTC without a GPU: compiles CUDA C++ to machine code for any architecture; what it made of the same words before is kept."""

from __future__ import annotations

import ctypes
import hashlib
from functools import cache
from importlib.metadata import files, version

from knnscope.store import make_folder, whole_file
from tests.conftest import KEPT


@cache
def _library() -> ctypes.CDLL:
    names = {path.name: path.locate() for path in files("nvidia-cuda-nvrtc") or () if path.name.startswith("libnvrtc")}
    for name in sorted(names, reverse=True):  # the one with the built-in declarations is opened by the other
        if "builtins" in name:
            ctypes.CDLL(str(names[name]), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(next(str(path) for name, path in names.items() if "builtins" not in name))


def compiled(code: str, options: tuple[str, ...], capability: int | str) -> bytes:
    """Machine code for a compute capability (times ten, or with its letter).

    Raises:
        ValueError: it does not compile; what the compiler says.
    """
    asked = repr((version("nvidia-cuda-nvrtc"), code, options, capability))
    kept = make_folder(KEPT / "nvrtc") / hashlib.sha256(asked.encode()).hexdigest()
    if not kept.exists():
        with whole_file(kept) as file:
            file.write(_compiled(code, options, capability))
    return kept.read_bytes()


def _compiled(code: str, options: tuple[str, ...], capability: int | str) -> bytes:
    nvrtc = _library()
    program = ctypes.c_void_p()
    source = code.encode()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernel.cu", 0, None, None) == 0
    flags = [flag.encode() for flag in (*options, f"--gpu-architecture=sm_{capability}")]
    failed = nvrtc.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    said = log.value.decode().strip()
    if failed or said:
        raise ValueError(f"sm_{capability} {' '.join(options)}: {said}")
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    binary = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, binary)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return binary.raw
