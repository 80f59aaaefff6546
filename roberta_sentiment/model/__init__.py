"""A model directory: what it is, whether it is intact, and the files derived from it."""
