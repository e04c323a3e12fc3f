"""How results are shown: text, timelines, traces for other viewers. Records in, text or files out; start with comparison.py."""
