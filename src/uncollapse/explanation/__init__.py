"""What happens inside a model: attention as a filter, by layer, head and length, with the theory beside it."""
