"""From vectors or a run file to ranked documents, and from these to scores."""
