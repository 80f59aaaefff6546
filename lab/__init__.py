"""The laboratory: training and benchmarks. Nothing of the server imports it."""
