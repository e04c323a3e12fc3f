"""Certified search on processors. In: a ``Request`` (../scanner.py) to the rows of a ``CpuScanner``. Out: ranked rows.

Start with search.py: queries go by the plane (plane_scan.py, then lines.py and plane_ranking.py) where that pays, else by scan.py; ranking.py ranks.
products.py, plane_kernels.py, graph_kernels.py and lines.py have the inner loops.
"""
