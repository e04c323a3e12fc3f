"""knnscope completion."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from shlex import quote

from knnscope.cli import COMMANDS, help_of, parser_of
from knnscope.datasets import registry
from knnscope.encoders import models, recipes
from knnscope.search import catalog, ladder
from knnscope.trace import queries

WIDTH = 60
"""Characters of an explanation beside a candidate."""
PATHS = re.compile(r"FILE|DIR|PATH|TRACE|DATASET")
"""In what an option takes, as its help names it: files and folders are candidates."""
NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "dataset": lambda: (name for name in registry.all_names() if ":" not in name),  # bash breaks words at colons
    "encoder": lambda: models.MODELS,
    "engines": lambda: catalog.ENGINES,
    "name": lambda: (*ladder.RUNGS, *catalog.ENGINES),
    "question": lambda: queries.QUERIES,
    "recipe": lambda: ("own", *recipes.RECIPES),
    "rungs": lambda: ladder.RUNGS,
}
"""Candidates of arguments that have no closed set of choices."""


@dataclass(frozen=True, slots=True)
class Argument:
    """An option, or, without flags, a positional argument; ``takes`` is empty where no value follows."""

    flags: tuple[str, ...]
    about: str
    takes: str
    values: tuple[str, ...]

    @property
    def paths(self) -> bool:
        """Whether a file or a folder may be meant."""
        return bool(PATHS.search(self.takes))

    @property
    def listed(self) -> bool:
        """Whether it takes several values with commas between."""
        return "," in self.takes


@dataclass(frozen=True, slots=True)
class Listed:
    """A command as the shells see it."""

    name: str
    about: str
    arguments: tuple[Argument, ...]

    @property
    def options(self) -> list[Argument]:
        """What begins with a dash."""
        return [argument for argument in self.arguments if argument.flags]

    @property
    def positional(self) -> list[Argument]:
        """What does not, in order."""
        return [argument for argument in self.arguments if not argument.flags]


class Completion:
    """A script for your shell: Tab then completes commands, options, and names of engines, data sets and encoders.

    knnscope completion bash >~/.local/share/bash-completion/completions/knnscope
    knnscope completion zsh >~/.zfunc/_knnscope      where ~/.zshrc says fpath+=(~/.zfunc) before compinit
    knnscope completion fish >~/.config/fish/completions/knnscope.fish

    It holds what this version knows: write it anew after an update.
    """

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("shell", choices=tuple(SHELLS), metavar="|".join(SHELLS), help="the shell to write it for")

    def run(self, args: argparse.Namespace) -> int:
        """Print the script."""
        print(SHELLS[args.shell](commands()))
        return 0


def commands() -> list[Listed]:
    """All commands with their arguments, as their parsers have them."""
    return [Listed(name, _brief(help_of(name).splitlines()[0]), _arguments(name)) for name in COMMANDS]


def _arguments(command: str) -> tuple[Argument, ...]:
    parser = parser_of(command)
    formatter = argparse.HelpFormatter(command)
    found = []
    for action in parser._actions:
        about = _brief(formatter._expand_help(action)) if action.help else ""
        takes = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
        values = tuple(map(str, action.choices or NAMES.get(action.dest, tuple)())) if takes else ()
        found.append(Argument(tuple(action.option_strings), about, takes, values))
    return tuple(found)


def _brief(text: str) -> str:
    return textwrap.shorten(text, WIDTH, placeholder=" ...")


BASH = """\
# knnscope completion bash
_knnscope() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words= paths= list= start=
    COMPREPLY=()
    case $COMP_CWORD:${COMP_WORDS[1]}:$before in
    1:*) words='%s' ;;
