"""Certified search on a GPU. In: rows, here or there. Out: the same answers as everywhere, bit for bit.

Start with scanner.py; plane.py answers few queries, batch.py many, fallback.py what these leave, direct.py rows without codes,
all_rows.py a huge k; kernels/exact_*.cu is what runs.
"""
