"""The command line. In: arguments. Out: text, JSON or files, and an exit code: 0, 1 for what --fail-on names, 2 for an error, 130 after Ctrl-C.

A command is a class in a file of its own, and a line in ``COMMANDS``; it parses, calls one function of api/, and renders. Start with search.py.
tests/cli/test_help.py and test_completion.py hold every command.
"""

from __future__ import annotations

import argparse
import ast
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path
from typing import NoReturn, Protocol

from knnscope.cli.wrapping import Wrapped, hanging
from knnscope.environment import version
from knnscope.errors import KnnscopeError, unknown_name
from knnscope.progress import harmless
from knnscope.report.text import plain
from knnscope.store import os_problem

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Of files that have a name, the error has it too."""

COMMANDS = {
    "info": "knnscope.cli.info:Info",
    "data": "knnscope.cli.data:Data",
    "embed": "knnscope.cli.embed:Embed",
    "search": "knnscope.cli.search:Search",
    "compare": "knnscope.cli.compare:Compare",
    "crossover": "knnscope.cli.crossover:Crossover",
    "grade": "knnscope.cli.grade:Grade",
    "truth": "knnscope.cli.truth:Truth",
    "verify": "knnscope.cli.verify:Verify",
    "run": "knnscope.cli.retrieve:Run",
    "cluster": "knnscope.cli.cluster:Cluster",
    "ladder": "knnscope.cli.ladder:Ladder",
    "show": "knnscope.cli.show:Show",
    "report": "knnscope.cli.report:Report",
    "profile": "knnscope.cli.profile:Profile",
    "explain": "knnscope.cli.explain:Explain",
    "timeline": "knnscope.cli.timeline:Timeline",
    "sql": "knnscope.cli.sql:Sql",
    "demo": "knnscope.cli.demo:Demo",
    "warm": "knnscope.cli.warm:Warm",
    "completion": "knnscope.cli.completion:Completion",
}


class Command(Protocol):
    """Its docstring is its help."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code."""
        ...


class Parser(argparse.ArgumentParser):
    """Errors are one line, like every other error here."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise KnnscopeError(f"{message} (see {self.prog} --help)")


def load(name: str) -> Command:
    """The command of this name."""
    module, _, cls = COMMANDS[name].partition(":")
    command: Command = getattr(import_module(module), cls)()
    return command


def summary_of(name: str) -> str:
    """The first line of a command's help, read from its file: importing what all commands need takes most of a second.

    Raises:
        TypeError: there is none.
    """
    module, _, cls = COMMANDS[name].partition(":")
    spec = find_spec(module)
    source = Path(spec.origin).read_text("utf-8") if spec and spec.origin else ""
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == cls]
    return ((ast.get_docstring(classes[0]) if classes else None) or help_of(name)).splitlines()[0]


def help_of(name: str) -> str:
    """What a command's docstring says; the first line stands in the list of commands.

    Raises:
        TypeError: there is none.
    """
    doc = cleandoc(load(name).__doc__ or "").strip()
    if not doc:
        raise TypeError(f"{COMMANDS[name]} has no docstring: its first line is its help")
    return doc


def parser_of(name: str) -> Parser:
    """The parser of one command, as ``knnscope NAME`` uses it."""
    command = load(name)
    parser = Parser(prog=f"knnscope {name}", description=help_of(name), formatter_class=Wrapped, allow_abbrev=False)
    command.configure(parser)
    parser.set_defaults(command=command)
    return parser


def usage() -> str:
    """The first screen."""
    lines = [
        *hanging(f"knnscope {version()}: which exact vector search is fastest and right on your data and machine"),
        "",
    ]
    for name in COMMANDS:
        lines += hanging(summary_of(name), f"  knnscope {name:<{max(map(len, COMMANDS))}} ")
    lines += ["", *hanging("knnscope COMMAND --help tells more. Start with: knnscope demo")]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Find the command and run it.

    Raises:
        KnnscopeError: anything the user can mend.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"knnscope {version()}")
        return 0
    args = parsed(argv)
    return int(args.command.run(args))


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command, and the command itself as ``command``.

    Raises:
        KnnscopeError: there is no such command, or it does not take them.
    """
    if argv[0] not in COMMANDS:
        raise unknown_name("command", argv[0], COMMANDS)
    own, rest = list(argv[1:]), None
    if "--" in own and getattr(load(argv[0]), "runs_commands", False):
        cut = own.index("--")
        own, rest = own[:cut], own[cut + 1 :]
    parser = parser_of(argv[0])
    args = parser.parse_intermixed_args(own)
    _check_given(parser, args)
    args.rest = rest
    return args


def _check_given(parser: Parser, args: argparse.Namespace) -> None:
    """Refuse a name of nothing, which a path takes for this folder and ``or`` for what was not given: mostly a variable that is not set.

    Raises:
        KnnscopeError: says which. Of lists and numbers, who reads them says it; a prompt may be empty.
    """
    for action in parser._actions:
        name, given = action.metavar or "", getattr(args, action.dest, None)
        if name in ("", "PROMPT") or set(",;") & set(name):
            continue
        if given == "" or (isinstance(given, list) and "" in given):
            said = "/".join(action.option_strings) or name
            raise KnnscopeError(
                f"{said} is empty: give a name, or leave it out; perhaps a variable of the shell is not set"
            )


class Ended(KeyboardInterrupt):
    """A signal asks this process to end: what Ctrl-C keeps and removes is kept and removed."""


ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Of a supervisor, ``timeout``, a closed terminal; the exit code is 128 and the signal's number, as a shell has it."""


def run() -> int:
    """The console script: one handler for errors, one exit."""
    _mend_streams()
    ended: list[int] = []

    def end(number: int, _: object) -> None:
        ended.append(number)
        for other in ENDING:
            signal.signal(other, signal.SIG_IGN)  # a second one would disturb the tidying up
        raise Ended

    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in ENDING} if here else {}
    try:
        for number, handler in before.items():
            if handler is signal.SIG_DFL:  # nohup ignores one
                signal.signal(number, end)
        code = _run()
        return 128 + ended[0] if ended else code
    except Ended:  # before it began or after it ended
        return 128 + ended[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run() -> int:
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except KnnscopeError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt as stop:
        return _say(str(stop) or "interrupted; what was finished is kept", 130)
    except BrokenPipeError:  # the reader of a pipe went away (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        return _say("out of memory: take fewer rows with --limit, or a memory-mapped .npy file", 2)
    except OSError as error:
        return _say(str(os_problem(error, "what is printed" if error.errno in NO_ROOM else "system")), 2)
    return code


def _mend_streams() -> None:
    """A closed stream swallows what is written to it; one that lacks a character writes its code."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for the life of the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            if name == "stdout":  # progress on stderr redraws its line; what it is given is cleaned there
                stream.write = _harmless(stream.write)  # type: ignore[method-assign]


def _harmless(write: Callable[[str], int]) -> Callable[[str], int]:
    """``write`` with whatever steers a terminal shown as its code: names of files and ids are anybody's."""
    return lambda text: write(harmless(text))


def _say(message: str, code: int) -> int:
    print(f"knnscope: {plain(message)}", file=sys.stderr)
    return code
