"""A linear model over weighted words and pairs of words."""
