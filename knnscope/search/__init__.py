"""Engines and what "exact" means."""