%s
    esac
    [[ $list && $current == *,* ]] && start=${current%%,*},
    mapfile -t COMPREPLY < <(compgen -P "$start" -W "$words" -- "${current#"$start"}")
    if [[ $paths ]]; then
        local found
        mapfile -t found < <(compgen -f -- "$current")
        COMPREPLY+=("${found[@]}")
        compopt -o filenames 2>/dev/null
    fi
}
complete -F _knnscope knnscope"""


def bash(listed: Sequence[Listed]) -> str:
    """Cases by command and the word before; the first that fits holds."""
    cases = []
    for command in listed:
        for option in command.options:
            if option.takes:
                at = "|".join(f"*:{command.name}:{flag}" for flag in option.flags)
                cases.append(f"    {at}) {_bash([option])} ;;")
        flags = " ".join(flag for option in command.options for flag in option.flags)
        others = command.positional
        if others and others[0].values and not others[0].paths:  # a word of a closed set comes first, alone
            first, *others = others
            cases.append(f"    2:{command.name}:*) {_bash([first])}; [[ $current == -* ]] && words={quote(flags)} ;;")
        shown = _bash(others)
        cases.append(f"    *:{command.name}:*) {shown}; [[ $current == -* ]] && words={quote(flags)} paths= ;;")
    return BASH % (" ".join(command.name for command in listed), "\n".join(cases))


def _bash(arguments: Sequence[Argument]) -> str:
    words = quote(" ".join(dict.fromkeys(value for argument in arguments for value in argument.values)))
    paths, listed = (
        "1" if any(getattr(argument, values) for argument in arguments) else "" for values in ("paths", "listed")
    )
    return f"words={words} paths={paths} list={listed}"


ZSH = """\
#compdef knnscope
_knnscope() {
    local -a commands=(%s)
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
%s
    esac
}
if [[ $funcstack[1] == _knnscope ]]; then _knnscope "$@"; else compdef _knnscope knnscope; fi"""


def zsh(listed: Sequence[Listed]) -> str:
    """One call of ``_arguments`` for each command."""
    cases = []
    for command in listed:
        specs = [_zsh(argument) for argument in command.arguments]
        lines = " \\\n            ".join(quote(spec) for group in specs for spec in group)
        cases.append(f"    {command.name})\n        _arguments -S \\\n            {lines} ;;")
    names = " ".join(quote(f"{command.name}:{command.about}") for command in listed)
    return ZSH % (names, "\n".join(cases))


def _zsh(argument: Argument) -> list[str]:
    words = " ".join(argument.values)
    actions = []
    if words:
        actions.append(f"names:name:_sequence compadd - {words}" if argument.listed else f"names:name:({words})")
    if argument.paths:
        actions.append("files:file:_files")
    what = re.sub(r"([:\\])", r"\\\1", argument.takes)
    match actions:
        case []:
            action = " "
        case [one]:
            action = one.split(":", 2)[2]
        case _:
            action = " _alternative " + " ".join(quote(one) for one in actions)
    if not argument.flags:
        return [f":{what}:{action}"]
    about = re.sub(r"([][:\\])", r"\\\1", argument.about)
    others = f"({' '.join(argument.flags)})" if len(argument.flags) > 1 else ""
    return [f"{others}{flag}[{about}]" + (f":{what}:{action}" if argument.takes else "") for flag in argument.flags]


def fish(listed: Sequence[Listed]) -> str:
    """One ``complete`` for each argument."""
    lines = ["# knnscope completion fish", "complete -c knnscope -f"]
    for command in listed:
        lines.append(f"complete -c knnscope -n __fish_use_subcommand -a {command.name} -d {_fish(command.about)}")
        for argument in command.arguments:
            parts = [f"complete -c knnscope -n '__fish_seen_subcommand_from {command.name}'"]
            parts += [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in argument.flags]
            if argument.takes:
                parts += ["-r"] * bool(argument.flags) + ["-F" if argument.paths else "-f"]
                words = " ".join(argument.values)
                if words and argument.listed:
                    parts.append(f"-a '(__fish_append , {words})'")
                elif words:
                    parts.append(f"-a {_fish(words)}")
            if argument.about and argument.flags:
                parts.append(f"-d {_fish(argument.about)}")
            lines.append(" ".join(parts))
    return "\n".join(lines)


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[Sequence[Listed]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
