"""From review texts to sentiment scores with a RoBERTa tokenizer and an ONNX Runtime session."""

import os

from roberta_sentiment.version import __version__

__all__ = ["__version__"]

# From 1.29 on ONNX Runtime reports to its maker over the network, and keeps a device id in the
# home directory, unless that is set before its first import (microsoft/onnxruntime, 27379).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
