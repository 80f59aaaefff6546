"""The laboratory, as far as it runs without PyTorch."""
