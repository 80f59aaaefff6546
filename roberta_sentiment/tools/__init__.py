"""Offline tools: from any RoBERTa to a model directory that can be trusted."""
