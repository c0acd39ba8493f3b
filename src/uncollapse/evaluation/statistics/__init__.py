"""What a sheet scores, how sure that is, and whether a difference is more than chance."""
