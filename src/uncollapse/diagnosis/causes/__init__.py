"""Why the mean cosine rises with length: what a rise is made of, and texts that change one thing only."""
