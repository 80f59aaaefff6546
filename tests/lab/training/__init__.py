"""Tests that need PyTorch: `make test-torch`. They use no fixture of tests/conftest.py."""
