"""Each engine's colour and mark, the same in every chart and table: colours of Okabe and Ito, a mark of its own, a broken line for a GPU."""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

from knnscope.search import catalog
from knnscope.search.ladder import RUNGS

BLUE, ORANGE, GREEN, SKY, PINK, RED = "#0072B2", "#E69F00", "#009E73", "#56B4E9", "#CC79A7", "#D55E00"
"""Of Okabe and Ito 2008, without black and yellow, which vanish on a dark and on a light page."""
VIOLET, OLIVE, GREY = "#7B4FA3", "#8A7B00", "#767676"
"""As in report/timeline.py, where more than six are needed."""
PARTS = ("#5F6B7A", "#98A4B3", "#C9D1DB")
"""Parts of one whole, which are no engines."""
SHAPES = {
    "circle": "M0,-0.9A0.9,0.9,0,1,1,0,0.9A0.9,0.9,0,1,1,0,-0.9Z",
    "square": "M-0.8,-0.8H0.8V0.8H-0.8Z",
    "diamond": "M0,-1.1L1.1,0L0,1.1L-1.1,0Z",
    "up": "M0,-1L1.05,0.85H-1.05Z",
    "down": "M0,1L1.05,-0.85H-1.05Z",
    "right": "M1,0L-0.85,1.05V-1.05Z",
    "left": "M-1,0L0.85,1.05V-1.05Z",
    "cross": "M-0.35,-1H0.35V-0.35H1V0.35H0.35V1H-0.35V0.35H-1V-0.35H-0.35Z",
}
"""Outlines in a square from -1 to 1, as SVG draws them; Vega takes them as they are."""


class Look(NamedTuple):
    """A colour, the name of a shape, and whether lines are broken."""

    colour: str
    shape: str
    broken: bool = False

    @property
    def path(self) -> str:
        """The outline of its mark."""
        return SHAPES[self.shape]


LOOKS = {
    "certified": Look(BLUE, "circle"),
    "numpy": Look(ORANGE, "square"),
    "faiss": Look(GREEN, "up"),
    "faiss-tuned": Look(OLIVE, "down"),
    "faiss-panorama": Look(VIOLET, "cross"),
    "sklearn": Look(SKY, "diamond"),
    "usearch": Look(PINK, "right"),
    "torch": Look(RED, "left"),
    "numpy64": Look(GREY, "cross"),
    "dask": Look(BLUE, "up"),
    "certified-gpu": Look(BLUE, "diamond", broken=True),
    "cupy": Look(ORANGE, "circle", broken=True),
    "cuvs": Look(SKY, "square", broken=True),
    "faiss-gpu": Look(GREEN, "down", broken=True),
    "faiss-gpu-cuvs": Look(VIOLET, "up", broken=True),
    "torch-cuda": Look(RED, "right", broken=True),
    "flashlib": Look(PINK, "left", broken=True),
    "certex": Look(OLIVE, "cross", broken=True),
}


RUNG = Look(GREY, "circle")
"""Rungs of the ladder are steps of one way, not rivals."""


def look(engine: str) -> Look:
    """Of an engine in the list its own, of all rungs one; of any other name one that follows from the name."""
    if engine in LOOKS or engine in RUNGS:
        return LOOKS.get(engine, RUNG)
    number = crc32(engine.encode("utf-8", "replace"))
    colours = (BLUE, ORANGE, GREEN, SKY, PINK, RED, VIOLET, OLIVE)
    entry = catalog.ENGINES.get(engine)
    shape = list(SHAPES)[number // len(colours) % len(SHAPES)]
    return Look(colours[number % len(colours)], shape, entry is not None and entry.device == "cuda")
