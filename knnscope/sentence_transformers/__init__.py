"""What ``sentence_transformers.util`` searches with, answered exactly. In: embeddings, or a dataset and a model. Out: what the host's functions give.

Start with searching.py; negatives.py lets the host's own function mine, with an index in place of its search.
"""

from knnscope.sentence_transformers.negatives import mine_hard_negatives
from knnscope.sentence_transformers.searching import paraphrase_mining_embeddings, semantic_search

__all__ = ["mine_hard_negatives", "paraphrase_mining_embeddings", "semantic_search"]
