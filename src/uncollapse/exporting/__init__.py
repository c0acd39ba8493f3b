"""Models written for other runtimes, each held against the model that it was made from."""
