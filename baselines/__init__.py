"""Other sentiment models to test against, each a Seldon class with an image of its own."""
