"""Nodes with one behaviour each, to be served by the real microservice."""
