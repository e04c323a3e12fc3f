"""What the theme leaves out for who reads with a keyboard or a screen reader: whatever scrolls takes the focus, headings have a level."""

from typing import Any

MENDED = {
    "body": [
        ("<pre>", '<pre tabindex="0">'),
        ('<div class="table-wrapper', '<div tabindex="0" role="group" aria-label="table" class="table-wrapper'),
    ],
    "furo_navigation_tree": [('role="heading"', 'role="heading" aria-level="2"')],
}
"""By the part of a page: what is written in place of what."""


def mend(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:  # noqa: ARG001 - Sphinx gives them
    """Sphinx's event ``html-page-context``."""
    for part, pairs in MENDED.items():
        for old, new in pairs:
            context[part] = context.get(part, "").replace(old, new)


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", mend, priority=900)  # after the theme's own
    return {"parallel_read_safe": True, "parallel_write_safe": True}
