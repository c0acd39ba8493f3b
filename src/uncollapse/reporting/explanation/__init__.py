"""The parts of the report that say what happens inside a model, from token to embedding: one module a section."""
