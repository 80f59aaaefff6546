"""The statistics against published examples, exact enumeration and simulation."""
