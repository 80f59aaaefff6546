"""From a text to the token ids that the model takes."""
