"""Durations, sizes, shares and long texts as they are printed everywhere: one formatter for each."""

from __future__ import annotations


def duration(ns: float) -> str:
    """Nanoseconds in the unit that suits them, three digits."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= 0.9995 * size:
            return f"{ns / size:,.0f} {unit}" if ns >= 999.5 * size else f"{ns / size:#.3g} {unit}".replace(". ", " ")
    return f"{ns:.0f} ns"


def size(count: float | None) -> str:
    """Bytes in binary units, as memory is counted."""
    if count is None:
        return "unknown"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def decimal_size(count: int) -> str:
    """Bytes in decimal units, as bandwidths count them, three digits."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count < 1000 * size else f"{count / size:,.0f} {unit}"
    return f"{count} B"


def megabytes(count: float) -> str:
    """Bytes in millions, for a column in which all have one unit."""
    return f"{count / 1e6:,.0f} MB"


def percent(share: float) -> str:
    """A share of 1 in percent, with a digit more where it is small."""
    if 0 < share < 1e-6:
        return "<0.0001%"
    return f"{100 * share:.0f}%" if share >= 0.1 else f"{100 * share:.2g}%"


def about(share: float) -> str:
    """A share of 1 in percent, where less than a thousandth is next to nothing."""
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}" if share >= 0.001 else "<0.1%"


def difference(share: float) -> str:
    """A difference in percent with its sign, which one that rounds to nothing has not."""
    whole = round(100 * share)
    return f"{whole:+d}%" if whole else "0%"


def short(text: str, most: int) -> str:
    """The text, cut to so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def times(ratio: float) -> str:
    """How many times one is the other, three digits."""
    return f"{ratio:,.0f}" if ratio >= 999.5 else f"{ratio:#.3g}".rstrip(".")


def expected(seconds: float) -> str:
    """In the unit that people would say it in."""
    if seconds < 100:
        return f"about {counted(round(seconds), 'second')}"
    if seconds < 100 * 60:
        return f"about {counted(round(seconds / 60), 'minute')}"
    return f"about {counted(round(seconds / 3600), 'hour')}"


def counted(number: int, unit: str) -> str:
    """A number of things, by the name of one."""
    return f"{number:,} {unit}{'s' if number != 1 else ''}"
