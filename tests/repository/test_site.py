"""What Sphinx is helped with: the navigation of the site, and the check of its links. Neither needs Sphinx."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

SITE = Path(__file__).resolve().parents[2] / "docs" / "_site"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SITE / f"{name}.py")
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_navigation_follows_from_the_lists_of_links() -> None:
    app = SimpleNamespace(config=SimpleNamespace(root_doc="index"))
    text = "# Site\n\n## Start\n\n- [Install](install.md): how\n- [Other](a/b.md): what\n\n## Notes\n\nA [link](c.md).\n\n## End\n\n- [E](e.md): last"
    source = [text]
    module("navigation").add(app, "index", source)
    assert source[0].startswith(text)
    assert source[0].split("```{toctree}")[1:] == [
        "\n:hidden:\n:caption: Start\n\ninstall\na/b\n```\n\n",
        "\n:hidden:\n:caption: End\n\ne\n```\n",
    ]
    other = ["# Page\n\n- [x](y.md)\n"]
    module("navigation").add(app, "page", other)
    assert other == ["# Page\n\n- [x](y.md)\n"]


def test_all_decisions_are_in_the_navigation_without_a_line() -> None:
    source = ["# Decisions\n"]
    module("navigation").add(SimpleNamespace(config=SimpleNamespace(root_doc="index")), "decisions/README", source)
    assert source[0].endswith("```{toctree}\n:glob:\n:maxdepth: 1\n\n*\n```\n")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<a href="b.html">', None),
        ('<a href="b.html#there">', None),
        ('<a href="#here">', None),
        ('<a href="https://example.org/">', None),
        ('<a href="c.html">', "a.html links to c.html, which is not there"),
        ('<a href="b.html#nowhere">', "a.html links to b.html#nowhere: that page has no such anchor"),
        ('<img src="no.svg">', "a.html links to no.svg, which is not there"),
        ('<script src="https://example.org/x.js">', "a.html loads https://example.org/x.js"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "a.html loads //example.org/x.css"),
    ],
)
def test_links_of_a_site(tmp_path: Path, body: str, said: str | None) -> None:
    (tmp_path / "a.html").write_text(f'<p id="here">{body}')
    (tmp_path / "b.html").write_text('<p id="there">')
    found = list(module("links").broken(tmp_path))
    assert found[:1] == ([said] if said else [])


def test_a_site_without_pages_is_broken(tmp_path: Path) -> None:
    assert list(module("links").broken(tmp_path)) == [f"{tmp_path}: no page is here"]
