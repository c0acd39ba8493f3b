"""Vectors on disk in the form that a search engine reads."""
