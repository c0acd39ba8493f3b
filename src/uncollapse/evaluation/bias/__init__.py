"""Whether a ranking prefers short or long texts; needs no model."""
