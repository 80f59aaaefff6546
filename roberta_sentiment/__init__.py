"""From review texts to sentiment scores with a RoBERTa tokenizer and an ONNX Runtime session."""

from roberta_sentiment.version import __version__

__all__ = ["__version__"]
