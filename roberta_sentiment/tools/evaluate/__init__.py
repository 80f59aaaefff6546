"""`evaluate`: how good a model is on labelled texts, and how fast."""
