"""A vector store for LangChain whose answers are exact. In: texts, and LangChain's ``Embeddings``. Out: its documents.

It takes the place of ``InMemoryVectorStore``, or of the store of FAISS. Start with store.py; searching.py is the host's many ways to ask.
"""

from knnscope.langchain.store import ExactVectorStore

__all__ = ["ExactVectorStore"]
