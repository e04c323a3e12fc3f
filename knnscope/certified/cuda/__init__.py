"""Certified search on a GPU. In: rows, here or there. Out: the same answers as everywhere, bit for bit.

Start with scanner.py; plane.py answers few queries, batch.py many, all_rows.py what no bound can; kernels/exact_*.cu is what runs.
"""
