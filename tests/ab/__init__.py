"""Tests of the A/B package."""
