"""Does a model pull long texts together, why, and what does it cost."""
