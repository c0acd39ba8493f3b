"""A model with all its fixes: fitted to a corpus, applied to texts, written and read."""
