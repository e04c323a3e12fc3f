"""A run as a page to decide from. In: what lies in a run's folder. Out: HTML, Markdown, CSV, charts. Start with document.py.

A section (sections/) turns records into blocks (content.py); html.py and markdown.py render blocks and know nothing of runs.
"""
