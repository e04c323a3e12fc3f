"""Texts to vectors. In: texts, and a model's name or folder. Out: float32 vectors, from the cache where they can be.

A model is found by models.py, what its files say is read by declared.py, and a recipe (recipes.py) says how its output becomes a vector.
Read onnx_encoder.py first; embed.py brings whole columns of texts through the cache.
"""
