"""The code blocks of a page of Markdown, and what stands above each of them.

Every block is fenced and names its language: ``python`` is run, ``sh`` is parsed as the programs parse it, ``sql`` is asked, ``text`` is what something
printed. A comment above a fence says more: ``<!-- run -->`` a shell block is run too; ``<!-- printed -->`` a text is what the one that ran before it prints,
lines left out, and ... for the rest of a line; ``<!-- not run: why -->`` a Python block is compiled only.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

LANGUAGES = {"python", "sh", "sql", "text"}
FENCE = re.compile(r"^( *)```(.*)$")
MARK = re.compile(r"^ *<!-- (run|printed|not run: .+) -->$")
INDENTED = re.compile(r"^ {4,}\S")
JOINS = {"|", "&&", "||", ";", "&"}
REDIRECTS = {">", ">>", "<", "2>", "&>"}


class Block(NamedTuple):
    """Its language, its text, the number of its first line, and the mark above it ("" where there is none)."""

    language: str
    text: str
    line: int
    mark: str


def blocks(text: str) -> list[Block]:
    """All blocks of a page, in its order.

    Raises:
        ValueError: a block that is indented instead of fenced, names no language, or does not end; names the line.
    """
    found: list[Block] = []
    opened: tuple[str, str, int, str] | None = None
    inside: list[str] = []
    before, listed = "", False
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None and fence:
            mark = MARK.match(before)
            opened, inside = (fence[1], fence[2].strip(), number, mark[1] if mark else ""), []
        elif opened is not None and fence and not fence[2]:
            indent, language, start, mark_text = opened
            if language not in LANGUAGES:
                raise ValueError(
                    f"line {start}: a block is one of {', '.join(sorted(LANGUAGES))}, this is {language or 'unnamed'}"
                )
            body = "".join(f"{part.removeprefix(indent)}\n" for part in inside)
            found.append(Block(language, body, start, mark_text))
            opened = None
        elif opened is not None:
            inside.append(line)
        elif INDENTED.match(line) and not before.strip() and not listed:
            raise ValueError(
                f"line {number}: put a block between fences (```sh, ```python, ```text), not behind four spaces"
            )
        if opened is None and line.strip() and not line.startswith(" "):
            listed = bool(re.match(r"([-*]|\d+\.) ", line))
        before = line
    if opened is not None:
        raise ValueError(f"line {opened[2]}: this block does not end")
    return found


def commands(shell: str) -> Iterator[list[str]]:
    """The commands of a shell block as lists of words, without assignments before them, redirections and comments."""
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        skip = False
        for word in [*lexer, ";"]:
            if word in JOINS:
                while words and re.match(r"[A-Z_]+=", words[0]):
                    words.pop(0)
                if words:
                    yield words
                words = []
            elif word in REDIRECTS:
                skip = True
            elif skip:
                skip = False
            else:
                words.append(word)
