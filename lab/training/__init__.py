"""How the embedded default model was made."""
