"""ONNX graphs of RoBERTa classifiers: read, given a mask, rebuilt, quantised."""
