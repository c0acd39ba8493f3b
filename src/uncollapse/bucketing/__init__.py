"""A temperature that follows length, as ordinary checkpoints: one for each bucket of lengths, and what picks it."""
