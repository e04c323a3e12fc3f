"""Names of kernels: mangled ones made readable."""

from __future__ import annotations

import ctypes


def short(name: str) -> str:
    """The function's own name: of a C++ one without namespaces, arguments and templates."""
    if not name.startswith("_Z"):
        return name
    rest = name[3:] if name.startswith("_ZN") else name[2:]
    last = name
    while rest and rest[0].isdigit():
        digits = len(rest) - len(rest.lstrip("0123456789"))
        size = int(rest[:digits])
        last, rest = rest[digits : digits + size], rest[digits + size :]
    return last


def demangled(name: str) -> str:
    """As C++ would write it; the name itself where that cannot be told."""
    if not name.startswith("_Z"):
        return name
    try:
        library = ctypes.CDLL("libstdc++.so.6")
        library.__cxa_demangle.restype = ctypes.c_void_p
        status = ctypes.c_int()
        found = library.__cxa_demangle(name.encode(), None, None, ctypes.byref(status))
        if status.value or not found:
            return name
        text = ctypes.cast(found, ctypes.c_char_p).value or b""
        ctypes.CDLL(None).free(ctypes.c_void_p(found))
        return text.decode("utf-8", "replace")
    except (OSError, AttributeError):
        return name
