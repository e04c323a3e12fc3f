"""Nothing public is undocumented: commands, options, names, methods, arguments, pages."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import knnscope
from knnscope import cli
from pages import commands, functions
from pages.markdown import table, words

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_and_all_its_options_stand_on_the_page(name: str) -> None:
    page = (DOCS / "reference" / "commands.md").read_text("utf-8")
    section = re.search(rf"^## knnscope {name}\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    assert section, f"run ./dev pages: there is no section of {name}"
    for action in cli.parser_of(name)._actions:
        for option in action.option_strings:
            assert option in ("-h", "--help") or re.search(rf"`{re.escape(option)}[ `]", section[1]), option


def test_an_argument_without_help_is_refused() -> None:
    parser = argparse.ArgumentParser()
    with pytest.raises(ValueError, match="secret has no help"):
        commands.what(parser.add_argument("--secret"))
    assert commands.what(parser.add_argument("--share", help="at least 5%% of it")) == "at least 5% of it"


@pytest.mark.parametrize("name", sorted(knnscope.PUBLIC))
def test_a_public_name_and_its_methods_stand_on_the_page(name: str) -> None:
    page = (DOCS / "reference" / "functions.md").read_text("utf-8")
    assert f"\n## {name}\n" in page, "run ./dev pages"
    for key in vars(getattr(knnscope, name)) if isinstance(getattr(knnscope, name), type) else ():
        if not key.startswith("_") and inspect.isfunction(getattr(getattr(knnscope, name), key)):
            assert f"\n### {name}.{key}\n" in page, "run ./dev pages"


def callables() -> Iterator[tuple[str, Any, str]]:
    """Public functions, methods and classes, with what their docstrings say."""
    for name in knnscope.PUBLIC:
        found = getattr(knnscope, name)
        if not isinstance(found, type):
            yield name, found, inspect.getdoc(found) or ""
            continue
        if not hasattr(found, "load") and not issubclass(found, Exception):  # else a function makes it
            yield name, found, f"{inspect.getdoc(found)}\n{inspect.getdoc(vars(found).get('__init__')) or ''}"
        for key, value in vars(found).items():
            if not key.startswith("_") and inspect.isfunction(value):
                yield f"{name}.{key}", value, inspect.getdoc(value) or ""


@pytest.mark.parametrize(("name", "found", "said"), [pytest.param(*each, id=each[0]) for each in callables()])
def test_every_argument_is_explained(name: str, found: Any, said: str) -> None:
    """One alone explains itself: ``save(path)``."""
    parameters = [p for p in inspect.signature(found).parameters if p not in ("self", "keywords")]
    if len(parameters) > 1:
        missing = [p for p in parameters if not re.search(rf"(^|[ .(]){p}: ", said, re.M)]
        assert not missing, f"the docstring of {name} does not explain {', '.join(missing)}"


def test_a_docstring_in_its_parts() -> None:
    def example(rows: int, **keywords: Any) -> None:
        """What it does.

        And ``more`` of it.

        Args:
            rows: how many,
                at least 1.
            **keywords: others.

        Raises:
            KnnscopeError: too many.
        """

    assert list(functions.told("example", example)) == [
        "What it does.",
        "And `more` of it.",
        table(
            ["argument", "type", "what it is"],
            [["`rows`", "`int`", "how many, at least 1."], ["`**keywords`", "", "others."]],
        ),
        "Raises `KnnscopeError`: too many.",
    ]
    example.__doc__ = None
    with pytest.raises(ValueError, match="example has no docstring"):
        list(functions.told("example", example))


def test_markup_in_a_text_is_text() -> None:
    assert words("a *b* <c> [d] ``e*`` --fail-on x_y") == r"a \*b\* \<c> \[d\] `e*` `--fail-on` x\_y"
    assert table(["a"], [["x|y"], [r"p\|q"]]).splitlines()[2:] == [r"| x\|y |", r"| p\|q |"]


def test_every_page_has_one_line_in_the_navigation() -> None:
    listed = re.findall(r"^- \[[^\]]+\]\(([^)]+)\): \S", (DOCS / "index.md").read_text("utf-8"), re.M)
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if path.parent.name != "decisions"}
    assert sorted(listed) == sorted(pages - {"index.md"} | {"decisions/README.md"})


def slugs(text: str) -> set[str]:
    """Anchors of a page's headings, as Git hosts and MyST make them."""
    headings = re.findall(r"^#+ (.+)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_and_their_anchors_lead_somewhere() -> None:
    checked = 0
    for page in (*ROOT.glob("*.md"), *DOCS.rglob("*.md")):
        text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.M | re.S)
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
            file = page.parent / target if target else page
            assert file.exists(), f"{page.relative_to(ROOT)} links to {target}"
            if anchor:
                assert anchor in slugs(file.read_text("utf-8")), f"{page.relative_to(ROOT)} links to {target}#{anchor}"
                checked += 1
    assert checked >= 5
