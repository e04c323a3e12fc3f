"""What "exact" means, and who searches. In: rows, a metric, queries. Out: ``Neighbors``, and how right they are.

Start with definition.py; engine.py is what an engine has to be, catalog.py lists them, grading.py judges their answers.
"""
