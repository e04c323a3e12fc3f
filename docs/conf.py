"""The documentation's site: Sphinx reads docs/*.md as a Git host shows them. ``./dev docs`` builds it; docs/decisions/040 says why so."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_site"))

project = "knnscope"
author = "The knnscope authors"
copyright = "The knnscope authors, Apache-2.0"  # noqa: A001 - Sphinx's name for it
extensions = ["myst_parser", "navigation", "sources", "access"]
root_doc = "index"
exclude_patterns = ["_site/**"]
nitpicky = True
smartquotes = False  # it makes a dash of the two before an option
myst_heading_anchors = 4

html_theme = "furo"
html_title = "knnscope"
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False
html_show_sphinx = False
html_search_scorer = str(Path(__file__).parent / "_site" / "scorer.js")
html_show_search_summary = False  # it fetches pages, which a browser refuses to do from a disk
html_theme_options = {"source_edit_link": "", "source_view_link": ""}
linkcheck_timeout = 20
linkcheck_ignore = [r"(\.\./)*files/"]  # pages of our own, which links.py looks at
