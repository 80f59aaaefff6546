"""ONNX graphs of RoBERTa classifiers: read, given a mask, built anew, quantised."""
