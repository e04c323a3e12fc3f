"""Colours of lanes, the same in pictures and on pages: of Okabe and Ito, which people with colour blindness of any form tell apart."""

from __future__ import annotations

COLOURS = {
    "kernels": ("#0072B2",),
    "host to device": ("#009E73",),
    "device to host": ("#D55E00",),
    "within the GPU": ("#CC79A7",),
    "between GPUs": ("#7B4FA3",),
    "pages to device": ("#00694C",),
    "pages to host": ("#8F3E00",),
    "pages between GPUs": ("#4B2F66",),
    "fills": ("#8A7B00",),
    "other copies": ("#333333",),
    "calls": ("#0072B2", "#E69F00", "#4d4d4d", "#7B4FA3", "#a9a9a9"),
    "ranges": ("#b9cfe4", "#cbbfdf", "#bfe3c8", "#f3d3b0", "#c8c8c8"),
}
"""By group of a lane, one for each tone."""
ON_DARK = {
    "#0072B2": "#2b8fd0",
    "#7B4FA3": "#a27cc8",
    "#00694C": "#1f9a76",
    "#8F3E00": "#c0692d",
    "#4B2F66": "#8a6bab",
    "#8A7B00": "#a89a2a",
    "#333333": "#b0b0b0",
    "#4d4d4d": "#d0d0d0",
    "#a9a9a9": "#7c7c7c",
    "#b9cfe4": "#4a6d8f",
    "#cbbfdf": "#6f5f92",
    "#bfe3c8": "#3f7f55",
    "#f3d3b0": "#96703f",
    "#c8c8c8": "#6b6b6b",
}
"""What stands for a colour on a dark page, where it would be too near the ground: three times as light as that at least."""
LIGHT = frozenset({"#E69F00", "#a9a9a9", "#CC79A7", *COLOURS["ranges"]})
"""Colours that need dark text."""
PALE = 0.3
"""How much of its colour is left behind what is shorter than a pixel."""
THIN = 2
"""Pixels of a block's width at least."""
SEEN = 3
"""Pixels of a dark part's height at least, however little of the time it stands for."""


def pale(colour: str) -> str:
    """The colour mixed with white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - PALE * (255 - part)):02x}" for part in parts)
