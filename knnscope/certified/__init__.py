"""Exact search with a proof. In: rows and queries. Out: ``Neighbors`` as float64 defines them, with a certificate.

Compact codes leave out rows for certain (bound.py and plane_bound.py have the proofs); what they leave is ranked by definition. Start with
index.py, then scanner.py; cpu/ is the machine that does it.
"""
