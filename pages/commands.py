"""docs/reference/commands.md: every command with its arguments, from the parsers that the commands use."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from knnscope import cli
from knnscope.cli.wrapping import EXAMPLE
from pages.markdown import code, table, words

HEAD = """# Every command

Written by `python -m pages` from the programs themselves; a test fails when it is stale. `knnscope COMMAND --help` says the same.

`python -m knnscope` is the same program. An error is one line that says what is wrong, where, and what to do; its exit code is 2. Ctrl-C ends with
130, SIGTERM with 143. `knnscope --version` prints the version.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *map(section, cli.COMMANDS)])


def section(name: str) -> str:
    """One command: what it does, examples, arguments."""
    first, *others = paragraphs(cli.help_of(name))
    parts = [f"## knnscope {name}", first, *others]
    actions = [action for action in cli.parser_of(name)._actions if action.dest != "help"]
    if actions:
        parts.append(table(["argument", "what it is"], ([spelled(a), what(a)] for a in actions)))
    return "\n\n".join(parts) + "\n"


def paragraphs(text: str) -> Iterator[str]:
    """Prose, and examples as blocks to copy, with what they do as comments."""
    for part in re.split(r"\n\s*\n", text):
        prose: list[str] = []
        typed: list[str] = []
        for line in part.splitlines():
            (typed if EXAMPLE.match(line) else prose).append(line)
        if prose:
            yield words(" ".join(prose))
        if typed:
            yield "\n".join(["```sh", *(re.sub(r" {2,}(?!#)", "  # ", line) for line in typed), "```"])


def spelled(action: argparse.Action) -> str:
    """An argument as one types it."""
    value = "" if action.nargs == 0 else action.metavar or "|".join(map(str, action.choices or [action.dest.upper()]))
    assert isinstance(value, str)
    if not action.option_strings:
        return code(value)
    return ", ".join(code(f"{option} {value}".strip()) for option in action.option_strings)


def what(action: argparse.Action) -> str:
    """Its help.

    Raises:
        ValueError: it has none.
    """
    if not action.help or action.help == argparse.SUPPRESS:
        raise ValueError(f"the argument {action.dest} has no help")
    text = action.help % {**vars(action), "prog": "knnscope"} if "%" in action.help else action.help
    return words(text)
