"""Exact search over int8 codes: what a bound cannot exclude is ranked by definition. Start at index.py; bound.py has the proof."""
