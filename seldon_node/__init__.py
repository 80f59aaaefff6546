"""Between Seldon Core's Python wrapper and a text classifier."""
