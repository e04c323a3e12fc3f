"""Every link of the built site leads somewhere in it, its anchor too; nothing that a page loads comes from elsewhere.

python docs/_site/links.py FOLDER
"""

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "srcset")}


class Page(HTMLParser):
    """What a page names: its anchors, its links, and what it loads."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser for each element."""
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif (tag, name) in LOADED:
                self.loaded.append(value or "")
            elif (tag, name) == ("a", "href"):
                self.links.append(value or "")


def broken(folder: Path) -> Iterator[str]:
    """A line for each link that leads nowhere, and for each thing that is loaded from elsewhere."""
    folder = folder.resolve()
    pages = {file: Page(file) for file in sorted(folder.rglob("*.html"))}
    if not pages:
        yield f"{folder}: no page is here"
    for file, page in pages.items():
        name = file.relative_to(folder)
        yield from (f"{name} loads {url}" for url in page.loaded if urlsplit(url).netloc)
        for link in (*page.links, *page.loaded):
            path, anchor = urldefrag(link)
            if urlsplit(link).scheme or link in ("", "#"):
                continue
            target = (file.parent / unquote(urlsplit(path).path)).resolve() if path else file
            if not target.is_file():
                yield f"{name} links to {link}, which is not there"
            elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                yield f"{name} links to {link}: that page has no such anchor"


if __name__ == "__main__":
    found = list(broken(Path(sys.argv[1])))
    sys.exit("\n".join(found) if found else 0)
