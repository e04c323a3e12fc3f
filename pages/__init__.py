"""Pages and pictures that follow from the code and from kept results. In: knnscope, benchmarks/results. Out: files in docs/ and README.md.

``python -m pages`` writes all of them, ``./dev pages`` calls it. Start with written.py, which lists them.
"""
