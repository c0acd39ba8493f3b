"""A model folder that reads long texts to their end by code of its own, in plain sentence-transformers."""
