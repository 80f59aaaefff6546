"""The Open Inference Protocol (V2) in front of the classifier: an MLServer runtime."""
