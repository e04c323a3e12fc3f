"""A vector store for LangChain whose answers are exact: in memory, in the place of ``InMemoryVectorStore`` or of FAISS' store.

In: texts, and LangChain's ``Embeddings``. Out: its documents. Start with store.py; searching.py is the host's many ways to ask.
"""

from knnscope.langchain.store import ExactVectorStore

__all__ = ["ExactVectorStore"]
