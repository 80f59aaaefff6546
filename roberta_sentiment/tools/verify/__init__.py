"""`verify`: whether a model directory is what the server needs, and answers as it should."""

from roberta_sentiment.tools.verify.cli import command

__all__ = ["command"]
