"""Texts and vectors, from files and servers, with their ids and judgements."""
