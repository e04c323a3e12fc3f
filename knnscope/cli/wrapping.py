"""Help at the terminal's width: prose flows, a command in an example is broken as a shell reads it, what it does stands after or below."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap

NARROWEST = 20
EXAMPLE = re.compile(r"(knnscope|nsys|\./dev) ")
"""How a line of a description begins that is typed as it stands."""


def columns() -> int:
    """What a line may have: two less than the terminal, as argparse does."""
    return max(NARROWEST, shutil.get_terminal_size().columns - 2)


def hanging(text: str, start: str = "") -> list[str]:
    """Lines that begin with ``start``; those that follow stand below the text."""
    return textwrap.wrap(text, columns(), initial_indent=start, subsequent_indent=" " * min(len(start), columns() // 2))


class Wrapped(argparse.HelpFormatter):
    """argparse's formatter with paragraphs and examples in the description."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in _described(text, width - len(indent)))


def _described(text: str, width: int) -> list[str]:
    lines: list[str] = []
    prose: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line and not EXAMPLE.match(line):
            prose.append(line)
            continue
        lines += textwrap.wrap(" ".join(prose), width)
        prose.clear()
        lines += _example(line, width) if line else [""]
    return lines[:-1]


def _example(line: str, width: int) -> list[str]:
    """As it is where it fits; else what it does goes below it, and the command is broken with backslashes."""
    if len(line) <= width:
        return [line]
    command, what = [*re.split(" {2,}", line, maxsplit=1), ""][:2]
    found = [command]
    if len(command) > width:
        found = textwrap.wrap(command, width - 2, subsequent_indent="    ", break_on_hyphens=False)
        found = [*(f"{part} \\" for part in found[:-1]), found[-1]]
    below = textwrap.wrap(what, width, initial_indent="    ", subsequent_indent="    ")
    return [*found, *below]
