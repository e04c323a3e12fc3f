"""Exact answers over files larger than memory, and the grading of anyone's. In: rows and queries, as files or arrays. Out: ids, distances, a certificate.

Rows go through ``ExactIndex`` block by block; the answers of the blocks are merged by the definition's order, so they are those of all rows at
once, to the last bit. Start with answers.py.
"""
