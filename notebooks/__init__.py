"""The notebook: its source in examples/*.py, and what makes and runs the .ipynb. Nothing here needs Jupyter."""
