"""What turns Vega-Lite into pictures and into a page that answers: vl-convert, which needs neither a network nor a browser."""

from __future__ import annotations

import contextlib
import re
from functools import cache
from typing import Any
from xml.etree import ElementTree

from knnscope.errors import KnnscopeError, require
from knnscope.store import home, whole_file

SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""All that the page's script uses of Vega, Vega-Lite and Vega-Embed."""
DRAWN = frozenset({"svg", "g", "path", "text", "tspan", "line", "rect", "defs", "clipPath", "linearGradient", "stop"})
"""What a chart is drawn with; nothing else reaches the page, whatever the chart's texts say."""


def converter() -> Any:
    """The library.

    Raises:
        MissingLibraryError: names the line that installs it.
    """
    return require("vl_convert", "report", "vl_convert")


@cache
def javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script; "</script" does not occur in it.

    Bundling takes 2 s of CPU time, so it is kept beside the other caches, for each version of vl-convert.
    """
    kept = home() / "report" / f"vega-{converter().__version__}.js"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return kept.read_text("utf-8")
    bundled: str = converter().javascript_bundle(SNIPPET)
    found = re.sub(r"</(?=script)", r"<\\/", bundled, flags=re.IGNORECASE)
    with contextlib.suppress(KnnscopeError), whole_file(kept, "w") as file:  # a disk that is full, or read-only
        file.write(found)
    return found


def svg(spec: dict[str, Any], name: str) -> str:
    """The chart as SVG that can stand in a page beside others.

    Args:
        spec: Vega-Lite with a width in pixels.
        name: of the chart, which no other of the page has: letters, digits and dashes.

    Raises:
        ValueError: the picture has something in it that is no drawing.
    """
    drawn: str = converter().vegalite_to_svg(spec)
    for node in ElementTree.fromstring(drawn).iter():  # noqa: S314 - written just now by vl-convert
        tag = node.tag.rpartition("}")[2]
        if tag not in DRAWN or any(key.lower().startswith("on") or key.endswith("href") for key in node.attrib):
            raise ValueError(f"chart {name}: <{tag}> is no drawing")
    drawn = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', drawn)
    return re.sub(r"url\(#", f"url(#{name}-", drawn)


def picture(spec: dict[str, Any], form: str) -> bytes:
    """The chart as a file of its own, ``png`` at twice its size or ``svg``, on white."""
    config = {**spec.get("config", {}), "background": "white"}
    whole = {**spec, "config": config}
    if form == "png":
        drawn: bytes = converter().vegalite_to_png(whole, scale=2)
        return drawn
    text: str = converter().vegalite_to_svg(whole)
    return text.encode()
