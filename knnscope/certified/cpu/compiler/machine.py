"""LLVM: instructions become machine code for this processor, and machine code becomes something to call."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from knnscope.certified.cpu.compiler.unit import INNER

SPEED = 3
LIKE_NUMBA = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX")
"""Variables that choose the processor that code is compiled for; they are named as those of Numba, which did it before."""


@cache
def _own() -> dict[str, bool]:
    """Instructions that this processor has, or has not; none where LLVM does not know it."""
    try:
        return dict(llvm.get_host_cpu_features())
    except RuntimeError:
        return {}


def processor() -> tuple[str, str, str]:
    """What code is compiled for: system, processor, and instructions that it may use beside what its name says."""
    name, asked, avx = (os.environ.get(variable) for variable in LIKE_NUMBA)
    if asked is None and (name or "").lower() == "generic":
        asked = ""
    if asked is None:
        features = {
            feature: there and not (avx == "0" and feature.startswith("avx")) for feature, there in _own().items()
        }
        asked = ",".join(f"{'+' if features[feature] else '-'}{feature}" for feature in sorted(features))
    return llvm.get_process_triple(), name or llvm.get_host_cpu_name(), asked


def instructions() -> frozenset[str]:
    """What the compiler may use: this processor's own, less what the variables of ``LIKE_NUMBA`` take away.

    Of a processor that was named nothing is known but what is asked for beside its name.
    """
    own = {name for name, there in _own().items() if there}
    _, name, features = processor()
    allowed = set(own) if name == llvm.get_host_cpu_name() else set[str]()
    for feature in filter(None, features.split(",")):
        (allowed.add if feature[0] == "+" else allowed.discard)(feature[1:])
    return frozenset(allowed & own)


@cache
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    triple, name, features = processor()
    how = (
        {"reloc": "pic", "codemodel": "small"}
        if triple.startswith("x86_64")
        else {"reloc": "default", "codemodel": "jitdefault"}
    )
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=name, features=features, opt=SPEED, jit=True, **how
    )


@cache
def _engine() -> Any:
    empty = llvm.parse_assembly(f'target triple = "{llvm.get_process_triple()}"')
    return llvm.create_mcjit_compiler(empty, _target())


def optimised(module: Any, target: Any, unrolled: bool = False) -> Any:
    """A unit's instructions, read and made better by LLVM.

    Args:
        module: they, see ir.py.
        target: LLVM's machine that they are for.
        unrolled: loops are unrolled, and several turns made one of vectors; that is a third of LLVM's time.
    """
    module.triple, module.data_layout = llvm.get_process_triple(), str(target.target_data)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=SPEED)
    tuning.loop_vectorization, tuning.loop_unrolling, tuning.slp_vectorization = unrolled, unrolled, False
    builder = llvm.create_pass_builder(target, tuning)
    builder.getModulePassManager().run(parsed, builder)
    return parsed


def compiled(module: Any, unrolled: bool = False) -> bytes:
    """The object file of a unit's instructions; ``unrolled``: see ``optimised``."""
    return bytes(_target().emit_object(optimised(module, _target(), unrolled)))


def load(code: bytes, addresses: dict[str, int], symbol: str) -> None:
    """Load an object file, which may call what has an address; those of its own functions are added."""
    for name, address in addresses.items():
        llvm.add_symbol(name, address)
    engine = _engine()
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(code))
    engine.finalize_object()
    for name in (symbol, symbol + INNER):
        if address := engine.get_function_address(name):
            addresses[name] = address
