"""What a page is made of: sections of blocks. Renderers know blocks only; every text in them is anybody's, and is escaped there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from knnscope.report.text import Table, plain

Tone = Literal["", "warning", "quiet"]
Form = Literal["lines", "states", "shares", "bars", "roofline", "rungs", "ratios"]


def readable(text: str) -> str:
    """A text in one line that every file can hold: no control characters, no halves of characters."""
    return plain(text).encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True)
class Engine:
    """A name with its colour and mark before it; ``label`` stands in its place where something else is to be read."""

    name: str
    label: str = ""

    def __str__(self) -> str:
        return plain(self.label or self.name)


@dataclass(frozen=True, slots=True)
class Number:
    """A figure as it is read, and by what it is sorted."""

    text: str
    value: float

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence or several; a warning stands in a box."""

    kind: ClassVar[str] = "text"
    text: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """Sentences, one below the other."""

    kind: ClassVar[str] = "list"
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; its cells are texts, ``Engine`` or ``Number``.

    wide: numbers of columns whose texts are wrapped. sortable: readers may sort and filter it, if their browser runs scripts; it has its
    own scroll bar, and is not printed.
    """

    kind: ClassVar[str] = "grid"
    table: Table
    wide: tuple[int, ...] = ()
    sortable: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Terms, and what is known of each."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    form: the function of charts.py that draws it. data: a flat dict a mark. options: what else that function takes. said: in a sentence
    what it shows. table: the same in figures.
    """

    kind: ClassVar[str] = "chart"
    name: str
    title: str
    said: str
    table: Table
    form: Form
    data: list[dict[str, Any]] = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Charts:
    """Charts side by side where there is room."""

    kind: ClassVar[str] = "charts"
    charts: Sequence[Chart]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is made already: PNG. said: what it shows."""

    kind: ClassVar[str] = "picture"
    png: bytes
    said: str


@dataclass(frozen=True, slots=True)
class Folded:
    """Blocks that are seen when their title is opened."""

    kind: ClassVar[str] = "folded"
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Heading:
    """A title within a section."""

    kind: ClassVar[str] = "heading"
    text: str


Block = Text | Listed | Grid | Facts | Chart | Charts | Picture | Folded | Heading


@dataclass(frozen=True, slots=True)
class Section:
    """name: of its anchor."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Document:
    """A page. lead: its first sentence. below: what follows it at once. engines: names that readers may filter by."""

    title: str
    about: str
    lead: str
    head: Sequence[Block]
    sections: Sequence[Section]
    engines: Sequence[str] = ()
    rows: Sequence[dict[str, Any]] = field(default=(), repr=False)

    def charts(self) -> Iterator[Chart]:
        """All charts, in the page's order."""
        for blocks in (self.head, *(section.blocks for section in self.sections)):
            yield from _charts(blocks)


def _charts(blocks: Sequence[Block]) -> Iterator[Chart]:
    for block in blocks:
        if isinstance(block, Chart):
            yield block
        elif isinstance(block, Charts):
            yield from block.charts
        elif isinstance(block, Folded):
            yield from _charts(block.blocks)
