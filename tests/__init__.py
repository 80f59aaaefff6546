"""The tests; the folders mirror the repository's."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
