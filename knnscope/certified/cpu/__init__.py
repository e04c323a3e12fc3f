"""Certified search on processors. Rows in, codes and candidates out, ranked by definition; start with scan.py."""
