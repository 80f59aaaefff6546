"""`score`: a file of texts of any length to a file of scores, in constant memory."""

from roberta_sentiment.tools.score.cli import command

__all__ = ["command"]
