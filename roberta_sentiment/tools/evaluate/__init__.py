"""`evaluate`: how good a model is on labelled texts, and how fast."""

from roberta_sentiment.tools.evaluate.cli import command

__all__ = ["command"]
