"""Certified search on processors. In: a ``Request`` (../scanner.py) to the rows of a ``CpuScanner``. Out: ranked rows.

Start with search.py: one query or few go by plane_scan.py, more by scan.py; ranking.py ranks. products.py and plane_kernels.py are the inner loops.
"""
