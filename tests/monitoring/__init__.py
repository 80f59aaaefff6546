"""Tests of what watches the node in a cluster."""
