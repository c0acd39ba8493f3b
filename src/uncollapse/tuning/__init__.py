"""Which fix pays on a corpus: dials chosen with or without labels, and a race of all fixes."""
